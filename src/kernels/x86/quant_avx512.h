/*
 * The AVX-512 products of the block types and the quantisation of activations, for
 * the table. `one` computes token 0 of x alone; `many` takes any number of tokens.
 * Contract: sl_matmul_fn and quantize in kernels.h.
 */
#pragma once

#include "kernels/kernels.h"

void sl_matmul_one_q4_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q4_1_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q5_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q5_1_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x);
void sl_matmul_one_iq4_nl_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                 size_t n_rows, const struct sl_act *x);

void sl_matmul_many_q4_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q8_0_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x);

void sl_matmul_one_q2_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q3_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x);
void sl_matmul_one_iq4_xs_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                 size_t n_rows, const struct sl_act *x);

void sl_matmul_one_q4_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q4_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q5_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q5_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x);
void sl_matmul_one_q6_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                               size_t n_rows, const struct sl_act *x);
void sl_matmul_many_q6_k_avx512(float *out, size_t out_stride, const void *w, size_t row_bytes,
                                size_t n_rows, const struct sl_act *x);

void sl_quantize_avx512(struct sl_act *act, uint32_t t, const float *x);
