/*
 * Products with F32, F16 and BF16 weights, AVX-512. A tile of 4 rows x 6 tokens keeps
 * 24 of 32 registers as sums, 6 as activations and 1 or 2 as weights.
 */
#include "kernels/x86/v16_avx512.h"

#define ISA "avx512"
#define ONE_ROWS 8
#define MANY_TOK 6
#define BLOCK_TOK 24
#define BLOCK_COLS 2048

#include "kernels/x86/matmul_float_tmpl.h"

void sl_fill_matmul_float_avx512(struct sl_kernels *k)
{
    fill(k);
}
