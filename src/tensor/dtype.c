/*
 * The table of element types. Types that GGUF knows and we cannot multiply are
 * listed with their names so that an error can say which one it was.
 */
#include "tensor/dtype.h"

#include <assert.h>
#include <stddef.h>
#include <strings.h>

#include "tensor/block.h"

static const struct sl_dtype_info dtypes[SL_DTYPE_LIMIT] = {
    [SL_DTYPE_F32] = { "f32", 1, 4, true },
    [SL_DTYPE_F16] = { "f16", 1, 2, true },
    [SL_DTYPE_Q4_0] = { "q4_0", 32, sizeof(struct sl_block_q4_0), true },
    [SL_DTYPE_Q4_1] = { "q4_1", 32, sizeof(struct sl_block_q4_1), true },
    [SL_DTYPE_Q5_0] = { "q5_0", 32, sizeof(struct sl_block_q5_0), true },
    [SL_DTYPE_Q5_1] = { "q5_1", 32, sizeof(struct sl_block_q5_1), true },
    [SL_DTYPE_Q8_0] = { "q8_0", 32, sizeof(struct sl_block_q8_0), true },
    [9] = { "q8_1", 32, 36, false },
    [SL_DTYPE_Q2_K] = { "q2_k", 256, sizeof(struct sl_block_q2_k), true },
    [SL_DTYPE_Q3_K] = { "q3_k", 256, sizeof(struct sl_block_q3_k), true },
    [SL_DTYPE_Q4_K] = { "q4_k", 256, sizeof(struct sl_block_q4_k), true },
    [SL_DTYPE_Q5_K] = { "q5_k", 256, sizeof(struct sl_block_q5_k), true },
    [SL_DTYPE_Q6_K] = { "q6_k", 256, sizeof(struct sl_block_q6_k), true },
    [15] = { "q8_k", 256, 292, false },
    [16] = { "iq2_xxs", 256, 66, false },
    [17] = { "iq2_xs", 256, 74, false },
    [18] = { "iq3_xxs", 256, 98, false },
    [19] = { "iq1_s", 256, 50, false },
    [SL_DTYPE_IQ4_NL] = { "iq4_nl", 32, sizeof(struct sl_block_iq4_nl), true },
    [21] = { "iq3_s", 256, 110, false },
    [22] = { "iq2_s", 256, 82, false },
    [SL_DTYPE_IQ4_XS] = { "iq4_xs", 256, sizeof(struct sl_block_iq4_xs), true },
    [24] = { "i8", 1, 1, false },
    [25] = { "i16", 1, 2, false },
    [26] = { "i32", 1, 4, false },
    [27] = { "i64", 1, 8, false },
    [28] = { "f64", 1, 8, false },
    [29] = { "iq1_m", 256, 56, false },
    [SL_DTYPE_BF16] = { "bf16", 1, 2, true },
    [34] = { "tq1_0", 256, 54, false },
    [35] = { "tq2_0", 256, 66, false },
    [39] = { "mxfp4", 32, 17, false },
};

const struct sl_dtype_info *sl_dtype_find(uint32_t dtype)
{
    if (dtype >= SL_DTYPE_LIMIT || !dtypes[dtype].name)
        return NULL;
    return &dtypes[dtype];
}

const char *sl_dtype_name(uint32_t dtype)
{
    const struct sl_dtype_info *info = sl_dtype_find(dtype);

    return info ? info->name : "unknown";
}

int sl_dtype_from_name(const char *name)
{
    for (int i = 0; i < SL_DTYPE_LIMIT; i++)
        if (dtypes[i].name && strcasecmp(dtypes[i].name, name) == 0)
            return i;
    return -1;
}

uint64_t sl_dtype_row_bytes(enum sl_dtype dtype, uint64_t n_cols)
{
    const struct sl_dtype_info *info = sl_dtype_find(dtype);

    assert(info && n_cols % info->block_len == 0);
    return n_cols / info->block_len * info->block_bytes;
}
