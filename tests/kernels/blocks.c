/*
 * Random blocks. The half floats inside a block are drawn apart from the rest:
 * mostly of the size that trained weights have, sometimes zero, negative,
 * subnormal or the largest half.
 */
#include "blocks.h"

#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "kernels/half.h"
#include "tensor/block.h"

struct halves {
    int d, m; /* offsets of half floats in the block; m -1: there is none */
};

static const struct halves halves[SL_DTYPE_LIMIT] = {
    [SL_DTYPE_Q4_0] = { offsetof(struct sl_block_q4_0, d), -1 },
    [SL_DTYPE_Q4_1] = { offsetof(struct sl_block_q4_1, d), offsetof(struct sl_block_q4_1, m) },
    [SL_DTYPE_Q5_0] = { offsetof(struct sl_block_q5_0, d), -1 },
    [SL_DTYPE_Q5_1] = { offsetof(struct sl_block_q5_1, d), offsetof(struct sl_block_q5_1, m) },
    [SL_DTYPE_Q8_0] = { offsetof(struct sl_block_q8_0, d), -1 },
    [SL_DTYPE_IQ4_NL] = { offsetof(struct sl_block_iq4_nl, d), -1 },
    [SL_DTYPE_Q2_K] = { offsetof(struct sl_block_q2_k, d), offsetof(struct sl_block_q2_k, dmin) },
    [SL_DTYPE_Q3_K] = { offsetof(struct sl_block_q3_k, d), -1 },
    [SL_DTYPE_Q4_K] = { offsetof(struct sl_block_q4_k, d), offsetof(struct sl_block_q4_k, dmin) },
    [SL_DTYPE_Q5_K] = { offsetof(struct sl_block_q5_k, d), offsetof(struct sl_block_q5_k, dmin) },
    [SL_DTYPE_Q6_K] = { offsetof(struct sl_block_q6_k, d), -1 },
    [SL_DTYPE_IQ4_XS] = { offsetof(struct sl_block_iq4_xs, d), -1 },
};

static uint16_t random_half(struct ck *ck)
{
    uint16_t sign = (uint16_t)(ck_rand_below(ck, 2) << 15);

    switch (ck_rand_below(ck, 16)) {
    case 0:
        return sign; /* zero, or minus zero */
    case 1:
        return (uint16_t)(sign | 0x7bff); /* 65504 */
    case 2:
    case 3:
        return (uint16_t)(sign | ck_rand_below(ck, 0x400)); /* subnormal */
    case 4:
        return (uint16_t)(sign | ck_rand_below(ck, 0x7c00)); /* any */
    default:
        return (uint16_t)(sign | (0x1000 + ck_rand_below(ck, 0x1400))); /* 2^-11 .. 2^-6 */
    }
}

void ck_fill_weights(struct ck *ck, void *w, enum sl_dtype dtype, size_t n_blocks,
                     enum ck_weights kind)
{
    static const uint8_t bytes[] = { 0, 0, 0xff, 0x80, 0x7f };
    size_t block_bytes = sl_dtype_find(dtype)->block_bytes;
    char *at = w;

    if (kind != CK_WEIGHTS_RANDOM)
        memset(w, bytes[kind], n_blocks * block_bytes);
    else
        ck_rand_bytes(ck, w, n_blocks * block_bytes);
    if (kind == CK_WEIGHTS_ZEROS)
        return;
    for (size_t b = 0; b < n_blocks; b++, at += block_bytes) {
        uint16_t d = random_half(ck), m = random_half(ck);

        memcpy(at + halves[dtype].d, &d, 2);
        if (halves[dtype].m >= 0)
            memcpy(at + halves[dtype].m, &m, 2);
    }
}

float ck_largest_min(enum sl_dtype dtype, const void *block)
{
    float factor = sl_dtype_find(dtype)->block_len == SL_BLOCK256 ? 63 : 1;

    if (halves[dtype].m < 0)
        return 0;
    return factor * fabsf(sl_f16_to_f32(sl_load_u16((const char *)block + halves[dtype].m)));
}

static int8_t random_q(struct ck *ck, enum ck_acts what)
{
    switch (what) {
    case CK_ACTS_ZEROS:
        return 0;
    case CK_ACTS_MAX:
        return 127;
    case CK_ACTS_MIN:
        return -127;
    case CK_ACTS_SIGNS:
        return ck_rand_below(ck, 2) ? 127 : -127;
    default:
        return (int8_t)((int)ck_rand_below(ck, 255) - 127);
    }
}

static float random_scale(struct ck *ck)
{
    switch (ck_rand_below(ck, 16)) {
    case 0:
        return 0;
    case 1:
        return 0x1p-140f; /* subnormal */
    case 2:
        return 1000;
    default:
        return (ck_rand_float(ck) + 1.0f) * 0.02f;
    }
}

/* What sl_act_bytes grants an array: a multiple of 64 bytes. */
static void *array(struct ck *ck, size_t bytes)
{
    return ck_alloc_end(ck, (bytes + 63) / 64 * 64, 64);
}

struct sl_act ck_make_act(struct ck *ck, enum sl_act_kind kind, uint32_t n_tok,
                          uint32_t n_cols, enum ck_acts what)
{
    size_t len = kind == SL_ACT_Q32 ? SL_BLOCK32 : SL_BLOCK256;
    size_t n = (size_t)n_tok * n_cols;
    struct sl_act act = {
        .kind = kind,
        .n_tok = n_tok,
        .n_cols = n_cols,
        .q = array(ck, n),
        .d = array(ck, n / len * sizeof(float)),
        .sums = array(ck, n / 16 * sizeof(int16_t)),
    };

    for (size_t i = 0; i < n; i += 16) {
        int sum = 0;

        for (size_t j = i; j < i + 16; j++)
            sum += act.q[j] = random_q(ck, what);
        act.sums[i / 16] = (int16_t)sum;
    }
    for (size_t i = 0; i < n / len; i++)
        act.d[i] = random_scale(ck);
    return act;
}
