/*
 * The step's memory and the sharing out of matrix products.
 *
 * Sharing: the rows of all jobs of a phase form one list of items. A worker begins with the
 * item of its own number, which it may have fetched while it waited for the phase to begin,
 * and then takes one after the other from the pool's counter. That balances by itself when
 * cores differ in speed or are taken away for a while, and cannot change results: an output
 * element is computed whole by whoever takes its row.
 *
 * With workers on more than one NUMA node each job's rows are first divided among the
 * nodes, in fixed shares by their workers' number, and then taken from the node's own
 * counter: one for all would travel between sockets for every item. (By arithmetic, not
 * measured: some 100 ns for each of more than a hundred items of a phase.)
 */
#include "model/step.h"

#include <assert.h>

#include "base/bytes.h"
#include "tensor/block.h"

/* Items per worker and phase: the last one to finish costs at most a sixteenth. */
#define ITEMS_PER_WORKER 16u
/* A multiple of the row tile of the kernels. */
#define ITEM_ROWS_MIN 32u
#define ITEM_ROWS_MAX 512u
/* Of its first item a worker fetches at most this: a fraction of its second cache. A phase
 * of few tokens waits for memory, one of many does not. */
#define FETCH_BYTES_MAX ((size_t)192 << 10)
#define FETCH_TOK_MAX 8u
#define FETCH_AT_ONCE ((size_t)512)
#define LINE_BYTES 64

void sl_acts_init(struct sl_acts *acts, uint32_t kinds, uint32_t n_tok, uint32_t n_cols,
                  float *f32, void *const buf[SL_ACT_KINDS])
{
    acts->kind[SL_ACT_F32] = (struct sl_act){ .n_tok = n_tok, .n_cols = n_cols, .f32 = f32 };
    for (int k = SL_ACT_F32 + 1; k < SL_ACT_KINDS; k++)
        if (kinds & 1u << k)
            sl_act_init(&acts->kind[k], (enum sl_act_kind)k, n_tok, n_cols, buf[k]);
}

void sl_acts_slice(struct sl_acts *ret, const struct sl_acts *acts, uint32_t kinds,
                   uint32_t first, uint32_t n_tok)
{
    assert(first % SL_SLOT_ALIGN == 0);
    for (int k = 0; k < SL_ACT_KINDS; k++) {
        const struct sl_act *from = &acts->kind[k];
        size_t block = k == SL_ACT_Q32 ? SL_BLOCK32 : SL_BLOCK256;

        if (!(kinds & 1u << k))
            continue;
        ret->kind[k] = *from;
        ret->kind[k].n_tok = n_tok;
        if (k == SL_ACT_F32) {
            ret->kind[k].f32 = from->f32 + (size_t)first * from->n_cols;
            continue;
        }
        ret->kind[k].q = from->q + (size_t)first * from->n_cols;
        ret->kind[k].d = from->d + (size_t)first * (from->n_cols / block);
        ret->kind[k].sums = from->sums + (size_t)first * (from->n_cols / 16);
    }
}

void sl_acts_quantize(const struct sl_kernels *k, struct sl_acts *acts, uint32_t kinds,
                      uint32_t t, const float *row)
{
    for (int i = SL_ACT_F32 + 1; i < SL_ACT_KINDS; i++)
        if (kinds & 1u << i)
            k->quantize(&acts->kind[i], t, row);
}

static uint32_t rows_per_item(uint64_t n_rows, uint32_t n_workers)
{
    uint64_t rows = sl_align_up(n_rows / (ITEMS_PER_WORKER * n_workers) + 1, ITEM_ROWS_MIN);
    return (uint32_t)(rows < ITEM_ROWS_MAX ? rows : ITEM_ROWS_MAX);
}

/* Rows [ret_begin, ret_end) of n are those of the worker's node. */
static void share_rows(const struct sl_worker *w, uint32_t n, uint32_t *ret_begin,
                       uint32_t *ret_end)
{
    uint64_t begin = 0, end = n;

    if (w->group.n_workers < w->n)
        sl_pool_share_span(n, ITEM_ROWS_MIN, w->group.first, w->group.n_workers, w->n, &begin,
                           &end);
    *ret_begin = (uint32_t)begin;
    *ret_end = (uint32_t)end;
}

void sl_step_expect(struct sl_worker *w, struct sl_next next)
{
    uint32_t n_per_item = rows_per_item(next.n_rows, w->n);
    uint32_t begin, end;
    size_t bytes;

    w->fetch = w->fetch_end = NULL;
    if (!next.first || w->step->n_tok > FETCH_TOK_MAX)
        return;
    share_rows(w, next.first->n_rows, &begin, &end);
    begin += w->group.rank * n_per_item;
    if (begin >= end) /* its first item is of another matrix */
        return;
    end = end - begin < n_per_item ? end : begin + n_per_item;
    bytes = (size_t)(end - begin) * next.first->row_bytes;
    w->fetch = (const char *)next.first->data + begin * next.first->row_bytes;
    w->fetch_end = w->fetch + (bytes < FETCH_BYTES_MAX ? bytes : FETCH_BYTES_MAX);
}

bool sl_step_fetch(void *worker)
{
    struct sl_worker *w = worker;

    for (size_t i = 0; i < FETCH_AT_ONCE; i += LINE_BYTES)
        __builtin_prefetch(w->fetch + i, 0, 2); /* beyond the end it may be anywhere */
    w->fetch += FETCH_AT_ONCE;
    return w->fetch < w->fetch_end;
}

static uint64_t next_item(const struct sl_worker *w)
{
    return w->group.n_workers + sl_pool_take_in(w->step->pool, w->group.index, 1);
}

void sl_jobs_run(struct sl_worker *w, const struct sl_job *jobs, uint32_t n_jobs)
{
    const struct sl_step *s = w->step;
    bool is_poller = w->index == 0 && s->is_streaming;
    uint64_t n_rows = 0;
    uint32_t n_per_item;
    uint64_t first_item = 0; /* of the job at hand */
    uint64_t item = w->group.rank;

    for (uint32_t i = 0; i < n_jobs; i++)
        n_rows += jobs[i].w.n_rows;
    n_per_item = rows_per_item(n_rows, w->n);
    for (uint32_t i = 0; i < n_jobs; i++) {
        const struct sl_job *job = &jobs[i];
        uint32_t begin, end;
        uint64_t n_items;

        share_rows(w, job->w.n_rows, &begin, &end);
        n_items = (end - begin + n_per_item - 1) / n_per_item;
        for (; item < first_item + n_items; item = next_item(w)) {
            uint32_t row = begin + (uint32_t)(item - first_item) * n_per_item;
            uint32_t n_left = end - row;

            sl_matmul(s->kernels, job->out + row, job->out_stride, &job->w, row,
                      n_left < n_per_item ? n_left : n_per_item, job->x);
            if (is_poller)
                sl_cache_poll(s->cache);
        }
        first_item += n_items;
    }
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Slots of a full chunk, with the padding that sl_acts_slice needs. */
static size_t slots_max(const struct sl_step *s)
{
    size_t n_slots = (size_t)s->n_chunk * s->hp->n_experts_used;
    size_t n_groups = n_slots < s->hp->n_experts ? n_slots : s->hp->n_experts;

    return n_slots + n_groups * (SL_SLOT_ALIGN - 1);
}

/* Room for rows of up to n_cols columns: whole blocks, whatever the kind's length. */
static size_t act_room(enum sl_act_kind kind, size_t n_tok, size_t n_cols)
{
    return sl_act_bytes(kind, (uint32_t)n_tok, (uint32_t)sl_align_up(n_cols, SL_BLOCK256));
}

static void layout_moe(struct sl_step *s, struct sl_arena *arena)
{
    const struct sl_hparams *hp = s->hp;
    size_t n_exp = hp->n_experts;
    size_t n_moe = hp->n_layers - hp->n_dense;
    size_t n_choices = (size_t)s->n_chunk * hp->n_experts_used;
    struct sl_moe_plan *moe = &s->moe;

    s->router = sl_arena_take(arena, sizeof(float) * s->n_chunk * n_exp);
    s->routes = sl_arena_take(arena, sizeof(*s->routes) * n_moe * n_choices);
    s->route_weights = sl_arena_take(arena, sizeof(*s->route_weights) * n_moe * n_choices);
    s->route_margin = sl_arena_take(arena, sizeof(*s->route_margin) * n_moe * s->n_chunk);
    moe->experts = sl_arena_take(arena, sizeof(*moe->experts) * n_exp);
    moe->n_slots = sl_arena_take(arena, sizeof(*moe->n_slots) * n_exp);
    moe->first_slot = sl_arena_take(arena, sizeof(*moe->first_slot) * n_exp);
    moe->active_of = sl_arena_take(arena, sizeof(*moe->active_of) * n_exp);
    moe->slot_of = sl_arena_take(arena, sizeof(*moe->slot_of) * n_choices);
    moe->tickets = sl_arena_take(arena, sizeof(*moe->tickets) * n_exp);
    moe->in = sl_arena_take(arena, sizeof(*moe->in) * n_exp);
    moe->hidden = sl_arena_take(arena, sizeof(*moe->hidden) * n_exp);
    moe->stage = sl_arena_take(arena, sizeof(*moe->stage) * n_exp);
    for (int i = 0; i < 2; i++) {
        struct sl_moe_round *round = &moe->rounds[i];

        round->jobs =
            sl_arena_take(arena, sizeof(*round->jobs) * 2 * n_exp);
        round->open = sl_arena_take(arena, sizeof(*round->open) * n_exp);
        round->checks = sl_arena_take(arena, sizeof(*round->checks) * SL_PART_COUNT * n_exp);
    }
    moe->ahead_u = sl_arena_take(arena, sizeof(float) * SL_PREDICT_AHEAD_MAX * hp->width);
    for (uint32_t i = 0; i < SL_PREDICT_AHEAD_MAX; i++)
        moe->ahead_buf[i] = sl_arena_take(arena, max_size(act_room(SL_ACT_Q32, 1, hp->width),
                                                          act_room(SL_ACT_Q256, 1, hp->width)));
    moe->ahead_scores = sl_arena_take(arena, sizeof(float) * SL_PREDICT_AHEAD_MAX * n_exp);
    moe->ranks = sl_arena_take(arena, sizeof(*moe->ranks) * n_exp);
    moe->guesses =
        sl_arena_take(arena, sizeof(*moe->guesses) * max_size(n_exp, SL_PREDICT_RANKS_MAX));
}

static void layout_acts(struct sl_step *s, struct sl_arena *arena, size_t op_width)
{
    const struct sl_hparams *hp = s->hp;
    size_t n_slots = slots_max(s);

    for (int k = 0; k < SL_ACT_KINDS; k++) {
        enum sl_act_kind kind = (enum sl_act_kind)k;
        size_t bytes, ff = s->weights->ff_max, expert_ff = s->weights->expert_ff_max;

        if (!(s->weight_kinds & 1u << k))
            continue;
        if (k != SL_ACT_F32) { /* F32 activations are used where they were computed */
            bytes = act_room(kind, s->n_chunk, max_size(op_width, ff));
            bytes = max_size(bytes, act_room(kind, n_slots, expert_ff));
            bytes = max_size(bytes, act_room(kind, s->n_logits, hp->width));
            s->act_buf[k] = sl_arena_take(arena, bytes);
        }
        if (hp->is_moe)
            s->slot_buf[k] = sl_arena_take(arena, act_room(kind, n_slots, hp->width));
    }
}

size_t sl_step_worker_bytes(const struct sl_hparams *hp)
{
    /* attention: running and partial m, l, acc, and query pointers; convolution: the
     * inputs of the n_taps - 1 tokens before the worker's own */
    size_t attn = SL_ATTEND_QUERIES_MAX *
                  (2 * (hp->head_dim + 2) * sizeof(float) + sizeof(float *) + sizeof(uint16_t));
    size_t conv = (size_t)(hp->n_taps - 1) * hp->width * sizeof(float);

    return sl_align_up(max_size(attn, conv), SL_ARENA_ALIGN);
}

void sl_step_layout(struct sl_step *s, struct sl_arena *arena, uint32_t n_workers)
{
    const struct sl_hparams *hp = s->hp;
    size_t n = s->n_chunk, width = hp->width;
    size_t op_width = max_size(width, (size_t)hp->n_heads * hp->head_dim);
    size_t n_heads_kv = 0, mix_width, n_hidden, n_rows_y;

    for (uint32_t i = 0; i < hp->n_layers; i++)
        n_heads_kv = max_size(n_heads_kv, hp->n_heads_kv[i]);
    mix_width = max_size(3 * width, (hp->n_heads + 2 * n_heads_kv) * hp->head_dim);
    n_hidden = max_size(n * s->weights->ff_max, slots_max(s) * s->weights->expert_ff_max);
    n_rows_y = max_size(n, slots_max(s));

    s->tokens = sl_arena_take(arena, sizeof(*s->tokens) * n);
    s->pos = sl_arena_take(arena, sizeof(*s->pos) * n);
    s->run_of = sl_arena_take(arena, sizeof(*s->run_of) * n);
    s->runs = sl_arena_take(arena, sizeof(*s->runs) * n);
    s->out_tok = sl_arena_take(arena, sizeof(*s->out_tok) * s->n_logits);
    s->x = sl_arena_take(arena, sizeof(float) * n * width);
    s->u = sl_arena_take(arena, sizeof(float) * max_size(n, s->n_logits) * width);
    s->mix = sl_arena_take(arena, sizeof(float) * n * mix_width);
    s->z = sl_arena_take(arena, sizeof(float) * n * width);
    s->zeros = sl_arena_take(arena, sizeof(float) * width); /* never written: an arena is zeroed */
    s->op = sl_arena_take(arena, sizeof(float) * n * op_width);
    s->gate = sl_arena_take(arena, sizeof(float) * n_hidden);
    s->up = sl_arena_take(arena, sizeof(float) * n_hidden);
    s->y = sl_arena_take(arena, sizeof(float) * n_rows_y * width);
    s->cos = sl_arena_take(arena, sizeof(float) * n * hp->head_dim / 2);
    s->sin = sl_arena_take(arena, sizeof(float) * n * hp->head_dim / 2);
    s->attn_parts_len =
        (size_t)hp->n_heads * (s->timeline->n_blocks + 1) * (hp->head_dim + 2);
    s->attn_parts = sl_arena_take(arena, sizeof(float) * s->attn_parts_len);
    layout_acts(s, arena, op_width);
    if (hp->is_moe)
        layout_moe(s, arena);
    s->logits = sl_arena_take(arena, sizeof(float) * s->n_logits * s->weights->n_vocab);
    s->worker_buf = sl_arena_take(arena, sizeof(*s->worker_buf) * n_workers);
    for (uint32_t i = 0; i < n_workers; i++) {
        void *buf = sl_arena_take(arena, sl_step_worker_bytes(hp));

        if (s->worker_buf)
            s->worker_buf[i] = buf;
    }
}
