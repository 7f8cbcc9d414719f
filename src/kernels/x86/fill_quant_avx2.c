/* The AVX2 entries of the block types. */
#include "kernels/fill.h"
#include "kernels/x86/quant_avx2.h"

static struct sl_kernels_matmul entry(sl_matmul_fn one, sl_matmul_fn many)
{
    return (struct sl_kernels_matmul){
        .one = one, .many = many, .one_isa = "avx2", .many_isa = "avx2",
    };
}

void sl_kernels_fill_quant_avx2(struct sl_kernels *k)
{
    k->matmul[SL_DTYPE_Q4_0] = entry(sl_matmul_one_q4_0_avx2, sl_matmul_many_q4_0_avx2);
    k->matmul[SL_DTYPE_Q4_1] = entry(sl_matmul_one_q4_1_avx2, sl_matmul_many_q4_1_avx2);
    k->matmul[SL_DTYPE_Q5_0] = entry(sl_matmul_one_q5_0_avx2, sl_matmul_many_q5_0_avx2);
    k->matmul[SL_DTYPE_Q5_1] = entry(sl_matmul_one_q5_1_avx2, sl_matmul_many_q5_1_avx2);
    k->matmul[SL_DTYPE_Q8_0] = entry(sl_matmul_one_q8_0_avx2, sl_matmul_many_q8_0_avx2);
    k->matmul[SL_DTYPE_IQ4_NL] = entry(sl_matmul_one_iq4_nl_avx2, sl_matmul_many_iq4_nl_avx2);

    k->matmul[SL_DTYPE_Q2_K] = entry(sl_matmul_one_q2_k_avx2, sl_matmul_many_q2_k_avx2);
    k->matmul[SL_DTYPE_Q3_K] = entry(sl_matmul_one_q3_k_avx2, sl_matmul_many_q3_k_avx2);
    k->matmul[SL_DTYPE_Q4_K] = entry(sl_matmul_one_q4_k_avx2, sl_matmul_many_q4_k_avx2);
    k->matmul[SL_DTYPE_Q5_K] = entry(sl_matmul_one_q5_k_avx2, sl_matmul_many_q5_k_avx2);
    k->matmul[SL_DTYPE_Q6_K] = entry(sl_matmul_one_q6_k_avx2, sl_matmul_many_q6_k_avx2);
    k->matmul[SL_DTYPE_IQ4_XS] = entry(sl_matmul_one_iq4_xs_avx2, sl_matmul_many_iq4_xs_avx2);

    k->quantize = sl_quantize_avx2;
}
