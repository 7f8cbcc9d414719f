/*
 * What the AVX-512 products of quantised weights share: sixteen weight rows side by
 * side, one in each 32-bit lane. Private to the *_avx512.c files of this folder.
 *
 * `one` (decode) multiplies rows as they lie in the file and then adds the lanes of
 * sixteen rows together. `many` (prefill) first transposes sixteen rows into
 * dwords of four neighbouring columns, so that vpdpbusd with four activations,
 * broadcast, serves sixteen rows and no lanes have to be added.
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
/* Up to here rows are read once per token from L1 or L2, which is cheaper than a tile. */
#define FEW_TOK_MAX 3

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
    __m512i ab_lo = _mm512_unpacklo_epi32(a, b), ab_hi = _mm512_unpackhi_epi32(a, b);
    __m512i cd_lo = _mm512_unpacklo_epi32(c, d), cd_hi = _mm512_unpackhi_epi32(c, d);

    ret[0] = _mm512_unpacklo_epi64(ab_lo, cd_lo);
    ret[1] = _mm512_unpackhi_epi64(ab_lo, cd_lo);
    ret[2] = _mm512_unpacklo_epi64(ab_hi, cd_hi);
    ret[3] = _mm512_unpackhi_epi64(ab_hi, cd_hi);
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

/* 4 x 4 quarters of 128 bits: afterwards v[i] holds quarter i of every former v. */
INLINE void transpose_quarters(__m512i v[4])
{
    __m512i lo02 = _mm512_shuffle_i32x4(v[0], v[1], 0x88);
    __m512i lo13 = _mm512_shuffle_i32x4(v[0], v[1], 0xdd);
    __m512i hi02 = _mm512_shuffle_i32x4(v[2], v[3], 0x88);
    __m512i hi13 = _mm512_shuffle_i32x4(v[2], v[3], 0xdd);

    v[0] = _mm512_shuffle_i32x4(lo02, hi02, 0x88);
    v[1] = _mm512_shuffle_i32x4(lo13, hi13, 0x88);
    v[2] = _mm512_shuffle_i32x4(lo02, hi02, 0xdd);
    v[3] = _mm512_shuffle_i32x4(lo13, hi13, 0xdd);
}

/* The quarters of v[0 .. 3] from add_lanes4 added: the sums of the 16 rows in order. */
INLINE __m512i add_quarters(const __m512i v[4])
{
    __m512i lo = _mm512_add_epi32(_mm512_shuffle_i32x4(v[0], v[1], 0x88),
                                  _mm512_shuffle_i32x4(v[0], v[1], 0xdd));
    __m512i hi = _mm512_add_epi32(_mm512_shuffle_i32x4(v[2], v[3], 0x88),
                                  _mm512_shuffle_i32x4(v[2], v[3], 0xdd));

    return _mm512_add_epi32(_mm512_shuffle_i32x4(lo, hi, 0x88),
                            _mm512_shuffle_i32x4(lo, hi, 0xdd));
}

/* Parts of n as equal as can be, none above max: the size of the next one. */
INLINE uint32_t next_part(uint32_t n, uint32_t max)
{
    uint32_t n_parts = (n + max - 1) / max;

    return (n + n_parts - 1) / n_parts;
}
