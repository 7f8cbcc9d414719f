/*
 * GBNF text -> tree (gbnf) -> graph with empty moves per rule (nfa) -> points (rtn). A
 * rule that can never end, as in a ::= "x" a, is refused: a generation that entered it
 * could not be completed.
 */
#include "text/grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/rtn.h"

struct sl_grammar {
    struct sl_rtn rtn;
    struct sl_grammar_token *tokens;
    char *token_text; /* of all tokens, one after the other */
    uint32_t n_tokens;
};

static int fail_rule(const struct sl_gbnf *gbnf, const char *text, uint32_t rule,
                     const char *what, struct sl_diag *diag)
{
    const struct sl_gbnf_rule *r = &gbnf->rules[rule];

    return sl_diag_set(diag, -EBADMSG, "grammar, line %u: rule \"%.*s\" %s", r->line,
                       (int)(r->name_len < 60 ? r->name_len : 60), text + r->name_off, what);
}

static int check_productive(const struct sl_gbnf *gbnf, const char *text, bool *flags,
                            struct sl_diag *diag)
{
    int r = sl_gbnf_productive(gbnf, flags);

    for (uint32_t i = 0; i < gbnf->n_rules && r == 0; i++)
        if (!flags[gbnf->rules[i].body])
            return fail_rule(gbnf, text, i, "can never end: all it allows leads back to it", diag);
    return r;
}

static int copy_tokens(struct sl_grammar *grammar, const struct sl_gbnf *gbnf, const char *text)
{
    size_t bytes = 0;
    char *at;

    if (gbnf->n_tokens == 0)
        return 0;
    for (uint32_t i = 0; i < gbnf->n_tokens; i++)
        bytes += gbnf->tokens[i].name_len + 1;
    grammar->tokens = calloc(gbnf->n_tokens, sizeof(*grammar->tokens));
    grammar->token_text = calloc(bytes, 1);
    if (!grammar->tokens || !grammar->token_text)
        return -ENOMEM;
    grammar->n_tokens = gbnf->n_tokens;
    at = grammar->token_text;
    for (uint32_t i = 0; i < gbnf->n_tokens; i++) {
        const struct sl_gbnf_token *token = &gbnf->tokens[i];

        grammar->tokens[i] = (struct sl_grammar_token){at, token->id};
        memcpy(at, text + token->name_off, token->name_len);
        at += token->name_len + 1;
    }
    return 0;
}

static int build_rtn(struct sl_grammar *grammar, const struct sl_gbnf *gbnf, const char *text,
                     const bool *node_nullable, struct sl_diag *diag)
{
    uint32_t cycle = 0;
    struct sl_nfa nfa;
    bool *nullable;
    int r;

    r = sl_nfa_build(&nfa, gbnf, diag);
    if (r < 0)
        return r;
    nullable = calloc(nfa.n_rules, sizeof(*nullable));
    for (uint32_t i = 0; i < nfa.n_rules && nullable; i++)
        nullable[i] = node_nullable[nfa.rules[i].body];
    r = nullable ? sl_rtn_build(&grammar->rtn, &nfa, gbnf->root, nullable, &cycle) : -ENOMEM;
    if (r == -EBADMSG)
        (void)fail_rule(gbnf, text, nfa.rules[cycle].owner,
                        "is left-recursive: it can begin with itself, before anything is read; "
                        "use a repetition, as in sum ::= term (\"+\" term)*", diag);
    else if (r == -E2BIG)
        (void)sl_diag_set(diag, r, "the grammar is too large: more than %u transitions, or "
                          "too many parts in a row that may be empty", SL_RTN_STEPS_MAX);
    free(nullable);
    sl_nfa_done(&nfa);
    return r;
}

static int compile(struct sl_grammar *grammar, const struct sl_gbnf *gbnf, const char *text,
                   struct sl_diag *diag)
{
    bool *flags = malloc(gbnf->n_nodes * sizeof(*flags));
    int r;

    if (!flags)
        return -ENOMEM;
    r = check_productive(gbnf, text, flags, diag);
    if (r == 0)
        r = sl_gbnf_nullable(gbnf, flags);
    if (r == 0)
        r = copy_tokens(grammar, gbnf, text);
    if (r == 0)
        r = build_rtn(grammar, gbnf, text, flags, diag);
    free(flags);
    return r;
}

int sl_grammar_new(struct sl_grammar **ret_grammar, const char *text, size_t len,
                   struct sl_diag *diag)
{
    struct sl_grammar *grammar;
    struct sl_gbnf gbnf;
    int r;

    r = sl_gbnf_parse(&gbnf, text, len, diag);
    if (r < 0)
        return r;
    grammar = calloc(1, sizeof(*grammar));
    r = grammar ? compile(grammar, &gbnf, text, diag) : -ENOMEM;
    sl_gbnf_done(&gbnf);
    if (r < 0) {
        sl_grammar_free(grammar);
        return r == -ENOMEM ? sl_diag_set(diag, r, "not enough memory for the grammar") : r;
    }
    *ret_grammar = grammar;
    return 0;
}

void sl_grammar_free(struct sl_grammar *grammar)
{
    if (!grammar)
        return;
    sl_rtn_done(&grammar->rtn);
    free(grammar->tokens);
    free(grammar->token_text);
    free(grammar);
}

size_t sl_grammar_bytes(const struct sl_grammar *grammar)
{
    const struct sl_rtn *rtn = &grammar->rtn;

    return sizeof(*grammar) + rtn->n_points * sizeof(*rtn->points) +
           rtn->n_edges * sizeof(*rtn->edges) + rtn->n_calls * sizeof(*rtn->calls) +
           rtn->n_rules * sizeof(*rtn->entries);
}

uint32_t sl_grammar_n_tokens(const struct sl_grammar *grammar)
{
    return grammar->n_tokens;
}

const struct sl_grammar_token *sl_grammar_token(const struct sl_grammar *grammar, uint32_t i)
{
    return &grammar->tokens[i];
}

const struct sl_rtn *sl_grammar_rtn(const struct sl_grammar *grammar)
{
    return &grammar->rtn;
}
