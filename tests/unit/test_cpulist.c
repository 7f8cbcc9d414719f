/*
 * CPUs named by a person: lists of them are read and written, and workers go exactly there
 * or nowhere, with an error that names the CPU.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/pool.h"
#include "experts/cpulist.h"
#include "experts/online.h"
#include "experts/placement.h"

#define CAP 16

static void lists_are_read_and_written(void **state)
{
    static const struct {
        const char *text;
        int n;
        int32_t want[CAP];
        const char *again; /* as it is written; NULL: the same */
    } cases[] = {
        { "0", 1, { 0 }, NULL },
        { "0-3,8", 5, { 0, 1, 2, 3, 8 }, NULL },
        { "8,0-3", 5, { 8, 0, 1, 2, 3 }, NULL },
        { "3,2,1", 3, { 3, 2, 1 }, NULL },
        { "0-14:2", 8, { 0, 2, 4, 6, 8, 10, 12, 14 }, NULL },
        { "0-5:3,7", 3, { 0, 3, 7 }, "0,3,7" },
        { "0,1", 2, { 0, 1 }, "0-1" },
        { "0,8", 2, { 0, 8 }, NULL },
        { "5-5", 1, { 5 }, "5" },
        { "4095", 1, { 4095 }, NULL },
        { "0,1,2,4,6,8", 6, { 0, 1, 2, 4, 6, 8 }, "0-2,4-8:2" },
    };
    int32_t got[CAP];
    char text[64];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(sl_cpulist_parse(cases[i].text, got, CAP, NULL), cases[i].n);
        assert_memory_equal(got, cases[i].want, (size_t)cases[i].n * sizeof(got[0]));
        assert_string_equal(sl_cpulist_print(text, sizeof(text), got, (uint32_t)cases[i].n),
                            cases[i].again ? cases[i].again : cases[i].text);
    }
    assert_string_equal(sl_cpulist_print(text, sizeof(text), NULL, 0), "");
    assert_string_equal(sl_cpulist_print(text, sizeof(text), (int32_t[]){ -1, -1, 3 }, 3),
                        "any,3");
}

static void what_is_written_reads_back(void **state)
{
    int32_t cpus[CAP], got[CAP];
    uint64_t random = 88172645463325252u;
    char text[256];

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint32_t n = 0;

        while (n < CAP) {
            int32_t cpu;

            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            cpu = (int32_t)(random % 20);
            for (uint32_t k = 0; k < n; k++)
                if (cpus[k] == cpu)
                    cpu = -1;
            if (cpu >= 0)
                cpus[n++] = cpu;
        }
        (void)sl_cpulist_print(text, sizeof(text), cpus, n);
        assert_int_equal(sl_cpulist_parse(text, got, CAP, NULL), n);
        assert_memory_equal(got, cpus, n * sizeof(cpus[0]));
    }
}

static void long_lists_are_cut(void **state)
{
    int32_t cpus[CAP];
    char text[16];

    (void)state;
    for (int32_t i = 0; i < CAP; i++)
        cpus[i] = 1000 - i;
    for (size_t bytes = 8; bytes <= sizeof(text); bytes++) {
        memset(text, 'x', sizeof(text));
        (void)sl_cpulist_print(text, bytes, cpus, CAP);
        assert_true(strlen(text) < bytes);
        assert_string_equal(text + strlen(text) - 3, "...");
    }
    assert_string_equal(text, "1000,999,998..."); /* 15 and the end */
}

static void what_is_no_list_is_refused(void **state)
{
    static const struct {
        const char *text;
        int want;
        const char *word;
    } cases[] = {
        { "", -EINVAL, "0-3,8" },
        { ",", -EINVAL, "\",\"" },
        { "1,", -EINVAL, "\"1,\"" },
        { ",1", -EINVAL, "expected" },
        { "a", -EINVAL, "\"a\"" },
        { "1 ,2", -EINVAL, "expected" },
        { "-1", -EINVAL, "expected" },
        { "3-1", -EINVAL, "\"3-1\"" },
        { "1-", -EINVAL, "expected" },
        { "1-3:", -EINVAL, "expected" },
        { "1-3:0", -EINVAL, "expected" },
        { "1:2", -EINVAL, "expected" },
        { "0x3", -EINVAL, "expected" },
        { "4096", -ERANGE, "below 4096" },
        { "0-99999999999999999999", -ERANGE, "below 4096" },
        { "18446744073709551617", -ERANGE, "below 4096" },
        { "1,2,1", -EINVAL, "CPU 1 is in the list twice" },
        { "0-3,2-5", -EINVAL, "CPU 2" },
        { "0-16", -E2BIG, "at most 16" },
        { "0-4095", -E2BIG, "at most 16" },
    };
    int32_t got[CAP];
    struct sl_diag diag;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        diag.text[0] = '\0';
        assert_int_equal(sl_cpulist_parse(cases[i].text, got, CAP, &diag), cases[i].want);
        if (!strstr(diag.text, cases[i].word))
            fail_msg("\"%s\": %s", cases[i].text, diag.text);
    }
}

/* Two cores with two CPUs each, 0 and 2, 1 and 3; 4 and 5 are online but not allowed. */
static struct sl_topology small(struct sl_topology_core cores[2])
{
    struct sl_topology topo = { .cores = cores, .n_cores = 2, .n_cpus = 4, .n_l3 = 1,
                                .n_nodes = 2, .n_kinds = 1 };

    for (int32_t i = 0; i < 2; i++)
        cores[i] = (struct sl_topology_core){ .cpus = { i, i + 2 }, .n_cpus = 2,
                                              .node = (uint32_t)i };
    for (int32_t cpu = 0; cpu < 6; cpu++)
        sl_topology_cpus_add(&topo.online, cpu);
    return topo;
}

static void workers_go_exactly_there(void **state)
{
    static const int32_t cpus[] = { 3, -1, 0 };
    struct sl_topology_core cores[2];
    struct sl_topology topo = small(cores);
    struct sl_placement plan;

    (void)state;
    topo.quota_cpus = 1; /* does not matter: they were asked for */
    assert_int_equal(sl_placement_exact(&plan, &topo, cpus, 3, NULL), 0);
    assert_int_equal(plan.n_threads, 3);
    assert_memory_equal(plan.cpus, cpus, sizeof(cpus));
    assert_true(plan.nodes[0] == 1 && plan.nodes[1] == 0 && plan.nodes[2] == 0);
    assert_non_null(strstr(plan.why, "asked for"));
    sl_placement_done(&plan);
}

static void a_cpu_that_cannot_be_had_is_named(void **state)
{
    static const struct {
        int32_t cpus[3];
        uint32_t n;
        int want;
        const char *text;
    } cases[] = {
        { { 0, 4, 1 }, 3, -ERANGE,
          "CPU 4 is not allowed to this process, by its affinity or its cgroup's cpuset; "
          "allowed: 0-3" },
        { { 0, 1, 6 }, 3, -ERANGE, "CPU 6 is not there or switched off; this machine has 0-5" },
        { { 4095 }, 1, -ERANGE, "CPU 4095 is not there or switched off; this machine has 0-5" },
        { { INT32_MAX }, 1, -ERANGE, "CPU 2147483647 is not there" },
        { { 2, 3, 2 }, 3, -EINVAL, "CPU 2 is asked for twice" },
        { { 0 }, 0, -ERANGE, "CPUs for 0 threads" },
        { { 0 }, SL_POOL_WORKERS_MAX + 1, -ERANGE, "expected 1 to 256" },
    };
    struct sl_topology_core cores[2];
    struct sl_topology topo = small(cores);
    struct sl_placement plan = { .n_threads = 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sl_diag diag = { "" };

        assert_int_equal(sl_placement_exact(&plan, &topo, cases[i].cpus, cases[i].n, &diag),
                         cases[i].want);
        if (strncmp(diag.text, cases[i].text, strlen(cases[i].text)) != 0 &&
            !strstr(diag.text, cases[i].text))
            fail_msg("case %zu: %s", i, diag.text);
        assert_null(plan.cpus);
    }
    topo.online = (struct sl_topology_cpus){ .n = 0 }; /* where the system does not tell */
    {
        struct sl_diag diag = { "" };

        assert_int_equal(sl_placement_exact(&plan, &topo, (int32_t[]){ 6 }, 1, &diag), -ERANGE);
        assert_non_null(strstr(diag.text, "CPU 6 is not allowed"));
    }
}

static void the_default_says_why(void **state)
{
    static const struct {
        uint32_t n_threads;
        double quota;
        uint32_t n_small;
        const char *want;
    } cases[] = {
        { 0, 0, 0, "one on each core, SMT siblings left free" },
        { 0, 0, 1, "one on each big core, 1 small core left out" },
        { 3, 0, 0, "as many as asked for" },
        { 5, 0, 0, "as many as asked for; not bound: more than logical CPUs" },
        { 0, 3, 0, "one on each core, SMT siblings left free; not bound: a quota shares the CPUs" },
        { 0, 0.5, 0, "as many as a quota of 0.5 CPUs feeds; not bound: a quota shares the CPUs" },
    };
    struct sl_topology_core cores[2];
    struct sl_topology topo = small(cores);
    struct sl_placement plan;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        topo.quota_cpus = cases[i].quota;
        cores[1].is_small = cases[i].n_small > 0;
        assert_int_equal(sl_placement_plan(&plan, &topo, cases[i].n_threads, NULL), 0);
        assert_string_equal(plan.why, cases[i].want);
        sl_placement_done(&plan);
    }
}

static void what_is_online_is_read(void **state)
{
    static const struct {
        const char *text;
        uint32_t n;
        int32_t has, lacks;
    } cases[] = {
        { "0-15\n", 16, 15, 16 },
        { "0,2-3\n", 3, 2, 1 },
        { "0-4095\n", 4096, 4095, -1 },
        { "", 0, -1, 0 },
        { "none\n", 0, -1, 0 },
    };
    const char *tmp = getenv("TMPDIR");
    char root[128], path[256];
    struct sl_topology_cpus cpus;

    (void)state;
    snprintf(root, sizeof(root), "%.100s/slonlineXXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(root));
    sl_online_read(root, &cpus);
    assert_int_equal(cpus.n, 0);
    snprintf(path, sizeof(path), "mkdir -p '%s/sys/devices/system/cpu'", root);
    assert_int_equal(system(path), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        FILE *file;

        snprintf(path, sizeof(path), "%s/sys/devices/system/cpu/online", root);
        file = fopen(path, "w");
        assert_non_null(file);
        fputs(cases[i].text, file);
        fclose(file);
        sl_online_read(root, &cpus);
        assert_int_equal(cpus.n, cases[i].n);
        assert_true(cases[i].has < 0 || sl_topology_cpus_has(&cpus, cases[i].has));
        assert_false(sl_topology_cpus_has(&cpus, cases[i].lacks));
    }
    snprintf(path, sizeof(path), "rm -rf '%s'", root);
    assert_int_equal(system(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_read_and_written),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(long_lists_are_cut),
        cmocka_unit_test(what_is_no_list_is_refused),
        cmocka_unit_test(workers_go_exactly_there),
        cmocka_unit_test(a_cpu_that_cannot_be_had_is_named),
        cmocka_unit_test(the_default_says_why),
        cmocka_unit_test(what_is_online_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
