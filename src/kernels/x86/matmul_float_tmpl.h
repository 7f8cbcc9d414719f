/*
 * Products with F32, F16 and BF16 weights over v16: a template for matmul_float_avx2.c
 * and matmul_float_avx512.c, which first include their v16 header and define
 *
 *   ONE_ROWS    rows at once for one token: 4 or 8
 *   MANY_TOK    tokens at once beside MANY_ROWS rows
 *   MANY_ROWS   2 or 4
 *   ISA         the level's name, a string
 *
 * An output is one v16 accumulator over the whole row, as its definition asks; what
 * hides the latency of fma is that ONE_ROWS or MANY_ROWS * MANY_TOK of them are in
 * flight. Rows that a tile lacks repeat the last one and are not stored.
 *
 * Tokens are taken in chunks whose activations stay in L2 while all rows pass by.
 */
#pragma once

#include "kernels/fill_float.h"

/* Half of the L2 of the CPUs meant: 512 KiB (Zen 2, 3), 1 MiB (Zen 4). */
#define CHUNK_BYTES (384 * 1024)

enum elem { ELEM_F32, ELEM_F16, ELEM_BF16 };

SL_INLINE struct v16 load_elems(const char *row, size_t i, size_t n, enum elem type)
{
    if (type == ELEM_F32)
        return v16_load_n(row + 4 * i, n);
    if (type == ELEM_F16)
        return v16_load_f16_n(row + 2 * i, n);
    return v16_load_bf16_n(row + 2 * i, n);
}

/* One step of a tile: columns i .. i + n of all its rows and tokens. */
SL_INLINE void tile_step(struct v16 acc[ONE_ROWS][MANY_TOK], const char *const *rows,
                         const float *x, size_t n_cols, size_t i, size_t n,
                         const int n_r, const int n_t, const enum elem type)
{
    struct v16 w[ONE_ROWS];

#pragma GCC unroll 8
    for (int r = 0; r < n_r; r++)
        w[r] = load_elems(rows[r], i, n, type);
#pragma GCC unroll 8
    for (int t = 0; t < n_t; t++) {
        struct v16 x_t = v16_load_n(x + (size_t)t * n_cols + i, n);

#pragma GCC unroll 8
        for (int r = 0; r < n_r; r++)
            acc[r][t] = v16_fma(w[r], x_t, acc[r][t]);
    }
}

/* sums[t][r]: the products of n_r rows with n_t tokens. */
SL_INLINE void tile(float sums[MANY_TOK][ONE_ROWS], const char *const *rows, const float *x,
                    size_t n_cols, const int n_r, const int n_t, const enum elem type)
{
    struct v16 acc[ONE_ROWS][MANY_TOK];
    size_t i = 0;

#pragma GCC unroll 8
    for (int r = 0; r < n_r; r++)
#pragma GCC unroll 8
        for (int t = 0; t < n_t; t++)
            acc[r][t] = v16_zero();
    for (; i + 16 <= n_cols; i += 16)
        tile_step(acc, rows, x, n_cols, i, 16, n_r, n_t, type);
    if (i < n_cols)
        tile_step(acc, rows, x, n_cols, i, n_cols - i, n_r, n_t, type);

#pragma GCC unroll 8
    for (int t = 0; t < n_t; t++)
#pragma GCC unroll 8
        for (int r = 0; r < n_r; r += 4) {
            /* a tile of two rows fills the four places with each of them twice */
            int r2 = n_r == 2 ? 0 : 2, r3 = n_r == 2 ? 1 : 3;

            _mm_storeu_ps(&sums[t][r], v16_sum4(acc[r][t], acc[r + 1][t], acc[r + r2][t],
                                                acc[r + r3][t]));
        }
}

/* The rows of a tile that starts at row r, of which n exist. */
SL_INLINE void tile_rows(const char **rows, const char *w, size_t row_bytes, size_t r,
                         size_t n, const int n_r)
{
    for (int i = 0; i < n_r; i++)
        rows[i] = w + (r + ((size_t)i < n ? (size_t)i : n - 1)) * row_bytes;
}

SL_INLINE void matmul_one(float *out, const char *w, size_t row_bytes, size_t n_rows,
                          const struct sl_act *x, const enum elem type)
{
    float sums[MANY_TOK][ONE_ROWS];
    const char *rows[ONE_ROWS];

    for (size_t r = 0; r < n_rows; r += ONE_ROWS) {
        size_t n = n_rows - r < ONE_ROWS ? n_rows - r : ONE_ROWS;

        tile_rows(rows, w, row_bytes, r, n, ONE_ROWS);
        tile(sums, rows, x->f32, x->n_cols, ONE_ROWS, 1, type);
        memcpy(out + r, sums[0], n * sizeof(float));
    }
}

/* n_tok tokens from x with all rows. */
SL_INLINE void matmul_chunk(float *out, size_t out_stride, const char *w, size_t row_bytes,
                            size_t n_rows, const float *x, size_t n_tok, size_t n_cols,
                            const enum elem type)
{
    float sums[MANY_TOK][ONE_ROWS];
    const char *rows[MANY_ROWS];

    for (size_t r = 0; r < n_rows; r += MANY_ROWS) {
        size_t n = n_rows - r < MANY_ROWS ? n_rows - r : MANY_ROWS;
        size_t n_t;

        tile_rows(rows, w, row_bytes, r, n, MANY_ROWS);
        for (size_t t = 0; t < n_tok; t += n_t) {
            const float *x_t = x + t * n_cols;

            if (n_tok - t >= MANY_TOK) {
                n_t = MANY_TOK;
                tile(sums, rows, x_t, n_cols, MANY_ROWS, MANY_TOK, type);
            } else if (n_tok - t >= 2) {
                n_t = 2;
                tile(sums, rows, x_t, n_cols, MANY_ROWS, 2, type);
            } else {
                n_t = 1;
                tile(sums, rows, x_t, n_cols, MANY_ROWS, 1, type);
            }
            for (size_t i = 0; i < n_t; i++)
                memcpy(out + (t + i) * out_stride + r, sums[i], n * sizeof(float));
        }
    }
}

SL_INLINE void matmul_many(float *out, size_t out_stride, const char *w, size_t row_bytes,
                           size_t n_rows, const struct sl_act *x, const enum elem type)
{
    size_t n_cols = x->n_cols;
    size_t n_chunk = CHUNK_BYTES / (n_cols * sizeof(float) * MANY_TOK) * MANY_TOK;

    if (n_chunk == 0)
        n_chunk = MANY_TOK;
    for (size_t t = 0; t < x->n_tok; t += n_chunk) {
        size_t n = x->n_tok - t < n_chunk ? x->n_tok - t : n_chunk;

        matmul_chunk(out + t * out_stride, out_stride, w, row_bytes, n_rows,
                     x->f32 + t * n_cols, n, n_cols, type);
    }
}

static void one_f32(float *out, size_t out_stride, const void *w, size_t row_bytes,
                    size_t n_rows, const struct sl_act *x)
{
    matmul_one(out, w, row_bytes, n_rows, x, ELEM_F32);
}

static void one_f16(float *out, size_t out_stride, const void *w, size_t row_bytes,
                    size_t n_rows, const struct sl_act *x)
{
    matmul_one(out, w, row_bytes, n_rows, x, ELEM_F16);
}

static void one_bf16(float *out, size_t out_stride, const void *w, size_t row_bytes,
                     size_t n_rows, const struct sl_act *x)
{
    matmul_one(out, w, row_bytes, n_rows, x, ELEM_BF16);
}

static void many_f32(float *out, size_t out_stride, const void *w, size_t row_bytes,
                     size_t n_rows, const struct sl_act *x)
{
    matmul_many(out, out_stride, w, row_bytes, n_rows, x, ELEM_F32);
}

static void many_f16(float *out, size_t out_stride, const void *w, size_t row_bytes,
                     size_t n_rows, const struct sl_act *x)
{
    matmul_many(out, out_stride, w, row_bytes, n_rows, x, ELEM_F16);
}

static void many_bf16(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x)
{
    matmul_many(out, out_stride, w, row_bytes, n_rows, x, ELEM_BF16);
}

static struct sl_kernels_matmul entry(sl_matmul_fn one, sl_matmul_fn many)
{
    return (struct sl_kernels_matmul){ .one = one, .many = many,
                                       .one_isa = ISA, .many_isa = ISA };
}

static void fill(struct sl_kernels *k)
{
    k->matmul[SL_DTYPE_F32] = entry(one_f32, many_f32);
    k->matmul[SL_DTYPE_F16] = entry(one_f16, many_f16);
    k->matmul[SL_DTYPE_BF16] = entry(one_bf16, many_bf16);
}
