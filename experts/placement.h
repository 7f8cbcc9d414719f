/*
 * Which worker runs where: a pure function of the topology, so that a description of
 * a machine is enough to test it. Called by the engine and by sluice tune; any thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "experts/topology.h"

#define SL_PLACEMENT_WHY_BYTES 96

struct sl_placement {
    uint32_t n_threads; /* 1..SL_POOL_WORKERS_MAX */
    int32_t *cpus;      /* owned, n_threads: logical CPU of each worker, or -1: not bound */
    uint32_t *nodes;    /* owned, n_threads: NUMA node of each worker, 0 where not bound */
    char why[SL_PLACEMENT_WHY_BYTES]; /* for people: "one on each core" */
};

/*
 * Place n_threads workers, or for 0 the default: one on each core that is not small
 * (hybrid machines), but no more than the quota rounded up and SL_POOL_WORKERS_MAX.
 *
 * Order: fast kinds of cores first, within a kind those with more L3, L3 domain by L3
 * domain, one worker per core; then their second logical CPUs in the same order, and so
 * on. Nothing is bound when there are more workers than logical CPUs, or when a quota
 * allows less than the machine has: then other processes use it too, and the system
 * knows better which CPUs are free.
 *
 * Returns 0, -ERANGE (more than SL_POOL_WORKERS_MAX), -ENOMEM. ret_plan is for
 * sl_placement_done.
 */
int sl_placement_plan(struct sl_placement *ret_plan, const struct sl_topology *topo,
                      uint32_t n_threads, struct sl_diag *diag);

/*
 * Place n workers exactly on these logical CPUs, in this order, or, for -1, on any: they
 * are not bound then. Returns 0, -ERANGE (n is 0 or more than SL_POOL_WORKERS_MAX, or a CPU
 * that is not there, is switched off, or is not allowed: diag says which), -EINVAL (one
 * CPU for two workers), -ENOMEM.
 */
int sl_placement_exact(struct sl_placement *ret_plan, const struct sl_topology *topo,
                       const int32_t *cpus, uint32_t n, struct sl_diag *diag);

/*
 * Indexes of the cores in the order in which they get workers; heap for the caller to
 * free, n_cores of them. NULL: no memory.
 */
uint32_t *sl_placement_order(const struct sl_topology *topo);

void sl_placement_done(struct sl_placement *plan); /* all zeroes are allowed */
