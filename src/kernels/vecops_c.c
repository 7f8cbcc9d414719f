/*
 * Vector operations in C: the definition of the results, as kernels.h words it. A
 * result that is not a number may be any NaN; everything else is defined to the bit.
 */
#include <math.h>

#include "kernels/fill_float.h"
#include "kernels/lanes.h"
#include "kernels/mathfn.h"

static void rms_norm(float *out, const float *x, const float *w, size_t n, float eps)
{
    float acc[SL_LANES] = { 0 };
    float r;

    for (size_t i = 0; i < n; i++)
        acc[i % SL_LANES] = fmaf(x[i], x[i], acc[i % SL_LANES]);
    r = 1.0f / sqrtf(sl_lanes_sum(acc) / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        out[i] = (x[i] * r) * w[i];
}

static void silu_mul(float *out, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (gate[i] / (1.0f + sl_expf(-gate[i]))) * up[i];
}

static void sigmoid(float *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = 1.0f / (1.0f + sl_expf(-x[i]));
}

static void add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] + y[i];
}

static void add_weighted(float *x, const float *const *y, const float *weight,
                         uint32_t n_terms, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float acc = 0;

        for (uint32_t j = 0; j < n_terms; j++)
            acc = fmaf(weight[j], y[j][i], acc);
        x[i] = x[i] + acc;
    }
}

static void short_conv(float *out, float *z_out, const float *bcx, const float *kernel,
                       const float *const *hist, uint32_t n_taps, size_t n)
{
    const float *b = bcx, *gate = bcx + n, *xin = bcx + 2 * n;

    for (size_t c = 0; c < n; c++) {
        const float *taps = kernel + c * n_taps;
        float z = b[c] * xin[c];
        float acc = 0;

        for (uint32_t j = 0; j + 1 < n_taps; j++)
            acc = fmaf(taps[j], hist[j][c], acc);
        acc = fmaf(taps[n_taps - 1], z, acc);
        z_out[c] = z;
        out[c] = gate[c] * acc;
    }
}

static void rope(float *x, const float *cos, const float *sin, uint32_t half)
{
    for (uint32_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];

        x[i] = fmaf(a, cos[i], -(b * sin[i]));
        x[i + half] = fmaf(b, cos[i], a * sin[i]);
    }
}

static size_t argmax(const float *x, size_t n)
{
    float best = NAN;
    size_t ret = 0;

    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i]) || x[i] <= best)
            continue;
        best = x[i];
        ret = i;
    }
    return ret;
}

void sl_fill_vecops_c(struct sl_kernels *k)
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
