/*
 * Grammar expressions. A node is text, a reference, or has children in a list; memory
 * comes from chunks that are freed together.
 *
 * Printing has three steps. Which rules are productive (match some finite text) is a
 * least fixed point, found by sweeps in both directions until nothing changes. Then the
 * rules that root reaches through productive parts are marked; rules that are only
 * another rule's name are seen through. Then these are printed, with unproductive
 * alternatives and optional parts left out.
 */
#include "text/ebnf.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/vector.h"

#define CHUNK_BYTES ((size_t)64 << 10)

enum kind {
    ALT = 0,
    SEQ,
    SYMBOL,
    REF,
    REPEAT,
};

struct sl_ebnf_expr {
    enum kind kind;
    uint32_t rule;     /* REF */
    uint32_t min, max; /* REPEAT */
    const char *text;  /* SYMBOL */
    struct sl_ebnf_expr *first, *last, *next;
};

struct sl_ebnf_chunk {
    struct sl_ebnf_chunk *next;
    size_t used, cap;
    max_align_t data[];
};

static void fail(struct sl_ebnf *e, int error)
{
    if (!e->error)
        e->error = error;
}

void *sl_ebnf_alloc(struct sl_ebnf *e, size_t bytes)
{
    struct sl_ebnf_chunk *chunk = e->chunks;
    size_t cap;
    void *ptr;

    if (e->error)
        return NULL;
    if (bytes > SL_EBNF_MEMORY_MAX - e->used_bytes) {
        fail(e, -E2BIG);
        return NULL;
    }
    bytes = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (!chunk || chunk->cap - chunk->used < bytes) {
        cap = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        chunk = calloc(1, sizeof(*chunk) + cap);
        if (!chunk) {
            fail(e, -ENOMEM);
            return NULL;
        }
        *chunk = (struct sl_ebnf_chunk){.next = e->chunks, .cap = cap};
        e->chunks = chunk;
        if (e->used_bytes + cap > SL_EBNF_MEMORY_MAX)
            e->used_bytes = SL_EBNF_MEMORY_MAX;
        else
            e->used_bytes += cap;
    }
    ptr = (char *)chunk->data + chunk->used;
    chunk->used += bytes;
    return ptr;
}

static struct sl_ebnf_expr *expr_new(struct sl_ebnf *e, enum kind kind)
{
    struct sl_ebnf_expr *expr = sl_ebnf_alloc(e, sizeof(*expr));

    if (!expr)
        return e->failed;
    expr->kind = kind;
    return expr;
}

int sl_ebnf_init(struct sl_ebnf *e)
{
    *e = (struct sl_ebnf){0};
    e->failed = expr_new(e, ALT);
    return e->error;
}

void sl_ebnf_done(struct sl_ebnf *e)
{
    while (e->chunks) {
        struct sl_ebnf_chunk *next = e->chunks->next;

        free(e->chunks);
        e->chunks = next;
    }
    free(e->rules);
    *e = (struct sl_ebnf){0};
}

struct sl_ebnf_expr *sl_ebnf_symbol(struct sl_ebnf *e, const char *text)
{
    struct sl_ebnf_expr *expr = expr_new(e, SYMBOL);
    char *copy = sl_ebnf_alloc(e, strlen(text) + 1);

    if (!copy)
        return e->failed;
    strcpy(copy, text);
    expr->text = copy;
    return expr;
}

struct sl_ebnf_expr *sl_ebnf_literal(struct sl_ebnf *e, const char *text, size_t len)
{
    struct sl_ebnf_expr *expr = expr_new(e, SYMBOL);
    char *copy, *out;

    if (len == 0)
        return sl_ebnf_seq(e);
    copy = out = sl_ebnf_alloc(e, 4 * len + 3);
    if (!copy)
        return e->failed;
    *out++ = '"';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '"' || c == '\\') {
            *out++ = '\\';
            *out++ = (char)c;
        } else if (c < 0x20 || c == 0x7F) {
            out += snprintf(out, 5, "\\x%02X", c);
        } else {
            *out++ = (char)c;
        }
    }
    *out = '"';
    expr->text = copy;
    return expr;
}

struct sl_ebnf_expr *sl_ebnf_literal_str(struct sl_ebnf *e, const char *text)
{
    return sl_ebnf_literal(e, text, strlen(text));
}

struct sl_ebnf_expr *sl_ebnf_ref(struct sl_ebnf *e, uint32_t rule)
{
    struct sl_ebnf_expr *expr = expr_new(e, REF);

    if (!e->error)
        expr->rule = rule;
    return expr;
}

struct sl_ebnf_expr *sl_ebnf_seq(struct sl_ebnf *e)
{
    return expr_new(e, SEQ);
}

struct sl_ebnf_expr *sl_ebnf_alt(struct sl_ebnf *e)
{
    return expr_new(e, ALT);
}

struct sl_ebnf_expr *sl_ebnf_add(struct sl_ebnf *e, struct sl_ebnf_expr *parent,
                                 struct sl_ebnf_expr *child)
{
    if (e->error)
        return parent;
    assert(!child->next && child != parent->last);
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    return parent;
}

struct sl_ebnf_expr *sl_ebnf_repeat(struct sl_ebnf *e, struct sl_ebnf_expr *child, uint32_t min,
                                    uint32_t max)
{
    struct sl_ebnf_expr *expr;

    assert(min <= max);
    if (max == 0)
        return sl_ebnf_seq(e);
    if (min == 1 && max == 1)
        return child;
    expr = expr_new(e, REPEAT);
    if (e->error)
        return expr;
    expr->min = min;
    expr->max = max;
    return sl_ebnf_add(e, expr, child);
}

struct sl_ebnf_expr *sl_ebnf_optional(struct sl_ebnf *e, struct sl_ebnf_expr *child)
{
    return sl_ebnf_repeat(e, child, 0, 1);
}

static uint32_t root_of(uint32_t n)
{
    uint32_t root = 1;

    while (root * root < n)
        root++;
    return root;
}

static struct sl_ebnf_expr *plain_repeat(struct sl_ebnf *e, uint32_t rule, uint32_t min,
                                         uint32_t max)
{
    return sl_ebnf_repeat(e, sl_ebnf_ref(e, rule), min, max);
}

/* Exactly n times: n / step groups of step, and the rest. */
static struct sl_ebnf_expr *exactly(struct sl_ebnf *e, uint32_t rule, uint32_t n, uint32_t step)
{
    struct sl_ebnf_expr *seq = sl_ebnf_seq(e);

    if (n / step)
        sl_ebnf_add(e, seq,
                    sl_ebnf_repeat(e, plain_repeat(e, rule, step, step), n / step, n / step));
    return sl_ebnf_add(e, seq, plain_repeat(e, rule, n % step, n % step));
}

/* At most n times: fewer groups than n / step and less than one more, or all of them and
 * at most the rest. */
static struct sl_ebnf_expr *at_most(struct sl_ebnf *e, uint32_t rule, uint32_t n, uint32_t step)
{
    struct sl_ebnf_expr *few = sl_ebnf_seq(e), *all = sl_ebnf_seq(e), *alt = sl_ebnf_alt(e);
    uint32_t n_groups = n / step;

    sl_ebnf_add(e, few,
                sl_ebnf_repeat(e, plain_repeat(e, rule, step, step), 0, n_groups - 1));
    sl_ebnf_add(e, few, plain_repeat(e, rule, 0, step - 1));
    sl_ebnf_add(e, all, exactly(e, rule, n_groups * step, step));
    sl_ebnf_add(e, all, plain_repeat(e, rule, 0, n % step));
    return sl_ebnf_add(e, sl_ebnf_add(e, alt, few), all);
}

struct sl_ebnf_expr *sl_ebnf_repeat_rule(struct sl_ebnf *e, uint32_t rule, uint32_t min,
                                         uint32_t max)
{
    struct sl_ebnf_expr *seq;
    uint32_t rest;

    assert(min <= max);
    if (min > SL_EBNF_REPEAT_LIMIT || (max != SL_EBNF_NO_MAX && max > SL_EBNF_REPEAT_LIMIT)) {
        fail(e, -E2BIG);
        return e->failed;
    }
    if (max == SL_EBNF_NO_MAX ? min <= SL_EBNF_REPEAT_ONE : max <= SL_EBNF_REPEAT_ONE)
        return plain_repeat(e, rule, min, max);
    seq = sl_ebnf_seq(e);
    sl_ebnf_add(e, seq, exactly(e, rule, min, root_of(min)));
    if (max == SL_EBNF_NO_MAX)
        return sl_ebnf_add(e, seq, plain_repeat(e, rule, 0, max));
    rest = max - min;
    return sl_ebnf_add(e, seq, rest <= SL_EBNF_REPEAT_ONE
                                   ? plain_repeat(e, rule, 0, rest)
                                   : at_most(e, rule, rest, root_of(rest)));
}

uint32_t sl_ebnf_rule_new(struct sl_ebnf *e, const char *name)
{
    if (e->error)
        return 0;
    if (e->n_rules == SL_EBNF_RULES_MAX) {
        fail(e, -E2BIG);
        return 0;
    }
    if (sl_vector_grow(&e->rules, &e->cap_rules, e->n_rules, 1) < 0) {
        fail(e, -ENOMEM);
        return 0;
    }
    e->rules[e->n_rules] = (struct sl_ebnf_rule){.name = name};
    return e->n_rules++;
}

void sl_ebnf_rule_set(struct sl_ebnf *e, uint32_t rule, struct sl_ebnf_expr *expr)
{
    if (!e->error)
        e->rules[rule].expr = expr;
}

uint32_t sl_ebnf_rule_of(struct sl_ebnf *e, struct sl_ebnf_expr *expr)
{
    uint32_t rule = sl_ebnf_rule_new(e, NULL);

    sl_ebnf_rule_set(e, rule, expr);
    return rule;
}

static bool is_productive(const struct sl_ebnf *e, const struct sl_ebnf_expr *expr)
{
    switch (expr->kind) {
    case SYMBOL: return true;
    case REF: return e->rules[expr->rule].productive;
    case REPEAT: return expr->min == 0 || is_productive(e, expr->first);
    case SEQ:
        for (const struct sl_ebnf_expr *c = expr->first; c; c = c->next)
            if (!is_productive(e, c))
                return false;
        return true;
    default:
        for (const struct sl_ebnf_expr *c = expr->first; c; c = c->next)
            if (is_productive(e, c))
                return true;
        return false;
    }
}

static bool update_productive(struct sl_ebnf *e, uint32_t i)
{
    struct sl_ebnf_rule *rule = &e->rules[i];

    if (rule->productive || !rule->expr || !is_productive(e, rule->expr))
        return false;
    rule->productive = true;
    return true;
}

static void find_productive(struct sl_ebnf *e)
{
    bool changed = true;

    for (uint32_t i = 0; i < e->n_rules; i++)
        e->rules[i].productive = false;
    while (changed) {
        changed = false;
        for (uint32_t i = e->n_rules; i > 0; i--)
            changed |= update_productive(e, i - 1);
        for (uint32_t i = 0; i < e->n_rules; i++)
            changed |= update_productive(e, i);
    }
}

/* The rule that this one is only a name of. A ring of names is not productive. */
static uint32_t see_through(const struct sl_ebnf *e, uint32_t rule)
{
    for (uint32_t i = 0; i < e->n_rules; i++) {
        const struct sl_ebnf_expr *expr = e->rules[rule].expr;

        while (expr->kind <= SEQ && expr->first && expr->first == expr->last)
            expr = expr->first;
        if (expr->kind != REF)
            break;
        rule = expr->rule;
    }
    return rule;
}

/* Mark what expr names and put it on the stack, which has room for every rule. */
static void reach(struct sl_ebnf *e, const struct sl_ebnf_expr *expr, uint32_t *stack,
                  uint32_t *n_stack)
{
    if (!is_productive(e, expr) || (expr->kind == REPEAT && !is_productive(e, expr->first)))
        return;
    if (expr->kind == REF) {
        uint32_t rule = see_through(e, expr->rule);

        if (e->rules[rule].reached)
            return;
        e->rules[rule].reached = true;
        stack[(*n_stack)++] = rule;
    }
    for (const struct sl_ebnf_expr *c = expr->first; c; c = c->next)
        reach(e, c, stack, n_stack);
}

static int find_reached(struct sl_ebnf *e, uint32_t root)
{
    uint32_t *stack = calloc(e->n_rules, sizeof(*stack));
    uint32_t n_stack = 0;

    if (!stack)
        return -ENOMEM;
    e->rules[root].reached = true;
    stack[n_stack++] = root;
    while (n_stack) {
        uint32_t rule = stack[--n_stack];

        reach(e, e->rules[rule].expr, stack, &n_stack);
    }
    free(stack);
    return 0;
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
static bool is_empty(const struct sl_ebnf *e, const struct sl_ebnf_expr *expr)
{
    if (expr->kind == REPEAT)
        return !is_productive(e, expr->first) || is_empty(e, expr->first);
    if (expr->kind != SEQ)
        return false;
    for (const struct sl_ebnf_expr *c = expr->first; c; c = c->next)
        if (!is_empty(e, c))
            return false;
    return true;
}

static void print_list(struct sl_ebnf *e, const struct sl_ebnf_expr *expr, uint32_t root,
                       enum around around, struct sl_strbuf *out)
{
    bool is_alt = expr->kind == ALT;
    const struct sl_ebnf_expr *only = NULL;
    uint32_t n = 0;
    bool parens;

    for (const struct sl_ebnf_expr *c = expr->first; c; c = c->next)
        if (is_alt ? is_productive(e, c) : !is_empty(e, c)) {
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
        if (is_alt ? !is_productive(e, c) : is_empty(e, c))
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
    case SYMBOL: sl_strbuf_add_str(out, expr->text); return;
    case REF: print_rule_name(e, see_through(e, expr->rule), root, out); return;
    case REPEAT:
        if (is_empty(e, expr)) {
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
    int r;

    if (e->error)
        return e->error;
    find_productive(e);
    if (!e->rules[root].productive)
        return -ENOTSUP;
    r = find_reached(e, root);
    if (r < 0)
        return r;
    print_rule(e, root, root, out);
    for (uint32_t i = 0; i < e->n_rules && out->len - start <= bytes_max; i++)
        if (e->rules[i].reached && i != root)
            print_rule(e, i, root, out);
    if (out->error)
        return out->error;
    return out->len - start <= bytes_max ? 0 : -E2BIG;
}
