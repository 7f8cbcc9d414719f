/*
 * Products of the 32-block types with one token, AVX-512 VNNI. The algorithm is in
 * one32_tmpl.h; here is how the sums of eight blocks come about, and how sixteen rows are
 * brought on. Q8_0 is that of AVX2.
 *
 * Vectors of the walk have 256 bits: a block is put into a lane by one operation, and
 * additions across lanes cost more, the wider they are. Values are unsigned bytes (IQ4_NL:
 * level + 128). A dword is at most 31 * 127 * 8 = 31496 (Q5) or 15240 (Q4): vectors are
 * packed to 16 bits and added up by vpmaddwd, where a pair of Q4 fits once more.
 *
 * What counts is how often memory is touched: with the scales copied one by one, as AVX2
 * does, these copies were two fifths of all loads and stores and took 3 of 19 cycles. Here
 * the scales of eight blocks are picked out of two vectors of the row, or out of those with
 * the fifth bits, and stored as one.
 */
#include "kernels/x86/one32_tmpl.h"
#include "kernels/x86/quant_avx512.h"
#include "kernels/x86/vnni_avx512.h"

/* d of eight blocks, from vectors in which those of blocks i and i + 4 come first in the lanes. */
SL_INLINE __m256i halves8(const __m256i v[4])
{
    __m256i d = _mm256_unpacklo_epi32(_mm256_unpacklo_epi16(v[0], v[1]),
                                      _mm256_unpacklo_epi16(v[2], v[3]));

    return _mm256_permute4x64_epi64(d, 0x08);
}

/* d and m of eight blocks, likewise. */
SL_INLINE __m256i pairs8(const __m256i v[4])
{
    return _mm256_unpacklo_epi64(_mm256_unpacklo_epi32(v[0], v[1]),
                                 _mm256_unpacklo_epi32(v[2], v[3]));
}

/* The scales of eight blocks of which four begin within 64 bytes, in order. */
SL_INLINE __m256i scales8(const uint8_t *p, struct one32_type type)
{
    const __m512i words = _mm512_castsi128_si512(
        _mm_setr_epi16(0, 9, 18, 27, 32, 41, 50, 59)); /* 18 bytes a block */
    const __m512i dwords = _mm512_castsi256_si512(
        _mm256_setr_epi32(0, 5, 10, 15, 16, 21, 26, 31)); /* 20 bytes a block */
    __m512i a = load512(p), b = load512(p + 4 * type.block_bytes);

    return _mm512_castsi512_si256(type.has_min ? _mm512_permutex2var_epi32(a, dwords, b)
                                               : _mm512_permutex2var_epi16(a, words, b));
}

/* Put the scales of eight blocks of a row into the table. */
SL_INLINE void keep_scales(struct found32 *found, size_t row, size_t g, __m256i v,
                           struct one32_type type)
{
    if (!type.has_min) {
        found->d8[g][found_slot(row)] = _mm256_castsi256_si128(v);
        return;
    }
    found->d_m4[g][0][found_slot(row)] = _mm256_castsi256_si128(v);
    found->d_m4[g][1][found_slot(row)] = _mm256_extracti128_si256(v, 1);
}

/* The first 16 elements of blocks a and b, in the low and the high lane, and the last 16.
 * UNSIGNED_5: ret_head: their first 16 bytes. */
SL_INLINE void values2(__m256i ret[2], __m256i *ret_head, const uint8_t *a, const uint8_t *b,
                       struct one32_type type)
{
    const __m256i levels = _mm256_xor_si256(one_iq4_levels(), _mm256_set1_epi8(-128));
    const __m256i m16 = _mm256_set1_epi8(16);
    __m256i bits[2];

    nibbles2(ret, a + type.qs_off, b + type.qs_off);
    if (type.kind == UNSIGNED_5) {
        *ret_head = one_load2(a, b);
        spread_fifth_bits(bits, *ret_head, type.qs_off - 4);
    }
    for (int i = 0; i < 2; i++) {
        if (type.kind == LEVELS)
            ret[i] = _mm256_shuffle_epi8(levels, ret[i]);
        if (type.kind == UNSIGNED_5)
            ret[i] = _mm256_mask_add_epi8(ret[i], _mm256_test_epi8_mask(bits[i], fifth_bit()),
                                          ret[i], m16);
    }
}

/* The totals of the lanes of four vectors: eight blocks in order. */
SL_INLINE __m256i total8(const __m256i v[4], enum one32_kind kind)
{
    __m256i a, b;

    if (kind == LEVELS)
        return _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    a = add_pairs(_mm256_packs_epi32(v[0], v[1]));
    b = add_pairs(_mm256_packs_epi32(v[2], v[3]));
    return kind == UNSIGNED_4 ? add_pairs(_mm256_packs_epi32(a, b)) : _mm256_hadd_epi32(a, b);
}

SL_INLINE __m256i sums(struct found32 *found, size_t row, const uint8_t *p,
                       const struct chunk32 *chunk, size_t g, struct one32_type type)
{
    __m256i v[4], head[4], scales;

#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        __m256i q[2];

        values2(q, &head[i], p + i * type.block_bytes, p + (i + 4) * type.block_bytes, type);
        v[i] = _mm256_dpbusd_epi32(_mm256_setzero_si256(), q[0], chunk->x[g][i][0]);
        v[i] = _mm256_dpbusd_epi32(v[i], q[1], chunk->x[g][i][1]);
    }
    scales = type.kind != UNSIGNED_5 ? scales8(p, type)
             : type.has_min          ? pairs8(head)
                                     : halves8(head);
    keep_scales(found, row, g, scales, type);
    return total8(v, type.kind);
}

/* The lower and the upper halves of sixteen dwords, as floats. */
SL_INLINE void halves16(__m512 ret[2], __m512i dwords)
{
    const __m512i apart = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3,
                                           1, 30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4,
                                           2, 0);
    __m512i v = _mm512_permutexvar_epi16(apart, dwords);

    ret[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(v));
    ret[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(v, 1));
}

/* d of the blocks of a group, or d and m in turn, of sixteen rows. */
SL_INLINE void scales16(__m512 ret[2 * GROUP], const struct found32 *found, size_t g,
                        bool has_min)
{
    const int n = has_min ? 8 : 4;
    __m512i v[GROUP];

    load_table4(has_min ? found->d_m4[g][0] : found->d8[g], v);
    if (has_min)
        load_table4(found->d_m4[g][1], v + 4);
#pragma GCC unroll 8
    for (int i = 0; i < GROUP; i++)
        if (i < n)
            halves16(ret + 2 * i, v[i]);
}

/* Bring sixteen results on by group g, of which n blocks exist. */
SL_INLINE __m512 add_group(__m512 acc, const struct found32 *found, const struct chunk32 *chunk,
                           size_t g, size_t n, struct one32_type type)
{
    __m512i isum[GROUP];
    __m512 d[2 * GROUP];

    load_table4(found->isum[g][0], isum);
    load_table4(found->isum[g][1], isum + 4);
    scales16(d, found, g, type.has_min);
#pragma GCC unroll 8
    for (size_t i = 0; i < GROUP; i++) {
        size_t b = g * GROUP + i;
        __m512 d_x;

        if (i >= n)
            break;
        d_x = _mm512_set1_ps(chunk->d[b]);
        acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum[i]),
                              _mm512_mul_ps(d[type.has_min ? 2 * i : i], d_x), acc);
        if (type.has_min)
            acc = _mm512_fmadd_ps(_mm512_set1_ps(chunk->sum[b]),
                                  _mm512_mul_ps(d[2 * i + 1], d_x), acc);
    }
    return acc;
}

SL_INLINE void add(float acc[TILE_ROWS], const struct found32 *found,
                   const struct chunk32 *chunk, size_t n_blocks, struct one32_type type)
{
    __m512 v = _mm512_loadu_ps(acc);
    size_t g = 0;

    for (; (g + 1) * GROUP <= n_blocks; g++)
        v = add_group(v, found, chunk, g, GROUP, type);
    if (g * GROUP < n_blocks)
        v = add_group(v, found, chunk, g, n_blocks - g * GROUP, type);
    _mm512_storeu_ps(acc, v);
}

void sl_matmul_one_q4_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x, sums, add,
          (struct one32_type){ .kind = UNSIGNED_4,
                               .offset = 8,
                               .block_bytes = sizeof(struct sl_block_q4_0),
                               .qs_off = offsetof(struct sl_block_q4_0, qs) });
}

void sl_matmul_one_q4_1_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x, sums, add,
          (struct one32_type){ .kind = UNSIGNED_4,
                               .has_min = true,
                               .block_bytes = sizeof(struct sl_block_q4_1),
                               .qs_off = offsetof(struct sl_block_q4_1, qs) });
}

void sl_matmul_one_q5_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x, sums, add,
          (struct one32_type){ .kind = UNSIGNED_5,
                               .offset = 16,
                               .block_bytes = sizeof(struct sl_block_q5_0),
                               .qs_off = offsetof(struct sl_block_q5_0, qs) });
}

void sl_matmul_one_q5_1_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x, sums, add,
          (struct one32_type){ .kind = UNSIGNED_5,
                               .has_min = true,
                               .block_bytes = sizeof(struct sl_block_q5_1),
                               .qs_off = offsetof(struct sl_block_q5_1, qs) });
}

void sl_matmul_one_iq4_nl_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                 size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x, sums, add,
          (struct one32_type){ .kind = LEVELS,
                               .offset = 128,
                               .block_bytes = sizeof(struct sl_block_iq4_nl),
                               .qs_off = offsetof(struct sl_block_iq4_nl, qs) });
}
