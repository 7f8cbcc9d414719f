/*
 * Groups are numbered as their first worker comes, like the nodes of a topology, so nodes
 * without a worker leave no gap.
 */
#include "experts/nodeplan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A node's number in the system; placements name nodes as the topology counts them. */
static int32_t id_of(const struct sl_topology *topo, uint32_t node)
{
    for (uint32_t i = 0; i < topo->n_cores; i++)
        if (topo->cores[i].node == node)
            return topo->cores[i].node_id;
    return -1;
}

/* The group of the workers on a node: a new one if it is not among them yet. */
static uint32_t group_of(struct sl_nodeplan *plan, int32_t id)
{
    for (uint32_t g = 0; g < plan->n; g++)
        if (plan->ids[g] == id)
            return g;
    plan->ids[plan->n] = id;
    return plan->n++;
}

/* Why workers cannot be told apart, or NULL. */
static const char *find_reason(const struct sl_placement *placement,
                               const struct sl_topology_nodes *memory)
{
    if (memory->n < 2)
        return "memory is left to the system";
    for (uint32_t i = 0; i < placement->n_threads; i++)
        if (placement->cpus[i] < 0)
            return "threads are not bound to CPUs";
    return NULL;
}

static void put_together(struct sl_nodeplan *plan, uint32_t n_threads, const char *why)
{
    for (uint32_t i = 0; i < n_threads; i++)
        plan->groups[i] = 0;
    plan->ids[0] = -1;
    plan->n = 1;
    (void)snprintf(plan->why, sizeof(plan->why), "%s", why);
}

int sl_nodeplan_make(struct sl_nodeplan *ret_plan, const struct sl_topology *topo,
                     const struct sl_placement *placement,
                     const struct sl_topology_nodes *memory)
{
    uint32_t n_threads = placement->n_threads;
    struct sl_nodeplan plan = {
        .groups = calloc(n_threads, sizeof(plan.groups[0])),
        .ids = calloc(n_threads, sizeof(plan.ids[0])),
    };
    const char *why = find_reason(placement, memory);

    if (!plan.groups || !plan.ids) {
        sl_nodeplan_done(&plan);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < n_threads && !why; i++)
        plan.groups[i] = group_of(&plan, id_of(topo, placement->nodes[i]));
    if (!why && plan.n == 1)
        why = "all threads are on one node";
    if (why)
        put_together(&plan, n_threads, topo->n_nodes > 1 ? why : "");
    *ret_plan = plan;
    return 0;
}

void sl_nodeplan_done(struct sl_nodeplan *plan)
{
    free(plan->groups);
    free(plan->ids);
    *plan = (struct sl_nodeplan){ 0 };
}
