/*
 * The C products of the block types, for the table; each serves one token and many.
 * Contract: sl_matmul_fn in kernels.h.
 */
#pragma once

#include "kernels/kernels.h"

void sl_matmul_q4_0_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x);
void sl_matmul_q4_1_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x);
void sl_matmul_q5_0_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x);
void sl_matmul_q5_1_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x);
void sl_matmul_q8_0_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x);
void sl_matmul_iq4_nl_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                        size_t n_rows, const struct sl_act *x);

void sl_matmul_q2_k_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x);
void sl_matmul_q3_k_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x);
void sl_matmul_q4_k_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x);
void sl_matmul_q5_k_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x);
void sl_matmul_q6_k_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                      size_t n_rows, const struct sl_act *x);
void sl_matmul_iq4_xs_c(float *out, size_t out_stride, const void *w, size_t row_bytes,
                        size_t n_rows, const struct sl_act *x);
