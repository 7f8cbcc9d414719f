/*
 * The C kernels against double precision: products with dequantised weights and
 * dequantised activations, and activations against the floats they came from. Runs
 * at level C; the other levels equal C bit for bit.
 */
#include <math.h>
#include <string.h>

#include "blocks.h"
#include "checkkern.h"
#include "kernels/half.h"
#include "tensor/block.h"

/*
 * The bound. A block's sum is exact, its conversion to float, the product of the
 * scales and the fused step round once each: 3 roundings per block and term, over
 * n blocks with a min each, of partial sums that never exceed sum |w| * |x| if the
 * mins, which cancel inside w, are counted apart. The dequantised weight is rounded
 * once more. A product of scales may be subnormal: it is then off by up to 2^-150,
 * times an integer sum of at most 4096 (scale * value; 128 * 32 in Q6_K) * 127 an
 * element.
 */
static double bound(double sum_abs, uint32_t n_blocks, uint32_t n_cols)
{
    return (6.0 * n_blocks + 4.0) * 0x1p-24 * sum_abs + 0x1p-149 * 4096 * 127 * n_cols;
}

static void check_row(struct ck *ck, enum sl_dtype dtype, const float *w, const char *row,
                      const struct sl_act *x, float got)
{
    uint32_t len = sl_dtype_find(dtype)->block_len, n_blocks = x->n_cols / len;
    size_t block_bytes = sl_dtype_find(dtype)->block_bytes;
    double sum = 0, sum_abs = 0;

    for (uint32_t b = 0; b < n_blocks; b++) {
        double min = ck_largest_min(dtype, row + b * block_bytes);

        for (uint32_t i = b * len; i < (b + 1) * len; i++) {
            double xv = (double)x->d[b] * x->q[i];

            sum += (double)w[i] * xv;
            sum_abs += (fabs((double)w[i]) + 2 * min) * fabs(xv);
        }
    }
    ck->n_compared++;
    if (!(fabs(sum - (double)got) <= bound(sum_abs, n_blocks, x->n_cols)))
        ck_fail(ck, "want %.9g, got %.9g", sum, (double)got);
}

static void check_product(struct ck *ck, int arg)
{
    enum sl_dtype dtype = (enum sl_dtype)arg;
    uint32_t len = sl_dtype_find(dtype)->block_len;

    if (ck->isa->level != SL_CPU_C)
        return;
    for (int round = 0; round < 40; round++) {
        uint32_t n_blocks = 1 + ck_rand_below(ck, 5), n_cols = n_blocks * len, n_rows = 4;
        size_t row_bytes = sl_dtype_row_bytes(dtype, n_cols);
        char *w = ck_alloc_end(ck, n_rows * row_bytes, 2);
        float *row = ck_alloc_end(ck, n_cols * sizeof(float), 4), out[4];
        struct sl_act x = ck_make_act(ck, sl_kernels_act_kind(dtype), 1, n_cols, CK_ACTS_RANDOM);
        struct sl_tensor tensor = { .data = w, .dtype = dtype, .n_cols = n_cols,
                                    .n_rows = n_rows, .n_mats = 1, .row_bytes = row_bytes };

        ck_about("round %d, columns %u", round, n_cols);
        ck_fill_weights(ck, w, dtype, (size_t)n_rows * n_blocks, CK_WEIGHTS_RANDOM);
        ck->c->matmul[dtype].one(out, n_rows, w, row_bytes, n_rows, &x);
        for (uint32_t r = 0; r < n_rows; r++) {
            sl_dequant_row(row, &tensor, r);
            check_row(ck, dtype, row, w + r * row_bytes, &x, out[r]);
        }
        ck_free_all(ck);
    }
}

/* |x - d * q| is at most half a step, plus the rounding of d and inv. */
static void check_quantize(struct ck *ck, int arg)
{
    enum sl_act_kind kind = (enum sl_act_kind)arg;
    uint32_t len = kind == SL_ACT_Q32 ? SL_BLOCK32 : SL_BLOCK256;
    char *buf;
    struct sl_act act;
    float x[512];

    if (ck->isa->level != SL_CPU_C)
        return;
    buf = ck_alloc_end(ck, sl_act_bytes(kind, 3, 512), 64);
    sl_act_init(&act, kind, 3, 512, buf);
    for (int round = 0; round < 100; round++) {
        float size = ldexpf(1, (int)ck_rand_below(ck, 180) - 90);

        ck_about("round %d", round);
        for (int i = 0; i < 512; i++)
            x[i] = ck_rand_normal(ck) * size;
        ck->c->quantize(&act, 1, x);
        for (uint32_t i = 0; i < 512; i++) {
            size_t i_block = i / len * 3 + 1;
            double d = act.d[i_block], q = act.q[i_block * len + i % len];

            ck->n_compared++;
            if (!(fabs(x[i] - d * q) <= d * 0.50005))
                ck_fail(ck, "element %u: %.9g became %g * %g", i, (double)x[i], d, q);
            if (i % 16 == 0) {
                int sum = 0;

                for (uint32_t j = 0; j < 16; j++)
                    sum += act.q[i_block * len + i % len + j];
                if (sum != act.sums[i_block * (len / 16) + i % len / 16])
                    ck_fail(ck, "sum of 16 at %u", i);
            }
        }
    }
}

/* Every half to float and back; every tie and its neighbours between two halves. */
static void check_half(struct ck *ck, int arg)
{
    if (ck->isa->level != SL_CPU_C)
        return;
    for (uint32_t h = 0; h < 0x10000; h++) {
        uint32_t mag = h & 0x7fff, e = mag >> 10;
        float got = sl_f16_to_f32((uint16_t)h);
        double want = e ? ldexp(1024 + (mag & 1023), (int)e - 25) : ldexp(mag, -24);

        ck_about("half %04x", h);
        ck->n_compared++;
        if (mag > 0x7c00) {
            if (!isnan(got) || sl_f16_from_f32(got) != (h | 0x200))
                ck_fail(ck, "NaN became %g", (double)got);
            continue;
        }
        if (mag == 0x7c00)
            want = INFINITY;
        if ((double)got != (h & 0x8000 ? -want : want) || sl_f16_from_f32(got) != h)
            ck_fail(ck, "is %g, want %g, back %04x", (double)got, want, sl_f16_from_f32(got));
        if (mag < 0x7c00) {
            /* The tie above this half; 65520 is the one above the largest. */
            double next = mag == 0x7bff ? 65536 : fabs((double)sl_f16_to_f32((uint16_t)(mag + 1)));
            float tie = (float)((want + next) / 2);
            uint16_t even = (uint16_t)(mag + (mag & 1));

            if (sl_f16_from_f32(tie) != even || sl_f16_from_f32(nextafterf(tie, 0)) != mag ||
                sl_f16_from_f32(nextafterf(tie, INFINITY)) != mag + 1)
                ck_fail(ck, "rounding at %a", (double)tie);
        }
    }
}

static const struct ck_case cases[] = {
    { "half", 0, check_half, NULL },
    { "quantize_q32", SL_ACT_Q32, check_quantize, NULL },
    { "quantize_q256", SL_ACT_Q256, check_quantize, NULL },
    { "q4_0", SL_DTYPE_Q4_0, check_product, NULL },
    { "q4_1", SL_DTYPE_Q4_1, check_product, NULL },
    { "q5_0", SL_DTYPE_Q5_0, check_product, NULL },
    { "q5_1", SL_DTYPE_Q5_1, check_product, NULL },
    { "q8_0", SL_DTYPE_Q8_0, check_product, NULL },
    { "iq4_nl", SL_DTYPE_IQ4_NL, check_product, NULL },
    { "q2_k", SL_DTYPE_Q2_K, check_product, NULL },
    { "q3_k", SL_DTYPE_Q3_K, check_product, NULL },
    { "q4_k", SL_DTYPE_Q4_K, check_product, NULL },
    { "q5_k", SL_DTYPE_Q5_K, check_product, NULL },
    { "q6_k", SL_DTYPE_Q6_K, check_product, NULL },
    { "iq4_xs", SL_DTYPE_IQ4_XS, check_product, NULL },
};

const struct ck_group ck_group_definition = { "definition", cases,
                                              sizeof(cases) / sizeof(cases[0]) };
