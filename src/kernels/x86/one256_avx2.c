/*
 * Products of the 256-block types with one token, for AVX2. The algorithm is in
 * one256_avx2.h; here is how each type's bytes become values and scales.
 */
#include "kernels/x86/one256_avx2.h"

#include "kernels/x86/quant_avx2.h"
#include "kernels/x86/scales_avx2.h"

SL_INLINE __m256i and8(__m256i v, int mask)
{
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

/* Groups 4 half .. + 3 (32 elements each) of a block as unsigned bytes. */
typedef void (*values_fn)(__m256i ret[4], const uint8_t *block, int half);

/* Shift left by n bits, right if negative; bits cross bytes, so mask afterwards. */
SL_INLINE __m256i shift16(__m256i v, int n)
{
    return n >= 0 ? _mm256_slli_epi16(v, n) : _mm256_srli_epi16(v, -n);
}

/* Two neighbouring words of each lane four times. */
SL_INLINE __m256i spread2(__m256i words, int i)
{
    switch (i) {
    case 0:
        return _mm256_shuffle_epi32(words, 0x00);
    case 1:
        return _mm256_shuffle_epi32(words, 0x55);
    case 2:
        return _mm256_shuffle_epi32(words, 0xaa);
    default:
        return _mm256_shuffle_epi32(words, 0xff);
    }
}

/* 16 bytes to the order of ONE_SUMS_EVEN_ODD. */
SL_INLINE __m128i even_odd(__m128i bytes)
{
    return _mm_shuffle_epi8(bytes, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13,
                                                 15));
}

/* 64 bytes: low nibbles of the first 32, their high ones, those of the others. */
SL_INLINE void nibbles256(__m256i ret[4], const uint8_t *qs)
{
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        __m256i v = one_load_once(qs + 32 * i);

        ret[2 * i] = and8(v, 15);
        ret[2 * i + 1] = and8(_mm256_srli_epi16(v, 4), 15);
    }
}

/* Scales as dwords of two equal words: four of each block, then the other four of each. */
SL_INLINE struct one_heads heads_q4_k(const uint8_t *a, const uint8_t *b, const __m256i sums[2])
{
    const __m256i low = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1));
    const __m256i high = _mm256_add_epi8(low, _mm256_set1_epi16(4));
    __m256i bytes = sl_scales_q4_k_two(one_load2(a, b));
    __m256i mins = _mm256_unpackhi_epi8(bytes, _mm256_setzero_si256());

    return (struct one_heads){
        .scale = { _mm256_shuffle_epi8(bytes, low), _mm256_shuffle_epi8(bytes, high) },
        .min_sum = _mm256_madd_epi16(mins, sums[0]),
    };
}

/* One scale for 32 weights. */
SL_INLINE __m256i dot_q4_k(const uint8_t *block, const int8_t *xq, struct one_heads heads,
                           int which, values_fn values)
{
    __m256i sum = _mm256_setzero_si256();

#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256i scale = which ? _mm256_permute4x64_epi64(heads.scale[h], 0xee)
                              : _mm256_permute4x64_epi64(heads.scale[h], 0x44);
        __m256i q[4];

        values(q, block, h);
#pragma GCC unroll 4
        for (int g = 0; g < 4; g++) {
            __m256i pairs = _mm256_maddubs_epi16(q[g], one_load(xq + 128 * h + 32 * g));

            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, spread2(scale, g)));
        }
    }
    return sum;
}

SL_INLINE void values_q4_k(__m256i ret[4], const uint8_t *block, int half)
{
    nibbles256(ret, block + offsetof(struct sl_block_q4_k, qs) + 64 * half);
}

SL_INLINE void values_q5_k(__m256i ret[4], const uint8_t *block, int half)
{
    __m256i high = one_load_once(block + offsetof(struct sl_block_q5_k, qh));

    nibbles256(ret, block + offsetof(struct sl_block_q5_k, qs) + 64 * half);
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++)
        ret[g] = _mm256_or_si256(ret[g], and8(shift16(high, 4 - 4 * half - g), 16));
}

/* What values have too much: 2^shift times their scale. */
SL_INLINE __m256i taken(__m256i scale, __m256i sums, int shift)
{
    return _mm256_slli_epi32(_mm256_madd_epi16(scale, sums), shift);
}

SL_INLINE void values_q6_k(__m256i ret[4], const uint8_t *block, int half)
{
    __m256i high = one_load_once(block + offsetof(struct sl_block_q6_k, qh) + 32 * half);
    __m256i low[4]; /* groups 0, 2, 1, 3 */

    nibbles256(low, block + 64 * half);
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++)
        ret[g] = _mm256_or_si256(low[g % 2 * 2 + g / 2], and8(shift16(high, 4 - 2 * g), 0x30));
}

/* Two scales for 32 weights, one a lane; two groups meet theirs together: four products fit
 * 16 bits (63 * 128 * 4 = 32256). */
SL_INLINE __m256i one_q6_k(const uint8_t *block, const struct one_chunk *chunk, size_t i,
                           struct one_heads heads, int which)
{
    __m128i s = _mm_loadu_si128((const void *)(block + offsetof(struct sl_block_q6_k, scales)));
    __m256i scale = _mm256_cvtepi8_epi16(even_odd(s)), sum = _mm256_setzero_si256();

#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256i q[4];

        values_q6_k(q, block, h);
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            const int8_t *x = chunk->q + SL_BLOCK256 * i + 128 * h + 64 * k;
            __m256i even = _mm256_maddubs_epi16(q[2 * k], one_load(x));
            __m256i odd = _mm256_maddubs_epi16(q[2 * k + 1], one_load(x + 32));
            __m256i both = _mm256_add_epi16(_mm256_unpacklo_epi16(even, odd),
                                            _mm256_unpackhi_epi16(even, odd));

            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(both, spread2(scale, 2 * h + k)));
        }
    }
    return _mm256_sub_epi32(sum, taken(scale, chunk->sums[i], 5));
}

/* Values of odd groups are 4 times as large as they should be, and so are scales of even
 * ones. */
SL_INLINE __m256i even_up(__m256i scale)
{
    return _mm256_mullo_epi16(scale, _mm256_set1_epi32(0x00010004));
}

/*
 * Products of groups g and g + 1 in turn, a word each: two masks and an x in the order of
 * ONE_WORDS take the values of both from the bytes where they lie.
 */
SL_INLINE __m256i dot_words(__m256i a, __m256i b, const __m256i x[2])
{
    const __m256i swap = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));

    return _mm256_add_epi16(_mm256_maddubs_epi16(a, x[0]),
                            _mm256_shuffle_epi8(_mm256_maddubs_epi16(b, x[1]), swap));
}

/* The same bytes in the words of even groups, in those of odd ones. */
SL_INLINE __m256i and_words(__m256i v, int even, int odd)
{
    return _mm256_and_si256(v, _mm256_set1_epi32(odd * 0x01010000 + even * 0x0101));
}

/* Shift words of even groups left by n, those of odd ones by m; right if negative. */
SL_INLINE __m256i shift_words(__m256i v, int n, int m)
{
    if (n >= 0 && m >= 0)
        return _mm256_mullo_epi16(v, _mm256_set1_epi32(1 << n | 1 << m << 16));
    return _mm256_mulhi_epu16(v, _mm256_set1_epi32((int)(1u << (16 + n) | 1u << (16 + m) << 16)));
}

/* Scales of two blocks, signed, in the order of ONE_SUMS_EVEN_ODD. */
SL_INLINE struct one_heads heads_q3_k(const uint8_t *a, const uint8_t *b, const __m256i sums[2])
{
    const size_t off = sizeof(struct sl_block_q3_k) - 16; /* the scales are its bytes 2 to 13 */
    const __m256i low_at = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(2, 4, 6, 8, 2, 4, 6, 8, 3, 5, 7, 9, 3, 5, 7, 9));
    const __m256i high_at = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(10, 12, 10, 12, 10, 12, 10, 12, 11, 13, 11, 13, 11, 13, 11, 13));
    const __m256i to_bit6 = _mm256_set1_epi64x(0x0001000400100040);
    __m256i v = one_load2(a + off, b + off);
    __m256i low = _mm256_srlv_epi32(_mm256_shuffle_epi8(v, low_at),
                                    _mm256_set1_epi64x((long long)4 << 32));
    __m256i high = _mm256_mullo_epi16(_mm256_shuffle_epi8(v, high_at), to_bit6);
    __m256i s = _mm256_or_si256(and8(low, 15), and8(_mm256_srli_epi16(high, 2), 0x30));

    s = _mm256_sub_epi8(s, _mm256_set1_epi8(32));
    return (struct one_heads){
        .scale = { _mm256_cvtepi8_epi16(_mm256_castsi256_si128(s)),
                   _mm256_cvtepi8_epi16(_mm256_extracti128_si256(s, 1)) },
    };
}

SL_INLINE __m256i one_q3_k(const uint8_t *block, const struct one_chunk *chunk, size_t i,
                           struct one_heads heads, int which)
{
    __m256i high = one_load_once(block + offsetof(struct sl_block_q3_k, hmask));
    __m256i scale = heads.scale[which], up = even_up(scale), sum = _mm256_setzero_si256();

#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256i v = one_load_once(block + offsetof(struct sl_block_q3_k, qs) + 32 * h);

#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            int to2 = 2 - (4 * h + 2 * k); /* from the bit of the even group */
            __m256i q = k ? _mm256_srli_epi16(v, 4) : v;
            __m256i a = _mm256_or_si256(and_words(q, 3, 12),
                                        and_words(shift_words(high, to2, to2 + 1), 4, 16));
            __m256i b = _mm256_or_si256(and_words(q, 12, 3),
                                        and_words(shift_words(high, to2 + 1, to2), 16, 4));
            __m256i both = dot_words(a, b, &chunk->x[i][4 * h + 2 * k]);

            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(both, spread2(up, 2 * h + k)));
        }
    }
    return _mm256_sub_epi32(sum, taken(scale, chunk->sums[i], 4));
}

SL_INLINE struct one_heads heads_q2_k(const uint8_t *a, const uint8_t *b, const __m256i sums[2])
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i mins = and8(_mm256_srli_epi16(one_load2(a, b), 4), 15);
    __m256i first = _mm256_madd_epi16(_mm256_unpacklo_epi8(mins, zero), sums[0]);
    __m256i last = _mm256_madd_epi16(_mm256_unpackhi_epi8(mins, zero), sums[1]);

    return (struct one_heads){ .min_sum = _mm256_add_epi32(first, last) };
}

/* Words are added up until one is left of each sub-block (12 * 128 * 16 = 24576). */
SL_INLINE __m256i one_q2_k(const uint8_t *block, const struct one_chunk *chunk, size_t i,
                           struct one_heads heads, int which)
{
    __m128i s = _mm_and_si128(even_odd(_mm_loadu_si128((const void *)block)), _mm_set1_epi8(15));
    __m256i four[2];

#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256i v = one_load_once(block + offsetof(struct sl_block_q2_k, qs) + 32 * h), two[2];

#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            __m256i q = k ? _mm256_srli_epi16(v, 4) : v;

            two[k] = dot_words(and_words(q, 3, 12), and_words(q, 12, 3),
                               &chunk->x[i][4 * h + 2 * k]);
        }
        four[h] = _mm256_add_epi16(_mm256_unpacklo_epi32(two[0], two[1]),
                                   _mm256_unpackhi_epi32(two[0], two[1]));
    }
    return _mm256_madd_epi16(_mm256_add_epi16(_mm256_unpacklo_epi64(four[0], four[1]),
                                              _mm256_unpackhi_epi64(four[0], four[1])),
                             even_up(_mm256_cvtepu8_epi16(s)));
}

/* Two groups of 16 bytes lie side by side: first their low nibbles, then the high ones.
 * Values take the sign of x and meet |x|; they are never -128. Low and high nibbles have the
 * same scales. */
SL_INLINE __m256i one_iq4_xs(const uint8_t *block, const struct one_chunk *chunk, size_t i,
                             struct one_heads heads, int which)
{
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    const __m256i twice = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13));
    __m256i scale = _mm256_shuffle_epi8(sl_scales_iq4_xs_signed(block, order), twice);
    const __m256i levels = one_iq4_levels();
    __m256i sum = _mm256_setzero_si256();

#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m256i v[4];

        nibbles256(v, block + offsetof(struct sl_block_iq4_xs, qs) + 64 * h);
#pragma GCC unroll 4
        for (int g = 0; g < 4; g++) {
            const __m256i *x = &chunk->x[i][8 * h + 2 * g];
            __m256i q = _mm256_sign_epi8(_mm256_shuffle_epi8(levels, v[g]), x[0]);
            __m256i spread = spread2(scale, 2 * h + g / 2);

            sum = _mm256_add_epi32(sum,
                                   _mm256_madd_epi16(_mm256_maddubs_epi16(x[1], q), spread));
        }
    }
    return sum;
}

SL_INLINE __m256i one_q4_k(const uint8_t *block, const struct one_chunk *chunk, size_t i,
                           struct one_heads heads, int which)
{
    return dot_q4_k(block, chunk->q + SL_BLOCK256 * i, heads, which, values_q4_k);
}

SL_INLINE __m256i one_q5_k(const uint8_t *block, const struct one_chunk *chunk, size_t i,
                           struct one_heads heads, int which)
{
    return dot_q4_k(block, chunk->q + SL_BLOCK256 * i, heads, which, values_q5_k);
}

void sl_matmul_one_q2_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one256(out, w, row_bytes, n_rows, x,
           (struct one_type){ .dot = one_q2_k,
                              .heads = heads_q2_k,
                              .has_min = true,
                              .sums = ONE_SUMS_OF_16,
                              .order = ONE_WORDS,
                              .shift = 2,
                              .block_bytes = sizeof(struct sl_block_q2_k),
                              .d_off = offsetof(struct sl_block_q2_k, d) });
}

void sl_matmul_one_q3_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one256(out, w, row_bytes, n_rows, x,
           (struct one_type){ .dot = one_q3_k,
                              .heads = heads_q3_k,
                              .sums = ONE_SUMS_EVEN_ODD,
                              .order = ONE_WORDS,
                              .shift = 2,
                              .block_bytes = sizeof(struct sl_block_q3_k),
                              .d_off = offsetof(struct sl_block_q3_k, d) });
}

void sl_matmul_one_q4_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one256(out, w, row_bytes, n_rows, x,
           (struct one_type){ .dot = one_q4_k,
                              .heads = heads_q4_k,
                              .has_min = true,
                              .sums = ONE_SUMS_OF_32,
                              .block_bytes = sizeof(struct sl_block_q4_k),
                              .d_off = offsetof(struct sl_block_q4_k, d) });
}

void sl_matmul_one_q5_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one256(out, w, row_bytes, n_rows, x,
           (struct one_type){ .dot = one_q5_k,
                              .heads = heads_q4_k,
                              .has_min = true,
                              .sums = ONE_SUMS_OF_32,
                              .block_bytes = sizeof(struct sl_block_q5_k),
                              .d_off = offsetof(struct sl_block_q5_k, d) });
}

void sl_matmul_one_q6_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one256(out, w, row_bytes, n_rows, x,
           (struct one_type){ .dot = one_q6_k,
                              .sums = ONE_SUMS_EVEN_ODD,
                              .block_bytes = sizeof(struct sl_block_q6_k),
                              .d_off = offsetof(struct sl_block_q6_k, d) });
}

void sl_matmul_one_iq4_xs_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x)
{
    one256(out, w, row_bytes, n_rows, x,
           (struct one_type){ .dot = one_iq4_xs,
                              .order = ONE_LANES,
                              .block_bytes = sizeof(struct sl_block_iq4_xs),
                              .d_off = offsetof(struct sl_block_iq4_xs, d) });
}
