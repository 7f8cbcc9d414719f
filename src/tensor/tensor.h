/*
 * A view of a matrix or stack of matrices in memory that someone else owns.
 * Values are copied freely. Dimensions are in GGUF order, fastest first:
 * ne[0] = columns (the length of a row), ne[1] = rows, ne[2] = experts.
 */
#pragma once

#include <stdint.h>

#include "tensor/dtype.h"

struct sl_tensor {
    const void *data; /* borrowed; aligned to 2 bytes at least (4 for F32) */
    enum sl_dtype dtype;
    uint32_t n_cols;    /* ne[0] */
    uint32_t n_rows;    /* ne[1], 1 for a vector */
    uint32_t n_mats;    /* ne[2], 1 unless experts */
    uint64_t row_bytes; /* sl_dtype_row_bytes(dtype, n_cols) */
};

/* The i-th matrix of a stack, as a tensor with n_mats = 1. */
static inline struct sl_tensor sl_tensor_mat(const struct sl_tensor *t, uint32_t i)
{
    struct sl_tensor m = *t;

    m.data = (const char *)t->data + t->row_bytes * t->n_rows * i;
    m.n_mats = 1;
    return m;
}

/* Bytes of one matrix of a stack. */
static inline uint64_t sl_tensor_mat_bytes(const struct sl_tensor *t)
{
    return t->row_bytes * t->n_rows;
}
