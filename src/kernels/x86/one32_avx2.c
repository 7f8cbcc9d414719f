/*
 * Products of the 32-block types with one token, for AVX2. Four rows run together
 * (one_avx2.h). A block's values are bytes: unsigned and too large by an offset,
 * which the sums of x take off again, or signed.
 *
 * Unsigned values are at most 31, so four products with int8 fit 16 bits (31 * 127
 * * 4 = 15748) and even eight do (31496): rows are added pairwise in 16 bits before
 * the last step widens them.
 */
#include <stdbool.h>

#include "kernels/x86/one_avx2.h"
#include "kernels/x86/quant_avx2.h"
#include "tensor/block.h"

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

/* Totals of four rows whose pair sums are at most 31 * 127 * 2. */
SL_INLINE __m128i total_small(const __m256i pairs[4])
{
    __m256i t = _mm256_hadd_epi16(_mm256_hadd_epi16(pairs[0], pairs[1]),
                                  _mm256_hadd_epi16(pairs[2], pairs[3]));

    t = _mm256_madd_epi16(t, _mm256_set1_epi16(1));
    return _mm_add_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
}

SL_INLINE __m128i dot4(const uint8_t *const block[4], __m256i x, struct one32_type type)
{
    __m256i v[4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i q = type.values(block[i]);

        /* |-128| is 128, unsigned; x is never -128 where it matters. */
        v[i] = type.is_signed ? _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(q),
                                                                       _mm256_sign_epi8(x, q)),
                                                  _mm256_set1_epi16(1))
                              : _mm256_maddubs_epi16(q, x);
    }
    return type.is_signed ? one_total4(v) : total_small(v);
}

SL_INLINE void one32(float *out, const void *w, size_t row_bytes, size_t n_rows,
                     const struct sl_act *x, struct one32_type type)
{
    size_t n_blocks = x->n_cols / SL_BLOCK32;

    for (size_t r = 0; r < n_rows; r += 4) {
        const uint8_t *block[4];
        __m128 acc = _mm_setzero_ps();

        one_rows(block, w, row_bytes, n_rows, r);
        for (size_t b = 0; b < n_blocks; b++) {
            __m128 d_x = _mm_set1_ps(x->d[b]);
            int x_sum = x->sums[2 * b] + x->sums[2 * b + 1];
            __m128i sum;

            one_prefetch(block, 1, ONE_AHEAD_ROWS * row_bytes);
            sum = dot4(block, one_load(x->q + SL_BLOCK32 * b), type);
            if (type.offset)
                sum = _mm_sub_epi32(sum, _mm_set1_epi32(type.offset * x_sum));
            acc = _mm_fmadd_ps(_mm_cvtepi32_ps(sum), _mm_mul_ps(one_halves4(block, 0), d_x), acc);
            if (type.has_min)
                acc = _mm_fmadd_ps(_mm_set1_ps((float)x_sum),
                                   _mm_mul_ps(one_halves4(block, 2), d_x), acc);
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
