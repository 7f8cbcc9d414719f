/*
 * A text being matched against a grammar, byte by byte: which bytes may come next, and
 * whether it may end. States are numbers that are equal when the possible continuations
 * were found to be the same, and steps between them are remembered. Called by tokenmask.c,
 * and by whoever has bytes and no tokens. One thread at a time; the grammar is borrowed.
 *
 * Limits: a text nests at most SL_STACKSET_DEPTH_MAX rules deep that have something behind
 * them; deeper nesting is refused like any wrong byte. Memory of one matcher stays below
 * about 100 MiB (a JSON grammar needs some 100 KiB), work of one call below about 0.1 s; a
 * grammar so ambiguous that this does not do gives -E2BIG.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/grammar.h"

#define SL_MATCHER_DEAD 1u    /* the state in which nothing matches */
#define SL_MATCHER_TOKEN 256u /* symbols: bytes, then the grammar's tokens from here on */

struct sl_matcher;

/* At the start of a text. -E2BIG, -ENOMEM. */
int sl_matcher_new(struct sl_matcher **ret_matcher, const struct sl_grammar *grammar);
/* In the same state, going its own way from there. -ENOMEM. */
int sl_matcher_clone(struct sl_matcher **ret_matcher, const struct sl_matcher *matcher);
void sl_matcher_free(struct sl_matcher *matcher);

/* Go on by n bytes, all or, if they do not match, none. 1; 0: no match; -E2BIG, -ENOMEM. */
int sl_matcher_accept(struct sl_matcher *matcher, const char *bytes, size_t n);
/* The same for the i-th token that the grammar names. */
int sl_matcher_accept_token(struct sl_matcher *matcher, uint32_t i);

/* Whether the text may end here. */
bool sl_matcher_is_done(const struct sl_matcher *matcher);

/*
 * For walks over many continuations. A state's number is good until the next call of
 * sl_matcher_begin, which returns the present state's and may forget others to make room
 * (then the generation, which counts from 0, goes up).
 */
int64_t sl_matcher_begin(struct sl_matcher *matcher); /* or -ENOMEM */
uint64_t sl_matcher_generation(const struct sl_matcher *matcher);

/* The state behind a symbol, perhaps DEAD; or -E2BIG, -ENOMEM. */
int64_t sl_matcher_step(struct sl_matcher *matcher, uint32_t state, uint32_t symbol);

/*
 * What steps are known: state * n_classes + class_of[symbol] is the place of the state
 * behind it, where 0 means that it was not asked for yet (then call sl_matcher_step).
 * Borrowed, until the next step or begin.
 */
struct sl_matcher_steps {
    const uint32_t *states;
    const uint16_t *class_of;
    const uint16_t *class_symbol; /* the first of each class; a class is a range */
    uint32_t n_classes;
};
struct sl_matcher_steps sl_matcher_steps(const struct sl_matcher *matcher);

/* The next symbol that is of another class than this one; UINT32_MAX: there is none. */
static inline uint32_t sl_matcher_steps_next(const struct sl_matcher_steps *steps, uint32_t symbol)
{
    uint32_t next = steps->class_of[symbol] + 1u;

    return next < steps->n_classes ? steps->class_symbol[next] : UINT32_MAX;
}
