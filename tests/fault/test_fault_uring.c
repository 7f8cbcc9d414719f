/*
 * io_uring that takes submissions badly: not now, only some, or never again. Every read must
 * still come back, once, with the right bytes; and looking for completions that are not
 * there must not enter the kernel.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <liburing.h>

#include "readcheck.h"

static struct readcheck rc;

/* For the wrappers; one thread. */
static uint32_t refuse_of_8; /* so many of eight submissions are refused */
static bool is_partial;      /* of the others only some reads are taken */
static int refuse_error;
static uint32_t n_submits, n_enters;

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __real_io_uring_get_events(struct io_uring *ring);
int __wrap_io_uring_get_events(struct io_uring *ring);
int __real___io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **ret_cqe,
                              unsigned submit, unsigned wait_nr, sigset_t *sigmask);
int __wrap___io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **ret_cqe,
                              unsigned submit, unsigned wait_nr, sigset_t *sigmask);

int __wrap_io_uring_submit(struct io_uring *ring)
{
    n_submits++;
    if (readcheck_random(&rc, 8) < refuse_of_8)
        return refuse_error;
    if (is_partial) { /* hide the last few from liburing */
        unsigned n = ring->sq.sqe_tail - ring->sq.sqe_head;
        unsigned n_hidden = (unsigned)readcheck_random(&rc, n + 1);
        int r;

        ring->sq.sqe_tail -= n_hidden;
        r = __real_io_uring_submit(ring);
        ring->sq.sqe_tail += n_hidden;
        return r;
    }
    return __real_io_uring_submit(ring);
}

int __wrap_io_uring_get_events(struct io_uring *ring)
{
    n_enters++;
    if (readcheck_random(&rc, 8) < refuse_of_8)
        return -EINTR;
    return __real_io_uring_get_events(ring);
}

int __wrap___io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **ret_cqe,
                              unsigned submit, unsigned wait_nr, sigset_t *sigmask)
{
    n_enters++;
    if (readcheck_random(&rc, 8) < refuse_of_8)
        return -EINTR;
    return __real___io_uring_get_cqe(ring, ret_cqe, submit, wait_nr, sigmask);
}

static struct sl_reader *open_reader(uint32_t depth)
{
    const struct sl_reader_opts opts = { .backend = SL_READER_URING, .depth = depth };

    return readcheck_reader(&rc, &opts);
}

static void check_with(uint32_t of_8, int error, uint32_t depth, const char *words)
{
    struct sl_reader *reader = open_reader(depth);
    struct sl_reader_info info;
    int region = sl_reader_add_region(reader, rc.arena, READCHECK_ARENA_BYTES);

    assert_true(region >= 0);
    refuse_of_8 = of_8;
    refuse_error = error;
    assert_int_equal(readcheck_run(&rc, reader, 300, (uint32_t)region).n_failed, 0);
    sl_reader_get_info(reader, &info);
    refuse_of_8 = 0;
    assert_int_equal(readcheck_run(&rc, reader, 50, (uint32_t)region).n_failed, 0);
    sl_reader_close(reader);
    if (*words ? !strstr(info.fallback, words) : info.fallback[0] != '\0')
        fail_msg("%u of 8, error %d: %s", of_8, error, info.fallback);
}

static void submissions_refused_for_now_are_made_again(void **state)
{
    const int errors[] = { -EAGAIN, -EBUSY, -EINTR, 0 };
    const uint32_t depths[] = { 1, 5, 32 };

    (void)state;
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 3; k++)
            check_with(4, errors[i], depths[k], "");
}

static void submissions_taken_in_part_are_continued(void **state)
{
    (void)state;
    is_partial = true;
    check_with(0, 0, 32, "");
    check_with(2, -EAGAIN, 7, "");
    is_partial = false;
}

static void a_ring_that_takes_nothing_any_more_is_given_up(void **state)
{
    (void)state;
    check_with(8, -EAGAIN, 16, "stopped taking reads (Resource temporarily unavailable)");
    check_with(8, -ENXIO, 1, "stopped taking reads (No such device or address)");
    check_with(8, 0, 32, "stopped taking reads");
}

static void closing_leaves_what_was_never_taken(void **state)
{
    (void)state;
    for (uint32_t of_8 = 0; of_8 <= 8; of_8 += 4) {
        struct sl_reader *reader = open_reader(16);
        struct sl_read reads[16];

        for (uint32_t s = 0; s < 16; s++)
            reads[s] = readcheck_make(&rc, s, SL_READER_NO_REGION);
        refuse_of_8 = of_8;
        refuse_error = -EAGAIN;
        for (uint32_t s = 0; s < 16; s++)
            sl_reader_submit(reader, &reads[s], 1);
        sl_reader_close(reader);
        refuse_of_8 = 0;
    }
}

static void looking_in_vain_is_no_system_call(void **state)
{
    struct sl_reader *reader = open_reader(16);
    struct sl_reader_info info;
    struct sl_read reads[16];
    struct sl_read_done done[16];
    uint64_t n_looks = 0;
    uint32_t n_done = 0;
    uint32_t n_before;

    (void)state;
    sl_reader_get_info(reader, &info);
    for (uint32_t s = 0; s < 16; s++) {
        reads[s] = readcheck_make(&rc, s, SL_READER_NO_REGION);
        reads[s].bytes = READCHECK_READ_MAX;
    }
    n_before = n_submits + n_enters;
    sl_reader_submit(reader, reads, 16);
    while (n_done < 16) {
        n_done += sl_reader_reap(reader, false, done, 16);
        n_looks++;
    }
    /* One to submit, and at most one or two for each read that landed. */
    if (n_submits + n_enters - n_before > 1 + 2 * 16)
        fail_msg("%u system calls for %llu looks (flags '%s')", n_submits + n_enters - n_before,
                 (unsigned long long)n_looks, info.flags);
    assert_int_equal(sl_reader_reap(reader, false, done, 16), 0);
    sl_reader_close(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submissions_refused_for_now_are_made_again),
        cmocka_unit_test(submissions_taken_in_part_are_continued),
        cmocka_unit_test(a_ring_that_takes_nothing_any_more_is_given_up),
        cmocka_unit_test(closing_leaves_what_was_never_taken),
        cmocka_unit_test(looking_in_vain_is_no_system_call),
    };
    const struct sl_reader_opts opts = { .backend = SL_READER_URING };
    struct sl_reader *reader = NULL;
    struct sl_diag diag = { "" };
    int r;

    readcheck_open(&rc);
    rc.read_max = 65536;
    r = sl_reader_open(&reader, rc.fds, READCHECK_FILES, &opts, &diag);
    sl_reader_close(reader);
    if (r < 0) {
        printf("skipped: %s\n", diag.text);
        readcheck_close(&rc);
        return 77;
    }
    r = cmocka_run_group_tests(tests, NULL, NULL);
    readcheck_close(&rc);
    return r;
}
