/*
 * Products of the 32-block types with one token, for AVX2. The algorithm is in
 * one32_tmpl.h; here is how the sums of eight blocks come about and how eight rows are
 * brought on.
 *
 * Values are bytes: unsigned and too large by an offset, which the sums of x take off
 * again, or signed. Unsigned ones are at most 31, so four products with int8 fit 16 bits
 * (31 * 127 * 4 = 15748) and eight do (31496); of values up to 15 sixteen do (30480).
 * Of signed ones a pair fits: 128 * 127 * 2 = 32512.
 */
#include "kernels/x86/one32_tmpl.h"
#include "kernels/x86/quant_avx2.h"

/* The first 16 elements of blocks a and b, in the low and the high lane, and the last 16. */
SL_INLINE void values2(__m256i ret[2], const uint8_t *a, const uint8_t *b,
                       struct one32_type type)
{
    const __m256i bit = fifth_bit(), m16 = _mm256_set1_epi8(16);
    __m256i bits[2];

    a += type.qs_off;
    b += type.qs_off;
    if (type.kind == SIGNED_8) {
        ret[0] = one_load2(a, b);
        ret[1] = one_load2(a + 16, b + 16);
        return;
    }
    nibbles2(ret, a, b);
    if (type.kind == UNSIGNED_5)
        spread_fifth_bits(bits, one_load2(a - 4, b - 4), 0);
    for (int i = 0; i < 2; i++) {
        if (type.kind == LEVELS)
            ret[i] = _mm256_shuffle_epi8(one_iq4_levels(), ret[i]);
        if (type.kind == UNSIGNED_5)
            ret[i] = _mm256_or_si256(
                ret[i],
                _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bits[i], bit), bit), m16));
    }
}

/*
 * Products of the values of blocks i and i + 4 with x, added within each lane; of signed
 * ones in 32 bits, else in 16. maddubs wants one side unsigned: levels take the sign of x,
 * but -128 has no negative, so that x takes that of the values of Q8_0.
 */
SL_INLINE __m256i dot2(const __m256i v[2], const struct chunk32 *chunk, size_t g, size_t i,
                       struct one32_type type)
{
    const __m256i *x = chunk->x[g][i], *abs = chunk->abs[g][i];
    __m256i pairs[2];

#pragma GCC unroll 2
    for (int h = 0; h < 2; h++)
        if (type.kind == SIGNED_8)
            pairs[h] = _mm256_maddubs_epi16(_mm256_abs_epi8(v[h]), _mm256_sign_epi8(x[h], v[h]));
        else if (type.kind == LEVELS)
            pairs[h] = _mm256_maddubs_epi16(abs[h], _mm256_sign_epi8(v[h], x[h]));
        else
            pairs[h] = _mm256_maddubs_epi16(v[h], x[h]);
    if (type.kind == SIGNED_8 || type.kind == LEVELS)
        return _mm256_add_epi32(add_pairs(pairs[0]), add_pairs(pairs[1]));
    return _mm256_add_epi16(pairs[0], pairs[1]);
}

/* The totals of the lanes of four vectors: eight blocks in order. */
SL_INLINE __m256i total8(const __m256i v[4], enum one32_kind kind)
{
    __m256i a, b;

    if (kind == SIGNED_8 || kind == LEVELS)
        return _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    a = _mm256_hadd_epi16(v[0], v[1]);
    b = _mm256_hadd_epi16(v[2], v[3]);
    return kind == UNSIGNED_4 ? add_pairs(_mm256_hadd_epi16(a, b))
                              : _mm256_hadd_epi32(add_pairs(a), add_pairs(b));
}

/* The scales are copied by ordinary moves: they run beside the vector work. */
SL_INLINE __m256i sums(struct found32 *found, size_t row, const uint8_t *p,
                       const struct chunk32 *chunk, size_t g, struct one32_type type)
{
    __m256i v[4];

#pragma GCC unroll 8
    for (size_t i = 0; i < GROUP; i++)
        if (type.has_min)
            found->d_m[g * GROUP + i][row] = sl_load_u32(p + i * type.block_bytes);
        else
            found->d[g * GROUP + i][row] = sl_load_u16(p + i * type.block_bytes);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        __m256i q[2];

        values2(q, p + i * type.block_bytes, p + (i + 4) * type.block_bytes, type);
        v[i] = dot2(q, chunk, g, i, type);
    }
    return total8(v, type.kind);
}

/* The sums of half a group in eight rows, from row `row` on: ret[i] is that of block i. */
SL_INLINE void blocks4(__m256i ret[4], const __m128i isum[TILE_ROWS], size_t row)
{
    __m256i v[4], t[4];

#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++)
        v[i] = one_load(isum + 4 * i + row / 4);
    t[0] = _mm256_unpacklo_epi32(v[0], v[1]);
    t[1] = _mm256_unpackhi_epi32(v[0], v[1]);
    t[2] = _mm256_unpacklo_epi32(v[2], v[3]);
    t[3] = _mm256_unpackhi_epi32(v[2], v[3]);
    ret[0] = _mm256_unpacklo_epi64(t[0], t[2]);
    ret[1] = _mm256_unpackhi_epi64(t[0], t[2]);
    ret[2] = _mm256_unpacklo_epi64(t[1], t[3]);
    ret[3] = _mm256_unpackhi_epi64(t[1], t[3]);
}

/* d and m of block b of eight rows. */
SL_INLINE void scales8(__m256 *ret_d, __m256 *ret_m, const struct found32 *found, size_t b,
                       size_t row, bool has_min)
{
    if (has_min)
        one_halves8(ret_d, ret_m, found->d_m[b] + row);
    else
        *ret_d = _mm256_cvtph_ps(_mm_loadu_si128((const void *)(found->d[b] + row)));
}

/* Bring the results of rows row .. row + 7 on by group g, of which n blocks exist. */
SL_INLINE __m256 add_group(__m256 acc, const struct found32 *found, const struct chunk32 *chunk,
                           size_t g, size_t n, size_t row, struct one32_type type)
{
    __m256i isum[GROUP];

    blocks4(isum, found->isum[g][0], row);
    blocks4(isum + 4, found->isum[g][1], row);
#pragma GCC unroll 8
    for (size_t i = 0; i < GROUP; i++) {
        size_t b = g * GROUP + i;
        __m256 d, m, d_x;

        if (i >= n)
            break;
        scales8(&d, &m, found, b, row, type.has_min);
        d_x = _mm256_set1_ps(chunk->d[b]);
        acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isum[i]), _mm256_mul_ps(d, d_x), acc);
        if (type.has_min)
            acc = _mm256_fmadd_ps(_mm256_set1_ps(chunk->sum[b]), _mm256_mul_ps(m, d_x), acc);
    }
    return acc;
}

SL_INLINE void add(float acc[TILE_ROWS], const struct found32 *found,
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

void sl_matmul_one_q4_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x, sums, add,
          (struct one32_type){ .kind = UNSIGNED_4,
                               .offset = 8,
                               .block_bytes = sizeof(struct sl_block_q4_0),
                               .qs_off = offsetof(struct sl_block_q4_0, qs) });
}

void sl_matmul_one_q4_1_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x, sums, add,
          (struct one32_type){ .kind = UNSIGNED_4,
                               .has_min = true,
                               .block_bytes = sizeof(struct sl_block_q4_1),
                               .qs_off = offsetof(struct sl_block_q4_1, qs) });
}

void sl_matmul_one_q5_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x, sums, add,
          (struct one32_type){ .kind = UNSIGNED_5,
                               .offset = 16,
                               .block_bytes = sizeof(struct sl_block_q5_0),
                               .qs_off = offsetof(struct sl_block_q5_0, qs) });
}

void sl_matmul_one_q5_1_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x, sums, add,
          (struct one32_type){ .kind = UNSIGNED_5,
                               .has_min = true,
                               .block_bytes = sizeof(struct sl_block_q5_1),
                               .qs_off = offsetof(struct sl_block_q5_1, qs) });
}

void sl_matmul_one_q8_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x, sums, add,
          (struct one32_type){ .kind = SIGNED_8,
                               .block_bytes = sizeof(struct sl_block_q8_0),
                               .qs_off = offsetof(struct sl_block_q8_0, qs) });
}

void sl_matmul_one_iq4_nl_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x)
{
    one32(out, w, row_bytes, n_rows, x, sums, add,
          (struct one32_type){ .kind = LEVELS,
                               .has_abs = true,
                               .block_bytes = sizeof(struct sl_block_iq4_nl),
                               .qs_off = offsetof(struct sl_block_iq4_nl, qs) });
}
