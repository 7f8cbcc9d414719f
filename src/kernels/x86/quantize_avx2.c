/*
 * Activations to int8 blocks, for AVX2. As in C, the largest magnitude is taken on
 * the bits. Whole numbers come from cvtps, which rounds to nearest even and makes
 * INT_MIN of NaN; packing with saturation turns that into -128.
 */
#include <immintrin.h>
#include <string.h>

#include "base/bytes.h"
#include "kernels/x86/quant_avx2.h"
#include "tensor/block.h"

static inline __attribute__((always_inline)) float largest(const float *x, size_t n)
{
    const __m256i mag = _mm256_set1_epi32(0x7fffffff);
    __m256i max = _mm256_setzero_si256();
    __m128i m;

    for (size_t i = 0; i < n; i += 8)
        max = _mm256_max_epu32(
            max, _mm256_and_si256(mag, _mm256_loadu_si256((const void *)(x + i))));
    m = _mm_max_epu32(_mm256_castsi256_si128(max), _mm256_extracti128_si256(max, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return sl_f32_from_bits((uint32_t)_mm_cvtsi128_si32(m));
}

static inline __m256i whole8(const float *x, __m256 inv)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inv));
}

static inline __attribute__((always_inline)) void quantize_block(struct sl_act *act,
                                                                 size_t i_block, const float *x,
                                                                 size_t len)
{
    int8_t *q = act->q + i_block * len;
    int16_t *sums = act->sums + i_block * (len / 16);
    float amax = largest(x, len);
    __m256 inv = _mm256_set1_ps(amax >= SL_ACT_AMAX_MIN ? 127.0f / amax : 0.0f);

    act->d[i_block] = amax / 127.0f;
    for (size_t i = 0; i < len; i += 16) {
        /* Packing works by lanes: 64-bit quarters come out as 0 2 1 3. */
        __m256i v = _mm256_permute4x64_epi64(
            _mm256_packs_epi32(whole8(x + i, inv), whole8(x + i + 8, inv)), 0xd8);
        __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        __m256i words = _mm256_cvtepi8_epi16(bytes);
        __m128i s = _mm_add_epi16(_mm256_castsi256_si128(words),
                                  _mm256_extracti128_si256(words, 1));

        _mm_storeu_si128((void *)(q + i), bytes);
        s = _mm_madd_epi16(s, _mm_set1_epi16(1));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
        sums[i / 16] = (int16_t)_mm_cvtsi128_si32(s);
    }
}

void sl_quantize_avx2(struct sl_act *act, uint32_t t, const float *x)
{
    if (act->kind == SL_ACT_F32) {
        memcpy(act->f32 + (size_t)t * act->n_cols, x, act->n_cols * sizeof(float));
    } else if (act->kind == SL_ACT_Q32) {
        for (size_t b = 0; b < act->n_cols / SL_BLOCK32; b++)
            quantize_block(act, b * act->n_tok + t, x + b * SL_BLOCK32, SL_BLOCK32);
    } else {
        for (size_t b = 0; b < act->n_cols / SL_BLOCK256; b++)
            quantize_block(act, b * act->n_tok + t, x + b * SL_BLOCK256, SL_BLOCK256);
    }
}
