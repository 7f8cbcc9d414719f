/*
 * Attention: q, k, v = projections of u; q and k are normalised per head and rotated;
 * k and v go into the KV cache; each query then sees the blocks of its sequence in
 * order, 256 positions at a time:
 *
 *     partial result of a block: (m, l, acc), see kernels.h
 *     result = partial 0, merged with partial 1, merged with partial 2, ...
 *
 * That order is the definition; it depends on positions alone. There are two ways to
 * share the work out, with the same bits: by tiles of queries, each merging as it goes
 * (prefill, or enough heads for all workers), or by single blocks, whose partials are
 * kept and merged after a barrier (one token, long context, many workers).
 *
 * Query heads that share a KV head are its group: head h uses KV head h / group.
 */
#include <assert.h>
#include <string.h>

#include "model/forward.h"

/* Below this many tiles per worker, work is shared out by blocks instead. */
#define TILES_PER_WORKER 4u

struct shape {
    uint32_t layer, n_heads, n_heads_kv, group, head_dim, mix_width;
    uint32_t tile_tok; /* tokens per tile, so that a tile's queries fit one call */
    float scale;
};

/* A worker's private scratch: running state and one partial, for a call's queries. */
struct scratch {
    float *m, *l, *acc, *part_m, *part_l, *part_acc;
    const float **q;
    uint16_t *n_valid;
};

static struct scratch scratch_in(void *buf, uint32_t head_dim)
{
    struct scratch sc;
    size_t n = SL_ATTEND_QUERIES_MAX;

    sc.q = buf;
    sc.m = (float *)(sc.q + n);
    sc.l = sc.m + n;
    sc.part_m = sc.l + n;
    sc.part_l = sc.part_m + n;
    sc.acc = sc.part_l + n;
    sc.part_acc = sc.acc + n * head_dim;
    sc.n_valid = (uint16_t *)(sc.part_acc + n * head_dim);
    return sc;
}

/* Positions of block b that a query at position pos sees: 0..256. */
static uint32_t visible(uint32_t pos, uint32_t b)
{
    uint32_t first = b * SL_KV_BLOCK_TOK;

    if (pos < first)
        return 0;
    return pos - first + 1 < SL_KV_BLOCK_TOK ? pos - first + 1 : SL_KV_BLOCK_TOK;
}

static uint32_t n_blocks_at(uint32_t pos)
{
    return pos / SL_KV_BLOCK_TOK + 1;
}

/* Normalise and rotate the worker's own tokens' q and k, store k and v. */
static void prepare(struct sl_worker *w, const struct shape *sh)
{
    struct sl_step *s = w->step;
    const struct sl_layer *l = &w->weights->layers[sh->layer];
    uint32_t d = sh->head_dim;

    for (uint32_t t = w->tok_begin; t < w->tok_end; t++) {
        float *q = s->mix + (size_t)t * sh->mix_width;
        float *k = q + sh->n_heads * d;
        const float *v = k + sh->n_heads_kv * d;
        const float *cos = s->cos + (size_t)t * d / 2, *sin = s->sin + (size_t)t * d / 2;
        const struct sl_run *run = &s->runs[s->run_of[t]];
        uint32_t pos = s->pos[t];

        for (uint32_t h = 0; h < sh->n_heads; h++) {
            s->kernels->rms_norm(q + h * d, q + h * d, l->q_norm, d, s->hp->norm_eps);
            s->kernels->rope(q + h * d, cos, sin, d / 2);
        }
        for (uint32_t g = 0; g < sh->n_heads_kv; g++) {
            void *kv = sl_timeline_kv(s->timeline, run->seq, sh->layer, g, pos / SL_KV_BLOCK_TOK);

            s->kernels->rms_norm(k + g * d, k + g * d, l->k_norm, d, s->hp->norm_eps);
            s->kernels->rope(k + g * d, cos, sin, d / 2);
            s->kernels->kv_store(kv, s->timeline->opts.kv_type, d, pos % SL_KV_BLOCK_TOK,
                                 k + g * d, v + g * d);
        }
    }
}

/* One kernel call: queries [first, first + n) of the scratch against one block; then comes
 * kv_next, or NULL. */
static void attend_block(const struct sl_step *s, const struct shape *sh, const struct scratch *sc,
                         const void *kv, const void *kv_next, uint32_t first, uint32_t n,
                         float *m, float *l, float *acc)
{
    const struct sl_attend call = {
        .kv_type = s->timeline->opts.kv_type,
        .head_dim = sh->head_dim,
        .n_queries = n,
        .scale = sh->scale,
        .q = sc->q + first,
        .n_valid = sc->n_valid + first,
        .kv = kv,
        .kv_next = kv_next ? kv_next : kv,
        .m = m,
        .l = l,
        .acc = acc,
    };

    s->kernels->attend(&call);
}

/* n queries (at most SL_ATTEND_QUERIES_MAX) of one KV head, the i-th being head
 * h0 + i % group of token t0 + i / group, against all their blocks. */
static void attend_queries(struct sl_worker *w, const struct shape *sh, const struct sl_run *run,
                           uint32_t g, uint32_t q0, uint32_t n, uint32_t tile_t0)
{
    struct sl_step *s = w->step;
    uint32_t d = sh->head_dim;
    struct scratch sc = scratch_in(w->buf, d);
    uint32_t last_pos = s->pos[tile_t0 + (q0 + n - 1) / sh->group];

    for (uint32_t b = 0; b < n_blocks_at(last_pos); b++) {
        const void *kv = sl_timeline_kv(s->timeline, run->seq, sh->layer, g, b);
        const void *kv_next = b + 1 < n_blocks_at(last_pos)
                                  ? sl_timeline_kv(s->timeline, run->seq, sh->layer, g, b + 1)
                                  : NULL;
        uint32_t first = n; /* tokens ascend, so those that see the block are the last ones */

        for (uint32_t i = n; i-- > 0;) {
            uint32_t t = tile_t0 + (q0 + i) / sh->group;
            uint32_t h = g * sh->group + (q0 + i) % sh->group;

            sc.n_valid[i] = (uint16_t)visible(s->pos[t], b);
            sc.q[i] = s->mix + (size_t)t * sh->mix_width + h * d;
            if (sc.n_valid[i])
                first = i;
        }
        if (b == 0) { /* every query sees block 0 */
            attend_block(s, sh, &sc, kv, kv_next, 0, n, sc.m, sc.l, sc.acc);
            continue;
        }
        attend_block(s, sh, &sc, kv, kv_next, first, n - first, sc.part_m, sc.part_l,
                     sc.part_acc);
        for (uint32_t i = first; i < n; i++)
            s->kernels->attend_merge(&sc.m[i], &sc.l[i], sc.acc + i * d, sc.part_m[i - first],
                                     sc.part_l[i - first], sc.part_acc + (i - first) * d, d);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t t = tile_t0 + (q0 + i) / sh->group;
        uint32_t h = g * sh->group + (q0 + i) % sh->group;

        s->kernels->attend_finish(s->op + ((size_t)t * sh->n_heads + h) * d, sc.acc + i * d,
                                  sc.l[i], d);
    }
}

static uint32_t n_tiles(const struct shape *sh, const struct sl_run *run)
{
    return (run->n_tok + sh->tile_tok - 1) / sh->tile_tok;
}

static void attend_by_tiles(struct sl_worker *w, const struct shape *sh)
{
    struct sl_step *s = w->step;
    uint64_t first_item = 0;
    uint64_t item = sl_pool_take(s->pool, 1);

    for (uint32_t r = 0; r < s->n_runs; r++) {
        const struct sl_run *run = &s->runs[r];
        uint64_t n_items = (uint64_t)n_tiles(sh, run) * sh->n_heads_kv;

        for (; item < first_item + n_items; item = sl_pool_take(s->pool, 1)) {
            uint32_t g = (uint32_t)((item - first_item) % sh->n_heads_kv);
            uint32_t tile = (uint32_t)((item - first_item) / sh->n_heads_kv);
            uint32_t t0 = tile * sh->tile_tok;
            uint32_t n_tok = run->n_tok - t0 < sh->tile_tok ? run->n_tok - t0 : sh->tile_tok;
            uint32_t n_queries = n_tok * sh->group;

            for (uint32_t q = 0; q < n_queries; q += SL_ATTEND_QUERIES_MAX)
                attend_queries(w, sh, run, g, q,
                               n_queries - q < SL_ATTEND_QUERIES_MAX ? n_queries - q
                                                                     : SL_ATTEND_QUERIES_MAX,
                               run->tok0 + t0);
        }
        first_item += n_items;
    }
}

/* Partial results by block: for a token, [n_heads][n_blocks](m, l, acc). */
static float *part_at(const struct sl_step *s, const struct shape *sh, size_t first_block,
                      uint32_t n_blocks, uint32_t h, uint32_t b)
{
    return s->attn_parts +
           (first_block * sh->n_heads + (size_t)h * n_blocks + b) * (sh->head_dim + 2);
}

static void attend_by_blocks(struct sl_worker *w, const struct shape *sh)
{
    struct sl_step *s = w->step;
    uint32_t d = sh->head_dim;
    struct scratch sc = scratch_in(w->buf, d);
    uint64_t first_item = 0, item = sl_pool_take(s->pool, 1);
    size_t first_block = 0;

    for (uint32_t t = 0; t < s->n_tok; t++) {
        const struct sl_run *run = &s->runs[s->run_of[t]];
        uint32_t n_blocks = n_blocks_at(s->pos[t]);
        uint64_t n_items = (uint64_t)n_blocks * sh->n_heads_kv;

        for (; item < first_item + n_items; item = sl_pool_take(s->pool, 1)) {
            uint32_t g = (uint32_t)((item - first_item) % sh->n_heads_kv);
            uint32_t b = (uint32_t)((item - first_item) / sh->n_heads_kv);
            const void *kv = sl_timeline_kv(s->timeline, run->seq, sh->layer, g, b);

            for (uint32_t i = 0; i < sh->group; i++) {
                sc.q[i] = s->mix + (size_t)t * sh->mix_width + (g * sh->group + i) * d;
                sc.n_valid[i] = (uint16_t)visible(s->pos[t], b);
            }
            attend_block(s, sh, &sc, kv, NULL, 0, sh->group, sc.m, sc.l, sc.acc);
            for (uint32_t i = 0; i < sh->group; i++) {
                float *part = part_at(s, sh, first_block, n_blocks, g * sh->group + i, b);

                part[0] = sc.m[i];
                part[1] = sc.l[i];
                memcpy(part + 2, sc.acc + i * d, d * sizeof(float));
            }
        }
        first_item += n_items;
        first_block += n_blocks;
    }
    sl_step_barrier(w);

    first_block = 0;
    for (uint32_t t = 0; t < s->n_tok; t++) {
        uint32_t n_blocks = n_blocks_at(s->pos[t]);

        for (uint32_t h = w->index; h < sh->n_heads; h += w->n) {
            float *state = part_at(s, sh, first_block, n_blocks, h, 0);

            for (uint32_t b = 1; b < n_blocks; b++) {
                const float *part = part_at(s, sh, first_block, n_blocks, h, b);

                s->kernels->attend_merge(&state[0], &state[1], state + 2, part[0], part[1],
                                         part + 2, d);
            }
            s->kernels->attend_finish(s->op + ((size_t)t * sh->n_heads + h) * d, state + 2,
                                      state[1], d);
        }
        first_block += n_blocks;
    }
}

/* Same answer on every worker: it depends on the step alone. */
static bool should_split_blocks(const struct sl_worker *w, const struct shape *sh)
{
    const struct sl_step *s = w->step;
    uint64_t n_items = 0, n_blocks = 0;
    uint32_t longest = 0;

    if (sh->group > SL_ATTEND_QUERIES_MAX)
        return false;
    for (uint32_t r = 0; r < s->n_runs; r++)
        n_items += (uint64_t)n_tiles(sh, &s->runs[r]) * sh->n_heads_kv;
    if (n_items >= (uint64_t)TILES_PER_WORKER * w->n)
        return false;
    for (uint32_t t = 0; t < s->n_tok; t++) {
        n_blocks += n_blocks_at(s->pos[t]);
        longest = n_blocks_at(s->pos[t]) > longest ? n_blocks_at(s->pos[t]) : longest;
    }
    return longest > 1 && w->n > 1 &&
           n_blocks * sh->n_heads * (sh->head_dim + 2) <= s->attn_parts_len;
}

void sl_attn_forward(struct sl_worker *w, uint32_t layer)
{
    struct sl_step *s = w->step;
    const struct sl_layer *l = &w->weights->layers[layer];
    uint32_t d = s->hp->head_dim, n_heads = s->hp->n_heads;
    struct shape sh = {
        .layer = layer,
        .n_heads = n_heads,
        .n_heads_kv = s->hp->n_heads_kv[layer],
        .group = n_heads / s->hp->n_heads_kv[layer],
        .head_dim = d,
        .scale = s->attn_scale,
    };
    uint32_t o_kind = sl_step_kind_bit(&l->o);
    struct sl_acts acts;
    struct sl_job jobs[3];

    sh.mix_width = (n_heads + 2 * sh.n_heads_kv) * d;
    sh.tile_tok = sh.group < SL_ATTEND_QUERIES_MAX ? SL_ATTEND_QUERIES_MAX / sh.group : 1;

    sl_forward_norm(w, l->op_norm, &acts,
                    sl_step_kind_bit(&l->q) | sl_step_kind_bit(&l->k) | sl_step_kind_bit(&l->v));
    jobs[0] = sl_job_for(&l->q, &acts, s->mix, sh.mix_width);
    jobs[1] = sl_job_for(&l->k, &acts, s->mix + n_heads * d, sh.mix_width);
    jobs[2] = sl_job_for(&l->v, &acts, s->mix + (n_heads + sh.n_heads_kv) * d, sh.mix_width);
    sl_jobs_run(w, jobs, 3);
    sl_step_expect(w, (struct sl_next){ &l->o, l->o.n_rows });
    sl_step_barrier(w);

    prepare(w, &sh);
    sl_step_barrier(w);

    if (should_split_blocks(w, &sh))
        attend_by_blocks(w, &sh);
    else
        attend_by_tiles(w, &sh);
    sl_step_barrier(w);

    sl_acts_init(&acts, o_kind, s->n_tok, n_heads * d, s->op, s->act_buf);
    for (uint32_t t = w->tok_begin; t < w->tok_end; t++)
        sl_acts_quantize(s->kernels, &acts, o_kind, t, s->op + (size_t)t * n_heads * d);
    sl_step_barrier(w);
    sl_forward_project(w, &l->o, &acts, sl_forward_ffn(w, layer));
}
