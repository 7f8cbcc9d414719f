/*
 * Text to tokens and back. A tokenizer holds the compiled splitting expression; it
 * borrows the vocabulary. sl_tokenizer_encode may be called by any thread, each with
 * its own scratch inside the call.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "text/vocab.h"

#define SL_TOKENIZER_TEXT_BYTES_MAX (64u << 20)

struct sl_tokenizer;

int sl_tokenizer_new(struct sl_tokenizer **ret_tok, const struct sl_vocab *vocab,
                     struct sl_diag *diag);
void sl_tokenizer_free(struct sl_tokenizer *tok);

enum {
    SL_TOKENIZER_BOS = 1,     /* add BOS if the vocabulary wants one (and EOS likewise) */
    SL_TOKENIZER_SPECIAL = 2, /* parse special tokens */
};

/*
 * Ids of len bytes (any bytes). At most cap are written to ids; returns how many
 * there are, or -ENOMEM, -E2BIG.
 */
int64_t sl_tokenizer_encode(const struct sl_tokenizer *tok, const char *text, size_t len,
                            uint32_t flags, int32_t *ids, size_t cap);

/* True if splitting runs compiled (PCRE2's JIT), false if interpreted. */
bool sl_tokenizer_has_jit(const struct sl_tokenizer *tok);

/*
 * Streaming back to text: feed pieces, take only whole UTF-8 characters. Bytes that
 * can never become valid UTF-8 come out as U+FFFD; bytes that may still be completed
 * are held back (at most 3).
 */
struct sl_utf8_stream {
    unsigned char held[4];
    uint32_t n_held;
};

/* Append what can be shown now to out (room for 3 * len + 9 bytes); returns bytes written. */
size_t sl_utf8_stream_feed(struct sl_utf8_stream *s, const char *piece, size_t len, char *out);
/* End of text: what is held back comes out as U+FFFD. Room for 9 bytes. */
size_t sl_utf8_stream_end(struct sl_utf8_stream *s, char *out);
