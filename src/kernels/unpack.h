/*
 * Blocks of weights as whole numbers, the plain way: what tensor/block.h says, one
 * element after another. The C kernels and dequantisation stand on it. Any thread.
 */
#pragma once

#include <stdint.h>

#include "tensor/block.h"

/* Element i is d * v[i] + m. Types without m leave it at -0, which changes nothing:
 * +0 would turn an element of -0 into +0. */
struct sl_unpacked32 {
    float d, m;
    int8_t v[SL_BLOCK32]; /* offset taken off; IQ4_NL: the level */
};

/* Element i is d * (scale[i / 16] * v[i]) - dmin * min[i / 16]. Types without mins
 * leave dmin and min at 0; scales of 32 elements stand twice. */
struct sl_unpacked256 {
    float d, dmin;
    int8_t scale[16];
    uint8_t min[16];
    int8_t v[SL_BLOCK256];
};

typedef void (*sl_unpack32_fn)(struct sl_unpacked32 *ret_u, const void *block);
typedef void (*sl_unpack256_fn)(struct sl_unpacked256 *ret_u, const void *block);

void sl_unpack_q4_0(struct sl_unpacked32 *ret_u, const void *block);
void sl_unpack_q4_1(struct sl_unpacked32 *ret_u, const void *block);
void sl_unpack_q5_0(struct sl_unpacked32 *ret_u, const void *block);
void sl_unpack_q5_1(struct sl_unpacked32 *ret_u, const void *block);
void sl_unpack_q8_0(struct sl_unpacked32 *ret_u, const void *block);
void sl_unpack_iq4_nl(struct sl_unpacked32 *ret_u, const void *block);

void sl_unpack_q2_k(struct sl_unpacked256 *ret_u, const void *block);
void sl_unpack_q3_k(struct sl_unpacked256 *ret_u, const void *block);
void sl_unpack_q4_k(struct sl_unpacked256 *ret_u, const void *block);
void sl_unpack_q5_k(struct sl_unpacked256 *ret_u, const void *block);
void sl_unpack_q6_k(struct sl_unpacked256 *ret_u, const void *block);
void sl_unpack_iq4_xs(struct sl_unpacked256 *ret_u, const void *block);
