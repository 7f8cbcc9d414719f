/*
 * One mean for each power of two. Between two sizes that are known the cost is a straight
 * line; beyond the largest it grows with the rows, which is too much rather than too little:
 * weights are read once for all rows, and experts that stream are soon all asked for. So the
 * first steps beside a decoding client are small, and each measured one allows a larger.
 *
 * A step that was slow for another reason would keep its size from being tried again; what
 * no step has confirmed for a while is therefore forgotten.
 */
#include "server/stepcost.h"

#include <assert.h>

#define WEIGHT_NEW 0.25 /* of the newest step in the mean of its size */

static uint32_t size_of(uint32_t n_rows)
{
    uint32_t size = 31 - (uint32_t)__builtin_clz(n_rows);

    return size < SL_STEPCOST_SIZES ? size : SL_STEPCOST_SIZES - 1;
}

void sl_stepcost_add(struct sl_stepcost *cost, uint32_t n_rows, double ms)
{
    struct sl_stepcost_size *at;

    assert(n_rows > 0);
    for (uint32_t i = 0; i < SL_STEPCOST_SIZES; i++)
        if (++cost->sizes[i].age > SL_STEPCOST_AGE)
            cost->sizes[i].rows = 0;
    at = &cost->sizes[size_of(n_rows)];
    if (at->rows == 0)
        *at = (struct sl_stepcost_size){.rows = n_rows, .ms = ms};
    at->rows += WEIGHT_NEW * (n_rows - at->rows);
    at->ms += WEIGHT_NEW * (ms - at->ms);
    at->age = 0;
}

double sl_stepcost_guess(const struct sl_stepcost *cost, uint32_t n_rows)
{
    double rows = 0, ms = 0; /* the last size that is smaller */

    for (uint32_t i = 0; i < SL_STEPCOST_SIZES; i++) {
        const struct sl_stepcost_size *at = &cost->sizes[i];
        double at_ms = at->ms > ms ? at->ms : ms;

        if (at->rows == 0)
            continue;
        if (n_rows <= at->rows && rows == 0)
            return at_ms; /* smaller than any: no step is cheaper than the smallest */
        if (n_rows <= at->rows)
            return ms + (at_ms - ms) * (n_rows - rows) / (at->rows - rows);
        rows = at->rows;
        ms = at_ms;
    }
    return rows > 0 ? ms * n_rows / rows : 0;
}

uint32_t sl_stepcost_room(const struct sl_stepcost *cost, uint32_t n_rows, uint32_t n_max,
                          double ms)
{
    uint32_t low = 0, high = n_max; /* low fits, or is none */

    while (low < high) {
        uint32_t middle = high - (high - low) / 2;

        if (sl_stepcost_guess(cost, n_rows + middle) <= ms)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}
