/*
 * Writing packs (doc/pack-format.md) from GGUF models, and comparing the two. Called by
 * src/cli/cmd_pack.c and tests. One thread; the work is done by the pool's. The source's
 * files must not change meanwhile (noticed if they become shorter: install the SIGBUS
 * handler of loader/mapping.h first).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "loader/gguf.h"
#include "loader/pack.h"

/* What encoding must save to be used. */
#define SL_PACKWRITE_GAIN 0.08

struct sl_packwrite_opts {
    int level;            /* of zstd, 1..SL_ZBLOCK_LEVEL_MAX; 0: everything plain */
    struct sl_pool *pool; /* NULL: the caller alone */
    /* As in sl_mapping_warm, in bytes of the source; NULL is allowed. */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

struct sl_packwrite;

/* Lay out a pack of gguf, which is borrowed and must have its data. Reads samples of the
 * tensors if there is a level. -ENOTSUP: a tensor of unknown size; -E2BIG; -ERANGE: level;
 * -ENOMEM. */
int sl_packwrite_new(struct sl_packwrite **ret_pw, const struct sl_gguf *gguf,
                     const struct sl_packwrite_opts *opts, struct sl_diag *diag);
void sl_packwrite_free(struct sl_packwrite *pw); /* NULL is allowed */

/* Bytes of disk needed: of a plain pack exactly its size; else an estimate. */
uint64_t sl_packwrite_need_bytes(const struct sl_packwrite *pw);

/*
 * Write to fd, an empty regular file open for writing. Once. -ENOSPC: the file system
 * has less room than needed, seen before the start or on the way, with both numbers;
 * -EIO and other errors of writing; -EIO: the source cannot be read; -ECANCELED. The
 * header comes last: whatever the file holds after a failure is no pack. Not synced.
 */
int sl_packwrite_run(struct sl_packwrite *pw, int fd, struct sl_diag *diag);

/* Whether pack holds the same metadata and, byte for byte, the same tensors as gguf.
 * opts: level is not used. -EBADMSG says what differs. */
int sl_packwrite_compare(const struct sl_gguf *gguf, struct sl_pack *pack,
                         const struct sl_packwrite_opts *opts, struct sl_diag *diag);
