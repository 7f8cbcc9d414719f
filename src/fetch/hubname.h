/*
 * Names of models on a hub, as people write them, and what a server may call its files: pure
 * functions that let nothing through that could lead out of a folder. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define SL_HUBNAME_REPO_BYTES 200
#define SL_HUBNAME_REVISION_BYTES 200
#define SL_HUBNAME_TAG_BYTES 512

struct sl_hubname {
    char repo[SL_HUBNAME_REPO_BYTES];         /* "user/repo" */
    char revision[SL_HUBNAME_REVISION_BYTES]; /* "main" if none was given */
    char tag[SL_HUBNAME_TAG_BYTES];           /* "Q4_K_M", a file's name, or "" */
};

/* [https://][hf.co/|huggingface.co/]user/repo[@revision][:tag]. -EBADMSG: it is none, and
 * diag says what is wrong with it. */
int sl_hubname_parse(struct sl_hubname *ret, const char *text, struct sl_diag *diag);

/* Whether a path in a repo stays below its folder and can be a file's name: parts between
 * slashes that are neither empty nor "." nor "..", no control characters, no backslash. */
bool sl_hubname_is_path(const char *path);

/* 40 digits in lower case, as commits have. */
bool sl_hubname_is_commit(const char *text);

/* Append text to a URL, with %XX for what may not stand there; slashes stay if with_slashes.
 * False: there is no room. */
bool sl_hubname_add_url(char *url, size_t cap, const char *text, bool with_slashes);
