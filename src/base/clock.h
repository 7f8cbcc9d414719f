/* Monotonic time. Any thread. */
#pragma once

#include <stdint.h>
#include <time.h>

static inline uint64_t sl_clock_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
