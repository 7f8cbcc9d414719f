/*
 * Activations to int8 blocks, AVX-512; bit for bit what quantize_c.c does. The
 * largest magnitude is taken on the bits, so that a NaN or infinity reaches d. The
 * sums of 16 neighbours come from vpsadbw of the bytes made unsigned.
 */
#include "kernels/x86/quant_avx512.h"
#include "kernels/x86/vnni_avx512.h"
#include "tensor/block.h"

INLINE float largest(const float *x, size_t len)
{
    const __m512i mask = _mm512_set1_epi32(0x7fffffff);
    __m512i max = _mm512_setzero_si512();
    uint32_t bits;
    float ret;

    for (size_t i = 0; i < len; i += 16)
        max = _mm512_max_epu32(max, _mm512_and_si512(load512(x + i), mask));
    bits = _mm512_reduce_max_epu32(max);
    memcpy(&ret, &bits, sizeof(ret));
    return ret;
}

INLINE void quantize_block(struct sl_act *act, size_t i_block, const float *x, size_t len)
{
    int8_t *q = act->q + i_block * len;
    int16_t *sums = act->sums + i_block * (len / 16);
    float amax = largest(x, len);
    float inv = amax >= SL_ACT_AMAX_MIN ? 127.0f / amax : 0.0f;

    act->d[i_block] = amax / 127.0f;
    for (size_t i = 0; i < len; i += 16) {
        __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(inv));
        __m512i v32 = _mm512_cvt_roundps_epi32(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        __m128i v8 = _mm512_cvtsepi32_epi8(v32);
        __m128i sad = _mm_sad_epu8(_mm_xor_si128(v8, _mm_set1_epi8(-128)), _mm_setzero_si128());

        _mm_storeu_si128((__m128i *)(q + i), v8);
        sums[i / 16] = (int16_t)(_mm_extract_epi16(sad, 0) + _mm_extract_epi16(sad, 4) - 16 * 128);
    }
}

void sl_quantize_avx512(struct sl_act *act, uint32_t t, const float *x)
{
    if (act->kind == SL_ACT_F32) {
        memcpy(act->f32 + (size_t)t * act->n_cols, x, act->n_cols * sizeof(float));
        return;
    }
    if (act->kind == SL_ACT_Q32) {
        for (size_t b = 0; b < act->n_cols / SL_BLOCK32; b++)
            quantize_block(act, b * act->n_tok + t, x + b * SL_BLOCK32, SL_BLOCK32);
        return;
    }
    for (size_t b = 0; b < act->n_cols / SL_BLOCK256; b++)
        quantize_block(act, b * act->n_tok + t, x + b * SL_BLOCK256, SL_BLOCK256);
}
