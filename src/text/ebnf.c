/*
 * Grammar expressions in memory. A node is text, a reference, or has children in a list;
 * memory comes from chunks that are freed together. Printing is in ebnfprint.c.
 */
#include "text/ebnf.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/ebnfexpr.h"
#include "text/vector.h"

#define CHUNK_BYTES ((size_t)64 << 10)

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

static struct sl_ebnf_expr *expr_new(struct sl_ebnf *e, enum sl_ebnf_kind kind)
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
    e->failed = expr_new(e, SL_EBNF_ALT);
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
    struct sl_ebnf_expr *expr = expr_new(e, SL_EBNF_SYMBOL);
    char *copy = sl_ebnf_alloc(e, strlen(text) + 1);

    if (!copy)
        return e->failed;
    strcpy(copy, text);
    expr->text = copy;
    return expr;
}

struct sl_ebnf_expr *sl_ebnf_literal(struct sl_ebnf *e, const char *text, size_t len)
{
    struct sl_ebnf_expr *expr = expr_new(e, SL_EBNF_SYMBOL);
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
    struct sl_ebnf_expr *expr = expr_new(e, SL_EBNF_REF);

    if (!e->error)
        expr->rule = rule;
    return expr;
}

struct sl_ebnf_expr *sl_ebnf_seq(struct sl_ebnf *e)
{
    return expr_new(e, SL_EBNF_SEQ);
}

struct sl_ebnf_expr *sl_ebnf_alt(struct sl_ebnf *e)
{
    return expr_new(e, SL_EBNF_ALT);
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
    expr = expr_new(e, SL_EBNF_REPEAT);
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
