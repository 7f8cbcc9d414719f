/*
 * Rounding to the nearest of 255 steps per block of 32: the largest element of a block
 * decides its step.
 */
#include "model/ahead.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "kernels/half.h"
#include "tensor/block.h"

static void round_block(struct sl_block_q8_0 *block, const float *x)
{
    float largest = 0, d;

    for (int i = 0; i < SL_BLOCK32; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    block->d = sl_f16_from_f32(largest / 127);
    d = sl_f16_to_f32(block->d);
    for (int i = 0; i < SL_BLOCK32; i++) {
        float q = d > 0 ? rintf(x[i] / d) : 0;

        /* what is no number becomes 0 */
        block->qs[i] = (int8_t)(q > 127 ? 127 : q < -127 ? -127 : isnan(q) ? 0 : q);
    }
}

static bool can_round(const struct sl_tensor *t)
{
    return sl_kernels_act_kind(t->dtype) == SL_ACT_F32 && t->n_cols % SL_BLOCK32 == 0;
}

/* 0 or -ENOMEM. */
static int round_router(struct sl_tensor *ret_t, const struct sl_tensor *t,
                        struct sl_block_q8_0 *blocks)
{
    uint32_t n_blocks = t->n_cols / SL_BLOCK32;
    float *row = malloc(sizeof(*row) * t->n_cols);

    if (!row)
        return -ENOMEM;
    for (uint32_t r = 0; r < t->n_rows; r++) {
        sl_dequant_row(row, t, r);
        for (uint32_t b = 0; b < n_blocks; b++)
            round_block(&blocks[(size_t)r * n_blocks + b], row + (size_t)b * SL_BLOCK32);
    }
    free(row);
    *ret_t = *t;
    ret_t->data = blocks;
    ret_t->dtype = SL_DTYPE_Q8_0;
    ret_t->row_bytes = sl_dtype_row_bytes(SL_DTYPE_Q8_0, t->n_cols);
    return 0;
}

int sl_ahead_init(struct sl_ahead *ret_ahead, const struct sl_weights *w,
                  const struct sl_hparams *hp)
{
    size_t n_per_layer = (size_t)hp->n_experts * (hp->width / SL_BLOCK32);
    struct sl_ahead a = {
        .routers = calloc(hp->n_layers, sizeof(*a.routers)),
        .blocks = malloc(sizeof(struct sl_block_q8_0) * (n_per_layer * hp->n_layers + 1)),
    };
    struct sl_block_q8_0 *blocks = a.blocks;
    int r = a.routers && a.blocks ? 0 : -ENOMEM;

    for (uint32_t i = hp->n_dense; i < hp->n_layers && r == 0; i++) {
        a.routers[i] = w->layers[i].router;
        if (can_round(&w->layers[i].router))
            r = round_router(&a.routers[i], &w->layers[i].router, blocks + n_per_layer * i);
    }
    if (r < 0) {
        sl_ahead_done(&a);
        return r;
    }
    *ret_ahead = a;
    return 0;
}

void sl_ahead_done(struct sl_ahead *a)
{
    free(a->routers);
    free(a->blocks);
    *a = (struct sl_ahead){ 0 };
}
