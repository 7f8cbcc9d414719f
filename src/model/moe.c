/*
 * Mixture of experts: x += sum over the chosen experts e of weight_e * ffn_e(u).
 *
 *     score = sigmoid(router u)                       F32
 *     chosen = the k largest of score + bias          ties to the lowest id
 *     weight = score of the chosen / (their sum + 1e-6)
 *
 * (The bias ranks only. Source: Lfm2MoeSparseMoeBlock in Hugging Face transformers.)
 *
 * A (token, choice) pair is a slot. Slots are grouped by expert, so that an expert's
 * matrices are read once for all its tokens; a group starts at a multiple of
 * SL_SLOT_ALIGN rows, so that each group is a matrix of activations of its own. The
 * outputs lie in their slots until every expert is done, and are then added per token
 * in router order: the sum does not depend on the order of computing.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "model/forward.h"

#define WEIGHT_SUM_EPS 1e-6f

struct routing {
    uint32_t *experts; /* [n_tok][n_used], best first */
    float *weights;
    float *margin; /* [n_tok] */
};

static struct routing routing_of(const struct sl_step *s, uint32_t layer)
{
    size_t i = (size_t)(layer - s->hp->n_dense) * s->n_chunk;

    return (struct routing){
        .experts = s->routes + i * s->hp->n_experts_used,
        .weights = s->route_weights + i * s->hp->n_experts_used,
        .margin = s->route_margin + i,
    };
}

/* The best expert that is not among the n chosen ones. NaN scores lose to all numbers. */
static uint32_t best_left(const float *score, const float *bias, uint32_t n_experts,
                          const uint32_t *chosen, uint32_t n)
{
    uint32_t best = UINT32_MAX;
    float best_rank = 0;

    for (uint32_t e = 0; e < n_experts; e++) {
        float rank = score[e] + bias[e];
        uint32_t i = 0;

        if (best != UINT32_MAX && !(rank > best_rank) && !(isnan(best_rank) && !isnan(rank)))
            continue;
        while (i < n && chosen[i] != e)
            i++;
        if (i < n)
            continue;
        best = e;
        best_rank = rank;
    }
    return best;
}

static void choose(const struct sl_step *s, const float *bias, const float *score,
                   struct routing *ro, uint32_t t)
{
    uint32_t k = s->hp->n_experts_used, n_experts = s->hp->n_experts;
    uint32_t *experts = ro->experts + (size_t)t * k;
    float *weights = ro->weights + (size_t)t * k;
    float sum = 0;

    for (uint32_t i = 0; i < k; i++) {
        experts[i] = best_left(score, bias, n_experts, experts, i);
        weights[i] = score[experts[i]];
        sum += weights[i];
    }
    for (uint32_t i = 0; i < k; i++)
        weights[i] /= sum + WEIGHT_SUM_EPS;
    ro->margin[t] = 1;
    if (k < n_experts) {
        uint32_t last = experts[k - 1];
        uint32_t next = best_left(score, bias, n_experts, experts, k);

        ro->margin[t] = score[last] + bias[last] - (score[next] + bias[next]);
    }
}

static void route(struct sl_worker *w, uint32_t layer, const struct sl_acts *acts)
{
    struct sl_step *s = w->step;
    const struct sl_layer *l = &s->weights->layers[layer];
    uint32_t n_experts = s->hp->n_experts;
    struct sl_job job = sl_job_for(&l->router, acts, s->router, n_experts);
    struct routing ro = routing_of(s, layer);

    sl_jobs_run(w, &job, 1);
    sl_step_barrier(w);
    for (uint32_t t = w->tok_begin; t < w->tok_end; t++) {
        float *score = s->router + (size_t)t * n_experts;

        s->kernels->sigmoid(score, score, n_experts);
        choose(s, l->expert_bias, score, &ro, t);
    }
    sl_step_barrier(w);
}

/* Group the slots by expert. Leader only. */
static void group(struct sl_step *s, const struct routing *ro)
{
    struct sl_moe_plan *moe = &s->moe;
    uint32_t n_choices = s->n_tok * s->hp->n_experts_used;
    uint32_t *n_slots_of = moe->active_of; /* counts first, then indexes */
    uint32_t first = 0;

    memset(n_slots_of, 0, sizeof(*n_slots_of) * s->hp->n_experts);
    for (uint32_t i = 0; i < n_choices; i++)
        n_slots_of[ro->experts[i]]++;
    moe->n_active = 0;
    for (uint32_t e = 0; e < s->hp->n_experts; e++) {
        uint32_t n = n_slots_of[e], a = moe->n_active;

        if (n == 0)
            continue;
        moe->experts[a] = e;
        moe->n_slots[a] = n;
        moe->first_slot[a] = first;
        moe->active_of[e] = a;
        moe->n_active++;
        first += (n + SL_SLOT_ALIGN - 1) / SL_SLOT_ALIGN * SL_SLOT_ALIGN;
    }
    memset(moe->n_slots, 0, sizeof(*moe->n_slots) * moe->n_active);
    for (uint32_t i = 0; i < n_choices; i++) {
        uint32_t a = moe->active_of[ro->experts[i]];

        moe->slot_of[i] = moe->first_slot[a] + moe->n_slots[a]++;
    }
}

/* Fetch the experts' matrices and lay out each group's activations. Leader only. */
static void open_experts(struct sl_step *s, uint32_t layer)
{
    const struct sl_layer *l = &s->weights->layers[layer];
    struct sl_moe_plan *moe = &s->moe;
    uint32_t in_kinds = sl_step_kind_bit(&l->gate) | sl_step_kind_bit(&l->up);
    uint32_t down_kind = sl_step_kind_bit(&l->down);
    uint32_t n_rows = 0, ff = l->gate.n_rows;
    struct sl_acts in, hidden;

    for (uint32_t a = 0; a < moe->n_active; a++)
        n_rows = moe->first_slot[a] + moe->n_slots[a];
    n_rows = (n_rows + SL_SLOT_ALIGN - 1) / SL_SLOT_ALIGN * SL_SLOT_ALIGN;
    sl_acts_init(&in, in_kinds, n_rows, s->hp->width, s->slot_buf[SL_ACT_F32], s->slot_buf);
    sl_acts_init(&hidden, down_kind, n_rows, ff, s->gate, s->act_buf);
    sl_cache_request(s->cache, layer, moe->experts, moe->n_active, moe->tickets);
    for (uint32_t a = 0; a < moe->n_active; a++) {
        const struct sl_ticket *ticket = &moe->tickets[a];
        size_t row = moe->first_slot[a];

        sl_acts_slice(&moe->in[a], &in, in_kinds, moe->first_slot[a], moe->n_slots[a]);
        sl_acts_slice(&moe->hidden[a], &hidden, down_kind, moe->first_slot[a], moe->n_slots[a]);
        moe->jobs[2 * a] = sl_job_for(&ticket->gate, &moe->in[a], s->gate + row * ff, ff);
        moe->jobs[2 * a + 1] = sl_job_for(&ticket->up, &moe->in[a], s->up + row * ff, ff);
        s->weight_bytes += ticket->gate.row_bytes * ff + ticket->up.row_bytes * ff +
                           ticket->down.row_bytes * ticket->down.n_rows;
    }
}

/* Give every group the activations of its tokens: the worker's own tokens. */
static void gather(struct sl_worker *w, uint32_t layer, const struct routing *ro,
                   const struct sl_acts *acts)
{
    struct sl_step *s = w->step;
    struct sl_moe_plan *moe = &s->moe;
    const struct sl_layer *l = &s->weights->layers[layer];
    uint32_t kinds = sl_step_kind_bit(&l->gate) | sl_step_kind_bit(&l->up);
    uint32_t n_used = s->hp->n_experts_used;

    for (uint32_t i = w->tok_begin * n_used; i < w->tok_end * n_used; i++) {
        uint32_t a = moe->active_of[ro->experts[i]];

        for (int k = 0; k < SL_ACT_KINDS; k++)
            if (kinds & 1u << k)
                sl_act_copy_tok(&moe->in[a].kind[k], moe->slot_of[i] - moe->first_slot[a],
                                &acts->kind[k], i / n_used);
    }
}

/* silu(gate) * up of each slot, quantised: all slots, shared out evenly. */
static void activate(struct sl_worker *w, uint32_t layer, const struct routing *ro)
{
    struct sl_step *s = w->step;
    struct sl_moe_plan *moe = &s->moe;
    const struct sl_layer *l = &s->weights->layers[layer];
    size_t ff = l->gate.n_rows;
    uint64_t begin, end;

    sl_pool_share((uint64_t)s->n_tok * s->hp->n_experts_used, 1, w->index, w->n, &begin, &end);
    for (uint64_t i = begin; i < end; i++) {
        uint32_t a = moe->active_of[ro->experts[i]];
        float *gate = s->gate + moe->slot_of[i] * ff;

        s->kernels->silu_mul(gate, gate, s->up + moe->slot_of[i] * ff, ff);
        sl_acts_quantize(s->kernels, &moe->hidden[a], sl_step_kind_bit(&l->down),
                         moe->slot_of[i] - moe->first_slot[a], gate);
    }
}

static void plan_down(struct sl_step *s)
{
    struct sl_moe_plan *moe = &s->moe;
    size_t width = s->hp->width;

    for (uint32_t a = 0; a < moe->n_active; a++)
        moe->jobs[a] = sl_job_for(&moe->tickets[a].down, &moe->hidden[a],
                                  s->y + moe->first_slot[a] * width, width);
}

/* Add the weighted outputs to the worker's own tokens, in router order. */
static void combine(struct sl_worker *w, const struct routing *ro)
{
    struct sl_step *s = w->step;
    uint32_t n_used = s->hp->n_experts_used;
    size_t width = s->hp->width;
    const float *y[SL_EXPERTS_USED_MAX];

    for (uint32_t t = w->tok_begin; t < w->tok_end; t++) {
        for (uint32_t i = 0; i < n_used; i++)
            y[i] = s->y + s->moe.slot_of[t * n_used + i] * width;
        s->kernels->add_weighted(s->x + t * width, y, ro->weights + (size_t)t * n_used, n_used,
                                 width);
    }
}

void sl_moe_forward(struct sl_worker *w, uint32_t layer)
{
    struct sl_step *s = w->step;
    const struct sl_layer *l = &s->weights->layers[layer];
    struct routing ro = routing_of(s, layer);
    struct sl_acts acts;

    sl_forward_norm(w, l->ffn_norm, &acts,
                    sl_step_kind_bit(&l->router) | sl_step_kind_bit(&l->gate) |
                        sl_step_kind_bit(&l->up));
    route(w, layer, &acts);
    if (w->index == 0) {
        group(s, &ro);
        open_experts(s, layer);
    }
    sl_step_barrier(w);
    gather(w, layer, &ro, &acts);
    sl_step_barrier(w);
    sl_jobs_run(w, s->moe.jobs, 2 * s->moe.n_active);
    sl_step_barrier(w);
    activate(w, layer, &ro);
    if (w->index == 0)
        plan_down(s);
    sl_step_barrier(w);
    sl_jobs_run(w, s->moe.jobs, s->moe.n_active);
    sl_step_barrier(w);
    combine(w, &ro);
    if (w->index == 0)
        sl_cache_release(s->cache, s->moe.tickets, s->moe.n_active);
}
