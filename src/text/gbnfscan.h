/*
 * Parts of the parser of GBNF: its state, errors with their place, and the terminals.
 * Called by gbnf.c alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "text/gbnf.h"

/* A name where it stands: in front of "::=" (rule) or in a body (node). */
struct sl_gbnfscan_use {
    const char *ptr;
    uint32_t len;
    uint32_t index; /* of the rule or node */
    bool is_rule;
};

struct sl_gbnfscan {
    const char *text, *at, *end;
    struct sl_gbnf *g;
    struct sl_gbnfscan_use *uses; /* owned */
    uint32_t n_uses, uses_cap;
    uint32_t nodes_cap, ranges_cap, rules_cap, tokens_cap, bytes_cap;
    uint32_t depth; /* of groups */
    struct sl_diag *diag;
};

/* Line and column of a place, both from 1; columns count characters. */
void sl_gbnfscan_locate(const struct sl_gbnfscan *p, const char *at, unsigned *ret_line,
                        unsigned *ret_col);

/* A text for a place; "expected X, found Y" for the present one; no memory. Return the code. */
int sl_gbnfscan_fail(const struct sl_gbnfscan *p, const char *at, int code, const char *what);
int sl_gbnfscan_fail_expected(const struct sl_gbnfscan *p, const char *expected);
int sl_gbnfscan_fail_memory(const struct sl_gbnfscan *p);

/* Whether c comes next. */
bool sl_gbnfscan_at(const struct sl_gbnfscan *p, char c);

/* A new node without children. */
int sl_gbnfscan_node(struct sl_gbnfscan *p, enum sl_gbnf_kind kind, uint32_t a, uint32_t b,
                     uint32_t *ret_node);

/* "...", [...], ., <...>, each begun at the present place. */
int sl_gbnfscan_literal(struct sl_gbnfscan *p, uint32_t *ret_node);
int sl_gbnfscan_class(struct sl_gbnfscan *p, uint32_t *ret_node);
int sl_gbnfscan_any(struct sl_gbnfscan *p, uint32_t *ret_node);
int sl_gbnfscan_token(struct sl_gbnfscan *p, uint32_t *ret_node);

/* A decimal of at most max. */
int sl_gbnfscan_number(struct sl_gbnfscan *p, const char *expected, uint32_t max,
                       uint32_t *ret_value);
