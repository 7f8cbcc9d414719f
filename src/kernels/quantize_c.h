/* Quantisation of activations in C, for the table. Contract: quantize in kernels.h. */
#pragma once

#include "kernels/kernels.h"

void sl_quantize_c(struct sl_act *act, uint32_t t, const float *x);
