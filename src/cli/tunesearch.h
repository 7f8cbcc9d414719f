/*
 * Which of several settings is the fastest, measured in rounds: each runs every setting
 * that is still in question once, in changing order, so that what changes on the machine
 * meanwhile falls on all alike. What is run, and the clock, are the caller's. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/spread.h"

#define SL_TUNE_SETTINGS_MAX 24
#define SL_TUNE_ROUNDS_MIN 3 /* fewer say nothing */
#define SL_TUNE_ROUNDS_MAX 64

enum sl_tune_purpose {
    SL_TUNE_DECODE = 0,
    SL_TUNE_PREFILL,
    SL_TUNE_PURPOSES,
};

struct sl_tune_result {
    uint32_t n_rounds; /* that it was measured in */
    bool is_out;       /* given up: clearly slower */
    double rates[SL_TUNE_PURPOSES][SL_TUNE_ROUNDS_MAX]; /* sorted when the search is over */
    struct sl_spread spread[SL_TUNE_PURPOSES]; /* tokens per second */
};

struct sl_tune_search {
    uint32_t n_settings; /* 1..SL_TUNE_SETTINGS_MAX; the first is what is usual */
    enum sl_tune_purpose purpose; /* what it shall be fast at */
    uint64_t end_ns;     /* by the clock: no round begins that would last longer */
    uint64_t (*clock_ns)(void *arg);
    /* Run a setting: tokens per second at each purpose, above 0. Nonzero ends the search. */
    int (*run)(void *arg, uint32_t setting, double ret_rates[SL_TUNE_PURPOSES]);
    void *arg;
};

/*
 * results: [n_settings]. The best is, of those that are within 3 % of the fastest, the one
 * that is fastest at the other purpose, and of those within 3 % of that, the first. 0;
 * -EAGAIN: the time was not enough for SL_TUNE_ROUNDS_MIN rounds, so ret_best is untouched;
 * or what run returned.
 */
int sl_tunesearch_run(const struct sl_tune_search *search, struct sl_tune_result *results,
                      uint32_t *ret_best);
