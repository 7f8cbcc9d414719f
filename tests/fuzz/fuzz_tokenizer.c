/*
 * Any bytes as text: it is encoded, with special tokens parsed and without; the pieces
 * of the ids are the text again; the stream makes valid UTF-8 of them, the same for
 * any way of cutting, and the text itself where that is valid. Then the beginning of
 * the input is taken for special tokens, and what is cut out of the rest must be what
 * the rule, followed literally, cuts.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/small_vocab.h"
#include "text/special.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define N_SPECIALS 6

static struct sl_vocab *vocab;
static struct sl_tokenizer *tok;

static void require(int condition)
{
    if (!condition)
        abort();
}

static size_t stream_pieces(const int32_t *ids, int64_t n_ids, char *out)
{
    struct sl_utf8_stream s = {0};
    size_t n = 0;

    for (int64_t i = 0; i < n_ids; i++) {
        struct sl_str_view piece = sl_vocab_piece(vocab, ids[i]);

        n += sl_utf8_stream_feed(&s, piece.ptr, piece.len, out + n);
        require(s.n_held <= 3);
    }
    return n + sl_utf8_stream_end(&s, out + n);
}

static void check_stream(const char *text, size_t len, const int32_t *ids, int64_t n_ids)
{
    char *whole = malloc(3 * len + 9), *parts = malloc(3 * len + 9);
    struct sl_utf8_stream s = {0};
    size_t n;

    require(whole && parts);
    n = sl_utf8_stream_feed(&s, text, len, whole);
    n += sl_utf8_stream_end(&s, whole + n);
    require(n <= 3 * len);
    require(sl_utf8_valid_len(whole, n) == n);
    require(stream_pieces(ids, n_ids, parts) == n && memcmp(whole, parts, n) == 0);
    if (sl_utf8_valid_len(text, len) == len)
        require(n == len && memcmp(whole, text, n) == 0);
    free(whole);
    free(parts);
}

static void check_encode(const char *text, size_t len, uint32_t flags)
{
    int32_t *ids = malloc((len + 1) * sizeof(*ids));
    int64_t n = sl_tokenizer_encode(tok, text, len, flags, ids, len + 1);
    size_t off = 0;

    require(ids && n >= 0 && (uint64_t)n <= len);
    for (int64_t i = 0; i < n; i++) {
        struct sl_str_view piece = sl_vocab_piece(vocab, ids[i]);

        require(piece.len <= len - off && memcmp(text + off, piece.ptr, piece.len) == 0);
        off += piece.len;
    }
    require(off == len);
    check_stream(text, len, ids, n);
    free(ids);
}

/* The rule literally: longest token first (equal: lower id), each leftmost first, out of
 * what is left. owner[i]: 1 + the token that byte i was cut by, its first byte negative. */
static void cut_literally(const struct sl_str_view *tokens, uint32_t n_tokens, const char *text,
                          size_t len, int *owner)
{
    uint8_t done[N_SPECIALS] = {0};

    for (uint32_t round = 0; round < n_tokens; round++) {
        uint32_t best = N_SPECIALS;

        for (uint32_t i = 0; i < n_tokens; i++)
            if (!done[i] && (best == N_SPECIALS || tokens[i].len > tokens[best].len))
                best = i;
        done[best] = 1;
        for (size_t off = 0; off + tokens[best].len <= len; off++) {
            size_t k = 0;

            while (k < tokens[best].len && !owner[off + k] && text[off + k] == tokens[best].ptr[k])
                k++;
            if (k < tokens[best].len)
                continue;
            for (k = 0; k < tokens[best].len; k++)
                owner[off + k] = (int)best + 1;
            owner[off] = -owner[off];
        }
    }
}

static void check_hits(const struct sl_special_hit *hits, size_t n_hits, size_t len, int *owner)
{
    size_t end = 0;

    for (size_t i = 0; i < n_hits; i++) {
        require(hits[i].off >= end && hits[i].off + hits[i].len <= len);
        end = hits[i].off + hits[i].len;
        require(owner[hits[i].off] == -(hits[i].id + 1));
        for (size_t k = hits[i].off; k < end; k++)
            owner[k] = 0;
    }
    for (size_t i = 0; i < len; i++)
        require(owner[i] == 0); /* all that was cut literally was cut */
}

/* data: for each special token a length byte and its bytes, then the text. */
static void check_special(const uint8_t *data, size_t n)
{
    struct sl_str_view tokens[N_SPECIALS];
    int32_t types[N_SPECIALS];
    struct sl_vocab_opts opts = {
        .tokens = tokens, .types = types, .bos = -1, .eos = -1, .pad = -1, .pre = {"lfm2", 4}};
    struct sl_special *special = NULL;
    struct sl_special_hit *hits = NULL;
    struct sl_vocab *own = NULL;
    size_t n_hits;
    int *owner;

    while (opts.n_tokens < N_SPECIALS && n > 1 && (data[0] & 7u) + 2 <= n) {
        size_t len = (data[0] & 7u) + 1;

        tokens[opts.n_tokens] = (struct sl_str_view){(const char *)data + 1, len};
        types[opts.n_tokens++] = data[0] & 8 ? SL_TOKEN_CONTROL : SL_TOKEN_USER_DEFINED;
        data += len + 1;
        n -= len + 1;
    }
    if (sl_vocab_new(&own, &opts, NULL) < 0)
        return; /* none, or two equal ones */
    owner = calloc(n + 1, sizeof(*owner));
    require(owner && sl_special_new(&special, own) == 0);
    cut_literally(tokens, opts.n_tokens, (const char *)data, n, owner);
    require(sl_special_find(special, (const char *)data, n, SL_SPECIAL_CONTROL, &hits, &n_hits) ==
            0);
    check_hits(hits, n_hits, n, owner);
    free(owner);
    free(hits);
    sl_special_free(special);
    sl_vocab_free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!tok)
        require(small_vocab_new(&vocab, NULL) == 0 && sl_tokenizer_new(&tok, vocab, NULL) == 0);
    check_encode((const char *)data, n, 0);
    check_encode((const char *)data, n, SL_TOKENIZER_SPECIAL);
    check_special(data, n);
    return 0;
}
