/*
 * Half floats and bfloat16 in plain C, bit for bit what F16C does: exact to float,
 * to nearest even from float, subnormals kept, NaNs quieted. Any thread.
 */
#pragma once

#include <stdint.h>

#include "base/bytes.h"

static inline float sl_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (uint32_t)h >> 10 & 31;
    uint32_t fraction = h & 0x3ffu;

    if (exponent == 31)
        return sl_f32_from_bits(sign | 0x7f800000u | fraction << 13 | (fraction ? 0x400000u : 0));
    if (exponent == 0)
        return sl_f32_from_bits(sign | sl_f32_bits((float)fraction * 0x1p-24f));
    return sl_f32_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

static inline uint16_t sl_f16_from_f32(float f)
{
    uint32_t bits = sl_f32_bits(f);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    uint32_t mag = bits & 0x7fffffffu;

    if (mag > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (mag >> 13 & 0x3ffu));
    if (mag >= 0x47800000u) /* 65536 */
        return (uint16_t)(sign | 0x7c00u);
    if (mag < 0x38800000u) { /* 2^-14: the sum's last bit is 2^-24, a half's last one */
        float sum = sl_f32_from_bits(mag) + 0.5f;

        return (uint16_t)(sign | (sl_f32_bits(sum) - sl_f32_bits(0.5f)));
    }
    mag += 0xfffu + (mag >> 13 & 1);
    return (uint16_t)(sign | ((mag >> 13) - (112u << 10)));
}

static inline float sl_bf16_to_f32(uint16_t h)
{
    return sl_f32_from_bits((uint32_t)h << 16);
}
