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

/* Shift left by n bits, right if negative; bits cross bytes, so mask afterwards. */
SL_INLINE __m256i shift16(__m256i v, int n)
{
    return n >= 0 ? _mm256_slli_epi16(v, n) : _mm256_srli_epi16(v, -n);
}

/* Bytes as 16-bit scales, the same in both lanes: sub-blocks of 32. */
SL_INLINE __m256i both_lanes(uint64_t bytes)
{
    return _mm256_broadcastsi128_si256(_mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)bytes)));
}

/* 16 bytes to the order of the scales: even ones first. */
SL_INLINE __m128i even_odd(__m128i bytes)
{
    return _mm_shuffle_epi8(bytes, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13,
                                                 15));
}

SL_INLINE __m256i nibbles256(const uint8_t *qs, int g)
{
    __m256i v = one_load(qs + 32 * (g / 2));

    return and8(g % 2 ? _mm256_srli_epi16(v, 4) : v, 15);
}

SL_INLINE struct one_scales scales_q4_k(const uint8_t *block)
{
    uint64_t scale, min;

    sl_scales_q4_k(block + offsetof(struct sl_block_q4_k, scales), &scale, &min);
    return (struct one_scales){ .scale = both_lanes(scale), .min = both_lanes(min) };
}

SL_INLINE __m256i values_q4_k(const uint8_t *block, int g)
{
    return nibbles256(block + offsetof(struct sl_block_q4_k, qs), g);
}

SL_INLINE __m256i values_q5_k(const uint8_t *block, int g)
{
    __m256i high = one_load(block + offsetof(struct sl_block_q5_k, qh));

    return _mm256_or_si256(nibbles256(block + offsetof(struct sl_block_q5_k, qs), g),
                           and8(shift16(high, 4 - g), 16));
}

SL_INLINE struct one_scales scales_q6_k(const uint8_t *block)
{
    __m128i s = _mm_loadu_si128((const void *)(block + offsetof(struct sl_block_q6_k, scales)));

    return (struct one_scales){ .scale = _mm256_cvtepi8_epi16(even_odd(s)) };
}

SL_INLINE __m256i values_q6_k(const uint8_t *block, int g)
{
    int half = g / 4, group = g % 4;
    __m256i low = one_load(block + 64 * half + 32 * (group % 2));
    __m256i high = one_load(block + offsetof(struct sl_block_q6_k, qh) + 32 * half);

    return _mm256_or_si256(and8(group < 2 ? low : _mm256_srli_epi16(low, 4), 15),
                           and8(shift16(high, 4 - 2 * group), 0x30));
}

SL_INLINE struct one_scales scales_q2_k(const uint8_t *block)
{
    __m128i s = even_odd(_mm_loadu_si128((const void *)block));
    __m128i mask = _mm_set1_epi8(15);

    return (struct one_scales){
        .scale = _mm256_cvtepu8_epi16(_mm_and_si128(s, mask)),
        .min = _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(s, 4), mask)),
    };
}

/* Two bits of each byte; those of odd groups 4 times as large: half of the shifts. */
SL_INLINE __m256i two_bits(const uint8_t *qs, int g)
{
    __m256i v = one_load(qs + 32 * (g / 4));

    return and8(g % 4 < 2 ? v : _mm256_srli_epi16(v, 4), g % 2 ? 12 : 3);
}

SL_INLINE __m256i values_q2_k(const uint8_t *block, int g)
{
    return two_bits(block + offsetof(struct sl_block_q2_k, qs), g);
}

SL_INLINE struct one_scales scales_q3_k(const uint8_t *block)
{
    __m128i s = sl_scales_q3_k_signed(block + offsetof(struct sl_block_q3_k, scales));

    return (struct one_scales){ .scale = _mm256_cvtepi8_epi16(even_odd(s)) };
}

SL_INLINE __m256i values_q3_k(const uint8_t *block, int g)
{
    __m256i high = one_load(block + offsetof(struct sl_block_q3_k, hmask));
    int bit = g % 2 ? 4 : 2;

    return _mm256_or_si256(two_bits(block + offsetof(struct sl_block_q3_k, qs), g),
                           and8(shift16(high, bit - g), 1 << bit));
}

/* As dwords: those of even sub-blocks, which have the low lane, of odd ones. */
SL_INLINE struct one_scales scales_iq4_xs(const uint8_t *block)
{
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);

    return (struct one_scales){ .scale = sl_scales_iq4_xs_signed(block, order) };
}

/* Two groups of 16 bytes lie side by side: first their low nibbles, then the high ones. */
SL_INLINE __m256i values_iq4_xs(const uint8_t *block, int g)
{
    static const int8_t levels[16] __attribute__((aligned(16))) = SL_IQ4_VALUES;
    __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128((const void *)levels));

    return _mm256_shuffle_epi8(table,
                               nibbles256(block + offsetof(struct sl_block_iq4_xs, qs), g));
}

void sl_matmul_one_q2_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one256(out, w, row_bytes, n_rows, x,
           (struct one_type){ .values = values_q2_k,
                              .scales = scales_q2_k,
                              .odd_up = 2,
                              .kind = ONE_MINS,
                              .block_bytes = sizeof(struct sl_block_q2_k),
                              .d_off = offsetof(struct sl_block_q2_k, d),
                              .dmin_off = offsetof(struct sl_block_q2_k, dmin) });
}

void sl_matmul_one_q3_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one256(out, w, row_bytes, n_rows, x,
           (struct one_type){ .values = values_q3_k,
                              .scales = scales_q3_k,
                              .odd_up = 2,
                              .kind = ONE_OFFSET,
                              .shift = 2,
                              .block_bytes = sizeof(struct sl_block_q3_k),
                              .d_off = offsetof(struct sl_block_q3_k, d) });
}

void sl_matmul_one_q4_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one256(out, w, row_bytes, n_rows, x,
           (struct one_type){ .values = values_q4_k,
                              .scales = scales_q4_k,
                              .kind = ONE_MINS,
                              .block_bytes = sizeof(struct sl_block_q4_k),
                              .d_off = offsetof(struct sl_block_q4_k, d),
                              .dmin_off = offsetof(struct sl_block_q4_k, dmin) });
}

void sl_matmul_one_q5_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one256(out, w, row_bytes, n_rows, x,
           (struct one_type){ .values = values_q5_k,
                              .scales = scales_q4_k,
                              .kind = ONE_MINS,
                              .block_bytes = sizeof(struct sl_block_q5_k),
                              .d_off = offsetof(struct sl_block_q5_k, d),
                              .dmin_off = offsetof(struct sl_block_q5_k, dmin) });
}

void sl_matmul_one_q6_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one256(out, w, row_bytes, n_rows, x,
           (struct one_type){ .values = values_q6_k,
                              .scales = scales_q6_k,
                              .kind = ONE_OFFSET,
                              .shift = 5,
                              .block_bytes = sizeof(struct sl_block_q6_k),
                              .d_off = offsetof(struct sl_block_q6_k, d) });
}

void sl_matmul_one_iq4_xs_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    one256(out, w, row_bytes, n_rows, x,
           (struct one_type){ .values = values_iq4_xs,
                              .scales = scales_iq4_xs,
                              .kind = ONE_SIGNED,
                              .is_split = true,
                              .block_bytes = sizeof(struct sl_block_iq4_xs),
                              .d_off = offsetof(struct sl_block_iq4_xs, d) });
}
