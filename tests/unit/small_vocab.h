/* A small vocabulary with all that a real one has, for tests that need no files. */
#pragma once

#include "base/err.h"
#include "text/vocab.h"

enum {
    SMALL_PAD,
    SMALL_BOS,
    SMALL_ENDOFTEXT,
    SMALL_IM_START,
    SMALL_IM_END,   /* eos; called normal in the file */
    SMALL_THINK,    /* <think>, user-defined */
    SMALL_NK_TAIL,  /* nk>tails, control: overlaps <think> */
    SMALL_LITERAL,  /* two words, user-defined: has a blank */
    SMALL_BYTES,    /* the 256 byte tokens, in order */
    SMALL_ZEBRA = SMALL_BYTES + 256, /* zebra: no merge makes it */
    SMALL_MERGED, /* then one for each merge: ab bc abc th the " the" ... */
};

/* Fill in opts; all it points to is static, or belongs to store. */
struct small_store {
    char text[8192];
    struct sl_str_view tokens[512], merges[64];
    int32_t types[512];
};
void small_vocab_opts(struct sl_vocab_opts *ret_opts, struct small_store *store);

/* The vocabulary itself. sl_vocab_new's errors. */
int small_vocab_new(struct sl_vocab **ret_vocab, struct sl_diag *diag);
