/*
 * Reads through io_uring: many in flight from one thread, none of which waits.
 *
 * Reads stand in one queue of indices, in order, in three parts:
 *
 *     head .. entered    written into the submission ring, not yet taken by the kernel
 *     entered .. tail    not yet written there
 *     before head        the kernel's, until their completion is seen
 *
 * Whatever the kernel refuses to take (it may be out of memory for a moment) stays in the
 * queue and is tried again by the next submit or reap. If it goes on refusing with nothing
 * of ours in its hands, so that no completion will ever wake us, the ring is given up:
 * from then on each reap carries out one read itself.
 *
 * Invariants: tail - head <= flying <= depth <= entries of the submission ring; an index
 * is in the queue at most once; the kernel holds flying - (tail - head) reads.
 *
 * The ring asks for completion work to be done when the caller enters the kernel anyway
 * (COOP_TASKRUN), so that compute is not interrupted; TASKRUN_FLAG then shows in
 * memory that there is such work, and a look at the ring costs no system call. Not
 * SINGLE_ISSUER with DEFER_TASKRUN: callers may hand the reader to another thread. Not
 * SQPOLL or IOPOLL: both burn a core, for reads of a megabyte.
 *
 * Memory is registered region by region in a sparse table, because an entry cannot be
 * larger than 1 GiB and regions come and go. Where that is refused (pinned memory counts
 * against RLIMIT_MEMLOCK) the kernel pins the pages of each read instead. Registering a
 * region brings its pages into being: for memory never touched that is most of its cost.
 *
 * Measured with random slices into huge pages, two Zen 4 cores, a virtual disk of 0.9 to
 * 1.8 GB/s (bandwidth alike within its noise), CPU seconds per GB, registered / not /
 * pread pool: 1 MiB slices 0.017 / 0.020 / 0.047 at depth 8, 0.008 / 0.009 / 0.040 at
 * depth 32; 512 KiB slices 0.035 / 0.034 / 0.098 and 0.014 / 0.019 / 0.062. A look at
 * the ring in vain takes 7 ns.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "loader/readop.h"
#include "loader/uring.h"

#define REFUSALS_MAX 64     /* in a row, with no read in the kernel */
#define TRANSIENT_INLINE 3  /* then a kernel thread is asked to do it */

struct uring {
    struct sl_readback_setup setup;
    struct io_uring ring;
    bool has_ring;
    bool has_files;  /* registered: buffered descriptors, then those of fd */
    bool has_table;  /* for regions */
    bool is_given_up;
    int file_error;  /* why not has_files */
    int table_error; /* why not has_table, or why a region was refused */
    int enter_error; /* why is_given_up */
    const char *flags;
    uint32_t flying;
    uint32_t head, entered, tail; /* of queue, modulo its size */
    uint32_t queue[SL_READER_DEPTH_MAX];
    uint32_t n_refused; /* submissions in a row */
    uint32_t n_regions, n_registered;
    uint64_t refused_bytes; /* the smallest region that was refused */
    bool is_region[SL_READER_REGIONS_MAX];
    bool is_registered[SL_READER_REGIONS_MAX];
};

_Static_assert((SL_READER_DEPTH_MAX & (SL_READER_DEPTH_MAX - 1)) == 0, "a mask");

/* From best to plain. SUBMIT_ALL: one bad read does not hold up those behind it. */
static const struct {
    unsigned flags;
    const char *names;
} ladder[] = {
    { IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
      "COOP_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL" },  /* Linux 5.19 */
    { IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL" },   /* 5.18 */
    { 0, "" },
};

/* The sysctl that forbids io_uring; 0 if it does not, or is not there. */
static int disabled_by_sysctl(void)
{
    char text = '0';
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    if (read(fd, &text, 1) != 1)
        text = '0';
    (void)close(fd);
    return text > '0' && text <= '9' ? text - '0' : 0;
}

static int setup_text(int r, struct sl_diag *why)
{
    int level = r == -EPERM ? disabled_by_sysctl() : 0;

    if (level)
        (void)sl_diag_set(why, 0, "forbidden by kernel.io_uring_disabled = %d", level);
    else if (r == -EPERM || r == -EACCES)
        (void)sl_diag_set(why, 0, "forbidden here, as containers do by seccomp (%s)",
                          strerror(-r));
    else if (r == -ENOSYS)
        (void)sl_diag_set(why, 0, "the kernel does not have it, or hides it");
    else
        (void)sl_diag_set(why, 0, "%s", strerror(-r));
    return -ENOTSUP;
}

static int init_ring(struct uring *u)
{
    int r = -ENOSYS;

    for (size_t i = 0; i < sizeof(ladder) / sizeof(ladder[0]); i++) {
        struct io_uring_params params = { .flags = ladder[i].flags };

        r = io_uring_queue_init_params(u->setup.depth, &u->ring, &params);
        u->flags = ladder[i].names;
        if (r != -EINVAL)
            break;
    }
    u->has_ring = r >= 0;
    return r;
}

/* Registered files spare a reference count per read; nothing is lost without. */
static void register_files(struct uring *u)
{
    uint32_t n = u->setup.n_files;
    int *fds = calloc(2 * (size_t)n, sizeof(*fds));
    int r = -ENOMEM;

    if (fds) {
        for (uint32_t i = 0; i < n; i++) {
            fds[2 * i] = u->setup.files[i].buffered_fd;
            fds[2 * i + 1] = u->setup.files[i].fd;
        }
        r = io_uring_register_files(&u->ring, fds, 2 * n);
    }
    free(fds);
    u->has_files = r >= 0;
    u->file_error = r < 0 ? r : 0;
}

static void uring_close(struct sl_readback *back);

static int uring_open(struct sl_readback **ret_back, const struct sl_readback_setup *setup,
                      struct sl_diag *why)
{
    struct uring *u = calloc(1, sizeof(*u));
    int r;

    if (!u)
        return sl_diag_set(why, -ENOMEM, "not enough memory");
    u->setup = *setup;
    u->refused_bytes = UINT64_MAX;
    r = init_ring(u);
    if (r < 0) {
        uring_close((struct sl_readback *)u);
        return setup_text(r, why);
    }
    if (!setup->no_registration) {
        register_files(u);
        r = io_uring_register_buffers_sparse(&u->ring, SL_READER_REGIONS_MAX);
        u->has_table = r >= 0;
        u->table_error = r < 0 ? r : 0;
    }
    *ret_back = (struct sl_readback *)u;
    return 0;
}

static void uring_add_region(struct sl_readback *back, uint32_t region, void *base,
                             uint64_t bytes)
{
    struct uring *u = (struct uring *)back;
    struct iovec vec = { .iov_base = base, .iov_len = bytes };
    __u64 tag = 0;
    int r;

    u->is_region[region] = true;
    u->n_regions++;
    if (!u->has_table || bytes >= u->refused_bytes)
        return;
    r = io_uring_register_buffers_update_tag(&u->ring, region, &vec, &tag, 1);
    if (r == 1) {
        u->is_registered[region] = true;
        u->n_registered++;
        return;
    }
    u->table_error = r < 0 ? r : -EIO;
    u->refused_bytes = bytes; /* a refusal pins all pages first: not twice for nothing */
}

static void uring_remove_region(struct sl_readback *back, uint32_t region)
{
    struct uring *u = (struct uring *)back;
    struct iovec vec = { 0 };
    __u64 tag = 0;

    u->is_region[region] = false;
    u->n_regions--;
    if (u->is_registered[region]) {
        /* Cannot fail for an entry that is there; if it did, the pages would stay
         * pinned until another region takes the entry or the ring is closed. */
        (void)io_uring_register_buffers_update_tag(&u->ring, region, &vec, &tag, 1);
        u->is_registered[region] = false;
        u->n_registered--;
    }
    u->refused_bytes = UINT64_MAX;
    if (u->n_registered == u->n_regions && u->has_table)
        u->table_error = 0;
}

static void prepare(const struct uring *u, struct io_uring_sqe *sqe, uint32_t item)
{
    const struct sl_readop *op = &u->setup.ops[item];
    char *buf = (char *)op->read.buf + op->done_bytes;
    uint32_t bytes = op->read.bytes - op->done_bytes;
    uint64_t off = op->read.off + op->done_bytes;
    int fd = u->has_files ? (int)(2 * op->read.file + !op->is_buffered)
                          : sl_readop_fd(op, &u->setup.files[op->read.file]);

    if (op->read.region != SL_READER_NO_REGION && u->is_registered[op->read.region])
        io_uring_prep_read_fixed(sqe, fd, buf, bytes, off, (int)op->read.region);
    else
        io_uring_prep_read(sqe, fd, buf, bytes, off);
    if (u->has_files)
        sqe->flags |= IOSQE_FIXED_FILE;
    /* A read through the page cache would block the submitter. */
    if (op->is_buffered || op->n_transient > TRANSIENT_INLINE)
        sqe->flags |= IOSQE_ASYNC;
    io_uring_sqe_set_data64(sqe, item);
}

static uint32_t n_in_kernel(const struct uring *u)
{
    return u->flying - (u->tail - u->head);
}

static void enqueue(struct uring *u, uint32_t item)
{
    u->queue[u->tail++ % SL_READER_DEPTH_MAX] = item;
}

/* Offer the kernel what is in the queue. */
static void flush(struct uring *u)
{
    struct io_uring_sqe *sqe;
    int r;

    if (u->head == u->tail || u->is_given_up)
        return;
    while (u->entered != u->tail && (sqe = io_uring_get_sqe(&u->ring)) != NULL)
        prepare(u, sqe, u->queue[u->entered++ % SL_READER_DEPTH_MAX]);
    r = io_uring_submit(&u->ring);
    if (r > 0) {
        u->head += (uint32_t)r;
        u->n_refused = 0;
        return;
    }
    if (n_in_kernel(u) > 0)
        return; /* its completion lets us try again */
    if (++u->n_refused < REFUSALS_MAX) {
        (void)sched_yield(); /* somebody may have to give memory back first */
        return;
    }
    u->is_given_up = true;
    u->enter_error = r;
}

/* Take note of completions. Ended reads go to ret_ops, others back into the queue. */
static uint32_t drain(struct uring *u, uint32_t *ret_ops, uint32_t cap)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    uint32_t n = 0;
    uint32_t n_seen = 0;

    io_uring_for_each_cqe(&u->ring, head, cqe) {
        uint32_t item = (uint32_t)cqe->user_data;
        struct sl_readop *op = &u->setup.ops[item];
        const struct sl_readfile *file = &u->setup.files[op->read.file];

        if (n == cap)
            break;
        n_seen++;
        if (!sl_readop_advance(op, file, cqe->res, u->setup.alignment)) {
            enqueue(u, item);
            continue;
        }
        sl_readop_drop_behind(op, file);
        ret_ops[n++] = item;
    }
    io_uring_cq_advance(&u->ring, n_seen);
    u->flying -= n;
    return n;
}

static void uring_submit(struct sl_readback *back, const uint32_t *ops, uint32_t n)
{
    struct uring *u = (struct uring *)back;

    for (uint32_t i = 0; i < n; i++)
        enqueue(u, ops[i]);
    u->flying += n;
    flush(u);
}

/* Whether the kernel has completions for us that are not in the ring yet. */
static bool must_enter(const struct uring *u)
{
    return IO_URING_READ_ONCE(*u->ring.sq.kflags) &
           (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* The ring is given up: do one read of the queue here. */
static uint32_t run_one(struct uring *u, uint32_t *ret_ops)
{
    uint32_t item = u->queue[u->head++ % SL_READER_DEPTH_MAX];
    struct sl_readop *op = &u->setup.ops[item];

    sl_preadio_run(op, &u->setup.files[op->read.file], u->setup.alignment);
    u->flying--;
    *ret_ops = item;
    return 1;
}

static void wait_completion(struct uring *u)
{
    struct io_uring_cqe *cqe;
    int r = io_uring_wait_cqe(&u->ring, &cqe);

    /* If we may not wait any more (a seccomp filter of late), completions still come:
     * the kernel posts them whenever this thread enters it. */
    if (r < 0 && r != -EINTR)
        (void)sched_yield();
}

static uint32_t uring_reap(struct sl_readback *back, bool wait, uint32_t *ret_ops,
                           uint32_t cap)
{
    struct uring *u = (struct uring *)back;
    uint32_t n;

    if (cap == 0)
        return 0;
    while (u->flying > 0) {
        if (io_uring_cq_ready(&u->ring) == 0 && must_enter(u))
            (void)io_uring_get_events(&u->ring); /* what it does not bring, waiting will */
        n = drain(u, ret_ops, cap);
        flush(u);
        if (n > 0)
            return n;
        if (u->is_given_up && u->head != u->tail)
            return run_one(u, ret_ops);
        if (!wait)
            return 0;
        if (n_in_kernel(u) > 0)
            wait_completion(u);
    }
    return 0;
}

static bool uring_has_given_up(const struct sl_readback *back)
{
    return ((const struct uring *)back)->is_given_up;
}

static void uring_close(struct sl_readback *back)
{
    struct uring *u = (struct uring *)back;
    uint32_t ended[SL_READER_DEPTH_MAX];

    if (!u)
        return;
    /* What the kernel has must end before its memory goes; the rest need not begin. */
    while (u->has_ring && n_in_kernel(u) > 0) {
        wait_completion(u);
        (void)drain(u, ended, SL_READER_DEPTH_MAX);
    }
    if (u->has_ring)
        io_uring_queue_exit(&u->ring);
    free(u);
}

static void registration_text(const struct uring *u, struct sl_diag *why)
{
    struct rlimit limit;

    if (u->table_error == -ENOMEM && u->has_table &&
        getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        (void)sl_diag_set(why, 0, "buffers are not registered: only %llu KiB may be locked "
                                  "(ulimit -l, or systemd's LimitMEMLOCK=, raises it)",
                          (unsigned long long)limit.rlim_cur / 1024);
    else
        (void)sl_diag_set(why, 0, "buffers are not registered: %s",
                          !u->has_table && u->table_error == -EINVAL
                              ? "that takes Linux 5.19"
                              : strerror(-u->table_error));
}

static void uring_get_info(const struct sl_readback *back, struct sl_reader_info *ret_info,
                           struct sl_diag *ret_why)
{
    const struct uring *u = (const struct uring *)back;

    (void)strncpy(ret_info->flags, u->flags, sizeof(ret_info->flags) - 1);
    ret_info->is_registered = u->n_registered > 0 && u->n_registered == u->n_regions;
    ret_why->text[0] = '\0';
    if (u->is_given_up)
        (void)sl_diag_set(ret_why, 0, "io_uring stopped taking reads (%s): they are done "
                                      "one by one",
                          strerror(u->enter_error < 0 ? -u->enter_error : EIO));
    else if (u->setup.no_registration)
        (void)sl_diag_set(ret_why, 0, "buffers are not registered, as asked");
    else if (u->table_error)
        registration_text(u, ret_why);
    else if (u->file_error)
        (void)sl_diag_set(ret_why, 0, "files are not registered: %s",
                          strerror(-u->file_error));
}

const struct sl_readback_ops sl_uring_ops = {
    .name = "io_uring",
    .open = uring_open,
    .close = uring_close,
    .add_region = uring_add_region,
    .remove_region = uring_remove_region,
    .submit = uring_submit,
    .reap = uring_reap,
    .has_given_up = uring_has_given_up,
    .get_info = uring_get_info,
};

int sl_uring_probe(void)
{
    struct uring u = { .setup = { .depth = 4 } };
    int r = init_ring(&u);

    if (u.has_ring)
        io_uring_queue_exit(&u.ring);
    return r < 0 ? r : 0;
}
