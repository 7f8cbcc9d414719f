/*
 * Activations to int8 blocks, in C. The largest magnitude is taken on the bits:
 * a NaN is then larger than infinity and infinity larger than every number, so
 * that d shows both whatever the order of the elements.
 */
#include <math.h>

#include "base/bytes.h"
#include "kernels/quantize_c.h"
#include "tensor/block.h"

static float largest(const float *x, size_t n)
{
    uint32_t max = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t mag = sl_f32_bits(x[i]) & 0x7fffffffu;

        if (mag > max)
            max = mag;
    }
    return sl_f32_from_bits(max);
}

static void quantize_block(struct sl_act *act, size_t i_block, const float *x, size_t len)
{
    int8_t *q = act->q + i_block * len;
    int16_t *sums = act->sums + i_block * (len / 16);
    float amax = largest(x, len);
    float inv = amax >= SL_ACT_AMAX_MIN ? 127.0f / amax : 0.0f;

    act->d[i_block] = amax / 127.0f;
    for (size_t i = 0; i < len; i += 16) {
        int sum = 0;

        for (size_t j = i; j < i + 16; j++) {
            float v = x[j] * inv;

            q[j] = isnan(v) ? INT8_MIN : (int8_t)lrintf(v);
            sum += q[j];
        }
        sums[i / 16] = (int16_t)sum;
    }
}

void sl_quantize_c(struct sl_act *act, uint32_t t, const float *x)
{
    size_t len = act->kind == SL_ACT_Q32 ? SL_BLOCK32 : SL_BLOCK256;

    if (act->kind == SL_ACT_F32) {
        memcpy(act->f32 + (size_t)t * act->n_cols, x, act->n_cols * sizeof(float));
        return;
    }
    for (size_t b = 0; b < act->n_cols / len; b++)
        quantize_block(act, b * act->n_tok + t, x + b * len, len);
}
