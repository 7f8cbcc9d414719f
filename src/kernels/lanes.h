/*
 * The fixed order in which sixteen partial sums become one (kernels.h). Any thread.
 */
#pragma once

#define SL_LANES 16

/* For step 8, 4, 2, 1: acc[i] += acc[i + step], i < step. Overwrites acc. */
static inline float sl_lanes_sum(float acc[SL_LANES])
{
    for (int step = SL_LANES / 2; step > 0; step /= 2)
        for (int i = 0; i < step; i++)
            acc[i] += acc[i + step];
    return acc[0];
}
