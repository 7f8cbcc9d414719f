/*
 * Which workers belong together on a machine with more than one NUMA node: a pure function
 * of topology and placement. Called by the engine and by sluice plan; any thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "experts/placement.h"
#include "experts/topology.h"

#define SL_NODEPLAN_WHY_BYTES 64

/* Workers of a node are a group: rows of matrices are given to groups in fixed shares. */
struct sl_nodeplan {
    uint32_t n;       /* groups, 1..n_threads; 1: workers are not told apart */
    uint32_t *groups; /* owned, n_threads: of each worker, in order of their first worker */
    int32_t *ids;     /* owned, n: node of each group as the system numbers it; -1 if n is 1 */
    char why[SL_NODEPLAN_WHY_BYTES]; /* why n is 1 though there are more nodes; else "" */
};

/*
 * memory: the nodes that memory is spread over; fewer than two: memory is left to the system,
 * and so are workers. They are not told apart either where one is not bound to a CPU, since
 * the system may move it, or where all are on one node. Returns 0 or -ENOMEM. ret_plan is
 * for sl_nodeplan_done.
 */
int sl_nodeplan_make(struct sl_nodeplan *ret_plan, const struct sl_topology *topo,
                     const struct sl_placement *placement,
                     const struct sl_topology_nodes *memory);

void sl_nodeplan_done(struct sl_nodeplan *plan); /* all zeroes are allowed */
