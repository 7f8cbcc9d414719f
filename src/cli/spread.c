/* By sorting: there are never more than some thousand. */
#include "cli/spread.h"

#include <stdlib.h>

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct sl_spread sl_spread_of(double *values, uint32_t n)
{
    qsort(values, n, sizeof(*values), compare_doubles);
    return (struct sl_spread){
        .low = values[0],
        .median = (values[(n - 1) / 2] + values[n / 2]) / 2.0,
        .high = values[n - 1],
    };
}
