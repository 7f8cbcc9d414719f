/*
 * The parts of the float family: each fills the entries that its file defines, at
 * its CPU level. Called in fill_float.c only.
 */
#pragma once

#include "kernels/kernels.h"

void sl_fill_matmul_float_c(struct sl_kernels *k);
void sl_fill_matmul_float_avx2(struct sl_kernels *k);
void sl_fill_matmul_float_avx512(struct sl_kernels *k);

void sl_fill_vecops_c(struct sl_kernels *k);
void sl_fill_vecops_avx2(struct sl_kernels *k);
void sl_fill_vecops_avx512(struct sl_kernels *k);

void sl_fill_attend_c(struct sl_kernels *k);
void sl_fill_attend_avx2(struct sl_kernels *k);
void sl_fill_attend_avx512(struct sl_kernels *k);
