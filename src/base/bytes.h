/*
 * Bytes and sizes: little-endian loads, alignment, and arithmetic that says when
 * it overflows. The project is written for 64-bit little-endian Linux; that is
 * asserted here and nowhere else. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

_Static_assert(sizeof(void *) == 8, "64-bit only");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian only");

/* Each returns false and leaves ret untouched when the result does not fit. */
static inline bool sl_add_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t sum;

    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *ret = sum;
    return true;
}

static inline bool sl_mul_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t product;

    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *ret = product;
    return true;
}

/* align is a power of two; x must be small enough for the result to fit. */
static inline uint64_t sl_align_up(uint64_t x, uint64_t align)
{
    return (x + align - 1) & ~(align - 1);
}

static inline bool sl_is_pow2(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

static inline uint16_t sl_load_u16(const void *ptr)
{
    uint16_t x;

    memcpy(&x, ptr, sizeof(x));
    return x;
}

static inline uint32_t sl_load_u32(const void *ptr)
{
    uint32_t x;

    memcpy(&x, ptr, sizeof(x));
    return x;
}

static inline uint64_t sl_load_u64(const void *ptr)
{
    uint64_t x;

    memcpy(&x, ptr, sizeof(x));
    return x;
}

static inline uint32_t sl_f32_bits(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof(u));
    return u;
}

static inline float sl_f32_from_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof(f));
    return f;
}
