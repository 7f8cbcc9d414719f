/*
 * Older runs count for at most TOKENS_MAX tokens, so that a new kind of use shows within
 * a few long conversations. A file that cannot be understood is no error for anybody: it
 * is replaced at the end of the run.
 */
#include "model/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/strbuf.h"

#define TOKENS_MAX 8192u
#define MILLION 1000000u

static bool read_shares(FILE *f, float *shares, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint32_t value;

        if (fscanf(f, "%" SCNu32, &value) != 1 || value > MILLION)
            return false;
        shares[i] = (float)value / MILLION;
    }
    return true;
}

int64_t sl_profile_load(const char *path, struct sl_evict *evict, uint32_t n_layers,
                        uint32_t n_experts)
{
    uint64_t n = (uint64_t)n_layers * n_experts;
    uint32_t file_layers, file_experts, n_tokens;
    float *shares;
    FILE *f = fopen(path, "re");
    int64_t r = -EBADMSG;

    if (!f)
        return errno == ENOENT ? 0 : -errno;
    shares = calloc(n, sizeof(*shares));
    if (!shares) {
        (void)fclose(f);
        return -ENOMEM;
    }
    if (fscanf(f, "sluice-profile 1 %" SCNu32 " %" SCNu32 " %" SCNu32, &file_layers,
               &file_experts, &n_tokens) == 3 &&
        file_layers == n_layers && file_experts == n_experts && read_shares(f, shares, n)) {
        for (uint64_t i = 0; i < n; i++)
            if (shares[i] > 0)
                sl_evict_seed(evict, (uint32_t)(i / n_experts), (uint32_t)(i % n_experts),
                              shares[i]);
        r = n_tokens;
    }
    free(shares);
    (void)fclose(f);
    return r;
}

static void format(struct sl_strbuf *out, const struct sl_evict *evict, uint32_t n_layers,
                   uint32_t n_experts, uint64_t n_before, uint64_t n_tokens)
{
    uint64_t n_old = n_before < TOKENS_MAX ? n_before : TOKENS_MAX;
    uint64_t n_new = n_tokens < TOKENS_MAX ? n_tokens : TOKENS_MAX;
    double weight = (double)n_new / (double)(n_old + n_new);

    sl_strbuf_add_fmt(out, "sluice-profile 1 %" PRIu32 " %" PRIu32 " %" PRIu64 "\n", n_layers,
                      n_experts, n_old + n_new);
    for (uint32_t layer = 0; layer < n_layers; layer++)
        for (uint32_t e = 0; e < n_experts; e++) {
            double share = weight * sl_evict_share(evict, layer, e) +
                           (1 - weight) * sl_evict_seeded(evict, layer, e);

            sl_strbuf_add_fmt(out, "%" PRIu32 "%c", (uint32_t)(share * MILLION + 0.5),
                              e + 1 < n_experts ? ' ' : '\n');
        }
}

static int write_file(const char *path, const struct sl_strbuf *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    size_t done = 0;
    int r = 0;

    if (fd < 0)
        return -errno;
    while (done < text->len && r == 0) {
        ssize_t n = write(fd, text->ptr + done, text->len - done);

        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            r = -errno;
    }
    if (r == 0 && fsync(fd) != 0)
        r = -errno;
    if (close(fd) != 0 && r == 0)
        r = -errno;
    return r;
}

int sl_profile_save(const char *path, const struct sl_evict *evict, uint32_t n_layers,
                    uint32_t n_experts, uint64_t n_before, uint64_t n_tokens)
{
    struct sl_strbuf text = { 0 }, aside = { 0 };
    int r;

    format(&text, evict, n_layers, n_experts, n_before, n_tokens);
    sl_strbuf_add_fmt(&aside, "%s.%ld.new", path, (long)getpid());
    r = text.error ? text.error : aside.error;
    if (r == 0)
        r = write_file(aside.ptr, &text);
    if (r == 0 && rename(aside.ptr, path) != 0)
        r = -errno;
    if (r < 0 && aside.ptr)
        (void)unlink(aside.ptr);
    sl_strbuf_done(&text);
    sl_strbuf_done(&aside);
    return r;
}
