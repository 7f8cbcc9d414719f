/*
 * The vocabulary of a byte-level BPE tokenizer: token bytes, types, merges and the
 * special ids. Made once from arrays that the model file holds; read-only
 * afterwards, any thread. Knows nothing of files.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SL_VOCAB_TOKENS_MAX (1u << 20)
#define SL_VOCAB_MERGES_MAX (4u << 20)

struct sl_str_view {
    const char *ptr; /* borrowed, not terminated */
    size_t len;
};

/* GGUF's token types. */
enum sl_token_type {
    SL_TOKEN_NORMAL = 1,
    SL_TOKEN_UNKNOWN = 2,
    SL_TOKEN_CONTROL = 3,
    SL_TOKEN_USER_DEFINED = 4,
    SL_TOKEN_UNUSED = 5,
    SL_TOKEN_BYTE = 6,
};

struct sl_vocab_opts {
    const struct sl_str_view *tokens; /* n_tokens, in GPT-2's printable byte spelling */
    const int32_t *types;             /* n_tokens, or NULL: all normal */
    uint32_t n_tokens;
    const struct sl_str_view *merges; /* n_merges, "left right", best first */
    uint32_t n_merges;
    int32_t bos, eos, pad; /* -1: none */
    bool add_bos, add_eos;
    struct sl_str_view pre; /* tokenizer.ggml.pre: "lfm2", "llama-bpe", "llama3", or "" */
};

struct sl_vocab;

/* Copies all it needs. -EBADMSG (no tokens, duplicate bytes where that matters, id out of
 * range, merge of unknown tokens), -ENOTSUP (pre-tokenizer; named), -E2BIG, -ENOMEM. */
int sl_vocab_new(struct sl_vocab **ret_vocab, const struct sl_vocab_opts *opts,
                 struct sl_diag *diag);
void sl_vocab_free(struct sl_vocab *vocab);

uint32_t sl_vocab_n_tokens(const struct sl_vocab *vocab);
int32_t sl_vocab_bos(const struct sl_vocab *vocab); /* -1: none */
int32_t sl_vocab_eos(const struct sl_vocab *vocab);
bool sl_vocab_add_bos(const struct sl_vocab *vocab);
bool sl_vocab_add_eos(const struct sl_vocab *vocab);
bool sl_vocab_is_eog(const struct sl_vocab *vocab, int32_t id); /* eos, <|im_end|>, <|endoftext|> */
bool sl_vocab_is_special(const struct sl_vocab *vocab, int32_t id); /* control or unknown type */

/* Bytes of a token: decoded from the printable spelling for normal tokens, the text
 * itself for special ones. Borrowed. id in range (asserted). */
struct sl_str_view sl_vocab_piece(const struct sl_vocab *vocab, int32_t id);

/* The token whose spelling in the file is exactly text, or -1. */
int32_t sl_vocab_find(const struct sl_vocab *vocab, const char *text, size_t len);

/* What the tokenizer needs besides; any caller may use it. */

enum sl_token_type sl_vocab_type(const struct sl_vocab *vocab, int32_t id);

/* The token that stands for exactly these bytes, or -1. */
int32_t sl_vocab_find_bytes(const struct sl_vocab *vocab, const char *bytes, size_t len);

/* A merge: two neighbours become one. Lower rank first. */
struct sl_merge {
    int32_t left, right, merged;
};

/* Rank of the merge of two tokens (ids may be -1), or -1; and the merge of a rank. */
int32_t sl_vocab_merge_rank(const struct sl_vocab *vocab, int32_t left, int32_t right);
const struct sl_merge *sl_vocab_merge(const struct sl_vocab *vocab, int32_t rank);
