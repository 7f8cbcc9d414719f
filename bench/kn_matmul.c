/*
 * Matrix products of one weight type: `one` with weights from memory, as decoding reads
 * them, and from the second cache, where only its own work counts; `many` for each batch,
 * weights from memory. Every worker has matrices and an output of its own.
 *
 * Rows of a type are made once and copied until the buffer is full, so all matrices hold
 * valid blocks. The reference is C's product of the first rows of the first matrix with
 * the tokens of the largest batch: the tokens of a smaller batch are its first ones.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "bench/bn_weights.h"
#include "bench/kn.h"

#define N_CHECK_ROWS 40u /* two tiles of sixteen and a half */
#define C_ROWS 64u       /* C is slow: the rate is the same with few rows */
#define OUT_BYTES ((size_t)16 << 20) /* of a worker, at most */
#define PATTERN_BYTES ((size_t)1 << 20)
#define SEED 24

struct shape {
    const char *name;
    uint32_t n_cols, n_rows;
};

/* Of LFM2-24B-A2B. */
static const struct shape shapes[] = {
    { "gate", 2048, 1536 },  { "down", 1536, 2048 },   { "attn", 2048, 2048 },
    { "kv", 2048, 512 },     { "conv", 2048, 6144 },   { "dense", 2048, 11776 },
    { "dense-down", 11776, 2048 }, { "head", 2048, 65536 }, { "router", 2048, 64 },
};
#define N_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static const uint32_t default_batches[] = { 1, 2, 4, 8, 12, 16, 64, 512 };

/* Activations of the batches at one shape. */
struct inputs {
    uint32_t n_tok[KN_BATCHES_MAX], n;
    struct sl_act acts[KN_BATCHES_MAX]; /* each with a buffer of its own */
    float *want;                        /* C's results, [n_tok of the largest][N_CHECK_ROWS] */
};

/* One case: each worker goes through its matrices, one a call. */
struct product {
    sl_matmul_fn fn;
    const struct sl_act *x;
    size_t row_bytes;
    uint32_t n_rows;
    struct {
        const char *base;
        float *out;
        size_t bytes, at;
        char apart[32];
    } workers[SL_POOL_WORKERS_MAX];
};

static void multiply(void *arg, uint32_t worker, uint64_t n_calls)
{
    struct product *p = arg;
    size_t mat_bytes = p->row_bytes * p->n_rows, at = p->workers[worker].at;

    for (; n_calls; n_calls--) {
        p->fn(p->workers[worker].out, p->n_rows, p->workers[worker].base + at, p->row_bytes,
              p->n_rows, p->x);
        at = at + 2 * mat_bytes <= p->workers[worker].bytes ? at + mat_bytes : 0;
    }
    p->workers[worker].at = at;
}

static void inputs_done(struct inputs *in)
{
    for (uint32_t i = 0; i < in->n; i++)
        free(in->acts[i].kind == SL_ACT_F32 ? (void *)in->acts[i].f32 : (void *)in->acts[i].q);
    free(in->want);
}

/* Rows of x are the same in every batch. */
static int inputs_init(struct inputs *in, const struct kn *kn, enum sl_dtype dtype,
                       uint32_t n_cols)
{
    enum sl_act_kind kind = sl_kernels_act_kind(dtype);
    uint32_t n_most = 0;
    float *row = malloc(n_cols * sizeof(*row));

    *in = (struct inputs){ 0 };
    if (!row)
        return -ENOMEM;
    for (uint32_t i = 0; i < kn->opts.n_batches; i++)
        in->n_tok[i] = kn->opts.batches[i];
    for (uint32_t i = 0; !kn->opts.n_batches && i < sizeof(default_batches) / 4; i++)
        in->n_tok[i] = default_batches[i];
    for (uint32_t i = 0; i < KN_BATCHES_MAX && in->n_tok[i]; i++) {
        uint64_t random = SEED;
        void *buf = aligned_alloc(64, sl_act_bytes(kind, in->n_tok[i], n_cols));

        if (!buf)
            goto fail;
        sl_act_init(&in->acts[i], kind, in->n_tok[i], n_cols, buf);
        in->n++;
        n_most = in->n_tok[i] > n_most ? in->n_tok[i] : n_most;
        for (uint32_t t = 0; t < in->n_tok[i]; t++) {
            bn_weights_floats(row, n_cols, &random);
            kn->kernels[SL_CPU_C].quantize(&in->acts[i], t, row);
        }
    }
    in->want = malloc((size_t)n_most * N_CHECK_ROWS * sizeof(*in->want));
    if (!in->want)
        goto fail;
    free(row);
    return 0;

fail:
    free(row);
    inputs_done(in);
    return -ENOMEM;
}

static void make_reference(const struct kn *kn, const struct inputs *in, enum sl_dtype dtype,
                           uint32_t n_cols)
{
    uint32_t largest = 0;

    for (uint32_t i = 1; i < in->n; i++)
        largest = in->n_tok[i] > in->n_tok[largest] ? i : largest;
    kn->kernels[SL_CPU_C].matmul[dtype].many(in->want, N_CHECK_ROWS,
                                             kn->buffers[kn->opts.pages].base,
                                             sl_dtype_row_bytes(dtype, n_cols), N_CHECK_ROWS,
                                             &in->acts[largest]);
}

static int fill_buffer(struct kn *kn, enum sl_dtype dtype)
{
    size_t block_bytes = sl_dtype_find(dtype)->block_bytes;
    size_t n_blocks = PATTERN_BYTES / block_bytes;
    uint64_t random = SEED + dtype;
    void *pattern = malloc(n_blocks * block_bytes);

    if (!pattern)
        return -ENOMEM;
    bn_weights_fill(pattern, dtype, n_blocks, &random);
    kn_fill(kn, pattern, n_blocks * block_bytes);
    free(pattern);
    return 0;
}

static void check(struct kn *kn, const struct kn_group *g, const struct kn_case *c,
                  const float *want)
{
    const struct product *p = c->arg;
    uint32_t n = c->n_rows < N_CHECK_ROWS ? c->n_rows : N_CHECK_ROWS;
    float *out = p->workers[0].out;

    memset(out, 0xff, (size_t)c->n_rows * c->n_tok * sizeof(*out));
    p->fn(out, c->n_rows, kn->buffers[kn->opts.pages].base, p->row_bytes, c->n_rows, p->x);
    for (uint32_t t = 0; t < c->n_tok; t++)
        kn_check(kn, c, g->level, want + (size_t)t * N_CHECK_ROWS, out + (size_t)t * c->n_rows,
                 n * sizeof(*out));
}

/* How many rows a case has: those of the shape, as far as its place holds them. */
static uint32_t choose_rows(const struct kn *kn, const struct kn_group *g, struct shape shape,
                            size_t row_bytes, enum kn_place place, uint32_t n_tok)
{
    size_t n = shape.n_rows, share_bytes, fit;

    (void)kn_share(kn, kn->opts.pages, g->team, 0, row_bytes, &share_bytes);
    fit = (place == KN_MEMORY ? share_bytes : kn->cache_bytes[place]) / row_bytes;
    fit = OUT_BYTES / sizeof(float) / n_tok < fit ? OUT_BYTES / sizeof(float) / n_tok : fit;
    if (g->level == SL_CPU_C && fit > C_ROWS)
        fit = C_ROWS;
    return (uint32_t)(n <= fit ? n : fit < 16 ? fit : fit / 16 * 16);
}

/* Appends a case to the group, which owns its struct product. */
static int add_case(struct kn *kn, struct kn_group *g, enum sl_dtype dtype, struct shape shape,
                    const struct sl_act *x, enum kn_place place)
{
    const struct sl_kernels_matmul *mm = &kn->kernels[g->level].matmul[dtype];
    size_t unit = (size_t)64 * sl_dtype_find(dtype)->block_bytes; /* aligned, whole blocks */
    struct product *p = calloc(1, sizeof(*p));
    struct kn_case *c = &g->cases[g->n];

    if (!p)
        return -ENOMEM;
    p->fn = x->n_tok == 1 ? mm->one : mm->many;
    p->x = x;
    p->row_bytes = sl_dtype_row_bytes(dtype, shape.n_cols);
    p->n_rows = choose_rows(kn, g, shape, p->row_bytes, place, x->n_tok);
    *c = (struct kn_case){
        .kernel = sl_dtype_name(dtype),
        .path = x->n_tok == 1 ? "one" : "many",
        .isa = x->n_tok == 1 ? mm->one_isa : mm->many_isa,
        .n_cols = shape.n_cols,
        .n_rows = p->n_rows,
        .n_tok = x->n_tok,
        .place = place,
        .bound = x->kind == SL_ACT_F32 ? KN_BOUND_FMA : KN_BOUND_DOT,
        .is_decode = x->n_tok == 1 && place == KN_MEMORY && g->level != SL_CPU_C,
        .bytes = (double)p->row_bytes * p->n_rows,
        .macs = (double)shape.n_cols * p->n_rows * x->n_tok,
        .call = multiply,
        .arg = p,
    };
    g->n++;
    for (uint32_t i = 0; i < bn_team_n(g->team); i++) {
        p->workers[i].base = kn_share(kn, kn->opts.pages, g->team, i, unit,
                                      &p->workers[i].bytes);
        if (place != KN_MEMORY)
            p->workers[i].bytes = 0; /* the first matrix again and again */
        p->workers[i].out = malloc((size_t)p->n_rows * x->n_tok * sizeof(float));
        if (!p->workers[i].out)
            return -ENOMEM;
    }
    return 0;
}

static void free_cases(struct kn_group *g)
{
    for (uint32_t i = 0; i < g->n; i++) {
        struct product *p = g->cases[i].arg;

        for (uint32_t w = 0; w < SL_POOL_WORKERS_MAX; w++)
            free(p->workers[w].out);
        free(p);
    }
}

/* Whether a level has a kernel of its own here, or was asked for by name. */
static bool is_own(const struct kn *kn, enum sl_cpu_level level, enum sl_dtype dtype, bool is_one)
{
    const struct sl_kernels_matmul *mine = &kn->kernels[level].matmul[dtype];
    const struct sl_kernels_matmul *below;

    if (level == SL_CPU_C || kn->opts.level >= 0)
        return true;
    below = &kn->kernels[level - 1].matmul[dtype];
    return is_one ? mine->one != below->one : mine->many != below->many;
}

/*
 * What a run of everything leaves out, so that it stays short. The second shape differs
 * little: one token and one batch will do. C is there to be compared with: two batches and
 * one thread tell enough of it.
 */
static bool is_left_out(const struct kn *kn, const struct kn_group *g, struct shape shape,
                        uint32_t n_tok)
{
    bool is_everything = !kn->opts.kernel && !kn->opts.shape && !kn->opts.n_batches;

    if (is_everything && strcmp(shape.name, shapes[0].name) != 0 && n_tok != 1 && n_tok != 64)
        return true;
    if (g->level != SL_CPU_C || kn->opts.level >= 0)
        return false;
    return bn_team_n(g->team) != bn_team_n(kn->teams[0]) || (n_tok != 1 && n_tok != 16);
}

static int run_group(struct kn *kn, struct kn_group *g, enum sl_dtype dtype, struct shape shape,
                     const struct inputs *in)
{
    int r = 0;

    for (uint32_t i = 0; i < in->n && r == 0; i++) {
        const struct sl_act *x = &in->acts[i];

        if (!is_own(kn, g->level, dtype, x->n_tok == 1) || is_left_out(kn, g, shape, x->n_tok))
            continue;
        if (kn_wants_place(kn, KN_MEMORY))
            r = add_case(kn, g, dtype, shape, x, KN_MEMORY);
        if (r == 0 && x->n_tok == 1 && kn_wants_place(kn, KN_L2))
            r = add_case(kn, g, dtype, shape, x, KN_L2);
    }
    for (uint32_t i = 0; i < g->n && r == 0; i++)
        check(kn, g, &g->cases[i], in->want);
    if (r == 0 && g->n)
        kn_run_group(kn, g);
    free_cases(g);
    return r;
}

static bool wants_shape(const struct kn *kn, size_t i)
{
    if (!kn->opts.shape)
        return i < 2;
    return strcmp(kn->opts.shape, "all") == 0 || strcmp(kn->opts.shape, shapes[i].name) == 0;
}

int kn_matmul(struct kn *kn, enum sl_dtype dtype)
{
    int r = fill_buffer(kn, dtype);

    for (size_t i = 0; i < N_SHAPES && r == 0; i++) {
        struct inputs in;

        if (!wants_shape(kn, i))
            continue;
        r = inputs_init(&in, kn, dtype, shapes[i].n_cols);
        if (r < 0)
            break;
        make_reference(kn, &in, dtype, shapes[i].n_cols);
        for (int level = SL_CPU_C; level <= (int)kn->best && r == 0; level++)
            for (uint32_t team = 0; team < kn->n_teams && r == 0; team++) {
                struct kn_group g = { .level = (enum sl_cpu_level)level,
                                      .team = kn->teams[team] };

                if (kn_wants_level(kn, g.level))
                    r = run_group(kn, &g, dtype, shapes[i], &in);
            }
        inputs_done(&in);
    }
    return r;
}
