/*
 * Vector operations over v16: a template for vecops_avx2.c and vecops_avx512.c, which
 * first include their v16 header. Each operation is a step over 16 elements, or
 * over the n that are left at the end.
 */
#pragma once

#include "kernels/fill_float.h"

SL_INLINE struct v16 square_step(struct v16 acc, const float *x, size_t n)
{
    struct v16 x_i = v16_load_n(x, n);

    return v16_fma(x_i, x_i, acc);
}

SL_INLINE void rms_norm_step(float *out, const float *x, const float *w, struct v16 r, size_t n)
{
    v16_store_n(out, v16_mul(v16_mul(v16_load_n(x, n), r), v16_load_n(w, n)), n);
}

static void rms_norm(float *out, const float *x, const float *w, size_t n, float eps)
{
    struct v16 acc = v16_zero(), r;
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        acc = square_step(acc, x + i, 16);
    if (i < n)
        acc = square_step(acc, x + i, n - i);

    r = v16_set1(1.0f / sqrtf(v16_sum(acc) / (float)n + eps));
    for (i = 0; i + 16 <= n; i += 16)
        rms_norm_step(out + i, x + i, w + i, r, 16);
    if (i < n)
        rms_norm_step(out + i, x + i, w + i, r, n - i);
}

/* 1 + exp(-x) */
SL_INLINE struct v16 one_plus_exp_neg(struct v16 x)
{
    return v16_add(v16_set1(1.0f), v16_exp(v16_neg(x)));
}

SL_INLINE void silu_mul_step(float *out, const float *gate, const float *up, size_t n)
{
    struct v16 g = v16_load_n(gate, n);

    v16_store_n(out, v16_mul(v16_div(g, one_plus_exp_neg(g)), v16_load_n(up, n)), n);
}

static void silu_mul(float *out, const float *gate, const float *up, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        silu_mul_step(out + i, gate + i, up + i, 16);
    if (i < n)
        silu_mul_step(out + i, gate + i, up + i, n - i);
}

SL_INLINE void sigmoid_step(float *out, const float *x, size_t n)
{
    v16_store_n(out, v16_div(v16_set1(1.0f), one_plus_exp_neg(v16_load_n(x, n))), n);
}

static void sigmoid(float *out, const float *x, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        sigmoid_step(out + i, x + i, 16);
    if (i < n)
        sigmoid_step(out + i, x + i, n - i);
}

SL_INLINE void add_step(float *x, const float *y, size_t n)
{
    v16_store_n(x, v16_add(v16_load_n(x, n), v16_load_n(y, n)), n);
}

static void add(float *x, const float *y, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        add_step(x + i, y + i, 16);
    if (i < n)
        add_step(x + i, y + i, n - i);
}

SL_INLINE void add_weighted_step(float *x, const float *const *y, const float *weight,
                                 uint32_t n_terms, size_t i, size_t n)
{
    struct v16 acc = v16_zero();

    for (uint32_t j = 0; j < n_terms; j++)
        acc = v16_fma(v16_set1(weight[j]), v16_load_n(y[j] + i, n), acc);
    v16_store_n(x + i, v16_add(v16_load_n(x + i, n), acc), n);
}

static void add_weighted(float *x, const float *const *y, const float *weight,
                         uint32_t n_terms, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        add_weighted_step(x, y, weight, n_terms, i, 16);
    if (i < n)
        add_weighted_step(x, y, weight, n_terms, i, n - i);
}

#define TAPS_MAX 16

struct conv {
    float *out, *z_out;
    const float *b, *gate, *xin;
    const float *const *hist;
    uint32_t n_taps;
};

/* Channels c .. c + n. taps points at channel c's and is readable for 16 channels. */
SL_INLINE void short_conv_step(const struct conv *v, const float *taps, size_t c, size_t n)
{
    struct v16 z = v16_mul(v16_load_n(v->b + c, n), v16_load_n(v->xin + c, n));
    struct v16 acc = v16_zero();

    if (v->n_taps == 3) {
        struct v16 t[3];

        v16_load_by3(t, taps);
        acc = v16_fma(t[0], v16_load_n(v->hist[0] + c, n), acc);
        acc = v16_fma(t[1], v16_load_n(v->hist[1] + c, n), acc);
        acc = v16_fma(t[2], z, acc);
    } else {
        uint32_t last = v->n_taps - 1;

        for (uint32_t j = 0; j < last; j++)
            acc = v16_fma(v16_load_by(taps + j, v->n_taps), v16_load_n(v->hist[j] + c, n), acc);
        acc = v16_fma(v16_load_by(taps + last, v->n_taps), z, acc);
    }
    v16_store_n(v->z_out + c, z, n);
    v16_store_n(v->out + c, v16_mul(v16_load_n(v->gate + c, n), acc), n);
}

static void short_conv(float *out, float *z_out, const float *bcx, const float *kernel,
                       const float *const *hist, uint32_t n_taps, size_t n)
{
    struct conv v = { .out = out, .z_out = z_out, .b = bcx, .gate = bcx + n,
                      .xin = bcx + 2 * n, .hist = hist, .n_taps = n_taps };
    size_t c = 0;

    assert(n_taps >= 1 && n_taps <= TAPS_MAX);
    for (; c + 16 <= n; c += 16)
        short_conv_step(&v, kernel + c * n_taps, c, 16);
    if (c < n) {
        float taps[16 * TAPS_MAX] = { 0 };

        memcpy(taps, kernel + c * n_taps, (n - c) * n_taps * sizeof(float));
        short_conv_step(&v, taps, c, n - c);
    }
}

SL_INLINE void rope_step(float *x, const float *cos, const float *sin, uint32_t half, size_t n)
{
    struct v16 a = v16_load_n(x, n), b = v16_load_n(x + half, n);
    struct v16 c = v16_load_n(cos, n), s = v16_load_n(sin, n);

    v16_store_n(x, v16_fmsub(a, c, v16_mul(b, s)), n);
    v16_store_n(x + half, v16_fma(b, c, v16_mul(a, s)), n);
}

static void rope(float *x, const float *cos, const float *sin, uint32_t half)
{
    uint32_t i = 0;

    for (; i + 16 <= half; i += 16)
        rope_step(x + i, cos + i, sin + i, half, 16);
    if (i < half)
        rope_step(x + i, cos + i, sin + i, half, half - i);
}

/* The largest first, then where it is: all NaN leaves -infinity, which nothing equals. */
static size_t argmax(const float *x, size_t n)
{
    const struct v16 lowest = v16_set1(-INFINITY);
    struct v16 max = lowest;
    float lanes[16], best;
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        max = v16_max(v16_load(x + i), max);
    if (i < n)
        max = v16_max(v16_first_n(v16_load_n(x + i, n - i), n - i, lowest), max);

    v16_store_n(lanes, max, 16);
    best = lanes[0];
    for (int lane = 1; lane < 16; lane++)
        best = lanes[lane] > best ? lanes[lane] : best;

    for (i = 0; i + 16 <= n; i += 16) {
        unsigned equal = v16_equal(v16_load(x + i), v16_set1(best));

        if (equal)
            return i + (size_t)__builtin_ctz(equal);
    }
    for (; i < n; i++)
        if (x[i] == best)
            return i;
    return 0;
}

static void fill(struct sl_kernels *k)
{
    k->rms_norm = rms_norm;
    k->silu_mul = silu_mul;
    k->sigmoid = sigmoid;
    k->add = add;
    k->add_weighted = add_weighted;
    k->short_conv = short_conv;
    k->rope = rope;
    k->argmax = argmax;
}
