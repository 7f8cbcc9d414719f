/*
 * A grammar that a text has to follow, compiled from GBNF (llama.cpp's notation: rules of
 * alternatives, groups, "literals", [classes] with ranges and negation, ".", <tokens>,
 * * + ? {m} {m,} {m,n}, comments; the rule root is the whole text). Made once, read-only
 * afterwards, any thread. Matching is in matcher.h, tokens are in tokenmask.h.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sl_rtn;
struct sl_grammar;

/*
 * Compile len bytes of GBNF, which need no terminator and are not kept. Characters are
 * Unicode code points; text is matched as their UTF-8.
 *
 * -EBADMSG with line and column, what was expected and what found (syntax, a rule missing
 * or there twice, no root), or with the rule that is left-recursive or can never end;
 * -ENOTSUP (negated tokens); -E2BIG (text over 1 MiB, too many states); -ENOMEM.
 */
int sl_grammar_new(struct sl_grammar **ret_grammar, const char *text, size_t len,
                   struct sl_diag *diag);
void sl_grammar_free(struct sl_grammar *grammar);

/* About the memory that it takes. */
size_t sl_grammar_bytes(const struct sl_grammar *grammar);

/* Tokens that the grammar names, as <text> or by number as <[5]>. */
struct sl_grammar_token {
    const char *text; /* with its brackets; owned by the grammar, terminated */
    int32_t id;       /* -1: by its text */
};
uint32_t sl_grammar_n_tokens(const struct sl_grammar *grammar);
const struct sl_grammar_token *sl_grammar_token(const struct sl_grammar *grammar, uint32_t i);

/* For matcher.c. Borrowed. */
const struct sl_rtn *sl_grammar_rtn(const struct sl_grammar *grammar);
