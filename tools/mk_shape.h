/*
 * What a model that mkmodel writes looks like: presets of the LFM2 family and the
 * rules that a shape must keep. No I/O. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define MK_LAYERS_MAX 256

enum mk_routing {
    MK_ROUTING_UNIFORM = 0, /* experts chosen by the token alone */
    MK_ROUTING_LOCAL,       /* and by what came before it: see mk_plan.c */
};

struct mk_shape {
    const char *name;
    bool moe; /* lfm2moe, else lfm2 */
    uint32_t n_layers;
    bool attn[MK_LAYERS_MAX]; /* attention, else short convolution */
    uint32_t width;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t ff;        /* of dense layers */
    uint32_t expert_ff; /* the rest: MoE only */
    uint32_t n_experts;
    uint32_t n_used;
    uint32_t n_dense; /* leading dense layers */
    uint32_t n_vocab;
    uint32_t l_cache;
    uint32_t ctx;
    double theta;
};

/* A preset by name. Returns 0 or -ENOENT. */
int mk_shape_preset(struct mk_shape *ret_shape, const char *name);

/* "24b, 8b-a1b, ...": for messages. */
const char *mk_shape_preset_names(void);

/* Attention layers from text, as "2,6,10" or "none". Returns 0 or -EINVAL. */
int mk_shape_set_attn(struct mk_shape *shape, const char *list);

/* Returns 0, or -ERANGE with the rule that is broken. */
int mk_shape_check(const struct mk_shape *shape, enum mk_routing routing, struct sl_diag *diag);

/* The layer's FFN has experts. */
static inline bool mk_shape_is_moe(const struct mk_shape *shape, uint32_t layer)
{
    return shape->moe && layer >= shape->n_dense;
}
