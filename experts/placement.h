/*
 * Which worker runs where: a pure function of the topology, so that a description of
 * a machine is enough to test it. Called by the engine; any thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "experts/topology.h"

struct sl_placement {
    uint32_t n_threads; /* 1..SL_POOL_WORKERS_MAX */
    int32_t *cpus;      /* owned, n_threads: logical CPU of each worker, or -1: not bound */
    uint32_t *nodes;    /* owned, n_threads: NUMA node of each worker, 0 where not bound */
};

/*
 * Place n_threads workers, or for 0 the default: one on each core that is not small
 * (hybrid machines), but no more than the quota rounded up and SL_POOL_WORKERS_MAX.
 *
 * Order: fast kinds of cores first, within a kind L3 domain by L3 domain, one worker
 * per core; then their second logical CPUs in the same order, and so on. Nothing is
 * bound when there are more workers than logical CPUs, or when a quota allows less
 * than the machine has: then other processes use it too, and the system knows better
 * which CPUs are free.
 *
 * Returns 0, -ERANGE (more than SL_POOL_WORKERS_MAX), -ENOMEM. ret_plan is for
 * sl_placement_done.
 */
int sl_placement_plan(struct sl_placement *ret_plan, const struct sl_topology *topo,
                      uint32_t n_threads, struct sl_diag *diag);

void sl_placement_done(struct sl_placement *plan); /* all zeroes are allowed */
