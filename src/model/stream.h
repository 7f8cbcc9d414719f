/*
 * The streaming side of an opened model: who reads, what is pinned, and how much memory
 * the expert cache may have beside the sessions. Called by engine.c and session.c. One
 * thread at a time per model.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/pressure.h"
#include "experts/cache.h"
#include "experts/predict.h"
#include "experts/trace.h"
#include "loader/reader.h"
#include "model/ahead.h"
#include "model/pinned.h"
#include "model/plan.h"
#include "sluice.h"

struct sluice_model;

struct sl_stream {
    /* set once */
    struct sl_reader *reader;
    struct sl_pinned pinned;
    struct sl_part_at *parts; /* of all layers' experts, owned */
    struct sl_predict *predict; /* NULL: no guesses */
    struct sl_ahead ahead;
    struct sl_trace_asks *replay; /* NULL: no trace is replayed */
    struct sl_pressure *pressure;
    struct sl_plan plan;
    enum sl_evict_policy policy;
    char *profile_path; /* owned; NULL: none is kept */
    char *trace_path, *trace_aside; /* owned; NULL: no trace is written */
    struct sl_trace_writer *trace;  /* from the first session on */
    int trace_fd;
    bool is_finished;
    /* the caller's thread */
    uint64_t session_bytes;  /* of the sessions alive */
    uint64_t budget;         /* of the cache, as planned */
    uint64_t given_back;     /* of it, because of memory pressure */
    uint64_t changed_ns;     /* when given_back last changed */
    bool is_resting;         /* given back until the next step */
    uint64_t n_steps, n_tokens;
    uint64_t n_profile_tokens; /* that the profile was made from */
};

/*
 * After the weights are known (their data in the mapping, or absent) and the plan says
 * streaming: open the reader, load the pinned weights, make the cache without slots.
 * m->pool exists. Errors as sluice_model_open.
 */
int sl_stream_open(struct sluice_model *m, const struct sl_plan *plan,
                   const struct sluice_model_opts *opts, struct sl_diag *diag);
void sl_stream_close(struct sluice_model *m);

/* A session of so many bytes comes: divide the memory anew. -ENOMEM says what would do. */
int sl_stream_reserve(struct sluice_model *m, uint64_t bytes, struct sl_diag *diag);
void sl_stream_unreserve(struct sluice_model *m, uint64_t bytes);

/* Write out what outlives the run: profile and trace. Once. -EIO, -ENOSPC ...: the trace
 * could not be written, and there is none. */
int sl_stream_finish(struct sluice_model *m, struct sl_diag *diag);

/* Before a step: give memory back under pressure, take it again after a calm time, begin
 * to fill the cache when the first step is done. */
void sl_stream_before_step(struct sluice_model *m);

/* Give back all but the smallest cache, until the next step. */
void sl_stream_rest(struct sluice_model *m);

/* "io_uring, direct, registered buffers": how experts are read, to buf. */
void sl_stream_io_text(const struct sl_stream *stream, char *buf, size_t bytes);
/* What was fallen back to and what to do, a line each, to buf; "" if nothing. */
void sl_stream_notes(const struct sl_stream *stream, char *buf, size_t bytes);
