/*
 * The layout of a session's memory: sequences first, then the scratch of a step.
 * Measuring and taking are the same code, so a plan cannot differ from what is taken.
 */
#include "model/measure.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>

#define SEQS_DEFAULT 4u
#define CHUNK_DEFAULT 512u
#define CHUNK_MAX 2048u

int sl_session_fill_opts(struct sluice_session_opts *o, const struct sl_hparams *hp,
                         struct sl_diag *diag)
{
    uint32_t train = hp->n_ctx_train;

    if (o->n_ctx == 0)
        o->n_ctx = train < SL_CTX_DEFAULT_MAX ? train : SL_CTX_DEFAULT_MAX;
    if (o->n_ctx > train)
        return sl_diag_set(diag, -ERANGE, "context of %" PRIu32
                           " asked for, the model was made for at most %" PRIu32, o->n_ctx, train);
    if (o->n_seq_max == 0)
        o->n_seq_max = SEQS_DEFAULT;
    if (o->n_seq_max > SL_SEQS_MAX)
        return sl_diag_set(diag, -ERANGE, "%" PRIu32 " sequences asked for, at most %u are allowed",
                           o->n_seq_max, SL_SEQS_MAX);
    if (o->n_chunk == 0)
        o->n_chunk = o->n_ctx < CHUNK_DEFAULT ? o->n_ctx : CHUNK_DEFAULT;
    if (o->n_chunk > CHUNK_MAX)
        return sl_diag_set(diag, -ERANGE, "chunks of %" PRIu32
                           " tokens asked for, at most %u are allowed", o->n_chunk, CHUNK_MAX);
    if (o->n_logits == 0)
        o->n_logits = o->n_seq_max < o->n_chunk ? o->n_seq_max : o->n_chunk;
    if (o->n_logits > o->n_chunk)
        return sl_diag_set(diag, -ERANGE, "%" PRIu32
                           " rows of logits asked for, more than the chunk of %" PRIu32 " tokens",
                           o->n_logits, o->n_chunk);
    if (o->n_beside > o->n_chunk)
        return sl_diag_set(diag, -ERANGE, "%" PRIu32 " tokens beside a prefill asked for, more "
                           "than the chunk of %" PRIu32 " tokens", o->n_beside, o->n_chunk);
    if (o->n_marks > SL_MARKS_MAX)
        return sl_diag_set(diag, -ERANGE, "%" PRIu32 " marks of a sequence asked for, at most %u "
                           "are allowed", o->n_marks, SL_MARKS_MAX);
    if (o->kv > SLUICE_KV_Q8_0)
        return sl_diag_set(diag, -EINVAL, "unknown KV type");
    if (o->kv == SLUICE_KV_Q8_0 && hp->head_dim % 32)
        return sl_diag_set(diag, -ENOTSUP, "a q8_0 KV cache needs a head length that is a multiple "
                           "of 32, this model's is %" PRIu32 "; use f16", hp->head_dim);
    return 0;
}

static uint32_t kind_bits(const struct sl_weights *w, const struct sl_hparams *hp)
{
    uint32_t bits = sl_step_kind_bit(&w->output);

    for (uint32_t i = 0; i < hp->n_layers; i++) {
        const struct sl_layer *l = &w->layers[i];

        bits |= sl_step_kind_bit(&l->gate) | sl_step_kind_bit(&l->up) | sl_step_kind_bit(&l->down);
        if (i >= hp->n_dense)
            bits |= sl_step_kind_bit(&l->router);
        if (hp->n_heads_kv[i])
            bits |= sl_step_kind_bit(&l->q) | sl_step_kind_bit(&l->k) | sl_step_kind_bit(&l->v) |
                    sl_step_kind_bit(&l->o);
        else
            bits |= sl_step_kind_bit(&l->in_proj) | sl_step_kind_bit(&l->out_proj);
    }
    return bits;
}

static enum sl_kv_type kv_type_of(enum sluice_kv kv)
{
    return kv == SLUICE_KV_F32 ? SL_KV_F32 : kv == SLUICE_KV_Q8_0 ? SL_KV_Q8_0 : SL_KV_F16;
}

static void layout_step(struct sl_step *step, uint32_t n_chunk, uint32_t n_logits,
                        uint32_t n_workers, struct sl_arena *arena)
{
    step->n_chunk = n_chunk;
    step->n_logits = n_logits;
    step->weight_kinds = kind_bits(step->weights, step->hp);
    step->attn_scale = 1.0f / sqrtf((float)step->hp->head_dim);
    sl_step_layout(step, arena, n_workers);
}

uint64_t sl_session_layout(struct sl_step *step, struct sl_step *beside,
                           const struct sluice_session_opts *opts, uint32_t n_workers,
                           struct sl_arena *arena)
{
    const struct sl_hparams *hp = step->hp;
    const struct sl_timeline_opts timeline_opts = {
        .n_ctx = opts->n_ctx,
        .n_seqs = opts->n_seq_max,
        .n_marks = opts->n_marks,
        .kv_type = kv_type_of(opts->kv),
    };
    uint64_t kv_bytes;

    sl_timeline_layout(step->timeline, hp, &timeline_opts, arena);
    kv_bytes = arena->used;
    step->rope_freq = sl_arena_take(arena, sizeof(*step->rope_freq) * hp->head_dim / 2);
    layout_step(step, opts->n_chunk, opts->n_logits, n_workers, arena);
    if (opts->n_beside) {
        beside->rope_freq = step->rope_freq;
        layout_step(beside, opts->n_beside,
                    opts->n_logits < opts->n_beside ? opts->n_logits : opts->n_beside, n_workers,
                    arena);
    }
    return kv_bytes;
}

void sl_session_measure(const struct sl_hparams *hp, const struct sl_weights *weights,
                        const struct sluice_session_opts *opts, uint32_t n_workers,
                        uint64_t *ret_kv_bytes, uint64_t *ret_scratch_bytes)
{
    struct sl_arena arena = { 0 };
    struct sl_timeline timeline;
    struct sl_step step = { .hp = hp, .weights = weights, .timeline = &timeline };
    struct sl_step beside = step;

    *ret_kv_bytes = sl_session_layout(&step, &beside, opts, n_workers, &arena);
    *ret_scratch_bytes = arena.used - *ret_kv_bytes;
}
