/*
 * The reader on systems that refuse things: io_uring, registration, direct I/O, threads,
 * memory; and reads that come back short, interrupted, or not at all. Whatever is refused,
 * the bytes are right or the read ends with -EIO; nothing hangs and nothing leaks.
 *
 * What a system refuses is played by seccomp in a child process, as containers do it;
 * what reads come to, by a wrapper of sl_readop_advance, which both back ends ask.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "faults.h"
#include "loader/readop.h"
#include "readcheck.h"

#define N_READS 100
#define N_MAX 1000 /* more calls than opening a reader makes */

static struct readcheck rc;
static bool has_uring;

/* What reads come to, for the wrapper; called by several threads with the pool. */
enum mishap {
    NONE,
    INTERRUPTED,  /* -EINTR twice of three times */
    CANCELLED,
    BUSY,         /* -EAGAIN */
    SHORT,        /* some bytes less */
    EIO_ONCE,     /* each read's first try */
    EIO_ALWAYS,   /* reads of the second file */
    EINVAL_ONCE,  /* direct I/O refused for each read's first try */
    EMPTY,        /* as if the second file ended at once */
    NEVER,        /* -EAGAIN for ever, for reads of the second file */
    ANYTHING,     /* a random one of those that do not end a read */
};

static _Atomic(enum mishap) mishap;
static _Atomic uint64_t draw;

bool __real_sl_readop_advance(struct sl_readop *op, const struct sl_readfile *file, int64_t res,
                              uint32_t alignment);
bool __wrap_sl_readop_advance(struct sl_readop *op, const struct sl_readfile *file, int64_t res,
                              uint32_t alignment);

static int64_t spoil(enum mishap kind, const struct sl_readop *op, int64_t res)
{
    uint64_t x = atomic_fetch_add(&draw, 1) * 0x9E3779B97F4A7C15u >> 32;
    bool first = op->n_retries == 0;

    switch (kind) {
    case INTERRUPTED:
        return x % 3 ? -EINTR : res;
    case CANCELLED:
        return x % 3 ? -ECANCELED : res;
    case BUSY:
        return x % 4 ? -EAGAIN : res;
    case SHORT:
        return res > 4096 && x % 4 ? 4096 + (int64_t)(x % (uint64_t)(res - 4096)) : res;
    case EIO_ONCE:
        return first ? -EIO : res;
    case EIO_ALWAYS:
        return op->read.file == 1 ? -EIO : res;
    case EINVAL_ONCE:
        return first ? -EINVAL : res;
    case EMPTY:
        return op->read.file == 1 ? 0 : res;
    case NEVER:
        return op->read.file == 1 ? -EAGAIN : res;
    case ANYTHING:
        return spoil((enum mishap)(x / 7 % EIO_ALWAYS), op, res);
    default:
        return res;
    }
}

bool __wrap_sl_readop_advance(struct sl_readop *op, const struct sl_readfile *file, int64_t res,
                              uint32_t alignment)
{
    return __real_sl_readop_advance(op, file, spoil(mishap, op, res), alignment);
}

static const struct sl_reader_opts ways[] = {
    { .backend = SL_READER_URING, .depth = 24 },
    { .backend = SL_READER_URING, .no_registration = true, .depth = 24 },
    { .backend = SL_READER_URING, .direct = SL_READER_DIRECT_OFF, .depth = 24 },
    { .backend = SL_READER_PREAD, .depth = 24 },
    { .backend = SL_READER_PREAD, .direct = SL_READER_DIRECT_OFF, .depth = 24 },
};

#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

static struct readcheck_tally run_with(const struct sl_reader_opts *opts, enum mishap kind,
                                       struct sl_reader_counters *ret_counters)
{
    struct sl_reader *reader = readcheck_reader(&rc, opts);
    int region = sl_reader_add_region(reader, rc.arena, READCHECK_ARENA_BYTES);
    struct readcheck_tally tally;
    struct sl_read_done done;

    READCHECK(region >= 0);
    mishap = kind;
    tally = readcheck_run(&rc, reader, N_READS, (uint32_t)region);
    mishap = NONE;
    sl_reader_get_counters(reader, ret_counters);
    READCHECK(readcheck_run(&rc, reader, 20, (uint32_t)region).n_failed == 0);
    READCHECK(sl_reader_reap(reader, true, &done, 1) == 0);
    sl_reader_close(reader);
    return tally;
}

static void what_passes_is_tried_again(void **state)
{
    const enum mishap kinds[] = { INTERRUPTED, CANCELLED, BUSY, SHORT, EIO_ONCE, EINVAL_ONCE,
                                  ANYTHING };

    (void)state;
    for (size_t i = 0; i < N_WAYS; i++) {
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            struct sl_reader_counters counters;

            if (ways[i].backend == SL_READER_URING && !has_uring)
                continue;
            assert_int_equal(run_with(&ways[i], kinds[k], &counters).n_failed, 0);
            assert_true(counters.n_retries > N_READS / 4);
            assert_int_equal(counters.n_reads, N_READS);
        }
    }
}

static void a_short_read_goes_on_where_direct_reads_can_begin(void **state)
{
    const struct sl_readfile file = { .bytes = 100000, .fd = 0, .buffered_fd = 0,
                                      .is_direct = true };
    const struct sl_read read = { .off = 8192, .bytes = 65536 };
    struct sl_readop op;

    (void)state;
    sl_readop_init(&op, &read, &file);
    assert_false(__real_sl_readop_advance(&op, &file, 9000, 4096));
    assert_int_equal(op.done_bytes, 8192);
    assert_false(__real_sl_readop_advance(&op, &file, 8191, 4096));
    assert_int_equal(op.done_bytes, 12288);
    assert_false(__real_sl_readop_advance(&op, &file, 4095, 4096));
    assert_int_equal(op.done_bytes, 12288);
    assert_int_equal(op.n_retries, 3);
    assert_true(__real_sl_readop_advance(&op, &file, 65536 - 12288, 4096));
    assert_int_equal(op.error, 0);
}

static void what_stays_is_an_error_of_that_read_alone(void **state)
{
    const enum mishap kinds[] = { EIO_ALWAYS, EMPTY, NEVER };

    (void)state;
    for (size_t i = 0; i < N_WAYS; i++) {
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            struct sl_reader_counters counters;
            struct readcheck_tally tally;

            if (ways[i].backend == SL_READER_URING && !has_uring)
                continue;
            tally = run_with(&ways[i], kinds[k], &counters);
            assert_true(tally.n_failed > N_READS / 8 && tally.n_good > N_READS / 8);
            assert_int_equal(counters.n_failed, tally.n_failed);
            assert_int_equal(counters.n_reads, tally.n_good);
        }
    }
}

/* Closing while reads fail and are tried again: those are given up, not waited for. */
static void closing_ends_reads_that_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_WAYS; i++) {
        struct sl_reader *reader;
        struct sl_read reads[16];

        if (ways[i].backend == SL_READER_URING && !has_uring)
            continue;
        reader = readcheck_reader(&rc, &ways[i]);
        for (uint32_t s = 0; s < 16; s++)
            reads[s] = readcheck_make(&rc, s, SL_READER_NO_REGION);
        mishap = NEVER;
        sl_reader_submit(reader, reads, 16);
        sl_reader_close(reader);
        mishap = NONE;
    }
}

/* A system call that is refused from now on, always or where an argument has all of bits. */
struct refusal {
    int call;
    int error;
    int arg; /* -1: any */
    uint32_t bits;
};

static void refuse(const struct refusal *refusal)
{
    uint32_t arg_off = (uint32_t)(offsetof(struct seccomp_data, args) +
                                  (size_t)(refusal->arg < 0 ? 0 : refusal->arg) * 8);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)refusal->call, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, arg_off),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, refusal->bits),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->bits, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)refusal->error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

    READCHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    READCHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) == 0);
}

/* A refusal, in force before or after the reader is opened, and what is then had. */
struct scene {
    const char *what;
    struct refusal refusals[2];
    bool after_open;
    const char *backend;
    const char *words; /* in info.fallback, "" for nothing */
    bool is_direct, is_registered;
};

static const struct scene scenes[] = {
    { "io_uring forbidden", { { SYS_io_uring_setup, EPERM, -1, 0 } },
      false, "pread", "no io_uring: forbidden", true, false },
    { "no io_uring in the kernel", { { SYS_io_uring_setup, ENOSYS, -1, 0 } },
      false, "pread", "no io_uring: the kernel does not have it", true, false },
    { "no descriptor for a ring", { { SYS_io_uring_setup, EMFILE, -1, 0 } },
      false, "pread", "no io_uring: Too many open files", true, false },
    { "only a plain ring", { { SYS_io_uring_register, EINVAL, -1, 0 } },
      false, "io_uring", "buffers are not registered: that takes Linux 5.19", true, false },
    { "no memory to register", { { SYS_io_uring_register, ENOMEM, 1, 16 } },
      true, "io_uring", "buffers are not registered", true, false },
    { "direct I/O refused", { { SYS_openat, EINVAL, 2, O_DIRECT } },
      false, "pread", "no direct I/O: the file system refuses it", false, false },
    { "alignment not told", { { SYS_statx, ENOSYS, -1, 0 } },
      false, "io_uring", "", true, true },
    { "nothing but pread", { { SYS_openat, EINVAL, 2, O_DIRECT },
                             { SYS_io_uring_setup, EPERM, -1, 0 } },
      false, "pread", "no direct I/O", false, false },
    { "reads forbidden when all was set up", { { SYS_io_uring_enter, EPERM, -1, 0 } },
      true, "io_uring", "stopped taking reads", true, true },
    { "kernel out of memory for ever", { { SYS_io_uring_enter, EAGAIN, -1, 0 } },
      true, "io_uring", "stopped taking reads", true, true },
    { "ring set up, reads forbidden", { { SYS_io_uring_enter, EPERM, -1, 0 } },
      false, "pread", "no io_uring: it did not read the first bytes", true, false },
    { "advice refused", { { SYS_fadvise64, EINVAL, -1, 0 } },
      false, "io_uring", "", true, true },
};

static void apply(const struct scene *scene)
{
    for (int i = 0; i < 2 && scene->refusals[i].error; i++)
        refuse(&scene->refusals[i]);
}

static void play(const struct scene *scene, enum mishap kind)
{
    const struct sl_reader_opts opts = { .depth = 24 };
    struct sl_reader *reader;
    struct sl_reader_info info;
    int region;

    if (!scene->after_open)
        apply(scene);
    reader = readcheck_reader(&rc, &opts);
    if (scene->after_open) {
        struct sl_read read = readcheck_make(&rc, 31, SL_READER_NO_REGION);
        struct sl_read_done done;

        sl_reader_submit(reader, &read, 1); /* in flight as the world changes */
        apply(scene);
        READCHECK(sl_reader_reap(reader, true, &done, 1) == 1 && done.error == 0);
        readcheck_compare(&rc, &read);
    }
    region = sl_reader_add_region(reader, rc.arena, READCHECK_ARENA_BYTES);
    READCHECK(region == 0);
    mishap = kind;
    READCHECK(readcheck_run(&rc, reader, N_READS, (uint32_t)region).n_failed == 0);
    mishap = NONE;
    sl_reader_get_info(reader, &info);
    sl_reader_close(reader);
    if (strcmp(info.backend, scene->backend) != 0 || info.is_direct != scene->is_direct ||
        info.is_registered != scene->is_registered || !strstr(info.fallback, scene->words) ||
        (scene->words[0] == '\0' && info.fallback[0] != '\0')) {
        fprintf(stderr, "%s: %s, direct %d, registered %d: %s\n", scene->what, info.backend,
                info.is_direct, info.is_registered, info.fallback);
        abort();
    }
}

/* AUTO must be able to have it all here, or scenes would not show what they should. */
static bool is_best_machine(void)
{
    const struct sl_reader_opts opts = { .depth = 4 };
    struct sl_reader *reader = readcheck_reader(&rc, &opts);
    struct sl_reader_info info;

    (void)sl_reader_add_region(reader, rc.arena, READCHECK_ARENA_BYTES);
    sl_reader_get_info(reader, &info);
    sl_reader_close(reader);
    if (!info.is_direct || !info.is_registered)
        printf("skipped: this system refuses things by itself: %s\n", info.fallback);
    return info.is_direct && info.is_registered;
}

static void each_refusal_has_its_fallback(void **state)
{
    (void)state;
    if (!is_best_machine())
        skip();
    for (size_t i = 0; i < 2 * sizeof(scenes) / sizeof(scenes[0]); i++) {
        pid_t pid = fork();
        int status = -1;

        assert_true(pid >= 0);
        if (pid == 0) {
            play(&scenes[i / 2], i % 2 ? ANYTHING : NONE);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 0)
            fail_msg("%s: status %d", scenes[i / 2].what, status);
    }
}

static void io_uring_by_name_fails_where_it_is_forbidden(void **state)
{
    pid_t pid = fork();
    int status = -1;

    (void)state;
    if (pid == 0) {
        const struct refusal refusal = { SYS_io_uring_setup, EPERM, -1, 0 };
        const struct sl_reader_opts opts = { .backend = SL_READER_URING };
        struct sl_reader *reader = NULL;
        struct sl_diag diag = { "" };

        refuse(&refusal);
        READCHECK(sl_reader_open(&reader, rc.fds, 2, &opts, &diag) == -ENOTSUP);
        READCHECK(reader == NULL && strstr(diag.text, "io_uring"));
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void any_number_of_threads_will_do(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 9; n++) {
        const struct sl_reader_opts opts = { .backend = SL_READER_PREAD, .depth = 24 };
        struct sl_reader *reader;
        struct sl_reader_info info;

        faults_arm(FAULTS_THREAD, n);
        reader = readcheck_reader(&rc, &opts);
        faults_disarm();
        sl_reader_get_info(reader, &info);
        assert_int_equal(info.n_threads, n - 1);
        assert_int_equal(strstr(info.fallback, "could be started") != NULL, n <= 8);
        assert_int_equal(readcheck_run(&rc, reader, N_READS, SL_READER_NO_REGION).n_failed, 0);
        sl_reader_close(reader);
    }
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

/* The n-th call of each kind fails, until a run meets no failure. */
static void opening_survives_each_failing_call(void **state)
{
    const uint32_t kinds[] = { FAULTS_ALLOC, FAULTS_OPEN, FAULTS_READ };
    int n_open = n_open_files();

    (void)state;
    for (size_t i = 0; i < N_WAYS * 3; i++) {
        const struct sl_reader_opts *opts = &ways[i / 3];
        uint32_t n;

        if (opts->backend == SL_READER_URING && !has_uring)
            continue;
        for (n = 1; n < N_MAX; n++) {
            struct sl_reader *reader = NULL;
            struct sl_diag diag = { "" };
            int r;

            faults_arm(kinds[i % 3], n);
            r = sl_reader_open(&reader, rc.fds, READCHECK_FILES, opts, &diag);
            faults_disarm();
            if (r == 0) {
                assert_int_equal(readcheck_run(&rc, reader, 10, SL_READER_NO_REGION).n_failed,
                                 0);
                sl_reader_close(reader);
            } else {
                assert_null(reader);
                assert_true(r == -ENOMEM || r == -EMFILE || r == -ENOTSUP);
                assert_true(diag.text[0] != '\0');
            }
            assert_int_equal(n_open_files(), n_open);
            if (!faults_hit())
                break;
        }
        assert_true(n > 1 && n < N_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_passes_is_tried_again),
        cmocka_unit_test(a_short_read_goes_on_where_direct_reads_can_begin),
        cmocka_unit_test(what_stays_is_an_error_of_that_read_alone),
        cmocka_unit_test(closing_ends_reads_that_fail),
        cmocka_unit_test(each_refusal_has_its_fallback),
        cmocka_unit_test(io_uring_by_name_fails_where_it_is_forbidden),
        cmocka_unit_test(any_number_of_threads_will_do),
        cmocka_unit_test(opening_survives_each_failing_call),
    };
    const struct sl_reader_opts opts = { .backend = SL_READER_URING };
    struct sl_reader *reader = NULL;
    struct sl_diag diag = { "" };
    int r;

    readcheck_open(&rc);
    rc.read_max = 32768; /* the same bytes are read many times over */
    draw = rc.seed;
    has_uring = sl_reader_open(&reader, rc.fds, READCHECK_FILES, &opts, &diag) == 0;
    sl_reader_close(reader);
    if (!has_uring)
        printf("only the thread pool is tested: %s\n", diag.text);
    r = cmocka_run_group_tests(tests, NULL, NULL);
    readcheck_close(&rc);
    return r;
}
