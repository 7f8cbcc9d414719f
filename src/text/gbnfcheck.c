/*
 * Which nodes of a grammar can be empty, and which can match anything. Both are least
 * fixed points of the same shape (a sequence needs all its children, a choice one, a rule
 * its body), found in linear time: a node that becomes true tells its parent, and a body
 * all that name its rule.
 */
#include "text/gbnf.h"

#include <errno.h>
#include <stdlib.h>

struct spread {
    const struct sl_gbnf *g;
    bool *flags;
    uint32_t *parent;  /* of each node, or NONE */
    uint32_t *missing; /* of each sequence: children that are not true yet */
    uint32_t *rule_of; /* of each node that is a body, or NONE */
    uint32_t *users;   /* RULE nodes, by rule */
    uint32_t *first;   /* users of rule r lie from first[r + 1] to first[r + 2] */
    uint32_t *todo;    /* nodes that became true */
    uint32_t n_todo;
};

static void set(struct spread *s, uint32_t node)
{
    if (s->flags[node])
        return;
    s->flags[node] = true;
    s->todo[s->n_todo++] = node;
}

static void link_nodes(struct spread *s)
{
    const struct sl_gbnf *g = s->g;

    for (uint32_t i = 0; i < g->n_nodes; i++)
        s->parent[i] = s->rule_of[i] = SL_GBNF_NONE;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        for (uint32_t c = g->nodes[i].child; c != SL_GBNF_NONE; c = g->nodes[c].sibling) {
            s->parent[c] = i;
            s->missing[i]++;
        }
        if (g->nodes[i].kind == SL_GBNF_RULE)
            s->first[g->nodes[i].a + 1]++;
    }
    for (uint32_t r = 0; r < g->n_rules; r++) {
        s->rule_of[g->rules[r].body] = r;
        s->first[r + 1] += s->first[r];
    }
    s->first[g->n_rules + 1] = s->first[g->n_rules];
    for (uint32_t i = 0; i < g->n_nodes; i++) /* from the back of each rule's part */
        if (g->nodes[i].kind == SL_GBNF_RULE)
            s->users[--s->first[g->nodes[i].a + 1]] = i;
}

static void tell(struct spread *s, uint32_t node)
{
    const struct sl_gbnf *g = s->g;
    uint32_t parent = s->parent[node], rule = s->rule_of[node];

    if (parent != SL_GBNF_NONE && (g->nodes[parent].kind != SL_GBNF_SEQUENCE ||
                                   --s->missing[parent] == 0))
        set(s, parent);
    if (rule == SL_GBNF_NONE)
        return;
    for (uint32_t i = s->first[rule + 1]; i < s->first[rule + 2]; i++)
        set(s, s->users[i]);
}

/* True from the start: the empty sequence, what may be repeated 0 times; then by purpose. */
static bool is_true(const struct sl_gbnf_node *node, bool nullable)
{
    switch (node->kind) {
    case SL_GBNF_LITERAL: return !nullable || node->b == 0;
    case SL_GBNF_SEQUENCE: return node->child == SL_GBNF_NONE;
    case SL_GBNF_REPEAT: return node->a == 0;
    case SL_GBNF_CLASS:
    case SL_GBNF_TOKEN: return !nullable;
    default: return false;
    }
}

static int spread(const struct sl_gbnf *g, bool nullable, bool *ret_flags)
{
    struct spread s = {.g = g, .flags = ret_flags};
    uint32_t *memory = calloc((size_t)g->n_nodes * 5 + g->n_rules + 2, sizeof(*memory));

    if (!memory)
        return -ENOMEM;
    s.parent = memory;
    s.missing = s.parent + g->n_nodes;
    s.rule_of = s.missing + g->n_nodes;
    s.users = s.rule_of + g->n_nodes;
    s.todo = s.users + g->n_nodes;
    s.first = s.todo + g->n_nodes;
    link_nodes(&s);
    for (uint32_t i = 0; i < g->n_nodes; i++)
        ret_flags[i] = false;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        if (is_true(&g->nodes[i], nullable))
            set(&s, i);
    while (s.n_todo > 0)
        tell(&s, s.todo[--s.n_todo]);
    free(memory);
    return 0;
}

int sl_gbnf_nullable(const struct sl_gbnf *gbnf, bool *ret_flags)
{
    return spread(gbnf, true, ret_flags);
}

int sl_gbnf_productive(const struct sl_gbnf *gbnf, bool *ret_flags)
{
    return spread(gbnf, false, ret_flags);
}
