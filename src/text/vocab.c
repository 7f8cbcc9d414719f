/*
 * The vocabulary.
 *
 * Byte-level BPE files spell a token's bytes in printable characters (GPT-2's
 * mapping): the bytes ! to ~, 0xA1 to 0xAC and 0xAE to 0xFF stand for themselves as
 * code points, the other 68 in order are U+0100 to U+0143. Each token is kept twice:
 * as the file spells it (text) and as bytes (piece). Special tokens (control,
 * user-defined, unknown) are not spelled that way: their piece is their text.
 *
 * Three open-addressing tables with linear probing, at most half full, hold no keys
 * of their own: by_text and by_bytes hold ids and compare with the arrays, by_pair
 * holds ranks and compares with the merges. A token is in by_bytes if all of its
 * spelling decodes, whatever its type: llama.cpp looks pieces up by spelling, so a
 * special token whose text happens to be a whole piece is found there too.
 *
 * Invariants after sl_vocab_new: texts are unique; every merge's three ids are
 * valid; ranks are the order of the file, and of equal pairs the first counts.
 */
#include "text/vocab.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/codepoint.h"

#define TEXT_BYTES_MAX (1u << 30) /* of all tokens together */
#define N_EOG_MAX 3

struct span {
    uint32_t off, len; /* into one of the blobs */
};

struct table {
    int32_t *slots; /* -1: empty */
    uint32_t mask;
};

struct sl_vocab {
    uint32_t n_tokens, n_merges;
    char *texts, *pieces;     /* blobs */
    struct span *text, *piece; /* n_tokens each */
    uint8_t *types;
    struct sl_merge *merges; /* by rank */
    struct table by_text, by_bytes, by_pair;
    int32_t bos, eos;
    int32_t eog[N_EOG_MAX];
    uint32_t n_eog;
    bool add_bos, add_eos;
};

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio */
    return h ^ (h >> 29);
}

static uint64_t hash_bytes(const char *ptr, size_t len)
{
    uint64_t h = len, word;

    for (; len >= 8; ptr += 8, len -= 8)
        h = mix(h ^ sl_load_u64(ptr));
    word = 0;
    memcpy(&word, ptr, len);
    return mix(mix(h ^ word));
}

static uint64_t hash_pair(int32_t left, int32_t right)
{
    return mix(mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right));
}

static int table_init(struct table *table, uint32_t n)
{
    uint32_t size = 16;

    while (size / 2 < n)
        size *= 2;
    table->slots = malloc(size * sizeof(*table->slots));
    if (!table->slots)
        return -ENOMEM;
    memset(table->slots, 0xff, size * sizeof(*table->slots));
    table->mask = size - 1;
    return 0;
}

/* The slot that holds the id with these bytes, or the empty slot where it belongs. */
static int32_t *bytes_slot(const struct table *table, const char *blob, const struct span *spans,
                           const char *ptr, size_t len)
{
    uint64_t i = hash_bytes(ptr, len) & table->mask;

    for (; table->slots[i] >= 0; i = (i + 1) & table->mask) {
        const struct span *s = &spans[table->slots[i]];

        if (s->len == len && memcmp(blob + s->off, ptr, len) == 0)
            break;
    }
    return &table->slots[i];
}

static int32_t *pair_slot(const struct sl_vocab *vocab, int32_t left, int32_t right)
{
    const struct table *table = &vocab->by_pair;
    uint64_t i = hash_pair(left, right) & table->mask;

    for (; table->slots[i] >= 0; i = (i + 1) & table->mask) {
        const struct sl_merge *m = &vocab->merges[table->slots[i]];

        if (m->left == left && m->right == right)
            break;
    }
    return &table->slots[i];
}

/* Byte that a code point of the spelling stands for, or -1. */
static int spelled_byte(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xac) || (cp >= 0xae && cp <= 0xff))
        return (int)cp;
    if (cp >= 0x100 && cp <= 0x120)
        return (int)(cp - 0x100); /* 0x00 to 0x20 */
    if (cp >= 0x121 && cp <= 0x142)
        return (int)(cp - 0x121 + 0x7f); /* 0x7f to 0xa0 */
    return cp == 0x143 ? 0xad : -1;
}

/*
 * Decode a spelling into out (room for len bytes). What does not decode is kept as
 * it is. Returns true if all of it decoded.
 */
static bool decode_spelling(const char *text, size_t len, char *out, uint32_t *ret_len)
{
    bool all = true;
    uint32_t n = 0;

    for (size_t i = 0; i < len;) {
        uint32_t cp = 0;
        size_t n_char = sl_codepoint_decode(text + i, len - i, &cp);
        int byte = n_char > 0 ? spelled_byte(cp) : -1;

        if (n_char == 0)
            n_char = 1;
        if (byte >= 0) {
            out[n++] = (char)byte;
        } else {
            memcpy(out + n, text + i, n_char);
            n += (uint32_t)n_char;
            all = false;
        }
        i += n_char;
    }
    *ret_len = n;
    return all;
}

static bool is_literal(uint8_t type)
{
    return type == SL_TOKEN_CONTROL || type == SL_TOKEN_USER_DEFINED || type == SL_TOKEN_UNKNOWN;
}

/* Tokens that end an answer, by name. llama.cpp makes them control tokens even where
 * the file calls them normal. */
static bool is_eog_name(struct sl_str_view text)
{
    return (text.len == 10 && memcmp(text.ptr, "<|im_end|>", 10) == 0) ||
           (text.len == 13 && memcmp(text.ptr, "<|endoftext|>", 13) == 0);
}

static void add_eog(struct sl_vocab *vocab, int32_t id)
{
    if (id >= 0 && !sl_vocab_is_eog(vocab, id))
        vocab->eog[vocab->n_eog++] = id;
}

static int check_opts(const struct sl_vocab_opts *opts, struct sl_diag *diag)
{
    static const char *const pres[] = {"", "lfm2", "llama-bpe", "llama3", "llama-v3"};
    const int32_t ids[] = {opts->bos, opts->eos, opts->pad};
    static const char *const names[] = {"bos", "eos", "padding"};
    bool pre_ok = false;

    if (opts->n_tokens == 0)
        return sl_diag_set(diag, -EBADMSG, "vocabulary has no tokens");
    if (opts->n_tokens > SL_VOCAB_TOKENS_MAX)
        return sl_diag_set(diag, -E2BIG, "vocabulary has %u tokens; at most %u are supported",
                           opts->n_tokens, SL_VOCAB_TOKENS_MAX);
    if (opts->n_merges > SL_VOCAB_MERGES_MAX)
        return sl_diag_set(diag, -E2BIG, "vocabulary has %u merges; at most %u are supported",
                           opts->n_merges, SL_VOCAB_MERGES_MAX);
    for (size_t i = 0; i < 3; i++)
        if (ids[i] < -1 || (ids[i] >= 0 && (uint32_t)ids[i] >= opts->n_tokens))
            return sl_diag_set(diag, -EBADMSG, "%s token id %d is outside the %u tokens",
                               names[i], ids[i], opts->n_tokens);
    for (size_t i = 0; i < sizeof(pres) / sizeof(pres[0]); i++)
        if (opts->pre.len == strlen(pres[i]) &&
            (opts->pre.len == 0 || memcmp(opts->pre.ptr, pres[i], opts->pre.len) == 0))
            pre_ok = true;
    if (!pre_ok)
        return sl_diag_set(diag, -ENOTSUP,
                           "pre-tokenizer '%.*s' is not supported (only lfm2 and llama-bpe are)",
                           opts->pre.len < 64 ? (int)opts->pre.len : 64, opts->pre.ptr);
    return 0;
}

static int alloc_tokens(struct sl_vocab *vocab, const struct sl_vocab_opts *opts,
                        struct sl_diag *diag)
{
    const size_t n = opts->n_tokens;
    uint64_t bytes = 0;
    int r;

    for (size_t i = 0; i < n; i++) {
        if (opts->tokens[i].len > TEXT_BYTES_MAX || bytes > TEXT_BYTES_MAX)
            return sl_diag_set(diag, -E2BIG, "tokens of the vocabulary take more than %u bytes",
                               TEXT_BYTES_MAX);
        bytes += opts->tokens[i].len;
    }
    vocab->texts = malloc(bytes + 1);
    vocab->pieces = malloc(bytes + 1);
    vocab->text = malloc(n * sizeof(*vocab->text));
    vocab->piece = malloc(n * sizeof(*vocab->piece));
    vocab->types = malloc(n);
    if (!vocab->texts || !vocab->pieces || !vocab->text || !vocab->piece || !vocab->types)
        return -ENOMEM;
    r = table_init(&vocab->by_text, opts->n_tokens);
    if (r < 0)
        return r;
    return table_init(&vocab->by_bytes, opts->n_tokens);
}

/* Token i: text and piece go to the ends of the blobs; both tables learn it. */
static int add_token(struct sl_vocab *vocab, uint32_t i, struct sl_str_view text, int32_t type,
                     uint32_t *used_text, uint32_t *used_piece, struct sl_diag *diag)
{
    char *piece = vocab->pieces + *used_piece;
    uint32_t len = (uint32_t)text.len, n_piece;
    bool decodes;
    int32_t *slot;

    if (type < 0 || type > SL_TOKEN_BYTE)
        return sl_diag_set(diag, -EBADMSG, "token %u has the unknown type %d", i, type);
    if (len > 0)
        memcpy(vocab->texts + *used_text, text.ptr, len);
    vocab->text[i] = (struct span){*used_text, len};
    vocab->types[i] = (uint8_t)(is_eog_name(text) ? SL_TOKEN_CONTROL
                                                  : type ? type : SL_TOKEN_NORMAL);

    decodes = decode_spelling(text.ptr, len, piece, &n_piece);
    vocab->piece[i] = (struct span){*used_piece, n_piece};
    *used_text += len;
    *used_piece += n_piece;
    if (len == 0)
        return 0; /* stands for nothing: never found */

    slot = bytes_slot(&vocab->by_text, vocab->texts, vocab->text, text.ptr, len);
    if (*slot >= 0)
        return sl_diag_set(diag, -EBADMSG, "tokens %d and %u are spelled the same: '%.*s'", *slot,
                           i, len < 64 ? (int)len : 64, text.ptr);
    *slot = (int32_t)i;
    if (decodes) {
        /* the spelling is one-to-one, so these bytes are new as well */
        slot = bytes_slot(&vocab->by_bytes, vocab->pieces, vocab->piece, piece, n_piece);
        assert(*slot < 0);
        *slot = (int32_t)i;
    }
    return 0;
}

static int add_tokens(struct sl_vocab *vocab, const struct sl_vocab_opts *opts,
                      struct sl_diag *diag)
{
    uint32_t used_text = 0, used_piece = 0;
    int r;

    for (uint32_t i = 0; i < opts->n_tokens; i++) {
        r = add_token(vocab, i, opts->tokens[i], opts->types ? opts->types[i] : SL_TOKEN_NORMAL,
                      &used_text, &used_piece, diag);
        if (r < 0)
            return r;
    }
    vocab->n_tokens = opts->n_tokens;
    return 0;
}

static int add_merge(struct sl_vocab *vocab, uint32_t i, struct sl_str_view text, char *joined,
                     struct sl_diag *diag)
{
    const char *space = text.len > 2 ? memchr(text.ptr + 1, ' ', text.len - 1) : NULL;
    struct sl_merge m = {-1, -1, -1};
    int32_t *slot;

    if (space) {
        size_t n_left = (size_t)(space - text.ptr), n_right = text.len - n_left - 1;

        memcpy(joined, text.ptr, n_left);
        memcpy(joined + n_left, space + 1, n_right);
        m.left = sl_vocab_find(vocab, joined, n_left);
        m.right = sl_vocab_find(vocab, joined + n_left, n_right);
        m.merged = sl_vocab_find(vocab, joined, n_left + n_right);
    }
    if (m.left < 0 || m.right < 0 || m.merged < 0)
        return sl_diag_set(diag, -EBADMSG, "merge %u, '%.*s', is not made of tokens", i,
                           text.len < 64 ? (int)text.len : 64, text.ptr);

    vocab->merges[i] = m;
    slot = pair_slot(vocab, m.left, m.right);
    if (*slot < 0)
        *slot = (int32_t)i;
    return 0;
}

static int add_merges(struct sl_vocab *vocab, const struct sl_vocab_opts *opts,
                      struct sl_diag *diag)
{
    size_t n_longest = 0;
    char *joined;
    int r;

    for (uint32_t i = 0; i < opts->n_merges; i++)
        if (opts->merges[i].len > n_longest)
            n_longest = opts->merges[i].len;

    r = table_init(&vocab->by_pair, opts->n_merges);
    if (r < 0)
        return r;
    vocab->merges = malloc(((size_t)opts->n_merges + 1) * sizeof(*vocab->merges));
    joined = malloc(n_longest + 1);
    if (!vocab->merges || !joined) {
        free(joined);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < opts->n_merges && r >= 0; i++)
        r = add_merge(vocab, i, opts->merges[i], joined, diag);
    vocab->n_merges = opts->n_merges;
    free(joined);
    return r;
}

int sl_vocab_new(struct sl_vocab **ret_vocab, const struct sl_vocab_opts *opts,
                 struct sl_diag *diag)
{
    struct sl_vocab *vocab = NULL;
    int r;

    r = check_opts(opts, diag);
    if (r < 0)
        goto fail;

    r = -ENOMEM;
    vocab = calloc(1, sizeof(*vocab));
    if (!vocab)
        goto fail;
    r = alloc_tokens(vocab, opts, diag);
    if (r < 0)
        goto fail;
    r = add_tokens(vocab, opts, diag);
    if (r < 0)
        goto fail;
    r = add_merges(vocab, opts, diag);
    if (r < 0)
        goto fail;

    vocab->bos = opts->bos;
    vocab->eos = opts->eos;
    vocab->add_bos = opts->add_bos;
    vocab->add_eos = opts->add_eos;
    add_eog(vocab, opts->eos);
    add_eog(vocab, sl_vocab_find(vocab, "<|im_end|>", 10));
    add_eog(vocab, sl_vocab_find(vocab, "<|endoftext|>", 13));

    *ret_vocab = vocab;
    return 0;

fail:
    if (r == -ENOMEM)
        sl_diag_set(diag, r, "not enough memory for the vocabulary");
    sl_vocab_free(vocab);
    return r;
}

void sl_vocab_free(struct sl_vocab *vocab)
{
    if (!vocab)
        return;
    free(vocab->texts);
    free(vocab->pieces);
    free(vocab->text);
    free(vocab->piece);
    free(vocab->types);
    free(vocab->merges);
    free(vocab->by_text.slots);
    free(vocab->by_bytes.slots);
    free(vocab->by_pair.slots);
    free(vocab);
}

uint32_t sl_vocab_n_tokens(const struct sl_vocab *vocab)
{
    return vocab->n_tokens;
}

int32_t sl_vocab_bos(const struct sl_vocab *vocab)
{
    return vocab->bos;
}

int32_t sl_vocab_eos(const struct sl_vocab *vocab)
{
    return vocab->eos;
}

bool sl_vocab_add_bos(const struct sl_vocab *vocab)
{
    return vocab->add_bos;
}

bool sl_vocab_add_eos(const struct sl_vocab *vocab)
{
    return vocab->add_eos;
}

bool sl_vocab_is_eog(const struct sl_vocab *vocab, int32_t id)
{
    for (uint32_t i = 0; i < vocab->n_eog; i++)
        if (vocab->eog[i] == id)
            return true;
    return false;
}

bool sl_vocab_is_special(const struct sl_vocab *vocab, int32_t id)
{
    enum sl_token_type type = sl_vocab_type(vocab, id);

    return type == SL_TOKEN_CONTROL || type == SL_TOKEN_UNKNOWN;
}

struct sl_str_view sl_vocab_piece(const struct sl_vocab *vocab, int32_t id)
{
    assert(id >= 0 && (uint32_t)id < vocab->n_tokens);
    if (is_literal(vocab->types[id]))
        return (struct sl_str_view){vocab->texts + vocab->text[id].off, vocab->text[id].len};
    return (struct sl_str_view){vocab->pieces + vocab->piece[id].off, vocab->piece[id].len};
}

int32_t sl_vocab_find(const struct sl_vocab *vocab, const char *text, size_t len)
{
    return *bytes_slot(&vocab->by_text, vocab->texts, vocab->text, text, len);
}

enum sl_token_type sl_vocab_type(const struct sl_vocab *vocab, int32_t id)
{
    assert(id >= 0 && (uint32_t)id < vocab->n_tokens);
    return (enum sl_token_type)vocab->types[id];
}

int32_t sl_vocab_find_bytes(const struct sl_vocab *vocab, const char *bytes, size_t len)
{
    return *bytes_slot(&vocab->by_bytes, vocab->pieces, vocab->piece, bytes, len);
}

int32_t sl_vocab_merge_rank(const struct sl_vocab *vocab, int32_t left, int32_t right)
{
    return *pair_slot(vocab, left, right);
}

const struct sl_merge *sl_vocab_merge(const struct sl_vocab *vocab, int32_t rank)
{
    assert(rank >= 0 && (uint32_t)rank < vocab->n_merges);
    return &vocab->merges[rank];
}
