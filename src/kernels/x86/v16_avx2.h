/*
 * Sixteen floats and what the float kernels do with them, in AVX2: lanes 0..7 in lo,
 * 8..15 in hi. The functions are those of v16_avx512.h, whose comments hold here.
 */
#pragma once

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/mathfn.h"

struct v16 {
    __m256 lo, hi;
};

struct v16_mask {
    __m256i lo, hi;
};

#define SL_INLINE static inline __attribute__((always_inline))

SL_INLINE struct v16_mask v16_mask(size_t n)
{
    static const int32_t mask[32] = { -1, -1, -1, -1, -1, -1, -1, -1,
                                      -1, -1, -1, -1, -1, -1, -1, -1 };
    const int32_t *first = mask + 16 - n;

    return (struct v16_mask){ _mm256_loadu_si256((const __m256i *)first),
                              _mm256_loadu_si256((const __m256i *)(first + 8)) };
}

SL_INLINE struct v16 v16_set1(float x)
{
    return (struct v16){ _mm256_set1_ps(x), _mm256_set1_ps(x) };
}

SL_INLINE struct v16 v16_zero(void)
{
    return (struct v16){ _mm256_setzero_ps(), _mm256_setzero_ps() };
}

SL_INLINE struct v16 v16_load(const void *ptr)
{
    return (struct v16){ _mm256_loadu_ps(ptr), _mm256_loadu_ps((const float *)ptr + 8) };
}

SL_INLINE struct v16 v16_load_n(const void *ptr, size_t n)
{
    struct v16_mask m;

    if (n == 16)
        return v16_load(ptr);
    m = v16_mask(n);
    return (struct v16){ _mm256_maskload_ps(ptr, m.lo),
                         _mm256_maskload_ps((const float *)ptr + 8, m.hi) };
}

SL_INLINE void v16_store_n(float *ptr, struct v16 x, size_t n)
{
    struct v16_mask m;

    if (n == 16) {
        _mm256_storeu_ps(ptr, x.lo);
        _mm256_storeu_ps(ptr + 8, x.hi);
    } else {
        m = v16_mask(n);
        _mm256_maskstore_ps(ptr, m.lo, x.lo);
        _mm256_maskstore_ps(ptr + 8, m.hi, x.hi);
    }
}

/* Sixteen 16-bit elements; AVX2 has no masked load of them. */
SL_INLINE __m256i v16_load_u16_n(const void *ptr, size_t n)
{
    uint16_t part[16] = { 0 };

    if (n == 16)
        return _mm256_loadu_si256(ptr);
    memcpy(part, ptr, n * sizeof(part[0]));
    return _mm256_loadu_si256((const __m256i *)part);
}

SL_INLINE struct v16 v16_load_f16_n(const void *ptr, size_t n)
{
    __m256i h = v16_load_u16_n(ptr, n);

    return (struct v16){ _mm256_cvtph_ps(_mm256_castsi256_si128(h)),
                         _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1)) };
}

SL_INLINE __m256 v16_half_of_bf16(__m128i h)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

SL_INLINE struct v16 v16_load_bf16_n(const void *ptr, size_t n)
{
    __m256i h = v16_load_u16_n(ptr, n);

    return (struct v16){ v16_half_of_bf16(_mm256_castsi256_si128(h)),
                         v16_half_of_bf16(_mm256_extracti128_si256(h, 1)) };
}

/* A v16 has two parts, its halves. */
#define V16_PARTS 2

struct v16_part {
    __m256 v;
};

SL_INLINE struct v16_part v16_part_of(struct v16 x, int part)
{
    return (struct v16_part){ part == 0 ? x.lo : x.hi };
}

SL_INLINE struct v16_part v16_part_load(const void *ptr)
{
    return (struct v16_part){ _mm256_loadu_ps(ptr) };
}

SL_INLINE struct v16_part v16_part_load_f16(const void *ptr)
{
    return (struct v16_part){ _mm256_cvtph_ps(_mm_loadu_si128(ptr)) };
}

SL_INLINE struct v16_part v16_part_load_bf16(const void *ptr)
{
    return (struct v16_part){ v16_half_of_bf16(_mm_loadu_si128(ptr)) };
}

SL_INLINE void v16_part_store(float *ptr, struct v16_part x)
{
    _mm256_storeu_ps(ptr, x.v);
}

SL_INLINE struct v16_part v16_part_fma(struct v16_part a, struct v16_part b, struct v16_part c)
{
    return (struct v16_part){ _mm256_fmadd_ps(a.v, b.v, c.v) };
}

SL_INLINE struct v16 v16_load_i8(const void *ptr)
{
    __m128i q = _mm_loadu_si128(ptr);

    return (struct v16){
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)),
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(q, q))),
    };
}

SL_INLINE void v16_store_f16(void *ptr, struct v16 x)
{
    __m128i *to = ptr;

    _mm_storeu_si128(to, _mm256_cvtps_ph(x.lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(to + 1, _mm256_cvtps_ph(x.hi, _MM_FROUND_TO_NEAREST_INT));
}

SL_INLINE void v16_store_i8(void *ptr, struct v16 x)
{
    __m256i i16 = _mm256_packs_epi32(_mm256_cvtps_epi32(x.lo), _mm256_cvtps_epi32(x.hi));

    /* packs works within 128-bit halves: put their quarters in order */
    i16 = _mm256_permute4x64_epi64(i16, 0xd8);
    _mm_storeu_si128(ptr, _mm_packs_epi16(_mm256_castsi256_si128(i16),
                                          _mm256_extracti128_si256(i16, 1)));
}

SL_INLINE struct v16 v16_add(struct v16 a, struct v16 b)
{
    return (struct v16){ _mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi) };
}

SL_INLINE struct v16 v16_sub(struct v16 a, struct v16 b)
{
    return (struct v16){ _mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi) };
}

SL_INLINE struct v16 v16_mul(struct v16 a, struct v16 b)
{
    return (struct v16){ _mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi) };
}

SL_INLINE struct v16 v16_div(struct v16 a, struct v16 b)
{
    return (struct v16){ _mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi) };
}

SL_INLINE struct v16 v16_fma(struct v16 a, struct v16 b, struct v16 c)
{
    return (struct v16){ _mm256_fmadd_ps(a.lo, b.lo, c.lo),
                         _mm256_fmadd_ps(a.hi, b.hi, c.hi) };
}

SL_INLINE struct v16 v16_fmsub(struct v16 a, struct v16 b, struct v16 c)
{
    return (struct v16){ _mm256_fmsub_ps(a.lo, b.lo, c.lo),
                         _mm256_fmsub_ps(a.hi, b.hi, c.hi) };
}

SL_INLINE struct v16 v16_neg(struct v16 x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);

    return (struct v16){ _mm256_xor_ps(x.lo, sign), _mm256_xor_ps(x.hi, sign) };
}

SL_INLINE struct v16 v16_max(struct v16 a, struct v16 b)
{
    return (struct v16){ _mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi) };
}

SL_INLINE struct v16 v16_min(struct v16 a, struct v16 b)
{
    return (struct v16){ _mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi) };
}

SL_INLINE __m256 v16_half_max_magnitude(__m256 a, __m256 b)
{
    __m256i bits = _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x7fffffff));

    return _mm256_castsi256_ps(_mm256_max_epu32(bits, _mm256_castps_si256(b)));
}

SL_INLINE struct v16 v16_max_magnitude(struct v16 a, struct v16 b)
{
    return (struct v16){ v16_half_max_magnitude(a.lo, b.lo),
                         v16_half_max_magnitude(a.hi, b.hi) };
}

SL_INLINE struct v16 v16_first_n(struct v16 x, size_t n, struct v16 other)
{
    struct v16_mask m = v16_mask(n);

    return (struct v16){ _mm256_blendv_ps(other.lo, x.lo, _mm256_castsi256_ps(m.lo)),
                         _mm256_blendv_ps(other.hi, x.hi, _mm256_castsi256_ps(m.hi)) };
}

SL_INLINE unsigned v16_equal(struct v16 a, struct v16 b)
{
    unsigned lo = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_EQ_OQ));
    unsigned hi = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_EQ_OQ));

    return lo | hi << 8;
}

SL_INLINE __m128 v16_sum4(struct v16 a, struct v16 b, struct v16 c, struct v16 d)
{
    /* step 8 */
    __m256 a8 = _mm256_add_ps(a.lo, a.hi), b8 = _mm256_add_ps(b.lo, b.hi);
    __m256 c8 = _mm256_add_ps(c.lo, c.hi), d8 = _mm256_add_ps(d.lo, d.hi);
    /* step 4: a and b, c and d side by side */
    __m256 ab = _mm256_add_ps(_mm256_permute2f128_ps(a8, b8, 0x20),
                              _mm256_permute2f128_ps(a8, b8, 0x31));
    __m256 cd = _mm256_add_ps(_mm256_permute2f128_ps(c8, d8, 0x20),
                              _mm256_permute2f128_ps(c8, d8, 0x31));
    /* step 2: a c | b d, step 1: . a . c | . b . d */
    __m256 s = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));

    s = _mm256_add_ps(s, _mm256_permute_ps(s, 0xb1));
    return _mm_shuffle_ps(
        _mm_unpacklo_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)),
        _mm_unpackhi_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)), 0x44);
}

SL_INLINE float v16_sum(struct v16 x)
{
    __m256 s8 = _mm256_add_ps(x.lo, x.hi);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));

    s = _mm_add_ps(s, _mm_permute_ps(s, 0x4e));
    s = _mm_add_ps(s, _mm_permute_ps(s, 0xb1));
    return _mm_cvtss_f32(s);
}

/* Blend, then permute, as in v16_avx512.h; blends of AVX2 want constants. */
SL_INLINE void v16_half_load_by3(__m256 ret[3], const float *ptr)
{
    const __m256i index = _mm256_set_epi32(21, 18, 15, 12, 9, 6, 3, 0);
    __m256 a = _mm256_loadu_ps(ptr);
    __m256 b = _mm256_loadu_ps(ptr + 8);
    __m256 c = _mm256_loadu_ps(ptr + 16);
    __m256 x0 = _mm256_blend_ps(_mm256_blend_ps(a, b, 0x92), c, 0x24);
    __m256 x1 = _mm256_blend_ps(_mm256_blend_ps(a, b, 0x24), c, 0x49);
    __m256 x2 = _mm256_blend_ps(_mm256_blend_ps(a, b, 0x49), c, 0x92);

    ret[0] = _mm256_permutevar8x32_ps(x0, index);
    ret[1] = _mm256_permutevar8x32_ps(x1, _mm256_add_epi32(index, _mm256_set1_epi32(1)));
    ret[2] = _mm256_permutevar8x32_ps(x2, _mm256_add_epi32(index, _mm256_set1_epi32(2)));
}

SL_INLINE void v16_load_by3(struct v16 ret[3], const float *ptr)
{
    __m256 lo[3], hi[3];

    v16_half_load_by3(lo, ptr);
    v16_half_load_by3(hi, ptr + 24);
    for (int j = 0; j < 3; j++)
        ret[j] = (struct v16){ lo[j], hi[j] };
}

SL_INLINE struct v16 v16_load_by(const float *ptr, size_t stride)
{
    __m256i index = _mm256_mullo_epi32(_mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0),
                                       _mm256_set1_epi32((int)stride));

    return (struct v16){ _mm256_i32gather_ps(ptr, index, 4),
                         _mm256_i32gather_ps(ptr + 8 * stride, index, 4) };
}

SL_INLINE __m256 v16_half_exp(__m256 x)
{
    const __m256 round = _mm256_set1_ps(SL_EXP_ROUND);
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 t = _mm256_fmadd_ps(x, _mm256_set1_ps(SL_EXP_LOG2E), round);
    __m256 n = _mm256_sub_ps(t, round);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-SL_EXP_LN2_HI), x);
    __m256 p;

    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-SL_EXP_LN2_LO), r);
    p = _mm256_fmadd_ps(_mm256_set1_ps(SL_EXP_Q4), r, _mm256_set1_ps(SL_EXP_Q3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(SL_EXP_Q2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(SL_EXP_Q1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(SL_EXP_Q0));
    p = _mm256_fmadd_ps(p, r, one);
    p = _mm256_fmadd_ps(p, r, one);
    p = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p),
                                             _mm256_slli_epi32(_mm256_castps_si256(t), 23)));

    p = _mm256_and_ps(p, _mm256_cmp_ps(x, _mm256_set1_ps(SL_EXP_MIN), _CMP_NLT_UQ));
    p = _mm256_blendv_ps(p, _mm256_set1_ps(INFINITY),
                         _mm256_cmp_ps(x, _mm256_set1_ps(SL_EXP_MAX), _CMP_GT_OQ));
    return _mm256_blendv_ps(p, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

SL_INLINE struct v16 v16_exp(struct v16 x)
{
    return (struct v16){ v16_half_exp(x.lo), v16_half_exp(x.hi) };
}
