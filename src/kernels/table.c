/*
 * The table of kernels: C for every entry, then what each CPU level has better.
 * One function, top to bottom; an entry that a level does not set stays as the
 * level below left it.
 */
#include "kernels/fill.h"
#include "kernels/kernels.h"

void sl_kernels_init(struct sl_kernels *k, enum sl_cpu_level level)
{
    *k = (struct sl_kernels){ .level = level };

    sl_kernels_fill_quant_c(k);
    sl_kernels_fill_float_c(k);
    if (level < SL_CPU_AVX2)
        return;

    sl_kernels_fill_quant_avx2(k);
    sl_kernels_fill_float_avx2(k);
    if (level < SL_CPU_AVX512)
        return;

    sl_kernels_fill_quant_avx512(k);
    sl_kernels_fill_float_avx512(k);
}
