/*
 * Products with F32, F16 and BF16 weights over v16: a template for matmul_float_avx2.c
 * and matmul_float_avx512.c, which first include their v16 header and define
 *
 *   ISA          the level's name, a string
 *   ONE_ROWS     rows at once for one token: 4 or 8
 *   MANY_TOK     tokens at once beside MANY_ROWS rows, as parts of a v16
 *   BLOCK_TOK    tokens of a block, a multiple of MANY_TOK
 *   BLOCK_COLS   columns of a block, a multiple of 16
 *
 * An output is sixteen lanes over the whole row, as its definition asks; what hides
 * the latency of fma is that many outputs are in flight. Lanes do not meet before the
 * end, so `many` may take the parts of a v16 (two in AVX2) one after the other, which
 * makes tiles wider, and may leave a row after BLOCK_COLS columns: the sums are then
 * kept in memory. A block is BLOCK_ROWS x BLOCK_TOK outputs; BLOCK_COLS of its weights
 * and activations stay in L2, those of one tile's tokens in L1 while all rows pass by.
 *
 * Rows that a tile lacks repeat the last one and are not stored.
 */
#pragma once

#include "kernels/fill_float.h"

#define MANY_ROWS 4
#define BLOCK_ROWS 32
#define ONE_AHEAD_BYTES 8192
#define PART_LANES (16 / V16_PARTS)

enum elem { ELEM_F32, ELEM_F16, ELEM_BF16 };

SL_INLINE struct v16 load_elems(const char *row, size_t i, size_t n, enum elem type)
{
    if (type == ELEM_F32)
        return v16_load_n(row + 4 * i, n);
    if (type == ELEM_F16)
        return v16_load_f16_n(row + 2 * i, n);
    return v16_load_bf16_n(row + 2 * i, n);
}

SL_INLINE struct v16_part load_part(const char *row, size_t i, enum elem type)
{
    if (type == ELEM_F32)
        return v16_part_load(row + 4 * i);
    if (type == ELEM_F16)
        return v16_part_load_f16(row + 2 * i);
    return v16_part_load_bf16(row + 2 * i);
}

/* The rows of a tile whose first is row r of w, of which n exist. */
SL_INLINE void tile_rows(const char **rows, const char *w, size_t row_bytes, size_t r,
                         size_t n, const int n_r)
{
    for (int i = 0; i < n_r; i++)
        rows[i] = w + (r + ((size_t)i < n ? (size_t)i : n - 1)) * row_bytes;
}

/*
 * Ask for a line of each row, ONE_AHEAD_BYTES ahead of byte off as the tile is read. Behind
 * the end of the rows of one tile those of the next begin.
 */
SL_INLINE void one_prefetch(const char *const *rows, size_t row_bytes, size_t off)
{
    off += ONE_AHEAD_BYTES / ONE_ROWS;
    if (off >= row_bytes)
        off += (ONE_ROWS - 1) * row_bytes;
#pragma GCC unroll 8
    for (int r = 0; r < ONE_ROWS; r++)
        _mm_prefetch((const void *)((uintptr_t)rows[r] + off), _MM_HINT_T1);
}

SL_INLINE void one_step(struct v16 acc[ONE_ROWS], const char *const *rows, const float *x,
                        size_t i, size_t n, const enum elem type)
{
    struct v16 x_i = v16_load_n(x + i, n);

#pragma GCC unroll 8
    for (int r = 0; r < ONE_ROWS; r++)
        acc[r] = v16_fma(load_elems(rows[r], i, n, type), x_i, acc[r]);
}

SL_INLINE void matmul_one(float *out, const char *w, size_t row_bytes, size_t n_rows,
                          const struct sl_act *x, const enum elem type)
{
    const size_t n_cols = x->n_cols, per_line = type == ELEM_F32 ? 16 : 32;

    for (size_t first = 0; first < n_rows; first += ONE_ROWS) {
        size_t n = n_rows - first < ONE_ROWS ? n_rows - first : ONE_ROWS, i = 0;
        const char *rows[ONE_ROWS];
        struct v16 acc[ONE_ROWS];
        float sums[ONE_ROWS];

        tile_rows(rows, w, row_bytes, first, n, ONE_ROWS);
#pragma GCC unroll 8
        for (int r = 0; r < ONE_ROWS; r++)
            acc[r] = v16_zero();
        for (; i + per_line <= n_cols; i += per_line) {
            one_prefetch(rows, row_bytes, i * 64 / per_line);
#pragma GCC unroll 2
            for (size_t j = 0; j < per_line; j += 16)
                one_step(acc, rows, x->f32, i + j, 16, type);
        }
        if (i + 16 <= n_cols) {
            one_step(acc, rows, x->f32, i, 16, type);
            i += 16;
        }
        if (i < n_cols)
            one_step(acc, rows, x->f32, i, n_cols - i, type);
#pragma GCC unroll 8
        for (int r = 0; r < ONE_ROWS; r += 4)
            _mm_storeu_ps(sums + r, v16_sum4(acc[r], acc[r + 1], acc[r + 2], acc[r + 3]));
        memcpy(out + first, sums, n * sizeof(float));
    }
}

/* Up to BLOCK_ROWS rows with up to BLOCK_TOK tokens. */
struct block {
    float *out;
    size_t out_stride;
    const char *w;
    size_t row_bytes, n_rows;
    const float *x;
    size_t n_tok, n_cols;
};

/* The sixteen lanes of each output of a row of tiles. */
typedef float kept_lanes[BLOCK_TOK][MANY_ROWS][16];

/* Part h of the columns from .. to of a tile, onto the lanes in kept. */
SL_INLINE void tile_part(float (*kept)[MANY_ROWS][16], const char *const *rows, const float *x,
                         size_t n_cols, size_t from, size_t to, const int h, const int n_t,
                         const enum elem type)
{
    struct v16_part acc[MANY_ROWS][MANY_TOK], x_t[MANY_TOK];
    size_t i = from;

#pragma GCC unroll 8
    for (int t = 0; t < n_t; t++)
#pragma GCC unroll 4
        for (int r = 0; r < MANY_ROWS; r++)
            acc[r][t] = from == 0 ? v16_part_of(v16_zero(), h)
                                  : v16_part_load(kept[t][r] + h * PART_LANES);
    for (; i + 16 <= to; i += 16) {
        size_t at = i + (size_t)h * PART_LANES;

#pragma GCC unroll 8
        for (int t = 0; t < n_t; t++)
            x_t[t] = v16_part_load(x + (size_t)t * n_cols + at);
#pragma GCC unroll 4
        for (int r = 0; r < MANY_ROWS; r++) {
            struct v16_part w = load_part(rows[r], at, type);

#pragma GCC unroll 8
            for (int t = 0; t < n_t; t++)
                acc[r][t] = v16_part_fma(w, x_t[t], acc[r][t]);
        }
    }
    if (i < to)
        for (int t = 0; t < n_t; t++) {
            struct v16 x_n = v16_load_n(x + (size_t)t * n_cols + i, to - i);

            for (int r = 0; r < MANY_ROWS; r++)
                acc[r][t] = v16_part_fma(v16_part_of(load_elems(rows[r], i, to - i, type), h),
                                         v16_part_of(x_n, h), acc[r][t]);
        }
#pragma GCC unroll 8
    for (int t = 0; t < n_t; t++)
#pragma GCC unroll 4
        for (int r = 0; r < MANY_ROWS; r++)
            v16_part_store(kept[t][r] + h * PART_LANES, acc[r][t]);
}

/* The columns from .. to of the tile at row r and token t of a block. */
SL_INLINE void tile(const struct block *b, float (*kept)[MANY_ROWS][16], size_t r, size_t t,
                    size_t from, size_t to, const int n_t, const enum elem type)
{
    size_t n = b->n_rows - r < MANY_ROWS ? b->n_rows - r : MANY_ROWS;
    const char *rows[MANY_ROWS];

    tile_rows(rows, b->w, b->row_bytes, r, n, MANY_ROWS);
#pragma GCC unroll 2
    for (int h = 0; h < V16_PARTS; h++)
        tile_part(kept, rows, b->x + t * b->n_cols, b->n_cols, from, to, h, n_t, type);
    if (to < b->n_cols)
        return;
    for (size_t i = 0; i < (size_t)n_t; i++) {
        float sums[MANY_ROWS];

        _mm_storeu_ps(sums, v16_sum4(v16_load(kept[i][0]), v16_load(kept[i][1]),
                                     v16_load(kept[i][2]), v16_load(kept[i][3])));
        memcpy(b->out + (t + i) * b->out_stride + r, sums, n * sizeof(float));
    }
}

SL_INLINE void block_cols(const struct block *b, kept_lanes *kept, size_t from, size_t to,
                          const enum elem type)
{
    size_t t = 0;

    for (; t + MANY_TOK <= b->n_tok; t += MANY_TOK)
        for (size_t r = 0; r < b->n_rows; r += MANY_ROWS)
            tile(b, kept[r / MANY_ROWS] + t, r, t, from, to, MANY_TOK, type);
    for (; t + 2 <= b->n_tok; t += 2)
        for (size_t r = 0; r < b->n_rows; r += MANY_ROWS)
            tile(b, kept[r / MANY_ROWS] + t, r, t, from, to, 2, type);
    for (; t < b->n_tok; t++)
        for (size_t r = 0; r < b->n_rows; r += MANY_ROWS)
            tile(b, kept[r / MANY_ROWS] + t, r, t, from, to, 1, type);
}

SL_INLINE void matmul_many(float *out, size_t out_stride, const char *w, size_t row_bytes,
                           size_t n_rows, const struct sl_act *x, const enum elem type)
{
    kept_lanes kept[BLOCK_ROWS / MANY_ROWS] __attribute__((aligned(64)));
    const size_t n_cols = x->n_cols;

    for (size_t r = 0; r < n_rows; r += BLOCK_ROWS)
        for (size_t t = 0; t < x->n_tok; t += BLOCK_TOK) {
            struct block b = {
                .out = out + t * out_stride + r,
                .out_stride = out_stride,
                .w = w + r * row_bytes,
                .row_bytes = row_bytes,
                .n_rows = n_rows - r < BLOCK_ROWS ? n_rows - r : BLOCK_ROWS,
                .x = x->f32 + t * n_cols,
                .n_tok = x->n_tok - t < BLOCK_TOK ? x->n_tok - t : BLOCK_TOK,
                .n_cols = n_cols,
            };

            for (size_t from = 0; from < n_cols; from += BLOCK_COLS)
                block_cols(&b, kept, from,
                           n_cols - from < BLOCK_COLS ? n_cols : from + BLOCK_COLS, type);
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
