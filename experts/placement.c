/*
 * The order of cores is a stable sort by kind: big before small, fast before slow. A
 * stable sort keeps what the topology promises, that cores of an L3 domain lie
 * together. Then rounds: round s takes the s-th logical CPU of each core that has
 * one, until all workers have a place.
 *
 * Cores that differ in speed only (Zen 5 beside Zen 5c) all get a worker by default;
 * cores of another design (E beside P) do not, since all workers meet at barriers and
 * the slowest decides.
 */
#include "experts/placement.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/pool.h"

static bool comes_before(const struct sl_topology_core *a, const struct sl_topology_core *b)
{
    return a->is_small != b->is_small ? a->is_small < b->is_small : a->kind > b->kind;
}

/* Indexes of cores in the order in which they get workers; heap, or NULL. */
static uint32_t *order_cores(const struct sl_topology *topo)
{
    uint32_t *order = calloc(topo->n_cores, sizeof(order[0]));

    if (!order)
        return NULL;
    /* Insertion is stable, and linear where all cores are equal. */
    for (uint32_t i = 0; i < topo->n_cores; i++) {
        uint32_t k = i;

        for (; k > 0 && comes_before(&topo->cores[i], &topo->cores[order[k - 1]]); k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    return order;
}

static uint32_t default_threads(const struct sl_topology *topo)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < topo->n_cores; i++)
        n += !topo->cores[i].is_small;
    if (n == 0) /* a cpuset of small cores only */
        n = topo->n_cores;
    if (topo->quota_cpus > 0 && topo->quota_cpus < n) {
        uint32_t whole = (uint32_t)topo->quota_cpus;

        n = whole + (topo->quota_cpus > whole);
    }
    if (n > SL_POOL_WORKERS_MAX)
        n = SL_POOL_WORKERS_MAX;
    return n > 0 ? n : 1;
}

/* Give workers to cores; n_threads is at most the number of logical CPUs. */
static void bind(struct sl_placement *plan, const struct sl_topology *topo,
                 const uint32_t *order)
{
    uint32_t worker = 0;

    for (uint32_t round = 0; round < SL_TOPOLOGY_CORE_CPUS_MAX; round++)
        for (uint32_t i = 0; i < topo->n_cores && worker < plan->n_threads; i++) {
            const struct sl_topology_core *core = &topo->cores[order[i]];

            if (round >= core->n_cpus)
                continue;
            plan->cpus[worker] = core->cpus[round];
            plan->nodes[worker++] = core->node;
        }
}

int sl_placement_plan(struct sl_placement *ret_plan, const struct sl_topology *topo,
                      uint32_t n_threads, struct sl_diag *diag)
{
    struct sl_placement plan = { 0 };
    uint32_t *order = NULL;
    bool is_shared = topo->quota_cpus > 0 && topo->quota_cpus < topo->n_cpus;

    if (n_threads > SL_POOL_WORKERS_MAX)
        return sl_diag_set(diag, -ERANGE, "%u threads asked for, expected at most %d", n_threads,
                           SL_POOL_WORKERS_MAX);
    plan.n_threads = n_threads > 0 ? n_threads : default_threads(topo);
    plan.cpus = calloc(plan.n_threads, sizeof(plan.cpus[0]));
    plan.nodes = calloc(plan.n_threads, sizeof(plan.nodes[0]));
    order = order_cores(topo);
    if (!plan.cpus || !plan.nodes || !order) {
        free(order);
        sl_placement_done(&plan);
        return sl_diag_set(diag, -ENOMEM, "not enough memory to place threads");
    }
    if (plan.n_threads > topo->n_cpus || is_shared)
        for (uint32_t i = 0; i < plan.n_threads; i++)
            plan.cpus[i] = -1;
    else
        bind(&plan, topo, order);
    free(order);
    *ret_plan = plan;
    return 0;
}

void sl_placement_done(struct sl_placement *plan)
{
    free(plan->cpus);
    free(plan->nodes);
    *plan = (struct sl_placement){ 0 };
}
