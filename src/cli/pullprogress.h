/*
 * The line on stderr while a model is downloaded: how much, how fast, how long still. Only on
 * a terminal. Main thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fetch/download.h"

#define SL_PULLPROGRESS_SAMPLES 24

struct sl_pullprogress { /* all zeroes at first, but for the totals */
    uint64_t total_bytes;  /* of all files */
    uint64_t before_bytes; /* of those that are done */
    uint64_t at_ns[SL_PULLPROGRESS_SAMPLES], at_bytes[SL_PULLPROGRESS_SAMPLES];
    uint32_t n_samples;    /* taken so far; a ring */
    uint64_t drawn_ns;
    bool shown;
};

/* A sl_download_events.progress; arg is a struct sl_pullprogress. Nonzero after Ctrl-C. */
int sl_pullprogress_update(void *arg, const struct sl_download_state *state);

/* Remove the line. */
void sl_pullprogress_end(struct sl_pullprogress *progress);

/* "40 s", "3 min 20 s", "2 h 5 min", to a buffer of 32 bytes, which is returned. */
const char *sl_pullprogress_time(char *buf, double seconds);
