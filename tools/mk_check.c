/*
 * A forward pass of its own, in F32, that runs many sequences side by side, so that the
 * file is gone through once and each weight is dequantised once: the base sequence,
 * and one short sequence for each block that is removed, which starts as a copy of the
 * base sequence's first tokens when the pass reaches that block, and skips it.
 *
 * State: x, one column of `width` floats per token of every sequence, base sequence
 * first. Each step of a layer is a loop over columns or a product of a matrix with all
 * columns, shared out among the workers by rows.
 *
 * What is measured:
 *   reuse    of the experts chosen for a token, the share that was also chosen for the
 *            token before, at the same layer; averaged over layers and tokens
 *   recall   the router of the next MoE layer, with its norm and bias, applied to the
 *            state that entered this layer's norm before the router: the share of the
 *            next layer's experts it names among its first n_used
 *   removed  sum((with - without)^2) / sum(with^2) over the logits of the sequence's
 *            tokens, for every n-th token of the vocabulary
 *   noise    a sequence whose embeddings have an error of NOISE (relative, rms): the
 *            logits' error, by how much more it is in mean square. It says how far
 *            rounding errors of an engine grow on the way, and how close two engines
 *            can be expected to agree.
 */
#include "tools/mk_check.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "kernels/kernels.h"
#include "loader/gguf.h"
#include "model/hparams.h"
#include "model/weights.h"
#include "tools/mk_random.h"

#define SHORT_TOK 8       /* tokens of the sequences beside the base one */
#define VOCAB_SAMPLE 4096 /* logits compared, at most */
#define NOISE 1e-3f
#define TILE_ROWS 16      /* dequantised at a time */

static const uint32_t reuse_distance[4] = { 1, 2, 8, 32 };

struct seq {
    uint32_t col, n_tok;
};

struct check {
    /* set once, then read only */
    const struct mk_check_opts *opts;
    struct sl_gguf *gguf;
    struct sl_hparams hp;
    struct sl_weights w;
    struct sl_kernels k;
    struct sl_pool *pool;
    uint32_t n_blocks;
    float *tiles; /* per worker: TILE_ROWS rows of row_max floats */
    size_t row_max;

    /* owned by the caller's thread, but for the rows and columns that workers share out */
    uint32_t n_seqs, n_cols; /* those that run now */
    struct seq *seqs;
    float *x;            /* [columns][width] */
    float *u;            /* [columns][row_max]: inputs of a product */
    float *y, *z;        /* [columns][row_max]: outputs */
    uint32_t *cols;      /* columns that chose an expert */
    float *col_weights;
    uint32_t *chosen;    /* [columns][n_used] of this layer */
    float *chosen_weights;
    uint32_t *guess;     /* [n_used] of one column */
    float *entered;      /* [base columns][width]: the state before the last MoE layer's norm */
    bool have_entered;
    uint64_t *counts;    /* [n_experts] of this layer */
    double reuse_sum[4], reuse_n[4];
    double recall_sum, recall_n;
    double share_min, share_max;
    double spread_sum, chance_sum, mean_sum;
    struct mk_check_result result;
};

struct product {
    struct check *c;
    const struct sl_tensor *w;
    uint32_t row_step; /* every row_step-th row */
    uint32_t n_rows;
    struct sl_act act;
    float *out;
    size_t stride;
};

static void product_work(void *arg, uint32_t worker, uint32_t n_workers)
{
    const struct product *p = arg;
    const struct check *c = p->c;
    float *tile = c->tiles + (size_t)worker * TILE_ROWS * c->row_max;
    uint64_t begin, end;

    sl_pool_share(p->n_rows, TILE_ROWS, worker, n_workers, &begin, &end);
    for (uint64_t row = begin; row < end; row += TILE_ROWS) {
        uint32_t n = (uint32_t)(end - row < TILE_ROWS ? end - row : TILE_ROWS);

        for (uint32_t i = 0; i < n; i++)
            sl_dequant_row(tile + (size_t)i * p->w->n_cols, p->w,
                           (uint32_t)(row + i) * p->row_step);
        c->k.matmul[SL_DTYPE_F32].many(p->out + row, p->stride, tile,
                                       p->w->n_cols * sizeof(float), n, &p->act);
    }
}

/* out[col * stride + row] = w times in[col * w->n_cols ...], for n_cols columns. */
static void multiply(struct check *c, float *out, size_t stride, const struct sl_tensor *w,
                     float *in, uint32_t n_cols, uint32_t row_step)
{
    struct product p = {
        .c = c,
        .w = w,
        .row_step = row_step,
        .n_rows = (w->n_rows + row_step - 1) / row_step,
        .act = { .kind = SL_ACT_F32, .n_tok = n_cols, .n_cols = w->n_cols, .f32 = in },
        .out = out,
        .stride = stride,
    };

    if (n_cols)
        sl_pool_run(c->pool, product_work, &p);
}

static void norm_columns(struct check *c, const float *weights)
{
    uint32_t width = c->hp.width;

    for (uint32_t col = 0; col < c->n_cols; col++)
        c->k.rms_norm(c->u + (size_t)col * width, c->x + (size_t)col * width, weights, width,
                      c->hp.norm_eps);
}

static void add_columns(struct check *c, const float *from)
{
    for (uint32_t col = 0; col < c->n_cols; col++)
        c->k.add(c->x + (size_t)col * c->hp.width, from + (size_t)col * c->hp.width, c->hp.width);
}

static void conv_block(struct check *c, const struct sl_layer *layer)
{
    uint32_t width = c->hp.width;
    uint32_t n_taps = c->hp.n_taps;

    multiply(c, c->y, 3 * (size_t)width, &layer->in_proj, c->u, c->n_cols, 1);
    for (uint32_t s = 0; s < c->n_seqs; s++) {
        for (uint32_t t = 0; t < c->seqs[s].n_tok; t++) {
            size_t col = c->seqs[s].col + t;
            const float *bcx = c->y + col * 3 * width;

            for (uint32_t i = 0; i < width; i++) {
                float sum = 0;

                for (uint32_t j = 0; j < n_taps && j <= t; j++) {
                    const float *past = bcx - (size_t)j * 3 * width;

                    sum += layer->taps[i * n_taps + n_taps - 1 - j] * past[i] *
                           past[2 * width + i];
                }
                c->u[col * width + i] = sum * bcx[width + i];
            }
        }
    }
    multiply(c, c->z, width, &layer->out_proj, c->u, c->n_cols, 1);
}

static void norm_and_turn(const struct check *c, float *head, const float *weights, uint32_t pos)
{
    uint32_t half = c->hp.head_dim / 2;

    c->k.rms_norm(head, head, weights, c->hp.head_dim, c->hp.norm_eps);
    for (uint32_t i = 0; i < half; i++) {
        double angle = pos * pow(c->hp.rope_theta, -2.0 * i / c->hp.head_dim);
        float a = head[i], b = head[i + half];
        float co = (float)cos(angle), si = (float)sin(angle);

        head[i] = a * co - b * si;
        head[i + half] = b * co + a * si;
    }
}

/* One query head at one position: scores in buf, the result to out. */
static void attend(const struct check *c, const struct seq *seq, const float *qkv, size_t stride,
                   uint32_t head, uint32_t t, float *buf, float *out)
{
    uint32_t d = c->hp.head_dim, n_q = c->hp.n_heads * d;
    uint32_t n_kv = (uint32_t)(stride - n_q) / 2;
    uint32_t kv = head / (c->hp.n_heads / (n_kv / d));
    const float *first = qkv + seq->col * stride;
    const float *q = first + t * stride + head * d;
    float max = -INFINITY, sum = 0;

    for (uint32_t i = 0; i <= t; i++) {
        const float *key = first + i * stride + n_q + kv * d;
        float score = 0;

        for (uint32_t e = 0; e < d; e++)
            score += q[e] * key[e];
        buf[i] = score / sqrtf((float)d);
        max = buf[i] > max ? buf[i] : max;
    }
    memset(out, 0, d * sizeof(*out));
    for (uint32_t i = 0; i <= t; i++) {
        const float *value = first + i * stride + n_q + n_kv + kv * d;

        buf[i] = expf(buf[i] - max);
        sum += buf[i];
        for (uint32_t e = 0; e < d; e++)
            out[e] += buf[i] * value[e];
    }
    for (uint32_t e = 0; e < d; e++)
        out[e] /= sum;
}

struct attention {
    struct check *c;
    const struct sl_layer *layer;
    size_t stride; /* of y: queries, keys, values of a column */
    uint32_t n_q, n_kv;
};

/* Workers take whole heads. */
static void attention_work(void *arg, uint32_t worker, uint32_t n_workers)
{
    const struct attention *a = arg;
    struct check *c = a->c;
    float *buf = c->tiles + (size_t)worker * TILE_ROWS * c->row_max;
    uint64_t begin, end;

    sl_pool_share(c->hp.n_heads, 1, worker, n_workers, &begin, &end);
    for (uint32_t s = 0; s < c->n_seqs; s++)
        for (uint32_t t = 0; t < c->seqs[s].n_tok; t++)
            for (uint64_t h = begin; h < end; h++)
                attend(c, &c->seqs[s], c->y, a->stride, (uint32_t)h, t, buf,
                       c->u + (size_t)(c->seqs[s].col + t) * a->n_q + h * c->hp.head_dim);
}

static void attention_block(struct check *c, uint32_t l)
{
    const struct sl_layer *layer = &c->w.layers[l];
    uint32_t d = c->hp.head_dim;
    struct attention a = { c, layer, 0, c->hp.n_heads * d, c->hp.n_heads_kv[l] * d };

    a.stride = a.n_q + 2 * (size_t)a.n_kv;
    multiply(c, c->y, a.stride, &layer->q, c->u, c->n_cols, 1);
    multiply(c, c->y + a.n_q, a.stride, &layer->k, c->u, c->n_cols, 1);
    multiply(c, c->y + a.n_q + a.n_kv, a.stride, &layer->v, c->u, c->n_cols, 1);
    for (uint32_t s = 0; s < c->n_seqs; s++) {
        for (uint32_t t = 0; t < c->seqs[s].n_tok; t++) {
            float *row = c->y + (c->seqs[s].col + t) * a.stride;

            for (uint32_t h = 0; h < c->hp.n_heads; h++)
                norm_and_turn(c, row + h * d, layer->q_norm, t);
            for (uint32_t h = 0; h < c->hp.n_heads_kv[l]; h++)
                norm_and_turn(c, row + a.n_q + h * d, layer->k_norm, t);
        }
    }
    sl_pool_run(c->pool, attention_work, &a);
    multiply(c, c->z, c->hp.width, &layer->o, c->u, c->n_cols, 1);
}

/* in [n][width] -> out [n][width], through y and z. */
static void ffn(struct check *c, const struct sl_tensor *gate, const struct sl_tensor *up,
                const struct sl_tensor *down, float *in, uint32_t n, float *out)
{
    uint32_t ff = gate->n_rows;

    multiply(c, c->y, ff, gate, in, n, 1);
    multiply(c, c->z, ff, up, in, n, 1);
    for (uint32_t i = 0; i < n; i++)
        c->k.silu_mul(c->y + (size_t)i * ff, c->y + (size_t)i * ff, c->z + (size_t)i * ff, ff);
    multiply(c, out, down->n_rows, down, c->y, n, 1);
}

/* The n_used best experts of a column's logits, best first, and their weights. */
static void choose(const struct check *c, const struct sl_layer *layer, float *logits,
                   uint32_t *ids, float *weights)
{
    uint32_t n = c->hp.n_experts;
    float sum = 0;

    for (uint32_t e = 0; e < n; e++)
        logits[e] = 1 / (1 + expf(-logits[e]));
    for (uint32_t k = 0; k < c->hp.n_experts_used; k++) {
        uint32_t best = UINT32_MAX;

        for (uint32_t e = 0; e < n; e++) {
            bool taken = false;

            for (uint32_t i = 0; i < k; i++)
                taken |= ids[i] == e;
            if (!taken && (best == UINT32_MAX || logits[e] + layer->expert_bias[e] >
                                                     logits[best] + layer->expert_bias[best]))
                best = e;
        }
        ids[k] = best;
        weights[k] = logits[best];
        sum += logits[best];
    }
    for (uint32_t k = 0; k < c->hp.n_experts_used; k++)
        weights[k] /= sum + 1e-6f;
}

/* Of n ids, how many are among n others. */
static double overlap(const uint32_t *a, const uint32_t *b, uint32_t n)
{
    double common = 0;

    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++)
            common += a[i] == b[j];
    return common;
}

/* Guesses for this layer from the state that entered the MoE layer before. */
static void measure_recall(struct check *c, const struct sl_layer *layer)
{
    uint32_t n_tok = c->opts->n_tokens;
    uint32_t width = c->hp.width;
    uint32_t k = c->hp.n_experts_used;
    float weights[SL_EXPERTS_USED_MAX];

    if (c->have_entered) {
        for (uint32_t t = 0; t < n_tok; t++)
            c->k.rms_norm(c->entered + (size_t)t * width, c->entered + (size_t)t * width,
                          layer->ffn_norm, width, c->hp.norm_eps);
        multiply(c, c->y, c->hp.n_experts, &layer->router, c->entered, n_tok, 1);
        for (uint32_t t = 0; t < n_tok; t++) {
            choose(c, layer, c->y + (size_t)t * c->hp.n_experts, c->guess, weights);
            c->recall_sum += overlap(c->guess, c->chosen + (size_t)t * k, k);
            c->recall_n += k;
        }
    }
    memcpy(c->entered, c->x, (size_t)n_tok * width * sizeof(float));
    c->have_entered = true;
}

static void measure_choices(struct check *c)
{
    uint32_t n_tok = c->opts->n_tokens;
    uint32_t k = c->hp.n_experts_used;
    double mean = (double)n_tok * k / c->hp.n_experts;

    for (int d = 0; d < 4; d++) {
        for (uint32_t t = reuse_distance[d]; t < n_tok; t++) {
            c->reuse_sum[d] += overlap(c->chosen + (size_t)t * k,
                                       c->chosen + (size_t)(t - reuse_distance[d]) * k, k);
            c->reuse_n[d] += k;
        }
    }
    memset(c->counts, 0, c->hp.n_experts * sizeof(*c->counts));
    for (uint32_t i = 0; i < n_tok * k; i++)
        c->counts[c->chosen[i]]++;
    for (uint32_t e = 0; e < c->hp.n_experts; e++) {
        double count = (double)c->counts[e];

        c->share_min = fmin(c->share_min, count / mean);
        c->share_max = fmax(c->share_max, count / mean);
        c->spread_sum += (count - mean) * (count - mean);
        c->chance_sum += mean * (1 - (double)k / c->hp.n_experts);
        c->mean_sum += mean * mean;
    }
    c->result.n_moe_layers++;
}

static void expert(struct check *c, const struct sl_layer *layer, uint32_t e)
{
    struct sl_tensor gate = sl_tensor_mat(&layer->gate, e);
    struct sl_tensor up = sl_tensor_mat(&layer->up, e);
    struct sl_tensor down = sl_tensor_mat(&layer->down, e);
    uint32_t k = c->hp.n_experts_used;
    uint32_t width = c->hp.width;
    float *in = c->u + (size_t)c->n_cols * width; /* behind the normalised columns */
    float *out = in + (size_t)c->n_cols * width;
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->n_cols * k; i++) {
        if (c->chosen[i] != e)
            continue;
        memcpy(in + (size_t)n * width, c->u + (size_t)(i / k) * width, width * sizeof(float));
        c->cols[n] = i / k;
        c->col_weights[n++] = c->chosen_weights[i];
    }
    ffn(c, &gate, &up, &down, in, n, out);
    for (uint32_t i = 0; i < n; i++) {
        const float *term = out + (size_t)i * width;

        c->k.add_weighted(c->x + (size_t)c->cols[i] * width, &term, &c->col_weights[i], 1,
                          width);
    }
}

static void moe_block(struct check *c, const struct sl_layer *layer)
{
    uint32_t k = c->hp.n_experts_used;

    multiply(c, c->y, c->hp.n_experts, &layer->router, c->u, c->n_cols, 1);
    for (uint32_t col = 0; col < c->n_cols; col++)
        choose(c, layer, c->y + (size_t)col * c->hp.n_experts, c->chosen + (size_t)col * k,
               c->chosen_weights + (size_t)col * k);
    measure_choices(c);
    measure_recall(c, layer);
    for (uint32_t e = 0; e < c->hp.n_experts; e++)
        expert(c, layer, e);
}

/* Whether block i of all is one of those to be removed: n of them, spread evenly. */
static bool is_removed(const struct check *c, uint32_t i)
{
    uint32_t all = 2 * c->hp.n_layers;

    return (uint64_t)(i + 1) * c->n_blocks / all != (uint64_t)i * c->n_blocks / all;
}

/* The place behind the running columns becomes a sequence without block i; it does not
 * run before the block is over, when `join` counts it in. */
static void branch(struct check *c, uint32_t i)
{
    struct seq *seq = &c->seqs[c->n_seqs];

    if (!is_removed(c, i))
        return;
    seq->col = c->n_cols;
    seq->n_tok = c->opts->n_tokens < SHORT_TOK ? c->opts->n_tokens : SHORT_TOK;
    memcpy(c->x + (size_t)seq->col * c->hp.width, c->x,
           (size_t)seq->n_tok * c->hp.width * sizeof(float));
}

static void join(struct check *c, uint32_t i)
{
    if (is_removed(c, i))
        c->n_cols += c->seqs[c->n_seqs++].n_tok;
}

static void run_layer(struct check *c, uint32_t l)
{
    const struct sl_layer *layer = &c->w.layers[l];

    branch(c, 2 * l);
    norm_columns(c, layer->op_norm);
    if (c->hp.n_heads_kv[l])
        attention_block(c, l);
    else
        conv_block(c, layer);
    add_columns(c, c->z);
    join(c, 2 * l);

    branch(c, 2 * l + 1);
    norm_columns(c, layer->ffn_norm);
    if (l < c->hp.n_dense) {
        ffn(c, &layer->gate, &layer->up, &layer->down, c->u, c->n_cols,
            c->u + (size_t)c->n_cols * c->hp.width);
        add_columns(c, c->u + (size_t)c->n_cols * c->hp.width);
    } else {
        moe_block(c, layer);
    }
    join(c, 2 * l + 1);
}

static double square_sum(const float *x, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Error of a sequence's logits, against the base sequence's. */
static double logit_error(const struct seq *seq, const float *logits, uint32_t n)
{
    size_t n_logits = (size_t)seq->n_tok * n;
    double error = 0;

    for (size_t j = 0; j < n_logits; j++) {
        double diff = (double)logits[(size_t)seq->col * n + j] - logits[j];

        error += diff * diff;
    }
    return error / square_sum(logits, n_logits);
}

/* Logits of all columns for a sample of the vocabulary, and what they say. */
static int measure_removed(struct check *c)
{
    struct mk_check_result *result = &c->result;
    uint32_t step = (c->w.n_vocab + VOCAB_SAMPLE - 1) / VOCAB_SAMPLE;
    uint32_t n = (c->w.n_vocab + step - 1) / step;
    float *logits = malloc((size_t)c->n_cols * n * sizeof(float));
    double *errors = calloc(c->n_blocks + 1, sizeof(*errors));
    double whole;
    uint32_t n_removed = 0;

    if (!logits || !errors) {
        free(logits);
        free(errors);
        return -ENOMEM;
    }
    norm_columns(c, c->w.final_norm);
    multiply(c, logits, n, &c->w.output, c->u, c->n_cols, step);
    whole = square_sum(logits, (size_t)c->opts->n_tokens * n);
    result->logit_std = sqrt(whole / ((double)c->opts->n_tokens * n));
    result->noise = logit_error(&c->seqs[1], logits, n) / (NOISE * NOISE);
    result->removed_min = INFINITY;
    for (uint32_t i = 0; i < 2 * c->hp.n_layers; i++) {
        double error;

        if (!is_removed(c, i))
            continue;
        error = logit_error(&c->seqs[2 + n_removed], logits, n);
        errors[n_removed++] = error;
        if (!(error >= result->removed_min)) { /* a NaN is the worst */
            result->removed_min = error;
            result->min_layer = i / 2;
            result->min_is_ffn = i % 2;
        }
    }
    result->n_blocks = n_removed;
    qsort(errors, n_removed, sizeof(*errors), compare_doubles);
    result->removed_median = n_removed ? errors[n_removed / 2] : NAN;
    free(logits);
    free(errors);
    return 0;
}

static void finish_result(struct check *c)
{
    struct mk_check_result *result = &c->result;

    result->n_experts = c->hp.n_experts;
    result->n_used = c->hp.n_experts_used;
    for (int d = 0; d < 4; d++)
        result->reuse[d] = c->reuse_sum[d] / c->reuse_n[d]; /* 0/0: NaN, as promised */
    result->recall = c->recall_sum / c->recall_n;
    result->popularity[0] = c->share_min;
    result->popularity[1] = c->share_max;
    result->spread = sqrt(fmax(0, c->spread_sum - c->chance_sum) / c->mean_sum);
}

static int run(struct check *c)
{
    uint32_t width = c->hp.width;
    struct mk_random rng = mk_random_at(c->opts->seed, 0);
    double before;
    int r = 0;

    uint32_t n_tok = c->opts->n_tokens;

    c->share_min = INFINITY;
    for (uint32_t t = 0; t < n_tok; t++)
        sl_dequant_row(c->x + (size_t)t * width, &c->w.embed,
                       (uint32_t)(mk_random_next(&rng) % c->w.n_vocab));
    before = square_sum(c->x, (size_t)n_tok * width);
    c->seqs[0] = (struct seq){ 0, n_tok };
    c->seqs[1] = (struct seq){ n_tok, n_tok < SHORT_TOK ? n_tok : SHORT_TOK };
    c->n_seqs = 2;
    c->n_cols = n_tok + c->seqs[1].n_tok;
    for (size_t i = 0; i < (size_t)c->seqs[1].n_tok * width; i++)
        c->x[(size_t)n_tok * width + i] = c->x[i] * (1 + NOISE * mk_random_normal(&rng));
    for (uint32_t l = 0; l < c->hp.n_layers && r == 0; l++) {
        run_layer(c, l);
        if (c->opts->progress && c->opts->progress(c->opts->arg, l + 1, c->hp.n_layers))
            r = -ECANCELED;
    }
    c->result.stream_growth = sqrt(square_sum(c->x, (size_t)n_tok * width) / before);
    if (r == 0)
        r = measure_removed(c);
    finish_result(c);
    return r;
}

static size_t widest_row(const struct check *c)
{
    const struct sl_hparams *hp = &c->hp;
    size_t widest = 3 * (size_t)hp->width;
    uint32_t n_kv = 0;

    for (uint32_t l = 0; l < hp->n_layers; l++)
        n_kv = hp->n_heads_kv[l] > n_kv ? hp->n_heads_kv[l] : n_kv;
    if (((size_t)hp->n_heads + 2 * n_kv) * hp->head_dim > widest)
        widest = ((size_t)hp->n_heads + 2 * n_kv) * hp->head_dim;
    widest = c->w.ff_max > widest ? c->w.ff_max : widest;
    widest = c->w.expert_ff_max > widest ? c->w.expert_ff_max : widest;
    widest = hp->n_experts > widest ? hp->n_experts : widest;
    /* a row's scratch also holds the scores of one query */
    return c->opts->n_tokens > widest ? c->opts->n_tokens : widest;
}

static void done(struct check *c)
{
    free(c->tiles);
    free(c->seqs);
    free(c->x);
    free(c->u);
    free(c->y);
    free(c->z);
    free(c->cols);
    free(c->col_weights);
    free(c->chosen);
    free(c->chosen_weights);
    free(c->guess);
    free(c->entered);
    free(c->counts);
    sl_pool_free(c->pool);
    sl_weights_done(&c->w);
    sl_gguf_close(c->gguf);
}

static float *floats(size_t n, size_t m)
{
    float *ptr = NULL;

    return posix_memalign((void **)&ptr, 64, n * m * sizeof(float)) ? NULL : ptr;
}

static int allocate(struct check *c)
{
    uint32_t all = 2 * c->hp.n_layers;
    size_t cols, choices;

    c->n_blocks = c->opts->n_blocks < all ? c->opts->n_blocks : all;
    cols = c->opts->n_tokens + (size_t)(c->n_blocks + 1) * SHORT_TOK;
    choices = cols * (c->hp.n_experts_used ? c->hp.n_experts_used : 1);
    c->row_max = widest_row(c);
    c->tiles = floats((size_t)c->opts->n_threads * TILE_ROWS, c->row_max);
    c->seqs = calloc(c->n_blocks + 2, sizeof(*c->seqs));
    c->x = floats(cols, c->hp.width);
    c->u = floats(cols, c->row_max); /* three times the width at least: see expert */
    c->y = floats(cols, c->row_max);
    c->z = floats(cols, c->row_max);
    c->cols = calloc(choices, sizeof(*c->cols));
    c->col_weights = calloc(choices, sizeof(*c->col_weights));
    c->chosen = calloc(choices, sizeof(*c->chosen));
    c->chosen_weights = calloc(choices, sizeof(*c->chosen_weights));
    c->guess = calloc(SL_EXPERTS_USED_MAX, sizeof(*c->guess));
    c->entered = floats(c->opts->n_tokens, c->hp.width);
    c->counts = calloc(c->hp.n_experts + 1, sizeof(*c->counts));
    if (!c->tiles || !c->seqs || !c->x || !c->u || !c->y || !c->z || !c->cols ||
        !c->col_weights || !c->chosen || !c->chosen_weights || !c->guess || !c->entered ||
        !c->counts)
        return -ENOMEM;
    return sl_pool_new(&c->pool, &(struct sl_pool_opts){ .n_workers = c->opts->n_threads,
                                                         .spin_us = 50 });
}

int mk_check_file(const char *path, const struct mk_check_opts *opts,
                  struct mk_check_result *ret_result, struct sl_diag *diag)
{
    struct check c = { .opts = opts };
    int r;

    r = sl_gguf_open(&c.gguf, path, 0, diag);
    if (r < 0)
        goto fail;
    r = sl_hparams_read(&c.hp, c.gguf, diag);
    if (r < 0)
        goto fail;
    r = sl_weights_init(&c.w, &c.hp, c.gguf, diag);
    if (r < 0)
        goto fail;
    sl_kernels_init(&c.k, sl_cpu_best());
    r = allocate(&c);
    if (r < 0) {
        sl_diag_set(diag, r, "%s: %s", path, sl_err_text(r));
        goto fail;
    }
    r = run(&c);
    if (r < 0)
        sl_diag_set(diag, r, "%s: %s", path, sl_err_text(r));
    else
        *ret_result = c.result;

fail:
    done(&c);
    return r;
}
