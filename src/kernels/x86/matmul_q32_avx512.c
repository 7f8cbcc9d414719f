/*
 * Products with Q8_0 and Q4_0 weights, AVX-512 VNNI, with several tokens; with one they are
 * in one32_avx2.c and one32_avx512.c. Both types are brought to unsigned bytes (Q8_0: w + 128;
 * Q4_0: as stored, value + 8), and what the offset adds is taken off exactly: the accumulators
 * start at -offset times the sums of the activations. The functions take `nibbles` (Q4_0) as
 * a constant.
 *
 * A tile of 16 rows of up to 8 blocks is unpacked to dwords of four columns (see
 * vnni_avx512.h) and multiplied with groups of up to 12 tokens, whose float sums stay in
 * registers meanwhile.
 */
#include <stdbool.h>

#include "kernels/x86/quant_avx2.h"
#include "kernels/x86/quant_avx512.h"
#include "kernels/x86/vnni_avx512.h"
#include "tensor/block.h"

#define TILE_BLOCKS 8

INLINE size_t bytes_of_block(bool nibbles)
{
    return nibbles ? sizeof(struct sl_block_q4_0) : sizeof(struct sl_block_q8_0);
}

/* Up to 8 blocks of 16 rows, unpacked. Dword i of block j: columns 32 j + 4 i .. + 3. */
struct tile_32 {
    __m512i w[TILE_BLOCKS][8];
    __m512 d[TILE_BLOCKS];
};

INLINE void unpack_tile(struct tile_32 *tile, struct rows16 rows, size_t n_blocks, bool nibbles)
{
    const __m512i m0f = _mm512_set1_epi8(0x0f);
    const __m512i m80 = _mm512_set1_epi8(-128);

    for (size_t j = 0; j < n_blocks; j++, rows.p += bytes_of_block(nibbles)) {
        __m512i v[8];

        tile->d[j] = load_halves(rows, 0);
        load_dwords4(rows, sizeof(uint16_t), v);
        if (!nibbles)
            load_dwords4(rows, sizeof(uint16_t) + 16, v + 4);
        for (int c = 0; c < 4; c++) {
            tile->w[j][c] = nibbles ? _mm512_and_si512(v[c], m0f) : _mm512_xor_si512(v[c], m80);
            tile->w[j][4 + c] = nibbles ? _mm512_and_si512(_mm512_srli_epi32(v[c], 4), m0f)
                                        : _mm512_xor_si512(v[4 + c], m80);
        }
    }
}

/*
 * n_blocks of a tile with n_tok (a constant) tokens from i_block on in x.
 * Loops over tokens run to the constant that their pragma names: clang unrolls those
 * only, and 11 tokens left in memory took twice the time of 12.
 */
INLINE void group(float *acc, const struct tile_32 *tile, size_t n_blocks, const struct sl_act *x,
                  size_t i_block, const int n_tok, bool nibbles)
{
    const __m512i offset = _mm512_set1_epi16(nibbles ? -8 : -128);
    __m512i dot[GROUP_TOK_MAX];
    __m512 sum[GROUP_TOK_MAX];

#pragma GCC unroll 12
    for (int t = 0; t < GROUP_TOK_MAX; t++)
        if (t < n_tok)
            sum[t] = _mm512_load_ps(acc + TILE_ROWS * t);
    for (size_t j = 0; j < n_blocks; j++, i_block += x->n_tok) {
        const int8_t *q = x->q + i_block * SL_BLOCK32;
        const int16_t *sums = x->sums + i_block * 2;
        const float *d = x->d + i_block;

#pragma GCC unroll 12
        for (int t = 0; t < GROUP_TOK_MAX; t++)
            if (t < n_tok)
                dot[t] = _mm512_dpwssd_epi32(_mm512_setzero_si512(), offset,
                                             broadcast32(sums + 2 * t));
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            __m512i w = tile->w[j][i];

#pragma GCC unroll 12
            for (int t = 0; t < GROUP_TOK_MAX; t++)
                if (t < n_tok)
                    dot[t] = _mm512_dpbusd_epi32(dot[t], w,
                                                 broadcast32(q + SL_BLOCK32 * t + 4 * i));
        }
#pragma GCC unroll 12
        for (int t = 0; t < GROUP_TOK_MAX; t++)
            if (t < n_tok)
                sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t]),
                                         _mm512_mul_ps(tile->d[j], _mm512_set1_ps(d[t])), sum[t]);
    }
#pragma GCC unroll 12
    for (int t = 0; t < GROUP_TOK_MAX; t++)
        if (t < n_tok)
            _mm512_store_ps(acc + TILE_ROWS * t, sum[t]);
}

INLINE void any_group(float *acc, const struct tile_32 *tile, size_t n_blocks,
                      const struct sl_act *x, size_t i_block, uint32_t n_tok, bool nibbles)
{
    switch (n_tok) {
    case 2: group(acc, tile, n_blocks, x, i_block, 2, nibbles); break;
    case 3: group(acc, tile, n_blocks, x, i_block, 3, nibbles); break;
    case 4: group(acc, tile, n_blocks, x, i_block, 4, nibbles); break;
    case 5: group(acc, tile, n_blocks, x, i_block, 5, nibbles); break;
    case 6: group(acc, tile, n_blocks, x, i_block, 6, nibbles); break;
    case 7: group(acc, tile, n_blocks, x, i_block, 7, nibbles); break;
    case 8: group(acc, tile, n_blocks, x, i_block, 8, nibbles); break;
    case 9: group(acc, tile, n_blocks, x, i_block, 9, nibbles); break;
    case 10: group(acc, tile, n_blocks, x, i_block, 10, nibbles); break;
    case 11: group(acc, tile, n_blocks, x, i_block, 11, nibbles); break;
    case 12: group(acc, tile, n_blocks, x, i_block, 12, nibbles); break;
    default: __builtin_unreachable(); /* next_part, n_tok > 1 */
    }
}

/*
 * The products of one tile of n_rows rows at w with tokens t0 .. t0 + n_tok - 1, n_tok > 1.
 * The rows after the tile are fetched meanwhile.
 */
INLINE void tile_many(float *out, size_t out_stride, const uint8_t *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x, uint32_t t0, uint32_t n_tok,
                      bool nibbles)
{
    const size_t block_bytes = bytes_of_block(nibbles);
    const size_t n_blocks = x->n_cols / SL_BLOCK32;
    _Alignas(64) float acc[CHUNK_TOK_MAX * TILE_ROWS];
    uint8_t pad[TILE_ROWS * TILE_BLOCKS * sizeof(struct sl_block_q8_0)];
    struct tile_32 tile;

    memset(acc, 0, n_tok * TILE_ROWS * sizeof(float));
    for (size_t b = 0; b < n_blocks; b += TILE_BLOCKS) {
        size_t n_here = n_blocks - b < TILE_BLOCKS ? n_blocks - b : TILE_BLOCKS;
        size_t n_bytes = n_here * block_bytes;
        const uint8_t *next = w + TILE_ROWS * (row_bytes + b * block_bytes);

        unpack_tile(&tile, rows16_at(w, row_bytes, n_rows, b * block_bytes, n_bytes, pad), n_here,
                    nibbles);
        for (uint32_t t = 0, n; t < n_tok; t += n) {
            n = next_part(n_tok - t, GROUP_TOK_MAX);
            prefetch(next, TILE_ROWS * n_bytes * n / n_tok);
            next += TILE_ROWS * n_bytes * n / n_tok;
            any_group(acc + TILE_ROWS * t, &tile, n_here, x, b * x->n_tok + t0 + t, n, nibbles);
        }
    }
    for (uint32_t t = 0; t < n_tok; t++)
        _mm512_mask_storeu_ps(out + t * out_stride, lanes_mask(n_rows),
                              _mm512_load_ps(acc + TILE_ROWS * t));
}

INLINE void matmul_many(float *out, size_t out_stride, const void *w, size_t row_bytes,
                        size_t n_rows, const struct sl_act *x, bool nibbles)
{
    for (uint32_t t0 = 0, n; t0 < x->n_tok; t0 += n) {
        n = next_part(x->n_tok - t0, CHUNK_TOK_MAX);
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            size_t n_here = n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;

            tile_many(out + t0 * out_stride + r, out_stride, (const uint8_t *)w + r * row_bytes,
                      row_bytes, n_here, x, t0, n, nibbles);
        }
    }
}

void sl_matmul_many_q8_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x)
{
    if (x->n_tok == 1)
        sl_matmul_one_q8_0_avx2(out, out_stride, w, row_bytes, n_rows, x);
    else
        matmul_many(out, out_stride, w, row_bytes, n_rows, x, false);
}

void sl_matmul_many_q4_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x)
{
    if (x->n_tok == 1)
        sl_matmul_one_q4_0_avx512(out, out_stride, w, row_bytes, n_rows, x);
    else
        matmul_many(out, out_stride, w, row_bytes, n_rows, x, true);
}
