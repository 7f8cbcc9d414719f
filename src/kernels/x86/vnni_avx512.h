/*
 * What the AVX-512 products of quantised weights share. Results are made for sixteen
 * rows at a time, one in each 32-bit lane. Private to the *_avx512.c files of this
 * folder.
 *
 * `one` (decode) must read at the speed of memory, so it walks the rows one after the
 * other, each from end to end, and prefetches a little ahead on the same line. What it
 * finds, integer sums and scale bits, goes to a small table; after sixteen rows the
 * float part is done for all of them at once. Measured on Zen 4, one core: one linear
 * stream 26 GB/s, 30 with prefetch; 4 to 16 rows side by side 12, and 18 with
 * the next 16 rows prefetched.
 *
 * `many` (prefill) transposes sixteen rows into dwords of four neighbouring columns,
 * so that vpdpbusd with four activations, broadcast, serves sixteen rows and no
 * lanes have to be added.
 */
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"

#define TILE_ROWS 16
/* Tokens whose sums stay in registers: 2 x 12 accumulators, weights, scale, one spare. */
#define GROUP_TOK_MAX 12
/* Tokens for which one unpacked tile serves: 256 of 2048 columns fill half of a 1 MiB L2. */
#define CHUNK_TOK_MAX 256
/* How far ahead `one` prefetches: 2 KiB gave 13 GB/s (Q4_K, one core), 4 KiB 19, 8 KiB and
 * 16 KiB 23. */
#define AHEAD_BYTES 8192

#define INLINE static inline __attribute__((always_inline))

/* Sixteen rows: the same place in each, stride bytes apart. */
struct rows16 {
    const uint8_t *p;
    size_t stride;
};

INLINE __m512i load512(const void *ptr)
{
    return _mm512_loadu_si512(ptr);
}

INLINE __m256i load256(const void *ptr)
{
    return _mm256_loadu_si256((const __m256i *)ptr);
}

INLINE __m128i load128(const void *ptr)
{
    return _mm_loadu_si128((const __m128i *)ptr);
}

/* Two runs of 32 bytes. */
INLINE __m512i load256x2(const void *lo, const void *hi)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(load256(lo)), load256(hi), 1);
}

/* Four runs of 16 bytes. */
INLINE __m512i load128x4(const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d)
{
    __m512i x = _mm512_castsi128_si512(load128(a));

    x = _mm512_inserti32x4(x, load128(b), 1);
    x = _mm512_inserti32x4(x, load128(c), 2);
    return _mm512_inserti32x4(x, load128(d), 3);
}

/* Four bytes in every lane. */
INLINE __m512i broadcast32(const void *ptr)
{
    int x;

    memcpy(&x, ptr, sizeof(x));
    return _mm512_set1_epi32(x);
}

/* One half float in every lane of 16 dwords -> floats. Exact, subnormals too. */
INLINE __m512 half_to_float(__m512i dwords)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(dwords));
}

/*
 * a: rows 0, 4, 8, 12 in its quarters, b: rows 1, 5, 9, 13, c and d likewise. ret[i]:
 * dword i of the 16 rows in order.
 */
INLINE void transpose_dwords4(__m512i a, __m512i b, __m512i c, __m512i d, __m512i ret[4])
{
    __m512i ab_lo = _mm512_unpacklo_epi32(a, b), ab_hi = _mm512_unpackhi_epi32(a, b);
    __m512i cd_lo = _mm512_unpacklo_epi32(c, d), cd_hi = _mm512_unpackhi_epi32(c, d);

    ret[0] = _mm512_unpacklo_epi64(ab_lo, cd_lo);
    ret[1] = _mm512_unpackhi_epi64(ab_lo, cd_lo);
    ret[2] = _mm512_unpacklo_epi64(ab_hi, cd_hi);
    ret[3] = _mm512_unpackhi_epi64(ab_hi, cd_hi);
}

/*
 * The 16 bytes at offset off of every row, as dwords: ret[i] holds dword i of the 16
 * rows, in order. 12 inserts from memory and 8 unpacks; whole 64-byte vectors would
 * take 64 shuffles for 64 bytes and twice as many registers.
 */
INLINE void load_dwords4(struct rows16 rows, size_t off, __m512i ret[4])
{
    const size_t s = rows.stride;
    const uint8_t *p0 = rows.p + off, *p4 = p0 + 4 * s, *p8 = p4 + 4 * s, *p12 = p8 + 4 * s;

    transpose_dwords4(load128x4(p0, p4, p8, p12), load128x4(p0 + s, p4 + s, p8 + s, p12 + s),
                      load128x4(p0 + 2 * s, p4 + 2 * s, p8 + 2 * s, p12 + 2 * s),
                      load128x4(p0 + 3 * s, p4 + 3 * s, p8 + 3 * s, p12 + 3 * s), ret);
}

/* The half floats at offset off of every row. */
INLINE __m512 load_halves(struct rows16 rows, size_t off)
{
    uint16_t halves[TILE_ROWS];

    for (size_t i = 0; i < TILE_ROWS; i++)
        memcpy(&halves[i], rows.p + i * rows.stride + off, sizeof(uint16_t));
    return _mm512_cvtph_ps(load256(halves));
}

/* Lanes of four rows added within each 128-bit quarter: quarter l holds, for rows a,
 * b, c, d, the sum of its dwords 4 l .. 4 l + 3. */
INLINE __m512i add_lanes4(__m512i a, __m512i b, __m512i c, __m512i d)
{
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));

    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

INLINE __m128i add_halves(__m256i v)
{
    return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

INLINE __m128i add_quarters(__m512i v)
{
    return add_halves(
        _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1)));
}

/* Where row r stands in a table of 16 bytes per row that load_table4 reads. */
INLINE size_t table_slot(size_t r)
{
    return r % 4 * 4 + r / 4;
}

/* Four dwords of each row, transposed: see transpose_dwords4. */
INLINE void load_table4(const __m128i table[TILE_ROWS], __m512i ret[4])
{
    transpose_dwords4(load512(table), load512(table + 4), load512(table + 8), load512(table + 12),
                      ret);
}

/* The first n_rows lanes. */
INLINE __mmask16 lanes_mask(size_t n_rows)
{
    return (__mmask16)((1u << n_rows) - 1);
}

/* How far ahead, where part_bytes of every row are read before the rest of any: whole rows,
 * if that is not all of a row. */
INLINE size_t ahead_bytes(size_t row_bytes, size_t part_bytes)
{
    if (part_bytes >= row_bytes)
        return AHEAD_BYTES;
    return (AHEAD_BYTES + part_bytes - 1) / part_bytes * row_bytes;
}

/* Fetch n_bytes at p, to be used soon. */
INLINE void prefetch(const uint8_t *p, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i += 64)
        _mm_prefetch((const char *)p + i, _MM_HINT_T1);
}

/*
 * What is fetched ahead goes on in one line through memory, some of it while rows are walked
 * over, whole lines per block, and the rest while sixteen rows are added up: memory has work
 * then, too (+2 % tokens/s).
 */
#define AHEAD_WALKING(block_bytes) ((block_bytes) / 64 * 64)
#define AHEAD_ADDING(block_bytes) ((block_bytes) % 64 * TILE_ROWS)

/*
 * Bytes off .. off + n_bytes - 1 of n rows of w: as they lie, or, where n is less than
 * 16, copied to pad with rows of zeros after them.
 */
INLINE struct rows16 rows16_at(const uint8_t *w, size_t row_bytes, size_t n, size_t off,
                               size_t n_bytes, uint8_t *pad)
{
    if (n == TILE_ROWS)
        return (struct rows16){ w + off, row_bytes };
    for (size_t i = 0; i < n; i++)
        memcpy(pad + i * n_bytes, w + i * row_bytes + off, n_bytes);
    memset(pad + n * n_bytes, 0, (TILE_ROWS - n) * n_bytes);
    return (struct rows16){ pad, n_bytes };
}

/* Parts of n as equal as can be, none above max: the size of the next one. */
INLINE uint32_t next_part(uint32_t n, uint32_t max)
{
    uint32_t n_parts = (n + max - 1) / max;

    return (n + n_parts - 1) / n_parts;
}
