/*
 * Element types of tensors, by their GGUF numbers, with block lengths and sizes.
 * The one place that knows how many bytes a row has. Any thread.
 *
 * Source of numbers and layouts: the GGUF specification (ggml's docs/gguf.md);
 * layouts are written out in tensor/block.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum sl_dtype {
    SL_DTYPE_F32 = 0,
    SL_DTYPE_F16 = 1,
    SL_DTYPE_Q4_0 = 2,
    SL_DTYPE_Q4_1 = 3,
    SL_DTYPE_Q5_0 = 6,
    SL_DTYPE_Q5_1 = 7,
    SL_DTYPE_Q8_0 = 8,
    SL_DTYPE_Q2_K = 10,
    SL_DTYPE_Q3_K = 11,
    SL_DTYPE_Q4_K = 12,
    SL_DTYPE_Q5_K = 13,
    SL_DTYPE_Q6_K = 14,
    SL_DTYPE_IQ4_NL = 20,
    SL_DTYPE_IQ4_XS = 23,
    SL_DTYPE_BF16 = 30,
    SL_DTYPE_LIMIT = 64, /* every number that GGUF files use lies below this */
};

struct sl_dtype_info {
    const char *name;     /* "q4_k", as in llama.cpp's type names but lower case */
    uint16_t block_len;   /* elements per block; a row is a whole number of blocks */
    uint16_t block_bytes; /* bytes per block */
    bool supported;       /* false: known by name and size only */
};

/* Info of a type, or NULL if the number means nothing to us. */
const struct sl_dtype_info *sl_dtype_find(uint32_t dtype);

/* Name of any type number; "type 77" style text for unknown ones is not made: "unknown". */
const char *sl_dtype_name(uint32_t dtype);

/* Type by name, in either case, or -1. */
int sl_dtype_from_name(const char *name);

/*
 * Bytes of a row of n_cols elements. n_cols must be a multiple of the block length
 * and dtype supported (both asserted; files are checked when they are opened).
 */
uint64_t sl_dtype_row_bytes(enum sl_dtype dtype, uint64_t n_cols);
