/*
 * Gated short convolution (the operator of most layers):
 *
 *     [b; c; x] = in_proj u      z_t = b_t * x_t
 *     v_t = sum over taps j of taps[j] * z_(t - n_taps + 1 + j)
 *     y_t = out_proj (c_t * v_t)
 *
 * elementwise over channels; z before the sequence's start is zero. The z of earlier
 * tokens come from the step itself, or from the sequence's ring. A worker that starts
 * in the middle of a run multiplies the few z before its first token itself: they are
 * plain products, so they are the same bits whoever makes them.
 */
#include <assert.h>
#include <string.h>

#include "model/forward.h"

/* z of position pos0 + i of a run, for a worker whose tokens begin at run index
 * own_begin; early holds the n_taps - 1 products before that. i may be negative. */
static const float *find_z(const struct sl_worker *w, const struct sl_run *run, uint32_t layer,
                           const float *zeros, const float *early, int64_t own_begin, int64_t i)
{
    const struct sl_step *s = w->step;
    size_t width = s->hp->width;
    const float *row;

    if (i >= own_begin)
        return s->z + (run->tok0 + (size_t)i) * width;
    if (i >= 0)
        return early + (size_t)(i - (own_begin - (s->hp->n_taps - 1))) * width;
    row = sl_timeline_ring(s->timeline, run->seq, layer, run->pos0 + i);
    return row ? row : zeros;
}

/* z of the tokens of the run just before own_begin, which other workers own. */
static void early_products(const struct sl_worker *w, const struct sl_run *run,
                           int64_t own_begin, float *early)
{
    const struct sl_step *s = w->step;
    size_t width = s->hp->width;
    int64_t n_hist = s->hp->n_taps - 1;

    for (int64_t i = own_begin < n_hist ? 0 : own_begin - n_hist; i < own_begin; i++) {
        const float *b = s->mix + (run->tok0 + (size_t)i) * 3 * width;
        const float *x = b + 2 * width;
        float *z = early + (size_t)(i - (own_begin - n_hist)) * width;

        for (size_t c = 0; c < width; c++)
            z[c] = b[c] * x[c];
    }
}

static void convolve_run(struct sl_worker *w, const struct sl_run *run, uint32_t layer)
{
    struct sl_step *s = w->step;
    size_t width = s->hp->width;
    uint32_t n_hist = s->hp->n_taps - 1;
    const float *hist[SL_TAPS_MAX];
    uint32_t begin = w->tok_begin > run->tok0 ? w->tok_begin - run->tok0 : 0;
    uint32_t end = w->tok_end > run->tok0 ? w->tok_end - run->tok0 : 0;

    end = end < run->n_tok ? end : run->n_tok;
    if (begin >= end)
        return;
    early_products(w, run, begin, w->buf);
    for (uint32_t i = begin; i < end; i++) {
        size_t t = run->tok0 + i;

        for (uint32_t j = 0; j < n_hist; j++)
            hist[j] = find_z(w, run, layer, s->zeros, w->buf, begin, (int64_t)i - n_hist + j);
        s->kernels->short_conv(s->op + t * width, s->z + t * width, s->mix + t * 3 * width,
                               s->weights->layers[layer].taps, hist, s->hp->n_taps, width);
    }
}

/* The inputs before position at, which the run reaches, as a snapshot has them. */
static void take_snapshot(const struct sl_step *s, const struct sl_run *run, uint32_t layer,
                          uint64_t at, float *rows)
{
    size_t width = s->hp->width;
    uint32_t n_hist = s->hp->n_taps - 1;

    for (uint32_t j = 0; j < n_hist; j++) {
        int64_t pos = (int64_t)at - n_hist + j;
        const float *z = pos >= run->pos0
                             ? s->z + (run->tok0 + (size_t)(pos - run->pos0)) * width
                             : sl_timeline_ring(s->timeline, run->seq, layer, pos);

        memcpy(rows + j * width, z ? z : s->zeros, width * sizeof(float));
    }
}

/* Keep what later tokens need: snapshots at the block ends and marks inside the run, then
 * the run's last inputs in the ring. In this order, because a snapshot may still need what
 * the ring is about to lose. */
static void remember_run(const struct sl_step *s, const struct sl_run *run, uint32_t layer)
{
    size_t width = s->hp->width, row_bytes = width * sizeof(float);
    const struct sl_timeline *tl = s->timeline;
    const uint32_t *marks = tl->seqs[run->seq].marks;
    uint32_t ring_len = tl->ring_len;
    uint64_t end = (uint64_t)run->pos0 + run->n_tok;
    uint32_t n_kept = run->n_tok < ring_len ? run->n_tok : ring_len;

    for (uint64_t at = (run->pos0 / SL_KV_BLOCK_TOK + 1) * (uint64_t)SL_KV_BLOCK_TOK; at <= end;
         at += SL_KV_BLOCK_TOK)
        take_snapshot(s, run, layer, at,
                      sl_timeline_snapshot(tl, run->seq, layer,
                                           (uint32_t)(at / SL_KV_BLOCK_TOK - 1)));
    for (uint32_t i = 0; i < tl->opts.n_marks; i++)
        if (marks[i] > run->pos0 && marks[i] <= end)
            take_snapshot(s, run, layer, marks[i], sl_timeline_mark_rows(tl, run->seq, layer, i));
    for (uint32_t i = run->n_tok - n_kept; i < run->n_tok; i++)
        memcpy(sl_timeline_ring(tl, run->seq, layer, (int64_t)run->pos0 + i),
               s->z + (run->tok0 + (size_t)i) * width, row_bytes);
}

void sl_conv_forward(struct sl_worker *w, uint32_t layer)
{
    struct sl_step *s = w->step;
    const struct sl_layer *l = &w->weights->layers[layer];
    size_t width = s->hp->width;
    uint32_t out_kind = sl_step_kind_bit(&l->out_proj);
    struct sl_acts acts;
    struct sl_job job;

    sl_forward_norm(w, l->op_norm, &acts, sl_step_kind_bit(&l->in_proj));
    job = sl_job_for(&l->in_proj, &acts, s->mix, 3 * width);
    sl_jobs_run(w, &job, 1);
    sl_step_expect(w, (struct sl_next){ &l->out_proj, l->out_proj.n_rows });
    sl_step_barrier(w);

    for (uint32_t i = 0; i < s->n_runs; i++)
        convolve_run(w, &s->runs[i], layer);
    sl_acts_init(&acts, out_kind, s->n_tok, s->hp->width, s->op, s->act_buf);
    for (uint32_t t = w->tok_begin; t < w->tok_end; t++)
        sl_acts_quantize(s->kernels, &acts, out_kind, t, s->op + t * width);
    sl_step_barrier(w);

    if (w->index == 0)
        for (uint32_t i = 0; i < s->n_runs; i++)
            remember_run(s, &s->runs[i], layer);
    sl_forward_project(w, &l->out_proj, &acts, sl_forward_ffn(w, layer));
}
