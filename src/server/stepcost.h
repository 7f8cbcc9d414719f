/*
 * What a step takes, learned from the steps that were: milliseconds by number of rows. For
 * choosing how much of a prompt a step may take (steppick.h). Pure; one thread at a time.
 */
#pragma once

#include <stdint.h>

#define SL_STEPCOST_SIZES 16 /* 1, 2 to 3, 4 to 7, ... rows */
#define SL_STEPCOST_AGE 256  /* steps after which a size that no step had is forgotten */

struct sl_stepcost_size {
    double rows, ms; /* means of late; rows 0: not known */
    uint32_t age;    /* steps since */
};

/* All zeroes: nothing is known. */
struct sl_stepcost {
    struct sl_stepcost_size sizes[SL_STEPCOST_SIZES];
};

/* A step of n_rows, at least one, took so long. */
void sl_stepcost_add(struct sl_stepcost *cost, uint32_t n_rows, double ms);

/* What a step of n_rows will take; never less for more rows; 0 while nothing is known. */
double sl_stepcost_guess(const struct sl_stepcost *cost, uint32_t n_rows);

/* How many rows, at most n_max, can be added to n_rows so that the step takes at most ms. */
uint32_t sl_stepcost_room(const struct sl_stepcost *cost, uint32_t n_rows, uint32_t n_max,
                          double ms);
