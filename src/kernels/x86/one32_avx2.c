/*
 * Products of the 32-block types with one token, for AVX2. Four blocks of a row make
 * one vector of sums and one of scales; the fused steps follow when four rows are
 * there (one_avx2.h). A block's values are bytes: unsigned and too large by an offset,
 * which the sums of x take off again, or signed.
 *
 * Unsigned values are at most 31, so four products with int8 fit 16 bits (31 * 127
 * * 4 = 15748) and even eight do (31496): blocks are added pairwise in 16 bits before
 * the last step widens them.
 */
#include <stdbool.h>

#include "kernels/x86/one_avx2.h"
#include "kernels/x86/quant_avx2.h"
#include "tensor/block.h"

/* Blocks of a row between two float steps; the table takes 12 KiB. */
#define TABLE_BLOCKS 64

typedef __m256i (*values_fn)(const uint8_t *block);

struct one32_type {
    values_fn values;
    bool is_signed;
    int offset;   /* of unsigned values */
    bool has_min; /* m at offset 2; d is at 0 in all types */
    size_t block_bytes;
};

SL_INLINE __m256i nibbles32(const uint8_t *qs)
{
    __m128i v = _mm_loadu_si128((const void *)qs);

    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(v, 4), v), _mm256_set1_epi8(15));
}

/* Bit i of 32 as 16 in byte i. */
SL_INLINE __m256i fifth_bits(const uint8_t *qh)
{
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
                                            2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)sl_load_u32(qh)), spread);

    v = _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
    return _mm256_and_si256(v, _mm256_set1_epi8(16));
}

SL_INLINE __m256i values_q4_0(const uint8_t *block)
{
    return nibbles32(block + offsetof(struct sl_block_q4_0, qs));
}

SL_INLINE __m256i values_q4_1(const uint8_t *block)
{
    return nibbles32(block + offsetof(struct sl_block_q4_1, qs));
}

SL_INLINE __m256i values_q5_0(const uint8_t *block)
{
    return _mm256_or_si256(nibbles32(block + offsetof(struct sl_block_q5_0, qs)),
                           fifth_bits(block + offsetof(struct sl_block_q5_0, qh)));
}

SL_INLINE __m256i values_q5_1(const uint8_t *block)
{
    return _mm256_or_si256(nibbles32(block + offsetof(struct sl_block_q5_1, qs)),
                           fifth_bits(block + offsetof(struct sl_block_q5_1, qh)));
}

SL_INLINE __m256i values_q8_0(const uint8_t *block)
{
    return one_load(block + offsetof(struct sl_block_q8_0, qs));
}

SL_INLINE __m256i values_iq4_nl(const uint8_t *block)
{
    static const int8_t levels[16] __attribute__((aligned(16))) = SL_IQ4_VALUES;
    __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128((const void *)levels));

    return _mm256_shuffle_epi8(table, nibbles32(block + offsetof(struct sl_block_iq4_nl, qs)));
}

/* Totals of four vectors of pair sums that are at most 31 * 127 * 2. */
SL_INLINE __m128i total_small(const __m256i pairs[4])
{
    __m256i t = _mm256_hadd_epi16(_mm256_hadd_epi16(pairs[0], pairs[1]),
                                  _mm256_hadd_epi16(pairs[2], pairs[3]));

    t = _mm256_madd_epi16(t, _mm256_set1_epi16(1));
    return _mm_add_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
}

/* Four blocks, for the fused steps: float(isum), d_w * d_x and, with mins, m_w * d_x. */
struct quad {
    __m128 sum, d, m;
};

SL_INLINE struct quad four_blocks(const uint8_t *const block[4], const struct sl_act *x, size_t b,
                                  struct one32_type type)
{
    __m128 d_x = _mm_loadu_ps(x->d + b);
    __m256i v[4];
    __m128i sum;
    struct quad quad;

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i q = type.values(block[i]), xq = one_load(x->q + SL_BLOCK32 * (b + (size_t)i));

        /* |-128| is 128, unsigned; x is never -128 where it matters. */
        v[i] = type.is_signed ? _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(q),
                                                                       _mm256_sign_epi8(xq, q)),
                                                  _mm256_set1_epi16(1))
                              : _mm256_maddubs_epi16(q, xq);
    }
    sum = type.is_signed ? one_total4(v) : total_small(v);
    if (type.offset)
        sum = _mm_sub_epi32(sum, _mm_madd_epi16(_mm_loadu_si128((const void *)(x->sums + 2 * b)),
                                                _mm_set1_epi16((short)type.offset)));
    quad.sum = _mm_cvtepi32_ps(sum);
    quad.d = _mm_mul_ps(one_halves4(block, 0), d_x);
    quad.m = type.has_min ? _mm_mul_ps(one_halves4(block, 2), d_x) : d_x;
    return quad;
}

/* n blocks (a multiple of 4) from block b on of one row. */
SL_INLINE void row_blocks(struct quad (*table)[4], int row, const uint8_t *block,
                          const struct sl_act *x, size_t b, size_t n, struct one32_type type)
{
    for (size_t i = 0; i < n; i += 4, block += 4 * type.block_bytes) {
        const uint8_t *four[4] = { block, block + type.block_bytes, block + 2 * type.block_bytes,
                                   block + 3 * type.block_bytes };

        one_prefetch(block, 4 * type.block_bytes);
        table[i / 4][row] = four_blocks(four, x, b + i, type);
    }
}

/* The fused steps of four rows: each quad holds four blocks of one row, each step
 * wants one block of four rows. */
SL_INLINE __m128 finish(__m128 acc, struct quad (*table)[4], const struct sl_act *x, size_t b,
                        size_t n, struct one32_type type)
{
    for (size_t i = 0; i < n; i += 4) {
        struct quad *t = table[i / 4];

        _MM_TRANSPOSE4_PS(t[0].sum, t[1].sum, t[2].sum, t[3].sum);
        _MM_TRANSPOSE4_PS(t[0].d, t[1].d, t[2].d, t[3].d);
        if (type.has_min)
            _MM_TRANSPOSE4_PS(t[0].m, t[1].m, t[2].m, t[3].m);
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++) {
            const int16_t *sums = x->sums + 2 * (b + i + j);

            acc = _mm_fmadd_ps(t[j].sum, t[j].d, acc);
            if (type.has_min)
                acc = _mm_fmadd_ps(_mm_set1_ps((float)(sums[0] + sums[1])), t[j].m, acc);
        }
    }
    return acc;
}

/* One block of four rows: those that do not fill a quad. */
SL_INLINE __m128 last_block(__m128 acc, const uint8_t *const block[4], const struct sl_act *x,
                            size_t b, struct one32_type type)
{
    __m128 d_x = _mm_set1_ps(x->d[b]);
    __m256i xq = one_load(x->q + SL_BLOCK32 * b), v[4];
    int x_sum = x->sums[2 * b] + x->sums[2 * b + 1];
    __m128i sum;

    for (int i = 0; i < 4; i++) {
        __m256i q = type.values(block[i]);
        __m256i pairs = type.is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(q),
                                                              _mm256_sign_epi8(xq, q))
                                       : _mm256_maddubs_epi16(q, xq);

        v[i] = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    }
    sum = _mm_sub_epi32(one_total4(v), _mm_set1_epi32(type.offset * x_sum));
    acc = _mm_fmadd_ps(_mm_cvtepi32_ps(sum), _mm_mul_ps(one_halves4(block, 0), d_x), acc);
    if (type.has_min)
        acc = _mm_fmadd_ps(_mm_set1_ps((float)x_sum), _mm_mul_ps(one_halves4(block, 2), d_x), acc);
    return acc;
}

SL_INLINE void one32(float *out, const void *w, size_t row_bytes, size_t n_rows,
                     const struct sl_act *x, struct one32_type type)
{
    size_t n_blocks = x->n_cols / SL_BLOCK32, n_whole = n_blocks / 4 * 4;

    for (size_t r = 0; r < n_rows; r += 4) {
        struct quad table[TABLE_BLOCKS / 4][4];
        const uint8_t *block[4];
        __m128 acc = _mm_setzero_ps();

        one_rows(block, w, row_bytes, n_rows, r);
        for (size_t b = 0; b < n_whole; b += TABLE_BLOCKS) {
            size_t n = n_whole - b < TABLE_BLOCKS ? n_whole - b : TABLE_BLOCKS;

            for (int i = 0; i < 4; i++) {
                row_blocks(table, i, block[i], x, b, n, type);
                block[i] += n * type.block_bytes;
            }
            acc = finish(acc, table, x, b, n, type);
        }
        for (size_t b = n_whole; b < n_blocks; b++) {
            acc = last_block(acc, block, x, b, type);
            for (int i = 0; i < 4; i++)
                block[i] += type.block_bytes;
        }
        one_store(out + r, acc, n_rows - r);
    }
}

void sl_matmul_one_q4_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x,
          (struct one32_type){ .values = values_q4_0,
                               .offset = 8,
                               .block_bytes = sizeof(struct sl_block_q4_0) });
}

void sl_matmul_one_q4_1_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x,
          (struct one32_type){ .values = values_q4_1,
                               .has_min = true,
                               .block_bytes = sizeof(struct sl_block_q4_1) });
}

void sl_matmul_one_q5_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x,
          (struct one32_type){ .values = values_q5_0,
                               .offset = 16,
                               .block_bytes = sizeof(struct sl_block_q5_0) });
}

void sl_matmul_one_q5_1_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x,
          (struct one32_type){ .values = values_q5_1,
                               .has_min = true,
                               .block_bytes = sizeof(struct sl_block_q5_1) });
}

void sl_matmul_one_q8_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x,
          (struct one32_type){ .values = values_q8_0,
                               .is_signed = true,
                               .block_bytes = sizeof(struct sl_block_q8_0) });
}

void sl_matmul_one_iq4_nl_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x,
          (struct one32_type){ .values = values_iq4_nl,
                               .is_signed = true,
                               .block_bytes = sizeof(struct sl_block_iq4_nl) });
}
