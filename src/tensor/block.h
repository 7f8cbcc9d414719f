/*
 * Layouts of the block types in GGUF files, as the files hold them: packed,
 * little-endian, aligned to 2 bytes (F32 to 4). No operations here.
 *
 * The comment of each type gives the value of element i of its block. `d`, `m`,
 * `dmin` are IEEE half floats, kept as their 16 bits. Source: ggml's block
 * structures and dequantisation, as published in the GGUF documentation; checked
 * for every type against an independent float64 reader.
 */
#pragma once

#include <stdint.h>

#define SL_BLOCK32 32
#define SL_BLOCK256 256

/* d * (q_i - 8); q_i = low nibble of qs[i] for i < 16, high nibble of qs[i - 16] after. */
struct sl_block_q4_0 {
    uint16_t d;
    uint8_t qs[16];
};

/* d * q_i + m; nibbles as in Q4_0. */
struct sl_block_q4_1 {
    uint16_t d;
    uint16_t m;
    uint8_t qs[16];
};

/* d * (q_i - 16); q_i = nibble as in Q4_0 | bit i of qh << 4. */
struct sl_block_q5_0 {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
};

/* d * q_i + m; q_i as in Q5_0. */
struct sl_block_q5_1 {
    uint16_t d;
    uint16_t m;
    uint8_t qh[4];
    uint8_t qs[16];
};

/* d * qs[i]. */
struct sl_block_q8_0 {
    uint16_t d;
    int8_t qs[32];
};

/*
 * 16 sub-blocks of 16. d * (scales[j] & 15) * q - dmin * (scales[j] >> 4), j = i / 16.
 * q_i: half h = i / 128, group g = (i % 128) / 32: (qs[32 h + i % 32] >> 2 g) & 3.
 */
struct sl_block_q2_k {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d;
    uint16_t dmin;
};

/*
 * 16 sub-blocks of 16. d * (sc_j - 32) * (q2_i - 4 * (1 - high_i)), q2 as in Q2_K,
 * high_i = bit (i / 32) of hmask[i % 32]. sc_j: low 4 bits from scales[j % 8] (low
 * nibble for j < 8), high 2 bits: (scales[8 + j % 4] >> 2 (j / 4)) & 3.
 */
struct sl_block_q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
};

/*
 * 8 sub-blocks of 32. d * sc_j * q - dmin * mn_j. Quarter p = i / 64: low nibbles of
 * qs[32 p ..] are elements 64 p .. 64 p + 31, high nibbles the next 32.
 * sc_j, mn_j (6 bits): j < 4: scales[j] & 63, scales[j + 4] & 63; j >= 4: low 4 bits
 * from scales[j + 4] (low nibble sc, high nibble mn), high 2 bits from the top of
 * scales[j - 4] (sc) and scales[j] (mn).
 */
struct sl_block_q4_k {
    uint16_t d;
    uint16_t dmin;
    uint8_t scales[12];
    uint8_t qs[128];
};

/* As Q4_K, with bit (i / 32) of qh[i % 32] as the fifth bit of q. */
struct sl_block_q5_k {
    uint16_t d;
    uint16_t dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
};

/*
 * 16 sub-blocks of 16. d * scales[j] * (q - 32). Half h = i / 128, group g =
 * (i % 128) / 32, c = i % 32: low 4 bits are the low (g < 2) or high nibble of
 * ql[64 h + 32 (g % 2) + c], high 2 bits (qh[32 h + c] >> 2 g) & 3.
 */
struct sl_block_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
};

/* d * sl_iq4_values[q_i]; nibbles as in Q4_0. */
struct sl_block_iq4_nl {
    uint16_t d;
    uint8_t qs[16];
};

/*
 * 8 sub-blocks of 32: d * (sc_j - 32) * sl_iq4_values[q]; nibbles of qs[16 j ..] as in
 * Q4_0. sc_j: low 4 bits nibble j of scales_l, high 2 bits (scales_h >> 2 j) & 3.
 */
struct sl_block_iq4_xs {
    uint16_t d;
    uint16_t scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
};

/* The 16 levels of the IQ4 types. */
#define SL_IQ4_VALUES                                                          \
    {                                                                          \
        -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89,   \
            113                                                                \
    }

_Static_assert(sizeof(struct sl_block_q4_0) == 18, "layout");
_Static_assert(sizeof(struct sl_block_q4_1) == 20, "layout");
_Static_assert(sizeof(struct sl_block_q5_0) == 22, "layout");
_Static_assert(sizeof(struct sl_block_q5_1) == 24, "layout");
_Static_assert(sizeof(struct sl_block_q8_0) == 34, "layout");
_Static_assert(sizeof(struct sl_block_q2_k) == 84, "layout");
_Static_assert(sizeof(struct sl_block_q3_k) == 110, "layout");
_Static_assert(sizeof(struct sl_block_q4_k) == 144, "layout");
_Static_assert(sizeof(struct sl_block_q5_k) == 176, "layout");
_Static_assert(sizeof(struct sl_block_q6_k) == 210, "layout");
_Static_assert(sizeof(struct sl_block_iq4_nl) == 18, "layout");
_Static_assert(sizeof(struct sl_block_iq4_xs) == 136, "layout");
