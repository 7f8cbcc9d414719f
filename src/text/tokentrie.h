/*
 * The bytes of a vocabulary's tokens as a tree, laid out so that a walk over it is one
 * pass: for tokenmask.c. Made once per vocabulary, read-only afterwards, any thread. A share
 * makes it when it is first asked for.
 */
#pragma once

#include <stdint.h>

#include "text/vocab.h"

/* Longer tokens are left out, and so never allowed. */
#define SL_TOKENTRIE_BYTES_MAX 1024u

/* In depth-first order; the first node behind a node's subtree is size further on. */
struct sl_tokentrie_node {
    uint32_t size;  /* nodes of the subtree, with this one */
    int32_t token;  /* that ends here, or -1 */
    uint16_t depth; /* of the roots: 1 */
    uint8_t byte;
};

struct sl_tokentrie {
    const struct sl_vocab *vocab; /* borrowed */
    struct sl_tokentrie_node *nodes;
    uint32_t n_nodes;
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
