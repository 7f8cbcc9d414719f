/*
 * "How fast is my machine?": the speed of decoding beside what memory (and, streaming, the
 * disk) allows, both measured in turn in the same run, and what a speed to be reached
 * would take. Main thread.
 *
 *     memory's limit = bytes per second of a read loop ÷ bytes of weights per token
 *     disk's limit   = bytes per second of the disk ÷ bytes read and used per token
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/options.h"

struct sl_target_opts {
    double target;         /* tokens per second */
    uint32_t n_tokens;     /* in a round; 0: about a second's */
    uint32_t n_rounds;     /* 0: 5 */
    bool is_json;
    bool has_progress;
    const char *html_path; /* or NULL */
};

struct sl_target_spread { /* over the rounds; all 0: not known */
    double low, median, high;
};

struct sl_target {
    const char *path, *level; /* borrowed */
    char cpu[128], model_type[96];
    double target;
    bool is_streaming;
    uint32_t n_threads, n_rounds, n_tokens; /* tokens in a round */
    uint64_t weight_bytes, token_bytes;
    uint64_t read_bytes;                          /* of a pass over memory */
    struct sl_target_spread mapped, huge, memory; /* bytes per second; memory: the better */
    struct sl_target_spread disk, used_bytes;     /* streaming; used: read and used per token */
    struct sl_target_spread memory_limit, disk_limit, limit; /* tokens per second */
    struct sl_target_spread reached, share;       /* tokens per second; of the round's limit */
    double token_s, weights_s, stall_s, rest_s;   /* of one token, mean; the last three add up */
    uint64_t n_major_faults;                      /* while decoding was timed */
    char disk_note[128];                          /* why the disk is not known, or "" */
};

/* Measure and print. An exit code, after reporting what went wrong. */
int sl_benchtarget_run(struct sl_model_args *model, const struct sl_target_opts *opts);
