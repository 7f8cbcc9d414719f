/*
 * A range of numbers is a range of texts of digits. Signs are dealt with first: what is
 * below zero is the mirror image of what is above. Then the whole parts between the two
 * bounds' take any fraction, and the bounds' own whole parts take the fractions on the
 * right side, found by walking along the bound's digits: equal so far, or free.
 *
 * sl_ebnf's empty alternative, which matches nothing, stands for empty ranges.
 */
#include "text/schemanumber.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"
#include "text/digitrange.h"

#define MULTIPLES_MAX 256

/* -1, 0, 1: a below, at, above b. Exact for integers within int64, by doubles otherwise. */
static int compare(const struct sl_json *a, const struct sl_json *b)
{
    int64_t i, k;
    double x = 0, y = 0;

    if (sl_json_get_i64(a, &i) && sl_json_get_i64(b, &k))
        return (i > k) - (i < k);
    (void)sl_json_get_f64(a, &x); /* both are numbers */
    (void)sl_json_get_f64(b, &y);
    return (x > y) - (x < y);
}

bool sl_schemanumber_holds(const struct sl_schemanumber *n, const struct sl_json *value)
{
    if (n->low.node && compare(value, n->low.node) < (n->low.exclusive ? 1 : 0))
        return false;
    return !n->high.node || compare(value, n->high.node) <= (n->high.exclusive ? -1 : 0);
}

static int64_t i64_of(const struct sl_json *node)
{
    int64_t value = 0;

    (void)sl_json_get_i64(node, &value);
    return value;
}

void sl_schemanumber_tighten(struct sl_schemanumber_bound *bound, const struct sl_json *node,
                             bool exclusive, bool is_low)
{
    int order = bound->node ? compare(node, bound->node) : 0;

    if (!bound->node || (is_low ? order > 0 : order < 0))
        *bound = (struct sl_schemanumber_bound){node, exclusive};
    else if (order == 0)
        bound->exclusive |= exclusive;
}

static __int128 clamp(__int128 value)
{
    const __int128 most = sl_digitrange_most();

    return value > most ? most + 1 : value < -most ? -most - 1 : value;
}

static __int128 big_int(const char *digits)
{
    bool negative = digits[0] == '-';
    __int128 value = 0;

    for (digits += negative; *digits; digits++)
        value = clamp(value * 10 + (*digits - '0'));
    return negative ? -value : value;
}

/* The least or greatest integer that the bound allows, as far as 20 digits reach. */
static __int128 integer_bound(const struct sl_schemanumber_bound *bound, bool is_low)
{
    const char *digits = sl_json_get_big_int(bound->node);
    __int128 value;
    double real = 0;

    if (!bound->node)
        return (is_low ? -1 : 1) * (sl_digitrange_most());
    if (digits) {
        value = big_int(digits);
    } else if (sl_json_is(bound->node, SL_JSON_INT)) {
        value = i64_of(bound->node);
    } else {
        double whole;

        (void)sl_json_get_f64(bound->node, &real); /* it is a number */
        whole = is_low ? ceil(real) : floor(real);
        if (fabs(whole) > 1e21)
            whole = whole < 0 ? -1e21 : 1e21;
        value = clamp((__int128)whole);
        if (whole != real)
            return value;
    }
    return value + (bound->exclusive ? is_low ? 1 : -1 : 0);
}

static struct sl_ebnf_expr *signed_range(struct sl_ebnf *e, __int128 low, __int128 high)
{
    struct sl_ebnf_expr *alt = sl_ebnf_alt(e), *seq;

    if (low < 0 && low <= high) {
        seq = sl_ebnf_seq(e);
        sl_ebnf_add(e, seq, sl_ebnf_literal_str(e, "-"));
        sl_ebnf_add(e, seq, sl_digitrange_whole(e, high < 0 ? -high : 1, -low));
        sl_ebnf_add(e, alt, seq);
    }
    if (high >= 0 && low <= high)
        sl_ebnf_add(e, alt, sl_digitrange_whole(e, low > 0 ? low : 0, high));
    return alt;
}

static void print_i64(char *out, size_t size, int64_t value)
{
    (void)snprintf(out, size, "%lld", (long long)value); /* fits: 21 bytes are passed */
}

/* The multiples of step within the bounds, one by one. */
static int listed_multiples(__int128 low, __int128 high, int64_t step, struct sl_ebnf *e,
                            struct sl_ebnf_expr **ret_expr, struct sl_diag *diag)
{
    __int128 first = low / step + (low > 0 && low % step != 0);
    __int128 last = high / step - (high < 0 && high % step != 0);
    struct sl_ebnf_expr *alt;

    if (last - first >= MULTIPLES_MAX)
        return sl_diag_set(diag, -ENOTSUP,
                           "multipleOf %lld is not supported for more than %d values; 1, 2, 5 "
                           "and powers of 10 are, without bounds",
                           (long long)step, MULTIPLES_MAX);
    alt = sl_ebnf_alt(e);
    for (__int128 i = first; i <= last; i++) {
        char text[24];

        if (i * step > INT64_MAX || i * step < INT64_MIN)
            return sl_diag_set(diag, -ERANGE, "multiples beyond 64 bits");
        print_i64(text, sizeof(text), (int64_t)(i * step));
        sl_ebnf_add(e, alt, sl_ebnf_literal_str(e, text));
    }
    *ret_expr = alt;
    return e->error;
}

/* Unbounded multiples of 2, 5 and powers of ten: by their last digits. NULL: of others. */
static struct sl_ebnf_expr *by_last_digits(const struct sl_ebnfjson *j, struct sl_ebnf *e,
                                           int64_t step)
{
    struct sl_ebnf_expr *alt, *seq;
    char zeroes[24];
    size_t n = 0;

    if (step == 2)
        return sl_ebnf_symbol(e, "\"-\"? [1-9] [0-9]{0,18} [02468] | [02468] | \"-\" [2468]");
    if (step == 5)
        return sl_ebnf_symbol(e, "\"-\"? [1-9] [0-9]{0,18} [05] | \"-\"? \"5\" | \"0\"");
    for (; step % 10 == 0 && n < 19; step /= 10)
        zeroes[n++] = '0';
    if (step != 1)
        return NULL;
    if (n == 0)
        return sl_ebnf_ref(e, j->integer);
    seq = sl_ebnf_seq(e);
    sl_ebnf_add(e, seq, sl_ebnf_symbol(e, "\"-\"?"));
    sl_ebnf_add(e, seq, sl_ebnf_symbol(e, "[1-9]"));
    sl_ebnf_add(e, seq, sl_ebnf_repeat(e, sl_ebnf_symbol(e, "[0-9]"), 0,
                                       SL_EBNFJSON_DIGITS_MAX - 1 - (uint32_t)n));
    sl_ebnf_add(e, seq, sl_ebnf_literal(e, zeroes, n));
    alt = sl_ebnf_alt(e);
    sl_ebnf_add(e, alt, seq);
    return sl_ebnf_add(e, alt, sl_ebnf_literal_str(e, "0"));
}

static int multiples(const struct sl_schemanumber *n, const struct sl_ebnfjson *j,
                     struct sl_ebnf *e, struct sl_ebnf_expr **ret_expr, struct sl_diag *diag)
{
    bool bounded = n->low.node || n->high.node;
    double real = 0;
    int64_t step = 0;

    if (!sl_json_get_i64(n->multiple_of, &step) && sl_json_get_f64(n->multiple_of, &real) &&
        real > 0 && real < 1e15 && real == floor(real))
        step = (int64_t)real;
    if (step <= 0)
        return sl_diag_set(diag, -ENOTSUP, "multipleOf is supported for positive integers");
    if (!bounded) {
        struct sl_ebnf_expr *expr = by_last_digits(j, e, step);

        if (expr) {
            *ret_expr = sl_ebnf_ref(e, sl_ebnf_rule_of(e, expr));
            return e->error;
        }
    }
    if (step == 1) {
        *ret_expr = signed_range(e, integer_bound(&n->low, true), integer_bound(&n->high, false));
        return e->error;
    }
    return listed_multiples(integer_bound(&n->low, true), integer_bound(&n->high, false), step, e,
                            ret_expr, diag);
}

int sl_schemanumber_integer(const struct sl_schemanumber *n, const struct sl_ebnfjson *j,
                            struct sl_ebnf *e, struct sl_ebnf_expr **ret_expr,
                            struct sl_diag *diag)
{
    if (n->multiple_of)
        return multiples(n, j, e, ret_expr, diag);
    if (!n->low.node && !n->high.node)
        *ret_expr = sl_ebnf_ref(e, j->integer);
    else
        *ret_expr = signed_range(e, integer_bound(&n->low, true), integer_bound(&n->high, false));
    return e->error;
}

/* A bound as a decimal. -ERANGE when it has more digits than numbers are given. */
static int decimal_bound(const struct sl_json *node, struct sl_decimal *ret, struct sl_diag *diag)
{
    char text[SL_JSON_REAL_BYTES];
    __int128 whole = 0;
    double real = 0;

    if (sl_json_is(node, SL_JSON_INT)) {
        const char *digits = sl_json_get_big_int(node);

        whole = digits ? big_int(digits) : i64_of(node);
        *ret = (struct sl_decimal){.negative = whole < 0, .whole = whole < 0 ? -whole : whole};
        return 0;
    }
    (void)sl_json_get_f64(node, &real); /* it is a number */
    sl_json_print_real(text, real);
    if (!sl_digitrange_parse(text, ret))
        return sl_diag_set(diag, -ERANGE, "a bound of more than %d digits after the point",
                           SL_DIGITRANGE_DIGITS);
    ret->negative = ret->negative && real < 0; /* not for -0.0 */
    return 0;
}

static bool is_zero(const struct sl_decimal *value)
{
    return value->whole == 0 && !value->fraction[0];
}

/* Doubles tell 15 digits apart: so many may follow the point next to this bound. */
static uint32_t fraction_digits(const struct sl_decimal *bound, bool exclusive)
{
    uint32_t n_whole = 1;

    if (is_zero(bound))
        return SL_DIGITRANGE_DIGITS;
    for (__int128 w = bound->whole; w >= 10; w /= 10)
        n_whole++;
    if (n_whole >= 15)
        return 0;
    return exclusive ? 15 - n_whole : SL_DIGITRANGE_DIGITS;
}

/* One side of zero. Without a bound in that direction, 10^20 or zero stands for it. */
static struct sl_ebnf_expr *one_side(struct sl_ebnf *e, const struct sl_digitrange *range,
                                     bool negative)
{
    struct sl_digitrange side = *range;
    bool low_beyond = range->low.negative, high_beyond = range->high.negative;

    if (negative) {
        side.low = range->high;
        side.low_exclusive = range->high_exclusive;
        side.high = range->low;
        side.high_exclusive = range->low_exclusive;
        low_beyond = !range->high.negative;
        high_beyond = !range->low.negative;
    }
    if (high_beyond)
        return sl_ebnf_alt(e);
    if (low_beyond) {
        side.low = (struct sl_decimal){0};
        side.low_exclusive = negative; /* zero has no sign */
    }
    return sl_digitrange_decimals(e, &side);
}

static int within(const struct sl_schemanumber *n, struct sl_ebnf *e,
                  struct sl_ebnf_expr **ret_expr, struct sl_diag *diag)
{
    struct sl_digitrange range = {
        .low = {.negative = true, .whole = sl_digitrange_most() + 1},
        .high = {.whole = sl_digitrange_most() + 1},
        .low_exclusive = n->low.exclusive,
        .high_exclusive = n->high.exclusive,
        .max_fraction = SL_DIGITRANGE_DIGITS,
    };
    const struct sl_schemanumber_bound *bounds[2] = {&n->low, &n->high};
    struct sl_decimal *decimals[2] = {&range.low, &range.high};
    struct sl_ebnf_expr *alt, *seq;

    for (int i = 0; i < 2; i++) {
        uint32_t most;
        int r;

        if (!bounds[i]->node)
            continue;
        r = decimal_bound(bounds[i]->node, decimals[i], diag);
        if (r < 0)
            return r;
        most = fraction_digits(decimals[i], bounds[i]->exclusive);
        range.max_fraction = most < range.max_fraction ? most : range.max_fraction;
    }
    for (int i = 0; i < 2; i++)
        if (strlen(decimals[i]->fraction) > range.max_fraction)
            return sl_diag_set(diag, -ERANGE, "bounds of more than 15 digits");
    alt = sl_ebnf_alt(e);
    seq = sl_ebnf_seq(e);
    sl_ebnf_add(e, seq, sl_ebnf_literal_str(e, "-"));
    sl_ebnf_add(e, seq, one_side(e, &range, true));
    sl_ebnf_add(e, alt, seq);
    *ret_expr = sl_ebnf_add(e, alt, one_side(e, &range, false));
    return e->error;
}

int sl_schemanumber_number(const struct sl_schemanumber *n, const struct sl_ebnfjson *j,
                           struct sl_ebnf *e, struct sl_ebnf_expr **ret_expr,
                           struct sl_diag *diag)
{
    double low = 1;

    if (n->multiple_of)
        return multiples(n, j, e, ret_expr, diag);
    (void)sl_json_get_f64(n->low.node, &low); /* none: stays 1 */
    if (n->low.node && !n->high.node && low == 0 && !n->low.exclusive) {
        *ret_expr = sl_ebnf_ref(e, j->nonneg);
        return e->error;
    }
    if (!n->low.node && !n->high.node) {
        *ret_expr = sl_ebnf_ref(e, j->number);
        return e->error;
    }
    return within(n, e, ret_expr, diag);
}
