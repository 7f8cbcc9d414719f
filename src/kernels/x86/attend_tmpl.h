/*
 * The KV cache and attention over v16: a template for attend_avx2.c and
 * attend_avx512.c, which first include their v16 header and define
 *
 *   SCORE_GROUPS     groups of 16 positions scored together: 1 or 2
 *   QUERIES          most queries at once: 4 or 8
 *   QUERIES_VECS     vectors of V beside that many queries
 *   FOUR_VECS        vectors of V beside four queries
 *
 * Queries go in tiles of QUERIES, then of four; a tile that lacks queries repeats the
 * last one. A tile first scores all positions, sixteen to a lane each, then makes
 * the weights p in place, then adds rows of V: positions that all its queries see
 * together, the few others query by query, so that an unseen position is not added
 * at all (a weight of 0 would make NaN from infinity, and +0 from -0).
 *
 * Both passes walk a block from its beginning to its end, but in pieces too short for the
 * processor to see it: fetch_ahead asks for what comes AHEAD_BYTES later, at the block's
 * end for the next block's beginning.
 */
#pragma once

#include "kernels/fill_float.h"
#include "kernels/half.h"
#include "kernels/kvblock.h"

#define GROUPS_MAX (SL_KV_BLOCK_TOK / SL_KV_GROUP)
#define HEAD_DIM_MAX 256

/* One core, F16, 16384 positions: without 8.3 GB/s, 2 or 4 KiB 11, 8 KiB 9.4. */
#define AHEAD_BYTES 4096u

struct tile {
    const struct sl_attend *a;
    size_t kv_bytes;
    bool is_fetching; /* the call's first tile; the others find the block in the cache */
    const float *q[QUERIES];
    uint32_t index[QUERIES];
    uint32_t n_valid[QUERIES];
    uint32_t n_all, n_any; /* positions that all see, that any sees */
    float p[QUERIES][SL_KV_BLOCK_TOK] __attribute__((aligned(64)));
};

/* Elements of sixteen lanes, without scale. n: lanes that exist (16 for Q8_0). */
SL_INLINE struct v16 load_elems(const char *elems, size_t i, size_t n, enum sl_kv_type type)
{
    if (type == SL_KV_F32)
        return v16_load_n(elems + 4 * i, n);
    if (type == SL_KV_F16)
        return v16_load_f16_n(elems + 2 * i, n);
    return v16_load_i8(elems + i);
}

/* The n bytes at off of the block are being read: ask for what comes later. */
SL_INLINE void fetch_ahead(const struct tile *tile, size_t off, size_t n)
{
    if (!tile->is_fetching)
        return;
    for (size_t i = (off + 63) & ~(size_t)63; i < off + n; i += 64) {
        size_t at = i + AHEAD_BYTES;
        uintptr_t p = at < tile->kv_bytes ? (uintptr_t)tile->a->kv + at
                                          : (uintptr_t)tile->a->kv_next + at - tile->kv_bytes;

        _mm_prefetch((const void *)p, _MM_HINT_T0);
    }
}

/* Scores of SCORE_GROUPS groups from `group`. */
SL_INLINE void score(struct tile *tile, uint32_t group, const int n_q,
                     const enum sl_kv_type type)
{
    const size_t head_dim = tile->a->head_dim;
    const char *elems = tile->a->kv;
    const char *scales = elems + sl_kvblock_scale_off(type, head_dim);
    const size_t n_run = type == SL_KV_Q8_0 ? SL_KV_Q8_LEN : head_dim;
    const struct v16 scale = v16_set1(tile->a->scale);
    const size_t row_bytes = SCORE_GROUPS * SL_KV_GROUP * sl_kvblock_elem_bytes(type);
    const size_t first = group / SCORE_GROUPS * head_dim * row_bytes;
    struct v16 acc[QUERIES][SCORE_GROUPS], d_k[SCORE_GROUPS], k[SCORE_GROUPS];

#pragma GCC unroll 8
    for (int i = 0; i < n_q; i++)
#pragma GCC unroll 2
        for (int g = 0; g < SCORE_GROUPS; g++)
            acc[i][g] = v16_zero();

    for (size_t start = 0; start < head_dim; start += n_run) {
        if (type == SL_KV_Q8_0)
            for (int g = 0; g < SCORE_GROUPS; g++) {
                size_t pos = (size_t)(group + (uint32_t)g) * SL_KV_GROUP;

                d_k[g] = v16_load_f16_n(
                    scales + 2 * sl_kvblock_k_scale_index(head_dim, pos, start), 16);
            }
        for (size_t d = start; d < start + n_run; d++) {
            fetch_ahead(tile, first + d * row_bytes, row_bytes);
#pragma GCC unroll 2
            for (int g = 0; g < SCORE_GROUPS; g++) {
                size_t pos = (size_t)(group + (uint32_t)g) * SL_KV_GROUP;

                k[g] = load_elems(elems, sl_kvblock_k_index(head_dim, pos, d), 16, type);
                if (type == SL_KV_Q8_0)
                    k[g] = v16_mul(d_k[g], k[g]);
            }
#pragma GCC unroll 8
            for (int i = 0; i < n_q; i++) {
                struct v16 q = v16_set1(tile->q[i][d]);

#pragma GCC unroll 2
                for (int g = 0; g < SCORE_GROUPS; g++)
                    acc[i][g] = v16_fma(q, k[g], acc[i][g]);
            }
        }
    }

#pragma GCC unroll 8
    for (int i = 0; i < n_q; i++)
#pragma GCC unroll 2
        for (int g = 0; g < SCORE_GROUPS; g++)
            v16_store_n(tile->p[i] + (group + (uint32_t)g) * SL_KV_GROUP,
                        v16_mul(scale, acc[i][g]), 16);
}

/* From scores to m, l and weights; 0 in the lanes behind the last valid position. */
SL_INLINE void weigh(struct tile *tile, int i)
{
    const struct v16 lowest = v16_set1(-INFINITY);
    uint32_t n = tile->n_valid[i], j;
    float *p = tile->p[i], lanes[16], m;
    struct v16 max = lowest, sum = v16_zero(), m_all;

    for (j = 0; j + 16 <= n; j += 16)
        max = v16_max(v16_load(p + j), max);
    if (j < n)
        max = v16_max(v16_first_n(v16_load(p + j), n - j, lowest), max);
    v16_store_n(lanes, max, 16);
    m = lanes[0];
    for (int lane = 1; lane < 16; lane++)
        m = lanes[lane] > m ? lanes[lane] : m;
    m = m + 0.0f;

    m_all = v16_set1(m);
    for (j = 0; j < n; j += 16) {
        struct v16 p_j = v16_exp(v16_sub(v16_load(p + j), m_all));

        if (n - j < 16)
            p_j = v16_first_n(p_j, n - j, v16_zero());
        sum = v16_add(sum, p_j);
        v16_store_n(p + j, p_j, 16);
    }
    tile->a->m[tile->index[i]] = m;
    tile->a->l[tile->index[i]] = v16_sum(sum);
}

/* Row j of V, lanes d .. d + n. */
SL_INLINE struct v16 load_v(const struct sl_attend *a, size_t j, size_t d, size_t n,
                            const enum sl_kv_type type)
{
    const char *elems = (const char *)a->kv + sl_kvblock_half_bytes(type, a->head_dim);
    const char *scales = elems + sl_kvblock_scale_off(type, a->head_dim);
    struct v16 v = load_elems(elems, sl_kvblock_v_index(a->head_dim, j, d), n, type);

    if (type == SL_KV_Q8_0) {
        size_t i_scale = sl_kvblock_v_scale_index(a->head_dim, j, d);

        v = v16_mul(v16_set1(_cvtsh_ss(sl_load_u16(scales + 2 * i_scale))), v);
    }
    return v;
}

/* Positions from .. to, which query i sees, onto acc at d. */
SL_INLINE void add_values_of(const struct tile *tile, int i, uint32_t from, size_t d, size_t n,
                             const enum sl_kv_type type)
{
    const struct sl_attend *a = tile->a;
    float *out = a->acc + (size_t)tile->index[i] * a->head_dim + d;
    struct v16 acc = v16_load_n(out, n);

    for (uint32_t j = from; j < tile->n_valid[i]; j++)
        acc = v16_fma(v16_set1(tile->p[i][j]), load_v(a, j, d, n, type), acc);
    v16_store_n(out, acc, n);
}

/* acc of n_vecs vectors from d; the last has n lanes. */
SL_INLINE void add_values(const struct tile *tile, size_t d, size_t n, const int n_q,
                          const int n_vecs, const enum sl_kv_type type)
{
    const struct sl_attend *a = tile->a;
    const size_t row_bytes = d == 0 ? a->head_dim * sl_kvblock_elem_bytes(type) : 0;
    const size_t values = sl_kvblock_half_bytes(type, a->head_dim);
    struct v16 acc[QUERIES][FOUR_VECS], v[FOUR_VECS];

#pragma GCC unroll 8
    for (int i = 0; i < n_q; i++)
#pragma GCC unroll 4
        for (int c = 0; c < n_vecs; c++)
            acc[i][c] = v16_zero();
    for (uint32_t j = 0; j < tile->n_all; j++) {
        fetch_ahead(tile, values + j * row_bytes, row_bytes);
#pragma GCC unroll 4
        for (int c = 0; c < n_vecs; c++)
            v[c] = load_v(a, j, d + 16 * (size_t)c, c == n_vecs - 1 ? n : 16, type);
#pragma GCC unroll 8
        for (int i = 0; i < n_q; i++) {
            struct v16 p = v16_set1(tile->p[i][j]);

#pragma GCC unroll 4
            for (int c = 0; c < n_vecs; c++)
                acc[i][c] = v16_fma(p, v[c], acc[i][c]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_q; i++) {
        float *out = a->acc + (size_t)tile->index[i] * a->head_dim + d;

#pragma GCC unroll 4
        for (int c = 0; c < n_vecs; c++)
            v16_store_n(out + 16 * c, acc[i][c], c == n_vecs - 1 ? n : 16);
    }
}

SL_INLINE void run_tile(struct tile *tile, const int n_q, const int n_vecs,
                        const enum sl_kv_type type)
{
    const size_t head_dim = tile->a->head_dim;
    const size_t wide = 16 * (size_t)n_vecs;
    size_t d = 0;

    for (uint32_t g = 0; g * SL_KV_GROUP < tile->n_any; g += SCORE_GROUPS)
        score(tile, g, n_q, type);
    for (int i = 0; i < n_q; i++)
        weigh(tile, i);

    for (; d + wide <= head_dim; d += wide)
        add_values(tile, d, 16, n_q, n_vecs, type);
    for (; d + 16 <= head_dim; d += 16)
        add_values(tile, d, 16, n_q, 1, type);
    if (d < head_dim)
        add_values(tile, d, head_dim - d, n_q, 1, type);
}

/* What only some queries of the tile see. The last query stands there repeatedly. */
SL_INLINE void run_rest(const struct tile *tile, int n_real, const enum sl_kv_type type)
{
    const size_t head_dim = tile->a->head_dim;

    for (int i = 0; i < n_real; i++) {
        size_t d = 0;

        if (tile->n_valid[i] == tile->n_all)
            continue;
        for (; d + 16 <= head_dim; d += 16)
            add_values_of(tile, i, tile->n_all, d, 16, type);
        if (d < head_dim)
            add_values_of(tile, i, tile->n_all, d, head_dim - d, type);
    }
}

static int tile_init(struct tile *tile, const struct sl_attend *a, uint32_t first, int n_q)
{
    int n_real = 0;

    tile->a = a;
    tile->is_fetching = first == 0 && a->kv_next;
    tile->kv_bytes = sl_kernels_kv_bytes(a->kv_type, a->head_dim);
    tile->n_all = SL_KV_BLOCK_TOK;
    tile->n_any = 0;
    for (int i = 0; i < n_q; i++) {
        uint32_t query = first + (uint32_t)i;
        uint32_t n;

        if (query < a->n_queries)
            n_real++;
        else
            query = a->n_queries - 1;
        n = a->n_valid[query];
        assert(n >= 1 && n <= SL_KV_BLOCK_TOK);
        tile->q[i] = a->q[query];
        tile->index[i] = query;
        tile->n_valid[i] = n;
        tile->n_all = n < tile->n_all ? n : tile->n_all;
        tile->n_any = n > tile->n_any ? n : tile->n_any;
    }
    return n_real;
}

SL_INLINE void attend_type(const struct sl_attend *a, const enum sl_kv_type type)
{
    struct tile tile;
    uint32_t i = 0;

    if (QUERIES > 4)
        for (; i + QUERIES <= a->n_queries; i += QUERIES) {
            tile_init(&tile, a, i, QUERIES);
            run_tile(&tile, QUERIES, QUERIES_VECS, type);
            run_rest(&tile, QUERIES, type);
        }
    for (; i < a->n_queries; i += 4) {
        int n_real = tile_init(&tile, a, i, 4);

        run_tile(&tile, 4, FOUR_VECS, type);
        run_rest(&tile, n_real, type);
    }
}

static void attend_f32(const struct sl_attend *a)
{
    attend_type(a, SL_KV_F32);
}

static void attend_f16(const struct sl_attend *a)
{
    attend_type(a, SL_KV_F16);
}

static void attend_q8_0(const struct sl_attend *a)
{
    attend_type(a, SL_KV_Q8_0);
}

static void attend(const struct sl_attend *a)
{
    assert(a->head_dim >= 1 && a->head_dim <= HEAD_DIM_MAX);
    if (a->kv_type == SL_KV_F16)
        attend_f16(a);
    else if (a->kv_type == SL_KV_F32)
        attend_f32(a);
    else
        attend_q8_0(a);
}

SL_INLINE void merge_step(float *acc, const float *acc2, struct v16 a, struct v16 b, size_t n)
{
    v16_store_n(acc, v16_fma(v16_load_n(acc, n), a, v16_mul(v16_load_n(acc2, n), b)), n);
}

static void attend_merge(float *m, float *l, float *acc, float m2, float l2,
                         const float *acc2, uint32_t head_dim)
{
    float m_new = m2 > *m ? m2 : *m;
    float a = sl_expf(*m - m_new);
    float b = sl_expf(m2 - m_new);
    uint32_t d = 0;

    *m = m_new;
    *l = fmaf(*l, a, l2 * b);
    for (; d + 16 <= head_dim; d += 16)
        merge_step(acc + d, acc2 + d, v16_set1(a), v16_set1(b), 16);
    if (d < head_dim)
        merge_step(acc + d, acc2 + d, v16_set1(a), v16_set1(b), head_dim - d);
}

static void attend_finish(float *out, const float *acc, float l, uint32_t head_dim)
{
    const struct v16 l_all = v16_set1(l);
    uint32_t d = 0;

    for (; d + 16 <= head_dim; d += 16)
        v16_store_n(out + d, v16_div(v16_load(acc + d), l_all), 16);
    if (d < head_dim)
        v16_store_n(out + d, v16_div(v16_load_n(acc + d, head_dim - d), l_all), head_dim - d);
}

/* x as the block holds it, contiguous: elements, and scales if there are any. */
struct stored {
    char elems[HEAD_DIM_MAX * sizeof(float)] __attribute__((aligned(64)));
    uint16_t scales[HEAD_DIM_MAX / SL_KV_Q8_LEN];
};

/* As quantize in attend_c.c: a scale of 0, or one that is not finite, leaves q 0. */
static void convert_q8(int8_t *q, uint16_t *scale, const float *x)
{
    struct v16 lo = v16_load(x), hi = v16_load(x + 16), d_all;
    float lanes[16], d;
    uint32_t max = 0;

    v16_store_n(lanes, v16_max_magnitude(hi, v16_max_magnitude(lo, v16_zero())), 16);
    for (int i = 0; i < 16; i++) {
        uint32_t bits = sl_f32_bits(lanes[i]);

        max = bits > max ? bits : max;
    }
    *scale = sl_f16_from_f32(sl_f32_from_bits(max) / 127.0f);
    d = sl_f16_to_f32(*scale);
    if (d == 0 || !isfinite(d)) {
        memset(q, 0, SL_KV_Q8_LEN);
        return;
    }
    d_all = v16_set1(d);
    lo = v16_max(v16_min(v16_div(lo, d_all), v16_set1(127.0f)), v16_set1(-127.0f));
    hi = v16_max(v16_min(v16_div(hi, d_all), v16_set1(127.0f)), v16_set1(-127.0f));
    v16_store_i8(q, lo);
    v16_store_i8(q + 16, hi);
}

static void convert(struct stored *to, enum sl_kv_type type, uint32_t head_dim, const float *x)
{
    uint32_t d = 0;

    if (type == SL_KV_F32) {
        memcpy(to->elems, x, head_dim * sizeof(float));
    } else if (type == SL_KV_F16) {
        for (; d + 16 <= head_dim; d += 16)
            v16_store_f16(to->elems + 2 * d, v16_load(x + d));
        if (d < head_dim)
            v16_store_f16(to->elems + 2 * d, v16_load_n(x + d, head_dim - d));
    } else {
        for (; d < head_dim; d += SL_KV_Q8_LEN)
            convert_q8((int8_t *)to->elems + d, &to->scales[d / SL_KV_Q8_LEN], x + d);
    }
}

/* Position pos of K: one element per group of sixteen. bytes is 1, 2 or 4. */
SL_INLINE void scatter(char *to, const void *from, size_t n, uint32_t pos, const size_t bytes)
{
    to += sl_kvblock_k_index(n, pos, 0) * bytes;
    for (size_t i = 0; i < n; i++)
        memcpy(to + i * SL_KV_GROUP * bytes, (const char *)from + i * bytes, bytes);
}

static void kv_store(void *kv, enum sl_kv_type type, uint32_t head_dim, uint32_t pos,
                     const float *k, const float *v)
{
    size_t half = sl_kvblock_half_bytes(type, head_dim);
    size_t scale_off = sl_kvblock_scale_off(type, head_dim);
    size_t bytes = sl_kvblock_elem_bytes(type), n_scales = head_dim / SL_KV_Q8_LEN;
    char *k_to = kv, *v_to = (char *)kv + half;
    struct stored s;

    assert(pos < SL_KV_BLOCK_TOK && head_dim <= HEAD_DIM_MAX);
    convert(&s, type, head_dim, k);
    if (type == SL_KV_F32) {
        scatter(k_to, s.elems, head_dim, pos, 4);
    } else if (type == SL_KV_F16) {
        scatter(k_to, s.elems, head_dim, pos, 2);
    } else {
        scatter(k_to, s.elems, head_dim, pos, 1);
        scatter(k_to + scale_off, s.scales, n_scales, pos, 2);
    }

    convert(&s, type, head_dim, v);
    memcpy(v_to + pos * head_dim * bytes, s.elems, head_dim * bytes);
    if (type == SL_KV_Q8_0)
        memcpy(v_to + scale_off + 2 * pos * n_scales, s.scales, 2 * n_scales);
}

static void fill(struct sl_kernels *k)
{
    k->kv_store = kv_store;
    k->attend = attend;
    k->attend_merge = attend_merge;
    k->attend_finish = attend_finish;
}
