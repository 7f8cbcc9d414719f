/* The median of an even number of values is the mean of the middle two. */
#include "bench/bn_spread.h"

#include <stdlib.h>

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct bn_spread bn_spread_of(double *values, size_t n)
{
    if (n == 0)
        return (struct bn_spread){ 0 };
    qsort(values, n, sizeof(*values), compare_doubles);
    return (struct bn_spread){
        .low = values[0],
        .median = (values[(n - 1) / 2] + values[n / 2]) / 2.0,
        .high = values[n - 1],
    };
}
