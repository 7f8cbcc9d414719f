/*
 * Products of the 32-block types with one token, for AVX2.
 *
 * A row is read from end to end, eight blocks at a time: the two lanes of a vector
 * hold blocks i and i + 4, so that the horizontal sums of four vectors leave the eight
 * sums in order. They wait in a table, and so do the scales, copied bit by bit by
 * ordinary moves; after sixteen rows the float steps follow for all of them, a block of
 * eight rows in each vector. Blocks that do not fill a group are copied and padded with
 * zeros. The activations are brought into the order of the lanes once per call.
 *
 * Values are bytes: unsigned and too large by an offset, which the sums of x take off
 * again, or signed. Unsigned ones are at most 31, so four products with int8 fit 16 bits
 * (31 * 127 * 4 = 15748) and eight do (31496); of values up to 15 sixteen do (30480).
 */
#include <stdbool.h>
#include <string.h>

#include "kernels/x86/one_avx2.h"
#include "kernels/x86/quant_avx2.h"
#include "tensor/block.h"

#define GROUP 8 /* blocks */
#define TILE_ROWS 16
/* 4096 columns: prepared activations and findings fill 22 KiB at most. */
#define CHUNK_GROUPS 16
#define CHUNK_BLOCKS (CHUNK_GROUPS * GROUP)

enum one32_kind { UNSIGNED_4, UNSIGNED_5, SIGNED };

/* The first 16 elements of blocks a and b, in the low and the high lane, and the last 16. */
typedef void (*values_fn)(__m256i ret[2], const uint8_t *a, const uint8_t *b);

struct one32_type {
    values_fn values;
    enum one32_kind kind;
    int offset;   /* of unsigned values */
    bool has_min; /* m at offset 2; d is at 0 in all types */
    size_t block_bytes;
};

/* Activations of up to CHUNK_BLOCKS blocks; zero where a group is not full. */
struct chunk32 {
    __m256i x[CHUNK_GROUPS][4][2];        /* as values_fn, for blocks i and i + 4 */
    __m256i taken[CHUNK_GROUPS];          /* offset * (sum of a block's elements) */
    float d[CHUNK_BLOCKS], sum[CHUNK_BLOCKS];
};

/* What sixteen rows of a chunk come to. */
struct found32 {
    __m256 isum[CHUNK_GROUPS][TILE_ROWS];
    union {
        uint16_t d[CHUNK_BLOCKS][TILE_ROWS];
        uint32_t d_m[CHUNK_BLOCKS][TILE_ROWS]; /* with mins: m in the upper half */
    };
};

/* 16 bytes of a and of b. */
SL_INLINE __m256i load2(const uint8_t *a, const uint8_t *b)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)a)),
                                   _mm_loadu_si128((const void *)b), 1);
}

SL_INLINE void nibbles2(__m256i ret[2], const uint8_t *a, const uint8_t *b)
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i v = load2(a, b);

    ret[0] = _mm256_and_si256(v, mask);
    ret[1] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
}

/* Bit i of the four bytes at a and b, as 16, into byte i. Twelve bytes behind are read too. */
SL_INLINE void add_fifth_bits(__m256i v[2], const uint8_t *a, const uint8_t *b)
{
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    const __m256i m16 = _mm256_set1_epi8(16);
    const __m256i low = _mm256_setr_epi64x(0, 0x0101010101010101, 0, 0x0101010101010101);
    const __m256i two = _mm256_set1_epi8(2);
    __m256i qh = load2(a, b);

#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        __m256i spread = _mm256_shuffle_epi8(qh, i ? _mm256_or_si256(low, two) : low);
        __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);

        v[i] = _mm256_or_si256(v[i], _mm256_and_si256(is_set, m16));
    }
}

SL_INLINE void values_q4_0(__m256i ret[2], const uint8_t *a, const uint8_t *b)
{
    const size_t off = offsetof(struct sl_block_q4_0, qs);

    nibbles2(ret, a + off, b + off);
}

SL_INLINE void values_q4_1(__m256i ret[2], const uint8_t *a, const uint8_t *b)
{
    const size_t off = offsetof(struct sl_block_q4_1, qs);

    nibbles2(ret, a + off, b + off);
}

SL_INLINE void values_q5_0(__m256i ret[2], const uint8_t *a, const uint8_t *b)
{
    const size_t off = offsetof(struct sl_block_q5_0, qs);
    const size_t high = offsetof(struct sl_block_q5_0, qh);

    nibbles2(ret, a + off, b + off);
    add_fifth_bits(ret, a + high, b + high);
}

SL_INLINE void values_q5_1(__m256i ret[2], const uint8_t *a, const uint8_t *b)
{
    const size_t off = offsetof(struct sl_block_q5_1, qs);
    const size_t high = offsetof(struct sl_block_q5_1, qh);

    nibbles2(ret, a + off, b + off);
    add_fifth_bits(ret, a + high, b + high);
}

SL_INLINE void values_q8_0(__m256i ret[2], const uint8_t *a, const uint8_t *b)
{
    const size_t off = offsetof(struct sl_block_q8_0, qs);

    ret[0] = load2(a + off, b + off);
    ret[1] = load2(a + off + 16, b + off + 16);
}

SL_INLINE void values_iq4_nl(__m256i ret[2], const uint8_t *a, const uint8_t *b)
{
    static const int8_t levels[16] __attribute__((aligned(16))) = SL_IQ4_VALUES;
    const __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128((const void *)levels));
    const size_t off = offsetof(struct sl_block_iq4_nl, qs);

    nibbles2(ret, a + off, b + off);
    ret[0] = _mm256_shuffle_epi8(table, ret[0]);
    ret[1] = _mm256_shuffle_epi8(table, ret[1]);
}

/* Sums of neighbours. */
SL_INLINE __m256i add_pairs(__m256i v)
{
    return _mm256_madd_epi16(v, _mm256_set1_epi16(1));
}

/* Products of the values with x, added within each lane; SIGNED: in 32 bits, else in 16. */
SL_INLINE __m256i dot2(const __m256i v[2], const __m256i x[2], enum one32_kind kind)
{
    __m256i pairs[2];

    if (kind != SIGNED)
        return _mm256_add_epi16(_mm256_maddubs_epi16(v[0], x[0]),
                                _mm256_maddubs_epi16(v[1], x[1]));
    /* |-128| is 128, unsigned; x is never -128 where it matters. */
    for (int i = 0; i < 2; i++)
        pairs[i] = add_pairs(_mm256_maddubs_epi16(_mm256_abs_epi8(v[i]),
                                                  _mm256_sign_epi8(x[i], v[i])));
    return _mm256_add_epi32(pairs[0], pairs[1]);
}

/* The totals of the lanes of four vectors: eight blocks in order. */
SL_INLINE __m256i total8(const __m256i v[4], enum one32_kind kind)
{
    __m256i a, b;

    if (kind == SIGNED)
        return _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    a = _mm256_hadd_epi16(v[0], v[1]);
    b = _mm256_hadd_epi16(v[2], v[3]);
    return kind == UNSIGNED_4 ? add_pairs(_mm256_hadd_epi16(a, b))
                              : _mm256_hadd_epi32(add_pairs(a), add_pairs(b));
}

SL_INLINE void prepare_chunk(struct chunk32 *chunk, const struct sl_act *x, size_t b0,
                             size_t n_blocks, struct one32_type type)
{
    size_t n_groups = (n_blocks + GROUP - 1) / GROUP;
    int32_t *taken = (int32_t *)chunk->taken;

    memset(chunk->x, 0, n_groups * sizeof(chunk->x[0]));
    memset(chunk->taken, 0, n_groups * sizeof(chunk->taken[0]));
    for (size_t b = 0; b < n_blocks; b++) {
        const int8_t *q = x->q + (b0 + b) * SL_BLOCK32;
        const int16_t *sums = x->sums + 2 * (b0 + b);
        __m256i *to = chunk->x[b / GROUP][b % 4];
        int lane = b % GROUP / 4;

        memcpy((char *)&to[0] + 16 * lane, q, 16);
        memcpy((char *)&to[1] + 16 * lane, q + 16, 16);
        taken[b] = type.offset * (sums[0] + sums[1]);
        chunk->sum[b] = (float)(sums[0] + sums[1]);
        chunk->d[b] = x->d[b0 + b];
    }
}

/* Group g of a chunk in one row. p: its first block. */
SL_INLINE void find_group(struct found32 *found, size_t row, const uint8_t *p,
                          const struct chunk32 *chunk, size_t g, struct one32_type type)
{
    __m256i v[4], sum;

#pragma GCC unroll 8
    for (size_t i = 0; i < GROUP; i++)
        if (type.has_min)
            found->d_m[g * GROUP + i][row] = sl_load_u32(p + i * type.block_bytes);
        else
            found->d[g * GROUP + i][row] = sl_load_u16(p + i * type.block_bytes);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        __m256i q[2];

        type.values(q, p + i * type.block_bytes, p + (i + 4) * type.block_bytes);
        v[i] = dot2(q, chunk->x[g][i], type.kind);
    }
    sum = total8(v, type.kind);
    if (type.offset)
        sum = _mm256_sub_epi32(sum, chunk->taken[g]);
    found->isum[g][row] = _mm256_cvtepi32_ps(sum);
}

/* Walk over one row of a chunk. p: its first block; ahead: what to fetch meanwhile. */
SL_INLINE void find_row(struct found32 *found, size_t row, const uint8_t *p, size_t ahead,
                        const struct chunk32 *chunk, size_t n_blocks, struct one32_type type)
{
    const size_t group_bytes = GROUP * type.block_bytes;
    size_t g = 0;

    for (; (g + 1) * GROUP <= n_blocks; g++, p += group_bytes) {
        one_prefetch(p, ahead, group_bytes);
        find_group(found, row, p, chunk, g, type);
    }
    if (g * GROUP < n_blocks) {
        uint8_t rest[GROUP * sizeof(struct sl_block_q8_0) + 16] = { 0 };

        memcpy(rest, p, (n_blocks - g * GROUP) * type.block_bytes);
        find_group(found, row, rest, chunk, g, type);
    }
}

/* Eight vectors of eight floats. */
SL_INLINE void transpose8(__m256 v[8])
{
    __m256 t[8];

#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        __m256 lo0 = _mm256_unpacklo_ps(v[i], v[i + 1]), hi0 = _mm256_unpackhi_ps(v[i], v[i + 1]);
        __m256 lo1 = _mm256_unpacklo_ps(v[i + 2], v[i + 3]);
        __m256 hi1 = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);

        t[i] = _mm256_shuffle_ps(lo0, lo1, 0x44);
        t[i + 1] = _mm256_shuffle_ps(lo0, lo1, 0xee);
        t[i + 2] = _mm256_shuffle_ps(hi0, hi1, 0x44);
        t[i + 3] = _mm256_shuffle_ps(hi0, hi1, 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        v[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

/* d and m of block b of eight rows. */
SL_INLINE void scales8(__m256 *ret_d, __m256 *ret_m, const struct found32 *found, size_t b,
                       size_t row, bool has_min)
{
    __m256i v;

    if (!has_min) {
        *ret_d = _mm256_cvtph_ps(_mm_loadu_si128((const void *)(found->d[b] + row)));
        return;
    }
    v = one_load(found->d_m[b] + row);
    v = _mm256_packus_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0xffff)),
                            _mm256_srli_epi32(v, 16));
    v = _mm256_permute4x64_epi64(v, 0xd8);
    *ret_d = _mm256_cvtph_ps(_mm256_castsi256_si128(v));
    *ret_m = _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1));
}

/* Bring the results of rows row .. row + 7 on by group g, of which n blocks exist. */
SL_INLINE __m256 add_group(__m256 acc, const struct found32 *found, const struct chunk32 *chunk,
                           size_t g, size_t n, size_t row, struct one32_type type)
{
    __m256 isum[GROUP];

    for (int i = 0; i < GROUP; i++)
        isum[i] = found->isum[g][row + (size_t)i];
    transpose8(isum);
#pragma GCC unroll 8
    for (size_t i = 0; i < GROUP; i++) {
        size_t b = g * GROUP + i;
        __m256 d, m, d_x;

        if (i >= n)
            break;
        scales8(&d, &m, found, b, row, type.has_min);
        d_x = _mm256_set1_ps(chunk->d[b]);
        acc = _mm256_fmadd_ps(isum[i], _mm256_mul_ps(d, d_x), acc);
        if (type.has_min)
            acc = _mm256_fmadd_ps(_mm256_set1_ps(chunk->sum[b]), _mm256_mul_ps(m, d_x), acc);
    }
    return acc;
}

/* Bring 16 rows' results on by a chunk. */
SL_INLINE void add_chunk(float acc[TILE_ROWS], const struct found32 *found,
                         const struct chunk32 *chunk, size_t n_blocks, struct one32_type type)
{
    __m256 lo = _mm256_loadu_ps(acc), hi = _mm256_loadu_ps(acc + 8);
    size_t g = 0;

    for (; (g + 1) * GROUP <= n_blocks; g++) {
        lo = add_group(lo, found, chunk, g, GROUP, 0, type);
        hi = add_group(hi, found, chunk, g, GROUP, 8, type);
    }
    if (g * GROUP < n_blocks) {
        lo = add_group(lo, found, chunk, g, n_blocks - g * GROUP, 0, type);
        hi = add_group(hi, found, chunk, g, n_blocks - g * GROUP, 8, type);
    }
    _mm256_storeu_ps(acc, lo);
    _mm256_storeu_ps(acc + 8, hi);
}

SL_INLINE void one32(float *out, const void *w, size_t row_bytes, size_t n_rows,
                     const struct sl_act *x, struct one32_type type)
{
    const size_t n_blocks = x->n_cols / SL_BLOCK32;
    struct found32 found;
    struct chunk32 chunk;

    for (size_t b = 0; b < n_blocks; b += CHUNK_BLOCKS) {
        size_t n = n_blocks - b < CHUNK_BLOCKS ? n_blocks - b : CHUNK_BLOCKS;
        size_t ahead = one_ahead(row_bytes, n * type.block_bytes);

        prepare_chunk(&chunk, x, b, n, type);
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            const uint8_t *p = (const uint8_t *)w + r * row_bytes + b * type.block_bytes;
            size_t n_here = n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;
            float acc[TILE_ROWS] = { 0 };

            if (n_here < TILE_ROWS)
                memset(&found, 0, sizeof(found));
            if (b > 0)
                memcpy(acc, out + r, n_here * sizeof(*acc));
            for (size_t i = 0; i < n_here; i++, p += row_bytes)
                find_row(&found, i, p, ahead, &chunk, n, type);
            add_chunk(acc, &found, &chunk, n, type);
            memcpy(out + r, acc, n_here * sizeof(*acc));
        }
    }
}

void sl_matmul_one_q4_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x,
          (struct one32_type){ .values = values_q4_0,
                               .kind = UNSIGNED_4,
                               .offset = 8,
                               .block_bytes = sizeof(struct sl_block_q4_0) });
}

void sl_matmul_one_q4_1_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x,
          (struct one32_type){ .values = values_q4_1,
                               .kind = UNSIGNED_4,
                               .has_min = true,
                               .block_bytes = sizeof(struct sl_block_q4_1) });
}

void sl_matmul_one_q5_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x,
          (struct one32_type){ .values = values_q5_0,
                               .kind = UNSIGNED_5,
                               .offset = 16,
                               .block_bytes = sizeof(struct sl_block_q5_0) });
}

void sl_matmul_one_q5_1_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x,
          (struct one32_type){ .values = values_q5_1,
                               .kind = UNSIGNED_5,
                               .has_min = true,
                               .block_bytes = sizeof(struct sl_block_q5_1) });
}

void sl_matmul_one_q8_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x,
          (struct one32_type){ .values = values_q8_0,
                               .kind = SIGNED,
                               .block_bytes = sizeof(struct sl_block_q8_0) });
}

void sl_matmul_one_iq4_nl_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x,
          (struct one32_type){ .values = values_iq4_nl,
                               .kind = SIGNED,
                               .block_bytes = sizeof(struct sl_block_iq4_nl) });
}
