/*
 * The automaton of a grammar: points, each with edges (a symbol is read) and calls (a rule
 * is matched in between); nothing moves without reading. Made by grammar.c, walked by
 * matcher.c. Read-only after it is made, any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "text/nfa.h"

#define SL_RTN_SYMBOLS (SL_NFA_TOKEN + SL_GBNF_TOKENS_MAX) /* bytes, then tokens */
#define SL_RTN_POINTS_MAX (1u << 20)
#define SL_RTN_STEPS_MAX (1u << 22) /* edges and calls */
#define SL_RTN_TAIL UINT32_MAX

struct sl_rtn_edge {
    uint16_t lo, hi; /* symbols */
    uint32_t target; /* point */
};

struct sl_rtn_call {
    uint32_t rule;
    uint32_t ret; /* point behind it, or TAIL: nothing follows in the calling rule */
};

struct sl_rtn_point {
    uint32_t edge, n_edges; /* first in edges, and how many */
    uint32_t call, n_calls;
    bool is_final; /* the rule may end here */
};

struct sl_rtn {
    struct sl_rtn_point *points; /* arrays owned */
    struct sl_rtn_edge *edges;
    struct sl_rtn_call *calls;
    uint32_t *entries; /* of each rule, a point; a rule calls at its entry only later ones */
    uint32_t n_points, n_edges, n_calls, n_rules;
    uint32_t root;         /* rule */
    bool is_root_nullable;
    uint32_t n_classes;    /* ranges of symbols that are on the same edges */
    uint16_t class_of[SL_RTN_SYMBOLS];
    uint16_t class_symbol[SL_RTN_SYMBOLS]; /* the first of each class */
};

/*
 * Make it of what root (a rule of nfa) can reach. nullable: of each rule of nfa. Filled on
 * success and to be given to sl_rtn_done. -E2BIG; -ENOMEM; -EBADMSG for left recursion: then
 * ret_cycle is a rule of nfa that can begin with itself.
 */
int sl_rtn_build(struct sl_rtn *ret_rtn, const struct sl_nfa *nfa, uint32_t root,
                 const bool *nullable, uint32_t *ret_cycle);
void sl_rtn_done(struct sl_rtn *rtn);
