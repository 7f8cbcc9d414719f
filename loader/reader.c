/*
 * The reader: opens the files, finds out what they and the system can do, and keeps the
 * table of reads for the back end that was chosen.
 *
 * Each file is opened twice, through /proc/self/fd: once for direct I/O and once buffered,
 * so that a read which direct I/O refuses can still be done. A direct descriptor is
 * believed once its first bytes were read and equal those of the buffered one. The
 * back end then has to read the same bytes once more before it is believed.
 *
 * The ladder: io_uring if every file takes direct I/O (through the page cache it
 * would only hand reads to kernel threads), else the pool of threads; what is missing from
 * the best is put into words for info.fallback.
 *
 * A read that the caller submits takes a free entry of ops; the entry is the back end's
 * until reap brings its index back.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "loader/reader.h"
#include "loader/readop.h"

#define DEPTH_DEFAULT 64
#define PROBE_BYTES 65536u /* a multiple of every alignment */
#define READ_BYTES_MAX (16u << 20)
#define REGION_BYTES_MAX ((uint64_t)1 << 30)

_Static_assert(PROBE_BYTES % SL_READER_ALIGN_MAX == 0, "probes are aligned");

struct region {
    char *base; /* NULL: free */
    uint64_t bytes;
};

struct sl_reader {
    struct sl_readfile *files;
    uint32_t n_files;
    uint32_t depth;
    uint32_t alignment;
    bool is_direct;
    const struct sl_readback_ops *back_ops;
    struct sl_readback *back;
    char fallback[256];
    struct sl_readop *ops;
    uint32_t free_ops[SL_READER_DEPTH_MAX]; /* the first depth - n_flying are free */
    uint32_t n_flying;
    struct region regions[SL_READER_REGIONS_MAX];
    struct sl_reader_counters counters;
};

/* Two buffers of PROBE_BYTES. */
struct probe {
    char *direct;
    char *buffered;
};

static void add_reason(char *text, size_t size, const char *reason)
{
    size_t len = strlen(text);

    if (*reason)
        (void)snprintf(text + len, size - len, "%s%s", len ? "; " : "", reason);
}

/* The first bytes of a file by one of its descriptors. Returns their number or -EIO. */
static int64_t read_first(int fd, uint64_t file_bytes, char *buf, uint32_t alignment)
{
    struct sl_readfile file = { .bytes = file_bytes, .fd = fd, .buffered_fd = -1,
                                .is_direct = true }; /* no second way */
    struct sl_read read = { .buf = buf, .bytes = PROBE_BYTES };
    struct sl_readop op;

    sl_readop_init(&op, &read, &file);
    sl_preadio_run(&op, &file, alignment);
    return op.error < 0 ? op.error : (int64_t)op.want_bytes;
}

/* What direct I/O to a file must be a multiple of; 0: there is none, see why. */
static uint32_t direct_alignment(int fd, struct sl_diag *why)
{
    struct statx st;
    uint32_t align;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) < 0 ||
        !(st.stx_mask & STATX_DIOALIGN))
        return SL_READER_ALIGN; /* the system cannot say: the probe will */
    align = st.stx_dio_mem_align > st.stx_dio_offset_align ? st.stx_dio_mem_align
                                                           : st.stx_dio_offset_align;
    if (align == 0) {
        (void)sl_diag_set(why, 0, "the file system has none for this file");
        return 0;
    }
    if (align > SL_READER_ALIGN_MAX || !sl_is_pow2(align)) {
        (void)sl_diag_set(why, 0, "it would need an alignment of %u", align);
        return 0;
    }
    return align > SL_READER_ALIGN ? align : SL_READER_ALIGN;
}

/* Open a file once more for direct I/O. True if it can be used. */
static bool open_direct(struct sl_readfile *file, const char *path, struct probe *probe,
                        uint32_t *alignment, struct sl_diag *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    uint32_t align;
    int64_t n;

    if (fd < 0) {
        (void)sl_diag_set(why, 0, errno == EINVAL ? "the file system refuses it (%s)" : "%s",
                          strerror(errno));
        return false;
    }
    align = direct_alignment(fd, why);
    if (align == 0)
        goto fail;
    n = read_first(fd, file->bytes, probe->direct, align);
    if (n < 0) {
        (void)sl_diag_set(why, 0, "the first bytes cannot be read that way");
        goto fail;
    }
    if (memcmp(probe->direct, probe->buffered, (size_t)n) != 0) {
        (void)sl_diag_set(why, 0, "it read other bytes than the page cache has");
        goto fail;
    }
    file->fd = fd;
    file->is_direct = true;
    *alignment = align > *alignment ? align : *alignment;
    return true;

fail:
    (void)close(fd);
    return false;
}

/*
 * Our own descriptor for what fd is open on. If it cannot be opened again (no /proc, or
 * no right to), a second name of the caller's: then *ret_is_own is false.
 */
static int open_again(const char *path, int fd, bool *ret_is_own)
{
    int own = open(path, O_RDONLY | O_CLOEXEC);

    *ret_is_own = own >= 0;
    if (own < 0 && errno != EMFILE && errno != ENFILE && errno != ENOMEM)
        own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return own < 0 ? -errno : own;
}

static int open_file(struct sl_readfile *file, int fd, bool try_direct, struct probe *probe,
                     uint32_t *alignment, struct sl_diag *why, struct sl_diag *diag)
{
    char path[32];
    struct stat st;
    bool is_own;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (fstat(fd, &st) < 0)
        return sl_diag_set(diag, -errno, "cannot read from descriptor %d: %s", fd,
                           strerror(errno));
    if (!S_ISREG(st.st_mode))
        return sl_diag_set(diag, -EINVAL, "descriptor %d is not of a regular file", fd);
    file->bytes = (uint64_t)st.st_size;
    file->buffered_fd = open_again(path, fd, &is_own);
    file->fd = file->buffered_fd;
    if (file->fd < 0)
        return sl_diag_set(diag, file->fd, "cannot open the file again to read from it: %s",
                           strerror(-file->fd));
    if (is_own) /* we know best which bytes come next */
        (void)posix_fadvise(file->buffered_fd, 0, 0, POSIX_FADV_RANDOM);
    if (read_first(file->buffered_fd, file->bytes, probe->buffered, SL_READER_ALIGN) < 0)
        return sl_diag_set(diag, -EIO, "cannot read the first bytes of the file");
    why->text[0] = '\0';
    if (!try_direct)
        (void)sl_diag_set(why, 0, "switched off");
    else if (!is_own)
        (void)sl_diag_set(why, 0, "the file cannot be opened again");
    else
        (void)open_direct(file, path, probe, alignment, why);
    if (is_own) /* what the comparison left in the page cache */
        (void)posix_fadvise(file->buffered_fd, 0, PROBE_BYTES, POSIX_FADV_DONTNEED);
    return 0;
}

static int open_files(struct sl_reader *reader, const int *fds, bool try_direct,
                      struct probe *probe, struct sl_diag *diag)
{
    char reason[sizeof(reader->fallback)];
    struct sl_diag why;

    reader->is_direct = true;
    for (uint32_t i = 0; i < reader->n_files; i++) {
        int r = open_file(&reader->files[i], fds[i], try_direct, probe, &reader->alignment,
                          &why, diag);

        if (r < 0)
            return r;
        if (reader->files[i].is_direct || !reader->is_direct)
            continue;
        reader->is_direct = false;
        (void)snprintf(reason, sizeof(reason), "no direct I/O: %.160s", why.text);
        add_reason(reader->fallback, sizeof(reader->fallback), reason);
    }
    return 0;
}

/* Let the back end read the first bytes of the first file, and compare. */
static bool back_end_reads(struct sl_reader *reader, struct probe *probe)
{
    struct sl_readfile *file = &reader->files[0];
    struct sl_read read = { .buf = probe->direct, .bytes = PROBE_BYTES,
                            .region = SL_READER_NO_REGION };
    uint32_t item = 0;

    memset(probe->direct, 0, PROBE_BYTES);
    sl_readop_init(&reader->ops[0], &read, file);
    reader->back_ops->submit(reader->back, &item, 1);
    if (reader->back_ops->reap(reader->back, true, &item, 1) != 1 ||
        reader->ops[0].error < 0 || reader->back_ops->has_given_up(reader->back))
        return false;
    if (read_first(file->fd, file->bytes, probe->buffered, reader->alignment) < 0)
        return false;
    return memcmp(probe->direct, probe->buffered, reader->ops[0].want_bytes) == 0;
}

static int open_back(struct sl_reader *reader, const struct sl_readback_ops *ops,
                     const struct sl_reader_opts *opts, struct probe *probe,
                     struct sl_diag *why)
{
    struct sl_readback_setup setup = {
        .files = reader->files,
        .ops = reader->ops,
        .n_files = reader->n_files,
        .depth = reader->depth,
        .alignment = reader->alignment,
        .n_threads = opts->n_threads,
        .no_registration = opts->no_registration,
    };
    int r = ops->open(&reader->back, &setup, why);

    if (r < 0)
        return r;
    reader->back_ops = ops;
    if (back_end_reads(reader, probe))
        return 0;
    ops->close(reader->back);
    reader->back = NULL;
    return sl_diag_set(why, -ENOTSUP, "it did not read the first bytes rightly");
}

static int choose_back(struct sl_reader *reader, const struct sl_reader_opts *opts,
                       struct probe *probe, struct sl_diag *diag)
{
    struct sl_diag why = { "" };
    char reason[200];
    int r;

    if (opts->backend == SL_READER_URING || (opts->backend == SL_READER_AUTO &&
                                             reader->is_direct)) {
        r = open_back(reader, &sl_uring_ops, opts, probe, &why);
        if (r == 0)
            return 0;
        if (opts->backend == SL_READER_URING)
            return sl_diag_set(diag, r, "io_uring cannot be used: %s", why.text);
        (void)snprintf(reason, sizeof(reason), "no io_uring: %.180s", why.text);
        add_reason(reader->fallback, sizeof(reader->fallback), reason);
    } else if (opts->backend == SL_READER_PREAD) {
        add_reason(reader->fallback, sizeof(reader->fallback), "no io_uring: not asked for");
    }
    r = open_back(reader, &sl_preadio_ops, opts, probe, &why);
    return r < 0 ? sl_diag_set(diag, r == -ENOTSUP ? -EIO : r,
                               "the pool of reading threads cannot be used: %s", why.text)
                 : 0;
}

static int alloc_tables(struct sl_reader *reader, struct probe *probe, uint32_t n_files)
{
    reader->files = calloc(n_files, sizeof(*reader->files));
    reader->ops = calloc(reader->depth, sizeof(*reader->ops));
    if (!reader->files || !reader->ops ||
        posix_memalign((void **)&probe->direct, PROBE_BYTES, 2 * (size_t)PROBE_BYTES) != 0)
        return -ENOMEM;
    probe->buffered = probe->direct + PROBE_BYTES;
    for (uint32_t i = 0; i < n_files; i++)
        reader->files[i].fd = reader->files[i].buffered_fd = -1;
    reader->n_files = n_files;
    for (uint32_t i = 0; i < reader->depth; i++)
        reader->free_ops[i] = i;
    return 0;
}

int sl_reader_open(struct sl_reader **ret_reader, const int *fds, uint32_t n_files,
                   const struct sl_reader_opts *opts, struct sl_diag *diag)
{
    static const struct sl_reader_opts defaults = { 0 };
    struct probe probe = { NULL, NULL };
    struct sl_reader *reader;
    int r;

    opts = opts ? opts : &defaults;
    if (n_files == 0 || opts->depth > SL_READER_DEPTH_MAX)
        return sl_diag_set(diag, -EINVAL, "a reader wants files, and at most %u reads in flight",
                           SL_READER_DEPTH_MAX);
    reader = calloc(1, sizeof(*reader));
    if (!reader)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for a reader");
    reader->depth = opts->depth ? opts->depth : DEPTH_DEFAULT;
    reader->alignment = SL_READER_ALIGN;
    r = alloc_tables(reader, &probe, n_files);
    if (r < 0) {
        (void)sl_diag_set(diag, r, "not enough memory for a reader");
        goto fail;
    }
    r = open_files(reader, fds, opts->direct != SL_READER_DIRECT_OFF, &probe, diag);
    if (r < 0)
        goto fail;
    r = choose_back(reader, opts, &probe, diag);
    if (r < 0)
        goto fail;
    free(probe.direct);
    *ret_reader = reader;
    return 0;

fail:
    free(probe.direct);
    sl_reader_close(reader);
    return r;
}

void sl_reader_close(struct sl_reader *reader)
{
    if (!reader)
        return;
    if (reader->back)
        reader->back_ops->close(reader->back);
    for (uint32_t i = 0; i < reader->n_files; i++) {
        struct sl_readfile *file = &reader->files[i];

        if (file->fd >= 0 && file->fd != file->buffered_fd)
            (void)close(file->fd); /* nothing was written */
        if (file->buffered_fd >= 0)
            (void)close(file->buffered_fd);
    }
    free(reader->files);
    free(reader->ops);
    free(reader);
}

void sl_reader_get_info(const struct sl_reader *reader, struct sl_reader_info *ret_info)
{
    struct sl_diag why;

    *ret_info = (struct sl_reader_info){
        .backend = reader->back_ops->name,
        .is_direct = reader->is_direct,
        .alignment = reader->alignment,
    };
    memcpy(ret_info->fallback, reader->fallback, sizeof(ret_info->fallback));
    reader->back_ops->get_info(reader->back, ret_info, &why);
    add_reason(ret_info->fallback, sizeof(ret_info->fallback), why.text);
}

void sl_reader_get_counters(const struct sl_reader *reader,
                            struct sl_reader_counters *ret_counters)
{
    *ret_counters = reader->counters;
}

uint32_t sl_reader_alignment(const struct sl_reader *reader)
{
    return reader->alignment;
}

int sl_reader_add_region(struct sl_reader *reader, void *base, uint64_t bytes)
{
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);

    if (!base || bytes == 0 || bytes > REGION_BYTES_MAX || bytes % page_bytes ||
        (uintptr_t)base % page_bytes)
        return -EINVAL;
    for (uint32_t i = 0; i < SL_READER_REGIONS_MAX; i++) {
        if (reader->regions[i].base)
            continue;
        reader->regions[i] = (struct region){ .base = base, .bytes = bytes };
        reader->back_ops->add_region(reader->back, i, base, bytes);
        return (int)i;
    }
    return -E2BIG;
}

void sl_reader_remove_region(struct sl_reader *reader, uint32_t region)
{
    assert(region < SL_READER_REGIONS_MAX && reader->regions[region].base);
    reader->back_ops->remove_region(reader->back, region);
    reader->regions[region] = (struct region){ 0 };
}

uint32_t sl_reader_room(const struct sl_reader *reader)
{
    return reader->depth - reader->n_flying;
}

uint32_t sl_reader_n_flying(const struct sl_reader *reader)
{
    return reader->n_flying;
}

/* Whether a read may be made as it stands. */
static bool is_sound(const struct sl_reader *reader, const struct sl_read *read)
{
    const struct region *region;

    if (read->file >= reader->n_files || read->bytes == 0 || read->bytes > READ_BYTES_MAX ||
        (read->off | read->bytes | (uintptr_t)read->buf) % reader->alignment ||
        read->off > INT64_MAX - READ_BYTES_MAX)
        return false;
    if (read->region == SL_READER_NO_REGION)
        return true;
    if (read->region >= SL_READER_REGIONS_MAX)
        return false;
    region = &reader->regions[read->region];
    return region->base && (char *)read->buf >= region->base &&
           (char *)read->buf + read->bytes <= region->base + region->bytes;
}

void sl_reader_submit(struct sl_reader *reader, const struct sl_read *reads, uint32_t n)
{
    uint32_t items[SL_READER_DEPTH_MAX];

    assert(n <= sl_reader_room(reader));
    for (uint32_t i = 0; i < n; i++) {
        bool sound = is_sound(reader, &reads[i]);

        assert(sound);
        (void)sound;
        items[i] = reader->free_ops[reader->depth - reader->n_flying - 1];
        reader->n_flying++;
        sl_readop_init(&reader->ops[items[i]], &reads[i], &reader->files[reads[i].file]);
    }
    if (n > 0)
        reader->back_ops->submit(reader->back, items, n);
}

static void count(struct sl_reader_counters *counters, const struct sl_readop *op)
{
    counters->n_retries += op->n_retries;
    if (op->error < 0) {
        counters->n_failed++;
        return;
    }
    counters->n_reads++;
    counters->bytes += op->want_bytes;
}

uint32_t sl_reader_reap(struct sl_reader *reader, bool wait, struct sl_read_done *ret_done,
                        uint32_t cap)
{
    uint32_t items[SL_READER_DEPTH_MAX];
    uint32_t n;

    if (reader->n_flying == 0)
        return 0;
    cap = cap < SL_READER_DEPTH_MAX ? cap : SL_READER_DEPTH_MAX;
    n = reader->back_ops->reap(reader->back, wait, items, cap);
    for (uint32_t i = 0; i < n; i++) {
        const struct sl_readop *op = &reader->ops[items[i]];

        ret_done[i] = (struct sl_read_done){ .tag = op->read.tag, .error = op->error };
        count(&reader->counters, op);
        reader->n_flying--;
        reader->free_ops[reader->depth - reader->n_flying - 1] = items[i];
    }
    return n;
}
