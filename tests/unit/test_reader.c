/* The reader with every back end that this system has: right bytes, in any order, from any
 * thread, while regions come and go and files shrink; and what it says of itself. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/capability.h>

#include "readcheck.h"

#define PAGE 4096

static struct readcheck rc;
static bool has_uring;

static const struct sl_reader_opts ways[] = {
    { .backend = SL_READER_URING },
    { .backend = SL_READER_URING, .no_registration = true },
    { .backend = SL_READER_URING, .direct = SL_READER_DIRECT_OFF },
    { .backend = SL_READER_PREAD },
    { .backend = SL_READER_PREAD, .direct = SL_READER_DIRECT_OFF, .n_threads = 3 },
    { .backend = SL_READER_AUTO },
};

#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

/* A reader of way i at some depth; NULL if this system has no such thing. */
static struct sl_reader *open_way(size_t i, uint32_t depth)
{
    struct sl_reader_opts opts = ways[i];

    opts.depth = depth;
    if (opts.backend == SL_READER_URING && !has_uring)
        return NULL;
    return readcheck_reader(&rc, &opts);
}

static void random_reads_bring_the_right_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_WAYS; i++) {
        struct sl_reader *reader = open_way(i, 24);
        struct sl_reader_counters counters;
        struct readcheck_tally tally;
        int region;

        if (!reader)
            continue;
        region = sl_reader_add_region(reader, rc.arena, READCHECK_ARENA_BYTES);
        assert_true(region >= 0);
        tally = readcheck_run(&rc, reader, 400, (uint32_t)region);
        assert_int_equal(tally.n_failed, 0);
        sl_reader_get_counters(reader, &counters);
        assert_int_equal(counters.n_reads, 400);
        assert_int_equal(counters.n_failed, 0);
        assert_true(counters.bytes > 0);
        sl_reader_remove_region(reader, (uint32_t)region);
        sl_reader_close(reader);
    }
}

static void the_last_record_ends_with_the_file(void **state)
{
    uint64_t last = rc.bytes[0] / PAGE * PAGE;

    (void)state;
    for (size_t i = 0; i < N_WAYS; i++) {
        struct sl_reader *reader = open_way(i, 4);
        struct sl_reader_counters counters;
        struct sl_read_done done;
        const uint64_t offs[] = { last, last - 3 * PAGE, last + PAGE };

        for (size_t k = 0; reader && k < 3; k++) {
            struct sl_read read = readcheck_make(&rc, 0, SL_READER_NO_REGION);

            read.file = 0;
            read.off = offs[k];
            read.bytes = 8 * PAGE;
            sl_reader_submit(reader, &read, 1);
            assert_int_equal(sl_reader_reap(reader, true, &done, 1), 1);
            assert_int_equal(done.error, 0);
            if (k < 2)
                readcheck_compare(&rc, &read);
        }
        if (!reader)
            continue;
        sl_reader_get_counters(reader, &counters);
        assert_int_equal(counters.bytes, 1808 + 3 * PAGE + 1808);
        assert_int_equal(counters.n_retries, 0);
        sl_reader_close(reader);
    }
}

static void regions_come_and_go_while_others_are_read_to(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_WAYS; i++) {
        struct sl_reader *reader = open_way(i, 16);
        struct sl_read_done done;
        int other = -1;
        int first;
        char *more;

        if (!reader)
            continue;
        more = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(more, MAP_FAILED);
        first = sl_reader_add_region(reader, rc.arena, READCHECK_ARENA_BYTES);
        for (uint32_t round = 0; round < 50; round++) {
            struct sl_read read = readcheck_make(&rc, round % 8, (uint32_t)first);
            struct sl_read aside = { .off = 4 * PAGE, .buf = more, .tag = 99, .bytes = 1 << 20 };

            sl_reader_submit(reader, &read, 1);
            other = sl_reader_add_region(reader, more, 1 << 20);
            assert_true(other >= 0 && other != first);
            aside.region = (uint32_t)other;
            memset(more, 0, 1 << 20);
            sl_reader_submit(reader, &aside, 1);
            for (uint32_t n = 0; n < 2; n++) {
                assert_int_equal(sl_reader_reap(reader, true, &done, 1), 1);
                assert_int_equal(done.error, 0);
                if (done.tag != 99)
                    readcheck_compare(&rc, &read);
                else
                    assert_memory_equal(more, rc.data[0] + 4 * PAGE, 1 << 20);
            }
            read = readcheck_make(&rc, round % 8, (uint32_t)first);
            sl_reader_submit(reader, &read, 1);
            sl_reader_remove_region(reader, (uint32_t)other);
            assert_int_equal(sl_reader_reap(reader, true, &done, 1), 1);
            assert_int_equal(done.error, 0);
            readcheck_compare(&rc, &read);
        }
        sl_reader_close(reader);
        munmap(more, 1 << 20);
    }
}

static void never_more_than_depth_are_in_flight(void **state)
{
    const uint32_t depths[] = { 1, 2, 31, 32 };

    (void)state;
    for (size_t i = 0; i < N_WAYS; i++) {
        for (size_t k = 0; k < 4; k++) {
            struct sl_reader *reader = open_way(i, depths[k]);
            struct sl_read reads[32];
            struct sl_read_done done[32];
            bool seen[32] = { false };

            if (!reader)
                continue;
            assert_int_equal(sl_reader_room(reader), depths[k]);
            assert_int_equal(sl_reader_reap(reader, true, done, 32), 0); /* nothing to wait for */
            for (uint32_t s = 0; s < depths[k]; s++)
                reads[s] = readcheck_make(&rc, s, SL_READER_NO_REGION);
            sl_reader_submit(reader, reads, depths[k]);
            assert_int_equal(sl_reader_room(reader), 0);
            assert_int_equal(sl_reader_n_flying(reader), depths[k]);
            for (uint32_t left = depths[k]; left > 0;) {
                uint32_t n = sl_reader_reap(reader, true, done, 2);

                assert_true(n >= 1 && n <= 2 && n <= left);
                for (uint32_t d = 0; d < n; d++) {
                    assert_false(seen[done[d].tag]);
                    seen[done[d].tag] = true;
                    readcheck_compare(&rc, &reads[done[d].tag]);
                }
                left -= n;
                assert_int_equal(sl_reader_n_flying(reader), left);
            }
            sl_reader_close(reader);
        }
    }
}

/* Without the privilege to lock memory beyond the limit. */
static void drop_privilege(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];

    READCHECK(syscall(SYS_capget, &header, data) == 0);
    for (int i = 0; i < 2; i++)
        data[i].inheritable = data[i].effective = data[i].permitted = 0;
    READCHECK(syscall(SYS_capset, &header, data) == 0);
}

static void child_with_little_to_lock(void)
{
    const struct rlimit limit = { 8 << 20, 8 << 20 };
    struct sl_reader_opts opts = { .backend = SL_READER_URING, .depth = 24 };
    struct sl_reader *reader;
    struct sl_reader_info info;
    char *big = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    READCHECK(big != MAP_FAILED);
    READCHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    drop_privilege();
    reader = readcheck_reader(&rc, &opts);
    READCHECK(sl_reader_add_region(reader, big, 64 << 20) == 0);
    READCHECK(sl_reader_add_region(reader, rc.arena, READCHECK_ARENA_BYTES) == 1);
    sl_reader_get_info(reader, &info);
    READCHECK(!info.is_registered);
    READCHECK(strstr(info.fallback, "8192 KiB") && strstr(info.fallback, "ulimit -l"));
    READCHECK(readcheck_run(&rc, reader, 200, 1).n_failed == 0);
    sl_reader_remove_region(reader, 0);
    sl_reader_close(reader);
    munmap(big, 64 << 20);
}

static void child_that_registers_again_and_again(void)
{
    const struct rlimit limit = { 8 << 20, 8 << 20 };
    struct sl_reader_opts opts = { .backend = SL_READER_URING, .depth = 4 };
    struct sl_reader *reader;
    struct sl_reader_info info;

    READCHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    drop_privilege();
    reader = readcheck_reader(&rc, &opts);
    sl_reader_get_info(reader, &info);
    READCHECK(!info.is_registered && info.fallback[0] == '\0');
    for (int round = 0; round < 10; round++) {
        READCHECK(sl_reader_add_region(reader, rc.arena, 4 << 20) == 0);
        sl_reader_get_info(reader, &info);
        READCHECK(info.is_registered);
        sl_reader_remove_region(reader, 0);
        sl_reader_get_info(reader, &info);
        READCHECK(!info.is_registered && info.fallback[0] == '\0');
    }
    READCHECK(sl_reader_add_region(reader, rc.arena, 6 << 20) == 0);
    READCHECK(sl_reader_add_region(reader, rc.arena + (6 << 20), 2 << 20) == 1);
    READCHECK(sl_reader_add_region(reader, rc.arena, 2 << 20) == 2); /* one too many */
    sl_reader_get_info(reader, &info);
    READCHECK(!info.is_registered && info.fallback[0] != '\0');
    for (uint32_t region = 0; region < 3; region++)
        sl_reader_remove_region(reader, region);
    READCHECK(sl_reader_add_region(reader, rc.arena, 2 << 20) == 0); /* another chance */
    sl_reader_get_info(reader, &info);
    READCHECK(info.is_registered && info.fallback[0] == '\0');
    sl_reader_close(reader);
}

/* Run fn in a child, which must end well. */
static void in_child(void (*fn)(void))
{
    pid_t pid = fork();
    int status = -1;

    assert_true(pid >= 0);
    if (pid == 0) {
        fn();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void a_small_memlock_limit_costs_only_registration(void **state)
{
    (void)state;
    if (!has_uring)
        skip();
    in_child(child_with_little_to_lock);
}

static void a_removed_region_is_no_longer_charged(void **state)
{
    (void)state;
    if (!has_uring)
        skip();
    in_child(child_that_registers_again_and_again);
}

static void a_file_that_shrinks_gives_errors_not_hangs(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_WAYS; i++) {
        struct sl_reader *reader = open_way(i, 16);
        struct sl_reader_counters counters;
        struct readcheck_tally tally;
        int fd = open(rc.paths[1], O_RDWR | O_CLOEXEC);

        assert_true(fd >= 0);
        if (reader) {
            assert_int_equal(ftruncate(fd, (1 << 20) + 77), 0);
            tally = readcheck_run(&rc, reader, 200, SL_READER_NO_REGION);
            assert_true(tally.n_failed > 20 && tally.n_good > 20);
            sl_reader_get_counters(reader, &counters);
            assert_int_equal(counters.n_failed, tally.n_failed);
            assert_int_equal(pwrite(fd, rc.data[1], rc.bytes[1], 0), rc.bytes[1]);
            tally = readcheck_run(&rc, reader, 50, SL_READER_NO_REGION); /* it lives */
            assert_int_equal(tally.n_failed, 0);
            sl_reader_close(reader);
        }
        close(fd);
    }
}

static void closing_waits_for_reads_in_flight(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_WAYS; i++) {
        for (uint32_t round = 0; round < 5; round++) {
            struct sl_reader *reader = open_way(i, 32);
            struct sl_read reads[32];
            char before[PAGE];

            if (!reader)
                continue;
            for (uint32_t s = 0; s < 32; s++)
                reads[s] = readcheck_make(&rc, s, SL_READER_NO_REGION);
            sl_reader_submit(reader, reads, 32);
            sl_reader_close(reader);
            for (uint32_t s = 0; s < 32; s++) { /* nothing arrives any more */
                memset(reads[s].buf, 1, PAGE);
                memset(before, 1, PAGE);
            }
            for (uint32_t s = 0; s < 32; s++)
                assert_memory_equal(reads[s].buf, before, PAGE);
        }
    }
    sl_reader_close(NULL);
}

struct hand_over {
    struct sl_reader *reader;
    struct sl_read reads[16];
};

static void *submit_and_leave(void *arg)
{
    struct hand_over *h = arg;

    sl_reader_submit(h->reader, h->reads, 16);
    return NULL;
}

static void one_thread_may_submit_and_another_reap(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_WAYS; i++) {
        for (uint32_t round = 0; round < 10; round++) {
            struct hand_over h = { .reader = open_way(i, 16) };
            struct sl_read_done done;
            pthread_t thread;

            if (!h.reader)
                continue;
            for (uint32_t s = 0; s < 16; s++)
                h.reads[s] = readcheck_make(&rc, s, SL_READER_NO_REGION);
            assert_int_equal(pthread_create(&thread, NULL, submit_and_leave, &h), 0);
            assert_int_equal(pthread_join(thread, NULL), 0);
            for (uint32_t s = 0; s < 16; s++) {
                assert_int_equal(sl_reader_reap(h.reader, true, &done, 1), 1);
                assert_int_equal(done.error, 0);
                readcheck_compare(&rc, &h.reads[done.tag]);
            }
            sl_reader_close(h.reader);
        }
    }
}

static void the_file_meant_is_read_whatever_its_name_means_now(void **state)
{
    char aside[128];

    (void)state;
    snprintf(aside, sizeof(aside), "%s/aside", rc.dir);
    assert_int_equal(rename(rc.paths[0], aside), 0);
    for (size_t i = 0; i < N_WAYS; i++) {
        struct sl_reader *reader = open_way(i, 8);

        if (!reader)
            continue;
        assert_int_equal(readcheck_run(&rc, reader, 20, SL_READER_NO_REGION).n_failed, 0);
        sl_reader_close(reader);
    }
    assert_int_equal(rename(aside, rc.paths[0]), 0);
}

static void any_mode_of_opening_will_do(void **state)
{
    const int modes[] = { O_WRONLY, O_RDWR, O_RDONLY | O_DIRECT, O_PATH };

    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        int kept = rc.fds[1];
        struct sl_reader *reader;

        rc.fds[1] = open(rc.paths[1], modes[i] | O_CLOEXEC);
        if (rc.fds[1] < 0) { /* a file system without direct I/O */
            rc.fds[1] = kept;
            continue;
        }
        reader = open_way(N_WAYS - 1, 8);
        assert_int_equal(readcheck_run(&rc, reader, 20, SL_READER_NO_REGION).n_failed, 0);
        sl_reader_close(reader);
        close(rc.fds[1]);
        rc.fds[1] = kept;
    }
}

static void refuse(const int *fds, uint32_t n, const struct sl_reader_opts *opts, int code)
{
    struct sl_reader *reader = (struct sl_reader *)&rc;
    struct sl_diag diag = { "" };

    assert_int_equal(sl_reader_open(&reader, fds, n, opts, &diag), code);
    assert_true(diag.text[0] != '\0');
    assert_ptr_equal(reader, (void *)&rc);
    assert_int_equal(sl_reader_open(&reader, fds, n, opts, NULL), code);
}

static void what_cannot_be_read_is_refused(void **state)
{
    const struct sl_reader_opts deep = { .depth = SL_READER_DEPTH_MAX + 1 };
    int bad[2] = { rc.fds[0], -1 };
    int dir[1] = { open("/", O_RDONLY | O_DIRECTORY) };
    int ends[2];

    (void)state;
    refuse(rc.fds, 0, NULL, -EINVAL);
    refuse(rc.fds, 1, &deep, -EINVAL);
    refuse(bad, 2, NULL, -EBADF);
    refuse(dir, 1, NULL, -EINVAL);
    assert_int_equal(pipe(ends), 0);
    refuse(ends, 1, NULL, -EINVAL);
    close(ends[0]);
    close(ends[1]);
    close(dir[0]);
}

static void regions_are_numbered_and_counted(void **state)
{
    struct sl_reader *reader = open_way(N_WAYS - 1, 4);

    (void)state;
    assert_int_equal(sl_reader_add_region(reader, rc.arena + 1, PAGE), -EINVAL);
    assert_int_equal(sl_reader_add_region(reader, rc.arena, PAGE - 1), -EINVAL);
    assert_int_equal(sl_reader_add_region(reader, rc.arena, 0), -EINVAL);
    assert_int_equal(sl_reader_add_region(reader, rc.arena, ((uint64_t)1 << 30) + PAGE), -EINVAL);
    for (int i = 0; i < 1024; i++)
        assert_int_equal(sl_reader_add_region(reader, rc.arena + i * PAGE, PAGE), i);
    assert_int_equal(sl_reader_add_region(reader, rc.arena, PAGE), -E2BIG);
    sl_reader_remove_region(reader, 500);
    assert_int_equal(sl_reader_add_region(reader, rc.arena, PAGE), 500);
    sl_reader_close(reader);
}

/* A file of n bytes in a folder; -1 if it cannot be made there. */
static int unlinked_file(const char *dir, size_t n)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/sl_reader_XXXXXX", dir);
    fd = mkstemp(path);
    if (fd < 0)
        return -1;
    unlink(path);
    assert_true(write(fd, rc.data[0], n) == (ssize_t)n);
    return fd;
}

static void small_files_and_files_in_memory_can_be_read(void **state)
{
    const size_t sizes[] = { 0, 1, PAGE, 65536, 65537, 300000 };
    const char *dirs[] = { rc.dir, "/dev/shm" };

    (void)state;
    for (size_t i = 0; i < 2 * 6 * N_WAYS; i++) {
        struct sl_reader_opts opts = ways[i / 12];
        size_t n = sizes[i % 6];
        struct sl_reader *reader = NULL;
        struct sl_read read = readcheck_make(&rc, 0, SL_READER_NO_REGION);
        struct sl_read_done done;
        int fd = unlinked_file(dirs[i / 6 % 2], n);

        if (fd < 0 || (opts.backend == SL_READER_URING && !has_uring))
            continue;
        assert_int_equal(sl_reader_open(&reader, &fd, 1, &opts, NULL), 0);
        read.file = 0;
        read.off = 0;
        read.bytes = READCHECK_READ_MAX;
        sl_reader_submit(reader, &read, 1);
        assert_int_equal(sl_reader_reap(reader, true, &done, 1), 1);
        assert_int_equal(done.error, 0);
        assert_memory_equal(read.buf, rc.data[0],
                            n < READCHECK_READ_MAX ? n : READCHECK_READ_MAX);
        sl_reader_close(reader);
        close(fd);
    }
}

static void the_info_says_what_was_chosen(void **state)
{
    struct sl_reader_info info;
    struct sl_reader *reader;

    (void)state;
    for (size_t i = 0; i < N_WAYS; i++) {
        reader = open_way(i, 4);
        if (!reader)
            continue;
        sl_reader_get_info(reader, &info);
        assert_true(info.alignment >= SL_READER_ALIGN && info.alignment <= SL_READER_ALIGN_MAX);
        assert_int_equal(info.alignment, sl_reader_alignment(reader));
        assert_null(strchr(info.fallback, '\n'));
        if (ways[i].direct == SL_READER_DIRECT_OFF) {
            assert_false(info.is_direct);
            assert_non_null(strstr(info.fallback, "direct"));
        }
        if (ways[i].backend == SL_READER_PREAD) {
            assert_string_equal(info.backend, "pread");
            assert_int_equal(info.n_threads, ways[i].n_threads ? ways[i].n_threads : 4);
            assert_non_null(strstr(info.fallback, "io_uring"));
        }
        if (ways[i].backend == SL_READER_URING)
            assert_string_equal(info.backend, "io_uring");
        sl_reader_close(reader);
    }
}

/* How many of the first n pages of the first file are in the page cache. */
static size_t n_cached_pages(size_t n)
{
    unsigned char cached[1 << 10];
    size_t n_cached = 0;
    void *map = mmap(NULL, n * PAGE, PROT_READ, MAP_SHARED, rc.fds[0], 0);

    assert_true(map != MAP_FAILED && n <= sizeof(cached));
    assert_int_equal(mincore(map, n * PAGE, cached), 0);
    for (size_t i = 0; i < n; i++)
        n_cached += cached[i] & 1;
    munmap(map, n * PAGE);
    return n_cached;
}

static void reading_buffered_leaves_no_page_cache_behind(void **state)
{
    const size_t n = 1 << 10;

    (void)state;
    for (size_t i = 0; i < N_WAYS; i++) {
        struct sl_reader *reader = open_way(i, 4);

        if (!reader)
            continue;
        /* What was just written must reach the disk before it can be dropped. */
        assert_int_equal(fsync(rc.fds[0]), 0);
        assert_int_equal(posix_fadvise(rc.fds[0], 0, 0, POSIX_FADV_DONTNEED), 0);
        if (n_cached_pages(n) == n)
            skip(); /* a file system in memory */
        for (uint64_t off = 0; off < n * PAGE; off += READCHECK_READ_MAX) {
            struct sl_read read = readcheck_make(&rc, 0, SL_READER_NO_REGION);
            struct sl_read_done done;

            read.file = 0;
            read.off = off;
            read.bytes = READCHECK_READ_MAX;
            sl_reader_submit(reader, &read, 1);
            assert_int_equal(sl_reader_reap(reader, true, &done, 1), 1);
        }
        sl_reader_close(reader);
        assert_true(n_cached_pages(n) < n / 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_reads_bring_the_right_bytes),
        cmocka_unit_test(the_last_record_ends_with_the_file),
        cmocka_unit_test(regions_come_and_go_while_others_are_read_to),
        cmocka_unit_test(never_more_than_depth_are_in_flight),
        cmocka_unit_test(a_small_memlock_limit_costs_only_registration),
        cmocka_unit_test(a_removed_region_is_no_longer_charged),
        cmocka_unit_test(a_file_that_shrinks_gives_errors_not_hangs),
        cmocka_unit_test(closing_waits_for_reads_in_flight),
        cmocka_unit_test(one_thread_may_submit_and_another_reap),
        cmocka_unit_test(the_file_meant_is_read_whatever_its_name_means_now),
        cmocka_unit_test(any_mode_of_opening_will_do),
        cmocka_unit_test(what_cannot_be_read_is_refused),
        cmocka_unit_test(regions_are_numbered_and_counted),
        cmocka_unit_test(small_files_and_files_in_memory_can_be_read),
        cmocka_unit_test(the_info_says_what_was_chosen),
        cmocka_unit_test(reading_buffered_leaves_no_page_cache_behind),
    };
    struct sl_reader_opts opts = { .backend = SL_READER_URING };
    struct sl_reader *reader = NULL;
    struct sl_diag diag = { "" };
    int r;

    readcheck_open(&rc);
    has_uring = sl_reader_open(&reader, rc.fds, READCHECK_FILES, &opts, &diag) == 0;
    sl_reader_close(reader);
    if (!has_uring)
        printf("only the thread pool is tested: %s\n", diag.text);
    r = cmocka_run_group_tests(tests, NULL, NULL);
    readcheck_close(&rc);
    return r;
}
