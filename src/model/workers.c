/*
 * Memory is spread in two ways (experts/topology.h): slots of the expert cache by their
 * address, when the cache maps them; everything that is loaded while the model is opened
 * by a policy of the opening thread, so that the pages of a file that is read for the first
 * time and the pinned weights lie on all nodes and not on that thread's alone. Pages that
 * were in the page cache before stay where they are.
 */
#include "model/workers.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "model/engine.h"

static void do_nothing(void *arg, uint32_t worker, uint32_t n_workers)
{
    (void)arg;
    (void)worker;
    (void)n_workers;
}

/* When this returns, workers are where they shall be, or it is known that they are not. */
static int start(struct sl_pool **ret_pool, const struct sl_placement *plan, struct sl_diag *diag)
{
    struct sl_pool_opts opts = { .n_workers = plan->n_threads, .cpus = plan->cpus };
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
    return start(&m->pool, &m->placement, diag);
}

int sl_workers_replace(struct sluice_model *m, const int32_t *cpus, uint32_t n,
                       struct sl_diag *diag)
{
    struct sl_placement plan;
    struct sl_pool *pool;
    int r = sl_placement_exact(&plan, m->topology, cpus, n, diag);

    if (r < 0)
        return r;
    r = m->pack ? sl_pack_prepare(m->pack, n) : 0;
    if (r == 0)
        r = start(&pool, &plan, diag);
    if (r < 0) {
        sl_placement_done(&plan);
        return r;
    }
    sl_workers_close(m);
    m->pool = pool;
    m->placement = plan;
    return 0;
}

void sl_workers_close(struct sluice_model *m)
{
    sl_pool_free(m->pool);
    m->pool = NULL;
    sl_placement_done(&m->placement);
}
