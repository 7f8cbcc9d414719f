/*
 * What a repo holds, from what the hub's API says of it (/api/models/REPO/revision/REV with
 * blobs=true). The text is a stranger's: names that could lead out of a folder, digests and
 * commits that are none, and sizes out of all bounds are refused. Any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/sha256.h"

#define SL_HUBLIST_FILES_MAX 100000u
#define SL_HUBLIST_FILE_BYTES_MAX ((uint64_t)1 << 50)

struct sl_hubfile {
    char *path;     /* below the repo's folder; owned */
    uint64_t bytes;
    char sha256[SL_SHA256_HEX_BYTES]; /* "": a small file, kept in git, of which it is not told */
};

struct sl_hublist {
    char commit[41];
    struct sl_hubfile *files; /* by path */
    size_t n_files;
    size_t n_refused; /* entries that were left out */
};

/* 0; -EBADMSG: it is no such listing, or says a commit that is none; -E2BIG, -ENOMEM.
 * sl_hublist_done is due after 0. */
int sl_hublist_parse(struct sl_hublist *ret, const char *json, size_t len, struct sl_diag *diag);
void sl_hublist_done(struct sl_hublist *list); /* all zeroes: does nothing */

/* By path, or NULL. */
const struct sl_hubfile *sl_hublist_find(const struct sl_hublist *list, const char *path);
