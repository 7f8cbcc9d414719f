/*
 * API keys. Whether a request may pass is told from its Authorization and x-api-key
 * headers; how long that takes depends on the lengths alone. Set up by one thread, then
 * read by any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define SL_AUTH_KEYS_MAX 256
#define SL_AUTH_KEY_BYTES 512
#define SL_AUTH_FILE_BYTES (256 * 1024)

struct sl_auth;

/* Without a key everything is let in. Returns 0 or -ENOMEM. */
int sl_auth_new(struct sl_auth **ret_auth);

/* NULL is allowed. Keys are wiped. */
void sl_auth_free(struct sl_auth *auth);

/*
 * Add a key: 1 to SL_AUTH_KEY_BYTES printable bytes without blanks. Copied.
 * Returns 0, -EINVAL (no such key), -E2BIG (too many), -ENOMEM.
 */
int sl_auth_add_key(struct sl_auth *auth, const char *key, size_t len, struct sl_diag *diag);

/*
 * Add the keys of a file, one a line; empty lines and those that begin with # are left
 * out. A file that others may read is taken, and ret_is_open then tells.
 * Returns 0, -EBADMSG (no key in it, or a malformed one), -E2BIG, -ENOMEM, or what
 * opening said. On failure the keys of the lines before stay added.
 */
int sl_auth_add_file(struct sl_auth *auth, const char *path, bool *ret_is_open,
                     struct sl_diag *diag);

bool sl_auth_has_keys(const struct sl_auth *auth);

/*
 * Whether one of the keys is in the headers' values, each of which may be NULL:
 * authorization is "Bearer KEY" (the word in any case), api_key the key alone.
 */
bool sl_auth_is_allowed(const struct sl_auth *auth, const char *authorization,
                        const char *api_key);

/* Whether two byte strings are equal, in time that depends on len_b alone. */
bool sl_auth_is_equal(const char *a, size_t len_a, const char *b, size_t len_b);
