/* Where the half floats of a block lie is taken from tensor/block.h. */
#include "bench/bn_weights.h"

#include <string.h>

#include "tensor/block.h"

struct halves {
    int n;         /* 0: the type is one of plain floats */
    size_t off[2]; /* of half floats in a block */
};

static const struct halves halves[SL_DTYPE_LIMIT] = {
    [SL_DTYPE_Q4_0] = { 1, { offsetof(struct sl_block_q4_0, d) } },
    [SL_DTYPE_Q4_1] = { 2, { offsetof(struct sl_block_q4_1, d),
                             offsetof(struct sl_block_q4_1, m) } },
    [SL_DTYPE_Q5_0] = { 1, { offsetof(struct sl_block_q5_0, d) } },
    [SL_DTYPE_Q5_1] = { 2, { offsetof(struct sl_block_q5_1, d),
                             offsetof(struct sl_block_q5_1, m) } },
    [SL_DTYPE_Q8_0] = { 1, { offsetof(struct sl_block_q8_0, d) } },
    [SL_DTYPE_IQ4_NL] = { 1, { offsetof(struct sl_block_iq4_nl, d) } },
    [SL_DTYPE_Q2_K] = { 2, { offsetof(struct sl_block_q2_k, d),
                             offsetof(struct sl_block_q2_k, dmin) } },
    [SL_DTYPE_Q3_K] = { 1, { offsetof(struct sl_block_q3_k, d) } },
    [SL_DTYPE_Q4_K] = { 2, { offsetof(struct sl_block_q4_k, d),
                             offsetof(struct sl_block_q4_k, dmin) } },
    [SL_DTYPE_Q5_K] = { 2, { offsetof(struct sl_block_q5_k, d),
                             offsetof(struct sl_block_q5_k, dmin) } },
    [SL_DTYPE_Q6_K] = { 1, { offsetof(struct sl_block_q6_k, d) } },
    [SL_DTYPE_IQ4_XS] = { 1, { offsetof(struct sl_block_iq4_xs, d) } },
};

uint64_t bn_weights_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u; /* splitmix64 */

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

void bn_weights_floats(float *out, size_t n, uint64_t *state)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(int32_t)(bn_weights_random(state) >> 32) * 0x1p-31f;
}

/* 2^-11 to 2^-6, either sign. */
static uint16_t random_half(uint64_t *state)
{
    uint64_t bits = bn_weights_random(state);

    return (uint16_t)((bits & 0x8000u) | (0x1000u + (bits >> 32) % 0x1400u));
}

/* The upper half of a float from 2^-11 to 2^-6. */
static uint16_t random_bf16(uint64_t *state)
{
    uint64_t bits = bn_weights_random(state);

    return (uint16_t)((bits & 0x8000u) | (0x3a00u + (bits >> 32) % 0x280u));
}

void bn_weights_fill(void *out, enum sl_dtype dtype, size_t n_blocks, uint64_t *state)
{
    size_t block_bytes = sl_dtype_find(dtype)->block_bytes;
    char *at = out;

    if (dtype == SL_DTYPE_F32) {
        bn_weights_floats(out, n_blocks, state);
        return;
    }
    for (size_t b = 0; b < n_blocks; b++, at += block_bytes) {
        uint16_t half = dtype == SL_DTYPE_BF16 ? random_bf16(state) : random_half(state);

        if (halves[dtype].n == 0) {
            memcpy(at, &half, sizeof(half));
            continue;
        }
        for (size_t i = 0; i < block_bytes; i += sizeof(uint64_t)) {
            uint64_t bits = bn_weights_random(state);

            memcpy(at + i, &bits, block_bytes - i < sizeof(bits) ? block_bytes - i : sizeof(bits));
        }
        for (int i = 0; i < halves[dtype].n; i++) {
            half = random_half(state);
            memcpy(at + halves[dtype].off[i], &half, sizeof(half));
        }
    }
}
