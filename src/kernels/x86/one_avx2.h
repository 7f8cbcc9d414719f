/*
 * What the AVX2 products with one token share. Memory is read as one stream, row
 * after row: four rows side by side reached half the speed (doc/kernels.md). The
 * blocks' integer sums go to a small table, and after four rows horizontal sums,
 * conversions and fused steps are done for all four at once. Rows past the last
 * repeat it and are not stored.
 */
#pragma once

#include <immintrin.h>

#include "base/bytes.h"
#include "kernels/kernels.h"

#define SL_INLINE static inline __attribute__((always_inline))

/* How far ahead of its use memory is asked for. */
#define ONE_AHEAD_BYTES 8192

SL_INLINE __m256i one_load(const void *ptr)
{
    return _mm256_loadu_si256(ptr);
}

/* Four vectors of 8 sums to their four totals. */
SL_INLINE __m128i one_total4(const __m256i v[4])
{
    __m256i t = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));

    return _mm_add_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
}

/* The half floats at an offset of four blocks. */
SL_INLINE __m128 one_halves4(const uint8_t *const block[4], size_t off)
{
    __m128i h = _mm_cvtsi32_si128(sl_load_u16(block[0] + off));

    h = _mm_insert_epi16(h, sl_load_u16(block[1] + off), 1);
    h = _mm_insert_epi16(h, sl_load_u16(block[2] + off), 2);
    h = _mm_insert_epi16(h, sl_load_u16(block[3] + off), 3);
    return _mm_cvtph_ps(h);
}

/* Starts of rows r .. r + 3. */
SL_INLINE void one_rows(const uint8_t *ret_row[4], const void *w, size_t row_bytes,
                        size_t n_rows, size_t r)
{
    for (size_t i = 0; i < 4; i++)
        ret_row[i] = (const uint8_t *)w + (r + i < n_rows ? r + i : n_rows - 1) * row_bytes;
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

/* The first n of four floats. */
SL_INLINE void one_store(float *out, __m128 v, size_t n)
{
    float all[4];

    if (n >= 4) {
        _mm_storeu_ps(out, v);
        return;
    }
    _mm_storeu_ps(all, v);
    for (size_t i = 0; i < n; i++)
        out[i] = all[i];
}
