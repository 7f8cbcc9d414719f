/*
 * What the AVX-512 products of quantised weights share: sixteen weight rows side by
 * side, one in each 32-bit lane. Private to the *_avx512.c files of this folder.
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
/* Up to here rows are read once per token, the later times from L2: cheaper than a tile. */
#define FEW_TOK_MAX 6
#define FEW_BYTES (256 << 10)
/* How far ahead `one` prefetches: 2 KiB gave 13 GB/s (Q4_K, one core), 4 KiB 19, 8 KiB and
 * 16 KiB 23. */
#define AHEAD_BYTES 8192

#define INLINE static inline __attribute__((always_inline))

/* Start of the next block in each row of a tile. Rows that do not exist repeat the last. */
struct rows16 {
    const uint8_t *at[TILE_ROWS];
    const uint8_t *next; /* what to prefetch while working: the tile after this one */
    __mmask16 mask;      /* rows that exist */
};

INLINE struct rows16 rows16_at(const void *w, size_t row_bytes, size_t n_rows, size_t row)
{
    size_t n = n_rows - row < TILE_ROWS ? n_rows - row : TILE_ROWS;
    struct rows16 rows = { .mask = (__mmask16)((1u << n) - 1) };

    for (size_t i = 0; i < TILE_ROWS; i++)
        rows.at[i] = (const uint8_t *)w + (row + (i < n ? i : n - 1)) * row_bytes;
    rows.next = row + TILE_ROWS < n_rows ? rows.at[0] + TILE_ROWS * row_bytes : rows.at[0];
    return rows;
}

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
 * rows, in order. 12 inserts and 8 unpacks.
 */
INLINE void load_dwords4(const struct rows16 *rows, size_t off, __m512i ret[4])
{
    const uint8_t *const *at = rows->at;
    __m512i a = load128x4(at[0] + off, at[4] + off, at[8] + off, at[12] + off);
    __m512i b = load128x4(at[1] + off, at[5] + off, at[9] + off, at[13] + off);
    __m512i c = load128x4(at[2] + off, at[6] + off, at[10] + off, at[14] + off);
    __m512i d = load128x4(at[3] + off, at[7] + off, at[11] + off, at[15] + off);

    transpose_dwords4(a, b, c, d, ret);
}

/* The half floats at offset off of every row; 16 bytes from there are readable. */
INLINE __m512 load_halves_low(const struct rows16 *rows, size_t off)
{
    __m128i x[8], y[4];

    for (int i = 0; i < 8; i++)
        x[i] = _mm_unpacklo_epi16(load128(rows->at[2 * i] + off), load128(rows->at[2 * i + 1] + off));
    for (int i = 0; i < 4; i++)
        y[i] = _mm_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
    return _mm512_cvtph_ps(_mm256_set_m128i(_mm_unpacklo_epi64(y[2], y[3]),
                                            _mm_unpacklo_epi64(y[0], y[1])));
}

/* The half floats at offset off of every row; the 14 bytes before them are readable. */
INLINE __m512 load_halves_high(const struct rows16 *rows, size_t off)
{
    __m128i x[8], y[4];

    off -= 14;
    for (int i = 0; i < 8; i++)
        x[i] = _mm_unpackhi_epi16(load128(rows->at[2 * i] + off), load128(rows->at[2 * i + 1] + off));
    for (int i = 0; i < 4; i++)
        y[i] = _mm_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
    return _mm512_cvtph_ps(_mm256_set_m128i(_mm_unpackhi_epi64(y[2], y[3]),
                                            _mm_unpackhi_epi64(y[0], y[1])));
}

/* 16 x 16 dwords: afterwards v[i] holds dword i of every former v. */
INLINE void transpose16(__m512i v[16])
{
    __m512i a[16], b[16];

    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    /* b[4 i + c], lane l: dwords 4 l + c of v[4 i .. 4 i + 3] */
    for (int i = 0; i < 16; i += 4) {
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int c = 0; c < 4; c++) {
        __m512i lo02 = _mm512_shuffle_i32x4(b[c], b[4 + c], 0x88);
        __m512i lo13 = _mm512_shuffle_i32x4(b[c], b[4 + c], 0xdd);
        __m512i hi02 = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0x88);
        __m512i hi13 = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0xdd);

        v[c] = _mm512_shuffle_i32x4(lo02, hi02, 0x88);
        v[4 + c] = _mm512_shuffle_i32x4(lo13, hi13, 0x88);
        v[8 + c] = _mm512_shuffle_i32x4(lo02, hi02, 0xdd);
        v[12 + c] = _mm512_shuffle_i32x4(lo13, hi13, 0xdd);
    }
}

/* Lanes of four rows added within each 128-bit quarter: quarter l holds, for rows a,
 * b, c, d, the sum of its dwords 4 l .. 4 l + 3. */
INLINE __m512i add_lanes4(__m512i a, __m512i b, __m512i c, __m512i d)
{
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));

    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

/* The quarters added. */
INLINE __m128i add_quarters(__m512i v)
{
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));

    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
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

INLINE void prefetch_ahead(const uint8_t *p, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i += 64)
        _mm_prefetch((const char *)p + AHEAD_BYTES + i, _MM_HINT_T1);
}

/* The first n_rows lanes. */
INLINE __mmask16 lanes_mask(size_t n_rows)
{
    return (__mmask16)((1u << n_rows) - 1);
}

/* Rows that `few` tokens visit before the next token does. */
INLINE size_t few_rows(size_t row_bytes)
{
    size_t n = FEW_BYTES / row_bytes / TILE_ROWS * TILE_ROWS;

    return n > TILE_ROWS ? n : TILE_ROWS;
}

/* Parts of n as equal as can be, none above max: the size of the next one. */
INLINE uint32_t next_part(uint32_t n, uint32_t max)
{
    uint32_t n_parts = (n + max - 1) / max;

    return (n + n_parts - 1) / n_parts;
}
