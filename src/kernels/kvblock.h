/*
 * Where things lie in a KV block; the layout itself is in kernels.h. Any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* Positions whose scores are computed together, one in each lane. */
#define SL_KV_GROUP 16
/* Elements that share a scale in SL_KV_Q8_0. */
#define SL_KV_Q8_LEN 32

/* Bytes of one element of K or V, without scales. */
static inline size_t sl_kvblock_elem_bytes(enum sl_kv_type type)
{
    return type == SL_KV_F32 ? 4 : type == SL_KV_F16 ? 2 : 1;
}

/* Bytes of the scales of K or V. */
static inline size_t sl_kvblock_scale_bytes(enum sl_kv_type type, size_t head_dim)
{
    return type == SL_KV_Q8_0 ? 2 * SL_KV_BLOCK_TOK * (head_dim / SL_KV_Q8_LEN) : 0;
}

/* Bytes of K, which are those of V and V's offset. */
static inline size_t sl_kvblock_half_bytes(enum sl_kv_type type, size_t head_dim)
{
    return SL_KV_BLOCK_TOK * head_dim * sl_kvblock_elem_bytes(type) +
           sl_kvblock_scale_bytes(type, head_dim);
}

/* Bytes from the elements of K or V to their scales. */
static inline size_t sl_kvblock_scale_off(enum sl_kv_type type, size_t head_dim)
{
    return SL_KV_BLOCK_TOK * head_dim * sl_kvblock_elem_bytes(type);
}

/* Index of element d of position pos in K, and of the scale of its block of 32. */
static inline size_t sl_kvblock_k_index(size_t head_dim, size_t pos, size_t d)
{
    return (pos / SL_KV_GROUP * head_dim + d) * SL_KV_GROUP + pos % SL_KV_GROUP;
}

static inline size_t sl_kvblock_k_scale_index(size_t head_dim, size_t pos, size_t d)
{
    return sl_kvblock_k_index(head_dim / SL_KV_Q8_LEN, pos, d / SL_KV_Q8_LEN);
}

/* The same for V. */
static inline size_t sl_kvblock_v_index(size_t head_dim, size_t pos, size_t d)
{
    return pos * head_dim + d;
}

static inline size_t sl_kvblock_v_scale_index(size_t head_dim, size_t pos, size_t d)
{
    return pos * (head_dim / SL_KV_Q8_LEN) + d / SL_KV_Q8_LEN;
}
