/*
 * A bound is followed digit by digit: as long as the digits are the bound's, the next one
 * is limited by it; once they differ, anything goes. A walk has up to two bounds, each a
 * pointer to its remaining digits, NULL when the digits have left it.
 */
#include "text/digitrange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"

__int128 sl_digitrange_most(void)
{
    return (__int128)10000000000 * 10000000000 - 1;
}

static struct sl_ebnf_expr *any_digits(struct sl_ebnf *e, uint32_t min, uint32_t max)
{
    return sl_ebnf_repeat(e, sl_ebnf_symbol(e, "[0-9]"), min, max);
}

static struct sl_ebnf_expr *one_of(struct sl_ebnf *e, char first, char last)
{
    char text[8];

    (void)snprintf(text, sizeof(text), first == last ? "\"%c\"" : "[%c-%c]", first, last);
    return sl_ebnf_symbol(e, text);
}

static struct sl_ebnf_expr *pair(struct sl_ebnf *e, struct sl_ebnf_expr *a,
                                 struct sl_ebnf_expr *b)
{
    return sl_ebnf_add(e, sl_ebnf_add(e, sl_ebnf_seq(e), a), b);
}

static bool all_are(const char *digits, char c)
{
    return digits[strspn(digits, (char[]){c, '\0'})] == '\0';
}

/* n digits from low to high. */
static struct sl_ebnf_expr *same_length(struct sl_ebnf *e, const char *low, const char *high,
                                        uint32_t n)
{
    struct sl_ebnf_expr *alt;
    char l, h;

    if (low && all_are(low, '0'))
        low = NULL;
    if (high && all_are(high, '9'))
        high = NULL;
    if (n == 0 || (!low && !high))
        return any_digits(e, n, n);
    l = low ? *low : '0';
    h = high ? *high : '9';
    if (n == 1)
        return one_of(e, l, h);
    if (low && high && l == h)
        return pair(e, one_of(e, l, l), same_length(e, low + 1, high + 1, n - 1));
    alt = sl_ebnf_alt(e);
    if (low)
        sl_ebnf_add(e, alt, pair(e, one_of(e, l, l), same_length(e, low + 1, NULL, n - 1)));
    if (l + (low != NULL) <= h - (high != NULL))
        sl_ebnf_add(e, alt,
                    pair(e, one_of(e, (char)(l + (low != NULL)), (char)(h - (high != NULL))),
                         any_digits(e, n - 1, n - 1)));
    if (high)
        sl_ebnf_add(e, alt, pair(e, one_of(e, h, h), same_length(e, NULL, high + 1, n - 1)));
    return alt;
}

/* value < 10^20 + 1 as exactly n digits. */
static void print_digits(char *out, __int128 value, uint32_t n)
{
    out[n] = '\0';
    for (; n > 0; n--, value /= 10)
        out[n - 1] = (char)('0' + (int)(value % 10));
}

struct sl_ebnf_expr *sl_digitrange_whole(struct sl_ebnf *e, __int128 low, __int128 high)
{
    struct sl_ebnf_expr *alt = sl_ebnf_alt(e);
    uint32_t first_full = 0, n = 1;
    __int128 from = 1; /* the least number of n digits */

    if (high > sl_digitrange_most())
        high = sl_digitrange_most();
    if (low == 0 && high >= 0) {
        sl_ebnf_add(e, alt, sl_ebnf_symbol(e, "\"0\""));
        low = 1;
    }
    for (; from <= high; n++, from *= 10) {
        __int128 a = low > from ? low : from, b = high < from * 10 - 1 ? high : from * 10 - 1;
        char a_text[24], b_text[24];

        if (a == from && b == from * 10 - 1) {
            first_full = first_full ? first_full : n;
            continue;
        }
        if (a > b)
            continue;
        if (first_full)
            sl_ebnf_add(e, alt, pair(e, one_of(e, '1', '9'), any_digits(e, first_full - 1, n - 2)));
        first_full = 0;
        print_digits(a_text, a, n);
        print_digits(b_text, b, n);
        sl_ebnf_add(e, alt, same_length(e, a_text, b_text, n));
    }
    if (first_full)
        sl_ebnf_add(e, alt, pair(e, one_of(e, '1', '9'), any_digits(e, first_full - 1, n - 2)));
    return alt;
}

/* The digits of text without its point, and where the point is: value = 0.digits * 10^point. */
static void split_digits(const char *text, char *digits, size_t size, long *ret_point)
{
    size_t n = 0, exponent = strcspn(text, "eE");
    long point = -1;

    for (size_t i = text[0] == '-'; i < exponent; i++)
        if (text[i] == '.')
            point = (long)n;
        else if (n + 1 < size)
            digits[n++] = text[i];
    digits[n] = '\0';
    *ret_point = (point < 0 ? (long)n : point) +
                 (text[exponent] ? strtol(text + exponent + 1, NULL, 10) : 0);
}

bool sl_digitrange_parse(const char *text, struct sl_decimal *ret_value)
{
    struct sl_decimal value = {.negative = text[0] == '-'};
    const __int128 beyond = sl_digitrange_most() + 1;
    char digits[SL_JSON_REAL_BYTES];
    const char *next = digits;
    size_t n = 0;
    long point;

    split_digits(text, digits, sizeof(digits), &point);
    for (; point > 0 && value.whole < beyond; point--)
        value.whole = value.whole * 10 + (*next ? *next++ - '0' : 0);
    if (value.whole >= beyond)
        value.whole = beyond;
    for (; point < 0 && n < SL_DIGITRANGE_DIGITS; point++)
        value.fraction[n++] = '0';
    for (; *next && n < SL_DIGITRANGE_DIGITS; next++)
        value.fraction[n++] = *next;
    if (!all_are(next, '0'))
        return false;
    while (n && value.fraction[n - 1] == '0')
        n--;
    value.fraction[n] = '\0';
    *ret_value = value;
    return true;
}

/* The digits behind the point, at least one of them, at most n. */
struct walk {
    struct sl_ebnf *e;
    bool low_exclusive, high_exclusive;
};

/* Whether the number may end where low and high are what remains of the bounds. */
static bool may_end(const struct walk *w, const char *low, const char *high)
{
    return (!low || (!*low && !w->low_exclusive)) && !(high && !*high && w->high_exclusive);
}

static struct sl_ebnf_expr *fraction(const struct walk *w, const char *low, const char *high,
                                     uint32_t n);

/* This digit, then what may follow it. */
static struct sl_ebnf_expr *digit_and(const struct walk *w, char c, const char *low,
                                      const char *high, uint32_t n)
{
    struct sl_ebnf_expr *rest = fraction(w, low, high, n);

    return pair(w->e, one_of(w->e, c, c),
                may_end(w, low, high) ? sl_ebnf_optional(w->e, rest) : rest);
}

/* What is left when a bound has no digits left; NULL if neither has that effect. */
static struct sl_ebnf_expr *at_bound(const struct walk *w, const char *low, const char *high,
                                     uint32_t n)
{
    if (n == 0 || (high && !*high && (low || w->high_exclusive)))
        return sl_ebnf_alt(w->e);
    if (high && !*high)
        return sl_ebnf_repeat(w->e, sl_ebnf_symbol(w->e, "\"0\""), 1, n);
    if (!low && !high)
        return any_digits(w->e, 1, n);
    if (low && !*low && !high)
        return pair(w->e, sl_ebnf_repeat(w->e, sl_ebnf_symbol(w->e, "\"0\""), 0, n - 1),
                    pair(w->e, one_of(w->e, '1', '9'), any_digits(w->e, 0, n - 1)));
    return NULL;
}

static struct sl_ebnf_expr *fraction(const struct walk *w, const char *low, const char *high,
                                     uint32_t n)
{
    struct sl_ebnf_expr *alt;
    char l, h;

    if (low && !*low && !w->low_exclusive)
        low = NULL;
    alt = at_bound(w, low, high, n);
    if (alt)
        return alt;
    alt = sl_ebnf_alt(w->e);
    l = low && *low ? *low : '0';
    h = high ? *high : '9';
    if (l > h)
        return alt;
    if (low)
        sl_ebnf_add(w->e, alt,
                    digit_and(w, l, *low ? low + 1 : low, high && l == h ? high + 1 : NULL,
                              n - 1));
    if (l + (low != NULL) <= h - (high != NULL))
        sl_ebnf_add(w->e, alt,
                    pair(w->e,
                         one_of(w->e, (char)(l + (low != NULL)), (char)(h - (high != NULL))),
                         any_digits(w->e, 0, n - 1)));
    if (high && !(low && l == h))
        sl_ebnf_add(w->e, alt, digit_and(w, h, NULL, high + 1, n - 1));
    return alt;
}

/* A whole part and the fractions that it may have: between low and high where given. */
static struct sl_ebnf_expr *with_fraction(const struct walk *w, struct sl_ebnf_expr *whole,
                                          const char *low, const char *high, uint32_t n)
{
    struct sl_ebnf_expr *rest =
        pair(w->e, sl_ebnf_literal_str(w->e, "."), fraction(w, low, high, n));

    return pair(w->e, whole, may_end(w, low, high) ? sl_ebnf_optional(w->e, rest) : rest);
}

struct sl_ebnf_expr *sl_digitrange_decimals(struct sl_ebnf *e, const struct sl_digitrange *range)
{
    const struct sl_decimal *low = &range->low, *high = &range->high;
    struct walk w = {e, range->low_exclusive, range->high_exclusive};
    struct sl_ebnf_expr *alt = sl_ebnf_alt(e);
    uint32_t n = range->max_fraction;
    __int128 most = sl_digitrange_most();

    if (low->whole > high->whole || low->whole > most)
        return alt;
    if (low->whole == high->whole)
        return sl_ebnf_add(e, alt,
                           with_fraction(&w, sl_digitrange_whole(e, low->whole, low->whole),
                                         low->fraction, high->fraction, n));
    sl_ebnf_add(e, alt, with_fraction(&w, sl_digitrange_whole(e, low->whole, low->whole),
                                      low->fraction, NULL, n));
    sl_ebnf_add(e, alt, with_fraction(&w, sl_digitrange_whole(e, low->whole + 1, high->whole - 1),
                                      NULL, NULL, n));
    if (high->whole <= most)
        sl_ebnf_add(e, alt, with_fraction(&w, sl_digitrange_whole(e, high->whole, high->whole),
                                          NULL, high->fraction, n));
    return alt;
}
