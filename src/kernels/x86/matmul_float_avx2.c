/*
 * Products with F32, F16 and BF16 weights, AVX2. A v16 is two of 16 registers: 2 rows
 * x 3 tokens keep 12 as sums; with one token, 4 rows are 8 sums, the least that
 * hides fma's latency of 4 at two per cycle.
 */
#include "kernels/x86/v16_avx2.h"

#define ISA "avx2"
#define ONE_ROWS 4
#define MANY_ROWS 2
#define MANY_TOK 3

#include "kernels/x86/matmul_float_tmpl.h"

void sl_fill_matmul_float_avx2(struct sl_kernels *k)
{
    fill(k);
}
