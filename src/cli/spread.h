/* Lowest, median and highest of a few measurements. */
#pragma once

#include <stdint.h>

struct sl_spread { /* all 0: not known */
    double low, median, high;
};

/* n at least 1; values are put in order. The median of an even number is between the two
 * in the middle. */
struct sl_spread sl_spread_of(double *values, uint32_t n);
