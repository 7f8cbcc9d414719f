/*
 * What an expression is made of, for ebnf.c, which makes them, and ebnfprint.c, which prints
 * them.
 */
#pragma once

#include <stdint.h>

enum sl_ebnf_kind {
    SL_EBNF_ALT = 0,
    SL_EBNF_SEQ,
    SL_EBNF_SYMBOL,
    SL_EBNF_REF,
    SL_EBNF_REPEAT,
};

struct sl_ebnf_expr {
    enum sl_ebnf_kind kind;
    uint32_t rule;     /* REF */
    uint32_t min, max; /* REPEAT */
    const char *text;  /* SYMBOL */
    struct sl_ebnf_expr *first, *last, *next;
    /* of rules, while they are printed */
    struct sl_ebnf_expr *parent;
    struct sl_ebnf_expr *next_user; /* REF: to the same rule */
    uint32_t owner;     /* the rule, of its whole expression; else NONE */
    uint32_t n_missing; /* to be productive: so many children, or the rule */
};
