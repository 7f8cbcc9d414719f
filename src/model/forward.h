/*
 * Running a step. forward.c is the whole model on one screen; the other functions are
 * its parts, each called by every worker of the step, each leaving the operator's or
 * FFN's contribution added to the rows of x that belong to the worker's own tokens.
 */
#pragma once

#include "model/step.h"

/* Compute the layers [step->layer, layer_end) on all workers of the step's pool, before the
 * first the embedding, after the last the logits; layer_end is then where to go on. 0; -EIO
 * or -EBADMSG if an expert could not be read: then the step's results are void. */
int sl_forward_run(struct sl_step *step, uint32_t layer_end);

/* u = RMSNorm(x) for all tokens, quantised into acts in `kinds`; ends in a barrier. */
void sl_forward_norm(struct sl_worker *w, const float *norm, struct sl_acts *ret_acts,
                     uint32_t kinds);

/* Project op rows (already quantised in acts) by `proj` and add the result to x; then comes
 * `next`. */
void sl_forward_project(struct sl_worker *w, const struct sl_tensor *proj,
                        const struct sl_acts *acts, struct sl_next next);

/* With what a layer's operator begins (of the layer behind the last one: the output), and
 * with what its FFN does. */
struct sl_next sl_forward_operator(const struct sl_worker *w, uint32_t layer);
struct sl_next sl_forward_ffn(const struct sl_worker *w, uint32_t layer);

void sl_attn_forward(struct sl_worker *w, uint32_t layer);
void sl_conv_forward(struct sl_worker *w, uint32_t layer);
void sl_dense_forward(struct sl_worker *w, uint32_t layer);
int sl_moe_forward(struct sl_worker *w, uint32_t layer); /* as sl_forward_run */
