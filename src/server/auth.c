/*
 * Every key is compared to its end, whichever matches and wherever they differ. The
 * compiler is kept from cutting the loop short by a volatile sum.
 */
#include "server/auth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

struct key {
    char *text; /* heap, not terminated */
    size_t len;
};

struct sl_auth {
    /* set once, then read only */
    struct key keys[SL_AUTH_KEYS_MAX];
    size_t n_keys;
};

int sl_auth_new(struct sl_auth **ret_auth)
{
    struct sl_auth *auth = calloc(1, sizeof(*auth));

    if (!auth)
        return -ENOMEM;
    *ret_auth = auth;
    return 0;
}

void sl_auth_free(struct sl_auth *auth)
{
    if (!auth)
        return;
    for (size_t i = 0; i < auth->n_keys; i++) {
        explicit_bzero(auth->keys[i].text, auth->keys[i].len);
        free(auth->keys[i].text);
    }
    free(auth);
}

int sl_auth_add_key(struct sl_auth *auth, const char *key, size_t len, struct sl_diag *diag)
{
    char *text;

    if (len == 0 || len > SL_AUTH_KEY_BYTES)
        return sl_diag_set(diag, -EINVAL, "an API key has 1 to %d characters, this one %zu",
                           SL_AUTH_KEY_BYTES, len);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)key[i] <= 0x20 || (unsigned char)key[i] >= 0x7F)
            return sl_diag_set(diag, -EINVAL,
                               "character %zu of an API key is not printable ASCII", i + 1);
    if (auth->n_keys == SL_AUTH_KEYS_MAX)
        return sl_diag_set(diag, -E2BIG, "more than %d API keys", SL_AUTH_KEYS_MAX);
    text = malloc(len);
    if (!text)
        return -ENOMEM;
    memcpy(text, key, len);
    auth->keys[auth->n_keys++] = (struct key){text, len};
    return 0;
}

/* Read the file whole; *ret_text is on the heap. */
static int read_file(const char *path, char **ret_text, size_t *ret_len, bool *ret_is_open,
                     struct sl_diag *diag)
{
    struct stat st;
    char *text = NULL;
    size_t len = 0;
    int r = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &st) < 0) {
        r = sl_diag_set(diag, -errno, "cannot open the key file %s: %s", path, strerror(errno));
        goto out;
    }
    text = malloc(SL_AUTH_FILE_BYTES + 1);
    if (!text) {
        r = -ENOMEM;
        goto out;
    }
    while (len <= SL_AUTH_FILE_BYTES) {
        ssize_t n = read(fd, text + len, SL_AUTH_FILE_BYTES + 1 - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            r = sl_diag_set(diag, -errno, "cannot read %s: %s", path, strerror(errno));
            goto out;
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    if (len > SL_AUTH_FILE_BYTES) {
        r = sl_diag_set(diag, -E2BIG, "%s has more than %d bytes", path, SL_AUTH_FILE_BYTES);
        goto out;
    }
    *ret_is_open = S_ISREG(st.st_mode) && (st.st_mode & (S_IRGRP | S_IROTH));
    *ret_text = text;
    *ret_len = len;
    text = NULL;
out:
    free(text);
    if (fd >= 0)
        close(fd);
    return r;
}

int sl_auth_add_file(struct sl_auth *auth, const char *path, bool *ret_is_open,
                     struct sl_diag *diag)
{
    bool is_open = false;
    size_t n_keys = auth->n_keys;
    size_t line = 0;
    size_t len = 0;
    char *text = NULL;
    int r;

    r = read_file(path, &text, &len, &is_open, diag);
    if (r < 0)
        return r;
    for (size_t at = 0; at < len && r == 0; line++) {
        const char *feed = memchr(text + at, '\n', len - at);
        size_t end = feed ? (size_t)(feed - text) : len;
        size_t stop = end;

        while (stop > at && (text[stop - 1] == '\r' || text[stop - 1] == ' '))
            stop--;
        if (stop > at && text[at] != '#')
            r = sl_auth_add_key(auth, text + at, stop - at, diag);
        at = end + 1;
    }
    explicit_bzero(text, len);
    free(text);
    if (r < 0)
        return sl_diag_prefix(diag, r == -EINVAL ? -EBADMSG : r, "%s, line %zu", path, line);
    if (auth->n_keys == n_keys)
        return sl_diag_set(diag, -EBADMSG, "%s has no API key in it; write one a line", path);
    *ret_is_open = is_open;
    return 0;
}

bool sl_auth_has_keys(const struct sl_auth *auth)
{
    return auth->n_keys > 0;
}

bool sl_auth_is_equal(const char *a, size_t len_a, const char *b, size_t len_b)
{
    volatile unsigned char sum = len_a != len_b;

    for (size_t i = 0; i < len_b; i++)
        sum = (unsigned char)(sum | ((i < len_a ? a[i] : 0) ^ b[i]));
    return sum == 0;
}

bool sl_auth_is_allowed(const struct sl_auth *auth, const char *authorization,
                        const char *api_key)
{
    const char *given[2] = {NULL, api_key};
    unsigned int found = auth->n_keys == 0;

    if (authorization && strncasecmp(authorization, "bearer ", 7) == 0)
        given[0] = authorization + 7 + strspn(authorization + 7, " ");
    for (size_t g = 0; g < 2; g++) {
        size_t len = given[g] ? strlen(given[g]) : 0;

        for (size_t k = 0; given[g] && k < auth->n_keys; k++)
            found |= sl_auth_is_equal(auth->keys[k].text, auth->keys[k].len, given[g], len);
    }
    return found;
}
