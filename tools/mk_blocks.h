/*
 * Rows of random weights, made directly in the block format of their type. Pure.
 * Any thread.
 */
#pragma once

#include <stdint.h>

#include "tensor/dtype.h"
#include "tools/mk_random.h"

/* Columns per group of mk_blocks_row's multipliers. */
#define MK_GROUP_COLS 32

/*
 * Fill a row of n_cols weights of mean 0 and standard deviation std. group_mult: NULL,
 * or for each 32 columns a factor 0..1 on std; n_cols is then a multiple of 32.
 */
void mk_blocks_row(enum sl_dtype dtype, uint8_t *dst, uint64_t n_cols, float std,
                   const float *group_mult, struct mk_random *rng);

/*
 * Make the 32 columns from first_col on (a multiple of 32) equal to value, nearly.
 * dtype: a type that embeddings have (F32, F16, BF16, Q8_0, Q6_K).
 */
void mk_blocks_set_group(enum sl_dtype dtype, uint8_t *row, uint64_t first_col, float value);
