/*
 * The machine's processors as a plain struct: cores in order, each with its logical
 * CPUs, its L3 domain, its NUMA node and its kind. Only what this process may use is
 * in it. Called by the engine when it is made; any thread.
 *
 * Built from topology.c (hwloc) or, without hwloc, from topology_flat.c, which sees
 * the allowed CPUs and nothing else.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define SL_TOPOLOGY_CORES_MAX 4096
#define SL_TOPOLOGY_CORE_CPUS_MAX 8 /* SMT siblings */
#define SL_TOPOLOGY_CPUS_MAX 4096  /* numbers of logical CPUs are below */
#define SL_TOPOLOGY_NODES_MAX 1024

struct sl_topology_core {
    int32_t cpus[SL_TOPOLOGY_CORE_CPUS_MAX]; /* logical CPUs, as the system numbers them */
    uint32_t n_cpus;                         /* 1..SL_TOPOLOGY_CORE_CPUS_MAX */
    uint32_t l3;                             /* 0..n_l3 - 1, in order of first use */
    uint64_t l3_bytes;                       /* of that cache; 0: there is none, or not known */
    uint32_t node;                           /* NUMA node, 0..n_nodes - 1, likewise */
    int32_t node_id;                         /* of that node, as the system numbers it */
    uint32_t kind;                           /* rank by speed, 0 for the slowest kind */
    uint32_t is_small; /* 1: an efficiency core, of another design than the fastest */
};

/* Logical CPUs as the system numbers them. */
struct sl_topology_cpus {
    uint64_t bits[SL_TOPOLOGY_CPUS_MAX / 64];
    uint32_t n;
};

static inline bool sl_topology_cpus_has(const struct sl_topology_cpus *cpus, int32_t cpu)
{
    return cpu >= 0 && cpu < SL_TOPOLOGY_CPUS_MAX && cpus->bits[cpu / 64] >> (cpu % 64) & 1;
}

/* NUMA nodes as the system numbers them. */
struct sl_topology_nodes {
    uint64_t bits[SL_TOPOLOGY_NODES_MAX / 64];
    uint32_t n;
};

struct sl_topology {
    struct sl_topology_core *cores; /* owned; those of an L3 domain lie together */
    uint32_t n_cores;               /* 1..SL_TOPOLOGY_CORES_MAX */
    uint32_t n_cpus;                /* of all cores */
    uint32_t n_l3;
    uint32_t n_nodes;
    uint32_t n_kinds;
    struct sl_topology_nodes memory; /* to spread memory over that all cores read: the
                                        cores' nodes; none where the caller of this
                                        process has chosen nodes already (numactl) */
    struct sl_topology_cpus online; /* of the machine, allowed or not; none: not known */
    double quota_cpus;  /* what cgroups allow, in CPUs' worth of time; 0: no limit */
    const char *source; /* "hwloc", "flat" or "given" */
};

/*
 * Read this machine: what the cgroup's cpuset and the affinity of the calling thread
 * allow, and the cgroups' quota. Returns 0, -ENOMEM, or -EIO if the system does not
 * tell.
 */
int sl_topology_open(struct sl_topology **ret_topo, struct sl_diag *diag);

/*
 * For tests: the machine that an hwloc synthetic description ("numa:2 l3:2 core:4
 * pu:2") or an hwloc XML file (a path that ends in .xml) names, as far as the CPUs of
 * allowed ("0-3,8", NULL: all) may be used; no quota. -ENOTSUP without hwloc, -EBADMSG
 * if hwloc does not understand it, -ERANGE if nothing is allowed.
 */
int sl_topology_from_text(struct sl_topology **ret_topo, const char *text,
                          const char *allowed, struct sl_diag *diag);

void sl_topology_close(struct sl_topology *topo); /* NULL is allowed */

/* The core that has a logical CPU, or NULL. */
const struct sl_topology_core *sl_topology_find(const struct sl_topology *topo, int32_t cpu);

/* Numbers out of range are left out. */
void sl_topology_cpus_add(struct sl_topology_cpus *cpus, int32_t cpu);

/*
 * Spread pages that are not touched yet evenly over the nodes, so that no node's memory
 * does all the work. base and bytes: multiples of the page. Fewer than two nodes:
 * nothing. Returns 0, or what the system says; then pages come from whoever touches them
 * first, which is slower but as right.
 */
int sl_topology_interleave(const struct sl_topology_nodes *nodes, void *base, uint64_t bytes);

/*
 * Pages of this range that are not touched yet come from one node, as the system numbers it,
 * as long as that has any left. base and bytes: multiples of the page. Returns 0, or what the
 * system says: nothing is changed then.
 */
int sl_topology_prefer(int32_t node_id, void *base, uint64_t bytes);

/* The calling thread's memory policy, to be put back. */
struct sl_topology_policy {
    bool is_changed;
    int mode;
    uint64_t bits[SL_TOPOLOGY_NODES_MAX / 64 + 1];
};

/*
 * From now on spread all memory, and all of the page cache, that this thread and the
 * threads that it starts are the first to need: evenly over the nodes. Fewer than two
 * nodes: nothing. Returns 0, or what the system says; nothing is changed then.
 */
int sl_topology_spread(const struct sl_topology_nodes *nodes,
                       struct sl_topology_policy *ret_before);

/* Put back what was before; the same thread. All zeroes are allowed. */
void sl_topology_unspread(const struct sl_topology_policy *before);
