/*
 * The vocabulary of the models that mkmodel writes: LFM2's special tokens at their
 * ids, the 256 bytes, and merged tokens, each with its merge; and a chat template.
 * Depends on the size alone. Any thread.
 */
#pragma once

#include <stdint.h>

#include "base/strbuf.h"

struct mk_vocab {
    uint32_t n_tokens;
    uint32_t n_merges;
    struct sl_strbuf tokens; /* texts one after another, in GPT-2's byte letters */
    struct sl_strbuf merges; /* "left right" likewise */
    uint32_t *token_ends;    /* [n_tokens] offsets into tokens */
    uint32_t *merge_ends;    /* [n_merges] */
};

#define MK_VOCAB_N_CONTROL 14 /* tokens 0..13 are of type control, the others normal */

/* n_tokens: 270..400000. Returns 0 or -ENOMEM. */
int mk_vocab_init(struct mk_vocab *vocab, uint32_t n_tokens);
void mk_vocab_done(struct mk_vocab *vocab); /* all zeroes is allowed */

/* A Jinja chat template of the first LFM2 generation, in words of our own. */
const char *mk_vocab_template(void);
