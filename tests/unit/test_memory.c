/*
 * The memory that cgroups leave: every level counts, v1 and v2, and what cannot be read or
 * understood is no limit. Hierarchies are made up here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "madetree.h"

#define V2 "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
#define V1 "40 30 0:30 /docker/1f /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
#define MEMINFO "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n"
#define MIB ((uint64_t)1 << 20)

static void check(uint64_t limit, uint64_t left, const char *file, uint64_t available)
{
    struct sl_memory_limit got = sl_memory_find_limit(madetree_root());

    assert_int_equal(got.limit_bytes, limit);
    assert_int_equal(got.left_bytes, left);
    assert_string_equal(got.file[0] ? got.file + strlen(madetree_root()) : "", file);
    assert_int_equal(sl_memory_available(madetree_root()), available);
}

static void without_any_file_nothing_is_known(void **state)
{
    (void)state;
    check(UINT64_MAX, UINT64_MAX, "", UINT64_MAX);
}

static void without_a_limit_the_system_decides(void **state)
{
    (void)state;
    madetree_put("/proc/meminfo", MEMINFO);
    madetree_put("/proc/self/cgroup", "0::/a\n");
    madetree_put("/proc/self/mountinfo", V2);
    madetree_put("/sys/fs/cgroup/a/memory.max", "max\n");
    madetree_put("/sys/fs/cgroup/a/memory.high", "max\n");
    madetree_put("/sys/fs/cgroup/a/memory.current", "12345\n");
    check(UINT64_MAX, UINT64_MAX, "", 8000000ull * 1024);
}

static void the_level_that_leaves_least_is_found(void **state)
{
    (void)state;
    madetree_put("/proc/meminfo", MEMINFO);
    madetree_put("/proc/self/cgroup", "0::/a/b\n");
    madetree_put("/proc/self/mountinfo", V2);
    madetree_put("/sys/fs/cgroup/a/b/memory.max", "1073741824\n");
    madetree_put("/sys/fs/cgroup/a/b/memory.current", "104857600\n"); /* 100 MiB, 40 of it cache */
    madetree_put("/sys/fs/cgroup/a/b/memory.stat",
                 "anon 62914560\nactive_file 20971520\ninactive_file 20971520\n");
    madetree_put("/sys/fs/cgroup/a/memory.max", "2147483648\n");
    madetree_put("/sys/fs/cgroup/a/memory.current", "1610612736\n");
    check(2048 * MIB, 512 * MIB, "/sys/fs/cgroup/a/memory.max", 512 * MIB);

    madetree_put("/sys/fs/cgroup/a/memory.max", "max\n");
    check(1024 * MIB, 964 * MIB, "/sys/fs/cgroup/a/b/memory.max", 964 * MIB);
}

static void the_point_where_the_kernel_throttles_is_a_limit(void **state)
{
    (void)state;
    madetree_put("/proc/self/cgroup", "0::/a\n");
    madetree_put("/proc/self/mountinfo", V2);
    madetree_put("/sys/fs/cgroup/a/memory.max", "1073741824\n");
    madetree_put("/sys/fs/cgroup/a/memory.high", "536870912\n");
    madetree_put("/sys/fs/cgroup/a/memory.current", "1073741824\n");
    check(1024 * MIB, 0, "/sys/fs/cgroup/a/memory.max", 0);
    madetree_put("/sys/fs/cgroup/a/memory.current", "104857600\n");
    check(512 * MIB, 412 * MIB, "/sys/fs/cgroup/a/memory.high", 412 * MIB);
}

static void a_container_of_the_first_version_is_read(void **state)
{
    (void)state;
    madetree_put("/proc/self/cgroup", "4:memory:/docker/1f\n0::/docker/1f\n");
    madetree_put("/proc/self/mountinfo", V1);
    madetree_put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
    madetree_put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "536870912\n");
    madetree_put("/sys/fs/cgroup/memory/memory.stat",
                 "active_file 1\ntotal_active_file 268435456\ntotal_inactive_file 0\n");
    check(1024 * MIB, 768 * MIB, "/sys/fs/cgroup/memory/memory.limit_in_bytes", 768 * MIB);
    madetree_put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    check(UINT64_MAX, UINT64_MAX, "", UINT64_MAX);
}

static void nonsense_is_no_limit(void **state)
{
    static const char *const texts[] = { "", "\n", "-1\n", "nan\n", "0x10\n", "max 5\n", " 5\n" };

    (void)state;
    madetree_put("/proc/self/cgroup", "0::/a\n");
    madetree_put("/proc/self/mountinfo", V2);
    madetree_put("/sys/fs/cgroup/a/memory.current", "5\n");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        madetree_put("/sys/fs/cgroup/a/memory.max", texts[i]);
        check(UINT64_MAX, UINT64_MAX, "", UINT64_MAX);
    }
    madetree_put("/sys/fs/cgroup/a/memory.max", "5\n");
    madetree_put("/sys/fs/cgroup/a/memory.current", "\n"); /* how much is left is not known */
    check(UINT64_MAX, UINT64_MAX, "", UINT64_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, madetree_make, madetree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_any_file_nothing_is_known),
        TEST(without_a_limit_the_system_decides),
        TEST(the_level_that_leaves_least_is_found),
        TEST(the_point_where_the_kernel_throttles_is_a_limit),
        TEST(a_container_of_the_first_version_is_read),
        TEST(nonsense_is_no_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
