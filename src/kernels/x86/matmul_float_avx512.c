/*
 * Products with F32, F16 and BF16 weights, AVX-512. 4 rows x 6 tokens keep 24 of 32
 * registers as sums, 4 as weights and 1 as activations.
 */
#include "kernels/x86/v16_avx512.h"

#define ISA "avx512"
#define ONE_ROWS 8
#define MANY_ROWS 4
#define MANY_TOK 6

#include "kernels/x86/matmul_float_tmpl.h"

void sl_fill_matmul_float_avx512(struct sl_kernels *k)
{
    fill(k);
}
