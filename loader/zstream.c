/*
 * Blocks of a stream, one zstd frame each. The writer's buffers are as large as a block
 * can get and its context is used once when it is made, so that writing allocates
 * nothing. Lengths that are read are checked against the block's limits before anything
 * is done with them; the frame's checksum catches the rest.
 */
#include "loader/zstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/bytes.h"

#define LEVEL 3
#define HEAD_BYTES 8u
#define STORED_MAX ((uint32_t)ZSTD_COMPRESSBOUND(SL_ZSTREAM_BLOCK))

struct sl_zstream_writer {
    int fd;
    int error;
    uint32_t n; /* raw bytes gathered */
    ZSTD_CCtx *zstd;
    uint8_t raw[SL_ZSTREAM_BLOCK];
    uint8_t stored[HEAD_BYTES + STORED_MAX];
};

struct sl_zstream_reader {
    int fd;
    uint32_t n, at; /* raw bytes of the block, and how many of them were read */
    ZSTD_DCtx *zstd;
    uint8_t raw[SL_ZSTREAM_BLOCK];
    uint8_t stored[STORED_MAX];
};

int sl_zstream_writer_new(struct sl_zstream_writer **ret_writer, int fd)
{
    struct sl_zstream_writer *w = calloc(1, sizeof(*w));

    if (!w)
        return -ENOMEM;
    w->fd = fd;
    w->zstd = ZSTD_createCCtx();
    if (!w->zstd || ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1)) ||
        ZSTD_isError(ZSTD_compress2(w->zstd, w->stored, sizeof(w->stored), w->raw,
                                    sizeof(w->raw)))) {
        sl_zstream_writer_free(w);
        return -ENOMEM;
    }
    *ret_writer = w;
    return 0;
}

void sl_zstream_writer_free(struct sl_zstream_writer *w)
{
    if (!w)
        return;
    (void)ZSTD_freeCCtx(w->zstd); /* takes NULL */
    free(w);
}

static int write_all(int fd, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && (errno == ENOSPC || errno == EDQUOT) ? -ENOSPC : -EIO;
        data += n;
        bytes -= (size_t)n;
    }
    return 0;
}

int sl_zstream_flush(struct sl_zstream_writer *w)
{
    uint32_t raw_bytes = w->n, stored_bytes;
    size_t n;

    if (w->error || w->n == 0)
        return w->error;
    n = ZSTD_compress2(w->zstd, w->stored + HEAD_BYTES, STORED_MAX, w->raw, w->n);
    w->n = 0;
    if (ZSTD_isError(n)) {
        w->error = -EIO;
        return w->error;
    }
    stored_bytes = (uint32_t)n;
    memcpy(w->stored, &raw_bytes, sizeof(raw_bytes));
    memcpy(w->stored + 4, &stored_bytes, sizeof(stored_bytes));
    w->error = write_all(w->fd, w->stored, HEAD_BYTES + n);
    return w->error;
}

void sl_zstream_write(struct sl_zstream_writer *w, const void *data, size_t bytes)
{
    const uint8_t *from = data;

    while (bytes > 0 && !w->error) {
        size_t n = sizeof(w->raw) - w->n;

        n = n < bytes ? n : bytes;
        memcpy(w->raw + w->n, from, n);
        w->n += (uint32_t)n;
        from += n;
        bytes -= n;
        if (w->n == sizeof(w->raw))
            (void)sl_zstream_flush(w); /* kept in w->error */
    }
}

int sl_zstream_reader_new(struct sl_zstream_reader **ret_reader, int fd)
{
    struct sl_zstream_reader *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->fd = fd;
    r->zstd = ZSTD_createDCtx();
    if (!r->zstd) {
        free(r);
        return -ENOMEM;
    }
    *ret_reader = r;
    return 0;
}

void sl_zstream_reader_free(struct sl_zstream_reader *r)
{
    if (!r)
        return;
    (void)ZSTD_freeDCtx(r->zstd);
    free(r);
}

/* Returns the number of bytes there were, at most bytes, or -EIO. */
static int64_t read_all(int fd, uint8_t *data, size_t bytes)
{
    size_t n_read = 0;

    while (n_read < bytes) {
        ssize_t n = read(fd, data + n_read, bytes - n_read);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -EIO;
        if (n == 0)
            break;
        n_read += (size_t)n;
    }
    return (int64_t)n_read;
}

static int next_block(struct sl_zstream_reader *r)
{
    uint8_t head[HEAD_BYTES];
    int64_t n = read_all(r->fd, head, sizeof(head));
    uint32_t raw_bytes = sl_load_u32(head), stored_bytes = sl_load_u32(head + 4);
    size_t got;

    r->n = r->at = 0;
    if (n <= 0)
        return n < 0 ? -EIO : -ENODATA;
    if (n < (int64_t)sizeof(head) || raw_bytes == 0 || raw_bytes > SL_ZSTREAM_BLOCK ||
        stored_bytes == 0 || stored_bytes > STORED_MAX)
        return -EBADMSG;
    n = read_all(r->fd, r->stored, stored_bytes);
    if (n < (int64_t)stored_bytes)
        return n < 0 ? -EIO : -EBADMSG;
    got = ZSTD_decompressDCtx(r->zstd, r->raw, sizeof(r->raw), r->stored, stored_bytes);
    if (ZSTD_isError(got) || got != raw_bytes)
        return -EBADMSG;
    r->n = raw_bytes;
    return 0;
}

int sl_zstream_read(struct sl_zstream_reader *r, void *ret_data, size_t bytes)
{
    uint8_t *to = ret_data;
    size_t n_done = 0;

    while (n_done < bytes) {
        size_t n = r->n - r->at;

        if (n == 0) {
            int error = next_block(r);

            if (error < 0)
                return error == -ENODATA && n_done > 0 ? -EBADMSG : error;
            continue;
        }
        n = n < bytes - n_done ? n : bytes - n_done;
        memcpy(to + n_done, r->raw + r->at, n);
        r->at += (uint32_t)n;
        n_done += n;
    }
    return 0;
}
