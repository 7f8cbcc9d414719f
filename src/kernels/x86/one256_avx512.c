/*
 * Products of Q2_K, Q3_K and IQ4_XS with one token, AVX-512 VNNI. `many` of these types is
 * that of AVX2.
 *
 * Four vectors of 64 weights meet the activations in vpdpbusd; values are unsigned, and
 * accumulators start at what their offset adds, times -1. Of the two- and three-bit types,
 * half of the values stay 4 times as large as they should be; a lane is at most
 * 28 * 128 * 4 and fits 16 bits: two vectors are packed and the scales applied by vpdpwssd.
 * Lanes of IQ4_XS are larger and take a 32-bit multiplication.
 *
 * Four blocks are added up together; at the end of a row that does not fill a group, what
 * is missing counts as zero. The mins of Q2_K are multiplied for four blocks at
 * once, with the sums of activations (12 bits and sign) split into 7 low bits and the
 * rest, and added up for sixteen rows together.
 */
#include <stdbool.h>

#include "kernels/x86/quant_avx512.h"
#include "kernels/x86/scales_avx2.h"
#include "kernels/x86/vnni_avx512.h"
#include "tensor/block.h"

#define GROUP 4 /* blocks */
/* 8192 columns: prepared activations and findings fill 30 KiB at most. */
#define CHUNK_GROUPS 8
#define CHUNK_BLOCKS (CHUNK_GROUPS * GROUP)

/* What the offset adds to a block, times -1. */
union block_offset {
    __m512i start[4]; /* IQ4_XS: -offset * (sum of a lane's activations) */
    __m256i taken;    /* Q3_K: -offset * (sum of a sub-block's activations), words */
};

/* Activations of up to CHUNK_BLOCKS blocks; sums are zero where a group is not full. */
struct chunk {
    __m512i x[CHUNK_BLOCKS][4];     /* in the order of the values */
    union block_offset offset[CHUNK_BLOCKS];
    __m512i sums_low[CHUNK_GROUPS], sums_high[CHUNK_GROUPS]; /* bytes: sums & 127, >> 7 */
    float d[CHUNK_BLOCKS];
};

/* What 16 rows of a chunk come to. */
struct found {
    __m128i isum[CHUNK_GROUPS][TILE_ROWS]; /* four blocks each, by table_slot */
    __m512i msum[CHUNK_GROUPS][TILE_ROWS]; /* quarter i: lanes of block i */
    uint32_t d[CHUNK_BLOCKS][TILE_ROWS];   /* half floats; with mins: dmin in the upper half */
};

/* The lanes of a block; their sum is its isum, times 2^shift. */
typedef __m512i (*dot_fn)(const uint8_t *block, const __m512i x[4],
                          const union block_offset *offset);

struct type {
    dot_fn dot;
    int offset;    /* by which values are too large */
    int shift;     /* lanes: times 2^shift; 0: offset.start, else offset.taken */
    bool is_split; /* values: 16 elements of four groups of 32, not 32 of two */
    bool has_min;  /* 16 mins in the upper nibbles at the beginning; dmin behind d */
    size_t block_bytes, d_off;
};

/*
 * Values of two bits, at bits 2 g and 2 g + 1: elements 32 g .. + 31 and 128 + 32 g .. + 31.
 * Those of odd g are 4 times as large: half of the shifts.
 */
INLINE void two_bits(const uint8_t *qs, __m512i ret[4])
{
    const __m512i m03 = _mm512_set1_epi8(0x03), m0c = _mm512_set1_epi8(0x0c);
    __m512i v = load512(qs), high = _mm512_srli_epi16(v, 4);

    ret[0] = _mm512_and_si512(v, m03);
    ret[1] = _mm512_and_si512(v, m0c);
    ret[2] = _mm512_and_si512(high, m03);
    ret[3] = _mm512_and_si512(high, m0c);
}

/*
 * Values of two_bits with 16 scales as words; lanes start at `sum`; all 4 times as large.
 * Quarter l of the packed lanes: 4 of sub-block l, 4 of sub-block 2 + l, where quarters 2 and 3
 * count from 8; the second time 4 further.
 */
INLINE __m512i scaled(__m512i sum, const __m512i w[4], const __m512i x[4], __m256i scales)
{
    const __m512i pick = _mm512_set_epi64(
        0x000b000b000b000b, 0x0009000900090009, 0x000a000a000a000a, 0x0008000800080008,
        0x0003000300030003, 0x0001000100010001, 0x0002000200020002, 0x0000000000000000);
    const __m512i four = _mm512_set1_epi16(4), zero = _mm512_setzero_si512();
    const __m256i up = _mm256_set1_epi64x(0x0000000000020002); /* of even g */
    __m512i s = _mm512_castsi256_si512(_mm256_sllv_epi16(scales, up));
    __m512i a = _mm512_packs_epi32(_mm512_dpbusd_epi32(zero, w[0], x[0]),
                                   _mm512_dpbusd_epi32(zero, w[1], x[1]));
    __m512i b = _mm512_packs_epi32(_mm512_dpbusd_epi32(zero, w[2], x[2]),
                                   _mm512_dpbusd_epi32(zero, w[3], x[3]));

    sum = _mm512_dpwssd_epi32(sum, a, _mm512_permutexvar_epi16(pick, s));
    return _mm512_dpwssd_epi32(sum, b, _mm512_permutexvar_epi16(_mm512_or_si512(pick, four), s));
}

INLINE __m512i dot_q2_k(const uint8_t *block, const __m512i x[4], const union block_offset *offset)
{
    __m128i scales = _mm_and_si128(load128(block), _mm_set1_epi8(15));
    __m512i w[4];

    (void)offset;
    two_bits(block + offsetof(struct sl_block_q2_k, qs), w);
    return scaled(_mm512_setzero_si512(), w, x, _mm256_cvtepu8_epi16(scales));
}

INLINE __m512i dot_q3_k(const uint8_t *block, const __m512i x[4], const union block_offset *offset)
{
    /* Rotation that brings bits 0 and 4 to bit 2. */
    const __m512i by0 = _mm512_set_epi64(62, 62, 62, 62, 2, 2, 2, 2);
    const __m512i m04 = _mm512_set1_epi8(0x04), m10 = _mm512_set1_epi8(0x10);
    __m512i high = _mm512_rolv_epi64(
        _mm512_broadcast_i64x4(load256(block + offsetof(struct sl_block_q3_k, hmask))), by0);
    __m256i scales = _mm256_cvtepi8_epi16(
        sl_scales_q3_k_signed(block + offsetof(struct sl_block_q3_k, scales)));
    __m256i taken = _mm256_slli_epi32(_mm256_madd_epi16(scales, offset->taken), 2);
    __m512i w[4];

    two_bits(block + offsetof(struct sl_block_q3_k, qs), w);
    /* a | (b & c) */
    w[0] = _mm512_ternarylogic_epi32(w[0], high, m04, 0xf8);
    w[1] = _mm512_ternarylogic_epi32(w[1], _mm512_rol_epi64(high, 1), m10, 0xf8);
    w[2] = _mm512_ternarylogic_epi32(w[2], _mm512_ror_epi64(high, 2), m04, 0xf8);
    w[3] = _mm512_ternarylogic_epi32(w[3], _mm512_ror_epi64(high, 1), m10, 0xf8);
    return scaled(_mm512_zextsi256_si512(taken), w, x, scales);
}

INLINE __m512i dot_iq4_xs(const uint8_t *block, const __m512i x[4],
                          const union block_offset *offset)
{
    static const int8_t levels[16] __attribute__((aligned(16))) = SL_IQ4_VALUES;
    const __m512i pick = _mm512_set_epi64(0x0000000300000003, 0x0000000300000003,
                                          0x0000000200000002, 0x0000000200000002,
                                          0x0000000100000001, 0x0000000100000001, 0, 0);
    const __m512i m0f = _mm512_set1_epi8(0x0f);
    const __m512i table = _mm512_broadcast_i32x4(
        _mm_xor_si128(load128(levels), _mm_set1_epi8(-128))); /* level + 128 */
    __m512i scales = _mm512_castsi256_si512(
        sl_scales_iq4_xs_signed(block, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
    __m512i sum[2];

#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        __m512i v = load512(block + offsetof(struct sl_block_iq4_xs, qs) + 64 * i);
        __m512i low = _mm512_shuffle_epi8(table, _mm512_and_si512(v, m0f));
        __m512i high = _mm512_shuffle_epi8(table,
                                           _mm512_and_si512(_mm512_srli_epi16(v, 4), m0f));
        __m512i order = _mm512_or_si512(pick, _mm512_set1_epi32(4 * i));

        sum[i] = _mm512_dpbusd_epi32(offset->start[2 * i], low, x[2 * i]);
        sum[i] = _mm512_add_epi32(
            sum[i], _mm512_dpbusd_epi32(offset->start[2 * i + 1], high, x[2 * i + 1]));
        sum[i] = _mm512_mullo_epi32(sum[i], _mm512_permutexvar_epi32(order, scales));
    }
    return _mm512_add_epi32(sum[0], sum[1]);
}

/* 64 elements of a block in the order of vector i of the values. */
INLINE __m512i ordered(const int8_t *q, size_t i, bool is_split)
{
    const uint8_t *p = (const uint8_t *)q + (is_split ? 128 * (i / 2) + 16 * (i % 2) : 32 * i);

    return is_split ? load128x4(p, p + 32, p + 64, p + 96) : load256x2(p, p + 128);
}

INLINE void prepare_chunk(struct chunk *chunk, const struct sl_act *x, size_t b0, size_t n_blocks,
                          struct type type)
{
    const __m512i offset = _mm512_set1_epi8((char)type.offset);
    const __m512i zero = _mm512_setzero_si512();
    const size_t n_groups = (n_blocks + GROUP - 1) / GROUP;

    memset(chunk->sums_low, 0, n_groups * sizeof(zero));
    memset(chunk->sums_high, 0, n_groups * sizeof(zero));
    for (size_t b = 0; b < n_blocks; b++) {
        __m256i sums;

        for (size_t i = 0; i < 4; i++) {
            __m512i v = ordered(x->q + (b0 + b) * SL_BLOCK256, i, type.is_split);

            chunk->x[b][i] = v;
            if (type.shift == 0)
                chunk->offset[b].start[i] =
                    _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, offset, v));
        }
        sums = load256(x->sums + (b0 + b) * 16);
        if (type.shift > 0)
            chunk->offset[b].taken =
                _mm256_mullo_epi16(sums, _mm256_set1_epi16((short)-type.offset));
        _mm_storeu_si128((__m128i *)&chunk->sums_low[b / GROUP] + b % GROUP,
                         _mm256_cvtepi16_epi8(_mm256_and_si256(sums, _mm256_set1_epi16(127))));
        _mm_storeu_si128((__m128i *)&chunk->sums_high[b / GROUP] + b % GROUP,
                         _mm256_cvtepi16_epi8(_mm256_srai_epi16(sums, 7)));
        chunk->d[b] = x->d[b0 + b];
    }
}

/* Lanes of the mins of four blocks. */
INLINE __m512i dot_mins(const uint8_t *const p[GROUP], __m512i sums_low, __m512i sums_high)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i mins = load128x4(p[0], p[1], p[2], p[3]);

    mins = _mm512_and_si512(_mm512_srli_epi16(mins, 4), _mm512_set1_epi8(15));
    return _mm512_add_epi32(_mm512_dpbusd_epi32(zero, mins, sums_low),
                            _mm512_slli_epi32(_mm512_dpbusd_epi32(zero, mins, sums_high), 7));
}

/* Group g of a chunk in one row, n blocks of it. first: its first block. */
INLINE void find_group(struct found *found, size_t row, const uint8_t *first, size_t n,
                       const struct chunk *chunk, size_t g, struct type type)
{
    const uint8_t *p[GROUP];
    __m512i lanes[GROUP];

#pragma GCC unroll 4
    for (size_t i = 0; i < GROUP; i++) {
        size_t b = GROUP * g + i;

        p[i] = first + (i < n ? i * type.block_bytes : 0); /* missing: any, for sums of 0 */
        lanes[i] = _mm512_setzero_si512();
        if (i >= n)
            continue;
        found->d[b][row] = type.has_min ? sl_load_u32(p[i] + type.d_off)
                                        : sl_load_u16(p[i] + type.d_off);
        lanes[i] = type.dot(p[i], chunk->x[b], &chunk->offset[b]);
    }
    if (type.has_min)
        found->msum[g][row] = dot_mins(p, chunk->sums_low[g], chunk->sums_high[g]);
    found->isum[g][table_slot(row)] =
        _mm_srai_epi32(add_quarters(add_lanes4(lanes[0], lanes[1], lanes[2], lanes[3])),
                       type.shift);
}

/* Walk over one row of a chunk. p: its first block; ahead: what to fetch meanwhile. */
INLINE void find_row(struct found *found, size_t row, const uint8_t *p, size_t ahead,
                     const struct chunk *chunk, size_t n_blocks, struct type type)
{
    const size_t group_bytes = GROUP * type.block_bytes;
    const size_t n_left = n_blocks % GROUP;
    size_t g = 0;

    for (; g < n_blocks / GROUP; g++, p += group_bytes) {
        prefetch(p + ahead, group_bytes);
        find_group(found, row, p, GROUP, chunk, g, type);
    }
    if (n_left > 0) {
        prefetch(p + ahead, n_left * type.block_bytes);
        find_group(found, row, p, n_left, chunk, g, type);
    }
}

/* The mins of four blocks: ret[i]: block i of the 16 rows, in order. */
INLINE void total_mins(const __m512i lanes[TILE_ROWS], __m512i ret[4])
{
    __m512i r[4], t[4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        r[i] = add_lanes4(lanes[4 * i], lanes[4 * i + 1], lanes[4 * i + 2], lanes[4 * i + 3]);
    t[0] = _mm512_shuffle_i32x4(r[0], r[1], 0x44);
    t[1] = _mm512_shuffle_i32x4(r[0], r[1], 0xee);
    t[2] = _mm512_shuffle_i32x4(r[2], r[3], 0x44);
    t[3] = _mm512_shuffle_i32x4(r[2], r[3], 0xee);
    ret[0] = _mm512_shuffle_i32x4(t[0], t[2], 0x88);
    ret[1] = _mm512_shuffle_i32x4(t[0], t[2], 0xdd);
    ret[2] = _mm512_shuffle_i32x4(t[1], t[3], 0x88);
    ret[3] = _mm512_shuffle_i32x4(t[1], t[3], 0xdd);
}

/* Bring 16 rows' results on by a chunk. */
INLINE __m512 add_chunk(__m512 acc, const struct found *found, const struct chunk *chunk,
                        size_t n_blocks, struct type type)
{
    __m512i isum[GROUP], msum[GROUP];

    for (size_t b = 0; b < n_blocks; b++) {
        __m512i d = load512(found->d[b]);
        __m512 d_x = _mm512_set1_ps(chunk->d[b]);

        if (b % GROUP == 0)
            load_table4(found->isum[b / GROUP], isum);
        if (b % GROUP == 0 && type.has_min)
            total_mins(found->msum[b / GROUP], msum);
        acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum[b % GROUP]),
                              _mm512_mul_ps(half_to_float(d), d_x), acc);
        if (type.has_min)
            acc = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(msum[b % GROUP]),
                                   _mm512_mul_ps(half_to_float(_mm512_srli_epi32(d, 16)), d_x),
                                   acc);
    }
    return acc;
}

INLINE void matmul_one(float *out, const void *w, size_t row_bytes, size_t n_rows,
                       const struct sl_act *x, struct type type)
{
    const uint32_t n_blocks = x->n_cols / SL_BLOCK256;
    struct chunk chunk;
    struct found found;

    for (uint32_t b = 0, n; b < n_blocks; b += n) {
        size_t ahead;

        n = n_blocks - b < CHUNK_BLOCKS ? n_blocks - b : CHUNK_BLOCKS;
        ahead = ahead_bytes(row_bytes, n * type.block_bytes);
        prepare_chunk(&chunk, x, b, n, type);
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            const uint8_t *p = (const uint8_t *)w + r * row_bytes + b * type.block_bytes;
            size_t n_here = n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;
            __mmask16 mask = lanes_mask(n_here);
            __m512 acc = b > 0 ? _mm512_maskz_loadu_ps(mask, out + r) : _mm512_setzero_ps();

            if (n_here < TILE_ROWS)
                memset(&found, 0, sizeof(found));
            for (size_t i = 0; i < n_here; i++, p += row_bytes)
                find_row(&found, i, p, ahead, &chunk, n, type);
            _mm512_mask_storeu_ps(out + r, mask, add_chunk(acc, &found, &chunk, n, type));
        }
    }
}

void sl_matmul_one_q2_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    matmul_one(out, w, row_bytes, n_rows, x,
               (struct type){ .dot = dot_q2_k,
                              .shift = 2,
                              .has_min = true,
                              .block_bytes = sizeof(struct sl_block_q2_k),
                              .d_off = offsetof(struct sl_block_q2_k, d) });
}

void sl_matmul_one_q3_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    matmul_one(out, w, row_bytes, n_rows, x,
               (struct type){ .dot = dot_q3_k,
                              .offset = 4,
                              .shift = 2,
                              .block_bytes = sizeof(struct sl_block_q3_k),
                              .d_off = offsetof(struct sl_block_q3_k, d) });
}

void sl_matmul_one_iq4_xs_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                 size_t n_rows, const struct sl_act *x)
{
    matmul_one(out, w, row_bytes, n_rows, x,
               (struct type){ .dot = dot_iq4_xs,
                              .offset = 128,
                              .is_split = true,
                              .block_bytes = sizeof(struct sl_block_iq4_xs),
                              .d_off = offsetof(struct sl_block_iq4_xs, d) });
}
