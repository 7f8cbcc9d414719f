/*
 * AVX2 kernels of the block types, for the table. Contracts: sl_matmul_fn and
 * quantize in kernels.h.
 */
#pragma once

#include "kernels/kernels.h"

void sl_matmul_one_q4_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q4_1_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q5_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q5_1_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q8_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x);
void sl_matmul_one_iq4_nl_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q2_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q3_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q4_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q5_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q6_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                             size_t n_rows, const struct sl_act *x);
void sl_matmul_one_iq4_xs_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x);

void sl_matmul_many_q4_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q4_1_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q5_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q5_1_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q8_0_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x);
void sl_matmul_many_iq4_nl_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q2_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q3_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q4_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q5_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q6_k_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                              size_t n_rows, const struct sl_act *x);
void sl_matmul_many_iq4_xs_avx2(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x);

void sl_quantize_avx2(struct sl_act *act, uint32_t t, const float *x);
