/*
 * The model's tensors, found by name, checked against the shape, and arranged by
 * layer. Matrices stay where the file's mapping has them; the small vectors (norms,
 * convolution taps, expert biases) are copied to F32, because they are used
 * elementwise. Made by the engine; read-only afterwards, any thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "loader/gguf.h"
#include "model/hparams.h"
#include "tensor/tensor.h"

enum sl_role {
    SL_ROLE_EMBED,  /* token embeddings, also the output matrix when tied */
    SL_ROLE_OUTPUT, /* a separate output matrix */
    SL_ROLE_NORM,
    SL_ROLE_ATTN,
    SL_ROLE_CONV,
    SL_ROLE_DENSE,  /* dense FFN */
    SL_ROLE_ROUTER, /* router and expert bias */
    SL_ROLE_EXPERT,
    SL_ROLE_OTHER,  /* in the file, not used */
    SL_ROLE_COUNT,
};

/* What a tensor's name says it is for. */
enum sl_role sl_weights_role(struct sl_gguf_str name);
const char *sl_weights_role_name(enum sl_role role);

struct sl_layer {
    const float *op_norm;  /* [width], before the operator */
    const float *ffn_norm; /* [width] */
    /* attention: n_heads_kv > 0 */
    struct sl_tensor q, k, v, o;
    const float *q_norm, *k_norm; /* [head_dim] */
    /* short convolution */
    struct sl_tensor in_proj, out_proj;
    const float *taps; /* [width][n_taps], the newest sample's tap last */
    /* dense FFN, or stacks of experts */
    struct sl_tensor gate, up, down;
    struct sl_tensor router;  /* MoE: [n_experts] rows */
    const float *expert_bias; /* MoE: [n_experts] */
};

struct sl_weights {
    struct sl_tensor embed, output; /* output == embed when tied */
    const float *final_norm;        /* [width] */
    struct sl_layer *layers;        /* [n_layers], owned */
    float *vectors;                 /* all F32 copies, owned */
    uint32_t n_vocab;
    uint32_t ff_max;        /* widest dense FFN, 0 if none */
    uint32_t expert_ff_max; /* widest expert, 0 if none */
    uint64_t shared_bytes;  /* that every step reads: operators, dense FFNs, routers */
    uint64_t token_bytes;   /* bytes of weights that one decoded token reads */
};

/* Of a file opened headless: the shapes; matrices have no data, vectors are zeros.
 * -EBADMSG: a tensor missing (named) or of the wrong shape (expected and found);
 * -ENOTSUP: an element type we cannot multiply (named); -ENOMEM. */
int sl_weights_init(struct sl_weights *ret_w, const struct sl_hparams *hp,
                    const struct sl_gguf *gguf, struct sl_diag *diag);
void sl_weights_done(struct sl_weights *w); /* all zeroes are allowed */

/* Matrices of a layer that are no experts: q k v o, in out, gate up down, router. */
#define SL_SHARED_PER_LAYER 10u

/*
 * The matrices that every token needs, embedding and output first; those that there are.
 * ret_views has room for 2 + SL_SHARED_PER_LAYER * n_layers. Returns how many.
 */
uint32_t sl_weights_list_shared(struct sl_weights *w, const struct sl_hparams *hp,
                                struct sl_tensor **ret_views);
