/*
 * Blocks of weights as whole numbers. The formulas are those of tensor/block.h,
 * element by element; nothing here is fast, and everything fast is compared with
 * it.
 */
#include "kernels/unpack.h"

#include "base/bytes.h"
#include "kernels/half.h"

static const int8_t iq4_values[16] = SL_IQ4_VALUES;

/* Nibble i of a group of 32 in 16 bytes: low nibbles first, then the high ones. */
static uint8_t nibble(const uint8_t qs[16], int i)
{
    return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
}

void sl_unpack_q4_0(struct sl_unpacked32 *ret_u, const void *block)
{
    const struct sl_block_q4_0 *w = block;

    ret_u->d = sl_f16_to_f32(w->d);
    ret_u->m = -0.0f;
    for (int i = 0; i < SL_BLOCK32; i++)
        ret_u->v[i] = (int8_t)(nibble(w->qs, i) - 8);
}

void sl_unpack_q4_1(struct sl_unpacked32 *ret_u, const void *block)
{
    const struct sl_block_q4_1 *w = block;

    ret_u->d = sl_f16_to_f32(w->d);
    ret_u->m = sl_f16_to_f32(w->m);
    for (int i = 0; i < SL_BLOCK32; i++)
        ret_u->v[i] = (int8_t)nibble(w->qs, i);
}

static int fifth_bit(const uint8_t qh[4], int i)
{
    return (int)(sl_load_u32(qh) >> i & 1) << 4;
}

void sl_unpack_q5_0(struct sl_unpacked32 *ret_u, const void *block)
{
    const struct sl_block_q5_0 *w = block;

    ret_u->d = sl_f16_to_f32(w->d);
    ret_u->m = -0.0f;
    for (int i = 0; i < SL_BLOCK32; i++)
        ret_u->v[i] = (int8_t)((nibble(w->qs, i) | fifth_bit(w->qh, i)) - 16);
}

void sl_unpack_q5_1(struct sl_unpacked32 *ret_u, const void *block)
{
    const struct sl_block_q5_1 *w = block;

    ret_u->d = sl_f16_to_f32(w->d);
    ret_u->m = sl_f16_to_f32(w->m);
    for (int i = 0; i < SL_BLOCK32; i++)
        ret_u->v[i] = (int8_t)(nibble(w->qs, i) | fifth_bit(w->qh, i));
}

void sl_unpack_q8_0(struct sl_unpacked32 *ret_u, const void *block)
{
    const struct sl_block_q8_0 *w = block;

    ret_u->d = sl_f16_to_f32(w->d);
    ret_u->m = -0.0f;
    for (int i = 0; i < SL_BLOCK32; i++)
        ret_u->v[i] = w->qs[i];
}

void sl_unpack_iq4_nl(struct sl_unpacked32 *ret_u, const void *block)
{
    const struct sl_block_iq4_nl *w = block;

    ret_u->d = sl_f16_to_f32(w->d);
    ret_u->m = -0.0f;
    for (int i = 0; i < SL_BLOCK32; i++)
        ret_u->v[i] = iq4_values[nibble(w->qs, i)];
}

/* Two bits of element i, as Q2_K and Q3_K keep them. */
static int two_bits(const uint8_t qs[64], int i)
{
    return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

void sl_unpack_q2_k(struct sl_unpacked256 *ret_u, const void *block)
{
    const struct sl_block_q2_k *w = block;

    ret_u->d = sl_f16_to_f32(w->d);
    ret_u->dmin = sl_f16_to_f32(w->dmin);
    for (int j = 0; j < 16; j++) {
        ret_u->scale[j] = w->scales[j] & 15;
        ret_u->min[j] = w->scales[j] >> 4;
    }
    for (int i = 0; i < SL_BLOCK256; i++)
        ret_u->v[i] = (int8_t)two_bits(w->qs, i);
}

void sl_unpack_q3_k(struct sl_unpacked256 *ret_u, const void *block)
{
    const struct sl_block_q3_k *w = block;

    ret_u->d = sl_f16_to_f32(w->d);
    ret_u->dmin = 0;
    for (int j = 0; j < 16; j++) {
        int low = j < 8 ? w->scales[j] & 15 : w->scales[j - 8] >> 4;
        int high = w->scales[8 + j % 4] >> (j / 4 * 2) & 3;

        ret_u->scale[j] = (int8_t)((low | high << 4) - 32);
        ret_u->min[j] = 0;
    }
    for (int i = 0; i < SL_BLOCK256; i++) {
        int high = w->hmask[i % 32] >> (i / 32) & 1;

        ret_u->v[i] = (int8_t)(two_bits(w->qs, i) - 4 * (1 - high));
    }
}

/* The eight scales and mins of six bits of Q4_K and Q5_K. */
static void unpack_scales(struct sl_unpacked256 *ret_u, const uint8_t s[12])
{
    for (int j = 0; j < 8; j++) {
        int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;

        ret_u->scale[2 * j] = ret_u->scale[2 * j + 1] = (int8_t)scale;
        ret_u->min[2 * j] = ret_u->min[2 * j + 1] = (uint8_t)min;
    }
}

/* The low four bits of element i of Q4_K and Q5_K. */
static int quarter_nibble(const uint8_t qs[128], int i)
{
    uint8_t byte = qs[i / 64 * 32 + i % 32];

    return i % 64 < 32 ? byte & 15 : byte >> 4;
}

void sl_unpack_q4_k(struct sl_unpacked256 *ret_u, const void *block)
{
    const struct sl_block_q4_k *w = block;

    ret_u->d = sl_f16_to_f32(w->d);
    ret_u->dmin = sl_f16_to_f32(w->dmin);
    unpack_scales(ret_u, w->scales);
    for (int i = 0; i < SL_BLOCK256; i++)
        ret_u->v[i] = (int8_t)quarter_nibble(w->qs, i);
}

void sl_unpack_q5_k(struct sl_unpacked256 *ret_u, const void *block)
{
    const struct sl_block_q5_k *w = block;

    ret_u->d = sl_f16_to_f32(w->d);
    ret_u->dmin = sl_f16_to_f32(w->dmin);
    unpack_scales(ret_u, w->scales);
    for (int i = 0; i < SL_BLOCK256; i++) {
        int high = w->qh[i % 32] >> (i / 32) & 1;

        ret_u->v[i] = (int8_t)(quarter_nibble(w->qs, i) | high << 4);
    }
}

void sl_unpack_q6_k(struct sl_unpacked256 *ret_u, const void *block)
{
    const struct sl_block_q6_k *w = block;

    ret_u->d = sl_f16_to_f32(w->d);
    ret_u->dmin = 0;
    for (int j = 0; j < 16; j++) {
        ret_u->scale[j] = w->scales[j];
        ret_u->min[j] = 0;
    }
    for (int i = 0; i < SL_BLOCK256; i++) {
        int half = i / 128, group = i % 128 / 32, c = i % 32;
        uint8_t byte = w->ql[64 * half + 32 * (group % 2) + c];
        int low = group < 2 ? byte & 15 : byte >> 4;
        int high = w->qh[32 * half + c] >> (2 * group) & 3;

        ret_u->v[i] = (int8_t)((low | high << 4) - 32);
    }
}

void sl_unpack_iq4_xs(struct sl_unpacked256 *ret_u, const void *block)
{
    const struct sl_block_iq4_xs *w = block;

    ret_u->d = sl_f16_to_f32(w->d);
    ret_u->dmin = 0;
    for (int j = 0; j < 16; j++) {
        int i = j / 2;
        int low = w->scales_l[i / 2] >> (i % 2 * 4) & 15;
        int high = w->scales_h >> (2 * i) & 3;

        ret_u->scale[j] = (int8_t)((low | high << 4) - 32);
        ret_u->min[j] = 0;
    }
    for (int i = 0; i < SL_BLOCK256; i++)
        ret_u->v[i] = iq4_values[nibble(w->qs + i / 32 * 16, i % 32)];
}
