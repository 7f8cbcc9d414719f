/* The AVX-512 entries of the block types. */
#include "kernels/fill.h"
#include "kernels/x86/quant_avx512.h"

static struct sl_kernels_matmul entry(sl_matmul_fn one, sl_matmul_fn many)
{
    return (struct sl_kernels_matmul){
        .one = one, .many = many, .one_isa = "avx512", .many_isa = "avx512",
    };
}

static void set_one(struct sl_kernels_matmul *mm, sl_matmul_fn one)
{
    mm->one = one;
    mm->one_isa = "avx512";
}

static void set_many(struct sl_kernels_matmul *mm, sl_matmul_fn many)
{
    mm->many = many;
    mm->many_isa = "avx512";
}

void sl_kernels_fill_quant_avx512(struct sl_kernels *k)
{
    k->matmul[SL_DTYPE_Q4_0] = entry(sl_matmul_one_q4_0_avx512, sl_matmul_many_q4_0_avx512);
    /* `one` stays that of AVX2. */
    set_many(&k->matmul[SL_DTYPE_Q8_0], sl_matmul_many_q8_0_avx512);

    /* `many` stays that of AVX2. */
    set_one(&k->matmul[SL_DTYPE_Q4_1], sl_matmul_one_q4_1_avx512);
    set_one(&k->matmul[SL_DTYPE_Q5_0], sl_matmul_one_q5_0_avx512);
    set_one(&k->matmul[SL_DTYPE_Q5_1], sl_matmul_one_q5_1_avx512);
    set_one(&k->matmul[SL_DTYPE_IQ4_NL], sl_matmul_one_iq4_nl_avx512);

    k->matmul[SL_DTYPE_Q4_K] = entry(sl_matmul_one_q4_k_avx512, sl_matmul_many_q4_k_avx512);
    k->matmul[SL_DTYPE_Q5_K] = entry(sl_matmul_one_q5_k_avx512, sl_matmul_many_q5_k_avx512);
    k->matmul[SL_DTYPE_Q6_K] = entry(sl_matmul_one_q6_k_avx512, sl_matmul_many_q6_k_avx512);

    set_one(&k->matmul[SL_DTYPE_Q2_K], sl_matmul_one_q2_k_avx512);
    set_one(&k->matmul[SL_DTYPE_Q3_K], sl_matmul_one_q3_k_avx512);
    set_one(&k->matmul[SL_DTYPE_IQ4_XS], sl_matmul_one_iq4_xs_avx512);

    k->quantize = sl_quantize_avx512;
}
