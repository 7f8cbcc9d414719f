/*
 * Printing has three steps. Which expressions are productive (match some finite text) is a
 * least fixed point, found in linear time: one that becomes productive tells its parent, a
 * rule's the references to it. (Sweeps over all rules until nothing changes took 3 s for
 * schemas that refer to each other in a bad order.) Then the rules that root reaches
 * through productive parts are marked; rules that are only another rule's name are seen
 * through. Then these are printed, with unproductive alternatives and optional parts left
 * out.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "text/ebnf.h"
#include "text/ebnfexpr.h"

#define NONE UINT32_MAX

static bool is_productive(const struct sl_ebnf_expr *expr)
{
    return expr->n_missing == 0;
}

/* expr has become productive, which may make those around it so, and its rule: that is
 * then put on the stack, which has room for every rule. */
static void tell(struct sl_ebnf *e, struct sl_ebnf_expr *expr, uint32_t *stack, uint32_t *n_stack)
{
    for (; expr->parent; expr = expr->parent)
        if (expr->parent->n_missing == 0 || --expr->parent->n_missing > 0)
            return;
    stack[(*n_stack)++] = expr->owner;
}

/* How much has to be productive before expr is. */
static uint32_t count_missing(const struct sl_ebnf_expr *expr)
{
    uint32_t n = 0;

    switch (expr->kind) {
    case SL_EBNF_SYMBOL: return 0;
    case SL_EBNF_REPEAT: return expr->min > 0;
    case SL_EBNF_SEQ:
        for (const struct sl_ebnf_expr *c = expr->first; c; c = c->next)
            n++;
        return n;
    default: return 1; /* an alternative; the rule */
    }
}

static void link_expr(struct sl_ebnf *e, struct sl_ebnf_expr *expr, struct sl_ebnf_expr *parent,
                      uint32_t *stack, uint32_t *n_stack)
{
    expr->parent = parent;
    expr->n_missing = count_missing(expr);
    if (expr->kind == SL_EBNF_REF) {
        expr->next_user = e->rules[expr->rule].users;
        e->rules[expr->rule].users = expr;
    }
    if (expr->n_missing == 0)
        tell(e, expr, stack, n_stack);
    for (struct sl_ebnf_expr *c = expr->first; c; c = c->next) {
        c->owner = NONE;
        link_expr(e, c, expr, stack, n_stack);
    }
}

/* stack has room for every rule. */
static void find_productive(struct sl_ebnf *e, uint32_t *stack)
{
    uint32_t n_stack = 0;

    for (uint32_t i = 0; i < e->n_rules; i++)
        e->rules[i].users = NULL;
    for (uint32_t i = 0; i < e->n_rules; i++) {
        if (!e->rules[i].expr)
            continue;
        e->rules[i].expr->owner = i;
        link_expr(e, e->rules[i].expr, NULL, stack, &n_stack);
    }
    while (n_stack) {
        uint32_t rule = stack[--n_stack];

        for (struct sl_ebnf_expr *user = e->rules[rule].users; user; user = user->next_user) {
            user->n_missing = 0;
            tell(e, user, stack, &n_stack);
        }
    }
}

/* The rule that this one is only a name of. A ring of names is not productive. */
static uint32_t see_through(const struct sl_ebnf *e, uint32_t rule)
{
    for (uint32_t i = 0; i < e->n_rules; i++) {
        const struct sl_ebnf_expr *expr = e->rules[rule].expr;

        while (expr->kind <= SL_EBNF_SEQ && expr->first && expr->first == expr->last)
            expr = expr->first;
        if (expr->kind != SL_EBNF_REF)
            break;
        rule = expr->rule;
    }
    return rule;
}

/* Mark what expr names and put it on the stack, which has room for every rule. */
static void reach(struct sl_ebnf *e, const struct sl_ebnf_expr *expr, uint32_t *stack,
                  uint32_t *n_stack)
{
    if (!is_productive(expr) || (expr->kind == SL_EBNF_REPEAT && !is_productive(expr->first)))
        return;
    if (expr->kind == SL_EBNF_REF) {
        uint32_t rule = see_through(e, expr->rule);

        if (e->rules[rule].reached)
            return;
        e->rules[rule].reached = true;
        stack[(*n_stack)++] = rule;
    }
    for (const struct sl_ebnf_expr *c = expr->first; c; c = c->next)
        reach(e, c, stack, n_stack);
}

static void find_reached(struct sl_ebnf *e, uint32_t root, uint32_t *stack)
{
    uint32_t n_stack = 0;

    e->rules[root].reached = true;
    stack[n_stack++] = root;
    while (n_stack) {
        uint32_t rule = stack[--n_stack];

        reach(e, e->rules[rule].expr, stack, &n_stack);
    }
}

/* How tightly what stands around binds: a child that binds less gets parentheses. */
enum around {
    IN_RULE = 0,
    IN_SEQ,
    IN_REPEAT,
};

static void print(struct sl_ebnf *e, const struct sl_ebnf_expr *expr, uint32_t root,
                  enum around around, struct sl_strbuf *out);

static void print_counts(const struct sl_ebnf_expr *expr, struct sl_strbuf *out)
{
    if (expr->min == 0 && expr->max == 1)
        sl_strbuf_add_str(out, "?");
    else if (expr->min <= 1 && expr->max == SL_EBNF_NO_MAX)
        sl_strbuf_add_str(out, expr->min ? "+" : "*");
    else if (expr->max == SL_EBNF_NO_MAX)
        sl_strbuf_add_fmt(out, "{%u,}", expr->min);
    else if (expr->min == expr->max)
        sl_strbuf_add_fmt(out, "{%u}", expr->min);
    else
        sl_strbuf_add_fmt(out, "{%u,%u}", expr->min, expr->max);
}

/* The children of a sequence that print as something. */
static bool is_empty(const struct sl_ebnf_expr *expr)
{
    if (expr->kind == SL_EBNF_REPEAT)
        return !is_productive(expr->first) || is_empty(expr->first);
    if (expr->kind != SL_EBNF_SEQ)
        return false;
    for (const struct sl_ebnf_expr *c = expr->first; c; c = c->next)
        if (!is_empty(c))
            return false;
    return true;
}

static void print_list(struct sl_ebnf *e, const struct sl_ebnf_expr *expr, uint32_t root,
                       enum around around, struct sl_strbuf *out)
{
    bool is_alt = expr->kind == SL_EBNF_ALT;
    const struct sl_ebnf_expr *only = NULL;
    uint32_t n = 0;
    bool parens;

    for (const struct sl_ebnf_expr *c = expr->first; c; c = c->next)
        if (is_alt ? is_productive(c) : !is_empty(c)) {
            only = c;
            n++;
        }
    if (n == 1) {
        print(e, only, root, around, out);
        return;
    }
    parens = n > 0 && around > (is_alt ? IN_RULE : IN_SEQ);
    sl_strbuf_add_str(out, n == 0 ? "\"\"" : parens ? "(" : "");
    for (const struct sl_ebnf_expr *c = expr->first; c && n; c = c->next) {
        if (is_alt ? !is_productive(c) : is_empty(c))
            continue;
        print(e, c, root, is_alt ? IN_RULE : IN_SEQ, out);
        if (--n)
            sl_strbuf_add_str(out, is_alt ? " | " : " ");
    }
    sl_strbuf_add_str(out, parens ? ")" : "");
}

static void print_rule_name(const struct sl_ebnf *e, uint32_t rule, uint32_t root,
                            struct sl_strbuf *out)
{
    if (rule == root)
        sl_strbuf_add_str(out, "root");
    else if (e->rules[rule].name)
        sl_strbuf_add_str(out, e->rules[rule].name);
    else
        sl_strbuf_add_fmt(out, "r%u", rule);
}

static void print(struct sl_ebnf *e, const struct sl_ebnf_expr *expr, uint32_t root,
                  enum around around, struct sl_strbuf *out)
{
    switch (expr->kind) {
    case SL_EBNF_SYMBOL: sl_strbuf_add_str(out, expr->text); return;
    case SL_EBNF_REF: print_rule_name(e, see_through(e, expr->rule), root, out); return;
    case SL_EBNF_REPEAT:
        if (is_empty(expr)) {
            sl_strbuf_add_str(out, "\"\"");
            return;
        }
        /* a repeated repetition is put in parentheses, for "a{2}?" has another meaning
         * elsewhere */
        if (around == IN_REPEAT)
            sl_strbuf_add_str(out, "(");
        print(e, expr->first, root, IN_REPEAT, out);
        print_counts(expr, out);
        if (around == IN_REPEAT)
            sl_strbuf_add_str(out, ")");
        return;
    default: print_list(e, expr, root, around, out);
    }
}

static void print_rule(struct sl_ebnf *e, uint32_t rule, uint32_t root, struct sl_strbuf *out)
{
    print_rule_name(e, rule, root, out);
    sl_strbuf_add_str(out, " ::= ");
    print(e, e->rules[rule].expr, root, IN_RULE, out);
    sl_strbuf_add_str(out, "\n");
}

int sl_ebnf_print(struct sl_ebnf *e, uint32_t root, size_t bytes_max, struct sl_strbuf *out)
{
    size_t start = out->len;
    uint32_t *stack;
    bool productive;

    if (e->error)
        return e->error;
    stack = calloc(e->n_rules, sizeof(*stack));
    if (!stack)
        return -ENOMEM;
    find_productive(e, stack);
    productive = e->rules[root].expr && is_productive(e->rules[root].expr);
    if (productive)
        find_reached(e, root, stack);
    free(stack);
    if (!productive)
        return -ENOTSUP;
    print_rule(e, root, root, out);
    for (uint32_t i = 0; i < e->n_rules && out->len - start <= bytes_max; i++)
        if (e->rules[i].reached && i != root)
            print_rule(e, i, root, out);
    if (out->error)
        return out->error;
    return out->len - start <= bytes_max ? 0 : -E2BIG;
}
