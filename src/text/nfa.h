/*
 * A parsed grammar as graphs over bytes, one for each rule: the step between its tree and
 * the automaton of rtn.h. Called by grammar.c. Any thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "text/gbnf.h"

#define SL_NFA_NODES_MAX (1u << 20)
#define SL_NFA_TOKEN 256u /* symbols: bytes, then the grammar's tokens from here on */

enum sl_nfa_kind {
    SL_NFA_END = 1, /* of the rule */
    SL_NFA_SYMBOL,  /* one symbol from lo to hi, then next */
    SL_NFA_CALL,    /* the rule other, then next */
    SL_NFA_SPLIT,   /* next or other */
};

struct sl_nfa_node {
    uint16_t kind; /* enum sl_nfa_kind */
    uint16_t lo, hi;
    uint32_t next, other;
};

/* The grammar's rules come first, in its order, then parts that are repeated. */
struct sl_nfa_rule {
    uint32_t entry; /* node */
    uint32_t body;  /* node of the grammar */
    uint32_t owner; /* rule of the grammar in which it stands */
};

struct sl_nfa {
    struct sl_nfa_node *nodes; /* owned */
    struct sl_nfa_rule *rules; /* owned */
    uint32_t n_nodes, n_rules;
};

/* nfa is filled on success and is to be given to sl_nfa_done. -E2BIG, -ENOMEM. */
int sl_nfa_build(struct sl_nfa *ret_nfa, const struct sl_gbnf *gbnf, struct sl_diag *diag);
void sl_nfa_done(struct sl_nfa *nfa);
