/*
 * Template: products of block types with many tokens, for AVX2. Included by
 * many32_avx2.c and many256_avx2.c.
 *
 * Sixteen rows are unpacked, a block at a time, into a tile in which dword k holds
 * elements 4 k .. 4 k + 3 of one row and eight rows lie side by side. Four elements
 * of x, broadcast, then meet eight rows in one maddubs; there are no horizontal
 * sums, and up to eight products are added in 16 bits before madd applies the scale
 * and widens. The tile serves up to MANY_TOKENS tokens, two at a time: 2 x 2
 * accumulators each of 16 and 32 bits, two weights and x fit 16 registers.
 *
 * struct many_type, all constants, so that each use is a function of its own:
 *   unpack     fills a half tile (eight rows) from one block of each row
 *   len        elements of a block, 32 or 256
 *   sub        dwords that share a scale; 0: no scales
 *   add        dwords whose maddubs results can be added in 16 bits
 *   kind       MANY_UNSIGNED: tile unsigned, x signed
 *              MANY_BIASED: tile signed, x + 128 unsigned; corr takes off 128 times
 *                the scaled sum of the row's values, the same for every token
 *              MANY_SIGNED: both signed; add is 1
 *   offset     MANY_UNSIGNED with len 32: values are too large by this
 *   has_min    m and, for len 256, min are there
 */
#pragma once

#include <immintrin.h>
#include <stdbool.h>

#include "base/bytes.h"
#include "kernels/kernels.h"
#include "tensor/block.h"

#define SL_INLINE static inline __attribute__((always_inline))

#define MANY_TOKENS 64

enum many_kind { MANY_UNSIGNED, MANY_BIASED, MANY_SIGNED };

/* Eight rows of one block. */
struct many_half {
    uint8_t q[SL_BLOCK256 / 4][32];
    int16_t scale[16][16]; /* of each sub-block: twice for each row */
    int16_t min[8][16];    /* pairs, as the sums of x lie */
    int32_t corr[8];
    float d[8], m[8];
} __attribute__((aligned(32)));

typedef void (*many_unpack_fn)(struct many_half *ret_half, const uint8_t *const block[8]);

struct many_type {
    many_unpack_fn unpack;
    size_t block_bytes;
    int len, sub, add;
    enum many_kind kind;
    int offset;
    bool has_min;
};

/* x of one block, from the first token of a chunk. */
struct many_x {
    const int8_t *q; /* MANY_BIASED: plus 128 */
    const float *d;
    const int16_t *sums;
};

SL_INLINE __m256i many_load(const void *ptr)
{
    return _mm256_loadu_si256(ptr);
}

SL_INLINE void many_store(void *ptr, __m256i v)
{
    _mm256_storeu_si256(ptr, v);
}

SL_INLINE __m256i many_and(__m256i v, int mask)
{
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

/* Fixes the order of additions, which gcc 12 otherwise changes for its own. With 64
 * tokens Q4_K went from 74 to 113 and Q4_0 from 60 to 96 GMAC/s by that of pairs. That of
 * sums, which where `add` is 1 were all put off and their addends spilled, made 1.23 of
 * Q8_0, 1.1 of IQ4_NL and 1.15 of IQ4_XS. */
SL_INLINE void many_pin(__m256i *v)
{
    __asm__("" : "+x"(*v));
}

/* 4 x 4 dwords in each lane. */
SL_INLINE void many_transpose(__m256i v[4])
{
    __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpackhi_epi32(v[0], v[1]);
    __m256i c = _mm256_unpacklo_epi32(v[2], v[3]), d = _mm256_unpackhi_epi32(v[2], v[3]);

    v[0] = _mm256_unpacklo_epi64(a, c);
    v[1] = _mm256_unpackhi_epi64(a, c);
    v[2] = _mm256_unpacklo_epi64(b, d);
    v[3] = _mm256_unpackhi_epi64(b, d);
}

/* 16 bytes at an offset of eight blocks: dword i of all eight in ret_v[i]. */
SL_INLINE void many_load16(__m256i ret_v[4], const uint8_t *const block[8], size_t off)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        ret_v[i] = _mm256_inserti128_si256(
            _mm256_castsi128_si256(_mm_loadu_si128((const void *)(block[i] + off))),
            _mm_loadu_si128((const void *)(block[i + 4] + off)), 1);
    many_transpose(ret_v);
}

/* The half floats at an offset of eight blocks. */
SL_INLINE __m256 many_halves(const uint8_t *const block[8], size_t off)
{
    uint16_t h[8];

    for (int i = 0; i < 8; i++)
        h[i] = sl_load_u16(block[i] + off);
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)h));
}

SL_INLINE __m256i many_broadcast(const void *dword)
{
    return _mm256_set1_epi32((int)sl_load_u32(dword));
}

SL_INLINE __m256i many_product(__m256i w, __m256i x, enum many_kind kind)
{
    if (kind == MANY_SIGNED)
        return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return kind == MANY_BIASED ? _mm256_maddubs_epi16(x, w) : _mm256_maddubs_epi16(w, x);
}

/* n (1 or 2) tokens from token t of the chunk, one group of `add` dwords from k. */
SL_INLINE void many_group(__m256i sum[2][2], const struct many_half tile[2],
                          const struct many_x *x, int t, int n, int k, int j,
                          struct many_type type)
{
    __m256i pairs[2][2];

#pragma GCC unroll 8
    for (int i = 0; i < type.add; i++) {
        __m256i w[2] = { many_load(tile[0].q[k + i]), many_load(tile[1].q[k + i]) };

#pragma GCC unroll 2
        for (int a = 0; a < n; a++) {
            __m256i x4 = many_broadcast(x->q + (size_t)(t + a) * type.len + 4 * (k + i));

#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                __m256i p = many_product(w[h], x4, type.kind);

                pairs[a][h] = i == 0 ? p : _mm256_add_epi16(pairs[a][h], p);
                many_pin(&pairs[a][h]);
            }
        }
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256i scale = type.sub ? many_load(tile[h].scale[j]) : _mm256_set1_epi16(1);

#pragma GCC unroll 2
        for (int a = 0; a < n; a++) {
            sum[a][h] = _mm256_add_epi32(sum[a][h], _mm256_madd_epi16(pairs[a][h], scale));
            many_pin(&sum[a][h]);
        }
    }
}

/* Integer sum to float accumulator: the fused steps of one token and eight rows. */
SL_INLINE void many_finish(float acc[8], __m256i sum, const struct many_half *half,
                           const struct many_x *x, int t, struct many_type type)
{
    __m256 d_x = _mm256_set1_ps(x->d[t]), a = _mm256_loadu_ps(acc);
    const int16_t *sums = x->sums + t * (type.len / 16);

    if (type.offset)
        sum = _mm256_sub_epi32(sum, _mm256_set1_epi32(type.offset * (sums[0] + sums[1])));
    if (type.kind == MANY_BIASED)
        sum = _mm256_sub_epi32(sum, many_load(half->corr));
    a = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(_mm256_loadu_ps(half->d), d_x), a);
    if (type.has_min && type.len == SL_BLOCK32) {
        a = _mm256_fmadd_ps(_mm256_set1_ps((float)(sums[0] + sums[1])),
                            _mm256_mul_ps(_mm256_loadu_ps(half->m), d_x), a);
    } else if (type.has_min) {
        __m256i min_sum = _mm256_madd_epi16(many_load(half->min[0]), many_broadcast(sums));

#pragma GCC unroll 8
        for (int i = 1; i < 8; i++)
            min_sum = _mm256_add_epi32(min_sum, _mm256_madd_epi16(many_load(half->min[i]),
                                                                  many_broadcast(sums + 2 * i)));
        a = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(min_sum),
                             _mm256_mul_ps(_mm256_loadu_ps(half->m), d_x), a);
    }
    _mm256_storeu_ps(acc, a);
}

SL_INLINE void many_tokens(float (*acc)[16], const struct many_half tile[2],
                           const struct many_x *x, int t, int n, struct many_type type)
{
    __m256i sum[2][2];
    int sub = type.sub ? type.sub : type.len / 4;

    for (int a = 0; a < n; a++)
        sum[a][0] = sum[a][1] = _mm256_setzero_si256();
    for (int k = 0, j = 0; k < type.len / 4; k += sub, j++)
#pragma GCC unroll 8
        for (int i = 0; i < sub; i += type.add)
            many_group(sum, tile, x, t, n, k + i, j, type);
#pragma GCC unroll 2
    for (int a = 0; a < n; a++) {
        many_finish(acc[t + a], sum[a][0], &tile[0], x, t + a, type);
        many_finish(acc[t + a] + 8, sum[a][1], &tile[1], x, t + a, type);
    }
}

/* Block b of x from token t0 on. MANY_BIASED: x + 128 goes into `biased`. */
SL_INLINE struct many_x many_x_at(const struct sl_act *x, size_t b, size_t t0, size_t n_tok,
                                  uint8_t *biased, struct many_type type)
{
    size_t i = b * x->n_tok + t0;
    struct many_x block = {
        .q = x->q + i * type.len,
        .d = x->d + i,
        .sums = x->sums + i * (type.len / 16),
    };

    if (type.kind != MANY_BIASED)
        return block;
    for (size_t at = 0; at < n_tok * type.len; at += 32)
        many_store(biased + at, _mm256_xor_si256(many_load(block.q + at),
                                                 _mm256_set1_epi8((char)0x80)));
    block.q = (const int8_t *)biased;
    return block;
}

/* Up to 16 rows with up to MANY_TOKENS tokens. */
SL_INLINE void many_chunk(float (*acc)[16], const uint8_t *const row[16], size_t ahead,
                          const struct sl_act *x, size_t t0, int n_tok, struct many_type type)
{
    struct many_half tile[2];
    uint8_t biased[MANY_TOKENS * SL_BLOCK256];
    const uint8_t *block[16];

    for (int t = 0; t < n_tok; t++)
        for (int i = 0; i < 16; i++)
            acc[t][i] = 0;
    for (size_t b = 0; b < x->n_cols / (size_t)type.len; b++) {
        struct many_x x_block = many_x_at(x, b, t0, (size_t)n_tok, biased, type);

        for (int i = 0; i < 16; i++) {
            block[i] = row[i] + b * type.block_bytes;
            for (size_t off = 0; off < type.block_bytes; off += 64)
                _mm_prefetch((const void *)((uintptr_t)block[i] + ahead + off), _MM_HINT_T1);
        }
        type.unpack(&tile[0], block);
        type.unpack(&tile[1], block + 8);
        for (int t = 0; t + 2 <= n_tok; t += 2)
            many_tokens(acc, tile, &x_block, t, 2, type);
        if (n_tok % 2)
            many_tokens(acc, tile, &x_block, n_tok - 1, 1, type);
    }
}

SL_INLINE void many(float *out, size_t out_stride, const void *w, size_t row_bytes,
                    size_t n_rows, const struct sl_act *x, struct many_type type)
{
    for (size_t r = 0; r < n_rows; r += 16) {
        size_t n = n_rows - r < 16 ? n_rows - r : 16;
        const uint8_t *row[16];

        for (size_t i = 0; i < 16; i++)
            row[i] = (const uint8_t *)w + (r + (i < n ? i : n - 1)) * row_bytes;
        for (size_t t0 = 0; t0 < x->n_tok; t0 += MANY_TOKENS) {
            size_t n_tok = x->n_tok - t0 < MANY_TOKENS ? x->n_tok - t0 : MANY_TOKENS;
            float acc[MANY_TOKENS][16];

            many_chunk(acc, row, 16 * row_bytes, x, t0, (int)n_tok, type);
            for (size_t t = 0; t < n_tok; t++)
                for (size_t i = 0; i < n; i++)
                    out[(t0 + t) * out_stride + r + i] = acc[t][i];
        }
    }
}
