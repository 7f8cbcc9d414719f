/*
 * The parts that sl_kernels_init puts together: each function fills the entries of
 * one family at one CPU level and leaves the others alone. Called in table.c only,
 * lower levels first, so that a level need not have every entry.
 *
 * quant: matmul of the block types, quantize. float: matmul of F32, F16 and BF16,
 * vector operations, attention.
 */
#pragma once

#include "kernels/kernels.h"

void sl_kernels_fill_quant_c(struct sl_kernels *k);
void sl_kernels_fill_quant_avx2(struct sl_kernels *k);
void sl_kernels_fill_quant_avx512(struct sl_kernels *k);

void sl_kernels_fill_float_c(struct sl_kernels *k);
void sl_kernels_fill_float_avx2(struct sl_kernels *k);
void sl_kernels_fill_float_avx512(struct sl_kernels *k);
