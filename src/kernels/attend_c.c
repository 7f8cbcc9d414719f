/*
 * The KV cache and attention over one KV block, in C: the definition of the results.
 *
 * The maximum of no scores is -infinity, NaN never is the maximum, and a maximum of
 * zero is +0: so it does not depend on the order. A score that is NaN shows in l and
 * acc. A result that is not a number may be any NaN.
 */
#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "kernels/fill_float.h"
#include "kernels/half.h"
#include "kernels/kvblock.h"
#include "kernels/lanes.h"
#include "kernels/mathfn.h"

size_t sl_kernels_kv_bytes(enum sl_kv_type type, uint32_t head_dim)
{
    return 2 * sl_kvblock_half_bytes(type, head_dim);
}

/* K or V of a block, and how a position and dimension become indexes in it. */
struct side {
    char *elems;
    uint16_t *scales;
    size_t (*index)(size_t head_dim, size_t pos, size_t d);
    size_t (*scale_index)(size_t head_dim, size_t pos, size_t d);
};

static struct side side_of(const void *kv, enum sl_kv_type type, size_t head_dim, bool is_v)
{
    char *base = (char *)kv + (is_v ? sl_kvblock_half_bytes(type, head_dim) : 0);

    return (struct side){
        .elems = base,
        .scales = (uint16_t *)(base + sl_kvblock_scale_off(type, head_dim)),
        .index = is_v ? sl_kvblock_v_index : sl_kvblock_k_index,
        .scale_index = is_v ? sl_kvblock_v_scale_index : sl_kvblock_k_scale_index,
    };
}

/*
 * The largest magnitude; NaN if there is one, because its bits are above infinity's.
 */
static float magnitude(const float *x, size_t n)
{
    uint32_t max = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t bits = sl_f32_bits(x[i]) & 0x7fffffffu;

        max = bits > max ? bits : max;
    }
    return sl_f32_from_bits(max);
}

/* A scale that is not finite makes every value of the block NaN, so q is left 0. */
static int8_t quantize(float x, float d)
{
    float v;

    if (d == 0 || !isfinite(d))
        return 0;
    v = x / d;
    v = v > 127.0f ? 127.0f : v < -127.0f ? -127.0f : v;
    return (int8_t)rintf(v);
}

static void store(const struct side *s, enum sl_kv_type type, size_t head_dim, size_t pos,
                  const float *x)
{
    for (size_t d = 0; d < head_dim; d++) {
        size_t i = s->index(head_dim, pos, d);

        if (type == SL_KV_F32) {
            ((float *)s->elems)[i] = x[d];
        } else if (type == SL_KV_F16) {
            ((uint16_t *)s->elems)[i] = sl_f16_from_f32(x[d]);
        } else {
            size_t i_scale = s->scale_index(head_dim, pos, d);

            if (d % SL_KV_Q8_LEN == 0)
                s->scales[i_scale] =
                    sl_f16_from_f32(magnitude(x + d, SL_KV_Q8_LEN) / 127.0f);
            s->elems[i] = quantize(x[d], sl_f16_to_f32(s->scales[i_scale]));
        }
    }
}

static void kv_store(void *kv, enum sl_kv_type type, uint32_t head_dim, uint32_t pos,
                     const float *k, const float *v)
{
    struct side k_side = side_of(kv, type, head_dim, false);
    struct side v_side = side_of(kv, type, head_dim, true);

    assert(pos < SL_KV_BLOCK_TOK);
    store(&k_side, type, head_dim, pos, k);
    store(&v_side, type, head_dim, pos, v);
}

static float load(const struct side *s, enum sl_kv_type type, size_t head_dim, size_t pos,
                  size_t d)
{
    size_t i = s->index(head_dim, pos, d);

    if (type == SL_KV_F32)
        return ((const float *)s->elems)[i];
    if (type == SL_KV_F16)
        return sl_f16_to_f32(((const uint16_t *)s->elems)[i]);
    return sl_f16_to_f32(s->scales[s->scale_index(head_dim, pos, d)]) *
           (float)((const int8_t *)s->elems)[i];
}

static void attend_query(const struct sl_attend *a, uint32_t i_query)
{
    struct side k_side = side_of(a->kv, a->kv_type, a->head_dim, false);
    struct side v_side = side_of(a->kv, a->kv_type, a->head_dim, true);
    const float *q = a->q[i_query];
    uint32_t n_valid = a->n_valid[i_query];
    float p[SL_KV_BLOCK_TOK], lanes[SL_LANES] = { 0 };
    float m = -INFINITY;

    for (uint32_t j = 0; j < n_valid; j++) {
        float sum = 0;

        for (uint32_t d = 0; d < a->head_dim; d++)
            sum = fmaf(q[d], load(&k_side, a->kv_type, a->head_dim, j, d), sum);
        p[j] = a->scale * sum;
        m = p[j] > m ? p[j] : m;
    }
    m = m + 0.0f;
    for (uint32_t j = 0; j < n_valid; j++) {
        p[j] = sl_expf(p[j] - m);
        lanes[j % SL_LANES] += p[j];
    }
    a->m[i_query] = m;
    a->l[i_query] = sl_lanes_sum(lanes);

    for (uint32_t d = 0; d < a->head_dim; d++) {
        float acc = 0;

        for (uint32_t j = 0; j < n_valid; j++)
            acc = fmaf(p[j], load(&v_side, a->kv_type, a->head_dim, j, d), acc);
        a->acc[(size_t)i_query * a->head_dim + d] = acc;
    }
}

static void attend(const struct sl_attend *a)
{
    for (uint32_t i = 0; i < a->n_queries; i++)
        attend_query(a, i);
}

static void attend_merge(float *m, float *l, float *acc, float m2, float l2,
                         const float *acc2, uint32_t head_dim)
{
    float m_new = m2 > *m ? m2 : *m;
    float a = sl_expf(*m - m_new);
    float b = sl_expf(m2 - m_new);

    *m = m_new;
    *l = fmaf(*l, a, l2 * b);
    for (uint32_t d = 0; d < head_dim; d++)
        acc[d] = fmaf(acc[d], a, acc2[d] * b);
}

static void attend_finish(float *out, const float *acc, float l, uint32_t head_dim)
{
    for (uint32_t d = 0; d < head_dim; d++)
        out[d] = acc[d] / l;
}

void sl_fill_attend_c(struct sl_kernels *k)
{
    k->kv_store = kv_store;
    k->attend = attend;
    k->attend_merge = attend_merge;
    k->attend_finish = attend_finish;
}
