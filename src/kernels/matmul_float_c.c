/*
 * Products with F32, F16 and BF16 weights, in C: the definition of the results.
 * Sixteen lanes of fma by column mod 16, then the fixed tree; activations stay F32.
 */
#include <math.h>

#include "kernels/fill_float.h"
#include "kernels/half.h"
#include "kernels/lanes.h"

static float load_f32(const char *row, size_t i)
{
    return sl_f32_from_bits(sl_load_u32(row + 4 * i));
}

static float load_f16(const char *row, size_t i)
{
    return sl_f16_to_f32(sl_load_u16(row + 2 * i));
}

static float load_bf16(const char *row, size_t i)
{
    return sl_bf16_to_f32(sl_load_u16(row + 2 * i));
}

static void matmul(float *out, size_t out_stride, const void *w, size_t row_bytes,
                   size_t n_rows, const struct sl_act *x,
                   float (*load)(const char *row, size_t i))
{
    for (size_t r = 0; r < n_rows; r++) {
        const char *row = (const char *)w + r * row_bytes;

        for (uint32_t t = 0; t < x->n_tok; t++) {
            const float *x_row = x->f32 + (size_t)t * x->n_cols;
            float acc[SL_LANES] = { 0 };

            for (uint32_t i = 0; i < x->n_cols; i++)
                acc[i % SL_LANES] = fmaf(load(row, i), x_row[i], acc[i % SL_LANES]);
            out[t * out_stride + r] = sl_lanes_sum(acc);
        }
    }
}

static void matmul_f32(float *out, size_t out_stride, const void *w, size_t row_bytes,
                       size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x, load_f32);
}

static void matmul_f16(float *out, size_t out_stride, const void *w, size_t row_bytes,
                       size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x, load_f16);
}

static void matmul_bf16(float *out, size_t out_stride, const void *w, size_t row_bytes,
                        size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x, load_bf16);
}

static struct sl_kernels_matmul entry(sl_matmul_fn fn)
{
    return (struct sl_kernels_matmul){ .one = fn, .many = fn, .one_isa = "c", .many_isa = "c" };
}

void sl_fill_matmul_float_c(struct sl_kernels *k)
{
    k->matmul[SL_DTYPE_F32] = entry(matmul_f32);
    k->matmul[SL_DTYPE_F16] = entry(matmul_f16);
    k->matmul[SL_DTYPE_BF16] = entry(matmul_bf16);
}
