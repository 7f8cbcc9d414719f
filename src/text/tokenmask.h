/*
 * Which tokens may come next: a grammar's matcher over a vocabulary. One per text that is
 * generated; one thread at a time. Called by the sampler's owner: fill, sample with the
 * mask, accept.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "text/grammar.h"
#include "text/tokentrie.h"

struct sl_tokenmask;

/*
 * Grammar and trie are borrowed. -EBADMSG: the grammar names a token that the vocabulary
 * has not, or one in two ways; -E2BIG, -ENOMEM (as for a matcher).
 */
int sl_tokenmask_new(struct sl_tokenmask **ret_mask, const struct sl_grammar *grammar,
                     const struct sl_tokentrie *trie, struct sl_diag *diag);
/* In the same state, going its own way from there. -ENOMEM. */
int sl_tokenmask_clone(struct sl_tokenmask **ret_mask, const struct sl_tokenmask *mask);
void sl_tokenmask_free(struct sl_tokenmask *mask);

/*
 * The tokens after which the text can still be completed, and, exactly if it may end here,
 * those that end it: bit id % 64 of word id / 64. Any other token that the grammar names is
 * allowed where it names it and nowhere else; special tokens it does not name never are.
 * ret_bits is borrowed until the next call. Returns how many there are (0 only if the
 * vocabulary has no tokens for what the grammar wants, or that is a rule nested deeper than
 * matcher.h allows), -E2BIG (the grammar is too ambiguous), -ENOMEM.
 */
int64_t sl_tokenmask_fill(struct sl_tokenmask *mask, const uint64_t **ret_bits);

/* Go on by a token. 1; 0 if it is not allowed, then nothing changes; -E2BIG, -ENOMEM. An
 * ending token that is allowed changes nothing. */
int sl_tokenmask_accept(struct sl_tokenmask *mask, int32_t token);

/* Whether the text may end here. */
bool sl_tokenmask_is_done(const struct sl_tokenmask *mask);
