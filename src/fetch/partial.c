/*
 * The checksum must have bytes in order. It takes them as they are written where they come in
 * order, and from the file, a few megabytes at a time between two looks at the connections,
 * where they do not. What an earlier run left goes through it from the file: the state of a
 * checksum is nothing to keep on a disk, and what lies there is checked again by that.
 *
 * Order of writing: data, `written` in the journal; now and then a flush of the data, then
 * `durable`. At the end: a flush, the name, a flush of the folder; the journal goes last.
 */
#include "fetch/partial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define SYNC_BYTES ((uint64_t)64 << 20)  /* fetched again at most if the power fails */
#define SYNC_NS ((uint64_t)5000000000u)  /* likewise, at a slow connection */
#define READ_BYTES ((size_t)4 << 20)

static int failed(const struct sl_partial *p, int code, const char *verb, struct sl_diag *diag)
{
    return sl_diag_set(diag, code, "cannot %s %s: %s", verb, p->data_path, sl_err_text(code));
}

static int open_files(struct sl_partial *p, const struct sl_journal_id *id, struct sl_diag *diag)
{
    char boot[SL_JOURNAL_BOOT_BYTES];
    char *journal = NULL;
    struct stat st;
    int r;

    p->fd = open(p->data_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (p->fd < 0 || fstat(p->fd, &st) != 0)
        return failed(p, -errno, "write", diag);
    if (!S_ISREG(st.st_mode))
        return failed(p, -EISDIR, "write", diag);
    if (asprintf(&journal, "%s" SL_PARTIAL_JOURNAL, p->path) < 0)
        return sl_diag_set(diag, -ENOMEM, "not enough memory");
    sl_journal_get_boot(boot);
    r = sl_journal_open(&p->journal, journal, id, (uint64_t)st.st_size, boot, diag);
    free(journal);
    if (r < 0)
        return r;
    p->resumed_bytes = p->journal.n_written;
    if (p->resumed_bytes == 0 && ftruncate(p->fd, 0) != 0)
        return failed(p, -errno, "write", diag);
    p->synced_ns = sl_clock_ns();
    return 0;
}

int sl_partial_open(struct sl_partial *partial, const char *path, const struct sl_journal_id *id,
                    struct sl_diag *diag)
{
    const char *slash = strrchr(path, '/');
    int r = 0;

    *partial = (struct sl_partial){.fd = -1, .journal.fd = -1};
    partial->path = strdup(path);
    partial->folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    partial->buf = malloc(READ_BYTES);
    if (asprintf(&partial->data_path, "%s" SL_PARTIAL_DATA, path) < 0)
        partial->data_path = NULL;
    if (!partial->path || !partial->folder || !partial->buf || !partial->data_path ||
        sl_sha256_new(&partial->sum) < 0)
        r = sl_diag_set(diag, -ENOMEM, "not enough memory");
    if (r == 0)
        r = open_files(partial, id, diag);
    if (r < 0)
        sl_partial_close(partial);
    return r;
}

void sl_partial_close(struct sl_partial *partial)
{
    sl_journal_close(&partial->journal);
    if (partial->fd >= 0)
        (void)close(partial->fd); /* what counts was flushed */
    sl_sha256_free(partial->sum);
    free(partial->path);
    free(partial->data_path);
    free(partial->folder);
    free(partial->buf);
    *partial = (struct sl_partial){.fd = -1, .journal.fd = -1};
}

/* Bytes that come next of a chunk. */
static int write_next(struct sl_partial *p, uint32_t chunk, uint64_t off, const char *data,
                      size_t len, struct sl_diag *diag)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(p->fd, data + done, len - done, (off_t)(off + done));
        int r;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failed(p, -errno, "write", diag);
        r = sl_journal_add(&p->journal, chunk, (uint32_t)n);
        if (r < 0)
            return failed(p, r, "write the journal of", diag);
        if (p->checked_bytes == off + done) {
            if (sl_sha256_add(p->sum, data + done, (size_t)n) < 0)
                return failed(p, -EIO, "compute the SHA-256 of", diag);
            p->checked_bytes += (uint64_t)n;
        }
        done += (size_t)n;
        p->fetched_bytes += (uint64_t)n;
        p->unsynced_bytes += (uint64_t)n;
    }
    return 0;
}

int sl_partial_take(struct sl_partial *partial, uint64_t off, const char *data, size_t len,
                    uint64_t *ret_written, struct sl_diag *diag)
{
    const struct sl_journal *journal = &partial->journal;
    uint64_t before = partial->fetched_bytes;

    while (len) {
        uint32_t chunk = (uint32_t)(off / journal->chunk_bytes);
        uint64_t from = (uint64_t)chunk * journal->chunk_bytes;
        uint64_t next = from + journal->counts[chunk].written;
        uint64_t end = from + sl_journal_chunk_bytes(journal, chunk);
        size_t n = end - off < len ? (size_t)(end - off) : len;
        size_t skip = next <= off ? 0 : next - off < n ? (size_t)(next - off) : n;
        int r = 0;

        if (n > skip)
            r = write_next(partial, chunk, off + skip, data + skip, n - skip, diag);
        if (r < 0)
            return r;
        off += n;
        data += n;
        len -= n;
    }
    *ret_written = partial->fetched_bytes - before;
    return 0;
}

int sl_partial_sync(struct sl_partial *partial, struct sl_diag *diag)
{
    int r;

    partial->synced_ns = sl_clock_ns();
    if (partial->unsynced_bytes == 0)
        return 0;
    if (fdatasync(partial->fd) != 0)
        return failed(partial, -errno, "write", diag);
    r = sl_journal_set_durable(&partial->journal);
    if (r < 0)
        return failed(partial, r, "write the journal of", diag);
    partial->unsynced_bytes = 0;
    return 0;
}

int sl_partial_sync_some(struct sl_partial *partial, struct sl_diag *diag)
{
    if (partial->unsynced_bytes < SYNC_BYTES && sl_clock_ns() - partial->synced_ns < SYNC_NS)
        return 0;
    return sl_partial_sync(partial, diag);
}

int sl_partial_check_some(struct sl_partial *partial, struct sl_diag *diag)
{
    uint64_t left = sl_journal_prefix(&partial->journal) - partial->checked_bytes;
    size_t want = left < READ_BYTES ? (size_t)left : READ_BYTES;
    ssize_t n;

    if (want == 0)
        return 0;
    n = pread(partial->fd, partial->buf, want, (off_t)partial->checked_bytes);
    if (n < 0 && errno == EINTR)
        return 1;
    if (n <= 0) /* 0: somebody made it shorter */
        return failed(partial, n < 0 ? -errno : -EIO, "read", diag);
    if (sl_sha256_add(partial->sum, partial->buf, (size_t)n) < 0)
        return failed(partial, -EIO, "compute the SHA-256 of", diag);
    partial->checked_bytes += (uint64_t)n;
    return left > (uint64_t)n;
}

static int sync_folder(const struct sl_partial *p)
{
    int fd = open(p->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 || fsync(fd) != 0 ? -errno : 0;

    if (fd >= 0)
        (void)close(fd); /* it is a folder */
    return r;
}

int sl_partial_finish(struct sl_partial *partial, const char *sha256, struct sl_diag *diag)
{
    struct sl_partial *p = partial;
    char hex[SL_SHA256_HEX_BYTES];
    int r = sl_sha256_end(p->sum, hex);

    if (r < 0)
        return failed(p, r, "compute the SHA-256 of", diag);
    if (strcmp(hex, sha256) != 0) {
        sl_partial_remove(p->path);
        return sl_diag_set(diag, -EBADMSG, "what came has the SHA-256 %s and not %s; it was "
                                           "thrown away", hex, sha256);
    }
    if (fsync(p->fd) != 0 || rename(p->data_path, p->path) != 0)
        r = -errno;
    if (r == 0)
        r = sync_folder(p);
    if (r < 0)
        return sl_diag_set(diag, r, "cannot write %s: %s", p->path, sl_err_text(r));
    sl_partial_remove(p->path); /* the journal: only clutter now */
    return 0;
}

void sl_partial_remove(const char *path)
{
    static const char *const endings[] = {SL_PARTIAL_DATA, SL_PARTIAL_JOURNAL};

    for (int i = 0; i < 2; i++) {
        char *name = NULL;

        if (asprintf(&name, "%s%s", path, endings[i]) < 0)
            continue;
        (void)unlink(name); /* it need not be there */
        free(name);
    }
}
