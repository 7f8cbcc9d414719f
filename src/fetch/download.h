/*
 * One file from a server into a folder: several ranges at once, on with what an earlier attempt
 * left behind (partial.h), SHA-256 computed on the way, and under its own name only when it is
 * whole and right. One thread; every callback is called inside sl_download_get_*.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/retry.h"
#include "fetch/sha256.h"
#include "fetch/transfer.h"

#define SL_DOWNLOAD_CONNECTIONS_MAX 16u

struct sl_download;

struct sl_download_opts {
    uint32_t n_connections; /* 1..SL_DOWNLOAD_CONNECTIONS_MAX, default 4 */
    struct sl_retry_opts retry;
    bool is_any_tag; /* entity tags may differ from answer to answer */
};

struct sl_download_file { /* texts are copied */
    const char *url;
    const char *token, *token_home; /* as in struct sl_transfer_request; borrowed */
    const char *path;               /* where it will be */
    const char *name;               /* in its repo, for the journal */
    char sha256[SL_SHA256_HEX_BYTES];
    uint64_t bytes;
};

struct sl_download_state {
    uint64_t bytes;         /* of the file */
    uint64_t there_bytes;   /* written, by this run or an earlier one */
    uint64_t resumed_bytes; /* by earlier ones */
    uint64_t checked_bytes; /* gone through SHA-256, from the begin on */
    uint32_t n_faults;      /* tries that failed */
    uint32_t wait_ms;       /* until the next try; 0: something is on its way */
    const char *fault;      /* of the last try that failed, or "" */
};

struct sl_download_events {
    /* Several times a second; nonzero stops with -ECANCELED. */
    int (*progress)(void *arg, const struct sl_download_state *state);
    void *arg;
};

/*
 * Open what is there of a file, or begin it. events is borrowed, opts and file copied. 0, the
 * system's error, -ENOMEM.
 */
int sl_download_open(struct sl_download **ret_download, struct sl_transfer *transfer,
                     const struct sl_download_file *file, const struct sl_download_opts *opts,
                     const struct sl_download_events *events, struct sl_diag *diag);

/* Keeps what is there for another time, flushed to the disk. NULL is allowed. */
void sl_download_close(struct sl_download *download);

/* The data as far as it is there; borrowed. */
const char *sl_download_partial_path(const struct sl_download *download);
void sl_download_get_state(const struct sl_download *download, struct sl_download_state *ret);

/*
 * Get the first bytes of the file, at least head_bytes of them or all. Blocks. 0 or
 *   -ECANCELED  the callback
 *   -ESTALE     the server has another file than was asked for: list the repo again
 *   -EACCES, -ENOENT, -EPROTO, -ETIMEDOUT ...  the server, after all tries; diag says what
 *   -ENOSPC, -EIO ...  this side
 * What was written stays and counts.
 */
int sl_download_get_head(struct sl_download *download, uint64_t head_bytes, struct sl_diag *diag);

/* Get all, check it and give it its name. The same results, and -EBADMSG: the SHA-256 is
 * another one; what was there is removed. After 0 and -EBADMSG only close is allowed. */
int sl_download_get_all(struct sl_download *download, struct sl_diag *diag);
