/*
 * A pool of base/pool.h. The clock is read by each worker between a barrier and its work,
 * and after it: a pool that sleeps takes up to a tenth of a millisecond to wake.
 */
#include "bench/bn_team.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/pool.h"

struct moments {
    uint64_t began, ended;
    char apart[112]; /* workers write to lines of their own */
};

struct bn_team {
    struct sl_pool *pool;
    uint32_t n;
    struct moments *moments;
    /* set for a run */
    bn_team_fn fn;
    void *arg;
    uint64_t n_calls;
};

int bn_team_new(struct bn_team **ret_team, const int32_t *cpus, uint32_t n,
                struct sl_diag *diag)
{
    struct sl_pool_opts opts = { .n_workers = n, .cpus = cpus };
    struct bn_team *team = calloc(1, sizeof(*team));
    int r = -ENOMEM;

    if (!team)
        return -ENOMEM;
    team->n = n;
    team->moments = calloc(n, sizeof(*team->moments));
    if (!team->moments)
        goto fail;
    r = sl_pool_new(&team->pool, &opts);
    if (r < 0) {
        sl_diag_set(diag, r, "%u threads cannot be started", n);
        goto fail;
    }
    *ret_team = team;
    return 0;

fail:
    bn_team_free(team);
    return r;
}

int bn_team_new_cores(struct bn_team **ret_team, const struct sl_topology *topo, uint32_t n,
                      struct sl_diag *diag)
{
    int32_t cpus[SL_POOL_WORKERS_MAX];
    uint32_t most = topo->n_cores < SL_POOL_WORKERS_MAX ? topo->n_cores : SL_POOL_WORKERS_MAX;

    if (topo->quota_cpus >= 1 && topo->quota_cpus < most)
        most = (uint32_t)topo->quota_cpus;
    if (n > most) {
        sl_diag_set(diag, -ERANGE, "%u threads asked for, but this process may use %u cores", n,
                    most);
        return -ERANGE;
    }
    n = n ? n : most;
    for (uint32_t i = 0; i < n; i++)
        cpus[i] = topo->cores[i].cpus[0];
    return bn_team_new(ret_team, cpus, n, diag);
}

void bn_team_free(struct bn_team *team)
{
    if (!team)
        return;
    sl_pool_free(team->pool);
    free(team->moments);
    free(team);
}

uint32_t bn_team_n(const struct bn_team *team)
{
    return team->n;
}

struct sl_pool *bn_team_pool(struct bn_team *team)
{
    return team->pool;
}

static void work(void *arg, uint32_t worker, uint32_t n_workers)
{
    struct bn_team *team = arg;
    struct moments *mine = &team->moments[worker];

    sl_pool_barrier(team->pool);
    mine->began = sl_clock_ns();
    team->fn(team->arg, worker, team->n_calls);
    mine->ended = sl_clock_ns();
}

double bn_team_time(struct bn_team *team, bn_team_fn fn, void *arg, uint64_t n_calls)
{
    uint64_t began = UINT64_MAX, ended = 0;

    team->fn = fn;
    team->arg = arg;
    team->n_calls = n_calls;
    sl_pool_run(team->pool, work, team);
    for (uint32_t i = 0; i < team->n; i++) {
        began = team->moments[i].began < began ? team->moments[i].began : began;
        ended = team->moments[i].ended > ended ? team->moments[i].ended : ended;
    }
    return (double)(ended > began ? ended - began : 1) * 1e-9;
}

uint64_t bn_team_calibrate(struct bn_team *team, bn_team_fn fn, void *arg, double seconds_min)
{
    uint64_t n = 1;
    double s = bn_team_time(team, fn, arg, n);

    while (s < seconds_min / 2) { /* what is short is measured too coarsely to be scaled far */
        double more = seconds_min / s;

        n = (uint64_t)((double)n * (more > 16 ? 16 : more)) + 1;
        s = bn_team_time(team, fn, arg, n);
    }
    n = (uint64_t)((double)n * seconds_min / s);
    return n ? n : 1;
}
