/* Files are read in pieces of READ_BYTES, which libcrypto takes in about 2 ms each. */
#include "fetch/sha256.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES ((size_t)4 << 20)
#define DIGEST_BYTES 32

struct sl_sha256 {
    EVP_MD_CTX *ctx;
};

int sl_sha256_new(struct sl_sha256 **ret_state)
{
    struct sl_sha256 *state = calloc(1, sizeof(*state));

    if (!state)
        return -ENOMEM;
    state->ctx = EVP_MD_CTX_new();
    if (!state->ctx || EVP_DigestInit_ex(state->ctx, EVP_sha256(), NULL) != 1) {
        sl_sha256_free(state);
        return -ENOMEM;
    }
    *ret_state = state;
    return 0;
}

void sl_sha256_free(struct sl_sha256 *state)
{
    if (!state)
        return;
    EVP_MD_CTX_free(state->ctx);
    free(state);
}

int sl_sha256_add(struct sl_sha256 *state, const void *data, size_t len)
{
    return EVP_DigestUpdate(state->ctx, data, len) == 1 ? 0 : -EIO;
}

int sl_sha256_end(struct sl_sha256 *state, char ret_hex[SL_SHA256_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[EVP_MAX_MD_SIZE];

    if (EVP_DigestFinal_ex(state->ctx, digest, NULL) != 1 ||
        EVP_DigestInit_ex(state->ctx, EVP_sha256(), NULL) != 1)
        return -EIO;
    for (int i = 0; i < DIGEST_BYTES; i++) {
        ret_hex[2 * i] = digits[digest[i] >> 4];
        ret_hex[2 * i + 1] = digits[digest[i] & 15];
    }
    ret_hex[2 * DIGEST_BYTES] = '\0';
    return 0;
}

bool sl_sha256_is_hex(const char *text)
{
    size_t n = 0;

    while (n < SL_SHA256_HEX_BYTES - 1 && isxdigit((unsigned char)text[n]))
        n++;
    return n == SL_SHA256_HEX_BYTES - 1 && !text[n];
}

static int add_all(struct sl_sha256 *state, int fd, char *buf,
                   int (*progress)(void *arg, uint64_t done_bytes), void *arg)
{
    uint64_t done = 0;

    for (;;) {
        ssize_t n = read(fd, buf, READ_BYTES);
        int r;

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return 0;
        r = n > 0 ? sl_sha256_add(state, buf, (size_t)n) : 0;
        done += n > 0 ? (uint64_t)n : 0;
        if (r == 0 && progress && progress(arg, done) != 0)
            r = -ECANCELED;
        if (r < 0)
            return r;
    }
}

int sl_sha256_file(const char *path, char ret_hex[SL_SHA256_HEX_BYTES],
                   int (*progress)(void *arg, uint64_t done_bytes), void *arg,
                   struct sl_diag *diag)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct sl_sha256 *state = NULL;
    char *buf = malloc(READ_BYTES);
    int r;

    if (fd < 0)
        r = -errno;
    else
        r = buf ? sl_sha256_new(&state) : -ENOMEM;
    if (r == 0) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* only a hint */
        r = add_all(state, fd, buf, progress, arg);
    }
    if (r == 0)
        r = sl_sha256_end(state, ret_hex);
    if (r < 0)
        (void)sl_diag_set(diag, r, "cannot read %s: %s", path, sl_err_text(r));
    sl_sha256_free(state);
    free(buf);
    if (fd >= 0)
        (void)close(fd); /* it was only read */
    return r;
}
