/*
 * The bytes of a vocabulary's tokens as trees, laid out so that a walk over one is one pass:
 * for tokenmask.c. Tokens that are short texts of an alphabet have a tree of their own, and
 * the rest has one. Made once per vocabulary, read-only afterwards, any thread. A share makes
 * it when it is first asked for.
 */
#pragma once

#include <stdint.h>

#include "text/alphabet.h"
#include "text/vocab.h"

/* Longer tokens are left out, and so never allowed. */
#define SL_TOKENTRIE_BYTES_MAX 1024u

#define SL_TOKENTRIE_CHARS_MAX 16u /* of a short text */
#define SL_TOKENTRIE_PARTS (SL_ALPHABET_N + 1) /* by alphabet; the last one has the rest */

/* In depth-first order; the first node behind a node's subtree is size further on. */
struct sl_tokentrie_node {
    uint32_t size;  /* nodes of the subtree, with this one */
    int32_t token;  /* that ends here, or -1 */
    uint16_t depth; /* of the roots: 1 */
    uint8_t byte;
};

struct sl_tokentrie_part {
    struct sl_tokentrie_node *nodes;
    uint32_t n_nodes;
    uint64_t *bits; /* its tokens: bit id % 64 of word id / 64; as many words as tokens need */
};

struct sl_tokentrie {
    const struct sl_vocab *vocab; /* borrowed */
    struct sl_tokentrie_part parts[SL_TOKENTRIE_PARTS];
    int32_t *ends; /* tokens that end a text */
    uint32_t n_ends;
};

/*
 * Of all tokens that are text: not of special ones, which have no bytes in a text, nor of
 * empty ones. The vocabulary must outlive it. -ENOMEM.
 */
int sl_tokentrie_new(struct sl_tokentrie **ret_trie, const struct sl_vocab *vocab);
void sl_tokentrie_free(struct sl_tokentrie *trie);

struct sl_tokentrie_share;

/* The vocabulary must outlive it. -ENOMEM. */
int sl_tokentrie_share_new(struct sl_tokentrie_share **ret_share, const struct sl_vocab *vocab);
/* Nobody uses its tree any more. NULL is allowed. */
void sl_tokentrie_share_free(struct sl_tokentrie_share *share);

/* The tree, borrowed until the share is freed. Any thread. -ENOMEM. */
int sl_tokentrie_share_get(struct sl_tokentrie_share *share,
                           const struct sl_tokentrie **ret_trie);
