/*
 * Thompson's construction, from the back: what follows an item is built before it, so
 * that every node knows its next one and nothing is patched. (The grammar's lists of
 * children are last one first for that reason.)
 *
 * x{m,n} is m copies of x, then n - m nested options: x x (x (x)?)?; x{m,} ends in a loop.
 * A part that takes more than one node is not copied but made a rule of its own, and its
 * calls are copied: x{0,1000} costs 2000 nodes, whatever x is.
 *
 * Characters beyond ASCII are sequences of byte ranges; equal tails of one class are
 * shared, so that [^"] has 13 nodes and not 25.
 */
#include "text/nfa.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "text/utf8range.h"
#include "text/vector.h"

#define LOOK_BACK 64u /* nodes that are searched for an equal tail */

struct builder {
    const struct sl_gbnf *g;
    struct sl_nfa *nfa;
    uint32_t nodes_cap, rules_cap;
    uint32_t *rule_of; /* of each node of the grammar that became a rule, or NONE */
    uint32_t owner;
};

static int add(struct builder *b, struct sl_nfa_node node, uint32_t *ret_id)
{
    struct sl_nfa *nfa = b->nfa;

    if (nfa->n_nodes == SL_NFA_NODES_MAX)
        return -E2BIG;
    if (sl_vector_grow(&nfa->nodes, &b->nodes_cap, nfa->n_nodes, 1) < 0)
        return -ENOMEM;
    nfa->nodes[nfa->n_nodes] = node;
    *ret_id = nfa->n_nodes++;
    return 0;
}

static int add_symbol(struct builder *b, uint32_t lo, uint32_t hi, uint32_t next, uint32_t *ret_id)
{
    struct sl_nfa_node node = {.kind = SL_NFA_SYMBOL, .lo = (uint16_t)lo, .hi = (uint16_t)hi,
                               .next = next};

    return add(b, node, ret_id);
}

static int add_split(struct builder *b, uint32_t next, uint32_t other, uint32_t *ret_id)
{
    return add(b, (struct sl_nfa_node){.kind = SL_NFA_SPLIT, .next = next, .other = other},
               ret_id);
}

static int add_call(struct builder *b, uint32_t rule, uint32_t next, uint32_t *ret_id)
{
    return add(b, (struct sl_nfa_node){.kind = SL_NFA_CALL, .next = next, .other = rule}, ret_id);
}

static int add_rule(struct builder *b, uint32_t body, uint32_t owner)
{
    struct sl_nfa *nfa = b->nfa;

    if (sl_vector_grow(&nfa->rules, &b->rules_cap, nfa->n_rules, 1) < 0)
        return -ENOMEM;
    b->rule_of[body] = nfa->n_rules;
    nfa->rules[nfa->n_rules++] = (struct sl_nfa_rule){.body = body, .owner = owner};
    return 0;
}

static int build_literal(struct builder *b, const struct sl_gbnf_node *node, uint32_t next,
                         uint32_t *ret_id)
{
    for (uint32_t i = node->b; i-- > 0;) {
        unsigned char byte = (unsigned char)b->g->bytes[node->a + i];
        int r = add_symbol(b, byte, byte, next, &next);

        if (r < 0)
            return r;
    }
    *ret_id = next;
    return 0;
}

/* As add_symbol, but an equal node made for the same class, from first on, is taken. */
static int share_symbol(struct builder *b, uint32_t first, uint8_t lo, uint8_t hi, uint32_t next,
                        uint32_t *ret_id)
{
    const struct sl_nfa *nfa = b->nfa;

    for (uint32_t i = nfa->n_nodes; i > first && nfa->n_nodes - i < LOOK_BACK; i--) {
        const struct sl_nfa_node *node = &nfa->nodes[i - 1];

        if (node->kind == SL_NFA_SYMBOL && node->lo == lo && node->hi == hi &&
            node->next == next) {
            *ret_id = i - 1;
            return 0;
        }
    }
    return add_symbol(b, lo, hi, next, ret_id);
}

static int build_class(struct builder *b, const struct sl_gbnf_node *node, uint32_t next,
                       uint32_t *ret_id)
{
    uint32_t first = b->nfa->n_nodes, all = SL_GBNF_NONE;
    struct sl_utf8range parts[SL_UTF8RANGE_MAX];
    int r = 0;

    for (uint32_t i = 0; i < node->b; i++) {
        const struct sl_gbnf_range *range = &b->g->ranges[node->a + i];
        uint32_t n = sl_utf8range_split(range->lo, range->hi, parts);

        for (uint32_t k = 0; k < n && r == 0; k++) {
            uint32_t at = next;

            for (uint32_t j = parts[k].n; j-- > 0 && r == 0;)
                r = share_symbol(b, first, parts[k].lo[j], parts[k].hi[j], at, &at);
            if (all != SL_GBNF_NONE && r == 0)
                r = add_split(b, at, all, &at);
            all = at;
        }
    }
    *ret_id = all;
    return r;
}

/* Whether a node of the grammar becomes at most one of ours. */
static bool is_small(const struct sl_gbnf *g, const struct sl_gbnf_node *node)
{
    while ((node->kind == SL_GBNF_SEQUENCE || node->kind == SL_GBNF_CHOICE) &&
           node->child != SL_GBNF_NONE && g->nodes[node->child].sibling == SL_GBNF_NONE)
        node = &g->nodes[node->child];
    switch (node->kind) {
    case SL_GBNF_LITERAL: return node->b <= 1;
    case SL_GBNF_CLASS: return node->b == 1 && g->ranges[node->a].hi < 0x80;
    case SL_GBNF_SEQUENCE: return node->child == SL_GBNF_NONE;
    default: return node->kind == SL_GBNF_RULE || node->kind == SL_GBNF_TOKEN;
    }
}

static int build(struct builder *b, uint32_t i_node, uint32_t next, uint32_t *ret_id);

/* One of several copies. */
static int build_copy(struct builder *b, uint32_t i_node, uint32_t next, uint32_t *ret_id)
{
    if (is_small(b->g, &b->g->nodes[i_node]))
        return build(b, i_node, next, ret_id);
    if (b->rule_of[i_node] == SL_GBNF_NONE && add_rule(b, i_node, b->owner) < 0)
        return -ENOMEM;
    return add_call(b, b->rule_of[i_node], next, ret_id);
}

/* x+ is x, then a node that leads back to it or on; x* is that node. */
static int build_loop(struct builder *b, uint32_t child, bool is_plus, uint32_t next,
                      uint32_t *ret_id)
{
    uint32_t split, entry;
    int r = add_split(b, 0, next, &split);

    if (r == 0)
        r = build(b, child, split, &entry);
    if (r < 0)
        return r;
    b->nfa->nodes[split].next = entry;
    *ret_id = is_plus ? entry : split;
    return 0;
}

static int build_repeat(struct builder *b, const struct sl_gbnf_node *node, uint32_t next,
                        uint32_t *ret_id)
{
    const uint32_t child = node->child, least = node->a, most = node->b;
    uint32_t after = next, n_copies = least;
    int r = 0;

    if (most == SL_GBNF_NONE) {
        if (least <= 1)
            return build_loop(b, child, least == 1, next, ret_id);
        r = add_split(b, 0, next, &after);
        if (r == 0)
            r = build_copy(b, child, after, &next);
        if (r == 0)
            b->nfa->nodes[after].next = next;
        n_copies--; /* the loop is the last of them */
    } else if (most == 1) {
        r = build(b, child, next, &next);
        if (r == 0 && least == 0)
            r = add_split(b, next, after, &next);
        n_copies = 0;
    } else {
        for (uint32_t i = least; i < most && r == 0; i++) {
            r = build_copy(b, child, next, &next);
            if (r == 0)
                r = add_split(b, next, after, &next);
        }
    }
    for (uint32_t i = 0; i < n_copies && r == 0; i++)
        r = build_copy(b, child, next, &next);
    *ret_id = next;
    return r;
}

static int build_choice(struct builder *b, const struct sl_gbnf_node *node, uint32_t next,
                        uint32_t *ret_id)
{
    uint32_t all = SL_GBNF_NONE, one;

    for (uint32_t c = node->child; c != SL_GBNF_NONE; c = b->g->nodes[c].sibling) {
        int r = build(b, c, next, &one);

        if (r == 0 && all != SL_GBNF_NONE)
            r = add_split(b, one, all, &one);
        if (r < 0)
            return r;
        all = one;
    }
    *ret_id = all;
    return 0;
}

static int build(struct builder *b, uint32_t i_node, uint32_t next, uint32_t *ret_id)
{
    const struct sl_gbnf_node *node = &b->g->nodes[i_node];
    int r = 0;

    switch ((enum sl_gbnf_kind)node->kind) {
    case SL_GBNF_LITERAL: return build_literal(b, node, next, ret_id);
    case SL_GBNF_CLASS: return build_class(b, node, next, ret_id);
    case SL_GBNF_TOKEN:
        return add_symbol(b, SL_NFA_TOKEN + node->a, SL_NFA_TOKEN + node->a, next, ret_id);
    case SL_GBNF_RULE: return add_call(b, node->a, next, ret_id);
    case SL_GBNF_CHOICE: return build_choice(b, node, next, ret_id);
    case SL_GBNF_REPEAT: return build_repeat(b, node, next, ret_id);
    case SL_GBNF_SEQUENCE: break;
    }
    for (uint32_t c = node->child; c != SL_GBNF_NONE && r == 0; c = b->g->nodes[c].sibling)
        r = build(b, c, next, &next);
    *ret_id = next;
    return r;
}

static int build_rules(struct builder *b)
{
    int r = 0;

    for (uint32_t i = 0; i < b->g->n_nodes; i++)
        b->rule_of[i] = SL_GBNF_NONE;
    for (uint32_t i = 0; i < b->g->n_rules && r == 0; i++)
        r = add_rule(b, b->g->rules[i].body, i);
    for (uint32_t i = 0; i < b->nfa->n_rules && r == 0; i++) { /* it grows meanwhile */
        uint32_t end, entry;

        b->owner = b->nfa->rules[i].owner;
        r = add(b, (struct sl_nfa_node){.kind = SL_NFA_END}, &end);
        if (r == 0)
            r = build(b, b->nfa->rules[i].body, end, &entry);
        if (r == 0)
            b->nfa->rules[i].entry = entry;
    }
    return r;
}

int sl_nfa_build(struct sl_nfa *ret_nfa, const struct sl_gbnf *gbnf, struct sl_diag *diag)
{
    struct sl_nfa nfa = {.nodes = NULL};
    struct builder b = {.g = gbnf, .nfa = &nfa};
    int r = -ENOMEM;

    b.rule_of = malloc(gbnf->n_nodes * sizeof(*b.rule_of));
    if (b.rule_of)
        r = build_rules(&b);
    free(b.rule_of);
    if (r < 0) {
        sl_nfa_done(&nfa);
        return sl_diag_set(diag, r, r == -E2BIG ? "the grammar is too large: its repetitions "
                                                  "make more than 1,048,576 states"
                                                : "not enough memory for the grammar");
    }
    *ret_nfa = nfa;
    return 0;
}

void sl_nfa_done(struct sl_nfa *nfa)
{
    free(nfa->nodes);
    free(nfa->rules);
}
