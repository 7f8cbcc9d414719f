/*
 * Memory is spread in two ways (experts/topology.h): slots of the expert cache by their
 * address, when the cache maps them; everything that is loaded while the model is opened
 * by a policy of the opening thread, so that the pages of a file that is read for the first
 * time and the pinned weights lie on all nodes and not on that thread's alone. Pages that
 * were in the page cache before stay where they are. Copies of the shared weights are placed
 * by their address too (nodecopy.h).
 */
#include "model/workers.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/engine.h"

static void do_nothing(void *arg, uint32_t worker, uint32_t n_workers)
{
    (void)arg;
    (void)worker;
    (void)n_workers;
}

/* When this returns, workers are where they shall be, or it is known that they are not. */
static int start(struct sl_pool **ret_pool, const struct sl_placement *plan,
                 const struct sl_nodeplan *nodes, struct sl_diag *diag)
{
    struct sl_pool_opts opts = { .n_workers = plan->n_threads, .cpus = plan->cpus,
                                 .groups = nodes->groups, .n_groups = nodes->n };
    int r = sl_pool_new(ret_pool, &opts);

    if (r == -EAGAIN)
        sl_diag_set(diag, r, "could not start %" PRIu32 " threads; use fewer with -t",
                    plan->n_threads);
    if (r == 0)
        sl_pool_run(*ret_pool, do_nothing, NULL);
    return r;
}

int sl_workers_open(struct sluice_model *m, const struct sluice_model_opts *opts,
                    struct sl_diag *diag)
{
    int r;

    if (opts->cpus && opts->n_threads == 0)
        return sl_diag_set(diag, -EINVAL, "CPUs are given, but not how many");
    r = sl_topology_open(&m->topology, diag);
    if (r < 0)
        return r;
    if (opts->cpus)
        r = sl_placement_exact(&m->placement, m->topology, opts->cpus, opts->n_threads, diag);
    else
        r = sl_placement_plan(&m->placement, m->topology, opts->n_threads, diag);
    if (r < 0)
        return r;
    if (opts->threads_why)
        (void)snprintf(m->placement.why, sizeof(m->placement.why), "%s", opts->threads_why);
    if (opts->numa == SLUICE_NUMA_SPLIT)
        m->nodes = m->topology->memory;
    r = sl_nodeplan_make(&m->nodeplan, m->topology, &m->placement, &m->nodes);
    if (r < 0)
        return r;
    return start(&m->pool, &m->placement, &m->nodeplan, diag);
}

int sl_workers_replace(struct sluice_model *m, const int32_t *cpus, uint32_t n,
                       struct sl_diag *diag)
{
    struct sl_placement plan;
    struct sl_nodeplan nodes = { .n = 0 };
    struct sl_pool *pool = NULL;
    int r = sl_placement_exact(&plan, m->topology, cpus, n, diag);

    if (r < 0)
        return r;
    r = m->pack ? sl_pack_prepare(m->pack, n) : 0;
    if (r == 0)
        r = sl_nodeplan_make(&nodes, m->topology, &plan, &m->nodes);
    if (r == 0)
        r = start(&pool, &plan, &nodes, diag);
    if (r == 0 && m->copies.n)
        r = sl_nodecopy_assign(&m->copies, &m->weights, &nodes, n);
    if (r < 0) {
        sl_pool_free(pool);
        sl_nodeplan_done(&nodes);
        sl_placement_done(&plan);
        return r;
    }
    sl_workers_close(m);
    m->pool = pool;
    m->placement = plan;
    m->nodeplan = nodes;
    return 0;
}

void sl_workers_reserve_copies(struct sluice_model *m)
{
    bool is_placed = m->plan.is_streaming && !m->pack;

    if (m->nodeplan.n > 1 && m->plan.n_copies == 0)
        sl_nodecopy_drop(&m->copies, "%s", m->plan.is_streaming
                                               ? "experts need the memory more"
                                               : "no memory is left for copies");
    else if (m->plan.n_copies)
        (void)sl_nodecopy_reserve(&m->copies, &m->weights, &m->hp, &m->nodeplan, is_placed);
    else
        sl_nodecopy_drop(&m->copies, "%s", m->nodeplan.why);
}

void sl_workers_fill_copies(struct sluice_model *m, int place_error)
{
    if (m->copies.n && place_error) {
        sl_nodecopy_drop(&m->copies, "the system refuses memory on node %d: %s",
                         m->nodeplan.ids[0], strerror(-place_error));
        m->copies.is_refused = true;
    }
    if (m->copies.n)
        (void)sl_nodecopy_fill(&m->copies, &m->weights, &m->hp, &m->nodeplan, m->pool);
    if (m->copies.n == 0) {
        m->plan.n_copies = 0;
        m->plan.copy_bytes = 0;
    }
}

void sl_workers_close(struct sluice_model *m)
{
    sl_pool_free(m->pool);
    m->pool = NULL;
    sl_nodeplan_done(&m->nodeplan);
    sl_placement_done(&m->placement);
}
