/*
 * "How fast is my machine?": the speed of decoding beside what memory (and, streaming, the
 * disk) allows, both measured in turn in the same run, and what a speed to be reached
 * would take. Main thread.
 *
 *     memory's limit = bytes per second of a read loop ÷ bytes of weights per token
 *     disk's limit   = bytes per second of the disk ÷ bytes read and used per token
 *
 * The lower one is what limits; the share is of it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/options.h"
#include "cli/spread.h"

struct sl_target_opts {
    double target;         /* tokens per second */
    uint32_t n_tokens;     /* in a round; 0: about a second's */
    uint32_t n_rounds;     /* 0: 5 */
    bool is_json;
    bool has_progress;
    const char *html_path; /* or NULL */
};

/* What a round gives. */
enum sl_target_figure {
    SL_TARGET_MAPPED = 0,   /* bytes per second of a pass over the file's mapping; resident */
    SL_TARGET_HUGE,         /* the same over huge pages */
    SL_TARGET_MEMORY,       /* the better of both */
    SL_TARGET_DISK,         /* bytes per second; streaming, as the next one */
    SL_TARGET_USED_BYTES,   /* read and used, per token */
    SL_TARGET_MEMORY_LIMIT, /* tokens per second */
    SL_TARGET_DISK_LIMIT,
    SL_TARGET_LIMIT,        /* the lower one */
    SL_TARGET_REACHED,      /* tokens per second */
    SL_TARGET_SHARE,        /* of the limit */
    SL_TARGET_FIGURES,
};

/* What bounds decoding, and what the target would need of it; 0: not known, or not used. */
struct sl_target_bound {
    double per_s, per_token; /* bytes, medians */
    double need_per_s;       /* bytes per second for the target */
    double times;            /* as many times what there is */
    double need_at_share;    /* at the share reached here; for what limits alone */
};

enum sl_target_limiter {
    SL_TARGET_NOT_KNOWN = 0, /* the disk's speed is not */
    SL_TARGET_BY_MEMORY,
    SL_TARGET_BY_DISK,
};

struct sl_target {
    const char *path, *level; /* borrowed */
    char cpu[128], model_type[96];
    double target;
    bool is_streaming;
    uint32_t n_threads, n_rounds, n_tokens; /* tokens in a round */
    uint64_t weight_bytes, token_bytes;
    uint64_t read_bytes;                        /* of a pass over memory */
    struct sl_spread of[SL_TARGET_FIGURES];     /* over the rounds in which it is known */
    enum sl_target_limiter limiter;
    struct sl_target_bound memory, disk;
    double token_s, weights_s, stall_s, rest_s; /* of one token, mean; the last three add up */
    uint64_t n_major_faults;                    /* while decoding was timed */
    char disk_note[128];                        /* why the disk is not known, or "" */
};

/* Measure and print. An exit code, after reporting what went wrong. */
int sl_benchtarget_run(struct sl_model_args *model, const struct sl_target_opts *opts);
