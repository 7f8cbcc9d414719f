/*
 * Products with weights in blocks of 256, in C: the definition of the results.
 * For each row and block the weights are unpacked once and met with every token;
 * an output is its own accumulator, because its blocks come in order.
 *
 * The sums fit 32 bits: |scale| <= 128, |value| <= 127 never meet in one type; the
 * largest is IQ4_XS with 256 * 32 * 127 * 127 = 1.3e8.
 */
#include <math.h>
#include <stdbool.h>

#include "kernels/matmul_c.h"
#include "kernels/unpack.h"

static int32_t dot256(const struct sl_unpacked256 *u, const int8_t *xq)
{
    int32_t sum = 0;

    for (int j = 0; j < 16; j++) {
        int32_t part = 0;

        for (int i = 16 * j; i < 16 * j + 16; i++)
            part += u->v[i] * xq[i];
        sum += u->scale[j] * part;
    }
    return sum;
}

static int32_t dot_mins(const struct sl_unpacked256 *u, const int16_t *sums)
{
    int32_t sum = 0;

    for (int j = 0; j < 16; j++)
        sum += u->min[j] * sums[j];
    return sum;
}

static void add_block(float *out, size_t out_stride, const struct sl_unpacked256 *u,
                      bool has_min, const struct sl_act *x, size_t b)
{
    for (uint32_t t = 0; t < x->n_tok; t++) {
        size_t i = b * x->n_tok + t;
        float d_x = x->d[i];
        float acc = out[t * out_stride];

        acc = fmaf((float)dot256(u, x->q + i * SL_BLOCK256), u->d * d_x, acc);
        if (has_min)
            acc = fmaf((float)dot_mins(u, x->sums + i * 16), -(u->dmin * d_x), acc);
        out[t * out_stride] = acc;
    }
}

struct q256_type {
    sl_unpack256_fn unpack;
    size_t block_bytes;
    bool has_min;
};

static void matmul(float *out, size_t out_stride, const void *w, size_t row_bytes,
                   size_t n_rows, const struct sl_act *x, struct q256_type type)
{
    struct sl_unpacked256 u;

    for (size_t r = 0; r < n_rows; r++) {
        const char *row = (const char *)w + r * row_bytes;

        for (uint32_t t = 0; t < x->n_tok; t++)
            out[t * out_stride + r] = 0;
        for (size_t b = 0; b < x->n_cols / SL_BLOCK256; b++) {
            type.unpack(&u, row + b * type.block_bytes);
            add_block(out + r, out_stride, &u, type.has_min, x, b);
        }
    }
}

void sl_matmul_q2_k_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x,
           (struct q256_type){ sl_unpack_q2_k, sizeof(struct sl_block_q2_k), true });
}

void sl_matmul_q3_k_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x,
           (struct q256_type){ sl_unpack_q3_k, sizeof(struct sl_block_q3_k), false });
}

void sl_matmul_q4_k_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x,
           (struct q256_type){ sl_unpack_q4_k, sizeof(struct sl_block_q4_k), true });
}

void sl_matmul_q5_k_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x,
           (struct q256_type){ sl_unpack_q5_k, sizeof(struct sl_block_q5_k), true });
}

void sl_matmul_q6_k_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x,
           (struct q256_type){ sl_unpack_q6_k, sizeof(struct sl_block_q6_k), false });
}

void sl_matmul_iq4_xs_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                        size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x,
           (struct q256_type){ sl_unpack_iq4_xs, sizeof(struct sl_block_iq4_xs), false });
}
