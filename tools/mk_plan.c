/*
 * A random model in which every part matters. Written for measuring: the residual
 * stream stays sane through 80 blocks, each block can be missed in the logits, and the
 * routing looks like a trained model's from outside. `mkmodel --check` measures all
 * that is claimed here.
 *
 * Scales. The embedding has standard deviation UNIT. A block reads the normalised
 * stream; matrices are scaled by their fan-in, so that its inner values have variance 1,
 * and its last matrix so that its output has gain times the stream's rms. The stream
 * thus grows by sqrt(1 + gain^2) per block: 3.1 times over the 80 blocks of the 24b
 * shape. The final norm's mean brings the logits to a standard deviation of LOGIT_STD;
 * its signs are random, since otherwise, the output matrix being the embedding, every
 * token would predict itself.
 *
 * Routers. Row e of a router has length s_e, 0.85 to 1.15: its scores have deviation s_e.
 * The bias b_e puts the expert's chance of being chosen back to k/E, as training with
 * a balancing bias does: sigmoid(t s_e) + b_e is the same for all, with t the quantile
 * of a normal that k/E lie above. So the bias is needed for the right choice, and all
 * experts are equally popular.
 *
 * Recall. What the next layer's router says of this layer's state depends on how much
 * the two blocks between turn the stream: the cosine is 1 / (1 + gain^2).
 *
 * Local routing. Experts of a trained model are chosen again because the text goes on
 * about the same thing: usage is balanced over a corpus and not over a paragraph. A
 * skewed bias would give the same reuse with the same experts for ever, which no cache
 * policy could get wrong; so here something varies slowly, and must come from random
 * ids. Columns of the stream are divided, 32 by 32, into eight classes:
 *     0      constant: the embedding has the same value there for every token
 *     1      context: written by attention, hardly by anything else
 *     2..7   content: as in a uniform model
 * Queries read the constant columns nearly alone, so that each head asks the same at
 * every position. Keys read content. So every head finds some tokens salient; and since
 * queries and keys are turned by their positions, with weights (attn_q_norm, attn_k_norm)
 * that favour pairs turning about BAND_TOK tokens per radian, which token that is changes
 * every few tens of tokens, at any context length. Its value goes to the context columns,
 * and routers take CONTEXT_SHARE of their scores' variance from there.
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
/* Past this the stream grows no more, whatever the gain: F32 ends at 1e38. */
#define GROWTH_MAX 1e6

/* Local routing */
#define N_CLASSES 8
#define CLASS_CONST 0
#define CLASS_CONTEXT 1
#define CONST_VALUE 1.5     /* of the constant columns, in UNIT */
#define CONST_READ 2.0      /* rms with which attention sees them */
#define CONST_MUTED 0.02f   /* weight of all other norms there */
#define QUERY_CONTENT 0.1f  /* what queries read of the other columns */
#define ROW_MUTED 0.1f      /* blocks' outputs to columns that are not theirs */
#define CONTEXT_SHARE 0.66
#define BAND_TOK 48.0
#define BAND_SCORE 4.0 /* deviation of the scores */
#define BAND_REST 0.25f

/* The number that a share of a normal distribution lies above. */
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

static uint32_t class_of(uint64_t col)
{
    return (uint32_t)(col / MK_GROUP_COLS % N_CLASSES);
}

static void fill_norm(const struct mk_tensor *tensor, float *dst, struct mk_random *rng)
{
    for (uint64_t i = 0; i < tensor->ne[0]; i++) {
        float mean = class_of(i) == CLASS_CONST ? tensor->const_mean : tensor->std;

        dst[i] = mean * (1 + NORM_SPREAD * mk_random_normal(rng));
    }
}

/* Weights of queries and keys for local routing: large for the pairs in the band. */
static void fill_band(const struct mk_plan *plan, float *dst, struct mk_random *rng)
{
    const struct mk_shape *s = &plan->opts.shape;
    uint32_t half = s->head_dim / 2;
    uint32_t n_band = half / 5 ? half / 5 : 1;
    double middle = half * log(BAND_TOK) / log(s->theta);
    double first = fmin(fmax(0, round(middle - n_band / 2.0)), half - n_band);
    double high = sqrt(BAND_SCORE * sqrt(s->head_dim / (2.0 * n_band)));

    for (uint32_t i = 0; i < s->head_dim; i++) {
        bool in_band = i % half >= (uint32_t)first && i % half < (uint32_t)first + n_band;

        dst[i] = (in_band ? (float)high : BAND_REST) * (1 + NORM_SPREAD * mk_random_normal(rng));
    }
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

/* A router's row: content and context columns apart, so that each gets its share. */
static void fill_router(const struct mk_plan *plan, const struct mk_tensor *tensor, uint64_t row,
                        float *dst, struct mk_random *rng)
{
    double scale = router_scale(plan, tensor->layer, row);
    double sum[N_CLASSES] = { 0 };
    double factor[2];

    if (plan->opts.routing == MK_ROUTING_UNIFORM) {
        fill_direction(dst, tensor->ne[0], scale, rng);
        return;
    }
    for (uint64_t i = 0; i < tensor->ne[0]; i++) {
        dst[i] = mk_random_normal(rng);
        sum[class_of(i) == CLASS_CONTEXT] += (double)dst[i] * dst[i];
    }
    factor[0] = scale * tensor->content_length / sqrt(sum[0]);
    factor[1] = scale * tensor->context_length / sqrt(sum[1]);
    for (uint64_t i = 0; i < tensor->ne[0]; i++)
        dst[i] = class_of(i) == CLASS_CONST
                     ? 0
                     : (float)(dst[i] * factor[class_of(i) == CLASS_CONTEXT]);
}

static void fill_matrix(const struct mk_plan *plan, const struct mk_tensor *tensor, uint64_t row,
                        uint8_t *dst, struct mk_random *rng)
{
    uint64_t n_cols = tensor->ne[0];
    uint64_t n_q = (uint64_t)plan->opts.shape.n_heads * plan->opts.shape.head_dim;
    const float *mult = tensor->col_mult;
    float std = tensor->std;

    if (plan->opts.routing == MK_ROUTING_UNIFORM) {
        mk_blocks_row(tensor->dtype, dst, n_cols, std, NULL, rng);
        return;
    }
    if (tensor->to_stream && class_of(row % tensor->ne[1]) == CLASS_CONST)
        std *= ROW_MUTED;
    else if (tensor->to_stream && class_of(row % tensor->ne[1]) == CLASS_CONTEXT)
        std = tensor->context_std;
    if (tensor->role == MK_ROLE_ATTN_QKV && row >= n_q)
        mult = plan->mults[MK_MULT_CONTENT];
    mk_blocks_row(tensor->dtype, dst, n_cols, std, mult, rng);
    if (tensor->role == MK_ROLE_EMBED)
        for (uint64_t col = 0; col < n_cols; col += MK_GROUP_COLS * N_CLASSES)
            mk_blocks_set_group(tensor->dtype, dst, col, (float)(CONST_VALUE * UNIT));
}

void mk_plan_row(const struct mk_plan *plan, const struct mk_tensor *tensor, uint64_t row,
                 uint8_t *dst)
{
    struct mk_random rng = mk_random_at(tensor->key, row);
    float *numbers = (float *)(void *)dst;

    switch (tensor->fill) {
    case MK_FILL_MATRIX:
        fill_matrix(plan, tensor, row, dst, &rng);
        return;
    case MK_FILL_QK:
        if (plan->opts.routing == MK_ROUTING_LOCAL)
            fill_band(plan, numbers, &rng);
        else
            fill_norm(tensor, numbers, &rng);
        return;
    case MK_FILL_NORM:
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
        fill_router(plan, tensor, row, numbers, &rng);
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

/*
 * What is expected of the stream where the plan has got to: variances of a column of
 * each kind, in UNIT^2. In a uniform model all columns are content.
 */
struct stream {
    double content, context, constant;
    double content_cols, context_cols, const_cols; /* shares of all columns */
};

static double stream_var(const struct stream *x)
{
    return x->content * x->content_cols + x->context * x->context_cols +
           x->constant * x->const_cols;
}

/* rms of what a block without constant columns reads of the normalised stream. */
static double read_rms(const struct stream *x)
{
    return sqrt((x->content * x->content_cols + x->context * x->context_cols) / stream_var(x));
}

static struct mk_tensor *add_norm(struct mk_plan *plan, uint32_t layer, const char *what,
                                  uint64_t n, double mean)
{
    struct mk_tensor *t = add(plan, MK_FILL_NORM, n, 0, "blk.%u.%s.weight", layer, what);
    bool muted = plan->opts.routing == MK_ROUTING_LOCAL;

    t->layer = layer;
    t->std = (float)mean;
    t->const_mean = t->std * (muted ? CONST_MUTED : 1);
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
    t->context_std = t->std * ROW_MUTED;
    if (n_experts) {
        t->n_dims = 3;
        t->ne[2] = n_experts;
        t->n_rows *= n_experts;
    }
    return t;
}

static void add_qk_norm(struct mk_plan *plan, uint32_t layer, const char *what)
{
    struct mk_tensor *t = add_norm(plan, layer, what, plan->opts.shape.head_dim, QK_MEAN);

    t->fill = MK_FILL_QK;
    t->const_mean = t->std; /* a head's columns are not the stream's */
}

/* Queries are normalised, so only values need the right scale. */
static void add_attention(struct mk_plan *plan, uint32_t layer, double out_rms,
                          struct stream *x)
{
    const struct mk_shape *s = &plan->opts.shape;
    bool local = plan->opts.routing == MK_ROUTING_LOCAL;
    double in_rms = sqrt(x->content * x->content_cols / stream_var(x));
    uint64_t n_q = (uint64_t)s->n_heads * s->head_dim;
    uint64_t n_kv = (uint64_t)s->n_kv_heads * s->head_dim;
    struct matrix q = { "attn_q", MK_ROLE_OTHER, s->width, n_q, 1, in_rms };
    struct matrix k = { "attn_k", MK_ROLE_ATTN_K, s->width, n_kv, 1, in_rms };
    struct matrix v = { "attn_v", MK_ROLE_ATTN_V, s->width, n_kv, 1, in_rms };
    struct matrix qkv = { "attn_qkv", MK_ROLE_ATTN_QKV, s->width, n_q + 2 * n_kv, 1, in_rms };
    struct matrix out = { "attn_output", MK_ROLE_ATTN_OUT, n_q, s->width, out_rms,
                          sqrt(ATTEND_VAR) };
    struct mk_tensor *t = &plan->tensors[plan->n_tensors - 1]; /* attn_norm */
    double context = fmax(x->content - x->context, 0.02 * x->content);

    if (local)
        t->const_mean = (float)(CONST_READ * sqrt(stream_var(x) / x->constant));
    t = add_matrix(plan, layer, &out, 0);
    t->to_stream = true;
    t->context_std = t->std * (float)(sqrt(context) * UNIT / out_rms);
    if (local)
        x->context += context;
    if (plan->opts.fuse_qkv) {
        add_matrix(plan, layer, &qkv, 0)->col_mult = plan->mults[MK_MULT_QUERY];
    } else {
        add_matrix(plan, layer, &q, 0)->col_mult = plan->mults[MK_MULT_QUERY];
        add_matrix(plan, layer, &k, 0)->col_mult = plan->mults[MK_MULT_CONTENT];
        add_matrix(plan, layer, &v, 0)->col_mult = plan->mults[MK_MULT_CONTENT];
    }
    add_qk_norm(plan, layer, "attn_q_norm");
    add_qk_norm(plan, layer, "attn_k_norm");
}

static void add_conv(struct mk_plan *plan, uint32_t layer, double out_rms, double in_rms)
{
    const struct mk_shape *s = &plan->opts.shape;
    struct matrix in = { "shortconv.in_proj", MK_ROLE_OTHER, s->width, 3 * s->width, 1, in_rms };
    struct matrix out = { "shortconv.out_proj", MK_ROLE_OTHER, s->width, s->width, out_rms, 1 };

    add(plan, MK_FILL_TAPS, s->l_cache, s->width, "blk.%u.shortconv.conv.weight", layer);
    add_matrix(plan, layer, &in, 0);
    add_matrix(plan, layer, &out, 0)->to_stream = true;
}

static void add_dense(struct mk_plan *plan, uint32_t layer, double out_rms, double in_rms)
{
    const struct mk_shape *s = &plan->opts.shape;
    struct matrix gate = { "ffn_gate", MK_ROLE_OTHER, s->width, s->ff, 1, in_rms };
    struct matrix up = { "ffn_up", MK_ROLE_OTHER, s->width, s->ff, 1, in_rms };
    struct matrix down = { "ffn_down", MK_ROLE_FFN_DOWN, s->ff, s->width, out_rms,
                           sqrt(SILU_VAR) };

    add_matrix(plan, layer, &down, 0)->to_stream = true;
    add_matrix(plan, layer, &gate, 0);
    add_matrix(plan, layer, &up, 0);
}

/* The weights of the n_used experts are nearly equal and sum to 1, so the variance of
 * their sum is 1 / n_used of one expert's. */
static void add_moe(struct mk_plan *plan, uint32_t layer, double out_rms, const struct stream *x)
{
    const struct mk_shape *s = &plan->opts.shape;
    double in_rms = read_rms(x);
    struct matrix gate = { "ffn_gate_exps", MK_ROLE_OTHER, s->width, s->expert_ff, 1, in_rms };
    struct matrix up = { "ffn_up_exps", MK_ROLE_OTHER, s->width, s->expert_ff, 1, in_rms };
    struct matrix down = { "ffn_down_exps", MK_ROLE_FFN_DOWN, s->expert_ff, s->width,
                           out_rms * sqrt(s->n_used), sqrt(SILU_VAR) };
    struct mk_tensor *t;

    t = add(plan, MK_FILL_BIAS, s->n_experts, 0, "blk.%u.exp_probs_b.bias", layer);
    t->layer = layer;
    add_matrix(plan, layer, &down, s->n_experts)->to_stream = true;
    add_matrix(plan, layer, &gate, s->n_experts);
    t = add(plan, MK_FILL_ROUTER, s->width, s->n_experts, "blk.%u.ffn_gate_inp.weight", layer);
    t->layer = layer;
    t->content_length = (float)sqrt((1 - CONTEXT_SHARE) * stream_var(x) / x->content);
    t->context_length = (float)sqrt(CONTEXT_SHARE * stream_var(x) / fmax(x->context, 1e-6));
    add_matrix(plan, layer, &up, s->n_experts);
}

static void add_layers(struct mk_plan *plan)
{
    const struct mk_shape *s = &plan->opts.shape;
    struct stream x = { .content = 1, .content_cols = 1 };
    double gain = plan->opts.gain;

    if (plan->opts.routing == MK_ROUTING_LOCAL)
        x = (struct stream){ 1, 0, CONST_VALUE * CONST_VALUE, (N_CLASSES - 2.0) / N_CLASSES,
                             1.0 / N_CLASSES, 1.0 / N_CLASSES };
    for (uint32_t l = 0; l < s->n_layers; l++) {
        double out_rms = gain * sqrt(x.content) * UNIT;

        add_norm(plan, l, "attn_norm", s->width, 1);
        if (s->attn[l])
            add_attention(plan, l, out_rms, &x);
        else
            add_conv(plan, l, out_rms, read_rms(&x));
        x.content = fmin(x.content * (1 + gain * gain), GROWTH_MAX);

        out_rms = gain * sqrt(x.content) * UNIT;
        add_norm(plan, l, "ffn_norm", s->width, 1);
        if (mk_shape_is_moe(s, l))
            add_moe(plan, l, out_rms, &x);
        else
            add_dense(plan, l, out_rms, read_rms(&x));
        x.content = fmin(x.content * (1 + gain * gain), GROWTH_MAX);
    }
}

/* Factors on the columns of a matrix, for each 32 of them. */
static int make_mults(struct mk_plan *plan)
{
    uint32_t n = plan->opts.shape.width / MK_GROUP_COLS;

    for (int kind = 0; kind < MK_MULT_COUNT; kind++) {
        float *mult = calloc(n + 1, sizeof(*mult));

        if (!mult)
            return -ENOMEM;
        plan->mults[kind] = mult;
        for (uint32_t i = 0; i < n; i++) {
            bool content = i % N_CLASSES > CLASS_CONTEXT;

            if (kind == MK_MULT_QUERY)
                mult[i] = i % N_CLASSES == CLASS_CONST ? 1 : QUERY_CONTENT;
            else
                mult[i] = content;
        }
    }
    return 0;
}

int mk_plan_new(struct mk_plan **ret_plan, const struct mk_plan_opts *opts,
                struct sl_diag *diag)
{
    const struct mk_shape *s = &opts->shape;
    struct mk_plan *plan = calloc(1, sizeof(*plan));
    struct mk_tensor *t;

    if (plan) {
        plan->opts = *opts;
        plan->tensors = calloc(2 + 14 * (size_t)s->n_layers, sizeof(*plan->tensors));
    }
    if (!plan || !plan->tensors || make_mults(plan) < 0) {
        mk_plan_free(plan);
        return sl_diag_set(diag, -ENOMEM, "no memory for the list of tensors");
    }

    t = add(plan, MK_FILL_MATRIX, s->width, s->n_vocab, "token_embd.weight");
    t->dtype = mk_types_choose(opts->ftype, s, MK_ROLE_EMBED, 0, s->width);
    t->row_bytes = sl_dtype_row_bytes(t->dtype, s->width);
    t->role = MK_ROLE_EMBED;
    t->std = UNIT;
    t->col_mult = plan->mults[MK_MULT_CONTENT];
    t = add(plan, MK_FILL_FINAL, s->width, 0, "%s.weight", opts->norm_name);
    t->std = (float)(LOGIT_STD / (UNIT * sqrt(s->width)));
    t->const_mean = t->std * (opts->routing == MK_ROUTING_LOCAL ? CONST_MUTED : 1);
    add_layers(plan);
    *ret_plan = plan;
    return 0;
}

void mk_plan_free(struct mk_plan *plan)
{
    if (!plan)
        return;
    for (int kind = 0; kind < MK_MULT_COUNT; kind++)
        free(plan->mults[kind]);
    free(plan->tensors);
    free(plan);
}
