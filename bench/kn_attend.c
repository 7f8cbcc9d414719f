/*
 * Attention over one KV block of 256 positions: the four queries of a token that share a
 * KV head (decoding), blocks from memory and from the second cache, and sixteen tokens of
 * them (prompts). The heads are those of LFM2-24B-A2B.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "bench/bn_weights.h"
#include "bench/kn.h"

#define HEAD_DIM 64u
#define GROUP 4u /* queries of a KV head */
#define SEED 42

struct result {
    float m[SL_ATTEND_QUERIES_MAX], l[SL_ATTEND_QUERIES_MAX];
    float acc[SL_ATTEND_QUERIES_MAX * HEAD_DIM];
};

struct attention {
    const struct sl_kernels *kernels;
    enum sl_kv_type type;
    uint32_t n_queries;
    const float *const *q;
    const uint16_t *n_valid;
    size_t kv_bytes;
    struct {
        const char *base;
        struct result *result;
        size_t bytes, at;
        char apart[32];
    } workers[SL_POOL_WORKERS_MAX];
};

struct queries {
    float values[SL_ATTEND_QUERIES_MAX][HEAD_DIM];
    const float *q[SL_ATTEND_QUERIES_MAX];
    uint16_t n_valid[SL_ATTEND_QUERIES_MAX];
};

static void attend_block(const struct attention *a, const char *kv, struct result *result)
{
    const struct sl_attend call = {
        .kv_type = a->type,
        .head_dim = HEAD_DIM,
        .n_queries = a->n_queries,
        .scale = 0.125f, /* 1 / sqrt(64) */
        .q = a->q,
        .n_valid = a->n_valid,
        .kv = kv,
        .m = result->m,
        .l = result->l,
        .acc = result->acc,
    };

    a->kernels->attend(&call);
}

static void attend(void *arg, uint32_t worker, uint64_t n_calls)
{
    struct attention *a = arg;
    size_t at = a->workers[worker].at;

    for (; n_calls; n_calls--) {
        attend_block(a, a->workers[worker].base + at, a->workers[worker].result);
        at = at + 2 * a->kv_bytes <= a->workers[worker].bytes ? at + a->kv_bytes : 0;
    }
    a->workers[worker].at = at;
}

static int fill_buffer(struct kn *kn, enum sl_kv_type type)
{
    size_t bytes = sl_kernels_kv_bytes(type, HEAD_DIM);
    void *kv = aligned_alloc(64, bytes);
    float k[HEAD_DIM], v[HEAD_DIM];
    uint64_t random = SEED;

    if (!kv)
        return -ENOMEM;
    memset(kv, 0, bytes);
    for (uint32_t pos = 0; pos < SL_KV_BLOCK_TOK; pos++) {
        bn_weights_floats(k, HEAD_DIM, &random);
        bn_weights_floats(v, HEAD_DIM, &random);
        kn->kernels[SL_CPU_C].kv_store(kv, type, HEAD_DIM, pos, k, v);
    }
    kn_fill(kn, kv, bytes);
    free(kv);
    return 0;
}

static void make_queries(struct queries *qs)
{
    uint64_t random = SEED + 1;

    bn_weights_floats(qs->values[0], (size_t)SL_ATTEND_QUERIES_MAX * HEAD_DIM, &random);
    for (uint32_t i = 0; i < SL_ATTEND_QUERIES_MAX; i++) {
        qs->q[i] = qs->values[i];
        qs->n_valid[i] = SL_KV_BLOCK_TOK;
    }
}

static const char *name_of(enum sl_kv_type type)
{
    return type == SL_KV_F16 ? "attend f16" : type == SL_KV_F32 ? "attend f32" : "attend q8_0";
}

static int add_case(struct kn *kn, struct kn_group *g, enum sl_kv_type type,
                    const struct queries *qs, uint32_t n_queries, enum kn_place place)
{
    struct attention *a = calloc(1, sizeof(*a));
    enum sl_cpu_level isa = kn_entry_level(kn, g->level, offsetof(struct sl_kernels, attend));

    if (!a)
        return -ENOMEM;
    *a = (struct attention){ .kernels = &kn->kernels[g->level], .type = type,
                             .n_queries = n_queries, .q = qs->q, .n_valid = qs->n_valid,
                             .kv_bytes = sl_kernels_kv_bytes(type, HEAD_DIM) };
    g->cases[g->n++] = (struct kn_case){
        .kernel = name_of(type),
        .path = n_queries == GROUP ? "one" : "many",
        .isa = sl_cpu_level_name(isa),
        .n_cols = HEAD_DIM,
        .n_rows = SL_KV_BLOCK_TOK,
        .n_tok = n_queries / GROUP,
        .place = place,
        .bound = KN_BOUND_FMA,
        .bytes = (double)a->kv_bytes,
        .macs = 2.0 * HEAD_DIM * SL_KV_BLOCK_TOK * n_queries,
        .call = attend,
        .arg = a,
    };
    for (uint32_t i = 0; i < bn_team_n(g->team); i++) {
        a->workers[i].base = kn_share(kn, kn->opts.pages, g->team, i, a->kv_bytes,
                                      &a->workers[i].bytes);
        if (place == KN_L2)
            a->workers[i].bytes = kn->cache_bytes[KN_L2];
        a->workers[i].result = malloc(sizeof(struct result));
        if (!a->workers[i].result)
            return -ENOMEM;
    }
    return 0;
}

static void free_cases(struct kn_group *g)
{
    for (uint32_t i = 0; i < g->n; i++) {
        struct attention *a = g->cases[i].arg;

        for (uint32_t w = 0; w < SL_POOL_WORKERS_MAX; w++)
            free(a->workers[w].result);
        free(a);
    }
}

static void check(struct kn *kn, const struct kn_group *g, const struct kn_case *c)
{
    static struct result want; /* large; one thread */
    struct attention reference = *(struct attention *)c->arg;
    struct result *got = reference.workers[0].result;
    uint32_t n = reference.n_queries;

    attend_block(&reference, reference.workers[0].base, got);
    reference.kernels = &kn->kernels[SL_CPU_C];
    attend_block(&reference, reference.workers[0].base, &want);
    kn_check(kn, c, g->level, want.m, got->m, n * sizeof(float));
    kn_check(kn, c, g->level, want.l, got->l, n * sizeof(float));
    kn_check(kn, c, g->level, want.acc, got->acc, (size_t)n * HEAD_DIM * sizeof(float));
}

static int run_group(struct kn *kn, struct kn_group *g, enum sl_kv_type type,
                     const struct queries *qs)
{
    int r = 0;

    if (kn_wants_place(kn, KN_MEMORY) && kn_wants_batch(kn, 1))
        r = add_case(kn, g, type, qs, GROUP, KN_MEMORY);
    if (r == 0 && kn_wants_place(kn, KN_L2) && kn_wants_batch(kn, 1))
        r = add_case(kn, g, type, qs, GROUP, KN_L2);
    if (r == 0 && kn_wants_place(kn, KN_MEMORY) && kn_wants_batch(kn, 16))
        r = add_case(kn, g, type, qs, SL_ATTEND_QUERIES_MAX, KN_MEMORY);
    for (uint32_t i = 0; i < g->n && r == 0; i++)
        check(kn, g, &g->cases[i]);
    if (r == 0 && g->n)
        kn_run_group(kn, g);
    free_cases(g);
    return r;
}

int kn_attend(struct kn *kn, enum sl_kv_type type)
{
    static struct queries qs; /* large; one thread */
    int r;

    if (!kn_wants_kernel(kn, name_of(type)))
        return 0;
    make_queries(&qs);
    r = fill_buffer(kn, type);
    for (int level = SL_CPU_C; level <= (int)kn->best && r == 0; level++)
        for (uint32_t team = 0; team < kn->n_teams && r == 0; team++) {
            struct kn_group g = { .level = (enum sl_cpu_level)level, .team = kn->teams[team] };

            if (kn_wants_level(kn, g.level) && (level > SL_CPU_C || team == 0))
                r = run_group(kn, &g, type, &qs);
        }
    return r;
}
