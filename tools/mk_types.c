/*
 * Which type a tensor gets: the choices of llama.cpp's quantiser without an importance
 * matrix, so that sizes and mixes are those of published files. Checked against the
 * sizes of the official LFM2-24B-A2B files and against quantised test models of each
 * type.
 *
 * Norms, convolution kernels, routers and biases are F32 in every file and not asked
 * for here.
 */
#include "tools/mk_types.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum {
    FT_F32 = 0, FT_F16 = 1, FT_Q4_0 = 2, FT_Q4_1 = 3, FT_Q8_0 = 7, FT_Q5_0 = 8, FT_Q5_1 = 9,
    FT_Q2_K = 10, FT_Q3_K_M = 12, FT_Q4_K_S = 14, FT_Q4_K_M = 15, FT_Q5_K_M = 17, FT_Q6_K = 18,
    FT_IQ4_NL = 25, FT_IQ4_XS = 30, FT_BF16 = 32,
};

static const struct mk_ftype ftypes[] = {
    { "q4_k_m", FT_Q4_K_M, SL_DTYPE_Q4_K }, { "q4_k_s", FT_Q4_K_S, SL_DTYPE_Q4_K },
    { "q5_k_m", FT_Q5_K_M, SL_DTYPE_Q5_K }, { "q6_k", FT_Q6_K, SL_DTYPE_Q6_K },
    { "q8_0", FT_Q8_0, SL_DTYPE_Q8_0 },     { "q4_0", FT_Q4_0, SL_DTYPE_Q4_0 },
    { "q4_1", FT_Q4_1, SL_DTYPE_Q4_1 },     { "q5_0", FT_Q5_0, SL_DTYPE_Q5_0 },
    { "q5_1", FT_Q5_1, SL_DTYPE_Q5_1 },     { "q2_k", FT_Q2_K, SL_DTYPE_Q2_K },
    { "q3_k_m", FT_Q3_K_M, SL_DTYPE_Q3_K }, { "iq4_nl", FT_IQ4_NL, SL_DTYPE_IQ4_NL },
    { "iq4_xs", FT_IQ4_XS, SL_DTYPE_IQ4_XS }, { "f16", FT_F16, SL_DTYPE_F16 },
    { "bf16", FT_BF16, SL_DTYPE_BF16 },     { "f32", FT_F32, SL_DTYPE_F32 },
};

const struct mk_ftype *mk_types_find(const char *name)
{
    for (size_t i = 0; i < sizeof(ftypes) / sizeof(*ftypes); i++)
        if (strcasecmp(ftypes[i].name, name) == 0)
            return &ftypes[i];
    return NULL;
}

const char *mk_types_names(void)
{
    return "q4_k_m, q4_k_s, q5_k_m, q6_k, q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, q3_k_m, "
           "iq4_nl, iq4_xs, f16, bf16, f32";
}

/* The layers that the mixed types favour: the first and last eighth and every third. */
static bool use_more_bits(uint32_t i, uint32_t n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static enum sl_dtype choose_attn_v(const struct mk_ftype *ftype, const struct mk_shape *shape,
                                   uint32_t layer)
{
    uint32_t i = 0, n = 0;

    for (uint32_t l = 0; l < shape->n_layers; l++) {
        i += shape->attn[l] && l < layer;
        n += shape->attn[l];
    }
    if (shape->n_experts == 8 && shape->moe)
        return SL_DTYPE_Q8_0;
    switch (ftype->number) {
    case FT_Q2_K: /* the quantiser looks at layer 0's head counts: 0 for a convolution */
        return shape->attn[0] && shape->n_heads / shape->n_kv_heads >= 4 ? SL_DTYPE_Q4_K
                                                                          : SL_DTYPE_Q3_K;
    case FT_Q3_K_M:
        return i < 2 ? SL_DTYPE_Q5_K : SL_DTYPE_Q4_K;
    case FT_Q4_K_S:
        return i < 4 ? SL_DTYPE_Q5_K : ftype->base;
    case FT_Q4_K_M:
    case FT_Q5_K_M:
        return use_more_bits(i, n) ? SL_DTYPE_Q6_K : ftype->base;
    case FT_IQ4_NL:
    case FT_IQ4_XS:
        return shape->attn[0] && shape->n_heads / shape->n_kv_heads >= 4 ? SL_DTYPE_Q5_K
                                                                          : ftype->base;
    default:
        return ftype->base;
    }
}

static enum sl_dtype choose_ffn_down(const struct mk_ftype *ftype, const struct mk_shape *shape,
                                     uint32_t layer)
{
    uint32_t n = shape->n_layers;

    switch (ftype->number) {
    case FT_Q2_K:
        return SL_DTYPE_Q3_K;
    case FT_Q3_K_M:
        return layer < n / 16 ? SL_DTYPE_Q5_K : SL_DTYPE_Q4_K;
    case FT_Q4_K_S:
    case FT_IQ4_NL:
    case FT_IQ4_XS:
        return layer < n / 8 ? SL_DTYPE_Q5_K : ftype->base;
    case FT_Q4_K_M:
    case FT_Q5_K_M:
        return use_more_bits(layer, n) ? SL_DTYPE_Q6_K : ftype->base;
    default:
        return ftype->base;
    }
}

static enum sl_dtype choose_attn_out(const struct mk_ftype *ftype, const struct mk_shape *shape)
{
    bool eight = shape->moe && shape->n_experts == 8;

    switch (ftype->number) {
    case FT_Q2_K:
        return eight ? SL_DTYPE_Q5_K : SL_DTYPE_Q3_K;
    case FT_Q3_K_M:
        return eight ? SL_DTYPE_Q5_K : SL_DTYPE_Q4_K;
    case FT_Q4_K_S:
    case FT_Q4_K_M:
    case FT_IQ4_NL:
    case FT_IQ4_XS:
        return eight ? SL_DTYPE_Q5_K : ftype->base;
    default:
        return ftype->base;
    }
}

static enum sl_dtype choose_qkv(const struct mk_ftype *ftype)
{
    switch (ftype->number) {
    case FT_Q3_K_M:
        return SL_DTYPE_Q4_K;
    case FT_Q4_K_M:
        return SL_DTYPE_Q5_K;
    case FT_Q5_K_M:
        return SL_DTYPE_Q6_K;
    default:
        return ftype->base;
    }
}

/* A type for rows that are no whole number of blocks. */
static enum sl_dtype fit_row(enum sl_dtype dtype, uint64_t n_cols)
{
    if (n_cols % sl_dtype_find(dtype)->block_len == 0)
        return dtype;
    switch (dtype) {
    case SL_DTYPE_Q2_K:
    case SL_DTYPE_Q3_K:
    case SL_DTYPE_IQ4_XS:
        dtype = SL_DTYPE_IQ4_NL;
        break;
    case SL_DTYPE_Q4_K:
        dtype = SL_DTYPE_Q5_0;
        break;
    case SL_DTYPE_Q5_K:
        dtype = SL_DTYPE_Q5_1;
        break;
    default:
        dtype = SL_DTYPE_Q8_0;
        break;
    }
    return n_cols % sl_dtype_find(dtype)->block_len == 0 ? dtype : SL_DTYPE_F16;
}

enum sl_dtype mk_types_choose(const struct mk_ftype *ftype, const struct mk_shape *shape,
                              enum mk_role role, uint32_t layer, uint64_t n_cols)
{
    enum sl_dtype dtype = ftype->base;

    if (sl_dtype_find(dtype)->block_len == 1)
        return dtype;
    if (role == MK_ROLE_EMBED && dtype != SL_DTYPE_Q8_0)
        dtype = SL_DTYPE_Q6_K;
    else if (role == MK_ROLE_ATTN_V)
        dtype = choose_attn_v(ftype, shape, layer);
    else if (role == MK_ROLE_ATTN_K && shape->moe && shape->n_experts == 8)
        dtype = SL_DTYPE_Q8_0;
    else if (role == MK_ROLE_ATTN_QKV)
        dtype = choose_qkv(ftype);
    else if (role == MK_ROLE_ATTN_OUT)
        dtype = choose_attn_out(ftype, shape);
    else if (role == MK_ROLE_FFN_DOWN)
        dtype = choose_ffn_down(ftype, shape, layer);
    return fit_row(dtype, n_cols);
}
