/*
 * One read, from what the system answers to what is done next. No I/O in here, so that
 * every back end treats short, interrupted and failed reads alike.
 *
 * A read has ended well when it has all bytes up to the end that the file had when it
 * was opened. A short one goes on from the last whole unit of alignment, because direct
 * I/O can begin nowhere else; what it had got beyond is read once more. Nothing at all
 * means that the file has become shorter: an error, at once.
 */
#include <errno.h>
#include <fcntl.h>

#include "loader/readop.h"

#define ERRORS_MAX 3       /* a disk that says EIO four times means it */
#define TRANSIENT_MAX 100 /* in a row; each lets other work go first */

void sl_readop_init(struct sl_readop *op, const struct sl_read *read,
                    const struct sl_readfile *file)
{
    uint64_t left = file->bytes > read->off ? file->bytes - read->off : 0;

    *op = (struct sl_readop){
        .read = *read,
        .want_bytes = left < read->bytes ? (uint32_t)left : read->bytes,
        .is_buffered = !file->is_direct,
    };
}

static bool end_with(struct sl_readop *op, int error)
{
    op->error = error;
    return true;
}

static bool again_if(struct sl_readop *op, bool patient)
{
    if (!patient)
        return end_with(op, -EIO);
    op->n_retries++;
    return false;
}

static bool advance_bytes(struct sl_readop *op, uint64_t n, uint32_t alignment)
{
    uint64_t done = op->done_bytes + n;

    if (done >= op->want_bytes)
        return end_with(op, 0);
    if (n == 0)
        return end_with(op, -EIO); /* the file ends here by now */
    done &= ~(uint64_t)(alignment - 1);
    if (done > op->done_bytes) {
        op->done_bytes = (uint32_t)done;
        op->n_transient = 0;
        return again_if(op, true);
    }
    return again_if(op, ++op->n_errors <= ERRORS_MAX); /* most likely the file's new end */
}

bool sl_readop_advance(struct sl_readop *op, const struct sl_readfile *file, int64_t res,
                       uint32_t alignment)
{
    if (res >= 0)
        return advance_bytes(op, (uint64_t)res, alignment);
    switch (res) {
    case -EINTR:
    case -EAGAIN:
    case -ECANCELED: /* the thread that issued it has ended */
        return again_if(op, ++op->n_transient <= TRANSIENT_MAX);
    case -EINVAL:
    case -EOPNOTSUPP: /* direct I/O refused just here */
        if (!op->is_buffered && file->buffered_fd >= 0) {
            op->is_buffered = true;
            return again_if(op, true);
        }
        break;
    default:
        break;
    }
    return again_if(op, ++op->n_errors <= ERRORS_MAX);
}

void sl_readop_drop_behind(const struct sl_readop *op, const struct sl_readfile *file)
{
    if (op->is_buffered) /* advice: nothing is lost where it is not taken */
        (void)posix_fadvise(file->buffered_fd, (off_t)op->read.off, op->read.bytes,
                            POSIX_FADV_DONTNEED);
}
