/*
 * The file: a header of HEADER_BYTES, then the counters, little-endian, 8 bytes for each chunk.
 * A counter is stored by a write of 4 aligned bytes, which no interruption tears; the header is
 * stored last when a journal begins, so that one without it is none.
 *
 * Chunks are small enough that a file has a few dozen of them and large enough that a request
 * for one costs little: 1/32 of the file, a power of two in 256 KiB..32 MiB.
 */
#include "fetch/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_BYTES 1024
#define CHUNK_BYTES_MIN ((uint32_t)256 << 10)
#define CHUNK_BYTES_MAX ((uint32_t)32 << 20)

static const char magic[8] = "SLPULL1";

struct header {
    char magic[8];
    uint64_t bytes;
    uint32_t chunk_bytes, n_chunks;
    char sha256[72];
    char boot[SL_JOURNAL_BOOT_BYTES];
    char name[SL_JOURNAL_NAME_BYTES];
    char unused[HEADER_BYTES - 8 - 8 - 8 - 72 - SL_JOURNAL_BOOT_BYTES - SL_JOURNAL_NAME_BYTES];
};
_Static_assert(sizeof(struct header) == HEADER_BYTES, "the header has no gaps");

void sl_journal_get_boot(char ret_boot[SL_JOURNAL_BOOT_BYTES])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, ret_boot, SL_JOURNAL_BOOT_BYTES - 1) : 0;

    if (fd >= 0)
        (void)close(fd); /* it was only read */
    ret_boot[n > 0 ? n : 0] = '\0';
    ret_boot[strcspn(ret_boot, "\n")] = '\0';
}

static uint32_t chunk_bytes_for(uint64_t bytes)
{
    uint32_t chunk = CHUNK_BYTES_MIN;

    while (chunk < CHUNK_BYTES_MAX && bytes / chunk > 32)
        chunk *= 2;
    return chunk;
}

static int write_at(int fd, const void *data, size_t len, uint64_t off)
{
    const char *from = data;

    while (len) {
        ssize_t n = pwrite(fd, from, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        from += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static bool read_at(int fd, void *data, size_t len, uint64_t off)
{
    char *to = data;

    while (len) {
        ssize_t n = pread(fd, to, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        to += n;
        off += (uint64_t)n;
        len -= (size_t)n;
    }
    return true;
}

static bool read_header(int fd, struct header *ret)
{
    return read_at(fd, ret, sizeof(*ret), 0) && !memcmp(ret->magic, magic, sizeof(magic)) &&
           ret->bytes && memchr(ret->sha256, 0, sizeof(ret->sha256)) &&
           memchr(ret->boot, 0, sizeof(ret->boot)) && memchr(ret->name, 0, sizeof(ret->name));
}

uint32_t sl_journal_chunk_bytes(const struct sl_journal *journal, uint32_t chunk)
{
    uint64_t from = (uint64_t)chunk * journal->chunk_bytes;
    uint64_t left = journal->bytes - from;

    return left < journal->chunk_bytes ? (uint32_t)left : journal->chunk_bytes;
}

static size_t counts_bytes(const struct sl_journal *journal)
{
    return journal->n_chunks * sizeof(*journal->counts);
}

/* The counters of the file, as far as they can be true. */
static bool load(struct sl_journal *journal, const struct header *header, uint64_t data_bytes,
                 const char *boot)
{
    bool is_same_boot = boot[0] && !strcmp(boot, header->boot);

    if (!read_at(journal->fd, journal->counts, counts_bytes(journal), HEADER_BYTES))
        return false;
    for (uint32_t i = 0; i < journal->n_chunks; i++) {
        struct sl_journal_count *c = &journal->counts[i];
        uint64_t from = (uint64_t)i * journal->chunk_bytes;

        if (!is_same_boot)
            c->written = c->durable;
        if (c->durable > c->written || c->written > sl_journal_chunk_bytes(journal, i) ||
            (c->written && from + c->written > data_bytes))
            return false;
        journal->n_written += c->written;
    }
    return true;
}

static int store_counts(struct sl_journal *journal)
{
    return write_at(journal->fd, journal->counts, counts_bytes(journal), HEADER_BYTES);
}

/* The counters first, and on the disk where there were others: a header, or another boot in
 * it, makes them count. */
static int store(struct sl_journal *journal, const struct header *header)
{
    struct stat st;
    bool is_new = fstat(journal->fd, &st) == 0 && st.st_size == 0;
    int r = store_counts(journal);

    if (r == 0 && !is_new && fdatasync(journal->fd) != 0)
        r = -errno;
    return r == 0 ? write_at(journal->fd, header, sizeof(*header), 0) : r;
}

static int resume_or_begin(struct sl_journal *journal, const struct sl_journal_id *id,
                           uint64_t data_bytes, const char *boot)
{
    struct header old, header = {.bytes = journal->bytes, .chunk_bytes = journal->chunk_bytes,
                                 .n_chunks = journal->n_chunks};

    memcpy(header.magic, magic, sizeof(magic));
    (void)snprintf(header.sha256, sizeof(header.sha256), "%s", id->sha256);
    (void)snprintf(header.boot, sizeof(header.boot), "%s", boot);
    (void)snprintf(header.name, sizeof(header.name), "%s", id->name);
    if (read_header(journal->fd, &old) && old.bytes == header.bytes &&
        old.chunk_bytes == header.chunk_bytes && old.n_chunks == header.n_chunks &&
        !strcmp(old.sha256, header.sha256) && load(journal, &old, data_bytes, boot))
        return boot[0] && !strcmp(old.boot, boot) ? 0 : store(journal, &header);
    memset(journal->counts, 0, counts_bytes(journal));
    journal->n_written = 0;
    return store(journal, &header);
}

int sl_journal_open(struct sl_journal *journal, const char *path, const struct sl_journal_id *id,
                    uint64_t data_bytes, const char *boot, struct sl_diag *diag)
{
    uint32_t chunk = chunk_bytes_for(id->bytes);
    uint64_t n = (id->bytes + chunk - 1) / chunk;
    int r;

    *journal = (struct sl_journal){.fd = -1, .bytes = id->bytes, .chunk_bytes = chunk,
                                   .n_chunks = (uint32_t)n};
    if (id->bytes == 0 || n > UINT32_MAX / sizeof(*journal->counts) ||
        strlen(path) >= sizeof(journal->path))
        return sl_diag_set(diag, -EINVAL, "%s: no journal for %llu bytes", path,
                           (unsigned long long)id->bytes);
    strcpy(journal->path, path);
    journal->counts = calloc(n, sizeof(*journal->counts));
    journal->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (!journal->counts)
        r = -ENOMEM;
    else
        r = journal->fd < 0 ? -errno : resume_or_begin(journal, id, data_bytes, boot);
    if (r < 0) {
        (void)sl_diag_set(diag, r, "cannot write %s: %s", path, sl_err_text(r));
        sl_journal_close(journal);
    }
    return r;
}

void sl_journal_close(struct sl_journal *journal)
{
    if (journal->fd >= 0)
        (void)close(journal->fd); /* what it says is stored already */
    free(journal->counts);
    journal->counts = NULL;
    journal->fd = -1;
}

uint64_t sl_journal_prefix(const struct sl_journal *journal)
{
    for (uint32_t i = 0; i < journal->n_chunks; i++)
        if (journal->counts[i].written < sl_journal_chunk_bytes(journal, i))
            return (uint64_t)i * journal->chunk_bytes + journal->counts[i].written;
    return journal->bytes;
}

int sl_journal_add(struct sl_journal *journal, uint32_t chunk, uint32_t n)
{
    struct sl_journal_count *c = &journal->counts[chunk];

    c->written += n;
    journal->n_written += n;
    return write_at(journal->fd, &c->written, sizeof(c->written),
                    HEADER_BYTES + chunk * sizeof(*c) + sizeof(c->durable));
}

int sl_journal_set_durable(struct sl_journal *journal)
{
    for (uint32_t i = 0; i < journal->n_chunks; i++)
        journal->counts[i].durable = journal->counts[i].written;
    return store_counts(journal);
}

bool sl_journal_read_id(const char *path, struct sl_journal_id *ret_id)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct header header;
    bool is = fd >= 0 && read_header(fd, &header);

    if (fd >= 0)
        (void)close(fd); /* it was only read */
    if (!is || !sl_sha256_is_hex(header.sha256))
        return false;
    memcpy(ret_id->sha256, header.sha256, sizeof(ret_id->sha256));
    memcpy(ret_id->name, header.name, sizeof(ret_id->name));
    ret_id->bytes = header.bytes;
    return true;
}
