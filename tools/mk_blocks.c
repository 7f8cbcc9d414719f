/*
 * Quantising 24 billion numbers takes an hour; drawing the blocks themselves takes half
 * a minute. So the quants are random bits, uniform over their levels, and only scales
 * are chosen: sub-block scales vary by a factor of two and more within a block, the
 * block's scale d by a quarter either way, signs are random where the format has them,
 * and the minimums of the types that have them lie around the value that makes the
 * mean zero, but not on it, so that a kernel that mixes up scales and minimums, or
 * sub-blocks, gives wrong results.
 *
 * Each type has a row in `makers`: the root mean square of a block's values for d = 1,
 * from the second moments of its parts,
 *     E[q^2] of uniform levels: 4 bits around 8: 21.5, around the mean 7.5: 21.25;
 *     5 bits: 85.5, 85.25; 6 bits around 32: 341.5; 3 bits around 4: 5.5; 2 bits around
 *     1.5: 1.25; -127..127 with 0 twice: 5397.5; the IQ4 levels: 4548
 *     E[sc^2]: see each maker
 * d is then std / rms. The maker fills everything but d.
 */
#include "tools/mk_blocks.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>

#include "kernels/half.h"
#include "tensor/block.h"

/* d varies evenly from 3/4 to 5/4 of its mean: E[d^2] = 1 + 1 / 48. */
static float draw_d(struct mk_random *rng)
{
    return (0.75f + 0.5f * mk_random_unit(rng)) * 0.98974f;
}

static float draw_signed_d(struct mk_random *rng)
{
    float d = draw_d(rng);

    return mk_random_next(rng) & 1 ? d : -d;
}

/* A scale times its group's factor, rounded. */
static uint32_t scaled(uint32_t scale, float mult)
{
    return (uint32_t)((float)scale * mult + 0.5f);
}

static void make_q4_0(void *dst, float d, const float *mult, struct mk_random *rng)
{
    struct sl_block_q4_0 *b = dst;

    b->d = sl_f16_from_f32(d * mult[0] * draw_signed_d(rng));
    mk_random_bytes(rng, b->qs, sizeof(b->qs));
}

/* m = -7.5 d (1 + e), |e| <= 1/8: adds 7.5^2 / 192 to the variance. */
static void make_q4_1(void *dst, float d, const float *mult, struct mk_random *rng)
{
    struct sl_block_q4_1 *b = dst;
    float own = d * mult[0] * draw_d(rng);

    b->d = sl_f16_from_f32(own);
    b->m = sl_f16_from_f32(own * -7.5f * (0.875f + 0.25f * mk_random_unit(rng)));
    mk_random_bytes(rng, b->qs, sizeof(b->qs));
}

static void make_q5_0(void *dst, float d, const float *mult, struct mk_random *rng)
{
    struct sl_block_q5_0 *b = dst;

    b->d = sl_f16_from_f32(d * mult[0] * draw_signed_d(rng));
    mk_random_bytes(rng, b->qh, sizeof(b->qh));
    mk_random_bytes(rng, b->qs, sizeof(b->qs));
}

static void make_q5_1(void *dst, float d, const float *mult, struct mk_random *rng)
{
    struct sl_block_q5_1 *b = dst;
    float own = d * mult[0] * draw_d(rng);

    b->d = sl_f16_from_f32(own);
    b->m = sl_f16_from_f32(own * -15.5f * (0.875f + 0.25f * mk_random_unit(rng)));
    mk_random_bytes(rng, b->qh, sizeof(b->qh));
    mk_random_bytes(rng, b->qs, sizeof(b->qs));
}

/* Quantisers never write -128. */
static void make_q8_0(void *dst, float d, const float *mult, struct mk_random *rng)
{
    struct sl_block_q8_0 *b = dst;

    b->d = sl_f16_from_f32(d * mult[0] * draw_d(rng));
    mk_random_bytes(rng, (uint8_t *)b->qs, sizeof(b->qs));
    for (int i = 0; i < 32; i++)
        b->qs[i] = b->qs[i] == -128 ? 0 : b->qs[i];
}

static void make_iq4_nl(void *dst, float d, const float *mult, struct mk_random *rng)
{
    struct sl_block_iq4_nl *b = dst;

    b->d = sl_f16_from_f32(d * mult[0] * draw_signed_d(rng));
    mk_random_bytes(rng, b->qs, sizeof(b->qs));
}

/* Scales 6..13: E = 95.5; minimums differ by -1..1: E = 2/3, times 1.5^2. */
static void make_q2_k(void *dst, float d, const float *mult, struct mk_random *rng)
{
    struct sl_block_q2_k *b = dst;
    uint64_t r = mk_random_next(rng);
    float own = d * draw_d(rng);

    for (int j = 0; j < 16; j++, r = r >> 3 | r << 61) {
        uint32_t sc = 6 + (r & 7);
        uint32_t mn = sc + (uint32_t)((r >> 40 & 0xff) * 3 >> 8) - 1;

        b->scales[j] = (uint8_t)(scaled(sc, mult[j / 2]) | scaled(mn, mult[j / 2]) << 4);
    }
    b->d = sl_f16_from_f32(own);
    b->dmin = sl_f16_from_f32(1.5f * own);
    mk_random_bytes(rng, b->qs, sizeof(b->qs));
}

/* Scales +-(8..23): E = 261.5. */
static void make_q3_k(void *dst, float d, const float *mult, struct mk_random *rng)
{
    struct sl_block_q3_k *b = dst;
    uint64_t r = mk_random_next(rng);
    uint64_t sign = mk_random_next(rng);

    memset(b->scales, 0, sizeof(b->scales));
    for (int j = 0; j < 16; j++, r >>= 4, sign >>= 1) {
        uint32_t mag = scaled(8 + (r & 15), mult[j / 2]);
        uint32_t sc = sign & 1 ? 32 + mag : 32 - mag;

        b->scales[j % 8] |= (uint8_t)((sc & 15) << (j < 8 ? 0 : 4));
        b->scales[8 + j % 4] |= (uint8_t)((sc >> 4) << 2 * (j / 4));
    }
    b->d = sl_f16_from_f32(d * draw_d(rng));
    mk_random_bytes(rng, b->hmask, sizeof(b->hmask));
    mk_random_bytes(rng, b->qs, sizeof(b->qs));
}

/* Scales 28..59: E = 1977.5; minimums differ by -4..4: E = 20/3, times the mean squared. */
static void draw_k_scales(uint8_t *packed, const float *mult, struct mk_random *rng)
{
    uint64_t r = mk_random_next(rng);
    uint64_t s = mk_random_next(rng);
    uint32_t sc[8];
    uint32_t mn[8];

    for (int j = 0; j < 8; j++, r >>= 8, s >>= 8) {
        uint32_t scale = 28 + (r & 31);
        uint32_t minimum = scale + (uint32_t)((s & 0xff) * 9 >> 8) - 4;

        sc[j] = scaled(scale, mult[j]);
        mn[j] = scaled(minimum, mult[j]);
    }
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(sc[j] | sc[j + 4] >> 4 << 6);
        packed[j + 4] = (uint8_t)(mn[j] | mn[j + 4] >> 4 << 6);
        packed[j + 8] = (uint8_t)((sc[j + 4] & 15) | (mn[j + 4] & 15) << 4);
    }
}

static void make_q4_k(void *dst, float d, const float *mult, struct mk_random *rng)
{
    struct sl_block_q4_k *b = dst;
    float own = d * draw_d(rng);

    b->d = sl_f16_from_f32(own);
    b->dmin = sl_f16_from_f32(7.5f * own);
    draw_k_scales(b->scales, mult, rng);
    mk_random_bytes(rng, b->qs, sizeof(b->qs));
}

static void make_q5_k(void *dst, float d, const float *mult, struct mk_random *rng)
{
    struct sl_block_q5_k *b = dst;
    float own = d * draw_d(rng);

    b->d = sl_f16_from_f32(own);
    b->dmin = sl_f16_from_f32(15.5f * own);
    draw_k_scales(b->scales, mult, rng);
    mk_random_bytes(rng, b->qh, sizeof(b->qh));
    mk_random_bytes(rng, b->qs, sizeof(b->qs));
}

/* Scales +-(16..47): E = 1077.5. Larger ones would push d into half's subnormals. */
static void make_q6_k(void *dst, float d, const float *mult, struct mk_random *rng)
{
    struct sl_block_q6_k *b = dst;
    uint64_t r[2] = { mk_random_next(rng), mk_random_next(rng) };

    mk_random_bytes(rng, b->ql, sizeof(b->ql));
    mk_random_bytes(rng, b->qh, sizeof(b->qh));
    for (int j = 0; j < 16; j++) {
        uint32_t byte = r[j / 8] >> 8 * (j % 8) & 0xff;
        int mag = (int)scaled(16 + (byte & 31), mult[j / 2]);

        b->scales[j] = (int8_t)(byte & 0x80 ? -mag : mag);
    }
    b->d = sl_f16_from_f32(d * draw_d(rng));
}

/* Scales +-(8..23): E = 261.5. */
static void make_iq4_xs(void *dst, float d, const float *mult, struct mk_random *rng)
{
    struct sl_block_iq4_xs *b = dst;
    uint64_t r = mk_random_next(rng);

    b->scales_h = 0;
    memset(b->scales_l, 0, sizeof(b->scales_l));
    for (int j = 0; j < 8; j++, r >>= 8) {
        uint32_t mag = scaled(8 + (r & 15), mult[j]);
        uint32_t sc = r & 0x80 ? 32 + mag : 32 - mag;

        b->scales_l[j / 2] |= (uint8_t)((sc & 15) << 4 * (j % 2));
        b->scales_h |= (uint16_t)((sc >> 4) << 2 * j);
    }
    b->d = sl_f16_from_f32(d * draw_d(rng));
    mk_random_bytes(rng, b->qs, sizeof(b->qs));
}

struct maker {
    void (*make)(void *dst, float d, const float *mult, struct mk_random *rng);
    float rms; /* of a block's values for d = 1 */
};

static const struct maker makers[SL_DTYPE_LIMIT] = {
    [SL_DTYPE_Q4_0] = { make_q4_0, 4.6368f },      /* sqrt(21.5) */
    [SL_DTYPE_Q4_1] = { make_q4_1, 4.6414f },      /* sqrt(21.25 + 56.25 / 192) */
    [SL_DTYPE_Q5_0] = { make_q5_0, 9.2466f },      /* sqrt(85.5) */
    [SL_DTYPE_Q5_1] = { make_q5_1, 9.3006f },      /* sqrt(85.25 + 240.25 / 192) */
    [SL_DTYPE_Q8_0] = { make_q8_0, 73.468f },      /* sqrt(5397.5) */
    [SL_DTYPE_Q2_K] = { make_q2_k, 10.994f },      /* sqrt(95.5 * 1.25 + 2.25 * 2 / 3) */
    [SL_DTYPE_Q3_K] = { make_q3_k, 37.924f },      /* sqrt(261.5 * 5.5) */
    [SL_DTYPE_Q4_K] = { make_q4_k, 205.91f },      /* sqrt(1977.5 * 21.25 + 56.25 * 20 / 3) */
    [SL_DTYPE_Q5_K] = { make_q5_k, 412.53f },      /* sqrt(1977.5 * 85.25 + 240.25 * 20 / 3) */
    [SL_DTYPE_Q6_K] = { make_q6_k, 606.60f },      /* sqrt(1077.5 * 341.5) */
    [SL_DTYPE_IQ4_NL] = { make_iq4_nl, 67.439f },  /* sqrt(4548) */
    [SL_DTYPE_IQ4_XS] = { make_iq4_xs, 1090.55f }, /* sqrt(261.5 * 4548) */
};

/* A number in a type whose blocks are single numbers. */
static void put_number(enum sl_dtype dtype, uint8_t *dst, uint64_t i, float x)
{
    uint32_t bits = sl_f32_bits(x);
    uint16_t half;

    if (dtype == SL_DTYPE_F32) {
        memcpy(dst + 4 * i, &x, 4);
        return;
    }
    if (dtype == SL_DTYPE_F16)
        half = sl_f16_from_f32(x);
    else
        half = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    memcpy(dst + 2 * i, &half, 2);
}

void mk_blocks_row(enum sl_dtype dtype, uint8_t *dst, uint64_t n_cols, float std,
                   const float *group_mult, struct mk_random *rng)
{
    static const float ones[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    const struct sl_dtype_info *info = sl_dtype_find(dtype);
    const struct maker *maker = &makers[dtype];
    uint32_t n_groups = info->block_len / MK_GROUP_COLS;

    if (info->block_len == 1) {
        for (uint64_t i = 0; i < n_cols; i++) {
            float mult = group_mult ? group_mult[i / MK_GROUP_COLS] : 1;

            put_number(dtype, dst, i, std * mult * mk_random_normal(rng));
        }
        return;
    }
    assert(maker->make && n_cols % info->block_len == 0);
    for (uint64_t i = 0; i < n_cols / info->block_len; i++)
        maker->make(dst + i * info->block_bytes, std / maker->rms,
                    group_mult ? group_mult + i * n_groups : ones, rng);
}

/* In Q6_K a group of 32 is two sub-blocks. A scale of 64, twice the usual one, reaches
 * three standard deviations in steps of a tenth. */
static void set_group_q6_k(struct sl_block_q6_k *b, uint32_t group, float value)
{
    float per_level = sl_f16_to_f32(b->d) * 64;
    int q = per_level > 0 ? (int)lrintf(value / per_level) : 0;
    uint32_t half = group / 4;
    uint32_t quarter = group % 4;
    uint32_t bits = (uint32_t)((q > 31 ? 31 : q < -32 ? -32 : q) + 32);

    for (uint32_t c = 0; c < 32; c++) {
        uint8_t *low = &b->ql[64 * half + 32 * (quarter % 2) + c];
        uint8_t *high = &b->qh[32 * half + c];

        *low = (uint8_t)(quarter < 2 ? (*low & 0xf0) | (bits & 15)
                                     : (*low & 15) | (bits & 15) << 4);
        *high = (uint8_t)((*high & ~(3u << 2 * quarter)) | bits >> 4 << 2 * quarter);
    }
    b->scales[2 * group] = 64;
    b->scales[2 * group + 1] = 64;
}

void mk_blocks_set_group(enum sl_dtype dtype, uint8_t *row, uint64_t first_col, float value)
{
    if (dtype == SL_DTYPE_Q6_K) {
        struct sl_block_q6_k *b = (struct sl_block_q6_k *)(void *)row + first_col / 256;

        set_group_q6_k(b, (uint32_t)(first_col % 256 / MK_GROUP_COLS), value);
        return;
    }
    if (dtype == SL_DTYPE_Q8_0) {
        struct sl_block_q8_0 *b = (struct sl_block_q8_0 *)(void *)row + first_col / 32;

        b->d = sl_f16_from_f32(value / 64);
        memset(b->qs, 64, sizeof(b->qs));
        return;
    }
    for (uint64_t i = 0; i < MK_GROUP_COLS; i++)
        put_number(dtype, row, first_col + i, value);
}
