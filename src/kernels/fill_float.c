/* The float family's entries, put together from its files, level by level. */
#include "kernels/fill_float.h"
#include "kernels/fill.h"

void sl_kernels_fill_float_c(struct sl_kernels *k)
{
    sl_fill_matmul_float_c(k);
    sl_fill_vecops_c(k);
    sl_fill_attend_c(k);
}

void sl_kernels_fill_float_avx2(struct sl_kernels *k)
{
    sl_fill_matmul_float_avx2(k);
    sl_fill_vecops_avx2(k);
    sl_fill_attend_avx2(k);
}

void sl_kernels_fill_float_avx512(struct sl_kernels *k)
{
    sl_fill_matmul_float_avx512(k);
    sl_fill_vecops_avx512(k);
    sl_fill_attend_avx512(k);
}
