/*
 * The packed scales of the k-quants and IQ4_XS as bytes, mostly by ordinary 32-bit
 * arithmetic: it runs beside the vector work.
 */
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "tensor/block.h"

/* Q4_K, Q5_K: eight scales and eight mins of six bits. */
static inline void sl_scales_q4_k(const uint8_t s[12], uint64_t *ret_scale, uint64_t *ret_min)
{
    uint32_t a = sl_load_u32(s), b = sl_load_u32(s + 4), c = sl_load_u32(s + 8);
    uint32_t scale_high = (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u);
    uint32_t min_high = (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u);

    *ret_scale = (a & 0x3f3f3f3fu) | (uint64_t)scale_high << 32;
    *ret_min = (b & 0x3f3f3f3fu) | (uint64_t)min_high << 32;
}

/* The same by vector, for a block in each lane: eight scales, eight mins. v: their first
 * 16 bytes, of which the packed ones are the last twelve. */
static inline __m256i sl_scales_q4_k_two(__m256i v)
{
    const __m256i mask = _mm256_set1_epi64x(0x303030303f3f3f3f);
    const __m256i by_ab = _mm256_set1_epi64x((long long)2 << 32);
    const __m256i by_c = _mm256_setr_epi32(32, 0, 32, 4, 32, 0, 32, 4); /* 32: nothing left */
    __m256i ab = _mm256_srlv_epi32(_mm256_shuffle_epi32(v, 0xa5), by_ab); /* a a b b */
    __m256i c = _mm256_srlv_epi32(_mm256_shuffle_epi32(v, 0xff), by_c);

    return _mm256_or_si256(_mm256_and_si256(ab, mask),
                           _mm256_and_si256(c, _mm256_set1_epi8(15)));
}

/* Q3_K: sixteen scales of six bits, 32 too large. */
static inline void sl_scales_q3_k(const uint8_t s[12], uint64_t *ret_low, uint64_t *ret_high)
{
    uint32_t a = sl_load_u32(s), b = sl_load_u32(s + 4), c = sl_load_u32(s + 8);
    uint32_t s0 = (a & 0x0f0f0f0fu) | (c << 4 & 0x30303030u);
    uint32_t s4 = (b & 0x0f0f0f0fu) | (c << 2 & 0x30303030u);
    uint32_t s8 = (a >> 4 & 0x0f0f0f0fu) | (c & 0x30303030u);
    uint32_t s12 = (b >> 4 & 0x0f0f0f0fu) | (c >> 2 & 0x30303030u);

    *ret_low = s0 | (uint64_t)s4 << 32;
    *ret_high = s8 | (uint64_t)s12 << 32;
}

/* The same as signed bytes, by vector: for one block at a time it takes less. */
static inline __m128i sl_scales_q3_k_signed(const uint8_t s[12])
{
    __m128i low = _mm_cvtsi64_si128((long long)sl_load_u64(s));
    __m128i high = _mm_set1_epi32((int)sl_load_u32(s + 8));

    low = _mm_and_si128(_mm_unpacklo_epi64(low, _mm_srli_epi16(low, 4)), _mm_set1_epi8(15));
    high = _mm_and_si128(_mm_srlv_epi32(high, _mm_setr_epi32(0, 2, 4, 6)), _mm_set1_epi8(3));
    return _mm_sub_epi8(_mm_or_si128(low, _mm_slli_epi16(high, 4)), _mm_set1_epi8(32));
}

/* IQ4_XS: eight scales of six bits, 32 too large. Fields are spread to bytes by
 * halving steps: pdep is microcode on Zen 1 and 2. */
static inline uint64_t sl_scales_iq4_xs(uint16_t scales_h, const uint8_t scales_l[4])
{
    uint64_t low = sl_load_u32(scales_l), high = scales_h;

    low = (low | low << 16) & 0x0000ffff0000ffffu;
    low = (low | low << 8) & 0x00ff00ff00ff00ffu;
    low = (low | low << 4) & 0x0f0f0f0f0f0f0f0fu;
    high = (high | high << 24) & 0x000000ff000000ffu;
    high = (high | high << 12) & 0x000f000f000f000fu;
    high = (high | high << 6) & 0x0303030303030303u;
    return low | high << 4;
}

/* Those of the sub-blocks named in j as signed dwords, from the start of a block: for one at
 * a time it takes less. */
static inline __m256i sl_scales_iq4_xs_signed(const uint8_t *block, __m256i j)
{
    const int high_at = 8 * offsetof(struct sl_block_iq4_xs, scales_h);
    __m256i high = _mm256_set1_epi32((int)sl_load_u32(block));
    __m256i low = _mm256_set1_epi32(
        (int)sl_load_u32(block + offsetof(struct sl_block_iq4_xs, scales_l)));

    j = _mm256_slli_epi32(j, 1);
    high = _mm256_srlv_epi32(high, _mm256_add_epi32(j, _mm256_set1_epi32(high_at)));
    low = _mm256_srlv_epi32(low, _mm256_slli_epi32(j, 1));
    high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
    low = _mm256_and_si256(low, _mm256_set1_epi32(15));
    return _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
}
