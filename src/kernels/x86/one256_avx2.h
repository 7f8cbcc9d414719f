/*
 * Template: products of 256-blocks with one token, for AVX2. Included by
 * one256_avx2.c only.
 *
 * Within a block, 32 weights are unpacked to bytes, met with x by maddubs (pairs in
 * 16 bits) and with their scales by madd (32 bits). What blocks come to waits in a
 * table until four rows are there (one_avx2.h). The sums of x are brought into the order
 * of the scales once per call.
 *
 * Parameters of one256, all constants, so that each use is a function of its own:
 *   values   group g (32 elements) of a block as bytes: unsigned, at most 63, so
 *            that maddubs does not saturate, or signed for ONE_SIGNED
 *   scales   16-bit scales (and mins) of a block: those of even sub-blocks of 16 in
 *            the low lane, of odd ones in the high lane
 *   kind     ONE_MINS: dmin_off is the offset of dmin; ONE_OFFSET: every value is
 *            2^shift too large, which the sums of x take off again; ONE_SIGNED (with
 *            is_split): values take the sign of x and meet |x|; they are never -128
 *   odd_up   values of odd groups are 2^odd_up times as large as they should be
 *   is_split groups 2 i and 2 i + 1 of values hold the first 16 elements of two
 *            groups of x and their last 16; scales: dwords, of even groups in the low
 *            lane, of odd groups in the high one
 */
#pragma once

/* Blocks of a row between two float steps: 8192 columns. The table takes 8 KiB. */
#define ONE_BLOCKS 32

#include <stdbool.h>
#include <string.h>

#include "kernels/x86/one_avx2.h"
#include "tensor/block.h"

struct one_scales {
    __m256i scale, min; /* min: ONE_MINS only */
};

typedef __m256i (*one_values_fn)(const uint8_t *block, int g);
typedef struct one_scales (*one_scales_fn)(const uint8_t *block);

enum one_kind { ONE_MINS, ONE_OFFSET, ONE_SIGNED };

struct one_type {
    one_values_fn values;
    one_scales_fn scales;
    enum one_kind kind;
    int shift, odd_up;
    bool is_split;
    size_t block_bytes, d_off, dmin_off;
};

/* The byte pair 2 g of each lane eight times: the scales of group g. */
static const uint8_t one_spread[8][32] __attribute__((aligned(32))) = {
#define SPREAD(a) a, a + 1, a, a + 1, a, a + 1, a, a + 1, a, a + 1, a, a + 1, a, a + 1, a, a + 1
    { SPREAD(0), SPREAD(0) },   { SPREAD(2), SPREAD(2) },   { SPREAD(4), SPREAD(4) },
    { SPREAD(6), SPREAD(6) },   { SPREAD(8), SPREAD(8) },   { SPREAD(10), SPREAD(10) },
    { SPREAD(12), SPREAD(12) }, { SPREAD(14), SPREAD(14) },
#undef SPREAD
};

/* The 16 sums of a block of x in the order of the scales. */
SL_INLINE __m256i one_sums(const int16_t *sums)
{
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,
                                           0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);

    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(one_load(sums), order), 0xd8);
}

/* Activations of up to ONE_BLOCKS blocks. */
struct one_chunk {
    const int8_t *q;
    __m256i split[ONE_BLOCKS * 8][2]; /* is_split, in place of q: x and |x| of each group */
    __m256i sums[ONE_BLOCKS];         /* as one_sums; unless ONE_SIGNED */
};

SL_INLINE void one_prepare(struct one_chunk *chunk, const struct sl_act *x, size_t b, size_t n,
                           struct one_type type)
{
    chunk->q = x->q + SL_BLOCK256 * b;
    for (size_t i = 0; i < n && type.kind != ONE_SIGNED; i++)
        chunk->sums[i] = one_sums(x->sums + 16 * (b + i));
    for (size_t i = 0; i < 8 * n && type.is_split; i += 2) {
        __m256i even = one_load(chunk->q + 32 * i), odd = one_load(chunk->q + 32 * i + 32);

        chunk->split[i][0] = _mm256_permute2x128_si256(even, odd, 0x20);
        chunk->split[i][1] = _mm256_abs_epi8(chunk->split[i][0]);
        chunk->split[i + 1][0] = _mm256_permute2x128_si256(even, odd, 0x31);
        chunk->split[i + 1][1] = _mm256_abs_epi8(chunk->split[i + 1][0]);
    }
}

/* Block i of the activations. */
SL_INLINE __m256i one_dot(const uint8_t *block, const struct one_chunk *chunk, size_t i,
                          __m256i scale, struct one_type type)
{
    const __m256i (*split)[2] = &chunk->split[8 * i];
    const int8_t *xq = chunk->q + SL_BLOCK256 * i;
    __m256i sum[2] = { _mm256_setzero_si256(), _mm256_setzero_si256() };

#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        __m256i q = type.values(block, g), pairs;
        int at = type.is_split ? g & ~1 : g, is_up = type.odd_up ? g % 2 : 0;
        __m256i spread = _mm256_shuffle_epi8(scale, one_load(one_spread[at]));

        if (type.kind == ONE_SIGNED)
            pairs = _mm256_maddubs_epi16(split[g][1], _mm256_sign_epi8(q, split[g][0]));
        else
            pairs = _mm256_maddubs_epi16(q, one_load(xq + 32 * g));
        sum[is_up] = _mm256_add_epi32(sum[is_up], _mm256_madd_epi16(pairs, spread));
    }
    if (!type.odd_up)
        return sum[0];
    return _mm256_add_epi32(sum[0], _mm256_srai_epi32(sum[1], type.odd_up));
}

/* What the blocks of four rows come to before the horizontal sums. */
struct one_table {
    __m256i sum[ONE_BLOCKS][4], min_sum[ONE_BLOCKS][4];
};

/* n blocks of one row. */
SL_INLINE void one_row(struct one_table *table, int row, const uint8_t *block, size_t ahead,
                       const struct one_chunk *chunk, size_t n, struct one_type type)
{
    for (size_t i = 0; i < n; i++, block += type.block_bytes) {
        struct one_scales s = type.scales(block);
        __m256i sum;

        one_prefetch(block, ahead, type.block_bytes);
        sum = one_dot(block, chunk, i, s.scale, type);
        if (type.kind == ONE_OFFSET)
            sum = _mm256_sub_epi32(
                sum, _mm256_slli_epi32(_mm256_madd_epi16(s.scale, chunk->sums[i]), type.shift));
        table->sum[i][row] = sum;
        if (type.kind == ONE_MINS)
            table->min_sum[i][row] = _mm256_madd_epi16(s.min, chunk->sums[i]);
    }
}

/* Bring four results on by n blocks; d_x: their scales of x. */
SL_INLINE __m128 one_finish(__m128 acc, const struct one_table *table, const uint8_t *row[4],
                            const float *d_x, size_t n, struct one_type type)
{
    for (size_t i = 0; i < n; i++) {
        __m128 d = _mm_set1_ps(d_x[i]);

        acc = _mm_fmadd_ps(_mm_cvtepi32_ps(one_total4(table->sum[i])),
                           _mm_mul_ps(one_halves4(row, type.d_off), d), acc);
        if (type.kind == ONE_MINS)
            acc = _mm_fnmadd_ps(_mm_cvtepi32_ps(one_total4(table->min_sum[i])),
                                _mm_mul_ps(one_halves4(row, type.dmin_off), d), acc);
        for (int r = 0; r < 4; r++)
            row[r] += type.block_bytes;
    }
    return acc;
}

SL_INLINE void one256(float *out, const void *w, size_t row_bytes, size_t n_rows,
                      const struct sl_act *x, struct one_type type)
{
    size_t n_blocks = x->n_cols / SL_BLOCK256;
    struct one_table table;
    struct one_chunk chunk;

    for (size_t b = 0; b < n_blocks; b += ONE_BLOCKS) {
        const uint8_t *first = (const uint8_t *)w + b * type.block_bytes;
        size_t n = n_blocks - b < ONE_BLOCKS ? n_blocks - b : ONE_BLOCKS;
        size_t ahead = one_ahead(row_bytes, n * type.block_bytes);

        one_prepare(&chunk, x, b, n, type);
        for (size_t r = 0; r < n_rows; r += 4) {
            float acc[4] = { 0 };
            const uint8_t *row[4];

            one_rows(row, first, row_bytes, n_rows, r);
            if (b > 0)
                memcpy(acc, out + r, (n_rows - r < 4 ? n_rows - r : 4) * sizeof(*acc));
            for (int i = 0; i < 4; i++)
                one_row(&table, i, row[i], ahead, &chunk, n, type);
            one_store(out + r, one_finish(_mm_loadu_ps(acc), &table, row, x->d + b, n, type),
                      n_rows - r);
        }
    }
}
