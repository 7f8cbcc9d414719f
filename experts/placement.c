/*
 * The order of cores is a stable sort: big before small, fast before slow, more L3 before
 * less. A stable sort keeps what the topology promises, that cores of an L3 domain lie
 * together. Then rounds: round s takes the s-th logical CPU of each core that has
 * one, until all workers have a place.
 *
 * More L3 goes with the stronger cores of a chip (Strix Point) where the system does not
 * rank them; beside equal cores (an X3D) it is the only difference that can be seen. What
 * it is worth has not been measured; sluice tune tries each domain.
 *
 * Cores that differ in speed only (Zen 5 beside Zen 5c) all get a worker by default;
 * cores of another design (E beside P) do not, since all workers meet at barriers and
 * the slowest decides.
 */
#include "experts/placement.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "experts/cpulist.h"

static bool comes_before(const struct sl_topology_core *a, const struct sl_topology_core *b)
{
    if (a->is_small != b->is_small)
        return a->is_small < b->is_small;
    return a->kind != b->kind ? a->kind > b->kind : a->l3_bytes > b->l3_bytes;
}

uint32_t *sl_placement_order(const struct sl_topology *topo)
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

static bool is_shared(const struct sl_topology *topo)
{
    return topo->quota_cpus > 0 && topo->quota_cpus < topo->n_cpus;
}

/* The default, and why. */
static uint32_t default_threads(const struct sl_topology *topo, char *why)
{
    uint32_t n = 0, n_cores = topo->n_cores;

    for (uint32_t i = 0; i < n_cores; i++)
        n += !topo->cores[i].is_small;
    if (n == 0) /* a cpuset of small cores only */
        n = n_cores;
    if (n < n_cores)
        (void)snprintf(why, SL_PLACEMENT_WHY_BYTES,
                       "one on each big core, %u small core%s left out", n_cores - n,
                       n_cores - n == 1 ? "" : "s");
    else if (topo->n_cpus > n_cores)
        (void)snprintf(why, SL_PLACEMENT_WHY_BYTES, "one on each core, SMT siblings left free");
    else
        (void)snprintf(why, SL_PLACEMENT_WHY_BYTES, "one on each core");
    if (topo->quota_cpus > 0 && topo->quota_cpus < n) {
        uint32_t whole = (uint32_t)topo->quota_cpus;

        n = whole + (topo->quota_cpus > whole);
        (void)snprintf(why, SL_PLACEMENT_WHY_BYTES, "as many as a quota of %g CPUs feeds",
                       topo->quota_cpus);
    }
    if (n > SL_POOL_WORKERS_MAX) {
        n = SL_POOL_WORKERS_MAX;
        (void)snprintf(why, SL_PLACEMENT_WHY_BYTES, "as many as there can be");
    }
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

static void leave_unbound(struct sl_placement *plan, const struct sl_topology *topo)
{
    size_t len = strlen(plan->why);

    for (uint32_t i = 0; i < plan->n_threads; i++)
        plan->cpus[i] = -1;
    (void)snprintf(plan->why + len, sizeof(plan->why) - len, "; not bound: %s",
                   plan->n_threads > topo->n_cpus ? "more than logical CPUs"
                                                  : "a quota shares the CPUs");
}

/* -ENOMEM leaves nothing behind. */
static int allocate(struct sl_placement *plan, uint32_t n, struct sl_diag *diag)
{
    plan->n_threads = n;
    plan->cpus = calloc(n, sizeof(plan->cpus[0]));
    plan->nodes = calloc(n, sizeof(plan->nodes[0]));
    if (plan->cpus && plan->nodes)
        return 0;
    sl_placement_done(plan);
    return sl_diag_set(diag, -ENOMEM, "not enough memory to place threads");
}

int sl_placement_plan(struct sl_placement *ret_plan, const struct sl_topology *topo,
                      uint32_t n_threads, struct sl_diag *diag)
{
    struct sl_placement plan = { .why = "as many as asked for" };
    uint32_t *order;
    int r;

    if (n_threads > SL_POOL_WORKERS_MAX)
        return sl_diag_set(diag, -ERANGE, "%u threads asked for, expected at most %d", n_threads,
                           SL_POOL_WORKERS_MAX);
    if (n_threads == 0)
        n_threads = default_threads(topo, plan.why);
    r = allocate(&plan, n_threads, diag);
    if (r < 0)
        return r;
    if (plan.n_threads > topo->n_cpus || is_shared(topo)) {
        leave_unbound(&plan, topo);
    } else {
        order = sl_placement_order(topo);
        if (!order) {
            sl_placement_done(&plan);
            return sl_diag_set(diag, -ENOMEM, "not enough memory to place threads");
        }
        bind(&plan, topo, order);
        free(order);
    }
    *ret_plan = plan;
    return 0;
}

/* Why a CPU cannot have a worker. */
static int refuse(const struct sl_topology *topo, int32_t cpu, struct sl_diag *diag)
{
    int32_t cpus[SL_TOPOLOGY_CPUS_MAX];
    char list[160];
    uint32_t n = 0;
    bool is_off = topo->online.n > 0 && !sl_topology_cpus_has(&topo->online, cpu);

    for (int32_t i = 0; i < SL_TOPOLOGY_CPUS_MAX; i++)
        if (is_off ? sl_topology_cpus_has(&topo->online, i) : sl_topology_find(topo, i) != NULL)
            cpus[n++] = i;
    return sl_diag_set(diag, -ERANGE, is_off ? "CPU %d is not there or switched off; this machine "
                                               "has %s"
                                             : "CPU %d is not allowed to this process, by its "
                                               "affinity or its cgroup's cpuset; allowed: %s",
                       cpu, sl_cpulist_print(list, sizeof(list), cpus, n));
}

int sl_placement_exact(struct sl_placement *ret_plan, const struct sl_topology *topo,
                       const int32_t *cpus, uint32_t n, struct sl_diag *diag)
{
    struct sl_placement plan = { .why = "these, as asked for" };
    int r;

    if (n == 0 || n > SL_POOL_WORKERS_MAX)
        return sl_diag_set(diag, -ERANGE, "CPUs for %u threads asked for, expected 1 to %d", n,
                           SL_POOL_WORKERS_MAX);
    r = allocate(&plan, n, diag);
    for (uint32_t i = 0; i < n && r == 0; i++) {
        const struct sl_topology_core *core = sl_topology_find(topo, cpus[i]);

        for (uint32_t k = 0; k < i && r == 0; k++)
            if (cpus[k] == cpus[i] && cpus[i] >= 0)
                r = sl_diag_set(diag, -EINVAL, "CPU %d is asked for twice", cpus[i]);
        if (r == 0 && cpus[i] >= 0 && !core)
            r = refuse(topo, cpus[i], diag);
        if (r < 0)
            break;
        plan.cpus[i] = cpus[i] < 0 ? -1 : cpus[i];
        plan.nodes[i] = core ? core->node : 0;
    }
    if (r < 0)
        sl_placement_done(&plan);
    else
        *ret_plan = plan;
    return r;
}

void sl_placement_done(struct sl_placement *plan)
{
    free(plan->cpus);
    free(plan->nodes);
    *plan = (struct sl_placement){ 0 };
}
