/*
 * A random model in which every part matters. Written for measuring: the residual
 * stream stays sane through 80 blocks, each block can be missed in the logits, and the
 * routing looks like a trained model's from outside.
 *
 * Scales. The embedding has standard deviation UNIT. A block reads the normalised
 * stream (variance 1); matrices are scaled by their fan-in, so that its inner values
 * have variance 1 too, and its last matrix so that its output has rms gain * UNIT. The
 * stream's variance thus grows by gain^2 per block, linearly. The final norm's mean
 * brings the logits to a standard deviation of LOGIT_STD; its signs are random, since
 * otherwise, the output matrix being the embedding, every token would predict itself.
 *
 * Routers. Row e of a router has length s_e, 0.85 to 1.15: its scores have deviation s_e.
 * The bias b_e puts the expert's chance of being chosen back to k/E, as training with
 * a balancing bias does: sigmoid(t s_e) + b_e is the same for all, with t the quantile
 * of a normal that k/E lie above. So the bias is needed for the right choice, and all
 * experts are equally popular.
 *
 * Recall. What the next layer's router says of this layer's state depends on how much
 * the two blocks between them turn the stream: by 1 - 2 gain^2 / variance, which is why
 * the gain sets it.
 */
#include "tools/mk_plan.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "tools/mk_blocks.h"
#include "tools/mk_random.h"

#define UNIT 0.25
#define LOGIT_STD 3.0
#define NORM_SPREAD 0.1f
#define ROUTER_SPREAD 0.15
/* E[silu(x)^2] of a normal x: integral of x^2 / (1 + e^-x)^2 with its density. */
#define SILU_VAR 0.3558
/* What attention leaves of its values' variance: sum of squared weights, with scores of
 * deviation 2, between 1 (one key) and some 0.3 (hundreds). */
#define ATTEND_VAR 0.5
#define QK_MEAN 1.414f

/* Position of a number in 0..1, in both signs and symmetric: the inverse of the normal
 * distribution's upper tail. */
static double normal_quantile_above(double share)
{
    double low = -9, high = 9;

    for (int i = 0; i < 80; i++) {
        double mid = (low + high) / 2;

        if (0.5 * erfc(mid / M_SQRT2) > share)
            low = mid;
        else
            high = mid;
    }
    return (low + high) / 2;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* s_e of an expert, 1 - ROUTER_SPREAD .. 1 + ROUTER_SPREAD. */
static double router_scale(const struct mk_plan *plan, uint32_t layer, uint64_t expert)
{
    struct mk_random rng =
        mk_random_at(mk_random_name(plan->opts.seed, "router scale") + layer, expert);

    return 1 + ROUTER_SPREAD * (2 * (double)mk_random_unit(&rng) - 1);
}

static void fill_bias(const struct mk_plan *plan, const struct mk_tensor *tensor, float *dst)
{
    const struct mk_shape *s = &plan->opts.shape;
    double share = (double)s->n_used / s->n_experts;
    double t = share < 1 ? normal_quantile_above(share) : 0;

    for (uint32_t e = 0; e < s->n_experts; e++)
        dst[e] = (float)(sigmoid(t) - sigmoid(t * router_scale(plan, tensor->layer, e)));
}

static void fill_norm(const struct mk_tensor *tensor, float *dst, struct mk_random *rng)
{
    for (uint64_t i = 0; i < tensor->ne[0]; i++)
        dst[i] = tensor->std * (1 + NORM_SPREAD * mk_random_normal(rng));
}

/* n normal numbers, scaled to a given length. */
static void fill_direction(float *dst, uint64_t n, double length, struct mk_random *rng)
{
    double sum = 0;

    for (uint64_t i = 0; i < n; i++) {
        dst[i] = mk_random_normal(rng);
        sum += (double)dst[i] * dst[i];
    }
    for (uint64_t i = 0; i < n; i++)
        dst[i] = (float)(dst[i] * length / sqrt(sum + 1e-30));
}

void mk_plan_row(const struct mk_plan *plan, const struct mk_tensor *tensor, uint64_t row,
                 uint8_t *dst)
{
    struct mk_random rng = mk_random_at(tensor->key, row);
    float *numbers = (float *)(void *)dst;

    switch (tensor->fill) {
    case MK_FILL_MATRIX:
        mk_blocks_row(tensor->dtype, dst, tensor->ne[0], tensor->std, tensor->col_mult, &rng);
        return;
    case MK_FILL_NORM:
    case MK_FILL_QK:
        fill_norm(tensor, numbers, &rng);
        return;
    case MK_FILL_FINAL:
        fill_norm(tensor, numbers, &rng);
        for (uint64_t i = 0; i < tensor->ne[0]; i++)
            numbers[i] = mk_random_next(&rng) & 1 ? numbers[i] : -numbers[i];
        return;
    case MK_FILL_TAPS:
        fill_direction(numbers, tensor->ne[0], 1, &rng);
        return;
    case MK_FILL_ROUTER:
        fill_direction(numbers, tensor->ne[0], router_scale(plan, tensor->layer, row), &rng);
        return;
    case MK_FILL_BIAS:
        fill_bias(plan, tensor, numbers);
        return;
    }
}

/* Appends to plan->tensors, which has room: see tensors_max. */
static struct mk_tensor *add(struct mk_plan *plan, enum mk_fill fill, uint64_t n_cols,
                             uint64_t n_rows, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

static struct mk_tensor *add(struct mk_plan *plan, enum mk_fill fill, uint64_t n_cols,
                             uint64_t n_rows, const char *fmt, ...)
{
    struct mk_tensor *t = &plan->tensors[plan->n_tensors++];
    va_list args;

    *t = (struct mk_tensor){
        .n_dims = n_rows ? 2 : 1,
        .ne = { n_cols, n_rows ? n_rows : 1, 1 },
        .dtype = SL_DTYPE_F32,
        .n_rows = n_rows ? n_rows : 1,
        .fill = fill,
    };
    va_start(args, fmt);
    (void)vsnprintf(t->name, sizeof(t->name), fmt, args); /* names are short */
    va_end(args);
    t->key = mk_random_name(plan->opts.seed, t->name);
    t->row_bytes = sl_dtype_row_bytes(t->dtype, n_cols);
    return t;
}

/* Vectors; n_rows 0. */
static struct mk_tensor *add_norm(struct mk_plan *plan, uint32_t layer, const char *what,
                                  uint64_t n, double mean)
{
    struct mk_tensor *t = add(plan, MK_FILL_NORM, n, 0, "blk.%u.%s.weight", layer, what);

    t->layer = layer;
    t->std = (float)mean;
    return t;
}

struct matrix {
    const char *what;
    enum mk_role role;
    uint64_t n_cols, n_rows;
    double out_rms; /* wanted of its outputs */
    double in_rms;  /* of its inputs */
};

static struct mk_tensor *add_matrix(struct mk_plan *plan, uint32_t layer,
                                    const struct matrix *m, uint32_t n_experts)
{
    struct mk_tensor *t = add(plan, MK_FILL_MATRIX, m->n_cols, m->n_rows, "blk.%u.%s.weight",
                              layer, m->what);

    t->layer = layer;
    t->role = m->role;
    t->dtype = mk_types_choose(plan->opts.ftype, &plan->opts.shape, m->role, layer, m->n_cols);
    t->row_bytes = sl_dtype_row_bytes(t->dtype, m->n_cols);
    t->std = (float)(m->out_rms / (m->in_rms * sqrt((double)m->n_cols)));
    if (n_experts) {
        t->n_dims = 3;
        t->ne[2] = n_experts;
        t->n_rows *= n_experts;
    }
    return t;
}

static void add_attention(struct mk_plan *plan, uint32_t layer, double out_rms)
{
    const struct mk_shape *s = &plan->opts.shape;
    uint64_t n_q = (uint64_t)s->n_heads * s->head_dim;
    uint64_t n_kv = (uint64_t)s->n_kv_heads * s->head_dim;
    struct matrix q = { "attn_q", MK_ROLE_OTHER, s->width, n_q, 1, 1 };
    struct matrix k = { "attn_k", MK_ROLE_ATTN_K, s->width, n_kv, 1, 1 };
    struct matrix v = { "attn_v", MK_ROLE_ATTN_V, s->width, n_kv, 1, 1 };
    struct matrix qkv = { "attn_qkv", MK_ROLE_ATTN_QKV, s->width, n_q + 2 * n_kv, 1, 1 };
    struct matrix out = { "attn_output", MK_ROLE_ATTN_OUT, n_q, s->width, out_rms,
                          sqrt(ATTEND_VAR) };
    struct mk_tensor *norm;

    add_matrix(plan, layer, &out, 0)->to_stream = true;
    if (plan->opts.fuse_qkv) {
        add_matrix(plan, layer, &qkv, 0);
    } else {
        add_matrix(plan, layer, &q, 0);
        add_matrix(plan, layer, &k, 0);
        add_matrix(plan, layer, &v, 0);
    }
    norm = add_norm(plan, layer, "attn_q_norm", s->head_dim, QK_MEAN);
    norm->fill = MK_FILL_QK;
    norm = add_norm(plan, layer, "attn_k_norm", s->head_dim, QK_MEAN);
    norm->fill = MK_FILL_QK;
}

static void add_conv(struct mk_plan *plan, uint32_t layer, double out_rms)
{
    const struct mk_shape *s = &plan->opts.shape;
    struct matrix in = { "shortconv.in_proj", MK_ROLE_OTHER, s->width, 3 * s->width, 1, 1 };
    struct matrix out = { "shortconv.out_proj", MK_ROLE_OTHER, s->width, s->width, out_rms, 1 };

    add(plan, MK_FILL_TAPS, s->l_cache, s->width, "blk.%u.shortconv.conv.weight", layer);
    add_matrix(plan, layer, &in, 0);
    add_matrix(plan, layer, &out, 0)->to_stream = true;
}

static void add_dense(struct mk_plan *plan, uint32_t layer, double out_rms)
{
    const struct mk_shape *s = &plan->opts.shape;
    struct matrix gate = { "ffn_gate", MK_ROLE_OTHER, s->width, s->ff, 1, 1 };
    struct matrix up = { "ffn_up", MK_ROLE_OTHER, s->width, s->ff, 1, 1 };
    struct matrix down = { "ffn_down", MK_ROLE_FFN_DOWN, s->ff, s->width, out_rms,
                           sqrt(SILU_VAR) };

    add_matrix(plan, layer, &down, 0)->to_stream = true;
    add_matrix(plan, layer, &gate, 0);
    add_matrix(plan, layer, &up, 0);
}

/* The weights of the n_used experts are nearly equal and sum to 1, so the variance of
 * their sum is 1 / n_used of one expert's. */
static void add_moe(struct mk_plan *plan, uint32_t layer, double out_rms)
{
    const struct mk_shape *s = &plan->opts.shape;
    struct matrix gate = { "ffn_gate_exps", MK_ROLE_OTHER, s->width, s->expert_ff, 1, 1 };
    struct matrix up = { "ffn_up_exps", MK_ROLE_OTHER, s->width, s->expert_ff, 1, 1 };
    struct matrix down = { "ffn_down_exps", MK_ROLE_FFN_DOWN, s->expert_ff, s->width,
                           out_rms * sqrt(s->n_used), sqrt(SILU_VAR) };
    struct mk_tensor *t;

    t = add(plan, MK_FILL_BIAS, s->n_experts, 0, "blk.%u.exp_probs_b.bias", layer);
    t->layer = layer;
    add_matrix(plan, layer, &down, s->n_experts)->to_stream = true;
    add_matrix(plan, layer, &gate, s->n_experts);
    t = add(plan, MK_FILL_ROUTER, s->width, s->n_experts, "blk.%u.ffn_gate_inp.weight", layer);
    t->layer = layer;
    add_matrix(plan, layer, &up, s->n_experts);
}

static void add_layers(struct mk_plan *plan)
{
    const struct mk_shape *s = &plan->opts.shape;
    double out_rms = plan->opts.gain * UNIT;

    for (uint32_t l = 0; l < s->n_layers; l++) {
        add_norm(plan, l, "attn_norm", s->width, 1);
        if (s->attn[l])
            add_attention(plan, l, out_rms);
        else
            add_conv(plan, l, out_rms);
        add_norm(plan, l, "ffn_norm", s->width, 1);
        if (mk_shape_is_moe(s, l))
            add_moe(plan, l, out_rms);
        else
            add_dense(plan, l, out_rms);
    }
}

int mk_plan_new(struct mk_plan **ret_plan, const struct mk_plan_opts *opts,
                struct sl_diag *diag)
{
    const struct mk_shape *s = &opts->shape;
    struct mk_plan *plan = calloc(1, sizeof(*plan));
    struct mk_tensor *t;

    if (plan)
        plan->tensors = calloc(2 + 14 * (size_t)s->n_layers, sizeof(*plan->tensors));
    if (!plan || !plan->tensors) {
        mk_plan_free(plan);
        return sl_diag_set(diag, -ENOMEM, "no memory for the list of tensors");
    }
    plan->opts = *opts;

    t = add(plan, MK_FILL_MATRIX, s->width, s->n_vocab, "token_embd.weight");
    t->dtype = mk_types_choose(opts->ftype, s, MK_ROLE_EMBED, 0, s->width);
    t->row_bytes = sl_dtype_row_bytes(t->dtype, s->width);
    t->role = MK_ROLE_EMBED;
    t->std = UNIT;
    t = add(plan, MK_FILL_FINAL, s->width, 0, "%s.weight", opts->norm_name);
    t->std = (float)(LOGIT_STD / (UNIT * sqrt(s->width)));
    add_layers(plan);
    *ret_plan = plan;
    return 0;
}

void mk_plan_free(struct mk_plan *plan)
{
    if (!plan)
        return;
    free(plan->mults);
    free(plan->tensors);
    free(plan);
}
