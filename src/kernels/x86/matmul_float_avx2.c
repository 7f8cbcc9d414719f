/*
 * Products with F32, F16 and BF16 weights, AVX2. A v16 is two of 16 registers: with one
 * token, 4 rows are 8 sums, the least that hides fma's latency of 4 at two per cycle.
 * A tile of halves, 4 rows x 3 tokens, keeps 12 registers as sums, 3 as activations
 * and 1 as weight; whole v16 allow 2 x 3, which loads 10 times per 12 fma, not 7, and
 * took 1.3 times as long with F16 weights.
 */
#include "kernels/x86/v16_avx2.h"

#define ISA "avx2"
#define ONE_ROWS 4
#define MANY_TOK 3
#define BLOCK_TOK 24
#define BLOCK_COLS 1024

#include "kernels/x86/matmul_float_tmpl.h"

void sl_fill_matmul_float_avx2(struct sl_kernels *k)
{
    fill(k);
}
