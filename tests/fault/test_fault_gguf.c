/*
 * Opening models, warming and placing, with the n-th call of each kind failing, for
 * n = 1, 2, 3, ... until a run meets no failure: the right code and a text, outputs
 * untouched, no file left open or mapped (and no memory leaked, under a sanitizer).
 * The first argument is the list that gguf_cases.py wrote.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "experts/placement.h"
#include "experts/quota.h"
#include "experts/topology.h"
#include "faults.h"
#include "loader/gguf.h"

#define N_MAX 10000 /* more calls than any of the functions makes */

static const char *list;

/* A file of the cases; static, so that the text stays. */
static const char *path_of(const char *name)
{
    static char path[2048];

    snprintf(path, sizeof(path), "%.*s/%s", (int)strlen(list) - 4, list, name);
    return path;
}

static int n_open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static int n_mapped_models(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[4096];
    int n = 0;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        n += strstr(line, ".gguf") != NULL;
    fclose(f);
    return n;
}

static const struct kind {
    uint32_t kinds;
    int code; /* of a run in which a call failed; 0: the failure is got round */
} open_kinds[] = {
    { FAULTS_ALLOC, -ENOMEM },
    { FAULTS_MMAP, -ENOMEM },
    { FAULTS_OPEN, -EMFILE },
};

/* Returns how many runs failed. */
static int open_with(const char *path, const struct kind *kind)
{
    int n_files = n_open_files();

    for (uint64_t n = 1; n < N_MAX; n++) {
        struct sl_gguf *gguf = (void *)&list;
        struct sl_diag diag = { "" };
        int r;

        faults_arm(kind->kinds, n);
        r = sl_gguf_open(&gguf, path, 0, &diag);
        faults_disarm();
        if (!faults_hit()) {
            assert_int_equal(r, 0);
            sl_gguf_close(gguf);
            return (int)n - 1;
        }
        if (r != kind->code)
            fail_msg("call %d of kind %u: expected %d, got %d: %s", (int)n, kind->kinds,
                     kind->code, r, diag.text);
        assert_true(strlen(diag.text) > 10);
        assert_ptr_equal(gguf, (void *)&list);
        assert_int_equal(n_open_files(), n_files);
        assert_int_equal(n_mapped_models(), 0);
    }
    fail_msg("no run without a failure");
    return 0;
}

static void opening_a_model_survives_any_failure(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(open_kinds) / sizeof(open_kinds[0]); i++) {
        int one = open_with(path_of("good.gguf"), &open_kinds[i]);
        int three = open_with(path_of("split/model-00002-of-00003.gguf"), &open_kinds[i]);

        print_message("kind %u: %d failures in one file, %d in three\n", open_kinds[i].kinds,
                      one, three);
        assert_true(one >= 1 && three >= 3);
    }
}

static void a_bad_file_stays_bad_when_memory_is_short(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < N_MAX; n++) {
        struct sl_gguf *gguf = NULL;
        int r;

        faults_arm(FAULTS_ALL, n);
        r = sl_gguf_open(&gguf, path_of("overlap.gguf"), 0, NULL);
        faults_disarm();
        assert_null(gguf);
        if (!faults_hit()) {
            assert_int_equal(r, -EBADMSG);
            return;
        }
        assert_true(r == -ENOMEM || r == -EMFILE);
    }
    fail_msg("no run without a failure");
}

static const struct kind warm_kinds[] = {
    { FAULTS_ALLOC, -ENOMEM },
    { FAULTS_READ, -EIO },
    { FAULTS_THREAD, 0 },
};

static void warming_survives_any_failure(void **state)
{
    struct sl_mapping *map = NULL;
    uint64_t bytes;

    (void)state;
    assert_int_equal(sl_mapping_open(&map, path_of("many.gguf"), NULL), 0);
    bytes = sl_mapping_bytes(map);
    for (size_t i = 0; i < sizeof(warm_kinds) / sizeof(warm_kinds[0]); i++) {
        uint64_t n;

        for (n = 1; n < N_MAX; n++) {
            struct sl_diag diag = { "" };
            int r;

            /* What is cached is not read, so drop it; some file systems cannot. */
            (void)posix_fadvise(sl_mapping_fd(map), 0, 0, POSIX_FADV_DONTNEED);
            faults_arm(warm_kinds[i].kinds, n);
            r = sl_mapping_warm(map, 0, bytes, 3, NULL, NULL, &diag);
            faults_disarm();
            if (!faults_hit()) {
                assert_int_equal(r, 0);
                break;
            }
            assert_int_equal(r, warm_kinds[i].code);
            assert_int_equal(diag.text[0] != '\0', r < 0);
        }
        assert_true(n < N_MAX);
    }
    sl_mapping_unref(map);
}

static void placing_survives_any_failure(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < N_MAX; n++) {
        struct sl_topology *topo = NULL;
        struct sl_placement plan = { 0 };
        struct sl_diag diag = { "" };
        int r;

        faults_arm(FAULTS_ALLOC, n);
        r = sl_topology_open(&topo, &diag);
        if (r >= 0)
            r = sl_placement_plan(&plan, topo, 0, &diag);
        faults_disarm();
        if (r < 0) {
            assert_int_equal(r, -ENOMEM);
            assert_true(faults_hit());
            assert_true(diag.text[0] != '\0');
            assert_null(plan.cpus);
        }
        sl_placement_done(&plan);
        sl_topology_close(topo);
        if (!faults_hit()) {
            assert_int_equal(r, 0);
            return;
        }
    }
    fail_msg("no run without a failure");
}

static void a_quota_that_cannot_be_read_is_no_limit(void **state)
{
    double quota = sl_quota_read("");

    (void)state;
    for (uint64_t n = 1; n < N_MAX; n++) {
        double got;

        faults_arm(FAULTS_OPEN, n);
        got = sl_quota_read("");
        faults_disarm();
        if (!faults_hit()) {
            assert_true(got == quota);
            return;
        }
        assert_true(got == 0 || got >= quota);
    }
    fail_msg("no run without a failure");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_a_model_survives_any_failure),
        cmocka_unit_test(a_bad_file_stays_bad_when_memory_is_short),
        cmocka_unit_test(warming_survives_any_failure),
        cmocka_unit_test(placing_survives_any_failure),
        cmocka_unit_test(a_quota_that_cannot_be_read_is_no_limit),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: test_fault_gguf CASES.txt\n");
        return 2;
    }
    list = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
