/*
 * Products of the 32-block types with many tokens, for AVX2. The algorithm is in
 * many_avx2.h; here is how each type becomes a tile.
 *
 * Sums in 16 bits: Q4 15 * 127 * 2 * 8 = 30480; Q5 31 * 127 * 2 * 4 = 31496; signed
 * 128 * 127 * 2 = 32512.
 */
#include "kernels/x86/many_avx2.h"
#include "kernels/x86/quant_avx2.h"

SL_INLINE void put_nibbles(struct many_half *half, const uint8_t *const block[8], size_t off)
{
    __m256i v[4];

    many_load16(v, block, off);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        many_store(half->q[i], many_and(v[i], 15));
        many_store(half->q[4 + i], many_and(_mm256_srli_epi16(v[i], 4), 15));
    }
}

/* Add bit i of each row's 32 to element i, as 16. */
SL_INLINE void put_fifth_bits(struct many_half *half, const uint8_t *const block[8], size_t off)
{
    uint32_t bits[8];
    __m256i v;

    for (int i = 0; i < 8; i++)
        bits[i] = sl_load_u32(block[i] + off);
    v = many_load(bits);
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
        /* Byte k / 2 of each row four times, then one bit of it in each byte. */
        const __m256i byte = _mm256_add_epi8(
            _mm256_set1_epi8((char)(k / 2)),
            _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12,
                                                      12, 12)));
        const __m256i bit = _mm256_set1_epi32(k % 2 ? (int)0x80402010u : 0x08040201);
        __m256i b = _mm256_and_si256(_mm256_shuffle_epi8(v, byte), bit);

        b = many_and(_mm256_cmpeq_epi8(b, bit), 16);
        many_store(half->q[k], _mm256_or_si256(many_load(half->q[k]), b));
    }
}

SL_INLINE void put_d(struct many_half *half, const uint8_t *const block[8])
{
    _mm256_storeu_ps(half->d, many_halves(block, 0));
}

SL_INLINE void put_m(struct many_half *half, const uint8_t *const block[8])
{
    _mm256_storeu_ps(half->m, many_halves(block, 2));
}

SL_INLINE void unpack_q4_0(struct many_half *ret_half, const uint8_t *const block[8])
{
    put_d(ret_half, block);
    put_nibbles(ret_half, block, offsetof(struct sl_block_q4_0, qs));
}

SL_INLINE void unpack_q4_1(struct many_half *ret_half, const uint8_t *const block[8])
{
    put_d(ret_half, block);
    put_m(ret_half, block);
    put_nibbles(ret_half, block, offsetof(struct sl_block_q4_1, qs));
}

SL_INLINE void unpack_q5_0(struct many_half *ret_half, const uint8_t *const block[8])
{
    put_d(ret_half, block);
    put_nibbles(ret_half, block, offsetof(struct sl_block_q5_0, qs));
    put_fifth_bits(ret_half, block, offsetof(struct sl_block_q5_0, qh));
}

SL_INLINE void unpack_q5_1(struct many_half *ret_half, const uint8_t *const block[8])
{
    put_d(ret_half, block);
    put_m(ret_half, block);
    put_nibbles(ret_half, block, offsetof(struct sl_block_q5_1, qs));
    put_fifth_bits(ret_half, block, offsetof(struct sl_block_q5_1, qh));
}

SL_INLINE void unpack_q8_0(struct many_half *ret_half, const uint8_t *const block[8])
{
    put_d(ret_half, block);
#pragma GCC unroll 2
    for (int c = 0; c < 2; c++) {
        __m256i v[4];

        many_load16(v, block, offsetof(struct sl_block_q8_0, qs) + 16 * (size_t)c);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            many_store(ret_half->q[4 * c + i], v[i]);
    }
}

SL_INLINE void unpack_iq4_nl(struct many_half *ret_half, const uint8_t *const block[8])
{
    static const int8_t levels[16] __attribute__((aligned(16))) = SL_IQ4_VALUES;
    __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128((const void *)levels));

    put_d(ret_half, block);
    put_nibbles(ret_half, block, offsetof(struct sl_block_iq4_nl, qs));
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++)
        many_store(ret_half->q[k], _mm256_shuffle_epi8(table, many_load(ret_half->q[k])));
}

void sl_matmul_many_q4_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x)
{
    many(out, out_stride, w, row_bytes, n_rows, x,
         (struct many_type){ .unpack = unpack_q4_0,
                            .block_bytes = sizeof(struct sl_block_q4_0),
                            .len = SL_BLOCK32,
                            .add = 8,
                            .kind = MANY_UNSIGNED,
                            .offset = 8 });
}

void sl_matmul_many_q4_1_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x)
{
    many(out, out_stride, w, row_bytes, n_rows, x,
         (struct many_type){ .unpack = unpack_q4_1,
                            .block_bytes = sizeof(struct sl_block_q4_1),
                            .len = SL_BLOCK32,
                            .add = 8,
                            .kind = MANY_UNSIGNED,
                            .has_min = true });
}

void sl_matmul_many_q5_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x)
{
    many(out, out_stride, w, row_bytes, n_rows, x,
         (struct many_type){ .unpack = unpack_q5_0,
                            .block_bytes = sizeof(struct sl_block_q5_0),
                            .len = SL_BLOCK32,
                            .add = 4,
                            .kind = MANY_UNSIGNED,
                            .offset = 16 });
}

void sl_matmul_many_q5_1_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x)
{
    many(out, out_stride, w, row_bytes, n_rows, x,
         (struct many_type){ .unpack = unpack_q5_1,
                            .block_bytes = sizeof(struct sl_block_q5_1),
                            .len = SL_BLOCK32,
                            .add = 4,
                            .kind = MANY_UNSIGNED,
                            .has_min = true });
}

void sl_matmul_many_q8_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x)
{
    many(out, out_stride, w, row_bytes, n_rows, x,
         (struct many_type){ .unpack = unpack_q8_0,
                            .block_bytes = sizeof(struct sl_block_q8_0),
                            .len = SL_BLOCK32,
                            .add = 1,
                            .kind = MANY_SIGNED });
}

void sl_matmul_many_iq4_nl_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x)
{
    many(out, out_stride, w, row_bytes, n_rows, x,
         (struct many_type){ .unpack = unpack_iq4_nl,
                            .block_bytes = sizeof(struct sl_block_iq4_nl),
                            .len = SL_BLOCK32,
                            .add = 1,
                            .kind = MANY_SIGNED });
}
