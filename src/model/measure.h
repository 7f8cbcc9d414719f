/*
 * How much memory a session takes, known before there is one: the measuring pass of its
 * layout over a model's shape. Used by the session, which lays out the same way, and by
 * the plan. Needs no weights in memory. Any thread.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "model/hparams.h"
#include "model/step.h"
#include "model/timeline.h"
#include "model/weights.h"
#include "sluice.h"

/* The default context where the file allows more. */
#define SL_CTX_DEFAULT_MAX 32768u

/* Put defaults in for zeros, and check: -ERANGE, -EINVAL, -ENOTSUP. */
int sl_session_fill_opts(struct sluice_session_opts *opts, const struct sl_hparams *hp,
                         struct sl_diag *diag);

/*
 * Lay out a session in an arena: called twice, see base/arena.h. hp, weights and timeline
 * of step and beside are set before; their other fields are set from opts, which are filled.
 * beside is left alone without n_beside. Returns the bytes of these that the sequences take.
 */
uint64_t sl_session_layout(struct sl_step *step, struct sl_step *beside,
                           const struct sluice_session_opts *opts, uint32_t n_workers,
                           struct sl_arena *arena);

/* Bytes that a session with these options, filled, takes for sequences and for steps. */
void sl_session_measure(const struct sl_hparams *hp, const struct sl_weights *weights,
                        const struct sluice_session_opts *opts, uint32_t n_workers,
                        uint64_t *ret_kv_bytes, uint64_t *ret_scratch_bytes);
