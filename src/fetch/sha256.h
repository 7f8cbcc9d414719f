/*
 * SHA-256, by libcrypto: the one file that knows it. A state belongs to one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SL_SHA256_HEX_BYTES 65 /* 64 digits and the terminator */

struct sl_sha256;

int sl_sha256_new(struct sl_sha256 **ret_state); /* 0 or -ENOMEM */
void sl_sha256_free(struct sl_sha256 *state);    /* NULL is allowed */

/* 0 or -EIO: libcrypto refused. */
int sl_sha256_add(struct sl_sha256 *state, const void *data, size_t len);

/* The digest of all that was added, in lower case; the state begins anew. */
int sl_sha256_end(struct sl_sha256 *state, char ret_hex[SL_SHA256_HEX_BYTES]);

/* Whether text is 64 hexadecimal digits and nothing else. */
bool sl_sha256_is_hex(const char *text);

/*
 * The digest of a whole file. progress, which may be NULL, is called after every few
 * megabytes; nonzero stops with -ECANCELED. The system's error of opening or reading.
 */
int sl_sha256_file(const char *path, char ret_hex[SL_SHA256_HEX_BYTES],
                   int (*progress)(void *arg, uint64_t done_bytes), void *arg,
                   struct sl_diag *diag);
