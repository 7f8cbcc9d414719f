/*
 * The tensors of a model to be written, and their contents row by row. After
 * mk_plan_new a plan is only read: rows may be made by any thread in any order and
 * depend on the options and the seed alone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "tensor/dtype.h"
#include "tools/mk_shape.h"
#include "tools/mk_types.h"

struct mk_plan_opts {
    struct mk_shape shape;
    const struct mk_ftype *ftype; /* borrowed */
    enum mk_routing routing;
    double gain; /* rms of a block's output, as a share of the stream's */
    uint64_t seed;
    bool fuse_qkv;         /* one attn_qkv in place of attn_q, attn_k, attn_v */
    const char *norm_name; /* of the final norm, without ".weight"; borrowed */
};

#define MK_PLAN_GAIN 0.17
#define MK_PLAN_GAIN_MAX 10.0

enum mk_fill {
    MK_FILL_MATRIX = 0,
    MK_FILL_NORM,   /* values around a mean */
    MK_FILL_FINAL,  /* the same with random signs */
    MK_FILL_QK,     /* norm of queries and keys */
    MK_FILL_TAPS,   /* rows of length 1 */
    MK_FILL_ROUTER, /* rows whose scores have a given variance */
    MK_FILL_BIAS,   /* what makes the router's experts equally popular */
};

struct mk_tensor {
    char name[64];
    uint32_t n_dims;
    uint64_t ne[3]; /* fastest first */
    enum sl_dtype dtype;
    uint64_t n_rows;
    uint64_t row_bytes;

    enum mk_fill fill;
    enum mk_role role;
    uint32_t layer;
    float std;             /* MATRIX: of its weights; norms: mean */
    bool to_stream;        /* its rows write the residual stream */
    uint64_t key;          /* of its random numbers */

    /* For local routing, see mk_plan.c; unused otherwise */
    const float *col_mult; /* per 32 columns, or NULL; borrowed from the plan */
    float const_mean;      /* NORM: of the constant columns; else equal to std */
    float context_std;     /* to_stream: of the rows of context columns */
    float content_length, context_length; /* ROUTER: of the parts of a row */
};

enum mk_mult {
    MK_MULT_QUERY = 0,
    MK_MULT_CONTENT,
    MK_MULT_COUNT,
};

struct mk_plan {
    struct mk_plan_opts opts;
    struct mk_tensor *tensors;
    uint32_t n_tensors;
    float *mults[MK_MULT_COUNT]; /* factors on columns, for local routing */
};

/* The shape must have passed mk_shape_check. Returns 0, -ENOMEM or -ERANGE. */
int mk_plan_new(struct mk_plan **ret_plan, const struct mk_plan_opts *opts,
                struct sl_diag *diag);
void mk_plan_free(struct mk_plan *plan); /* NULL is allowed */

/* Make row `row` of a tensor: tensor->row_bytes bytes. */
void mk_plan_row(const struct mk_plan *plan, const struct mk_tensor *tensor, uint64_t row,
                 uint8_t *dst);
