/*
 * Template: products of 256-blocks with one token, for AVX2. Included by
 * one256_avx2.c only.
 *
 * Within a block, 32 weights are unpacked to bytes, met with x by maddubs (pairs in
 * 16 bits) and with their scales by madd (32 bits): `dot` of the type. What blocks come to
 * waits in a table until eight rows are there; d, copied by ordinary moves, waits with it.
 * The sums of x are brought into the order of the scales once per call, and so is x itself
 * where the values need another order.
 */
#pragma once

/* Blocks of a row between two float steps: 8192 columns. */
#define ONE_BLOCKS 32
#define ONE_ROWS 8

#include <stdbool.h>
#include <string.h>

#include "kernels/x86/one_avx2.h"
#include "tensor/block.h"

/* Activations of up to ONE_BLOCKS blocks. */
struct one_chunk {
    const int8_t *q;
    __m256i x[ONE_BLOCKS][16]; /* q in the order of the values; ONE_PLAIN: unused */
    __m256i sums[ONE_BLOCKS];  /* see enum one_sums */
    float d[ONE_BLOCKS];
};

/* What the blocks of eight rows come to before the horizontal sums. */
struct one_table {
    __m256i sum[ONE_BLOCKS][ONE_ROWS];
    __m256i min_sum[ONE_BLOCKS / 2][ONE_ROWS]; /* of two blocks, a lane each */
    uint32_t d[ONE_BLOCKS][ONE_ROWS]; /* half floats; dmin in the upper half */
};

/*
 * Sums of x. Of two blocks, a lane each: sums of 32 elements (Q4_K, Q5_K); the first eight
 * sums of 16, then the last eight (Q2_K). Of one: of even sub-blocks of 16 in the low lane,
 * of odd ones in the high lane.
 */
enum one_sums { ONE_SUMS_NONE, ONE_SUMS_OF_32, ONE_SUMS_OF_16, ONE_SUMS_EVEN_ODD };

/* x: as it lies; lanes of two groups of 32 exchanged, with |x| (IQ4_XS); words of two groups
 * exchanged (Q2_K, Q3_K). */
enum one_order { ONE_PLAIN, ONE_LANES, ONE_WORDS };

/* What is made of the heads of two blocks together. */
struct one_heads {
    __m256i scale[2]; /* as `dot` wants them */
    __m256i min_sum;  /* a lane each */
};

/* Read the heads of two blocks, a and b, with their sums of x. */
typedef struct one_heads (*one_heads_fn)(const uint8_t *a, const uint8_t *b,
                                         const __m256i sums[2]);
/* Lanes of block i, the first or second of two; their sum is the isum, times 2^shift. */
typedef __m256i (*one_dot_fn)(const uint8_t *block, const struct one_chunk *chunk, size_t i,
                              struct one_heads heads, int which);

struct one_type {
    one_dot_fn dot;
    one_heads_fn heads; /* or NULL */
    bool has_min;
    enum one_sums sums;
    enum one_order order;
    int shift;
    size_t block_bytes, d_off; /* d_off: if there are mins, of d and dmin */
};

/* The sums of two blocks, or of one and zeros. */
SL_INLINE void one_sums2(__m256i ret[2], const int16_t *sums, bool is_pair, enum one_sums kind)
{
    __m256i a = one_load(sums), b = is_pair ? one_load(sums + 16) : _mm256_setzero_si256();

    if (kind == ONE_SUMS_OF_32) {
        ret[0] = _mm256_permute4x64_epi64(_mm256_hadd_epi16(a, b), 0xd8);
    } else {
        ret[0] = _mm256_permute2x128_si256(a, b, 0x20);
        ret[1] = _mm256_permute2x128_si256(a, b, 0x31);
    }
}

SL_INLINE __m256i one_sums_even_odd(const int16_t *sums)
{
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,
                                           0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);

    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(one_load(sums), order), 0xd8);
}

/* Groups 2 i and 2 i + 1 of a block of x. */
SL_INLINE void one_order2(__m256i x[16], const int8_t *q, int i, enum one_order order)
{
    __m256i even = one_load(q + 64 * i), odd = one_load(q + 64 * i + 32);

    if (order == ONE_WORDS) {
        x[2 * i] = _mm256_blend_epi16(even, odd, 0xaa);
        x[2 * i + 1] = _mm256_blend_epi16(odd, even, 0xaa);
    } else {
        x[4 * i] = _mm256_permute2x128_si256(even, odd, 0x20);
        x[4 * i + 1] = _mm256_abs_epi8(x[4 * i]);
        x[4 * i + 2] = _mm256_permute2x128_si256(even, odd, 0x31);
        x[4 * i + 3] = _mm256_abs_epi8(x[4 * i + 2]);
    }
}

SL_INLINE void one_prepare(struct one_chunk *chunk, const struct sl_act *x, size_t b, size_t n,
                           struct one_type type)
{
    chunk->q = x->q + SL_BLOCK256 * b;
    for (size_t i = 0; i < n; i++) {
        const int16_t *sums = x->sums + 16 * (b + i);

        chunk->d[i] = x->d[b + i];
        if (type.sums == ONE_SUMS_EVEN_ODD)
            chunk->sums[i] = one_sums_even_odd(sums);
        else if (type.sums != ONE_SUMS_NONE && i % 2 == 0)
            one_sums2(&chunk->sums[i], sums, i + 1 < n, type.sums);
        for (int k = 0; k < 4 && type.order != ONE_PLAIN; k++)
            one_order2(chunk->x[i], chunk->q + SL_BLOCK256 * i, k, type.order);
    }
}

/* n blocks of one row, two by two; the last of an odd number is its own neighbour. */
SL_INLINE void one_row(struct one_table *table, int row, const uint8_t *block, size_t ahead,
                       const struct one_chunk *chunk, size_t n, struct one_type type)
{
    for (size_t i = 0; i < n; i += 2, block += 2 * type.block_bytes) {
        const size_t at[2] = { i, i + 1 < n ? i + 1 : i };
        const uint8_t *p[2] = { block, i + 1 < n ? block + type.block_bytes : block };
        struct one_heads heads = { 0 };

        one_prefetch(block, ahead, 2 * type.block_bytes);
        if (type.heads) {
            heads = type.heads(p[0], p[1], &chunk->sums[i]);
            if (type.has_min)
                table->min_sum[i / 2][row] = heads.min_sum;
        }
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            table->d[at[k]][row] = type.has_min ? sl_load_u32(p[k] + type.d_off)
                                                : sl_load_u16(p[k] + type.d_off);
            table->sum[at[k]][row] = type.dot(p[k], chunk, at[k], heads, k);
        }
    }
}

/* The totals of each lane of four vectors, in order. hadd does the same in fewer
 * instructions and takes longer. */
SL_INLINE __m256i one_add4(const __m256i v[4])
{
    __m256i a = _mm256_add_epi32(_mm256_unpacklo_epi32(v[0], v[1]),
                                 _mm256_unpackhi_epi32(v[0], v[1]));
    __m256i b = _mm256_add_epi32(_mm256_unpacklo_epi32(v[2], v[3]),
                                 _mm256_unpackhi_epi32(v[2], v[3]));

    return _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}

/* The totals of the low lanes of eight vectors, those of their high lanes. */
SL_INLINE void one_add8(__m256i ret[2], const __m256i v[8])
{
    __m256i a = one_add4(v), b = one_add4(v + 4);

    ret[0] = _mm256_permute2x128_si256(a, b, 0x20);
    ret[1] = _mm256_permute2x128_si256(a, b, 0x31);
}

/* Bring eight results on by n blocks. */
SL_INLINE __m256 one_finish(__m256 acc, const struct one_table *table,
                            const struct one_chunk *chunk, size_t n, struct one_type type)
{
    __m256i lanes[2], mins[2], sum;

    for (size_t i = 0; i < n; i++) {
        __m256 d_x = _mm256_set1_ps(chunk->d[i]), d, dmin;

        one_halves8(&d, &dmin, table->d[i]);
        one_add8(lanes, table->sum[i]);
        sum = _mm256_srai_epi32(_mm256_add_epi32(lanes[0], lanes[1]), type.shift);
        acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(d, d_x), acc);
        if (!type.has_min)
            continue;
        if (i % 2 == 0)
            one_add8(mins, table->min_sum[i / 2]);
        acc = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(mins[i % 2]), _mm256_mul_ps(dmin, d_x), acc);
    }
    return acc;
}

SL_INLINE void one256(float *out, const void *w, size_t row_bytes, size_t n_rows,
                      const struct sl_act *x, struct one_type type)
{
    const size_t n_blocks = x->n_cols / SL_BLOCK256;
    struct one_table table;
    struct one_chunk chunk;

    for (size_t b = 0; b < n_blocks; b += ONE_BLOCKS) {
        size_t n = n_blocks - b < ONE_BLOCKS ? n_blocks - b : ONE_BLOCKS;
        size_t ahead = one_ahead(row_bytes, n * type.block_bytes);

        one_prepare(&chunk, x, b, n, type);
        for (size_t r = 0; r < n_rows; r += ONE_ROWS) {
            const uint8_t *p = (const uint8_t *)w + r * row_bytes + b * type.block_bytes;
            size_t n_here = n_rows - r < ONE_ROWS ? n_rows - r : ONE_ROWS;
            float acc[ONE_ROWS] = { 0 };

            if (n_here < ONE_ROWS)
                memset(&table, 0, sizeof(table));
            if (b > 0)
                memcpy(acc, out + r, n_here * sizeof(*acc));
            for (size_t i = 0; i < n_here; i++, p += row_bytes)
                one_row(&table, (int)i, p, ahead, &chunk, n, type);
            _mm256_storeu_ps(acc, one_finish(_mm256_loadu_ps(acc), &table, &chunk, n, type));
            memcpy(out + r, acc, n_here * sizeof(*acc));
        }
    }
}
