/*
 * Products with Q8_0 and Q4_0 weights, AVX-512 VNNI. Both are brought to unsigned
 * bytes (Q8_0: w + 128; Q4_0: as stored, value + 8), and what the offset adds is taken
 * off exactly: the accumulators start at -offset times the sums of the activations.
 * The functions take `nibbles` (Q4_0) as a constant.
 *
 * one: 64 bytes of weights make a vector of two (Q8_0) or four (Q4_0) blocks of a
 * row; four vectors, a group of 8 or 16 blocks, are added up together. The blocks at
 * the end of a row that do not fill a group are copied and padded with zeros.
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
/* 4096 columns: prepared activations and findings fill 24 KiB at most. */
#define CHUNK_BLOCKS 128
#define CHUNK_GROUPS (CHUNK_BLOCKS / 8)

INLINE size_t bytes_of_block(bool nibbles)
{
    return nibbles ? sizeof(struct sl_block_q4_0) : sizeof(struct sl_block_q8_0);
}

/* Activations of one token in up to CHUNK_GROUPS groups, prepared for `one`; zero where a
 * group is not full. */
struct chunk_32 {
    __m512i x[CHUNK_GROUPS * 4][2];  /* for the low, high nibbles; [0] alone for Q8_0 */
    __m512i start[CHUNK_GROUPS * 4]; /* -offset * (sum of a lane's activations) */
    float d[CHUNK_BLOCKS];
};

/* What `one` finds in 16 rows of a chunk. */
struct found_32 {
    __m128i isum[CHUNK_BLOCKS / 4][TILE_ROWS]; /* four blocks each, by table_slot */
    uint16_t d[CHUNK_BLOCKS][TILE_ROWS];       /* half floats, by row */
};

INLINE void prepare_chunk(struct chunk_32 *chunk, const struct sl_act *x, size_t b0,
                          size_t n_blocks, bool nibbles)
{
    const __m512i zero = _mm512_setzero_si512();
    const __m512i offset = _mm512_set1_epi8(nibbles ? 8 : -128);
    const size_t per_vector = nibbles ? 4 : 2;
    const size_t n_vectors = (n_blocks + 4 * per_vector - 1) / (4 * per_vector) * 4;
    const size_t n_used = nibbles ? 2 : 1;

    for (size_t i = 0; i < n_vectors; i++) {
        __m512i sum = zero;

        memset(chunk->x[i], 0, sizeof(chunk->x[i]));
        for (size_t j = 0; j < per_vector && i * per_vector + j < n_blocks; j++) {
            size_t b = i * per_vector + j, i_block = b0 + b;
            size_t len = SL_BLOCK32 / n_used;

            for (size_t k = 0; k < n_used; k++)
                memcpy((char *)&chunk->x[i][k] + j * len, x->q + i_block * SL_BLOCK32 + k * len,
                       len);
            chunk->d[b] = x->d[i_block];
        }
        for (size_t k = 0; k < n_used; k++)
            sum = _mm512_dpbusd_epi32(sum, offset, chunk->x[i][k]);
        chunk->start[i] = _mm512_sub_epi32(zero, sum);
    }
}

/* The lanes of a vector of blocks. p: its first block; x, start: its activations. */
INLINE __m512i dot_vector(const uint8_t *p, const __m512i x[2], __m512i start, bool nibbles)
{
    const __m512i m0f = _mm512_set1_epi8(0x0f);
    const size_t step = bytes_of_block(nibbles);
    __m512i w;

    p += sizeof(uint16_t);
    w = nibbles ? load128x4(p, p + step, p + 2 * step, p + 3 * step) : load256x2(p, p + step);
    if (!nibbles)
        return _mm512_dpbusd_epi32(start, _mm512_xor_si512(w, _mm512_set1_epi8(-128)), x[0]);
    start = _mm512_dpbusd_epi32(start, _mm512_and_si512(w, m0f), x[0]);
    return _mm512_dpbusd_epi32(start, _mm512_and_si512(_mm512_srli_epi16(w, 4), m0f), x[1]);
}

/* Group g of a chunk in one row. p: its first block. */
INLINE void find_group(struct found_32 *found, size_t row, const uint8_t *p,
                       const struct chunk_32 *chunk, size_t g, bool nibbles)
{
    const size_t block_bytes = bytes_of_block(nibbles);
    const size_t per_vector = nibbles ? 4 : 2;
    const size_t n_blocks = 4 * per_vector;
    const size_t slot = table_slot(row);
    __m512i lanes[4];

    for (size_t i = 0; i < n_blocks; i++)
        memcpy(&found->d[g * n_blocks + i][row], p + i * block_bytes, sizeof(uint16_t));
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++)
        lanes[i] = dot_vector(p + i * per_vector * block_bytes, chunk->x[4 * g + i],
                              chunk->start[4 * g + i], nibbles);
    lanes[0] = add_lanes4(lanes[0], lanes[1], lanes[2], lanes[3]);
    if (nibbles) {
        /* Quarter l, dword v: block 4 v + l. */
        const __m512i order =
            _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);

        lanes[0] = _mm512_permutexvar_epi32(order, lanes[0]);
        found->isum[4 * g][slot] = _mm512_castsi512_si128(lanes[0]);
        found->isum[4 * g + 1][slot] = _mm512_extracti32x4_epi32(lanes[0], 1);
        found->isum[4 * g + 2][slot] = _mm512_extracti32x4_epi32(lanes[0], 2);
        found->isum[4 * g + 3][slot] = _mm512_extracti32x4_epi32(lanes[0], 3);
    } else {
        /* Quarters 0 and 1, dword v: block 2 v; quarters 2 and 3: block 2 v + 1. */
        __m128i even = add_halves(_mm512_castsi512_si256(lanes[0]));
        __m128i odd = add_halves(_mm512_extracti64x4_epi64(lanes[0], 1));

        found->isum[2 * g][slot] = _mm_unpacklo_epi32(even, odd);
        found->isum[2 * g + 1][slot] = _mm_unpackhi_epi32(even, odd);
    }
}

/* Walk over one row of a chunk. p: its first block. */
INLINE void find_row(struct found_32 *found, size_t row, const uint8_t *p,
                     const struct chunk_32 *chunk, size_t n_blocks, bool nibbles)
{
    const size_t n_per_group = nibbles ? 16 : 8;
    const size_t group_bytes = n_per_group * bytes_of_block(nibbles);
    size_t g = 0;

    for (; (g + 1) * n_per_group <= n_blocks; g++, p += group_bytes) {
        prefetch(p + AHEAD_BYTES, group_bytes);
        find_group(found, row, p, chunk, g, nibbles);
    }
    if (g * n_per_group < n_blocks) {
        uint8_t rest[16 * sizeof(struct sl_block_q4_0)] = { 0 };

        memcpy(rest, p, (n_blocks - g * n_per_group) * bytes_of_block(nibbles));
        find_group(found, row, rest, chunk, g, nibbles);
    }
}

/* Bring 16 rows' results on by a chunk. */
INLINE __m512 add_chunk(__m512 acc, const struct found_32 *found, const struct chunk_32 *chunk,
                        size_t n_blocks)
{
    __m512i isum[4];

    for (size_t b = 0; b < n_blocks; b++) {
        __m512 d = _mm512_cvtph_ps(load256(found->d[b]));

        if (b % 4 == 0)
            load_table4(found->isum[b / 4], isum);
        d = _mm512_mul_ps(d, _mm512_set1_ps(chunk->d[b]));
        acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum[b % 4]), d, acc);
    }
    return acc;
}

INLINE void matmul_one(float *out, const void *w, size_t row_bytes, size_t n_rows,
                       const struct sl_act *x, bool nibbles)
{
    const uint32_t n_blocks = x->n_cols / SL_BLOCK32;
    struct chunk_32 chunk;
    struct found_32 found = { 0 };

    for (uint32_t b = 0, n; b < n_blocks; b += n) {
        n = n_blocks - b < CHUNK_BLOCKS ? n_blocks - b : CHUNK_BLOCKS;
        prepare_chunk(&chunk, x, b, n, nibbles);
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            const uint8_t *p = (const uint8_t *)w + r * row_bytes + b * bytes_of_block(nibbles);
            size_t n_here = n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;
            __mmask16 mask = lanes_mask(n_here);
            __m512 acc = b > 0 ? _mm512_maskz_loadu_ps(mask, out + r) : _mm512_setzero_ps();

            for (size_t i = 0; i < n_here; i++, p += row_bytes)
                find_row(&found, i, p, &chunk, n, nibbles);
            _mm512_mask_storeu_ps(out + r, mask, add_chunk(acc, &found, &chunk, n));
        }
    }
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

void sl_matmul_one_q8_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    matmul_one(out, w, row_bytes, n_rows, x, false);
}

void sl_matmul_many_q8_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x)
{
    if (x->n_tok == 1)
        sl_matmul_one_q8_0_avx512(out, out_stride, w, row_bytes, n_rows, x);
    else
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
    if (x->n_tok == 1)
        sl_matmul_one_q4_0_avx512(out, out_stride, w, row_bytes, n_rows, x);
    else
        matmul_many(out, out_stride, w, row_bytes, n_rows, x, true);
}
