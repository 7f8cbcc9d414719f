/*
 * The shape of a model, read from a file's metadata and checked. Nothing about LFM2
 * is hard-coded that a file can say: layer map, taps, heads, experts, theta, ids.
 * Called by the engine and by tools. Plain data; any thread.
 *
 * Source of the keys: llama.cpp's converter for Lfm2ForCausalLM and
 * Lfm2MoeForCausalLM; what other writers do differently is noted in hparams.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "loader/gguf.h"

#define SL_LAYERS_MAX 256u
#define SL_WIDTH_MAX 65536u
#define SL_HEADS_MAX 1024u
#define SL_HEAD_DIM_MAX 256u
#define SL_EXPERTS_MAX 1024u
#define SL_EXPERTS_USED_MAX 64u
#define SL_TAPS_MAX 16u
#define SL_CTX_MAX (1u << 24)

struct sl_hparams {
    bool is_moe;               /* architecture "lfm2moe" rather than "lfm2" */
    uint32_t n_layers;         /* 1..SL_LAYERS_MAX */
    uint32_t width;            /* embedding length */
    uint32_t n_ctx_train;      /* the file's context length, positions */
    uint32_t n_heads;          /* query heads of attention layers; 0 if there are none */
    uint32_t n_heads_kv[SL_LAYERS_MAX]; /* 0: a short-convolution layer */
    uint32_t head_dim;         /* even */
    uint32_t n_taps;           /* shortconv.l_cache, 2..SL_TAPS_MAX */
    uint32_t n_dense;          /* leading layers with a dense FFN (all, if not MoE) */
    uint32_t n_experts;        /* 0 if not MoE */
    uint32_t n_experts_used;   /* 1..n_experts */
    float norm_eps;
    double rope_theta;
    uint32_t n_attn_layers, n_conv_layers; /* derived */
};

/* -ENOTSUP: architecture or a feature, named; -EBADMSG: a key missing, of another
 * type, or a value outside its range, with what was found. */
int sl_hparams_read(struct sl_hparams *ret_hp, const struct sl_gguf *gguf,
                    struct sl_diag *diag);
