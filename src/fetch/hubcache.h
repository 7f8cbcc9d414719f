/*
 * A repo's folder in the cache that Hugging Face's tools and llama.cpp share, for writing:
 * blobs by their SHA-256, snapshots of commits with links to them, references, locks. As
 * store/hfcache.h reads it. One thread.
 *
 *   models--USER--REPO/blobs/SHA256
 *                      snapshots/COMMIT/PATH -> ../../blobs/SHA256
 *                      refs/main             the commit
 *   .locks/models--USER--REPO/SHA256.lock
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct sl_hubcache {
    char *root, *repo; /* folders; owned */
    char *name;        /* "models--USER--REPO" */
};

/* Names only; nothing is made. repo is as sl_hubname_parse lets it through. 0 or -ENOMEM. */
int sl_hubcache_open(struct sl_hubcache *ret, const char *root, const char *repo);
void sl_hubcache_close(struct sl_hubcache *cache); /* all zeroes: does nothing */

/* Make the folders. The system's error, with the folder's name. */
int sl_hubcache_make(const struct sl_hubcache *cache, struct sl_diag *diag);

/* Heap paths; NULL: no memory. */
char *sl_hubcache_blob_path(const struct sl_hubcache *cache, const char *sha256);
char *sl_hubcache_file_path(const struct sl_hubcache *cache, const char *commit,
                            const char *path);

/*
 * Take the lock that Hugging Face's tools take too while they write a blob; closing *ret_fd
 * gives it back. -EAGAIN: somebody has it. Where the file system knows no locks: 0, and
 * *ret_fd -1.
 */
int sl_hubcache_lock(const struct sl_hubcache *cache, const char *sha256, int *ret_fd,
                     struct sl_diag *diag);

/* Let a file of a commit be a blob; replaces what is there by that name, at once. */
int sl_hubcache_link(const struct sl_hubcache *cache, const char *commit, const char *path,
                     const char *sha256, struct sl_diag *diag);

/* Let a branch be at a commit. A revision that is a commit itself has no reference. */
int sl_hubcache_set_ref(const struct sl_hubcache *cache, const char *revision,
                        const char *commit, struct sl_diag *diag);

/* Bytes that a user may still write where the cache is, or will be; UINT64_MAX: not known. */
uint64_t sl_hubcache_free_bytes(const struct sl_hubcache *cache);

enum sl_hubcache_state {
    SL_HUBCACHE_ABSENT = 0,
    SL_HUBCACHE_BEGUN, /* by us */
    SL_HUBCACHE_WHOLE, /* under its own name */
};

/* What of a blob is on the disk, and the bytes that it takes there. */
enum sl_hubcache_state sl_hubcache_find_blob(const struct sl_hubcache *cache,
                                             const char *sha256, uint64_t *ret_bytes);

/* Remove unfinished downloads of ours that were of the same file in an earlier state. Returns
 * the bytes that they took. */
uint64_t sl_hubcache_drop_stale(const struct sl_hubcache *cache, const char *path,
                                const char *sha256);
