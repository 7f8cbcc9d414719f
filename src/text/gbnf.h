/*
 * GBNF, the notation of llama.cpp's grammars, parsed to a tree: rules of alternatives,
 * sequences, groups, literals, character classes, tokens and repetitions. Called by
 * grammar.c alone. Knows nothing of automata. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SL_GBNF_TEXT_MAX (1u << 20)   /* bytes of a grammar */
#define SL_GBNF_DEPTH_MAX 200u        /* groups within groups */
#define SL_GBNF_REPEAT_MAX 100000u    /* the greatest number in {m,n} */
#define SL_GBNF_TOKENS_MAX 256u       /* different <tokens> */
#define SL_GBNF_NONE UINT32_MAX

enum sl_gbnf_kind {
    SL_GBNF_LITERAL = 1, /* a: offset in bytes, b: length, perhaps 0 */
    SL_GBNF_CLASS,       /* a: first of ranges, b: how many, at least 1 */
    SL_GBNF_TOKEN,       /* a: index in tokens */
    SL_GBNF_RULE,        /* a: index in rules */
    SL_GBNF_SEQUENCE,    /* of the children, last one first; perhaps none */
    SL_GBNF_CHOICE,      /* of the children, last one first; at least one */
    SL_GBNF_REPEAT,      /* of its child, a to b times; b SL_GBNF_NONE: no end */
};

struct sl_gbnf_node {
    uint32_t kind; /* enum sl_gbnf_kind */
    uint32_t child, sibling; /* node, or SL_GBNF_NONE */
    uint32_t a, b;
};

/* Code points lo to hi, both included; surrogates in between do not count. */
struct sl_gbnf_range {
    uint32_t lo, hi;
};

struct sl_gbnf_rule {
    uint32_t name_off, name_len; /* in the grammar's text */
    uint32_t body;               /* node */
    uint32_t line;
};

/* A token of the vocabulary by its text <...>, or by its number <[...]>. */
struct sl_gbnf_token {
    uint32_t name_off, name_len; /* in the grammar's text, with the angle brackets */
    int32_t id;                  /* -1: by its text */
};

/* All arrays owned. Ranges of a class are sorted and apart. */
struct sl_gbnf {
    struct sl_gbnf_node *nodes;
    struct sl_gbnf_range *ranges;
    struct sl_gbnf_rule *rules;
    struct sl_gbnf_token *tokens;
    char *bytes; /* of the literals, UTF-8 */
    uint32_t n_nodes, n_ranges, n_rules, n_tokens, n_bytes;
    uint32_t root; /* rule */
};

/*
 * Parse. The text needs no terminator; gbnf is filled on success and is to be given to
 * sl_gbnf_done. -EBADMSG with line, column, what was expected and found (wrong syntax, a
 * rule that is missing or there twice, no root), -ENOTSUP (negated tokens), -E2BIG, -ENOMEM.
 */
int sl_gbnf_parse(struct sl_gbnf *ret_gbnf, const char *text, size_t len, struct sl_diag *diag);
void sl_gbnf_done(struct sl_gbnf *gbnf);

/*
 * For each node (n_nodes bytes) whether it can match the empty text (nullable) or match
 * anything at all (productive). 0 or -ENOMEM.
 */
int sl_gbnf_nullable(const struct sl_gbnf *gbnf, bool *ret_flags);
int sl_gbnf_productive(const struct sl_gbnf *gbnf, bool *ret_flags);
