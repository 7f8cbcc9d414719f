/*
 * Products with Q8_0 and Q4_0 weights, AVX-512 VNNI. Both are brought to unsigned
 * bytes (Q8_0: w + 128; Q4_0: as stored, value + 8), and what the offset adds is taken
 * off exactly: the accumulators start at -offset times the sums of the activations.
 * The functions take `nibbles` (Q4_0) as a constant.
 *
 * one: 64 bytes of weights make a vector of two (Q8_0) or four (Q4_0) blocks of a
 * row; the lanes of sixteen rows are then added within each block's part of the
 * vector. Blocks that do not fill a vector go one by one.
 *
 * many: a tile of 16 rows of up to 8 blocks is unpacked to dwords of four columns (see
 * vnni_avx512.h) and multiplied with groups of up to 12 tokens, whose float sums stay
 * in registers meanwhile.
 */
#include <stdbool.h>

#include "kernels/x86/quant_avx512.h"
#include "kernels/x86/vnni_avx512.h"
#include "tensor/block.h"

#define TILE_BLOCKS 8

INLINE size_t bytes_of_block(bool nibbles)
{
    return nibbles ? sizeof(struct sl_block_q4_0) : sizeof(struct sl_block_q8_0);
}

/* Weights of n blocks of one row (up to four of Q4_0, two of Q8_0), as stored; a block
 * that is not there is zero. p: the first block. */
INLINE __m512i load_blocks(const uint8_t *p, size_t n, bool nibbles)
{
    const size_t step = bytes_of_block(nibbles);

    p += sizeof(uint16_t);
    if (nibbles)
        return n == 4 ? load128x4(p, p + step, p + 2 * step, p + 3 * step)
                      : _mm512_zextsi128_si512(load128(p));
    return n == 2 ? load256x2(p, p + step) : _mm512_zextsi256_si512(load256(p));
}

/* Activations of one token for n blocks, as load_blocks lays out the weights. */
struct act_32 {
    __m512i x[2];  /* for the low, high nibbles; x[0] alone for Q8_0 */
    __m512i start; /* -offset * (sum of a lane's activations) */
};

INLINE struct act_32 load_act(const struct sl_act *x, size_t i_block, size_t n, bool nibbles)
{
    const __m512i zero = _mm512_setzero_si512();
    const int8_t *q = x->q + i_block * SL_BLOCK32;
    const size_t step = (size_t)x->n_tok * SL_BLOCK32;
    struct act_32 a;
    __m512i offset;

    if (!nibbles) {
        a.x[0] = n == 2 ? load256x2(q, q + step) : _mm512_zextsi256_si512(load256(q));
        offset = _mm512_dpbusd_epi32(zero, _mm512_set1_epi8(-128), a.x[0]);
    } else {
        const uint8_t *p = (const uint8_t *)q;
        const __m512i eight = _mm512_set1_epi8(8);

        for (int i = 0; i < 2; i++, p += 16)
            a.x[i] = n == 4 ? load128x4(p, p + step, p + 2 * step, p + 3 * step)
                            : _mm512_zextsi128_si512(load128(p));
        offset = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, eight, a.x[0]), eight, a.x[1]);
    }
    a.start = _mm512_sub_epi32(zero, offset);
    return a;
}

/* The lanes of one row for n blocks. */
INLINE __m512i dot_row(const uint8_t *p, const struct act_32 *a, size_t n, bool nibbles)
{
    const __m512i m0f = _mm512_set1_epi8(0x0f);
    __m512i w = load_blocks(p, n, nibbles), dot;

    if (!nibbles)
        return _mm512_dpbusd_epi32(a->start, _mm512_xor_si512(w, _mm512_set1_epi8(-128)), a->x[0]);
    dot = _mm512_dpbusd_epi32(a->start, _mm512_and_si512(w, m0f), a->x[0]);
    return _mm512_dpbusd_epi32(dot, _mm512_and_si512(_mm512_srli_epi16(w, 4), m0f), a->x[1]);
}

/* n blocks (1, or a full vector's 2 or 4) from byte off on in each row, i_block in x. */
INLINE __m512 add_blocks(__m512 acc, const struct rows16 *rows, size_t off,
                         const struct sl_act *x, size_t i_block, const size_t n, bool nibbles)
{
    const uint8_t *const *at = rows->at;
    const struct act_32 a = load_act(x, i_block, n, nibbles);
    __m512i lanes[4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        lanes[i] = add_lanes4(dot_row(at[4 * i] + off, &a, n, nibbles),
                              dot_row(at[4 * i + 1] + off, &a, n, nibbles),
                              dot_row(at[4 * i + 2] + off, &a, n, nibbles),
                              dot_row(at[4 * i + 3] + off, &a, n, nibbles));
    transpose_quarters(lanes);
    if (!nibbles) {
        lanes[0] = _mm512_add_epi32(lanes[0], lanes[1]);
        lanes[1] = _mm512_add_epi32(lanes[2], lanes[3]);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++) {
        __m512 d = load_halves_low(rows, off + i * bytes_of_block(nibbles));
        __m512 dx = _mm512_set1_ps(x->d[i_block + i * x->n_tok]);

        acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(lanes[i]), _mm512_mul_ps(d, dx), acc);
    }
    return acc;
}

/* The products of one tile with token t. */
INLINE void tile_one(float *out, const struct rows16 *rows, const struct sl_act *x, uint32_t t,
                     bool nibbles)
{
    const size_t step = nibbles ? 4 : 2;
    const size_t block_bytes = bytes_of_block(nibbles);
    const size_t n_blocks = x->n_cols / SL_BLOCK32;
    const uint8_t *next = rows->next;
    __m512 acc = _mm512_setzero_ps();
    size_t b = 0;

    for (; b + step <= n_blocks; b += step) {
        for (size_t i = 0; i < TILE_ROWS * step * block_bytes; i += 64)
            _mm_prefetch((const char *)next + i, _MM_HINT_T1);
        next += TILE_ROWS * step * block_bytes;
        acc = add_blocks(acc, rows, b * block_bytes, x, b * x->n_tok + t, step, nibbles);
    }
    for (; b < n_blocks; b++)
        acc = add_blocks(acc, rows, b * block_bytes, x, b * x->n_tok + t, 1, nibbles);
    _mm512_mask_storeu_ps(out, rows->mask, acc);
}

/* Up to 8 blocks of 16 rows, unpacked. Dword i of block j: columns 32 j + 4 i .. + 3. */
struct tile_32 {
    __m512i w[TILE_BLOCKS][8];
    __m512 d[TILE_BLOCKS];
};

/* n blocks (1, or a full vector's 2 or 4) from byte off on, to block j of the tile. */
INLINE void unpack_blocks(struct tile_32 *tile, size_t j, const struct rows16 *rows, size_t off,
                          const size_t n, bool nibbles)
{
    const __m512i m0f = _mm512_set1_epi8(0x0f);
    __m512i v[16];

    for (int i = 0; i < TILE_ROWS; i++)
        v[i] = load_blocks(rows->at[i] + off, n, nibbles);
    transpose16(v);
    for (size_t i = 0; i < n; i++) {
        tile->d[j + i] = load_halves_low(rows, off + i * bytes_of_block(nibbles));
        if (nibbles) {
            for (size_t c = 0; c < 4; c++) {
                __m512i both = v[4 * i + c];

                tile->w[j + i][c] = _mm512_and_si512(both, m0f);
                tile->w[j + i][4 + c] = _mm512_and_si512(_mm512_srli_epi32(both, 4), m0f);
            }
        } else {
            for (size_t c = 0; c < 8; c++)
                tile->w[j + i][c] = _mm512_xor_si512(v[8 * i + c], _mm512_set1_epi8(-128));
        }
    }
}

INLINE void unpack_tile(struct tile_32 *tile, const struct rows16 *rows, size_t off,
                        size_t n_blocks, bool nibbles)
{
    const size_t step = nibbles ? 4 : 2;
    const size_t block_bytes = bytes_of_block(nibbles);
    size_t j = 0;

    for (; j + step <= n_blocks; j += step)
        unpack_blocks(tile, j, rows, off + j * block_bytes, step, nibbles);
    for (; j < n_blocks; j++)
        unpack_blocks(tile, j, rows, off + j * block_bytes, 1, nibbles);
}

/* n_blocks of a tile with n_tok (a constant) tokens from i_block on in x. */
INLINE void group(float *acc, const struct tile_32 *tile, size_t n_blocks, const struct sl_act *x,
                  size_t i_block, const int n_tok, bool nibbles)
{
    const __m512i offset = _mm512_set1_epi16(nibbles ? -8 : -128);
    __m512i dot[GROUP_TOK_MAX];
    __m512 sum[GROUP_TOK_MAX];

    for (int t = 0; t < n_tok; t++)
        sum[t] = _mm512_load_ps(acc + TILE_ROWS * t);
    for (size_t j = 0; j < n_blocks; j++, i_block += x->n_tok) {
        const int8_t *q = x->q + i_block * SL_BLOCK32;
        const int16_t *sums = x->sums + i_block * 2;
        const float *d = x->d + i_block;

#pragma GCC unroll 12
        for (int t = 0; t < n_tok; t++)
            dot[t] = _mm512_dpwssd_epi32(_mm512_setzero_si512(), offset, broadcast32(sums + 2 * t));
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            __m512i w = tile->w[j][i];

#pragma GCC unroll 12
            for (int t = 0; t < n_tok; t++)
                dot[t] = _mm512_dpbusd_epi32(dot[t], w, broadcast32(q + SL_BLOCK32 * t + 4 * i));
        }
#pragma GCC unroll 12
        for (int t = 0; t < n_tok; t++)
            sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t]),
                                     _mm512_mul_ps(tile->d[j], _mm512_set1_ps(d[t])), sum[t]);
    }
    for (int t = 0; t < n_tok; t++)
        _mm512_store_ps(acc + TILE_ROWS * t, sum[t]);
}

INLINE void any_group(float *acc, const struct tile_32 *tile, size_t n_blocks,
                      const struct sl_act *x, size_t i_block, uint32_t n_tok, bool nibbles)
{
    switch (n_tok) {
    case 4: group(acc, tile, n_blocks, x, i_block, 4, nibbles); break;
    case 5: group(acc, tile, n_blocks, x, i_block, 5, nibbles); break;
    case 6: group(acc, tile, n_blocks, x, i_block, 6, nibbles); break;
    case 7: group(acc, tile, n_blocks, x, i_block, 7, nibbles); break;
    case 8: group(acc, tile, n_blocks, x, i_block, 8, nibbles); break;
    case 9: group(acc, tile, n_blocks, x, i_block, 9, nibbles); break;
    case 10: group(acc, tile, n_blocks, x, i_block, 10, nibbles); break;
    case 11: group(acc, tile, n_blocks, x, i_block, 11, nibbles); break;
    case 12: group(acc, tile, n_blocks, x, i_block, 12, nibbles); break;
    default: __builtin_unreachable(); /* next_part, FEW_TOK_MAX */
    }
}

/* The products of one tile with tokens t0 .. t0 + n_tok - 1, n_tok > FEW_TOK_MAX. */
INLINE void tile_many(float *out, size_t out_stride, const struct rows16 *rows,
                      const struct sl_act *x, uint32_t t0, uint32_t n_tok, bool nibbles)
{
    const size_t n_blocks = x->n_cols / SL_BLOCK32;
    _Alignas(64) float acc[CHUNK_TOK_MAX * TILE_ROWS];
    struct tile_32 tile;

    memset(acc, 0, n_tok * TILE_ROWS * sizeof(float));
    for (size_t b = 0; b < n_blocks; b += TILE_BLOCKS) {
        size_t n_here = n_blocks - b < TILE_BLOCKS ? n_blocks - b : TILE_BLOCKS;

        unpack_tile(&tile, rows, b * bytes_of_block(nibbles), n_here, nibbles);
        for (uint32_t t = 0, n; t < n_tok; t += n) {
            n = next_part(n_tok - t, GROUP_TOK_MAX);
            any_group(acc + TILE_ROWS * t, &tile, n_here, x, b * x->n_tok + t0 + t, n, nibbles);
        }
    }
    for (uint32_t t = 0; t < n_tok; t++)
        _mm512_mask_storeu_ps(out + t * out_stride, rows->mask, _mm512_load_ps(acc + TILE_ROWS * t));
}

INLINE void matmul_one(float *out, const void *w, size_t row_bytes, size_t n_rows,
                       const struct sl_act *x, bool nibbles)
{
    for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
        struct rows16 rows = rows16_at(w, row_bytes, n_rows, r);

        tile_one(out + r, &rows, x, 0, nibbles);
    }
}

INLINE void matmul_many(float *out, size_t out_stride, const void *w, size_t row_bytes,
                        size_t n_rows, const struct sl_act *x, bool nibbles)
{
    for (uint32_t t0 = 0, n; t0 < x->n_tok; t0 += n) {
        n = next_part(x->n_tok - t0, CHUNK_TOK_MAX);
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            struct rows16 rows = rows16_at(w, row_bytes, n_rows, r);
            float *tile_out = out + t0 * out_stride + r;

            if (n > FEW_TOK_MAX)
                tile_many(tile_out, out_stride, &rows, x, t0, n, nibbles);
            else
                for (uint32_t t = 0; t < n; t++)
                    tile_one(tile_out + t * out_stride, &rows, x, t0 + t, nibbles);
        }
    }
}

void sl_matmul_one_q8_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    matmul_one(out, w, row_bytes, n_rows, x, false);
}

void sl_matmul_many_q8_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x)
{
    matmul_many(out, out_stride, w, row_bytes, n_rows, x, false);
}

void sl_matmul_one_q4_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    matmul_one(out, w, row_bytes, n_rows, x, true);
}

void sl_matmul_many_q4_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x)
{
    matmul_many(out, out_stride, w, row_bytes, n_rows, x, true);
}
