/*
 * The model:
 *
 *     x = embedding row
 *     per layer:  x += operator(norm(x))     short convolution or attention
 *                 x += ffn(norm(x))          dense or mixture of experts
 *     logits = output matrix * norm(x)
 *
 * Every worker runs all of it. Between barriers a worker touches the rows of its own
 * tokens, or items of a shared list of matrix rows, and nothing else.
 */
#include "model/forward.h"

#include <math.h>
#include <string.h>

static void embed(struct sl_worker *w)
{
    struct sl_step *s = w->step;
    uint32_t half = s->hp->head_dim / 2;

    for (uint32_t t = w->tok_begin; t < w->tok_end; t++) {
        sl_dequant_row(s->x + (size_t)t * s->hp->width, &w->weights->embed,
                       (uint32_t)s->tokens[t]);
        for (uint32_t i = 0; i < half; i++) {
            double angle = s->pos[t] * s->rope_freq[i];

            s->cos[(size_t)t * half + i] = (float)cos(angle);
            s->sin[(size_t)t * half + i] = (float)sin(angle);
        }
    }
}

void sl_forward_norm(struct sl_worker *w, const float *norm, struct sl_acts *ret_acts,
                     uint32_t kinds)
{
    struct sl_step *s = w->step;
    size_t width = s->hp->width;

    sl_acts_init(ret_acts, kinds, s->n_tok, s->hp->width, s->u, s->act_buf);
    for (uint32_t t = w->tok_begin; t < w->tok_end; t++) {
        float *row = s->u + t * width;

        s->kernels->rms_norm(row, s->x + t * width, norm, width, s->hp->norm_eps);
        sl_acts_quantize(s->kernels, ret_acts, kinds, t, row);
    }
    sl_step_barrier(w);
}

struct sl_next sl_forward_operator(const struct sl_worker *w, uint32_t layer)
{
    const struct sl_hparams *hp = w->step->hp;
    const struct sl_layer *l = &w->weights->layers[layer];

    if (layer == hp->n_layers)
        return (struct sl_next){ &w->weights->output, w->weights->output.n_rows };
    if (hp->n_heads_kv[layer])
        return (struct sl_next){ &l->q, l->q.n_rows + l->k.n_rows + l->v.n_rows };
    return (struct sl_next){ &l->in_proj, l->in_proj.n_rows };
}

struct sl_next sl_forward_ffn(const struct sl_worker *w, uint32_t layer)
{
    const struct sl_layer *l = &w->weights->layers[layer];

    if (layer < w->step->hp->n_dense)
        return (struct sl_next){ &l->gate, l->gate.n_rows + l->up.n_rows };
    return (struct sl_next){ &l->router, l->router.n_rows };
}

void sl_forward_project(struct sl_worker *w, const struct sl_tensor *proj,
                        const struct sl_acts *acts, struct sl_next next)
{
    struct sl_step *s = w->step;
    size_t width = s->hp->width;
    struct sl_job job = sl_job_for(proj, acts, s->y, width);

    sl_jobs_run(w, &job, 1);
    sl_step_expect(w, next);
    sl_step_barrier(w);
    for (uint32_t t = w->tok_begin; t < w->tok_end; t++)
        s->kernels->add(s->x + t * width, s->y + t * width, width);
}

/* Logits of the tokens in out_tok. */
static void output(struct sl_worker *w)
{
    struct sl_step *s = w->step;
    uint32_t kinds = sl_step_kind_bit(&s->weights->output);
    size_t width = s->hp->width;
    struct sl_acts acts;
    struct sl_job job;

    if (s->n_out == 0)
        return;
    sl_step_barrier(w); /* the rows of x are spread over the workers */
    sl_acts_init(&acts, kinds, s->n_out, s->hp->width, s->u, s->act_buf);
    for (uint32_t i = w->index; i < s->n_out; i += w->n) {
        float *row = s->u + i * width;

        s->kernels->rms_norm(row, s->x + s->out_tok[i] * width, s->weights->final_norm, width,
                             s->hp->norm_eps);
        sl_acts_quantize(s->kernels, &acts, kinds, i, row);
    }
    sl_step_barrier(w);
    job = sl_job_for(&w->weights->output, &acts, s->logits, s->weights->n_vocab);
    sl_jobs_run(w, &job, 1);
}

/* The first workers have one each if there are not enough for all: what is decided about a
 * single token is decided by the leader, who also acts upon it. */
static void share_tokens(struct sl_worker *w)
{
    uint32_t n_tok = w->step->n_tok;
    uint64_t begin, end;

    sl_pool_share(n_tok > w->n ? n_tok : w->n, 1, w->index, w->n, &begin, &end);
    w->tok_begin = begin < n_tok ? (uint32_t)begin : n_tok;
    w->tok_end = end < n_tok ? (uint32_t)end : n_tok;
}

static void forward(void *arg, uint32_t index, uint32_t n_workers)
{
    struct sl_step *s = arg;
    struct sl_worker w = { .step = s, .index = index, .n = n_workers,
                           .weights = s->of_worker ? s->of_worker[index] : s->weights,
                           .group = sl_pool_group_of(s->pool, index),
                           .buf = s->worker_buf[index] };
    int r;

    share_tokens(&w);
    if (s->layer == 0)
        embed(&w);
    for (uint32_t layer = s->layer; layer < s->layer_end; layer++) {
        if (s->hp->n_heads_kv[layer])
            sl_attn_forward(&w, layer);
        else
            sl_conv_forward(&w, layer);
        if (layer < s->hp->n_dense) {
            sl_dense_forward(&w, layer);
            continue;
        }
        r = sl_moe_forward(&w, layer);
        if (r < 0) { /* the same for every worker */
            if (index == 0)
                s->error = r;
            return;
        }
    }
    if (s->layer_end == s->hp->n_layers)
        output(&w);
}

int sl_forward_run(struct sl_step *step, uint32_t layer_end)
{
    if (step->layer == 0)
        step->weight_bytes = 0;
    step->error = 0;
    step->layer_end = layer_end;
    sl_pool_run(step->pool, forward, step);
    step->layer = layer_end;
    return step->error;
}
