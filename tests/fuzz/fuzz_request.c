/*
 * Any bytes as what a client sends: heads and bodies one after the other, as httpconn.c
 * follows them. Cut at two different lengths, the same bytes must give the same verdicts at
 * the same places. The Host and Origin of every line are looked at as well.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/hostcheck.h"
#include "server/httphead.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct sl_httphead_limits limits = {64, 512, 256};

struct verdict {
    size_t n_requests;
    size_t at; /* bytes taken */
    int status;
};

/* The line that begins at text, as its own heap block so that reading past it is seen. */
static int take_line(struct sl_httphead *head, const char *text, size_t len)
{
    const char *why = NULL;
    char *line = malloc(len + 1);
    int r;

    if (!line)
        abort();
    memcpy(line, text, len);
    line[len] = '\0';
    r = sl_httphead_take_line(head, line, len, &limits, &why);
    if (r > 1 && !why)
        abort();
    (void)sl_hostcheck_is_allowed(line, NULL, 0);
    (void)sl_hostcheck_origin(line, line, NULL, 0);
    free(line);
    return r;
}

/* Take one head. Returns 1 when complete, 0 when more is needed, or a status. */
static int take_head(struct sl_httphead *head, const char *text, size_t len, size_t *at)
{
    int r = 0;

    while (r == 0 && *at < len) {
        const char *feed = memchr(text + *at, '\n', len - *at);
        size_t line = feed ? (size_t)(feed - text) + 1 - *at : 0;

        if (!feed)
            return sl_httphead_check_part(head, len - *at, &limits);
        r = take_line(head, text + *at, line);
        *at += line;
    }
    return r;
}

static struct verdict follow(const char *text, size_t len, size_t piece)
{
    struct verdict verdict = {0};

    while (verdict.at < len && verdict.status == 0) {
        struct sl_httphead head = {0};
        struct sl_httpchunk chunk = {0};
        int r = take_head(&head, text, len, &verdict.at);

        if (r != 1) {
            verdict.status = r;
            break;
        }
        if (head.body_bytes > limits.body_max_bytes || (head.is_chunked && head.body_bytes))
            abort();
        verdict.at += head.body_bytes < len - verdict.at ? head.body_bytes : len - verdict.at;
        r = !head.is_chunked;
        while (r == 0 && verdict.at < len) {
            size_t n = piece < len - verdict.at ? piece : len - verdict.at;
            size_t used = 0;

            r = sl_httpchunk_feed(&chunk, text + verdict.at, n, limits.body_max_bytes, &used);
            if (r < 2)
                verdict.at += used;
            if (chunk.body_bytes > limits.body_max_bytes)
                abort();
        }
        verdict.status = r > 1 ? r : 0;
        verdict.n_requests += r == 1;
    }
    return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct verdict whole = follow((const char *)data, n, n);
    struct verdict bytes = follow((const char *)data, n, 1);

    if (whole.n_requests != bytes.n_requests || whole.status != bytes.status ||
        (whole.status == 0 && whole.at != bytes.at))
        abort();
    return 0;
}
