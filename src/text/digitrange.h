/*
 * Ranges of decimal numbers that are not negative as grammar expressions over digits.
 * Called by schemanumber.c only.
 */
#pragma once

#include <stdbool.h>

#include "text/ebnf.h"

#define SL_DIGITRANGE_DIGITS 20 /* before and after the point */

struct sl_decimal {
    bool negative;
    __int128 whole;                           /* at most sl_digitrange_most() + 1 */
    char fraction[SL_DIGITRANGE_DIGITS + 1];  /* digits without zeros at the end */
};

/* The greatest whole number that is written: 20 nines. */
__int128 sl_digitrange_most(void);

/* Whole numbers low to high without zeros in front; 0 <= low. None if low > high. */
struct sl_ebnf_expr *sl_digitrange_whole(struct sl_ebnf *e, __int128 low, __int128 high);

/*
 * A decimal from text as Python writes numbers (-1.5, 1e-07); what is beyond 20 digits
 * before the point becomes 10^20. False when the fraction needs more than 20.
 */
bool sl_digitrange_parse(const char *text, struct sl_decimal *ret_value);

struct sl_digitrange {
    struct sl_decimal low, high; /* signs are not looked at */
    bool low_exclusive, high_exclusive;
    uint32_t max_fraction; /* digits after the point, 0..20 */
};

/* Decimals in the range, with a point only before digits. */
struct sl_ebnf_expr *sl_digitrange_decimals(struct sl_ebnf *e, const struct sl_digitrange *range);
