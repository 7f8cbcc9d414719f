/* The C entries of the block types: one function for one token and for many. */
#include "kernels/fill.h"
#include "kernels/matmul_c.h"
#include "kernels/quantize_c.h"

static struct sl_kernels_matmul entry(sl_matmul_fn fn)
{
    return (struct sl_kernels_matmul){ .one = fn, .many = fn, .one_isa = "c", .many_isa = "c" };
}

void sl_kernels_fill_quant_c(struct sl_kernels *k)
{
    k->matmul[SL_DTYPE_Q4_0] = entry(sl_matmul_q4_0_c);
    k->matmul[SL_DTYPE_Q4_1] = entry(sl_matmul_q4_1_c);
    k->matmul[SL_DTYPE_Q5_0] = entry(sl_matmul_q5_0_c);
    k->matmul[SL_DTYPE_Q5_1] = entry(sl_matmul_q5_1_c);
    k->matmul[SL_DTYPE_Q8_0] = entry(sl_matmul_q8_0_c);
    k->matmul[SL_DTYPE_IQ4_NL] = entry(sl_matmul_iq4_nl_c);

    k->matmul[SL_DTYPE_Q2_K] = entry(sl_matmul_q2_k_c);
    k->matmul[SL_DTYPE_Q3_K] = entry(sl_matmul_q3_k_c);
    k->matmul[SL_DTYPE_Q4_K] = entry(sl_matmul_q4_k_c);
    k->matmul[SL_DTYPE_Q5_K] = entry(sl_matmul_q5_k_c);
    k->matmul[SL_DTYPE_Q6_K] = entry(sl_matmul_q6_k_c);
    k->matmul[SL_DTYPE_IQ4_XS] = entry(sl_matmul_iq4_xs_c);

    k->quantize = sl_quantize_c;
}
