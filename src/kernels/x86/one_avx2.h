/*
 * What the AVX2 products with one token share. Memory is read as one stream, row
 * after row: four rows side by side reached half the speed (doc/kernels.md). What the
 * blocks come to goes to a small table, and after eight or sixteen rows conversions and
 * fused steps are done for all of them at once.
 */
#pragma once

#include <immintrin.h>

#include "base/bytes.h"
#include "kernels/kernels.h"
#include "tensor/block.h"

#define SL_INLINE static inline __attribute__((always_inline))

/* How far ahead of its use memory is asked for. */
#define ONE_AHEAD_BYTES 8192

SL_INLINE __m256i one_load(const void *ptr)
{
    return _mm256_loadu_si256(ptr);
}

/* For what is used more than once: gcc 12 would rather load it anew each time. */
SL_INLINE __m256i one_load_once(const void *ptr)
{
    __m256i v = one_load(ptr);

    __asm__("" : "+x"(v));
    return v;
}

/* 16 bytes of a and of b. */
SL_INLINE __m256i one_load2(const uint8_t *a, const uint8_t *b)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)a)),
                                   _mm_loadu_si128((const void *)b), 1);
}

/* The levels of the IQ4 types, in both lanes. */
SL_INLINE __m256i one_iq4_levels(void)
{
    static const int8_t levels[16] __attribute__((aligned(16))) = SL_IQ4_VALUES;

    return _mm256_broadcastsi128_si256(_mm_load_si128((const void *)levels));
}

/* Eight pairs of half floats: the lower ones, the upper ones. */
SL_INLINE void one_halves8(__m256 *ret_low, __m256 *ret_high, const uint32_t pairs[8])
{
    __m256i v = one_load(pairs);

    v = _mm256_packus_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0xffff)),
                            _mm256_srli_epi32(v, 16));
    v = _mm256_permute4x64_epi64(v, 0xd8);
    *ret_low = _mm256_cvtph_ps(_mm256_castsi256_si128(v));
    *ret_high = _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1));
}

/* How far ahead, where part_bytes of every row are read before the rest of any: whole rows,
 * if that is not all of a row. */
SL_INLINE size_t one_ahead(size_t row_bytes, size_t part_bytes)
{
    if (part_bytes >= row_bytes)
        return ONE_AHEAD_BYTES;
    return (ONE_AHEAD_BYTES + part_bytes - 1) / part_bytes * row_bytes;
}

/* Ask for what is needed soon. An address past the end is never used. */
SL_INLINE void one_prefetch(const uint8_t *block, size_t ahead, size_t n_bytes)
{
    for (size_t off = 0; off < n_bytes; off += 64)
        _mm_prefetch((const void *)((uintptr_t)block + ahead + off), _MM_HINT_T1);
}
