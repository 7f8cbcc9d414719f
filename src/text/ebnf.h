/*
 * Grammar rules built in memory as small trees, pruned, and printed as GBNF. Used by
 * the schema compiler only. Errors stick: after one every call does nothing and gives
 * a valid expression, and sl_ebnf_print returns the error. One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

#define SL_EBNF_RULES_MAX    8192u
#define SL_EBNF_MEMORY_MAX   ((size_t)32 << 20) /* bytes of expressions */
#define SL_EBNF_NO_MAX       UINT32_MAX         /* a repetition without an upper bound */
#define SL_EBNF_REPEAT_ONE   256u               /* {m,n} with n up to this is printed as it is */
#define SL_EBNF_REPEAT_LIMIT (2000u * 2000u)    /* the largest count; sl_ebnf_repeat */

struct sl_ebnf_expr; /* owned by its sl_ebnf, part of at most one other expression */

struct sl_ebnf_rule {
    struct sl_ebnf_expr *expr; /* NULL until set: matches nothing */
    const char *name;          /* static, or NULL: r and its number */
    struct sl_ebnf_expr *users; /* references to it; known while printing, as reached is */
    bool reached;
};

struct sl_ebnf {
    struct sl_ebnf_chunk *chunks;
    size_t used_bytes;
    struct sl_ebnf_rule *rules;
    uint32_t n_rules, cap_rules;
    struct sl_ebnf_expr *failed; /* what all calls give after an error */
    int error;                   /* 0, -ENOMEM or -E2BIG */
};

/* Of all zeroes before. 0 or -ENOMEM; sl_ebnf_done in either case. */
int sl_ebnf_init(struct sl_ebnf *e);
void sl_ebnf_done(struct sl_ebnf *e);

/* Zeroed memory that lives as long as e, or NULL with the error kept. */
void *sl_ebnf_alloc(struct sl_ebnf *e, size_t bytes);

/* One symbol in GBNF's own spelling, as "[0-9]"; copied. */
struct sl_ebnf_expr *sl_ebnf_symbol(struct sl_ebnf *e, const char *text);
/* These bytes of UTF-8, quoted as GBNF needs it. */
struct sl_ebnf_expr *sl_ebnf_literal(struct sl_ebnf *e, const char *text, size_t len);
struct sl_ebnf_expr *sl_ebnf_literal_str(struct sl_ebnf *e, const char *text);
struct sl_ebnf_expr *sl_ebnf_ref(struct sl_ebnf *e, uint32_t rule);

/* Without children a sequence matches the empty text, an alternative nothing at all. */
struct sl_ebnf_expr *sl_ebnf_seq(struct sl_ebnf *e);
struct sl_ebnf_expr *sl_ebnf_alt(struct sl_ebnf *e);
/* Append child, which belongs to parent from then on; returns parent. */
struct sl_ebnf_expr *sl_ebnf_add(struct sl_ebnf *e, struct sl_ebnf_expr *parent,
                                 struct sl_ebnf_expr *child);
struct sl_ebnf_expr *sl_ebnf_optional(struct sl_ebnf *e, struct sl_ebnf_expr *child);

/*
 * min to max times rule; min <= max, max may be SL_EBNF_NO_MAX. Counts beyond
 * SL_EBNF_REPEAT_ONE are composed of nested repetitions of about the square root, so
 * that a reader that unrolls them stays small. A bound beyond SL_EBNF_REPEAT_LIMIT is
 * -E2BIG.
 */
struct sl_ebnf_expr *sl_ebnf_repeat_rule(struct sl_ebnf *e, uint32_t rule, uint32_t min,
                                         uint32_t max);
/* The same for any child, printed as {min,max} whatever the counts. */
struct sl_ebnf_expr *sl_ebnf_repeat(struct sl_ebnf *e, struct sl_ebnf_expr *child, uint32_t min,
                                    uint32_t max);

/* A new rule without an expression; its number. name is static, unique, not "root" or
 * as "r12"; NULL: the rule is called so. */
uint32_t sl_ebnf_rule_new(struct sl_ebnf *e, const char *name);
/* A new rule of this expression. */
uint32_t sl_ebnf_rule_of(struct sl_ebnf *e, struct sl_ebnf_expr *expr);
void sl_ebnf_rule_set(struct sl_ebnf *e, uint32_t rule, struct sl_ebnf_expr *expr);

/*
 * Print the rules that root needs, root first and called "root". What no finite text
 * can match is left out of alternatives and optional parts. Returns 0, -ENOTSUP (root
 * itself matches no finite text), -E2BIG (more than bytes_max, or a limit above),
 * -ENOMEM.
 */
int sl_ebnf_print(struct sl_ebnf *e, uint32_t root, size_t bytes_max, struct sl_strbuf *out);
