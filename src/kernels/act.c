/*
 * Activations: which kind a weight type wants, and how the arrays of a struct
 * sl_act lie in one buffer. Order: f32 alone, or q, d, sums; each starts at a
 * multiple of 64 bytes.
 */
#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "kernels/kernels.h"
#include "tensor/block.h"

#define ACT_ALIGN 64
#define SUM_LEN 16 /* elements behind one entry of sums */

struct act_layout {
    size_t q_bytes, d_bytes, sums_bytes; /* each a multiple of ACT_ALIGN */
};

static uint32_t block_len(enum sl_act_kind kind)
{
    return kind == SL_ACT_Q32 ? SL_BLOCK32 : SL_BLOCK256;
}

static struct act_layout quant_layout(enum sl_act_kind kind, uint32_t n_tok, uint32_t n_cols)
{
    size_t n = (size_t)n_tok * n_cols;

    assert(n_cols % block_len(kind) == 0);
    return (struct act_layout){
        .q_bytes = sl_align_up(n, ACT_ALIGN),
        .d_bytes = sl_align_up(n / block_len(kind) * sizeof(float), ACT_ALIGN),
        .sums_bytes = sl_align_up(n / SUM_LEN * sizeof(int16_t), ACT_ALIGN),
    };
}

enum sl_act_kind sl_kernels_act_kind(enum sl_dtype dtype)
{
    const struct sl_dtype_info *info = sl_dtype_find(dtype);

    assert(info && info->supported);
    if (info->block_len == 1)
        return SL_ACT_F32;
    return info->block_len == SL_BLOCK32 ? SL_ACT_Q32 : SL_ACT_Q256;
}

size_t sl_act_bytes(enum sl_act_kind kind, uint32_t n_tok, uint32_t n_cols)
{
    struct act_layout layout;

    if (kind == SL_ACT_F32)
        return sl_align_up((size_t)n_tok * n_cols * sizeof(float), ACT_ALIGN);
    layout = quant_layout(kind, n_tok, n_cols);
    return layout.q_bytes + layout.d_bytes + layout.sums_bytes;
}

void sl_act_init(struct sl_act *act, enum sl_act_kind kind, uint32_t n_tok,
                 uint32_t n_cols, void *buf)
{
    struct act_layout layout;
    char *at = buf;

    assert((uintptr_t)buf % ACT_ALIGN == 0);
    *act = (struct sl_act){ .kind = kind, .n_tok = n_tok, .n_cols = n_cols };
    if (kind == SL_ACT_F32) {
        act->f32 = buf;
        return;
    }
    layout = quant_layout(kind, n_tok, n_cols);
    act->q = (int8_t *)at;
    act->d = (float *)(at + layout.q_bytes);
    act->sums = (int16_t *)(at + layout.q_bytes + layout.d_bytes);
}

void sl_act_copy_tok(struct sl_act *dst, uint32_t to, const struct sl_act *src,
                     uint32_t from)
{
    size_t len, n_sums;

    assert(dst->kind == src->kind && dst->n_cols == src->n_cols);
    assert(to < dst->n_tok && from < src->n_tok);
    if (src->kind == SL_ACT_F32) {
        memcpy(dst->f32 + (size_t)to * dst->n_cols, src->f32 + (size_t)from * src->n_cols,
               src->n_cols * sizeof(float));
        return;
    }
    len = block_len(src->kind);
    n_sums = len / SUM_LEN;
    for (size_t b = 0; b < src->n_cols / len; b++) {
        size_t i_to = b * dst->n_tok + to, i_from = b * src->n_tok + from;

        memcpy(dst->q + i_to * len, src->q + i_from * len, len);
        dst->d[i_to] = src->d[i_from];
        memcpy(dst->sums + i_to * n_sums, src->sums + i_from * n_sums,
               n_sums * sizeof(int16_t));
    }
}
