/*
 * Two diagrams, hit rate and tokens per second against memory, one line per policy.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct sim_svg_point {
    const char *series;
    double bytes, hits, speed; /* hits in % */
};

/* Points of a series need not stand together. 0, or -1 with errno. */
int sim_svg_write(const char *path, const struct sim_svg_point *points, uint32_t n,
                  bool with_guesses);
