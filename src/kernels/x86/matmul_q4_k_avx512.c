/*
 * Products with Q4_K and Q5_K weights, AVX-512 VNNI. The two types differ in one bit
 * plane only, so each function here takes `fifth` as a constant.
 *
 * one: per row and block four vectors of 64 weights meet the activations in vpdpbusd;
 * a lane is then at most 31 * 128 * 4 and fits 16 bits, so two vectors are packed
 * and the scales applied by vpmaddwd, which needs no 32-bit multiply. The mins of
 * sixteen rows are decoded together, a dword of each row per lane; the sums of
 * activations that they meet (13 bits) are split into 7 low bits and the rest, so
 * that vpdpbusd does them too.
 *
 * many: a tile of 16 rows of one block is unpacked to dwords of four columns (see
 * vnni_avx512.h) and multiplied with groups of up to 12 tokens.
 */
#include <stdbool.h>

#include "kernels/x86/quant_avx512.h"
#include "kernels/x86/vnni_avx512.h"
#include "tensor/block.h"

/* 8192 columns: prepared activations and findings fill 20 of 32 KiB L1. */
#define CHUNK_BLOCKS 32

/* Scales and mins of 16 rows: byte i of lane r is the one of sub-block i, or 4 + i. */
struct scales_k4 {
    __m512i sc_lo, sc_hi, mn_lo, mn_hi;
    __m512 d, dmin;
};

/* head: the four dwords of d, dmin, scales. */
INLINE struct scales_k4 decode_scales(const __m512i head[4])
{
    const __m512i m0f = _mm512_set1_epi8(0x0f);
    const __m512i m30 = _mm512_set1_epi8(0x30);
    const __m512i m3f = _mm512_set1_epi8(0x3f);

    return (struct scales_k4){
        .sc_lo = _mm512_and_si512(head[1], m3f),
        .mn_lo = _mm512_and_si512(head[2], m3f),
        .sc_hi = _mm512_or_si512(_mm512_and_si512(head[3], m0f),
                                 _mm512_and_si512(_mm512_srli_epi32(head[1], 2), m30)),
        .mn_hi = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(head[3], 4), m0f),
                                 _mm512_and_si512(_mm512_srli_epi32(head[2], 2), m30)),
        .d = half_to_float(head[0]),
        .dmin = half_to_float(_mm512_srli_epi32(head[0], 16)),
    };
}

/* Activations of one token in up to CHUNK_BLOCKS blocks, prepared for `one`. */
struct chunk_k4 {
    __m512i x[CHUNK_BLOCKS][4];    /* 64 elements for the low, high nibbles of each half of qs */
    int32_t sums[CHUNK_BLOCKS][4]; /* bytes: sums of 32 elements & 127 (two dwords), >> 7 */
    float d[CHUNK_BLOCKS];
};

/* What `one` finds in 16 rows of a chunk. */
struct found_k4 {
    __m128i isum[CHUNK_BLOCKS / 4][TILE_ROWS]; /* four blocks each, by table_slot */
    __m128i head[CHUNK_BLOCKS][TILE_ROWS];     /* d, dmin, scales, by table_slot */
};

INLINE void prepare_chunk(struct chunk_k4 *chunk, const struct sl_act *x, size_t b0,
                          size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b++) {
        size_t i_block = b0 + b;
        const int8_t *q = x->q + i_block * SL_BLOCK256;
        __m256i sums = _mm256_madd_epi16(load256(x->sums + i_block * 16), _mm256_set1_epi16(1));
        __m128i low = _mm256_cvtepi32_epi8(_mm256_and_si256(sums, _mm256_set1_epi32(127)));
        __m128i high = _mm256_cvtepi32_epi8(_mm256_srai_epi32(sums, 7));

        chunk->x[b][0] = load256x2(q, q + 64);
        chunk->x[b][1] = load256x2(q + 32, q + 96);
        chunk->x[b][2] = load256x2(q + 128, q + 192);
        chunk->x[b][3] = load256x2(q + 160, q + 224);
        _mm_storeu_si128((__m128i *)chunk->sums[b], _mm_unpacklo_epi64(low, high));
        chunk->d[b] = x->d[i_block];
    }
}

/* The eight scales of a block as bytes, in every quadword; head: d, dmin, scales. */
INLINE __m512i row_scales(__m128i head)
{
    const __m128i low_mask = _mm_set_epi32(0, 0, 0x0f0f0f0f, 0x3f3f3f3f);
    const __m128i high_mask = _mm_set_epi32(0, 0, 0x30303030, 0);
    __m128i low = _mm_shuffle_epi32(head, 0x0d);  /* scales 0-3, 8-11 */
    __m128i high = _mm_shuffle_epi32(head, 0x05); /* scales 0-3 twice */

    low = _mm_and_si128(low, low_mask);
    high = _mm_srli_epi32(high, 2);
    return _mm512_broadcastq_epi64(_mm_ternarylogic_epi32(low, high, high_mask, 0xf8));
}

/*
 * Shuffle control: from the scales of row_scales the 16-bit factors for half `half`
 * of the block, as packs_epi32 lays out its lanes: quarters 0 and 1 [4 x even, 4 x
 * odd sub-block] of the first pair, 2 and 3 of the second.
 */
INLINE __m512i scale_control(int half)
{
    const __m512i first = _mm512_set_epi64(
        0xff03ff03ff03ff03, 0xff02ff02ff02ff02, 0xff03ff03ff03ff03, 0xff02ff02ff02ff02,
        0xff01ff01ff01ff01, 0xff00ff00ff00ff00, 0xff01ff01ff01ff01, 0xff00ff00ff00ff00);

    return _mm512_or_si512(first, _mm512_set1_epi16((short)(4 * half)));
}

/* The lanes of a block; their sum is its isum. p: the block, x: as in struct chunk_k4. */
INLINE __m512i dot_block(const uint8_t *p, const __m512i x[4], __m128i head, bool fifth)
{
    const __m512i m0f = _mm512_set1_epi8(0x0f);
    const __m512i m10 = _mm512_set1_epi8(0x10);
    const __m512i zero = _mm512_setzero_si512();
    const uint8_t *qs = p + (fifth ? offsetof(struct sl_block_q5_k, qs)
                                   : offsetof(struct sl_block_q4_k, qs));
    const __m512i scales = row_scales(head);
    __m512i v0 = load512(qs), v1 = load512(qs + 64);
    __m512i w[4] = {
        _mm512_and_si512(v0, m0f), _mm512_and_si512(_mm512_srli_epi16(v0, 4), m0f),
        _mm512_and_si512(v1, m0f), _mm512_and_si512(_mm512_srli_epi16(v1, 4), m0f),
    };
    __m512i half0, half1;

    if (fifth) {
        /* Bit j of qh to bit 4, j = 0 | 2, 1 | 3, 4 | 6, 5 | 7 in the two halves. */
        __m512i qh = _mm512_broadcast_i64x4(load256(p + offsetof(struct sl_block_q5_k, qh)));
        const __m512i by0 = _mm512_set_epi64(2, 2, 2, 2, 4, 4, 4, 4);
        const __m512i by1 = _mm512_set_epi64(1, 1, 1, 1, 3, 3, 3, 3);
        const __m512i by2 = _mm512_set_epi64(62, 62, 62, 62, 0, 0, 0, 0);
        const __m512i by3 = _mm512_set_epi64(61, 61, 61, 61, 63, 63, 63, 63);

        /* 0xf8: a | (b & c) */
        w[0] = _mm512_ternarylogic_epi32(w[0], _mm512_rolv_epi64(qh, by0), m10, 0xf8);
        w[1] = _mm512_ternarylogic_epi32(w[1], _mm512_rolv_epi64(qh, by1), m10, 0xf8);
        w[2] = _mm512_ternarylogic_epi32(w[2], _mm512_rolv_epi64(qh, by2), m10, 0xf8);
        w[3] = _mm512_ternarylogic_epi32(w[3], _mm512_rolv_epi64(qh, by3), m10, 0xf8);
    }
    half0 = _mm512_packs_epi32(_mm512_dpbusd_epi32(zero, w[0], x[0]),
                               _mm512_dpbusd_epi32(zero, w[1], x[1]));
    half1 = _mm512_packs_epi32(_mm512_dpbusd_epi32(zero, w[2], x[2]),
                               _mm512_dpbusd_epi32(zero, w[3], x[3]));
    half0 = _mm512_madd_epi16(half0, _mm512_shuffle_epi8(scales, scale_control(0)));
    return _mm512_dpwssd_epi32(half0, half1, _mm512_shuffle_epi8(scales, scale_control(1)));
}

/* Walk over one row of a chunk. p: its first block. Returns where to fetch ahead next. */
INLINE const uint8_t *find_row(struct found_k4 *found, size_t slot, const uint8_t *p,
                               const uint8_t *ahead, const struct chunk_k4 *chunk,
                               size_t n_blocks, bool fifth)
{
    const size_t block_bytes = fifth ? sizeof(struct sl_block_q5_k) : sizeof(struct sl_block_q4_k);
    size_t b = 0;

    for (; b + 4 <= n_blocks; b += 4) {
        __m512i lanes[4];

#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++, p += block_bytes, ahead += AHEAD_WALKING(block_bytes)) {
            __m128i head = load128(p);

            prefetch(ahead, AHEAD_WALKING(block_bytes));
            found->head[b + i][slot] = head;
            lanes[i] = dot_block(p, chunk->x[b + i], head, fifth);
        }
        found->isum[b / 4][slot] = add_quarters(add_lanes4(lanes[0], lanes[1], lanes[2], lanes[3]));
    }
    if (b < n_blocks) {
        __m512i lanes[4] = { 0 };

        for (size_t i = 0; b + i < n_blocks; i++, p += block_bytes) {
            __m128i head = load128(p);

            prefetch(ahead, AHEAD_WALKING(block_bytes));
            ahead += AHEAD_WALKING(block_bytes);
            found->head[b + i][slot] = head;
            lanes[i] = dot_block(p, chunk->x[b + i], head, fifth);
        }
        found->isum[b / 4][slot] = add_quarters(add_lanes4(lanes[0], lanes[1], lanes[2], lanes[3]));
    }
    return ahead;
}

INLINE __m512i dot_mins(const struct scales_k4 *s, const int32_t sums[4])
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i low = _mm512_dpbusd_epi32(zero, s->mn_lo, _mm512_set1_epi32(sums[0]));
    __m512i high = _mm512_dpbusd_epi32(zero, s->mn_lo, _mm512_set1_epi32(sums[2]));

    low = _mm512_dpbusd_epi32(low, s->mn_hi, _mm512_set1_epi32(sums[1]));
    high = _mm512_dpbusd_epi32(high, s->mn_hi, _mm512_set1_epi32(sums[3]));
    return _mm512_add_epi32(low, _mm512_slli_epi32(high, 7));
}

/* Bring 16 rows' results on by a chunk, and fetch n_ahead bytes ahead with each block. */
INLINE __m512 add_chunk(__m512 acc, const struct found_k4 *found, const struct chunk_k4 *chunk,
                        size_t n_blocks, const uint8_t *ahead, size_t n_ahead)
{
    __m512i isum[4], head[4];

    for (size_t b = 0; b < n_blocks; b++) {
        struct scales_k4 s;
        __m512 dx = _mm512_set1_ps(chunk->d[b]);

        prefetch(ahead + b * n_ahead, n_ahead);
        if (b % 4 == 0)
            load_table4(found->isum[b / 4], isum);
        load_table4(found->head[b], head);
        s = decode_scales(head);
        acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum[b % 4]), _mm512_mul_ps(s.d, dx), acc);
        acc = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(dot_mins(&s, chunk->sums[b])),
                               _mm512_mul_ps(s.dmin, dx), acc);
    }
    return acc;
}

INLINE void matmul_one(float *out, const void *w, size_t row_bytes, size_t n_rows,
                       const struct sl_act *x, bool fifth)
{
    const size_t block_bytes = fifth ? sizeof(struct sl_block_q5_k) : sizeof(struct sl_block_q4_k);
    const uint32_t n_blocks = x->n_cols / SL_BLOCK256;
    struct chunk_k4 chunk;
    struct found_k4 found;

    if (n_rows % TILE_ROWS != 0)
        memset(&found, 0, sizeof(found)); /* of the rows that are missing */
    for (uint32_t b = 0, n; b < n_blocks; b += n) {
        size_t far;

        n = next_part(n_blocks - b, CHUNK_BLOCKS);
        far = ahead_bytes(row_bytes, n * block_bytes);
        prepare_chunk(&chunk, x, b, n);
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            const uint8_t *p = (const uint8_t *)w + r * row_bytes + b * block_bytes;
            size_t n_here = n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;
            __mmask16 mask = lanes_mask(n_here);
            __m512 acc = b > 0 ? _mm512_maskz_loadu_ps(mask, out + r) : _mm512_setzero_ps();
            const uint8_t *ahead = p + far;

            for (size_t i = 0; i < n_here; i++, p += row_bytes) {
                if (n < n_blocks)
                    ahead = p + far; /* the row goes on elsewhere */
                ahead = find_row(&found, table_slot(i), p, ahead, &chunk, n, fifth);
            }
            acc = add_chunk(acc, &found, &chunk, n, ahead, AHEAD_ADDING(block_bytes));
            _mm512_mask_storeu_ps(out + r, mask, acc);
        }
    }
}

/* One block of 16 rows, unpacked. Dword i of sub-block j: columns 32 j + 4 i .. + 3. */
struct tile_k4 {
    __m512i w[8][8];
    __m512i sc[8]; /* 32 bits */
    __m512i mn[8]; /* two equal halves of 16 bits, for the two sums of a sub-block */
    __m512 d, dmin;
};

INLINE void unpack_scales(struct tile_k4 *tile, struct rows16 rows)
{
    const __m512i byte = _mm512_set1_epi32(0xff);
    __m512i head[4];
    struct scales_k4 s;

    load_dwords4(rows, 0, head);
    s = decode_scales(head);

    for (int j = 0; j < 4; j++) {
        __m512i mn_lo = _mm512_and_si512(_mm512_srli_epi32(s.mn_lo, 8 * j), byte);
        __m512i mn_hi = _mm512_and_si512(_mm512_srli_epi32(s.mn_hi, 8 * j), byte);

        tile->sc[j] = _mm512_and_si512(_mm512_srli_epi32(s.sc_lo, 8 * j), byte);
        tile->sc[4 + j] = _mm512_and_si512(_mm512_srli_epi32(s.sc_hi, 8 * j), byte);
        tile->mn[j] = _mm512_or_si512(mn_lo, _mm512_slli_epi32(mn_lo, 16));
        tile->mn[4 + j] = _mm512_or_si512(mn_hi, _mm512_slli_epi32(mn_hi, 16));
    }
    tile->d = s.d;
    tile->dmin = s.dmin;
}

/* Columns 64 p + 16 m .. + 15, 64 p + 32 + 16 m .. + 15, from the low and high nibbles. */
INLINE void unpack_part(struct tile_k4 *tile, struct rows16 rows, size_t p, size_t m, bool fifth)
{
    const __m512i m0f = _mm512_set1_epi8(0x0f);
    const __m512i m10 = _mm512_set1_epi8(0x10);
    const size_t off = fifth ? offsetof(struct sl_block_q5_k, qs)
                             : offsetof(struct sl_block_q4_k, qs);
    const __m512i by_even = _mm512_set1_epi32((36 - 2 * (int)p) % 32);
    const __m512i by_odd = _mm512_set1_epi32((35 - 2 * (int)p) % 32);
    __m512i v[4], qh[4];

    load_dwords4(rows, off + 32 * p + 16 * m, v);
    if (fifth)
        load_dwords4(rows, offsetof(struct sl_block_q5_k, qh) + 16 * m, qh);
    for (int c = 0; c < 4; c++) {
        __m512i even = _mm512_and_si512(v[c], m0f);
        __m512i odd = _mm512_and_si512(_mm512_srli_epi32(v[c], 4), m0f);

        if (fifth) {
            __m512i bit_even = _mm512_rolv_epi32(qh[c], by_even);
            __m512i bit_odd = _mm512_rolv_epi32(qh[c], by_odd);

            even = _mm512_ternarylogic_epi32(even, bit_even, m10, 0xf8);
            odd = _mm512_ternarylogic_epi32(odd, bit_odd, m10, 0xf8);
        }
        tile->w[2 * p][4 * m + c] = even;
        tile->w[2 * p + 1][4 * m + c] = odd;
    }
}

INLINE void unpack_tile(struct tile_k4 *tile, struct rows16 rows, bool fifth)
{
    unpack_scales(tile, rows);
    for (size_t m = 0; m < 2; m++)
        for (size_t p = 0; p < 4; p++)
            unpack_part(tile, rows, p, m, fifth);
}

/* Bring one token's 16 results on by a block. */
INLINE void add_block(float *acc, const struct tile_k4 *tile, __m512i isum, __m512i msum, float d)
{
    __m512 dx = _mm512_set1_ps(d);
    __m512 sum = _mm512_load_ps(acc);

    sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum), _mm512_mul_ps(tile->d, dx), sum);
    sum = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(msum), _mm512_mul_ps(tile->dmin, dx), sum);
    _mm512_store_ps(acc, sum);
}

/*
 * One tile of one block with n_tok (a constant) tokens from i_block on in x.
 * Loops over tokens run to the constant that their pragma names: clang unrolls those
 * only, and 11 tokens left in memory took twice the time of 12.
 */
INLINE void group(float *acc, const struct tile_k4 *tile, const struct sl_act *x, size_t i_block,
                  const int n_tok)
{
    const int8_t *q = x->q + i_block * SL_BLOCK256;
    const int16_t *sums = x->sums + i_block * 16;
    const float *d = x->d + i_block;
    __m512i dot[GROUP_TOK_MAX], isum[GROUP_TOK_MAX];

#pragma GCC unroll 12
    for (int t = 0; t < GROUP_TOK_MAX; t++)
        if (t < n_tok)
            isum[t] = _mm512_setzero_si512();
    for (int j = 0; j < 8; j++) {
#pragma GCC unroll 12
        for (int t = 0; t < GROUP_TOK_MAX; t++)
            if (t < n_tok)
                dot[t] = _mm512_setzero_si512();
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            __m512i w = tile->w[j][i];

#pragma GCC unroll 12
            for (int t = 0; t < GROUP_TOK_MAX; t++)
                if (t < n_tok)
                    dot[t] = _mm512_dpbusd_epi32(dot[t], w,
                                                 broadcast32(q + SL_BLOCK256 * t + 32 * j + 4 * i));
        }
#pragma GCC unroll 12
        for (int t = 0; t < GROUP_TOK_MAX; t++)
            if (t < n_tok)
                isum[t] = _mm512_add_epi32(isum[t], _mm512_mullo_epi32(dot[t], tile->sc[j]));
    }
#pragma GCC unroll 12
    for (int t = 0; t < GROUP_TOK_MAX; t++)
        if (t < n_tok)
            dot[t] = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
#pragma GCC unroll 12
        for (int t = 0; t < GROUP_TOK_MAX; t++)
            if (t < n_tok)
                dot[t] = _mm512_dpwssd_epi32(dot[t], tile->mn[j],
                                             broadcast32(sums + 16 * t + 2 * j));
    }
#pragma GCC unroll 12
    for (int t = 0; t < GROUP_TOK_MAX; t++)
        if (t < n_tok)
            add_block(acc + TILE_ROWS * t, tile, isum[t], dot[t], d[t]);
}

static void any_group(float *acc, const struct tile_k4 *tile, const struct sl_act *x,
                      size_t i_block, uint32_t n_tok)
{
    switch (n_tok) {
    case 2: group(acc, tile, x, i_block, 2); break;
    case 3: group(acc, tile, x, i_block, 3); break;
    case 4: group(acc, tile, x, i_block, 4); break;
    case 5: group(acc, tile, x, i_block, 5); break;
    case 6: group(acc, tile, x, i_block, 6); break;
    case 7: group(acc, tile, x, i_block, 7); break;
    case 8: group(acc, tile, x, i_block, 8); break;
    case 9: group(acc, tile, x, i_block, 9); break;
    case 10: group(acc, tile, x, i_block, 10); break;
    case 11: group(acc, tile, x, i_block, 11); break;
    case 12: group(acc, tile, x, i_block, 12); break;
    default: __builtin_unreachable(); /* next_part, n_tok > 1 */
    }
}

/*
 * The products of one tile of n_rows rows at w with tokens t0 .. t0 + n_tok - 1, n_tok > 1.
 * The rows after the tile are fetched meanwhile.
 */
INLINE void tile_many(float *out, size_t out_stride, const uint8_t *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x, uint32_t t0, uint32_t n_tok,
                      bool fifth)
{
    const size_t block_bytes = fifth ? sizeof(struct sl_block_q5_k) : sizeof(struct sl_block_q4_k);
    _Alignas(64) float acc[CHUNK_TOK_MAX * TILE_ROWS];
    uint8_t pad[TILE_ROWS * sizeof(struct sl_block_q5_k)];
    struct tile_k4 tile;

    memset(acc, 0, n_tok * TILE_ROWS * sizeof(float));
    for (size_t b = 0; b < x->n_cols / SL_BLOCK256; b++) {
        const uint8_t *next = w + TILE_ROWS * (row_bytes + b * block_bytes);

        unpack_tile(&tile,
                    rows16_at(w, row_bytes, n_rows, b * block_bytes, block_bytes, pad), fifth);
        for (uint32_t t = 0, n; t < n_tok; t += n) {
            n = next_part(n_tok - t, GROUP_TOK_MAX);
            prefetch(next, TILE_ROWS * block_bytes * n / n_tok);
            next += TILE_ROWS * block_bytes * n / n_tok;
            any_group(acc + TILE_ROWS * t, &tile, x, b * x->n_tok + t0 + t, n);
        }
    }
    for (uint32_t t = 0; t < n_tok; t++)
        _mm512_mask_storeu_ps(out + t * out_stride, lanes_mask(n_rows),
                              _mm512_load_ps(acc + TILE_ROWS * t));
}

INLINE void matmul_many(float *out, size_t out_stride, const void *w, size_t row_bytes,
                        size_t n_rows, const struct sl_act *x, bool fifth)
{
    for (uint32_t t0 = 0, n; t0 < x->n_tok; t0 += n) {
        n = next_part(x->n_tok - t0, CHUNK_TOK_MAX);
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            size_t n_here = n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;

            tile_many(out + t0 * out_stride + r, out_stride, (const uint8_t *)w + r * row_bytes,
                      row_bytes, n_here, x, t0, n, fifth);
        }
    }
}

void sl_matmul_one_q4_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    matmul_one(out, w, row_bytes, n_rows, x, false);
}

void sl_matmul_many_q4_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x)
{
    if (x->n_tok == 1)
        sl_matmul_one_q4_k_avx512(out, out_stride, w, row_bytes, n_rows, x);
    else
        matmul_many(out, out_stride, w, row_bytes, n_rows, x, false);
}

void sl_matmul_one_q5_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    matmul_one(out, w, row_bytes, n_rows, x, true);
}

void sl_matmul_many_q5_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x)
{
    if (x->n_tok == 1)
        sl_matmul_one_q5_k_avx512(out, out_stride, w, row_bytes, n_rows, x);
    else
        matmul_many(out, out_stride, w, row_bytes, n_rows, x, true);
}
