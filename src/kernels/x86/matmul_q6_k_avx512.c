/*
 * Products with Q6_K weights, AVX-512 VNNI. The 6-bit values stay unsigned; what
 * the offset of 32 adds is taken off exactly.
 *
 * one: per row and block four vectors of 64 weights meet the activations in vpdpbusd,
 * whose accumulator starts at -32 times the lane's own activations. A lane is then at
 * most 32 * 128 * 4 and fits 16 bits: two vectors are packed and the scales applied
 * by vpmaddwd.
 *
 * many: a tile of 16 rows of one block is unpacked to dwords of four columns (see
 * vnni_avx512.h) and multiplied with groups of up to 12 tokens. The offset comes from
 * the sums of the activations and the scales times -32, by vpdpwssd.
 */
#include "kernels/x86/quant_avx512.h"
#include "kernels/x86/vnni_avx512.h"
#include "tensor/block.h"

#define BLOCK_BYTES sizeof(struct sl_block_q6_k)
/* 8192 columns: prepared activations and findings fill 20 KiB. */
#define CHUNK_BLOCKS 32
#define OFF_QH offsetof(struct sl_block_q6_k, qh)
#define OFF_SCALES offsetof(struct sl_block_q6_k, scales)
#define OFF_D offsetof(struct sl_block_q6_k, d)

/* Activations of one token in up to CHUNK_BLOCKS blocks, prepared for `one`. */
struct chunk_k6 {
    __m512i x[CHUNK_BLOCKS][4];
    __m512i start[CHUNK_BLOCKS][4]; /* -32 * (sum of a lane's four activations) */
    float d[CHUNK_BLOCKS];
};

/* What `one` finds in 16 rows of a chunk. */
struct found_k6 {
    __m128i isum[CHUNK_BLOCKS / 4][TILE_ROWS]; /* four blocks each, by table_slot */
    uint16_t d[CHUNK_BLOCKS][TILE_ROWS];       /* half floats, by row */
};

INLINE void prepare_chunk(struct chunk_k6 *chunk, const struct sl_act *x, size_t b0,
                          size_t n_blocks)
{
    const __m512i zero = _mm512_setzero_si512();
    const __m512i by32 = _mm512_set1_epi8(32);

    for (size_t b = 0; b < n_blocks; b++) {
        size_t i_block = b0 + b;

        chunk->d[b] = x->d[i_block];
        for (int i = 0; i < 4; i++) {
            __m512i v = load512(x->q + i_block * SL_BLOCK256 + 64 * i);

            chunk->x[b][i] = v;
            chunk->start[b][i] = _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, by32, v));
        }
    }
}

/* Elements 128 half .. 128 half + 127 in two vectors; p: the block. */
INLINE void load_half(const uint8_t *p, int half, __m512i ret[2])
{
    const __m512i m0f = _mm512_set1_epi8(0x0f);
    const __m512i m30 = _mm512_set1_epi8(0x30);
    /* Rotations that bring bits 2 g, 2 g + 1 to 4, 5: g = 0 | 1, 2 | 3. */
    const __m512i by0 = _mm512_set_epi64(2, 2, 2, 2, 4, 4, 4, 4);
    const __m512i by1 = _mm512_set_epi64(62, 62, 62, 62, 0, 0, 0, 0);
    __m512i ql = load512(p + 64 * half);
    __m512i qh = _mm512_broadcast_i64x4(load256(p + OFF_QH + 32 * half));
    __m512i low = _mm512_and_si512(ql, m0f);
    __m512i high = _mm512_and_si512(_mm512_srli_epi16(ql, 4), m0f);

    /* 0xf8: a | (b & c) */
    ret[0] = _mm512_ternarylogic_epi32(low, _mm512_rolv_epi64(qh, by0), m30, 0xf8);
    ret[1] = _mm512_ternarylogic_epi32(high, _mm512_rolv_epi64(qh, by1), m30, 0xf8);
}

/* The lanes of a block; their sum is its isum. p: the block; x, start: its activations. */
INLINE __m512i dot_block(const uint8_t *p, const __m512i x[4], const __m512i start[4])
{
    /* Quarter l of packed lanes: 4 of sub-block l, then 4 of sub-block 4 + l. */
    const __m512i pick = _mm512_set_epi64(
        0x0007000700070007, 0x0003000300030003, 0x0006000600060006, 0x0002000200020002,
        0x0005000500050005, 0x0001000100010001, 0x0004000400040004, 0x0000000000000000);
    const __m512i eight = _mm512_set1_epi16(8);
    __m512i scales = _mm512_castsi256_si512(_mm256_cvtepi8_epi16(load128(p + OFF_SCALES)));
    __m512i w[4], half0, half1;

    load_half(p, 0, w);
    load_half(p, 1, w + 2);
    half0 = _mm512_packs_epi32(_mm512_dpbusd_epi32(start[0], w[0], x[0]),
                               _mm512_dpbusd_epi32(start[1], w[1], x[1]));
    half1 = _mm512_packs_epi32(_mm512_dpbusd_epi32(start[2], w[2], x[2]),
                               _mm512_dpbusd_epi32(start[3], w[3], x[3]));
    half0 = _mm512_madd_epi16(half0, _mm512_permutexvar_epi16(pick, scales));
    return _mm512_dpwssd_epi32(
        half0, half1, _mm512_permutexvar_epi16(_mm512_or_si512(pick, eight), scales));
}

/* Walk over one row of a chunk. p: its first block. Returns where to fetch ahead next. */
INLINE const uint8_t *find_row(struct found_k6 *found, size_t row, const uint8_t *p,
                               const uint8_t *ahead, const struct chunk_k6 *chunk,
                               size_t n_blocks)
{
    for (size_t b = 0; b < n_blocks; b += 4) {
        __m512i lanes[4] = { 0 };

#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++, p += BLOCK_BYTES) {
            if (b + i == n_blocks)
                break;
            prefetch(ahead, AHEAD_WALKING(BLOCK_BYTES));
            ahead += AHEAD_WALKING(BLOCK_BYTES);
            memcpy(&found->d[b + i][row], p + OFF_D, sizeof(uint16_t));
            lanes[i] = dot_block(p, chunk->x[b + i], chunk->start[b + i]);
        }
        found->isum[b / 4][table_slot(row)] =
            add_quarters(add_lanes4(lanes[0], lanes[1], lanes[2], lanes[3]));
    }
    return ahead;
}

/* Bring 16 rows' results on by a chunk, and fetch some lines ahead with each block. */
INLINE __m512 add_chunk(__m512 acc, const struct found_k6 *found, const struct chunk_k6 *chunk,
                        size_t n_blocks, const uint8_t *ahead)
{
    __m512i isum[4];

    for (size_t b = 0; b < n_blocks; b++) {
        __m512 d = _mm512_cvtph_ps(load256(found->d[b]));

        prefetch(ahead + b * AHEAD_ADDING(BLOCK_BYTES), AHEAD_ADDING(BLOCK_BYTES));
        if (b % 4 == 0)
            load_table4(found->isum[b / 4], isum);
        d = _mm512_mul_ps(d, _mm512_set1_ps(chunk->d[b]));
        acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum[b % 4]), d, acc);
    }
    return acc;
}

static void matmul_one(float *out, const void *w, size_t row_bytes, size_t n_rows,
                       const struct sl_act *x)
{
    const uint32_t n_blocks = x->n_cols / SL_BLOCK256;
    struct chunk_k6 chunk;
    struct found_k6 found;

    if (n_rows % TILE_ROWS != 0)
        memset(&found, 0, sizeof(found)); /* of the rows that are missing */
    for (uint32_t b = 0, n; b < n_blocks; b += n) {
        size_t far;

        n = next_part(n_blocks - b, CHUNK_BLOCKS);
        far = ahead_bytes(row_bytes, n * BLOCK_BYTES);
        prepare_chunk(&chunk, x, b, n);
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            const uint8_t *p = (const uint8_t *)w + r * row_bytes + b * BLOCK_BYTES;
            size_t n_here = n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;
            __mmask16 mask = lanes_mask(n_here);
            __m512 acc = b > 0 ? _mm512_maskz_loadu_ps(mask, out + r) : _mm512_setzero_ps();
            const uint8_t *ahead = p + far;

            for (size_t i = 0; i < n_here; i++, p += row_bytes) {
                if (n < n_blocks)
                    ahead = p + far; /* the row goes on elsewhere */
                ahead = find_row(&found, i, p, ahead, &chunk, n);
            }
            acc = add_chunk(acc, &found, &chunk, n, ahead);
            _mm512_mask_storeu_ps(out + r, mask, acc);
        }
    }
}

/* One block of 16 rows, unpacked. Dword i of sub-block j: columns 16 j + 4 i .. + 3. */
struct tile_k6 {
    __m512i w[16][4];
    __m512i sc[16];  /* 32 bits */
    __m512i sc32[8]; /* -32 * scale, 16 bits, of sub-blocks 2 j and 2 j + 1 */
    __m512 d;
};

INLINE void unpack_scales(struct tile_k6 *tile, struct rows16 rows)
{
    const __m512i minus32 = _mm512_set1_epi16(-32);
    __m512i s[4];

    load_dwords4(rows, OFF_SCALES, s);
    for (int j = 0; j < 16; j++)
        tile->sc[j] = _mm512_srai_epi32(_mm512_slli_epi32(s[j / 4], 24 - 8 * (j % 4)), 24);
    for (int j = 0; j < 8; j++) {
        __m512i odd = _mm512_slli_epi32(tile->sc[2 * j + 1], 16);
        __m512i pair = _mm512_mask_blend_epi16(0xaaaaaaaa, tile->sc[2 * j], odd);

        tile->sc32[j] = _mm512_mullo_epi16(pair, minus32);
    }
    tile->d = load_halves(rows, OFF_D);
}

/* Columns 128 half + 32 g + 16 m .. + 15 for g = 0 .. 3. */
INLINE void unpack_part(struct tile_k6 *tile, struct rows16 rows, size_t half, size_t m)
{
    const __m512i m0f = _mm512_set1_epi8(0x0f);
    const __m512i m30 = _mm512_set1_epi8(0x30);
    const size_t j = 8 * half + m;
    __m512i a[4], b[4], qh[4];

    load_dwords4(rows, 64 * half + 16 * m, a);
    load_dwords4(rows, 64 * half + 32 + 16 * m, b);
    load_dwords4(rows, OFF_QH + 32 * half + 16 * m, qh);
    for (int c = 0; c < 4; c++) {
        __m512i low0 = _mm512_and_si512(a[c], m0f);
        __m512i low1 = _mm512_and_si512(b[c], m0f);
        __m512i low2 = _mm512_and_si512(_mm512_srli_epi32(a[c], 4), m0f);
        __m512i low3 = _mm512_and_si512(_mm512_srli_epi32(b[c], 4), m0f);
        __m512i high0 = _mm512_slli_epi32(qh[c], 4);
        __m512i high1 = _mm512_slli_epi32(qh[c], 2);
        __m512i high3 = _mm512_srli_epi32(qh[c], 2);

        tile->w[j][c] = _mm512_ternarylogic_epi32(low0, high0, m30, 0xf8);
        tile->w[j + 2][c] = _mm512_ternarylogic_epi32(low1, high1, m30, 0xf8);
        tile->w[j + 4][c] = _mm512_ternarylogic_epi32(low2, qh[c], m30, 0xf8);
        tile->w[j + 6][c] = _mm512_ternarylogic_epi32(low3, high3, m30, 0xf8);
    }
}

INLINE void unpack_tile(struct tile_k6 *tile, struct rows16 rows)
{
    unpack_scales(tile, rows);
    for (size_t half = 0; half < 2; half++)
        for (size_t m = 0; m < 2; m++)
            unpack_part(tile, rows, half, m);
}

/* Bring one token's 16 results on by a block. */
INLINE void add_block(float *acc, const struct tile_k6 *tile, __m512i isum, float d)
{
    __m512 scale = _mm512_mul_ps(tile->d, _mm512_set1_ps(d));

    _mm512_store_ps(acc, _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum), scale, _mm512_load_ps(acc)));
}

/*
 * One tile of one block with n_tok (a constant) tokens from i_block on in x.
 * Loops over tokens run to the constant that their pragma names: clang unrolls those
 * only, and 11 tokens left in memory took twice the time of 12.
 */
INLINE void group(float *acc, const struct tile_k6 *tile, const struct sl_act *x, size_t i_block,
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
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
#pragma GCC unroll 12
        for (int t = 0; t < GROUP_TOK_MAX; t++)
            if (t < n_tok)
                isum[t] = _mm512_dpwssd_epi32(isum[t], tile->sc32[j],
                                              broadcast32(sums + 16 * t + 2 * j));
    }
    for (int j = 0; j < 16; j++) {
#pragma GCC unroll 12
        for (int t = 0; t < GROUP_TOK_MAX; t++)
            if (t < n_tok)
                dot[t] = _mm512_setzero_si512();
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            __m512i w = tile->w[j][i];

#pragma GCC unroll 12
            for (int t = 0; t < GROUP_TOK_MAX; t++)
                if (t < n_tok)
                    dot[t] = _mm512_dpbusd_epi32(dot[t], w,
                                                 broadcast32(q + SL_BLOCK256 * t + 16 * j + 4 * i));
        }
#pragma GCC unroll 12
        for (int t = 0; t < GROUP_TOK_MAX; t++)
            if (t < n_tok)
                isum[t] = _mm512_add_epi32(isum[t], _mm512_mullo_epi32(dot[t], tile->sc[j]));
    }
#pragma GCC unroll 12
    for (int t = 0; t < GROUP_TOK_MAX; t++)
        if (t < n_tok)
            add_block(acc + TILE_ROWS * t, tile, isum[t], d[t]);
}

static void any_group(float *acc, const struct tile_k6 *tile, const struct sl_act *x,
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
                      size_t n_rows, const struct sl_act *x, uint32_t t0, uint32_t n_tok)
{
    _Alignas(64) float acc[CHUNK_TOK_MAX * TILE_ROWS];
    uint8_t pad[TILE_ROWS * BLOCK_BYTES];
    struct tile_k6 tile;

    memset(acc, 0, n_tok * TILE_ROWS * sizeof(float));
    for (size_t b = 0; b < x->n_cols / SL_BLOCK256; b++) {
        const uint8_t *next = w + TILE_ROWS * (row_bytes + b * BLOCK_BYTES);

        unpack_tile(&tile, rows16_at(w, row_bytes, n_rows, b * BLOCK_BYTES, BLOCK_BYTES, pad));
        for (uint32_t t = 0, n; t < n_tok; t += n) {
            n = next_part(n_tok - t, GROUP_TOK_MAX);
            prefetch(next, TILE_ROWS * BLOCK_BYTES * n / n_tok);
            next += TILE_ROWS * BLOCK_BYTES * n / n_tok;
            any_group(acc + TILE_ROWS * t, &tile, x, b * x->n_tok + t0 + t, n);
        }
    }
    for (uint32_t t = 0; t < n_tok; t++)
        _mm512_mask_storeu_ps(out + t * out_stride, lanes_mask(n_rows),
                              _mm512_load_ps(acc + TILE_ROWS * t));
}

void sl_matmul_one_q6_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    matmul_one(out, w, row_bytes, n_rows, x);
}

void sl_matmul_many_q6_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x)
{
    if (x->n_tok == 1) {
        sl_matmul_one_q6_k_avx512(out, out_stride, w, row_bytes, n_rows, x);
        return;
    }
    for (uint32_t t0 = 0, n; t0 < x->n_tok; t0 += n) {
        n = next_part(x->n_tok - t0, CHUNK_TOK_MAX);
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            size_t n_here = n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;

            tile_many(out + t0 * out_stride + r, out_stride, (const uint8_t *)w + r * row_bytes,
                      row_bytes, n_here, x, t0, n);
        }
    }
}
