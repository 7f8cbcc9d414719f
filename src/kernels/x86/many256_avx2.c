/*
 * Products of the 256-block types with many tokens, for AVX2. The algorithm is in
 * many_avx2.h; here is how each type becomes a tile. Bytes are first transposed as
 * they lie, packed, and then unpacked: every type keeps groups of at least 16
 * elements in a row, so four neighbouring bytes are four neighbouring elements.
 *
 * Sums in 16 bits: Q4_K 15 * 127 * 2 * 8 = 30480; Q5_K 31 * 127 * 2 * 4 = 31496; Q2_K
 * 3 * 127 * 2 * 4 = 3048; biased: Q6_K 32 * 255 * 2 * 2 = 32640; Q3_K 4 * 255 * 2 * 4
 * = 8160. (x is -128 only in blocks whose d is not finite.)
 */
#include "kernels/x86/many_avx2.h"
#include "kernels/x86/quant_avx2.h"
#include "kernels/x86/scales_avx2.h"

/* Shift left by n bits, right if negative; bits cross bytes, so mask afterwards. */
SL_INLINE __m256i shift16(__m256i v, int n)
{
    return n >= 0 ? _mm256_slli_epi16(v, n) : _mm256_srli_epi16(v, -n);
}

/* Eight bytes of each row, signed, as 16 bits: row i in the low lane of ret_v[i], row
 * i + 4 in the high one. */
SL_INLINE void widen(__m256i ret_v[4], const uint64_t bytes[8])
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        ret_v[i] = _mm256_cvtepi8_epi16(_mm_set_epi64x((long long)bytes[i + 4],
                                                       (long long)bytes[i]));
}

/* Eight bytes of each row to eight vectors, each holding one of them twice. */
SL_INLINE void put_twice(int16_t ret_out[8][16], const uint64_t bytes[8])
{
    __m256i v[4], low[4], high[4];

    widen(v, bytes);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        low[i] = _mm256_unpacklo_epi16(v[i], v[i]);
        high[i] = _mm256_unpackhi_epi16(v[i], v[i]);
    }
    many_transpose(low);
    many_transpose(high);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        many_store(ret_out[i], low[i]);
        many_store(ret_out[i + 4], high[i]);
    }
}

/* Eight bytes of each row to four vectors, each holding two neighbours. */
SL_INLINE void put_pairs(int16_t ret_out[4][16], const uint64_t bytes[8])
{
    __m256i v[4];

    widen(v, bytes);
    many_transpose(v);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        many_store(ret_out[i], v[i]);
}

/* 128 times the scaled sum of each row's values, for MANY_BIASED: 16 scales of 16. */
SL_INLINE void put_corr(struct many_half *half)
{
    const __m256i one = _mm256_set1_epi8(1);
    __m256i sum = _mm256_setzero_si256();

    for (int j = 0; j < 16; j++) {
        __m256i pairs = _mm256_maddubs_epi16(one, many_load(half->q[4 * j]));

#pragma GCC unroll 4
        for (int i = 1; i < 4; i++)
            pairs = _mm256_add_epi16(pairs,
                                     _mm256_maddubs_epi16(one, many_load(half->q[4 * j + i])));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, many_load(half->scale[j])));
    }
    many_store(half->corr, _mm256_slli_epi32(sum, 7));
}

SL_INLINE void put_halves(struct many_half *half, const uint8_t *const block[8], size_t d_off,
                          size_t dmin_off)
{
    _mm256_storeu_ps(half->d, many_halves(block, d_off));
    _mm256_storeu_ps(half->m, many_halves(block, dmin_off));
}

/* Q4_K and Q5_K have the same head: d, dmin, scales. */
SL_INLINE void put_head_q4_k(struct many_half *half, const uint8_t *const block[8])
{
    uint64_t scale[8], min[8];

    for (int i = 0; i < 8; i++)
        sl_scales_q4_k(block[i] + offsetof(struct sl_block_q4_k, scales), &scale[i], &min[i]);
    put_twice(half->scale, scale);
    put_twice(half->min, min); /* both sums of 16 meet the min of their 32 */
    put_halves(half, block, offsetof(struct sl_block_q4_k, d),
               offsetof(struct sl_block_q4_k, dmin));
}

static void unpack_q4_k(struct many_half *ret_half, const uint8_t *const block[8])
{
    put_head_q4_k(ret_half, block);
    for (int c = 0; c < 8; c++) {
        __m256i v[4];
        int k = 16 * (c / 2) + 4 * (c % 2);

        many_load16(v, block, offsetof(struct sl_block_q4_k, qs) + 16 * (size_t)c);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            many_store(ret_half->q[k + i], many_and(v[i], 15));
            many_store(ret_half->q[k + 8 + i], many_and(_mm256_srli_epi16(v[i], 4), 15));
        }
    }
}

static void unpack_q5_k(struct many_half *ret_half, const uint8_t *const block[8])
{
    put_head_q4_k(ret_half, block);
    for (int part = 0; part < 2; part++) {
        __m256i high[4], v[4];

        many_load16(high, block, offsetof(struct sl_block_q5_k, qh) + 16 * (size_t)part);
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) {
            int k = 16 * p + 4 * part;

            many_load16(v, block,
                        offsetof(struct sl_block_q5_k, qs) + 32 * (size_t)p + 16 * (size_t)part);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                __m256i low = many_and(v[i], 15), up = many_and(_mm256_srli_epi16(v[i], 4), 15);
                __m256i bit0 = many_and(shift16(high[i], 4 - 2 * p), 16);
                __m256i bit1 = many_and(shift16(high[i], 3 - 2 * p), 16);

                many_store(ret_half->q[k + i], _mm256_or_si256(low, bit0));
                many_store(ret_half->q[k + 8 + i], _mm256_or_si256(up, bit1));
            }
        }
    }
}

static void unpack_q6_k(struct many_half *ret_half, const uint8_t *const block[8])
{
    uint64_t low[8], high[8];

    for (int i = 0; i < 8; i++) {
        low[i] = sl_load_u64(block[i] + offsetof(struct sl_block_q6_k, scales));
        high[i] = sl_load_u64(block[i] + offsetof(struct sl_block_q6_k, scales) + 8);
    }
    put_twice(ret_half->scale, low);
    put_twice(ret_half->scale + 8, high);
    _mm256_storeu_ps(ret_half->d, many_halves(block, offsetof(struct sl_block_q6_k, d)));
    for (int c = 0; c < 4; c++) {
        size_t half = (size_t)c / 2, off = 16 * ((size_t)c % 2);
        int k = 32 * (c / 2) + 4 * (c % 2);
        __m256i a[4], b[4], h[4];

        many_load16(a, block, 64 * half + off);
        many_load16(b, block, 64 * half + 32 + off);
        many_load16(h, block, offsetof(struct sl_block_q6_k, qh) + 32 * half + off);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            int group = i / 4;
            __m256i v = group % 2 ? b[i % 4] : a[i % 4];

            v = many_and(group < 2 ? v : _mm256_srli_epi16(v, 4), 15);
            v = _mm256_or_si256(v, many_and(shift16(h[i % 4], 4 - 2 * group), 0x30));
            many_store(ret_half->q[k + 8 * group + i % 4],
                       _mm256_sub_epi8(v, _mm256_set1_epi8(32)));
        }
    }
    put_corr(ret_half);
}

static void unpack_q2_k(struct many_half *ret_half, const uint8_t *const block[8])
{
    const uint64_t mask = 0x0f0f0f0f0f0f0f0fu;

    for (size_t part = 0; part < 2; part++) {
        uint64_t scale[8], min[8];

        for (int i = 0; i < 8; i++) {
            uint64_t s = sl_load_u64(block[i] + 8 * part);

            scale[i] = s & mask;
            min[i] = s >> 4 & mask;
        }
        put_twice(ret_half->scale + 8 * part, scale);
        put_pairs(ret_half->min + 4 * part, min);
    }
    put_halves(ret_half, block, offsetof(struct sl_block_q2_k, d),
               offsetof(struct sl_block_q2_k, dmin));
    for (int c = 0; c < 4; c++) {
        int k = 32 * (c / 2) + 4 * (c % 2);
        __m256i v[4];

        many_load16(v, block, offsetof(struct sl_block_q2_k, qs) + 16 * (size_t)c);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            many_store(ret_half->q[k + 8 * (i / 4) + i % 4],
                       many_and(_mm256_srli_epi16(v[i % 4], 2 * (i / 4)), 3));
    }
}

static void unpack_q3_k(struct many_half *ret_half, const uint8_t *const block[8])
{
    const uint64_t bias = 0x2020202020202020u;
    uint64_t low[8], high[8];

    for (int i = 0; i < 8; i++) {
        sl_scales_q3_k(block[i] + offsetof(struct sl_block_q3_k, scales), &low[i], &high[i]);
        /* Minus 32 in every byte: with the top bit set, no byte borrows. */
        low[i] = ((low[i] | bias << 2) - bias) ^ bias << 2;
        high[i] = ((high[i] | bias << 2) - bias) ^ bias << 2;
    }
    put_twice(ret_half->scale, low);
    put_twice(ret_half->scale + 8, high);
    _mm256_storeu_ps(ret_half->d, many_halves(block, offsetof(struct sl_block_q3_k, d)));
#pragma GCC unroll 2
    for (int part = 0; part < 2; part++) {
        __m256i h[4];

        many_load16(h, block, offsetof(struct sl_block_q3_k, hmask) + 16 * (size_t)part);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            int k = 32 * half + 4 * part;
            __m256i v[4];

            many_load16(v, block, offsetof(struct sl_block_q3_k, qs) + 32 * (size_t)half +
                                      16 * (size_t)part);
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) {
                int group = i / 4;
                __m256i q = many_and(_mm256_srli_epi16(v[i % 4], 2 * group), 3);

                q = _mm256_or_si256(q, many_and(shift16(h[i % 4], 2 - 4 * half - group), 4));
                many_store(ret_half->q[k + 8 * group + i % 4],
                           _mm256_sub_epi8(q, _mm256_set1_epi8(4)));
            }
        }
    }
    put_corr(ret_half);
}

static void unpack_iq4_xs(struct many_half *ret_half, const uint8_t *const block[8])
{
    static const int8_t levels[16] __attribute__((aligned(16))) = SL_IQ4_VALUES;
    __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128((const void *)levels));
    const uint64_t bias = 0x2020202020202020u;
    uint64_t scale[8];

    for (int i = 0; i < 8; i++) {
        uint64_t s = sl_scales_iq4_xs(
            sl_load_u16(block[i] + offsetof(struct sl_block_iq4_xs, scales_h)),
            block[i] + offsetof(struct sl_block_iq4_xs, scales_l));

        scale[i] = ((s | bias << 2) - bias) ^ bias << 2; /* minus 32 in every byte */
    }
    put_twice(ret_half->scale, scale);
    _mm256_storeu_ps(ret_half->d, many_halves(block, offsetof(struct sl_block_iq4_xs, d)));
    for (int g = 0; g < 8; g++) {
        __m256i v[4];

        many_load16(v, block, offsetof(struct sl_block_iq4_xs, qs) + 16 * (size_t)g);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            many_store(ret_half->q[8 * g + i], _mm256_shuffle_epi8(table, many_and(v[i], 15)));
            many_store(ret_half->q[8 * g + 4 + i],
                       _mm256_shuffle_epi8(table, many_and(_mm256_srli_epi16(v[i], 4), 15)));
        }
    }
}

void sl_matmul_many_q2_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x)
{
    many(out, out_stride, w, row_bytes, n_rows, x,
         (struct many_type){ .unpack = unpack_q2_k,
                            .block_bytes = sizeof(struct sl_block_q2_k),
                            .len = SL_BLOCK256,
                            .sub = 4,
                            .add = 4,
                            .kind = MANY_UNSIGNED,
                            .has_min = true });
}

void sl_matmul_many_q3_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x)
{
    many(out, out_stride, w, row_bytes, n_rows, x,
         (struct many_type){ .unpack = unpack_q3_k,
                            .block_bytes = sizeof(struct sl_block_q3_k),
                            .len = SL_BLOCK256,
                            .sub = 4,
                            .add = 4,
                            .kind = MANY_BIASED });
}

void sl_matmul_many_q4_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x)
{
    many(out, out_stride, w, row_bytes, n_rows, x,
         (struct many_type){ .unpack = unpack_q4_k,
                            .block_bytes = sizeof(struct sl_block_q4_k),
                            .len = SL_BLOCK256,
                            .sub = 8,
                            .add = 8,
                            .kind = MANY_UNSIGNED,
                            .has_min = true });
}

void sl_matmul_many_q5_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x)
{
    many(out, out_stride, w, row_bytes, n_rows, x,
         (struct many_type){ .unpack = unpack_q5_k,
                            .block_bytes = sizeof(struct sl_block_q5_k),
                            .len = SL_BLOCK256,
                            .sub = 8,
                            .add = 4,
                            .kind = MANY_UNSIGNED,
                            .has_min = true });
}

void sl_matmul_many_q6_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x)
{
    many(out, out_stride, w, row_bytes, n_rows, x,
         (struct many_type){ .unpack = unpack_q6_k,
                            .block_bytes = sizeof(struct sl_block_q6_k),
                            .len = SL_BLOCK256,
                            .sub = 4,
                            .add = 2,
                            .kind = MANY_BIASED });
}

void sl_matmul_many_iq4_xs_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x)
{
    many(out, out_stride, w, row_bytes, n_rows, x,
         (struct many_type){ .unpack = unpack_iq4_xs,
                            .block_bytes = sizeof(struct sl_block_iq4_xs),
                            .len = SL_BLOCK256,
                            .sub = 8,
                            .add = 1,
                            .kind = MANY_SIGNED });
}
