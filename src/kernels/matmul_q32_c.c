/*
 * Products with weights in blocks of 32, in C: the definition of the results.
 * For each row and block the weights are unpacked once and met with every token;
 * an output is its own accumulator, because its blocks come in order.
 */
#include <math.h>
#include <stdbool.h>

#include "kernels/matmul_c.h"
#include "kernels/unpack.h"

static int32_t dot32(const int8_t v[SL_BLOCK32], const int8_t *xq)
{
    int32_t sum = 0;

    for (int i = 0; i < SL_BLOCK32; i++)
        sum += v[i] * xq[i];
    return sum;
}

static void add_block(float *out, size_t out_stride, const struct sl_unpacked32 *u,
                      bool has_min, const struct sl_act *x, size_t b)
{
    for (uint32_t t = 0; t < x->n_tok; t++) {
        size_t i = b * x->n_tok + t;
        float d_x = x->d[i];
        float acc = out[t * out_stride];

        acc = fmaf((float)dot32(u->v, x->q + i * SL_BLOCK32), u->d * d_x, acc);
        if (has_min) {
            int32_t xsum = x->sums[2 * i] + x->sums[2 * i + 1];

            acc = fmaf((float)xsum, u->m * d_x, acc);
        }
        out[t * out_stride] = acc;
    }
}

struct q32_type {
    sl_unpack32_fn unpack;
    size_t block_bytes;
    bool has_min;
};

static void matmul(float *out, size_t out_stride, const void *w, size_t row_bytes,
                   size_t n_rows, const struct sl_act *x, struct q32_type type)
{
    struct sl_unpacked32 u;

    for (size_t r = 0; r < n_rows; r++) {
        const char *row = (const char *)w + r * row_bytes;

        for (uint32_t t = 0; t < x->n_tok; t++)
            out[t * out_stride + r] = 0;
        for (size_t b = 0; b < x->n_cols / SL_BLOCK32; b++) {
            type.unpack(&u, row + b * type.block_bytes);
            add_block(out + r, out_stride, &u, type.has_min, x, b);
        }
    }
}

void sl_matmul_q4_0_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x,
           (struct q32_type){ sl_unpack_q4_0, sizeof(struct sl_block_q4_0), false });
}

void sl_matmul_q4_1_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x,
           (struct q32_type){ sl_unpack_q4_1, sizeof(struct sl_block_q4_1), true });
}

void sl_matmul_q5_0_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x,
           (struct q32_type){ sl_unpack_q5_0, sizeof(struct sl_block_q5_0), false });
}

void sl_matmul_q5_1_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x,
           (struct q32_type){ sl_unpack_q5_1, sizeof(struct sl_block_q5_1), true });
}

void sl_matmul_q8_0_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x,
           (struct q32_type){ sl_unpack_q8_0, sizeof(struct sl_block_q8_0), false });
}

void sl_matmul_iq4_nl_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                        size_t n_rows, const struct sl_act *x)
{
    matmul(out, out_stride, w, row_bytes, n_rows, x,
           (struct q32_type){ sl_unpack_iq4_nl, sizeof(struct sl_block_iq4_nl), false });
}
