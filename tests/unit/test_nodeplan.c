/*
 * Which workers belong together, on synthetic machines with several NUMA nodes; and that
 * groups of workers share out rows completely, each row once. Without hwloc, what needs a
 * description of a machine is skipped.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/pool.h"
#include "experts/nodeplan.h"

#define TWO_SOCKETS "Package:2 NUMANode:1 L3Cache:2(size=33554432) Core:4 PU:2"
#define THREADRIPPER "Package:1 NUMANode:4 L3Cache:2(size=33554432) Core:8 PU:2"
#define ONE_NODE "Package:1 NUMANode:1 L3Cache:1(size=33554432) Core:8 PU:2"

struct machine {
    const char *name, *allowed;
    double quota;
    uint32_t n_threads; /* 0: default */
    bool is_left;       /* memory is left to the system */
    const char *sizes;  /* of the groups: nodes in the order of their first worker */
    const char *why;    /* a part of it */
};

static const struct machine machines[] = {
    { TWO_SOCKETS, NULL, 0, 0, false, "0:8 1:8", "" },
    { TWO_SOCKETS, NULL, 0, 12, false, "0:8 1:4", "" },
    { TWO_SOCKETS, NULL, 0, 32, false, "0:16 1:16", "" }, /* SMT siblings: groups interleaved */
    { TWO_SOCKETS, NULL, 0, 20, false, "0:12 1:8", "" },
    { TWO_SOCKETS, NULL, 0, 8, false, "-1:8", "on one node" },
    { TWO_SOCKETS, "16-31", 0, 0, false, "-1:8", "" }, /* there is one node for this process */
    { TWO_SOCKETS, "14-17", 0, 0, false, "0:1 1:1", "" },
    { TWO_SOCKETS, NULL, 0, 33, false, "-1:33", "not bound" },
    { TWO_SOCKETS, NULL, 4, 0, false, "-1:4", "not bound" },
    { TWO_SOCKETS, NULL, 0, 0, true, "-1:16", "memory is left" },
    { THREADRIPPER, NULL, 0, 0, false, "0:16 1:16 2:16 3:16", "" },
    { THREADRIPPER, NULL, 0, 40, false, "0:16 1:16 2:8", "" },
    { THREADRIPPER, "32-63,96-127", 0, 0, false, "1:16 3:16", "" }, /* as the system counts */
    { ONE_NODE, NULL, 0, 0, false, "-1:8", "" },
    { ONE_NODE, NULL, 0, 17, false, "-1:17", "" },
};

/* "0:8 1:8": nodes and how many workers are on each. */
static void describe(const struct sl_nodeplan *plan, uint32_t n_threads, char *text, size_t room)
{
    size_t len = 0;

    text[0] = '\0';
    for (uint32_t g = 0; g < plan->n; g++) {
        uint32_t n = 0;

        for (uint32_t i = 0; i < n_threads; i++)
            n += plan->groups[i] == g;
        len += (size_t)snprintf(text + len, room - len, "%s%d:%u", g ? " " : "", plan->ids[g], n);
    }
}

static void workers_of_a_node_are_a_group(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
        const struct machine *m = &machines[i];
        struct sl_topology *topo = NULL;
        struct sl_placement placement;
        struct sl_nodeplan plan;
        struct sl_diag diag = { "" };
        char text[256];
        int r = sl_topology_from_text(&topo, m->name, m->allowed, &diag);

        if (r == -ENOTSUP)
            skip();
        assert_int_equal(r, 0);
        topo->quota_cpus = m->quota;
        if (m->is_left)
            topo->memory = (struct sl_topology_nodes){ .n = 0 };
        assert_int_equal(sl_placement_plan(&placement, topo, m->n_threads, &diag), 0);
        assert_int_equal(sl_nodeplan_make(&plan, topo, &placement, &topo->memory), 0);
        describe(&plan, placement.n_threads, text, sizeof(text));
        if (strcmp(text, m->sizes) != 0)
            fail_msg("machine %zu: groups %s, expected %s", i, text, m->sizes);
        if (m->why[0] ? !strstr(plan.why, m->why) : plan.why[0])
            fail_msg("machine %zu: why \"%s\", expected \"%s\"", i, plan.why, m->why);
        sl_nodeplan_done(&plan);
        sl_placement_done(&placement);
        sl_topology_close(topo);
    }
}

#define N_WORKERS 5u
#define N_ITEMS 1000u

struct work {
    struct sl_pool *pool;
    uint32_t n_items[2];             /* of each group */
    unsigned char n_taken[2][N_ITEMS];
};

/* Twice, for counters begin anew after a barrier. */
static void take_all(void *arg, uint32_t worker, uint32_t n_workers)
{
    struct work *work = arg;
    uint32_t g = sl_pool_group_of(work->pool, worker).index;

    (void)n_workers;
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = sl_pool_take_in(work->pool, g, 1); i < work->n_items[g];
             i = sl_pool_take_in(work->pool, g, 1))
            work->n_taken[g][i]++;
        sl_pool_barrier(work->pool);
    }
}

static void groups_share_out_all_rows_once(void **state)
{
    static const uint32_t groups[N_WORKERS] = { 1, 0, 1, 1, 0 };
    static const uint32_t ranks[N_WORKERS] = { 0, 0, 1, 2, 1 };
    struct sl_pool_opts opts = { .n_workers = N_WORKERS, .groups = groups, .n_groups = 2 };
    struct work *work = calloc(1, sizeof(*work));
    struct sl_pool *pool;

    (void)state;
    assert_non_null(work);
    assert_int_equal(sl_pool_new(&pool, &opts), 0);
    for (uint32_t i = 0; i < N_WORKERS; i++) {
        struct sl_pool_group group = sl_pool_group_of(pool, i);

        assert_int_equal(group.index, groups[i]);
        assert_int_equal(group.first, groups[i] ? 2 : 0);
        assert_int_equal(group.n_workers, groups[i] ? 3 : 2);
        assert_int_equal(group.rank, ranks[i]);
    }
    *work = (struct work){ .pool = pool, .n_items = { 700, N_ITEMS } };
    sl_pool_run(pool, take_all, work);
    for (uint32_t g = 0; g < 2; g++)
        for (uint32_t i = 0; i < N_ITEMS; i++)
            assert_int_equal(work->n_taken[g][i], i < work->n_items[g] ? 2 : 0);
    sl_pool_free(pool);
    free(work);

    for (uint64_t n = 0; n < 700; n += 37) {
        uint64_t begin, end, next;

        sl_pool_share_span(n, 32, 0, 2, N_WORKERS, &begin, &end);
        assert_int_equal(begin, 0);
        sl_pool_share_span(n, 32, 2, 3, N_WORKERS, &next, &begin);
        assert_int_equal(next, end);
        assert_int_equal(begin, n);
        assert_true(end % 32 == 0 || end == n);
    }
}

struct idling {
    struct sl_pool *pool;
    atomic_uint n_calls[N_WORKERS];
};

static bool idle_thrice(void *arg)
{
    return atomic_fetch_add((atomic_uint *)arg, 1) + 1 < 3;
}

/* The last one comes when the others have nothing left. */
static void wait_idly(void *arg, uint32_t worker, uint32_t n_workers)
{
    struct idling *idling = arg;

    for (uint32_t i = 0; worker + 1 == n_workers && i < worker; i++)
        while (atomic_load(&idling->n_calls[i]) < 3)
            (void)usleep(100);
    sl_pool_barrier_idle(idling->pool, idle_thrice, &idling->n_calls[worker]);
}

static void waiting_workers_idle_until_there_is_nothing(void **state)
{
    struct sl_pool_opts opts = { .n_workers = N_WORKERS };
    struct idling idling = { 0 };

    (void)state;
    assert_int_equal(sl_pool_new(&idling.pool, &opts), 0);
    sl_pool_run(idling.pool, wait_idly, &idling);
    assert_int_equal(atomic_load(&idling.n_calls[N_WORKERS - 1]), 0);
    for (uint32_t i = 0; i + 1 < N_WORKERS; i++)
        assert_int_equal(atomic_load(&idling.n_calls[i]), 3);
    sl_pool_free(idling.pool);
}

static void groups_that_cannot_be_are_refused(void **state)
{
    static const uint32_t holes[] = { 0, 0, 2 }, beyond[] = { 0, 1, 2 };
    struct sl_pool_opts opts = { .n_workers = 3, .groups = holes, .n_groups = 3 };
    struct sl_pool *pool;

    (void)state;
    assert_int_equal(sl_pool_new(&pool, &opts), -ERANGE);
    opts = (struct sl_pool_opts){ .n_workers = 3, .groups = beyond, .n_groups = 2 };
    assert_int_equal(sl_pool_new(&pool, &opts), -ERANGE);
}

static void memory_of_no_node_is_refused(void **state)
{
    (void)state;
    assert_int_equal(sl_topology_prefer(-1, NULL, 0), -EINVAL);
    assert_int_equal(sl_topology_prefer(SL_TOPOLOGY_NODES_MAX, NULL, 0), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_of_a_node_are_a_group),
        cmocka_unit_test(groups_share_out_all_rows_once),
        cmocka_unit_test(waiting_workers_idle_until_there_is_nothing),
        cmocka_unit_test(groups_that_cannot_be_are_refused),
        cmocka_unit_test(memory_of_no_node_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
