/*
 * Sixteen floats and what the float kernels do with them, in AVX-512. v16_avx2.h has
 * the same functions over two halves; the templates (*_tmpl.h) are written against
 * them, once. Lane i of every result is what C gives for the elements in lane i.
 * n, where a function takes it, is 0..16: only n elements are read or written, and
 * the other lanes are +0.
 */
#pragma once

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/mathfn.h"

struct v16 {
    __m512 v;
};

#define SL_INLINE static inline __attribute__((always_inline))

SL_INLINE __mmask16 v16_mask(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

SL_INLINE struct v16 v16_set1(float x)
{
    return (struct v16){ _mm512_set1_ps(x) };
}

SL_INLINE struct v16 v16_zero(void)
{
    return (struct v16){ _mm512_setzero_ps() };
}

SL_INLINE struct v16 v16_load(const void *ptr)
{
    return (struct v16){ _mm512_loadu_ps(ptr) };
}

SL_INLINE struct v16 v16_load_n(const void *ptr, size_t n)
{
    if (n == 16)
        return v16_load(ptr);
    return (struct v16){ _mm512_maskz_loadu_ps(v16_mask(n), ptr) };
}

SL_INLINE void v16_store_n(float *ptr, struct v16 x, size_t n)
{
    if (n == 16)
        _mm512_storeu_ps(ptr, x.v);
    else
        _mm512_mask_storeu_ps(ptr, v16_mask(n), x.v);
}

SL_INLINE struct v16 v16_load_f16_n(const void *ptr, size_t n)
{
    __m256i h = n == 16 ? _mm256_loadu_si256(ptr) : _mm256_maskz_loadu_epi16(v16_mask(n), ptr);

    return (struct v16){ _mm512_cvtph_ps(h) };
}

SL_INLINE struct v16 v16_load_bf16_n(const void *ptr, size_t n)
{
    __m256i h = n == 16 ? _mm256_loadu_si256(ptr) : _mm256_maskz_loadu_epi16(v16_mask(n), ptr);

    return (struct v16){ _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)) };
}

/* A v16 has one part. */
#define V16_PARTS 1

struct v16_part {
    __m512 v;
};

SL_INLINE struct v16_part v16_part_of(struct v16 x, int part)
{
    (void)part;
    return (struct v16_part){ x.v };
}

SL_INLINE struct v16_part v16_part_load(const void *ptr)
{
    return (struct v16_part){ _mm512_loadu_ps(ptr) };
}

SL_INLINE struct v16_part v16_part_load_f16(const void *ptr)
{
    return v16_part_of(v16_load_f16_n(ptr, 16), 0);
}

SL_INLINE struct v16_part v16_part_load_bf16(const void *ptr)
{
    return v16_part_of(v16_load_bf16_n(ptr, 16), 0);
}

SL_INLINE void v16_part_store(float *ptr, struct v16_part x)
{
    _mm512_storeu_ps(ptr, x.v);
}

SL_INLINE struct v16_part v16_part_fma(struct v16_part a, struct v16_part b, struct v16_part c)
{
    return (struct v16_part){ _mm512_fmadd_ps(a.v, b.v, c.v) };
}

SL_INLINE struct v16 v16_load_i8(const void *ptr)
{
    return (struct v16){ _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(ptr))) };
}

/* To F16, nearest even. All sixteen are written. */
SL_INLINE void v16_store_f16(void *ptr, struct v16 x)
{
    _mm256_storeu_si256(ptr, _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}

/* To int8, nearest even; x within -127..127. */
SL_INLINE void v16_store_i8(void *ptr, struct v16 x)
{
    _mm_storeu_si128(ptr, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x.v)));
}

SL_INLINE struct v16 v16_add(struct v16 a, struct v16 b)
{
    return (struct v16){ _mm512_add_ps(a.v, b.v) };
}

SL_INLINE struct v16 v16_sub(struct v16 a, struct v16 b)
{
    return (struct v16){ _mm512_sub_ps(a.v, b.v) };
}

SL_INLINE struct v16 v16_mul(struct v16 a, struct v16 b)
{
    return (struct v16){ _mm512_mul_ps(a.v, b.v) };
}

SL_INLINE struct v16 v16_div(struct v16 a, struct v16 b)
{
    return (struct v16){ _mm512_div_ps(a.v, b.v) };
}

SL_INLINE struct v16 v16_fma(struct v16 a, struct v16 b, struct v16 c)
{
    return (struct v16){ _mm512_fmadd_ps(a.v, b.v, c.v) };
}

/* a * b - c, rounded once */
SL_INLINE struct v16 v16_fmsub(struct v16 a, struct v16 b, struct v16 c)
{
    return (struct v16){ _mm512_fmsub_ps(a.v, b.v, c.v) };
}

SL_INLINE struct v16 v16_neg(struct v16 x)
{
    return (struct v16){ _mm512_xor_ps(x.v, _mm512_set1_ps(-0.0f)) };
}

/* a > b ? a : b, so b where a is NaN */
SL_INLINE struct v16 v16_max(struct v16 a, struct v16 b)
{
    return (struct v16){ _mm512_max_ps(a.v, b.v) };
}

/* a < b ? a : b, so b where a is NaN */
SL_INLINE struct v16 v16_min(struct v16 a, struct v16 b)
{
    return (struct v16){ _mm512_min_ps(a.v, b.v) };
}

/* The larger magnitude as bits: NaN is above infinity. b holds magnitudes already. */
SL_INLINE struct v16 v16_max_magnitude(struct v16 a, struct v16 b)
{
    __m512i bits = _mm512_and_epi32(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7fffffff));

    return (struct v16){ _mm512_castsi512_ps(
        _mm512_max_epu32(bits, _mm512_castps_si512(b.v))) };
}

/* x in the first n lanes, other in the rest */
SL_INLINE struct v16 v16_first_n(struct v16 x, size_t n, struct v16 other)
{
    return (struct v16){ _mm512_mask_mov_ps(other.v, v16_mask(n), x.v) };
}

/* Bit i says whether lane i is equal in a and b. */
SL_INLINE unsigned v16_equal(struct v16 a, struct v16 b)
{
    return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ);
}

/* The sums of four vectors, each in the order of sl_lanes_sum, four vectors at a time. */
SL_INLINE __m128 v16_sum4(struct v16 a, struct v16 b, struct v16 c, struct v16 d)
{
    /* step 8: a in the low half, b in the high half */
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a.v, b.v, 0x44),
                              _mm512_shuffle_f32x4(a.v, b.v, 0xee));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c.v, d.v, 0x44),
                              _mm512_shuffle_f32x4(c.v, d.v, 0xee));
    /* step 4: a quarter each; steps 2 and 1 within the quarters */
    __m512 s = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88),
                             _mm512_shuffle_f32x4(ab, cd, 0xdd));

    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0x4e));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
    s = _mm512_permutexvar_ps(
        _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0), s);
    return _mm512_castps512_ps128(s);
}

SL_INLINE float v16_sum(struct v16 x)
{
    __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));

    s = _mm_add_ps(s, _mm_permute_ps(s, 0x4e));
    s = _mm_add_ps(s, _mm_permute_ps(s, 0xb1));
    return _mm_cvtss_f32(s);
}

/* ret[j] lane i = ptr[3 i + j]: the elements of ret[j] lie in different lanes of the
 * three loads (3 and 16 have no common factor), so blend first, then permute once. */
SL_INLINE void v16_load_by3(struct v16 ret[3], const float *ptr)
{
    const __m512i index = _mm512_set_epi32(45, 42, 39, 36, 33, 30, 27, 24, 21, 18, 15, 12,
                                           9, 6, 3, 0);
    const __mmask16 lanes[3] = { 0x9249, 0x2492, 0x4924 }; /* lane % 3 */
    __m512 a = _mm512_loadu_ps(ptr);
    __m512 b = _mm512_loadu_ps(ptr + 16);
    __m512 c = _mm512_loadu_ps(ptr + 32);

    for (int j = 0; j < 3; j++) {
        __m512 x = _mm512_mask_mov_ps(a, lanes[(j + 2) % 3], b);

        x = _mm512_mask_mov_ps(x, lanes[(j + 1) % 3], c);
        ret[j].v = _mm512_permutexvar_ps(_mm512_add_epi32(index, _mm512_set1_epi32(j)), x);
    }
}

/* Lane i = ptr[i * stride]. */
SL_INLINE struct v16 v16_load_by(const float *ptr, size_t stride)
{
    __m512i index = _mm512_mullo_epi32(
        _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
        _mm512_set1_epi32((int)stride));

    return (struct v16){ _mm512_i32gather_ps(index, ptr, 4) };
}

/* sl_expf in every lane. */
SL_INLINE struct v16 v16_exp(struct v16 x)
{
    const __m512 round = _mm512_set1_ps(SL_EXP_ROUND);
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 t = _mm512_fmadd_ps(x.v, _mm512_set1_ps(SL_EXP_LOG2E), round);
    __m512 n = _mm512_sub_ps(t, round);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-SL_EXP_LN2_HI), x.v);
    __m512 p;

    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-SL_EXP_LN2_LO), r);
    p = _mm512_fmadd_ps(_mm512_set1_ps(SL_EXP_Q4), r, _mm512_set1_ps(SL_EXP_Q3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(SL_EXP_Q2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(SL_EXP_Q1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(SL_EXP_Q0));
    p = _mm512_fmadd_ps(p, r, one);
    p = _mm512_fmadd_ps(p, r, one);
    p = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p),
                                             _mm512_slli_epi32(_mm512_castps_si512(t), 23)));

    p = _mm512_maskz_mov_ps(
        _mm512_cmp_ps_mask(x.v, _mm512_set1_ps(SL_EXP_MIN), _CMP_NLT_UQ), p);
    p = _mm512_mask_mov_ps(
        p, _mm512_cmp_ps_mask(x.v, _mm512_set1_ps(SL_EXP_MAX), _CMP_GT_OQ),
        _mm512_set1_ps(INFINITY));
    p = _mm512_mask_mov_ps(p, _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q), x.v);
    return (struct v16){ p };
}
