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
 *
 * Experts are computed in rounds, as their matrices are there: a round multiplies gate
 * and up of some experts and down of those that the rounds before have prepared. With
 * everything in memory that is two rounds; otherwise what is in memory is computed while
 * the rest is being read.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "model/forward.h"

#define WEIGHT_SUM_EPS 1e-6f
/* How many layers ahead experts are guessed. */
#define AHEAD 3u
/* With fewer misses than this share of requests guesses cost more than they save. */
#define MISS_SHARE_MIN 0.002f
/* Of a step with many tokens so many are shown to the eviction. */
#define OBSERVED_TOK 16u

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

/* Prepare the next layers' routers for the state before this layer's experts: known
 * early, and changed little by them. Leader only. */
static void plan_guesses(struct sl_step *s, uint32_t layer)
{
    struct sl_moe_plan *moe = &s->moe;
    size_t width = s->hp->width;

    moe->n_ahead = 0;
    if (!s->predict || s->n_tok > 1 || sl_cache_miss_share(s->cache) < MISS_SHARE_MIN)
        return;
    for (uint32_t d = 1; d <= AHEAD && layer + d < s->hp->n_layers; d++) {
        const struct sl_tensor *router = &s->ahead->routers[layer + d];
        uint32_t kinds = sl_step_kind_bit(router);
        float *u = moe->ahead_u + (d - 1) * width;
        struct sl_acts *in = &moe->ahead_in[d - 1];
        void *const bufs[SL_ACT_KINDS] = { NULL, moe->ahead_buf[d - 1], moe->ahead_buf[d - 1] };

        s->kernels->rms_norm(u, s->x, s->weights->layers[layer + d].ffn_norm, width,
                             s->hp->norm_eps);
        sl_acts_init(in, kinds, 1, s->hp->width, u, bufs);
        sl_acts_quantize(s->kernels, in, kinds, 0, u);
        moe->ahead_jobs[d - 1] = sl_job_for(
            router, in, moe->ahead_scores + (d - 1) * s->hp->n_experts, s->hp->n_experts);
        moe->n_ahead = d;
    }
}

/* Choose the experts of tokens [begin, end). */
static void choose_all(const struct sl_step *s, const float *bias, struct routing *ro,
                       uint32_t begin, uint32_t end)
{
    uint32_t n_experts = s->hp->n_experts;

    for (uint32_t t = begin; t < end; t++) {
        float *score = s->router + (size_t)t * n_experts;

        s->kernels->sigmoid(score, score, n_experts);
        choose(s, bias, score, ro, t);
    }
}

/* Meanwhile the leader prepares guessing: the router has too few rows for many. A single
 * token's experts the leader alone knows afterwards. */
static void route(struct sl_worker *w, uint32_t layer, const struct sl_acts *acts)
{
    struct sl_step *s = w->step;
    const struct sl_layer *l = &w->weights->layers[layer];
    struct sl_job job = sl_job_for(&l->router, acts, s->router, s->hp->n_experts);
    struct routing ro = routing_of(s, layer);

    if (w->index == 0)
        plan_guesses(s, layer);
    sl_jobs_run(w, &job, 1);
    sl_step_expect(w, (struct sl_next){ 0 });
    sl_step_barrier(w);
    choose_all(s, l->expert_bias, &ro, w->tok_begin, w->tok_end);
    if (s->n_tok > 1)
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

/* Ask for the experts and lay out each group's activations. Leader only. */
static void open_experts(struct sl_step *s, uint32_t layer)
{
    const struct sl_layer *l = &s->weights->layers[layer];
    struct sl_moe_plan *moe = &s->moe;
    uint32_t in_kinds = sl_step_kind_bit(&l->gate) | sl_step_kind_bit(&l->up);
    uint32_t down_kind = sl_step_kind_bit(&l->down);
    uint32_t n_rows = 0, ff = l->gate.n_rows;
    struct sl_acts in, hidden;

    sl_cache_request(s->cache, layer, moe->experts, moe->n_active, moe->tickets);
    for (uint32_t a = 0; a < moe->n_active; a++)
        n_rows = moe->first_slot[a] + moe->n_slots[a];
    n_rows = (n_rows + SL_SLOT_ALIGN - 1) / SL_SLOT_ALIGN * SL_SLOT_ALIGN;
    sl_acts_init(&in, in_kinds, n_rows, s->hp->width, s->slot_buf[SL_ACT_F32], s->slot_buf);
    sl_acts_init(&hidden, down_kind, n_rows, ff, s->gate, s->act_buf);
    for (uint32_t a = 0; a < moe->n_active; a++) {
        moe->stage[a] = SL_MOE_WAITING;
        sl_acts_slice(&moe->in[a], &in, in_kinds, moe->first_slot[a], moe->n_slots[a]);
        sl_acts_slice(&moe->hidden[a], &hidden, down_kind, moe->first_slot[a], moe->n_slots[a]);
    }
    moe->n_done = 0;
    moe->is_guessed = false;
    s->weight_bytes += moe->n_active *
                       (sl_tensor_mat_bytes(&l->gate) + sl_tensor_mat_bytes(&l->up) +
                        sl_tensor_mat_bytes(&l->down));
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

/* silu(gate) * up of the round's slots, quantised: all rows, shared out evenly. */
static void activate(struct sl_worker *w, uint32_t layer, const struct sl_moe_round *round)
{
    struct sl_step *s = w->step;
    struct sl_moe_plan *moe = &s->moe;
    const struct sl_layer *l = &s->weights->layers[layer];
    size_t ff = l->gate.n_rows;
    uint64_t begin, end, row = 0;

    sl_pool_share(round->n_rows, 1, w->index, w->n, &begin, &end);
    for (uint32_t i = 0; i < round->n_open; i++) {
        uint32_t a = round->open[i];

        for (uint32_t j = 0; j < moe->n_slots[a]; j++, row++) {
            float *gate = s->gate + (moe->first_slot[a] + j) * ff;

            if (row < begin || row >= end)
                continue;
            s->kernels->silu_mul(gate, gate, s->up + (moe->first_slot[a] + j) * ff, ff);
            sl_acts_quantize(s->kernels, &moe->hidden[a], sl_step_kind_bit(&l->down), j, gate);
        }
    }
}

/* The next round, if it is down of all experts. */
static struct sl_next down_of_all(const struct sl_step *s)
{
    const struct sl_ticket *t = &s->moe.tickets[0];

    if (!(t->parts & 1u << SL_PART_DOWN))
        return (struct sl_next){ 0 };
    return (struct sl_next){ &t->mats[SL_PART_DOWN],
                             s->moe.n_active * t->mats[SL_PART_DOWN].n_rows };
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

/* Take expert a's matrices into the round as far as they are in memory. */
static void add_to_round(struct sl_step *s, struct sl_moe_round *round, uint32_t a)
{
    struct sl_moe_plan *moe = &s->moe;
    const struct sl_ticket *t = &moe->tickets[a];
    size_t row = moe->first_slot[a], width = s->hp->width, ff = t->mats[SL_PART_GATE].n_rows;
    uint32_t used = 0;

    if (moe->stage[a] == SL_MOE_WAITING && (t->parts & SL_PARTS_GATE_UP) == SL_PARTS_GATE_UP) {
        used = SL_PARTS_GATE_UP;
        round->jobs[round->n_jobs++] =
            sl_job_for(&t->mats[SL_PART_GATE], &moe->in[a], s->gate + row * ff, ff);
        round->jobs[round->n_jobs++] =
            sl_job_for(&t->mats[SL_PART_UP], &moe->in[a], s->up + row * ff, ff);
        round->open[round->n_open++] = a;
        round->n_rows += moe->n_slots[a];
        moe->stage[a] = SL_MOE_OPENED;
    } else if (moe->stage[a] == SL_MOE_OPENED && t->parts & 1u << SL_PART_DOWN) {
        used = 1u << SL_PART_DOWN;
        round->jobs[round->n_jobs++] =
            sl_job_for(&t->mats[SL_PART_DOWN], &moe->hidden[a], s->y + row * width, width);
        moe->stage[a] = SL_MOE_CLOSING;
        moe->n_done++;
    }
    for (uint32_t p = 0; p < SL_PART_COUNT; p++)
        if (t->unchecked & used & 1u << p)
            round->checks[round->n_checks++] = (struct sl_moe_check){ a, (enum sl_part)p, 0 };
}

static void clear_round(struct sl_moe_round *round)
{
    round->n_jobs = round->n_open = round->n_rows = round->n_checks = 0;
    round->error = 0;
}

/* What the routers chose, for eviction: of a long prompt its last tokens, which are
 * the nearest to what comes next. Leader only. */
static void observe(struct sl_step *s, uint32_t layer, const struct routing *ro)
{
    uint32_t k = s->hp->n_experts_used;
    uint32_t first = s->n_tok < OBSERVED_TOK ? 0 : s->n_tok - OBSERVED_TOK;

    for (uint32_t t = first; t < s->n_tok; t++) {
        const uint32_t *experts = ro->experts + (size_t)t * k;

        sl_evict_rank(s->router + (size_t)t * s->hp->n_experts,
                      s->weights->layers[layer].expert_bias, s->hp->n_experts, experts, k,
                      s->moe.ranks);
        sl_cache_observe(s->cache, layer, experts, k, s->moe.ranks);
    }
    if (s->n_tok == 1 && s->predict)
        sl_predict_learn(s->predict, layer, ro->experts, k);
}

/* The routers of the next layers have been computed. Leader only. */
static void guess(struct sl_step *s, uint32_t layer)
{
    struct sl_moe_plan *moe = &s->moe;
    uint32_t n_experts = s->hp->n_experts;

    for (uint32_t d = 1; d <= moe->n_ahead; d++) {
        float *scores = moe->ahead_scores + (size_t)(d - 1) * n_experts;
        uint32_t n;

        s->kernels->sigmoid(scores, scores, n_experts);
        n = sl_predict_guess(s->predict, layer + d, d, scores,
                             s->weights->layers[layer + d].expert_bias,
                             sl_cache_chances(s->cache, layer + d), moe->guesses,
                             SL_PREDICT_RANKS_MAX);
        sl_cache_hint(s->cache, moe->guesses, n);
    }
}

/* What the recorded run asked for at the same place, and in the next layers: beyond the
 * last one those of the next step. */
static void guess_replayed(struct sl_step *s, uint32_t layer)
{
    struct sl_guess *guesses = s->moe.guesses;

    for (uint32_t d = 1; d <= SL_PREDICT_AHEAD_MAX; d++) {
        uint32_t n_moe = s->hp->n_layers - s->hp->n_dense;
        uint32_t at = layer - s->hp->n_dense + d;
        uint32_t target = s->hp->n_dense + at % n_moe;
        const uint16_t *experts;
        uint32_t n = sl_trace_asks_get(s->replay, s->n_steps_before + at / n_moe, target, &experts);

        for (uint32_t i = 0; i < n; i++)
            guesses[i] = (struct sl_guess){ .layer = target, .expert = experts[i], .p = 1 };
        sl_cache_hint(s->cache, guesses, n);
    }
}

/* Of many tokens some will choose any expert: the next layer's are needed in order. */
static void guess_all(struct sl_step *s, uint32_t layer)
{
    uint32_t n_experts = s->hp->n_experts;
    float share = (float)s->hp->n_experts_used / (float)n_experts;
    float p = 1 - powf(1 - share, (float)s->n_tok);

    if (!s->predict || s->n_tok == 1 || layer + 1 == s->hp->n_layers)
        return;
    for (uint32_t e = 0; e < n_experts; e++)
        s->moe.guesses[e] = (struct sl_guess){ .layer = layer + 1, .expert = e, .p = p };
    sl_cache_hint(s->cache, s->moe.guesses, n_experts);
}

/* Matrices that must be checked or decoded before use: shared out one by one. Returns 0 or
 * the first error, the same to every worker. */
static int run_checks(struct sl_worker *w, struct sl_moe_round *round)
{
    struct sl_step *s = w->step;
    int r = 0;

    if (round->n_checks == 0)
        return 0;
    for (uint64_t i = sl_pool_take(s->pool, 1); i < round->n_checks; i = sl_pool_take(s->pool, 1))
        round->checks[i].result = sl_cache_check(
            s->cache, &s->moe.tickets[round->checks[i].active], round->checks[i].part);
    sl_step_barrier(w);
    for (uint32_t i = 0; i < round->n_checks; i++)
        r = r ? r : round->checks[i].result;
    return r;
}

/* What the round has settled: checks, and experts that are done with. Leader only. */
static void close_round(struct sl_step *s, const struct sl_moe_round *round)
{
    struct sl_moe_plan *moe = &s->moe;

    for (uint32_t i = 0; i < round->n_checks; i++)
        sl_cache_checked(s->cache, &moe->tickets[round->checks[i].active], round->checks[i].part,
                         round->checks[i].result);
    for (uint32_t a = 0; a < moe->n_active; a++)
        if (moe->stage[a] == SL_MOE_CLOSING) {
            sl_cache_release(s->cache, &moe->tickets[a]);
            moe->stage[a] = SL_MOE_DONE;
        }
}

/* The step has failed: let go of everything. Leader only. */
static void give_up(struct sl_step *s, const struct sl_moe_round *round)
{
    struct sl_moe_plan *moe = &s->moe;

    close_round(s, round);
    for (uint32_t a = 0; a < moe->n_active; a++)
        if (moe->tickets[a].is_open)
            sl_cache_release(s->cache, &moe->tickets[a]);
}

/* Guess the next layers' experts, unless that is done. Leader only. */
static void guess_once(struct sl_step *s, uint32_t layer)
{
    if (s->moe.is_guessed || !s->is_streaming)
        return;
    s->moe.is_guessed = true;
    guess(s, layer);
    guess_all(s, layer);
}

/*
 * What can be computed next: gate and up of experts that are there, down of those whose
 * hidden layer is done. Waits for reads if there is nothing. Leader only.
 */
static void next_round(struct sl_step *s, uint32_t layer, struct sl_moe_round *round)
{
    struct sl_moe_plan *moe = &s->moe;

    clear_round(round);
    for (;;) {
        for (uint32_t a = 0; a < moe->n_active; a++)
            add_to_round(s, round, a);
        if (round->n_jobs > 0 || round->error)
            break;
        guess_once(s, layer);
        round->error = sl_cache_wait(s->cache);
    }
    round->is_last = moe->n_done == moe->n_active;
}

int sl_moe_forward(struct sl_worker *w, uint32_t layer)
{
    struct sl_step *s = w->step;
    const struct sl_layer *l = &s->weights->layers[layer];
    struct routing ro = routing_of(s, layer);
    struct sl_moe_round *round = NULL;
    struct sl_acts acts;
    bool is_leader = w->index == 0;
    int r;

    sl_forward_norm(w, l->ffn_norm, &acts,
                    sl_step_kind_bit(&l->router) | sl_step_kind_bit(&l->gate) |
                        sl_step_kind_bit(&l->up));
    route(w, layer, &acts);
    if (is_leader) {
        group(s, &ro);
        open_experts(s, layer);
        if (s->replay)
            guess_replayed(s, layer);
    }
    sl_jobs_run(w, s->moe.ahead_jobs, s->moe.n_ahead);
    if (s->n_tok > 1 || s->moe.n_ahead > 0) /* a single token is the leader's, who knows */
        sl_step_barrier(w);
    gather(w, layer, &ro, &acts);
    if (is_leader)
        next_round(s, layer, &s->moe.rounds[0]);
    for (uint32_t i = 0; !round || !round->is_last; i++) {
        round = &s->moe.rounds[i % 2]; /* the leader writes the other one meanwhile */
        sl_step_barrier(w);
        r = round->error ? round->error : run_checks(w, round);
        if (r < 0) {
            if (is_leader)
                give_up(s, round);
            return r;
        }
        /* what only the cache waits for: the others take the leader's share of the jobs */
        if (is_leader && i == 0) {
            if (s->is_streaming) {
                guess_once(s, layer);
                observe(s, layer, &ro);
            }
            sl_cache_note(s->cache, layer, s->moe.experts, s->moe.n_slots, s->moe.n_active,
                          s->n_tok);
        }
        sl_jobs_run(w, round->jobs, round->n_jobs);
        sl_step_expect(w, round->is_last ? sl_forward_operator(w, layer + 1) : down_of_all(s));
        sl_step_barrier(w);
        activate(w, layer, round);
        if (is_leader)
            close_round(s, round);
        if (is_leader && !round->is_last)
            next_round(s, layer, &s->moe.rounds[(i + 1) % 2]);
    }
    combine(w, &ro);
    return 0;
}
