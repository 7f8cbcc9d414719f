/*
 * Template: products of the 32-block types with one token. Included by one32_avx2.c
 * and one32_avx512.c.
 *
 * A row is read from end to end, eight blocks at a time: the two lanes of a vector
 * hold blocks i and i + 4, so that adding up four vectors within their lanes leaves
 * the eight sums in order. They wait in a table, and so do the scales, copied bit by
 * bit; after sixteen rows a transposition puts one block of them into
 * each vector, and the float steps follow for all. Blocks that do not fill a group are
 * copied and padded with zeros. The activations are brought into the order of the lanes
 * once per call.
 *
 * The file that includes it supplies two functions: `sums` puts the scales of a group into
 * the table and returns its eight integer sums, from which chunk->taken is still to come off;
 * `add` does the float steps.
 */
#pragma once

#include <stdbool.h>
#include <string.h>

#include "kernels/x86/one_avx2.h"
#include "tensor/block.h"

#define GROUP 8 /* blocks */
#define TILE_ROWS 16
/* 4096 columns: prepared activations and findings fill 26 KiB at most. */
#define CHUNK_GROUPS 16
#define CHUNK_BLOCKS (CHUNK_GROUPS * GROUP)

enum one32_kind { UNSIGNED_4, UNSIGNED_5, SIGNED_8, LEVELS };

struct one32_type {
    enum one32_kind kind;
    int offset;   /* by which values are too large */
    bool has_min; /* m at offset 2; d is at 0 in all types */
    bool has_abs; /* sums want |x|, too */
    size_t block_bytes, qs_off; /* UNSIGNED_5: the fifth bits are the four bytes before */
};

/* Activations of up to CHUNK_BLOCKS blocks; zero where a group is not full. */
struct chunk32 {
    __m256i x[CHUNK_GROUPS][4][2];   /* first and last 16 elements of blocks i and i + 4 */
    __m256i abs[CHUNK_GROUPS][4][2]; /* |x|; only with has_abs */
    __m256i taken[CHUNK_GROUPS];     /* offset * (sum of a block's elements) */
    float d[CHUNK_BLOCKS], sum[CHUNK_BLOCKS];
};

/* What sixteen rows of a chunk come to. */
struct found32 {
    __m128i isum[CHUNK_GROUPS][2][TILE_ROWS]; /* four blocks each, by found_slot */
    union { /* half floats; with mins in pairs, m in the upper half */
        uint16_t d[CHUNK_BLOCKS][TILE_ROWS];
        uint32_t d_m[CHUNK_BLOCKS][TILE_ROWS];
        __m128i d8[CHUNK_GROUPS][TILE_ROWS]; /* eight blocks each, by found_slot */
        __m128i d_m4[CHUNK_GROUPS][2][TILE_ROWS]; /* four blocks each, by found_slot */
    };
};

typedef __m256i (*one32_sums_fn)(struct found32 *found, size_t row, const uint8_t *p,
                                 const struct chunk32 *chunk, size_t g, struct one32_type type);
typedef void (*one32_add_fn)(float acc[TILE_ROWS], const struct found32 *found,
                             const struct chunk32 *chunk, size_t n_blocks,
                             struct one32_type type);

/* Where row r stands among 16: vectors of two or four rows, transposed, come out in order. */
SL_INLINE size_t found_slot(size_t r)
{
    return r % 4 * 4 + r / 4;
}

SL_INLINE void nibbles2(__m256i ret[2], const uint8_t *a, const uint8_t *b)
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i v = one_load2(a, b);

    ret[0] = _mm256_and_si256(v, mask);
    ret[1] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
}

/* v: bytes of two blocks, of which the four at off are fifth bits. Each byte of these eight
 * times, the first two of a block in ret[0]. */
SL_INLINE void spread_fifth_bits(__m256i ret[2], __m256i v, size_t off)
{
    const __m256i low = _mm256_setr_epi64x(0, 0x0101010101010101, 0, 0x0101010101010101);

    ret[0] = _mm256_shuffle_epi8(v, _mm256_add_epi8(low, _mm256_set1_epi8((char)off)));
    ret[1] = _mm256_shuffle_epi8(v, _mm256_add_epi8(low, _mm256_set1_epi8((char)off + 2)));
}

/* Of a byte of fifth bits, the one of each element. */
SL_INLINE __m256i fifth_bit(void)
{
    return _mm256_set1_epi64x((long long)0x8040201008040201u);
}

/* Sums of neighbours. */
SL_INLINE __m256i add_pairs(__m256i v)
{
    return _mm256_madd_epi16(v, _mm256_set1_epi16(1));
}

SL_INLINE void prepare_chunk(struct chunk32 *chunk, const struct sl_act *x, size_t b0,
                             size_t n_blocks, struct one32_type type)
{
    size_t n_groups = (n_blocks + GROUP - 1) / GROUP;
    int32_t *taken = (int32_t *)chunk->taken;

    memset(chunk->x, 0, n_groups * sizeof(chunk->x[0]));
    memset(chunk->taken, 0, n_groups * sizeof(chunk->taken[0]));
    for (size_t b = 0; b < n_blocks; b++) {
        const int8_t *q = x->q + (b0 + b) * SL_BLOCK32;
        const int16_t *sums = x->sums + 2 * (b0 + b);
        __m256i *to = chunk->x[b / GROUP][b % 4];
        int lane = b % GROUP / 4;

        memcpy((char *)&to[0] + 16 * lane, q, 16);
        memcpy((char *)&to[1] + 16 * lane, q + 16, 16);
        taken[b] = type.offset * (sums[0] + sums[1]);
        chunk->sum[b] = (float)(sums[0] + sums[1]);
        chunk->d[b] = x->d[b0 + b];
    }
    for (size_t g = 0; g < n_groups && type.has_abs; g++)
        for (int i = 0; i < 8; i++)
            chunk->abs[g][i / 2][i % 2] = _mm256_abs_epi8(chunk->x[g][i / 2][i % 2]);
}

/* Group g of a chunk in one row. p: its first block. */
SL_INLINE void find_group(struct found32 *found, size_t row, const uint8_t *p,
                          const struct chunk32 *chunk, size_t g, one32_sums_fn sums,
                          struct one32_type type)
{
    __m256i sum = sums(found, row, p, chunk, g, type);

    if (type.offset)
        sum = _mm256_sub_epi32(sum, chunk->taken[g]);
    found->isum[g][0][found_slot(row)] = _mm256_castsi256_si128(sum);
    found->isum[g][1][found_slot(row)] = _mm256_extracti128_si256(sum, 1);
}

/* Walk over one row of a chunk. p: its first block; ahead: what to fetch meanwhile. */
SL_INLINE void find_row(struct found32 *found, size_t row, const uint8_t *p, size_t ahead,
                        const struct chunk32 *chunk, size_t n_blocks, one32_sums_fn sums,
                        struct one32_type type)
{
    const size_t group_bytes = GROUP * type.block_bytes;
    size_t g = 0;

    for (; (g + 1) * GROUP <= n_blocks; g++, p += group_bytes) {
        one_prefetch(p, ahead, group_bytes);
        find_group(found, row, p, chunk, g, sums, type);
    }
    if (g * GROUP < n_blocks) {
        uint8_t rest[GROUP * sizeof(struct sl_block_q8_0) + 16] = { 0 };

        memcpy(rest, p, (n_blocks - g * GROUP) * type.block_bytes);
        find_group(found, row, rest, chunk, g, sums, type);
    }
}

SL_INLINE void one32(float *out, const void *w, size_t row_bytes, size_t n_rows,
                     const struct sl_act *x, one32_sums_fn sums, one32_add_fn add,
                     struct one32_type type)
{
    const size_t n_blocks = x->n_cols / SL_BLOCK32;
    struct found32 found;
    struct chunk32 chunk;

    for (size_t b = 0; b < n_blocks; b += CHUNK_BLOCKS) {
        size_t n = n_blocks - b < CHUNK_BLOCKS ? n_blocks - b : CHUNK_BLOCKS;
        size_t ahead = one_ahead(row_bytes, n * type.block_bytes);

        prepare_chunk(&chunk, x, b, n, type);
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            const uint8_t *p = (const uint8_t *)w + r * row_bytes + b * type.block_bytes;
            size_t n_here = n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;
            float acc[TILE_ROWS] = { 0 };

            if (n_here < TILE_ROWS)
                memset(&found, 0, sizeof(found));
            if (b > 0)
                memcpy(acc, out + r, n_here * sizeof(*acc));
            for (size_t i = 0; i < n_here; i++, p += row_bytes)
                find_row(&found, i, p, ahead, &chunk, n, sums, type);
            add(acc, &found, &chunk, n, type);
            memcpy(out + r, acc, n_here * sizeof(*acc));
        }
    }
}
