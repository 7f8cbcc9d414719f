/*
 * The inside of a session, and what its two ways of computing share: sluice_decode
 * (session.c) and sluice_prefill_* (prefill.c). One thread.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "model/engine.h"
#include "model/layerpace.h"
#include "model/step.h"
#include "model/timeline.h"
#include "sluice.h"

struct sluice_session {
    /* set once */
    struct sluice_model *model; /* borrowed */
    struct sluice_session_opts opts;
    struct sl_arena arena;
    uint64_t kv_bytes;
    uint64_t reserved_bytes; /* of the model's bound, when streaming */
    /* owned by the calling thread */
    struct sl_timeline timeline;
    struct sl_step step;   /* and of a prefill while there is one: */
    struct sl_step beside; /* what sluice_decode computes then; needs n_beside */
    bool is_prefilling;
    struct sl_layerpace pace; /* of prefills' layers */
    sluice_route_fn route_fn;
    void *route_arg;
    struct sluice_counters counters;
    struct sl_diag error;
    /* atomic */
    atomic_bool is_cancelled;
};

/* 0; -EINVAL: there is no such sequence; -EBUSY: a prefill has it. */
int sl_session_check_seq(struct sluice_session *s, int seq);

/* Everything that can be wrong with a batch for the step, before anything is changed: as
 * sluice_decode, or -EBUSY. */
int sl_session_check_batch(struct sluice_session *s, const struct sl_step *step,
                           const struct sluice_batch *batch, uint32_t n_batch);

/* Begin putting a step together. */
void sl_session_clear_step(struct sl_step *step);

/* Add tokens of one sequence to the step; the last n_out of them want logits. */
void sl_session_push_run(struct sluice_session *s, struct sl_step *step, uint32_t seq,
                         const int32_t *tokens, uint32_t n, uint32_t n_out);

/* Compute the layers before layer_end. Errors as sluice_decode, and the step is undone. */
int sl_session_run_layers(struct sluice_session *s, struct sl_step *step, uint32_t layer_end);

/* All layers are computed: append the tokens. -EIO: undone. The step is clear then. */
int sl_session_finish_step(struct sluice_session *s, struct sl_step *step);

/*
 * The step's results are void: take its sequences back to where they were. What it has
 * overwritten of a convolution's past is found at the last block's end, so a sequence may
 * become shorter than before the step, by up to 255 tokens.
 */
void sl_session_undo_step(struct sluice_session *s, struct sl_step *step);
