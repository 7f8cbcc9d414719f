/*
 * Rows of any type as floats, for embeddings and for tests. Not a hot path: a
 * token looks up one row. The products of half, scale and value are exact in
 * float (11 + 8 + 6 bits at most, with powers of two at the ends), so an element
 * is rounded at most once, in the subtraction or addition of the min.
 */
#include <assert.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/kernels.h"
#include "kernels/unpack.h"

static void dequant32(float *out, const char *row, uint32_t n_cols, size_t block_bytes,
                      sl_unpack32_fn unpack)
{
    struct sl_unpacked32 u;

    for (uint32_t i = 0; i < n_cols; i += SL_BLOCK32, row += block_bytes) {
        unpack(&u, row);
        for (int j = 0; j < SL_BLOCK32; j++)
            out[i + j] = u.d * (float)u.v[j] + u.m;
    }
}

static void dequant256(float *out, const char *row, uint32_t n_cols, size_t block_bytes,
                       sl_unpack256_fn unpack)
{
    struct sl_unpacked256 u;

    for (uint32_t i = 0; i < n_cols; i += SL_BLOCK256, row += block_bytes) {
        unpack(&u, row);
        for (int j = 0; j < SL_BLOCK256; j++) {
            float scale = u.d * (float)u.scale[j / 16];
            float min = u.dmin * (float)u.min[j / 16];

            out[i + j] = scale * (float)u.v[j] - min;
        }
    }
}

static void dequant_f16(float *out, const char *row, uint32_t n_cols)
{
    for (uint32_t i = 0; i < n_cols; i++)
        out[i] = sl_f16_to_f32(sl_load_u16(row + 2 * (size_t)i));
}

static void dequant_bf16(float *out, const char *row, uint32_t n_cols)
{
    for (uint32_t i = 0; i < n_cols; i++)
        out[i] = sl_bf16_to_f32(sl_load_u16(row + 2 * (size_t)i));
}

static const sl_unpack32_fn unpack32[SL_DTYPE_LIMIT] = {
    [SL_DTYPE_Q4_0] = sl_unpack_q4_0, [SL_DTYPE_Q4_1] = sl_unpack_q4_1,
    [SL_DTYPE_Q5_0] = sl_unpack_q5_0, [SL_DTYPE_Q5_1] = sl_unpack_q5_1,
    [SL_DTYPE_Q8_0] = sl_unpack_q8_0, [SL_DTYPE_IQ4_NL] = sl_unpack_iq4_nl,
};

static const sl_unpack256_fn unpack256[SL_DTYPE_LIMIT] = {
    [SL_DTYPE_Q2_K] = sl_unpack_q2_k, [SL_DTYPE_Q3_K] = sl_unpack_q3_k,
    [SL_DTYPE_Q4_K] = sl_unpack_q4_k, [SL_DTYPE_Q5_K] = sl_unpack_q5_k,
    [SL_DTYPE_Q6_K] = sl_unpack_q6_k, [SL_DTYPE_IQ4_XS] = sl_unpack_iq4_xs,
};

void sl_dequant_row(float *out, const struct sl_tensor *t, uint32_t row)
{
    const char *at = (const char *)t->data + (size_t)row * t->row_bytes;
    size_t block_bytes = sl_dtype_find(t->dtype)->block_bytes;

    assert(sl_dtype_find(t->dtype)->supported);
    if (t->dtype == SL_DTYPE_F32)
        memcpy(out, at, t->n_cols * sizeof(float));
    else if (t->dtype == SL_DTYPE_F16)
        dequant_f16(out, at, t->n_cols);
    else if (t->dtype == SL_DTYPE_BF16)
        dequant_bf16(out, at, t->n_cols);
    else if (unpack32[t->dtype])
        dequant32(out, at, t->n_cols, block_bytes, unpack32[t->dtype]);
    else if (unpack256[t->dtype])
        dequant256(out, at, t->n_cols, block_bytes, unpack256[t->dtype]);
}
