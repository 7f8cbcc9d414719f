/*
 * The kernels beside the products: normalisation, activations, sums, convolution, rotation,
 * the quantisation of activations, stores to the KV cache, the merging of partial attention,
 * argmax. Their data comes from the caches, as it does in a step. Lengths are those of
 * LFM2-24B-A2B; bytes are those read and written.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "bench/bn_weights.h"
#include "bench/kn.h"

#define WIDTH 2048u      /* of the model */
#define EXPERT_WIDTH 1536u
#define N_EXPERTS 64u
#define N_USED 4u
#define HEAD_DIM 64u
#define N_TAPS 3u
#define N_VOCAB 65536u
#define SEED 7

/* A worker's data. in[] are read only; results are compared from out on. */
struct vec {
    _Alignas(64) float in[8][WIDTH * N_TAPS];
    _Alignas(64) float long_in[N_VOCAB];
    struct {
        _Alignas(64) float x[WIDTH], z[WIDTH];
        float m, l;
        size_t index;
        _Alignas(64) char act[WIDTH * sizeof(float) + 1024];
        _Alignas(64) char kv[(size_t)SL_KV_BLOCK_TOK * HEAD_DIM * 2 * sizeof(float)];
    } out;
};

typedef void (*op_fn)(const struct sl_kernels *k, struct vec *v);

static void rms_norm(const struct sl_kernels *k, struct vec *v)
{
    k->rms_norm(v->out.x, v->in[0], v->in[1], WIDTH, 1e-5f);
}

static void silu_mul(const struct sl_kernels *k, struct vec *v)
{
    k->silu_mul(v->out.x, v->in[0], v->in[1], EXPERT_WIDTH);
}

static void sigmoid(const struct sl_kernels *k, struct vec *v)
{
    k->sigmoid(v->out.x, v->in[0], N_EXPERTS);
}

static void add(const struct sl_kernels *k, struct vec *v)
{
    k->add(v->out.x, v->in[0], WIDTH);
}

static void add_weighted(const struct sl_kernels *k, struct vec *v)
{
    const float *y[N_USED] = { v->in[0], v->in[1], v->in[2], v->in[3] };

    k->add_weighted(v->out.x, y, v->in[4], N_USED, WIDTH);
}

static void short_conv(const struct sl_kernels *k, struct vec *v)
{
    const float *hist[N_TAPS - 1] = { v->in[2], v->in[3] };

    k->short_conv(v->out.x, v->out.z, v->in[0], v->in[1], hist, N_TAPS, WIDTH);
}

static void rope(const struct sl_kernels *k, struct vec *v)
{
    k->rope(v->out.x, v->in[5], v->in[6], HEAD_DIM / 2);
}

static void quantize(const struct sl_kernels *k, struct vec *v, enum sl_act_kind kind)
{
    struct sl_act act;

    sl_act_init(&act, kind, 1, WIDTH, v->out.act);
    k->quantize(&act, 0, v->in[0]);
}

static void quantize_q32(const struct sl_kernels *k, struct vec *v)
{
    quantize(k, v, SL_ACT_Q32);
}

static void quantize_q256(const struct sl_kernels *k, struct vec *v)
{
    quantize(k, v, SL_ACT_Q256);
}

static void store_f16(const struct sl_kernels *k, struct vec *v)
{
    k->kv_store(v->out.kv, SL_KV_F16, HEAD_DIM, 100, v->in[0], v->in[1]);
}

static void store_f32(const struct sl_kernels *k, struct vec *v)
{
    k->kv_store(v->out.kv, SL_KV_F32, HEAD_DIM, 100, v->in[0], v->in[1]);
}

static void store_q8_0(const struct sl_kernels *k, struct vec *v)
{
    k->kv_store(v->out.kv, SL_KV_Q8_0, HEAD_DIM, 100, v->in[0], v->in[1]);
}

static void attend_merge(const struct sl_kernels *k, struct vec *v)
{
    k->attend_merge(&v->out.m, &v->out.l, v->out.x, v->in[0][0], 3, v->in[1], HEAD_DIM);
}

static void attend_finish(const struct sl_kernels *k, struct vec *v)
{
    k->attend_finish(v->out.x, v->in[0], 3, HEAD_DIM);
}

static void argmax(const struct sl_kernels *k, struct vec *v)
{
    v->out.index = k->argmax(v->long_in, N_VOCAB);
}

static const struct op {
    const char *name;
    op_fn fn;
    size_t entry; /* of the table */
    uint32_t n;
    double bytes;
    enum kn_place place;
} ops[] = {
#define ENTRY(field) offsetof(struct sl_kernels, field)
    { "quantize q32", quantize_q32, ENTRY(quantize), WIDTH, WIDTH * 5.25, KN_L1 },
    { "quantize q256", quantize_q256, ENTRY(quantize), WIDTH, WIDTH * 5.14, KN_L1 },
    { "rms_norm", rms_norm, ENTRY(rms_norm), WIDTH, WIDTH * 12.0, KN_L1 },
    { "silu_mul", silu_mul, ENTRY(silu_mul), EXPERT_WIDTH, EXPERT_WIDTH * 12.0, KN_L1 },
    { "sigmoid", sigmoid, ENTRY(sigmoid), N_EXPERTS, N_EXPERTS * 8.0, KN_L1 },
    { "add", add, ENTRY(add), WIDTH, WIDTH * 12.0, KN_L1 },
    { "add_weighted", add_weighted, ENTRY(add_weighted), WIDTH, WIDTH * 24.0, KN_L2 },
    { "short_conv", short_conv, ENTRY(short_conv), WIDTH, WIDTH * 40.0, KN_L2 },
    { "rope", rope, ENTRY(rope), HEAD_DIM, HEAD_DIM * 12.0, KN_L1 },
    { "kv_store f16", store_f16, ENTRY(kv_store), HEAD_DIM, HEAD_DIM * (8 + 4.0), KN_L1 },
    { "kv_store f32", store_f32, ENTRY(kv_store), HEAD_DIM, HEAD_DIM * (8 + 8.0), KN_L1 },
    { "kv_store q8_0", store_q8_0, ENTRY(kv_store), HEAD_DIM, HEAD_DIM * (8 + 2.125), KN_L1 },
    { "attend_merge", attend_merge, ENTRY(attend_merge), HEAD_DIM, HEAD_DIM * 12.0, KN_L1 },
    { "attend_finish", attend_finish, ENTRY(attend_finish), HEAD_DIM, HEAD_DIM * 8.0, KN_L1 },
    { "argmax", argmax, ENTRY(argmax), N_VOCAB, N_VOCAB * 4.0, KN_L2 },
#undef ENTRY
};
#define N_OPS (sizeof(ops) / sizeof(ops[0]))

struct operation {
    op_fn fn;
    const struct sl_kernels *kernels;
    struct vec *vecs; /* by worker */
};

static void operate(void *arg, uint32_t worker, uint64_t n_calls)
{
    struct operation *op = arg;

    for (; n_calls; n_calls--)
        op->fn(op->kernels, &op->vecs[worker]);
}

static void fill(struct vec *v)
{
    uint64_t random = SEED;

    memset(v, 0, sizeof(*v));
    bn_weights_floats(v->in[0], sizeof(v->in) / sizeof(float), &random);
    bn_weights_floats(v->long_in, N_VOCAB, &random);
    for (uint32_t i = 0; i < HEAD_DIM / 2; i++) { /* cosine and sine of one angle */
        v->in[5][i] = 0.8f;
        v->in[6][i] = 0.6f;
    }
    bn_weights_floats(v->out.x, WIDTH, &random);
    v->out.l = 1;
}

static void check(struct kn *kn, const struct kn_group *g, const struct kn_case *c,
                  struct vec *want, struct vec *got)
{
    const struct operation *op = c->arg;

    fill(want);
    fill(got);
    op->fn(&kn->kernels[SL_CPU_C], want);
    op->fn(op->kernels, got);
    kn_check(kn, c, g->level, &want->out, &got->out, sizeof(got->out));
}

static void run_group(struct kn *kn, struct kn_group *g, struct vec *vecs, struct vec *spare)
{
    static struct operation operations[N_OPS]; /* one thread */

    for (size_t i = 0; i < N_OPS; i++) {
        enum sl_cpu_level isa = kn_entry_level(kn, g->level, ops[i].entry);

        if (!kn_wants_kernel(kn, ops[i].name) || !kn_wants_place(kn, ops[i].place) ||
            (isa != g->level && kn->opts.level < 0))
            continue;
        operations[i] = (struct operation){ ops[i].fn, &kn->kernels[g->level], vecs };
        g->cases[g->n++] = (struct kn_case){
            .kernel = ops[i].name,
            .path = "",
            .isa = sl_cpu_level_name(isa),
            .n_cols = ops[i].n,
            .n_rows = 1,
            .n_tok = 1,
            .place = ops[i].place,
            .bytes = ops[i].bytes,
            .call = operate,
            .arg = &operations[i],
        };
        check(kn, g, &g->cases[g->n - 1], spare, &vecs[0]);
    }
    for (uint32_t i = 0; i < kn->n_workers; i++)
        fill(&vecs[i]);
    if (g->n)
        kn_run_group(kn, g);
}

int kn_vector(struct kn *kn)
{
    /* one for each worker and one for C */
    struct vec *vecs = aligned_alloc(_Alignof(struct vec), (kn->n_workers + 1) * sizeof(*vecs));

    if (!vecs)
        return -ENOMEM;
    for (int level = SL_CPU_C; level <= (int)kn->best; level++)
        for (uint32_t team = 0; team < kn->n_teams; team++) {
            struct kn_group g = { .level = (enum sl_cpu_level)level, .team = kn->teams[team] };

            if (kn_wants_level(kn, g.level) && kn_wants_batch(kn, 1) &&
                (level > SL_CPU_C || team == 0))
                run_group(kn, &g, vecs, &vecs[kn->n_workers]);
        }
    free(vecs);
    return 0;
}
