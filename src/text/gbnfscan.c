/* Terminals of GBNF. Ranges of a class are sorted and joined here, and negated. */
#include "text/gbnfscan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codepoint.h"
#include "text/vector.h"

#define CP_MAX 0x10FFFFu

void sl_gbnfscan_locate(const struct sl_gbnfscan *p, const char *at, unsigned *ret_line,
                        unsigned *ret_col)
{
    unsigned line = 1, col = 1;

    for (const char *c = p->text; c < at; c++) {
        if (*c == '\n') {
            line++;
            col = 1;
        } else if (((unsigned char)*c & 0xC0) != 0x80) {
            col++;
        }
    }
    *ret_line = line;
    *ret_col = col;
}

int sl_gbnfscan_fail(const struct sl_gbnfscan *p, const char *at, int code, const char *what)
{
    unsigned line, col;

    sl_gbnfscan_locate(p, at, &line, &col);
    return sl_diag_set(p->diag, code, "grammar, line %u, column %u: %s", line, col, what);
}

int sl_gbnfscan_fail_memory(const struct sl_gbnfscan *p)
{
    return sl_diag_set(p->diag, -ENOMEM, "not enough memory for the grammar");
}

int sl_gbnfscan_fail_expected(const struct sl_gbnfscan *p, const char *expected)
{
    char what[200], found[40];
    uint32_t cp;
    size_t n;

    if (p->at == p->end) {
        (void)snprintf(found, sizeof(found), "the end of the grammar");
    } else if (*p->at == '\n' || *p->at == '\r') {
        (void)snprintf(found, sizeof(found), "the end of the line");
    } else {
        n = sl_codepoint_decode(p->at, (size_t)(p->end - p->at), &cp);
        if (n == 0)
            (void)snprintf(found, sizeof(found), "byte 0x%02x", (unsigned char)*p->at);
        else if (cp < 0x20 || cp == 0x7F)
            (void)snprintf(found, sizeof(found), "character U+%04X", cp);
        else
            (void)snprintf(found, sizeof(found), "'%.*s'", (int)n, p->at);
    }
    (void)snprintf(what, sizeof(what), "expected %s, found %s", expected, found);
    return sl_gbnfscan_fail(p, p->at, -EBADMSG, what);
}

bool sl_gbnfscan_at(const struct sl_gbnfscan *p, char c)
{
    return p->at < p->end && *p->at == c;
}

int sl_gbnfscan_node(struct sl_gbnfscan *p, enum sl_gbnf_kind kind, uint32_t a, uint32_t b,
                     uint32_t *ret_node)
{
    struct sl_gbnf *g = p->g;

    if (sl_vector_grow(&g->nodes, &p->nodes_cap, g->n_nodes, 1) < 0)
        return sl_gbnfscan_fail_memory(p);
    g->nodes[g->n_nodes] = (struct sl_gbnf_node){kind, SL_GBNF_NONE, SL_GBNF_NONE, a, b};
    *ret_node = g->n_nodes++;
    return 0;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static int parse_hex(struct sl_gbnfscan *p, int n_digits, uint32_t *ret_cp)
{
    const char *start = p->at;
    uint32_t cp = 0;

    for (int i = 0; i < n_digits; i++) {
        int digit = p->at < p->end ? hex_value(*p->at) : -1;

        if (digit < 0)
            return sl_gbnfscan_fail_expected(p, n_digits == 2   ? "2 hexadecimal digits behind \\x"
                                    : n_digits == 4 ? "4 hexadecimal digits behind \\u"
                                                    : "8 hexadecimal digits behind \\U");
        cp = cp << 4 | (uint32_t)digit;
        p->at++;
    }
    if (cp > CP_MAX || (cp >= 0xD800 && cp < 0xE000))
        return sl_gbnfscan_fail(p, start, -EBADMSG,
                                "expected a character of Unicode, found a surrogate or a number "
                                "above U+10FFFF");
    *ret_cp = cp;
    return 0;
}

static int parse_escape(struct sl_gbnfscan *p, uint32_t *ret_cp)
{
    static const char plain[] = "\\\"[]-^", names[] = "nrt", values[] = "\n\r\t";
    const char *found;

    p->at++;
    if (p->at < p->end && *p->at) {
        char c = *p->at;

        if (c == 'x' || c == 'u' || c == 'U') {
            p->at++;
            return parse_hex(p, c == 'x' ? 2 : c == 'u' ? 4 : 8, ret_cp);
        }
        found = strchr(plain, c);
        if (!found)
            found = strchr(names, c) ? values + (strchr(names, c) - names) : NULL;
        if (found) {
            *ret_cp = (unsigned char)*found;
            p->at++;
            return 0;
        }
    }
    return sl_gbnfscan_fail_expected(p, "one of n r t \\ \" [ ] - ^ x u U behind \\");
}

/* One character of a literal or class. */
static int parse_char(struct sl_gbnfscan *p, const char *expected, uint32_t *ret_cp)
{
    size_t n;

    if (p->at == p->end)
        return sl_gbnfscan_fail_expected(p, expected);
    if (*p->at == '\\')
        return parse_escape(p, ret_cp);
    n = sl_codepoint_decode(p->at, (size_t)(p->end - p->at), ret_cp);
    if (n == 0)
        return sl_gbnfscan_fail_expected(p, "UTF-8");
    p->at += n;
    return 0;
}

int sl_gbnfscan_literal(struct sl_gbnfscan *p, uint32_t *ret_node)
{
    struct sl_gbnf *g = p->g;
    uint32_t off = g->n_bytes, cp;

    p->at++;
    while (!sl_gbnfscan_at(p, '"')) {
        int r = parse_char(p, "\" at the end of the literal", &cp);

        if (r < 0)
            return r;
        if (sl_vector_grow(&g->bytes, &p->bytes_cap, g->n_bytes, 4) < 0)
            return sl_gbnfscan_fail_memory(p);
        g->n_bytes += (uint32_t)sl_codepoint_encode(cp, g->bytes + g->n_bytes);
    }
    p->at++;
    return sl_gbnfscan_node(p, SL_GBNF_LITERAL, off, g->n_bytes - off, ret_node);
}

static int add_range(struct sl_gbnfscan *p, uint32_t lo, uint32_t hi)
{
    struct sl_gbnf *g = p->g;

    if (sl_vector_grow(&g->ranges, &p->ranges_cap, g->n_ranges, 1) < 0)
        return sl_gbnfscan_fail_memory(p);
    g->ranges[g->n_ranges++] = (struct sl_gbnf_range){lo, hi};
    return 0;
}

static int by_lo(const void *a, const void *b)
{
    const struct sl_gbnf_range *x = a, *y = b;

    return (x->lo > y->lo) - (x->lo < y->lo);
}

/* Sort the ranges from first on and join what overlaps or touches. */
static void join_ranges(struct sl_gbnf *g, uint32_t first)
{
    uint32_t n = first;

    if (n < g->n_ranges)
        qsort(g->ranges + first, g->n_ranges - first, sizeof(*g->ranges), by_lo);
    for (uint32_t i = first; i < g->n_ranges; i++) {
        struct sl_gbnf_range range = g->ranges[i];

        if (n > first && range.lo <= g->ranges[n - 1].hi + 1) {
            if (range.hi > g->ranges[n - 1].hi)
                g->ranges[n - 1].hi = range.hi;
        } else {
            g->ranges[n++] = range;
        }
    }
    g->n_ranges = n;
}

/* All that the joined ranges from first on leave out. */
static int negate_ranges(struct sl_gbnfscan *p, uint32_t first)
{
    struct sl_gbnf *g = p->g;
    uint32_t n = g->n_ranges, lo = 0, n_out;
    int r = 0;

    for (uint32_t i = first; i < n && r == 0; i++) {
        struct sl_gbnf_range range = g->ranges[i];

        if (range.lo > lo)
            r = add_range(p, lo, range.lo - 1);
        lo = range.hi + 1;
    }
    if (lo <= CP_MAX && r == 0)
        r = add_range(p, lo, CP_MAX);
    if (r < 0)
        return r;
    n_out = g->n_ranges - n;
    memmove(g->ranges + first, g->ranges + n, n_out * sizeof(*g->ranges));
    g->n_ranges = first + n_out;
    return 0;
}

/* Whether there is a character in the ranges from first on: surrogates are none. */
static bool has_character(const struct sl_gbnf *g, uint32_t first)
{
    for (uint32_t i = first; i < g->n_ranges; i++)
        if (g->ranges[i].lo < 0xD800 || g->ranges[i].hi >= 0xE000)
            return true;
    return false;
}

int sl_gbnfscan_class(struct sl_gbnfscan *p, uint32_t *ret_node)
{
    const char *start = p->at++;
    uint32_t first = p->g->n_ranges, lo, hi;
    bool negated = sl_gbnfscan_at(p, '^');
    int r;

    if (negated)
        p->at++;
    while (!sl_gbnfscan_at(p, ']')) {
        const char *from = p->at;

        r = parse_char(p, "] at the end of the class", &lo);
        if (r < 0)
            return r;
        hi = lo;
        if (sl_gbnfscan_at(p, '-') && p->end - p->at > 1 && p->at[1] != ']') {
            p->at++;
            r = parse_char(p, "] at the end of the class", &hi);
            if (r < 0)
                return r;
        }
        if (hi < lo)
            return sl_gbnfscan_fail(p, from, -EBADMSG,
                                    "expected a range from low to high, found one that runs "
                                    "backwards");
        r = add_range(p, lo, hi);
        if (r < 0)
            return r;
    }
    p->at++;
    join_ranges(p->g, first);
    if (negated) {
        r = negate_ranges(p, first);
        if (r < 0)
            return r;
    }
    if (!has_character(p->g, first))
        return sl_gbnfscan_fail(p, start, -EBADMSG,
                                "expected a character in the class, found none");
    return sl_gbnfscan_node(p, SL_GBNF_CLASS, first, p->g->n_ranges - first, ret_node);
}

int sl_gbnfscan_any(struct sl_gbnfscan *p, uint32_t *ret_node)
{
    int r;

    p->at++;
    r = add_range(p, 0, CP_MAX);
    if (r < 0)
        return r;
    return sl_gbnfscan_node(p, SL_GBNF_CLASS, p->g->n_ranges - 1, 1, ret_node);
}

int sl_gbnfscan_number(struct sl_gbnfscan *p, const char *expected, uint32_t max,
                       uint32_t *ret_value)
{
    const char *start = p->at;
    uint64_t value = 0;

    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') {
        value = value * 10 + (uint64_t)(*p->at - '0');
        if (value > max) {
            char what[80];

            (void)snprintf(what, sizeof(what), "expected a number up to %u, found a greater one",
                           max);
            return sl_gbnfscan_fail(p, start, -E2BIG, what);
        }
        p->at++;
    }
    if (p->at == start)
        return sl_gbnfscan_fail_expected(p, expected);
    *ret_value = (uint32_t)value;
    return 0;
}

static bool same_token(const struct sl_gbnfscan *p, const struct sl_gbnf_token *a,
                       const struct sl_gbnf_token *b)
{
    return a->id >= 0 || b->id >= 0
               ? a->id == b->id
               : a->name_len == b->name_len &&
                     memcmp(p->text + a->name_off, p->text + b->name_off, a->name_len) == 0;
}

/* <text> or <[number]> */
int sl_gbnfscan_token(struct sl_gbnfscan *p, uint32_t *ret_node)
{
    struct sl_gbnf_token token = {.name_off = (uint32_t)(p->at - p->text), .id = -1};
    const char *start = p->at++;
    struct sl_gbnf *g = p->g;
    uint32_t i = 0;

    if (sl_gbnfscan_at(p, '[')) {
        uint32_t id = 0;
        int r;

        p->at++;
        r = sl_gbnfscan_number(p, "the number of a token", INT32_MAX, &id);
        if (r < 0)
            return r;
        token.id = (int32_t)id;
        if (!sl_gbnfscan_at(p, ']'))
            return sl_gbnfscan_fail_expected(p, "]> behind the number of a token");
        p->at++;
    }
    while (token.id < 0 && p->at < p->end && *p->at != '>' && *p->at != '\n')
        p->at++;
    if (!sl_gbnfscan_at(p, '>'))
        return sl_gbnfscan_fail_expected(p, "> at the end of a token");
    p->at++;
    token.name_len = (uint32_t)(p->at - start);
    while (i < g->n_tokens && !same_token(p, &g->tokens[i], &token))
        i++;
    if (i == SL_GBNF_TOKENS_MAX)
        return sl_gbnfscan_fail(p, start, -E2BIG, "more than 256 different tokens");
    if (i == g->n_tokens) {
        if (sl_vector_grow(&g->tokens, &p->tokens_cap, g->n_tokens, 1) < 0)
            return sl_gbnfscan_fail_memory(p);
        g->tokens[g->n_tokens++] = token;
    }
    return sl_gbnfscan_node(p, SL_GBNF_TOKEN, i, 0, ret_node);
}
