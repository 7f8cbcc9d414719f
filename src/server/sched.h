/*
 * Continuous batching: requests wait in a queue, run in slots, and share steps of the engine,
 * token by token and part by part of their prompts (steppick.h). What becomes of each is told
 * to a sink. Replies do not depend on who else is served: the engine's results do not, each
 * slot has a sampler of its own, and where the context has no room for all who run, the
 * youngest is set aside and computed anew later.
 *
 * One thread, the engine's, makes all calls.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "server/enginefn.h"
#include "server/genevent.h"
#include "server/genjob.h"

struct sl_sched;

struct sl_sched_sink {
    void *arg;
    /* An event of a job. A negative return: nobody listens any more, and the job ends. */
    int (*event)(void *arg, struct sl_genjob *job, const struct sl_genevent *event);
    /* What is told of a job by one step has been told. As event. */
    int (*flush)(void *arg, struct sl_genjob *job);
    /* A reply that made tool calls: the assistant's whole turn, markers included. Before its
     * last event. */
    void (*turn)(void *arg, struct sl_genjob *job, uint32_t n_calls, const char *text,
                 size_t len);
    /* Nothing more comes; the job is its owner's again. Exactly once for each. */
    void (*done)(void *arg, struct sl_genjob *job);
};

struct sl_sched_opts {
    const struct sl_enginefn *engine; /* borrowed; n_seq_max: n_slots + n_kept at least;
                                       * n_marks: those of a job (genjob.h) */
    struct sl_sched_sink sink;
    uint32_t n_slots;     /* 1..256 */
    uint32_t n_queue_max; /* requests that wait for a slot */
    uint32_t n_kept;      /* sequences of the prefix cache, at least 1 */
    double max_step_ms;   /* of a step while others decode */
};

int sl_sched_new(struct sl_sched **ret_sched, const struct sl_sched_opts *opts);
/* Jobs that are left are given back by done. NULL is allowed. */
void sl_sched_free(struct sl_sched *sched);

/* Take a job. -EAGAIN: too many wait; it is not taken. */
int sl_sched_add(struct sl_sched *sched, struct sl_genjob *job);

/* The job of this id ends, if there is one: its client is gone, and nothing more is told. */
void sl_sched_cancel(struct sl_sched *sched, uint64_t id);

/* Nothing waits or runs. */
bool sl_sched_is_idle(const struct sl_sched *sched);

/* One step of the engine for all who run, and all that comes of it. Blocks for that long. */
void sl_sched_step(struct sl_sched *sched);

/* Forget what the slot has left in the prefix cache. Returns the tokens of the longest. */
uint32_t sl_sched_erase(struct sl_sched *sched, uint32_t slot);

/* Of a file that was written or read. */
struct sl_sched_file {
    uint32_t n_tok;
    uint64_t n_bytes;
};

/*
 * Save what the slot's last request left in the prefix cache to the file at path; or put there
 * what a file holds, as if a request of the slot's had left it. Blocks for as long as the disk
 * takes. -EBUSY: the slot runs; -ENOENT: there is nothing; else as sluice_seq_save and
 * sluice_seq_load, after the cache gave up what it had to.
 */
int sl_sched_save(struct sl_sched *sched, uint32_t slot, const char *path,
                  struct sl_sched_file *ret_file, struct sl_diag *diag);
int sl_sched_restore(struct sl_sched *sched, uint32_t slot, const char *path,
                     struct sl_sched_file *ret_file, struct sl_diag *diag);

/* Since the scheduler was made. Of times: as sl_gencounts of the requests. */
struct sl_sched_counters {
    uint64_t n_requests, n_cancelled, n_failed;
    uint64_t n_prompt_tok;    /* computed */
    uint64_t n_cached_tok;    /* of prompts, not computed */
    uint64_t n_predicted_tok;
    double prompt_ms, predicted_ms;
    uint64_t n_steps, n_slot_steps; /* and slots that took part, added up */
    uint64_t n_late_steps;          /* over the bound while others decoded */
    uint64_t n_set_aside;           /* for want of room */
    uint64_t n_tok_max;             /* of a sequence */
    /* now */
    uint32_t n_running, n_waiting;
    uint32_t n_kept;
    uint64_t n_kept_tok;
};

void sl_sched_get_counters(const struct sl_sched *sched, struct sl_sched_counters *ret_counters);
bool sl_sched_is_busy(const struct sl_sched *sched, uint32_t slot);
