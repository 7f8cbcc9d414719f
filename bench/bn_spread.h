/* Lowest, median and highest of some measurements. Pure. Any thread. */
#pragma once

#include <stddef.h>

struct bn_spread {
    double low, median, high;
};

/* n >= 1 values, which are put in order; all zero for n = 0. */
struct bn_spread bn_spread_of(double *values, size_t n);
