/*
 * One request while it runs: its tokens, its sampler, and what of its reply was told. The
 * scheduler decides when tokens are computed; this is what happens to one of its slots then.
 * Internal to the scheduler; engine thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "server/genout.h"
#include "server/sched.h"
#include "server/thinkscan.h"

struct sl_schedslot {
    /* set once */
    uint32_t index;
    const struct sl_enginefn *engine; /* borrowed */
    const struct sl_sched_sink *sink; /* borrowed */
    int32_t *tokens;                  /* [n_ctx + 1], owned */

    /* of the request */
    struct sl_genjob *job; /* NULL: the slot is free */
    int seq;               /* -1: waits for room in the context; nothing of it is computed */
    uint64_t order;        /* earlier ones are smaller */
    uint32_t n_tokens;     /* the prompt's, and those said */
    uint32_t n_past;       /* of these, computed */
    uint32_t n_told;       /* of the prompt's, as progress */
    bool has_started;      /* START was told */
    bool is_suspect;       /* was part of a step that failed */
    bool has_failed;       /* an error was told */
    bool is_over;          /* everything was told, or nobody listens: to be closed */
    struct sl_genout *out;
    void *sampler;
    bool wants_grammar; /* is set once the reply has done thinking */
    struct sl_thinkscan think;
    struct sl_gencounts counts;
    uint64_t start_ns, first_ns; /* when it began to read, and to speak; 0: not yet */
};

/*
 * Give a free slot a job. 0; or a negative errno: the slot is still free, and the job's error
 * was told.
 */
int sl_schedslot_open(struct sl_schedslot *slot, struct sl_genjob *job, uint64_t order);

/* Free what the request had; its sequence was taken by the caller. */
void sl_schedslot_close(struct sl_schedslot *slot);

/* The first n_cached tokens need not be computed. Tells START, the first time. */
void sl_schedslot_start(struct sl_schedslot *slot, uint32_t n_cached);

/* Part of the prompt has been computed. */
void sl_schedslot_progress(struct sl_schedslot *slot);

/* All tokens have been computed; these are the logits of the next. */
void sl_schedslot_speak(struct sl_schedslot *slot, const float *logits);

/* What this step told may be sent. */
void sl_schedslot_flush(struct sl_schedslot *slot);

/* Tell an error as the last event. text may be NULL. */
void sl_schedslot_fail(struct sl_schedslot *slot, int code, const char *text);

/* The same for a job that has no slot. */
void sl_schedslot_refuse(const struct sl_sched_sink *sink, struct sl_genjob *job,
                         const struct sl_apierror *error);
