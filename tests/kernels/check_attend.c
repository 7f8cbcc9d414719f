/*
 * The KV cache and attention: each level against C for every type, head dimensions
 * that fill no vector, queries that see different numbers of positions; C against
 * a softmax in double precision, with the layout read here as kernels.h words it.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkkern.h"
#include "floats.h"
#include "kernels/half.h"
#include "kernels/mathfn.h"

#define N_POS SL_KV_BLOCK_TOK

static const char *type_name(int type)
{
    return type == SL_KV_F16 ? "f16" : type == SL_KV_F32 ? "f32" : "q8_0";
}

static uint32_t random_head_dim(struct ck *ck, enum sl_kv_type type)
{
    static const uint32_t dims[] = { 2, 6, 16, 18, 30, 32, 34, 48, 64, 64, 80, 128, 130, 254, 256 };

    if (type == SL_KV_Q8_0)
        return 32 * (1 + ck_rand_below(ck, 8));
    return dims[ck_rand_below(ck, sizeof(dims) / sizeof(dims[0]))];
}

/* A block with n positions stored by C, the others zero. */
static void *make_block(struct ck *ck, enum sl_kv_type type, uint32_t head_dim, uint32_t n,
                        enum ck_floats kind)
{
    size_t bytes = sl_kernels_kv_bytes(type, head_dim);
    void *kv = ck_alloc_end(ck, bytes, 64);
    float k[256], v[256];

    memset(kv, 0, bytes);
    for (uint32_t pos = 0; pos < n; pos++) {
        ck_fill_floats(ck, k, head_dim, kind == CK_FLOATS_SPECIAL ? CK_FLOATS_NORMAL : kind);
        ck_fill_floats(ck, v, head_dim, kind);
        ck->c->kv_store(kv, type, head_dim, pos, k, v);
    }
    return kv;
}

static void check_kv_store(struct ck *ck, int arg)
{
    enum sl_kv_type type = (enum sl_kv_type)arg;

    if (ck->isa->kv_store == ck->c->kv_store)
        return;
    for (int round = 0; round < 60; round++) {
        uint32_t head_dim = random_head_dim(ck, type);
        size_t bytes = sl_kernels_kv_bytes(type, head_dim);
        enum ck_floats kind = (enum ck_floats)ck_rand_below(ck, CK_FLOATS_N);
        char *want = ck_alloc_end(ck, bytes, 64), *got = ck_alloc_end(ck, bytes, 64);

        memset(want, 0, bytes);
        memset(got, 0, bytes);
        for (int i = 0; i < 40; i++) {
            float *k = ck_make_floats(ck, head_dim, kind);
            float *v = ck_make_floats(ck, head_dim, kind);
            uint32_t pos = ck_rand_below(ck, N_POS);

            ck_about("head_dim %u, pos %u, kind %d", head_dim, pos, (int)kind);
            ck->c->kv_store(want, type, head_dim, pos, k, v);
            ck->isa->kv_store(got, type, head_dim, pos, k, v);
        }
        ck_equal(ck, want, got, bytes);
        ck_free_all(ck);
    }
}

struct query_set {
    uint32_t n;
    const float *q[SL_ATTEND_QUERIES_MAX];
    uint16_t n_valid[SL_ATTEND_QUERIES_MAX];
};

/* n_valid: one number for all (decode), rising by groups (prefill), or at random. */
static void make_queries(struct ck *ck, struct query_set *s, uint32_t head_dim, uint32_t n_pos,
                         enum ck_floats kind)
{
    uint32_t how = ck_rand_below(ck, 3), group = 1 + ck_rand_below(ck, 6);
    uint32_t first = 1 + ck_rand_below(ck, n_pos);

    s->n = ck_rand_below(ck, 3) ? 1 + ck_rand_below(ck, SL_ATTEND_QUERIES_MAX) : 4;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t n = how == 0   ? first
                     : how == 1 ? first + i / group
                                : 1 + ck_rand_below(ck, n_pos);

        float *q = ck_make_floats(ck, head_dim, kind);

        s->n_valid[i] = (uint16_t)(n < n_pos ? n : n_pos);
        s->q[i] = q;
        if (ck_rand_below(ck, 8) == 0) { /* scores that vanish, to either zero */
            memset(q, 0, head_dim * sizeof(float));
            q[0] = 0x1p-149f;
        }
    }
}

static struct sl_attend args_of(const struct query_set *s, enum sl_kv_type type,
                                uint32_t head_dim, const void *kv)
{
    return (struct sl_attend){ .kv_type = type, .head_dim = head_dim, .n_queries = s->n,
                               .scale = 1.0f / sqrtf((float)head_dim), .q = s->q,
                               .n_valid = s->n_valid, .kv = kv };
}

static void check_attend(struct ck *ck, int arg)
{
    enum sl_kv_type type = (enum sl_kv_type)arg;

    if (ck->isa->attend == ck->c->attend)
        return;
    for (int round = 0; round < 120; round++) {
        uint32_t head_dim = random_head_dim(ck, type);
        uint32_t n_pos = ck_rand_below(ck, 3) ? 1 + ck_rand_below(ck, N_POS) : N_POS;
        enum ck_floats kind = ck_rand_below(ck, 2) ? ck_rand_below(ck, CK_FLOATS_N) : 0;
        void *kv = make_block(ck, type, head_dim, n_pos, kind);
        struct query_set s;
        struct ck_out m, l, acc;
        struct sl_attend a;

        make_queries(ck, &s, head_dim, n_pos, kind == CK_FLOATS_SPECIAL ? 0 : kind);
        m = ck_make_out(ck, s.n);
        l = ck_make_out(ck, s.n);
        acc = ck_make_out(ck, (size_t)s.n * head_dim);
        a = args_of(&s, type, head_dim, kv);
        ck_about("head_dim %u, queries %u, first sees %u of %u, kind %d", head_dim, s.n,
                 s.n_valid[0], n_pos, (int)kind);
        a.m = m.want, a.l = l.want, a.acc = acc.want;
        ck->c->attend(&a);
        a.m = m.got, a.l = l.got, a.acc = acc.got;
        ck->isa->attend(&a);
        ck_out_equal(ck, &m);
        ck_out_equal(ck, &l);
        ck_out_equal(ck, &acc);
        ck_free_all(ck);
    }
}

/*
 * V is the unit matrix, so acc shows the weights, which must be sl_expf of scores
 * that are whatever floats we like: those below 0, with a stride.
 */
static void check_weights(struct ck *ck, int arg)
{
    const uint32_t head_dim = N_POS, stride = 2039;
    size_t half = sl_kernels_kv_bytes(SL_KV_F32, head_dim) / 2;
    char *kv = ck_alloc_end(ck, 2 * half, 64);
    float q[N_POS] = { 1 }, m, l;
    struct query_set s = { .n = 1, .q = { q }, .n_valid = { N_POS } };
    struct ck_out acc = ck_make_out(ck, head_dim);
    struct sl_attend a = args_of(&s, SL_KV_F32, head_dim, kv);
    uint64_t bits = 0x80000000u + ck_rand_below(ck, stride);

    if (ck->isa->attend == ck->c->attend)
        return;
    memset(kv, 0, 2 * half);
    for (size_t i = 0; i < N_POS; i++)
        ((float *)(kv + half))[i * head_dim + i] = 1.0f;
    a.scale = 1.0f;
    a.m = &m, a.l = &l;
    for (; bits < 0xff800000u; bits += (uint64_t)stride * (N_POS - 1)) {
        for (uint32_t i = 0; i < N_POS; i++) {
            uint64_t at = bits + (uint64_t)(i - 1) * stride;
            float x = i == 0 || at > 0xff800000u ? 0 : sl_f32_from_bits((uint32_t)at);

            ((float *)kv)[(size_t)(i / 16) * head_dim * 16 + i % 16] = x;
            acc.want[i] = sl_expf(x);
        }
        ck_about("scores from %#llx", (unsigned long long)bits);
        a.acc = acc.got;
        ck->isa->attend(&a);
        ck_out_equal(ck, &acc);
    }
}

static void check_merge(struct ck *ck, int arg)
{
    if (ck->isa->attend_merge == ck->c->attend_merge)
        return;
    for (uint32_t n = 0; n < 600; n++) {
        uint32_t head_dim = 2 + n % 255;
        enum ck_floats kind = (enum ck_floats)ck_rand_below(ck, CK_FLOATS_N);
        float *acc = ck_make_floats(ck, head_dim, kind);
        float *acc2 = ck_make_floats(ck, head_dim, kind);
        struct ck_out o = ck_make_out(ck, head_dim), ml = ck_make_out(ck, 2);
        float start[2] = { 20 * ck_rand_normal(ck), fabsf(ck_rand_normal(ck)) };
        float m2 = 20 * ck_rand_normal(ck), l2 = fabsf(ck_rand_normal(ck));

        if (ck_rand_below(ck, 8) == 0) /* nothing yet */
            start[0] = -INFINITY, start[1] = 0, memset(acc, 0, head_dim * sizeof(float));
        ck_about("head_dim %u, kind %d", head_dim, (int)kind);
        ck_out_set(&o, acc);
        ck_out_set(&ml, start);
        ck->c->attend_merge(&ml.want[0], &ml.want[1], o.want, m2, l2, acc2, head_dim);
        ck->isa->attend_merge(&ml.got[0], &ml.got[1], o.got, m2, l2, acc2, head_dim);
        ck_out_equal(ck, &o);
        ck_out_equal(ck, &ml);

        ck->c->attend_finish(o.want, acc, l2, head_dim);
        ck->isa->attend_finish(o.got, acc, l2, head_dim);
        ck_out_equal(ck, &o);
        ck_free_all(ck);
    }
}

/* Element d of position pos of K or V, by the layout that kernels.h states. */
static double stored(const char *kv, enum sl_kv_type type, size_t head_dim, size_t pos, size_t d,
                     bool is_v)
{
    const char *at = kv + (is_v ? sl_kernels_kv_bytes(type, (uint32_t)head_dim) / 2 : 0);
    size_t i = is_v ? pos * head_dim + d : (pos / 16 * head_dim + d) * 16 + pos % 16;
    size_t n_blocks = head_dim / 32;
    size_t i_d = is_v ? pos * n_blocks + d / 32 : (pos / 16 * n_blocks + d / 32) * 16 + pos % 16;

    if (type == SL_KV_F32)
        return ((const float *)at)[i];
    if (type == SL_KV_F16)
        return sl_f16_to_f32(((const uint16_t *)at)[i]);
    return (double)((const int8_t *)at)[i] *
           sl_f16_to_f32(((const uint16_t *)(at + N_POS * head_dim))[i_d]);
}

/*
 * What kv_store loses: half an ulp of F16 (2^-11, or 2^-25 below its normal numbers);
 * half of d in Q8_0, and as much again where d was rounded down and q had to stop
 * at 127 (127 * 2^-11 of d).
 */
static void check_stored(struct ck *ck, int arg)
{
    enum sl_kv_type type = (enum sl_kv_type)arg;

    if (ck->isa->level != SL_CPU_C)
        return;
    for (int round = 0; round < 20; round++) {
        uint32_t head_dim = random_head_dim(ck, type), pos = ck_rand_below(ck, N_POS);
        void *kv = make_block(ck, type, head_dim, 0, CK_FLOATS_NORMAL);
        float x[2][256];

        for (int side = 0; side < 2; side++)
            ck_fill_floats(ck, x[side], head_dim, CK_FLOATS_NORMAL);
        ck->c->kv_store(kv, type, head_dim, pos, x[0], x[1]);
        ck_about("head_dim %u, pos %u", head_dim, pos);
        for (int side = 0; side < 2; side++)
            for (uint32_t d = 0; d < head_dim; d++) {
                double got = stored(kv, type, head_dim, pos, d, side == 1);
                double loss = type == SL_KV_F32 ? 0 : fabs((double)x[side][d]) * 0x1p-11 + 0x1p-25;
                double amax = 0;

                for (uint32_t i = d / 32 * 32; type == SL_KV_Q8_0 && i < d / 32 * 32 + 32; i++)
                    amax = fmax(amax, fabs((double)x[side][i]));
                loss = type == SL_KV_Q8_0 ? amax / 127 * 0.57 : loss;
                ck->n_compared++;
                if (!(fabs(got - (double)x[side][d]) <= loss))
                    ck_fail(ck, "side %d element %u: want %g, got %g", side, d,
                            (double)x[side][d], got);
            }
        ck_free_all(ck);
    }
}

/*
 * A score is off by at most e = head_dim roundings of sum |q k|, and one for scale; a
 * weight by 2 e (score and maximum) and exp's ulp; sums by a rounding per position.
 * With eps 2^-24, an ulp being two: out is off by (4 e + (3 n + 40) eps) * sum p |v| / l.
 */
static void check_query(struct ck *ck, const struct sl_attend *a, uint32_t i, const float *out)
{
    double s[N_POS], m = -INFINITY, l = 0, e = 0;
    uint32_t n = a->n_valid[i];

    for (uint32_t j = 0; j < n; j++) {
        double sum_abs = 0;

        s[j] = 0;
        for (uint32_t d = 0; d < a->head_dim; d++) {
            double t = stored(a->kv, a->kv_type, a->head_dim, j, d, false) * (double)a->q[i][d];

            s[j] += t;
            sum_abs += fabs(t);
        }
        s[j] *= (double)a->scale;
        e = fmax(e, (a->head_dim + 3) * 0x1p-24 * sum_abs * (double)a->scale);
        m = fmax(m, s[j]);
    }
    for (uint32_t j = 0; j < n; j++)
        l += exp(s[j] - m);
    for (uint32_t d = 0; d < a->head_dim; d++) {
        double want = 0, sum_abs = 0;

        for (uint32_t j = 0; j < n; j++) {
            double t = exp(s[j] - m) * stored(a->kv, a->kv_type, a->head_dim, j, d, true);

            want += t;
            sum_abs += fabs(t);
        }
        ck->n_compared++;
        if (!(fabs(want / l - (double)out[d]) <= (4 * e + (3 * n + 40) * 0x1p-24) * sum_abs / l))
            ck_fail(ck, "query %u of %u positions, element %u: want %.9g, got %.9g", i, n, d,
                    want / l, (double)out[d]);
    }
}

static void check_attend_definition(struct ck *ck, int arg)
{
    enum sl_kv_type type = (enum sl_kv_type)arg;

    if (ck->isa->level != SL_CPU_C)
        return;
    for (int round = 0; round < 12; round++) {
        uint32_t head_dim = random_head_dim(ck, type), n_pos = 1 + ck_rand_below(ck, N_POS);
        void *kv = make_block(ck, type, head_dim, n_pos, CK_FLOATS_NORMAL);
        struct query_set s;
        struct sl_attend a;
        float m[SL_ATTEND_QUERIES_MAX], l[SL_ATTEND_QUERIES_MAX], out[256];

        make_queries(ck, &s, head_dim, n_pos, CK_FLOATS_NORMAL);
        s.n = s.n < 6 ? s.n : 6;
        a = args_of(&s, type, head_dim, kv);
        a.m = m, a.l = l;
        a.acc = ck_alloc_end(ck, (size_t)s.n * head_dim * sizeof(float), sizeof(float));
        ck_about("head_dim %u", head_dim);
        ck->c->attend(&a);
        for (uint32_t i = 0; i < s.n; i++) {
            ck->c->attend_finish(out, a.acc + (size_t)i * head_dim, l[i], head_dim);
            check_query(ck, &a, i, out);
        }
        ck_free_all(ck);
    }
}

struct bench {
    const struct sl_kernels *k;
    struct sl_attend a;
    char *kv;
    size_t n_blocks, i_block, block_bytes;
};

static void bench_call(void *arg)
{
    struct bench *b = arg;

    b->a.kv = b->kv + b->i_block * b->block_bytes;
    b->i_block = (b->i_block + 1) % b->n_blocks;
    b->k->attend(&b->a);
}

static void bench_shape(struct ck *ck, enum sl_kv_type type, uint32_t head_dim, uint32_t n_queries,
                        size_t n_blocks)
{
    struct bench b = { .k = ck->isa, .n_blocks = n_blocks };
    void *one = make_block(ck, type, head_dim, N_POS, CK_FLOATS_NORMAL);
    struct query_set s = { .n = n_queries };
    float m[SL_ATTEND_QUERIES_MAX], l[SL_ATTEND_QUERIES_MAX];
    double seconds;

    b.block_bytes = sl_kernels_kv_bytes(type, head_dim);
    b.kv = ck_alloc_end(ck, n_blocks * b.block_bytes, 64);
    for (size_t i = 0; i < n_blocks; i++)
        memcpy(b.kv + i * b.block_bytes, one, b.block_bytes);
    for (uint32_t i = 0; i < n_queries; i++) {
        s.q[i] = ck_make_floats(ck, head_dim, CK_FLOATS_NORMAL);
        s.n_valid[i] = N_POS;
    }
    b.a = args_of(&s, type, head_dim, NULL);
    b.a.m = m, b.a.l = l;
    b.a.acc = ck_alloc_end(ck, (size_t)n_queries * head_dim * sizeof(float), 64);
    seconds = ck_time(bench_call, &b);
    printf("attend %-4s %-6s head_dim %3u queries %2u blocks %4zu  %7.2f us  %6.2f GB/s  "
           "%7.2f GFLOP/s\n", type_name((int)type), ck->isa_name, head_dim, n_queries, n_blocks,
           seconds * 1e6, (double)b.block_bytes / seconds * 1e-9,
           4.0 * N_POS * head_dim * n_queries / seconds * 1e-9);
    fflush(stdout);
    ck_free_all(ck);
}

static void bench(struct ck *ck, int arg)
{
    enum sl_kv_type type = (enum sl_kv_type)arg;

    bench_shape(ck, type, 64, 4, 1);
    bench_shape(ck, type, 64, 4, 2048);
    bench_shape(ck, type, 128, 4, 1024);
    bench_shape(ck, type, 64, 64, 1);
    bench_shape(ck, type, 128, 64, 1);
}

static const struct ck_case cases[] = {
    { "kv_store f16", SL_KV_F16, check_kv_store, NULL },
    { "kv_store f32", SL_KV_F32, check_kv_store, NULL },
    { "kv_store q8_0", SL_KV_Q8_0, check_kv_store, NULL },
    { "attend f16", SL_KV_F16, check_attend, bench },
    { "attend f32", SL_KV_F32, check_attend, bench },
    { "attend q8_0", SL_KV_Q8_0, check_attend, bench },
    { "weights", 0, check_weights, NULL },
    { "merge and finish", 0, check_merge, NULL },
    { "stored f16", SL_KV_F16, check_stored, NULL },
    { "stored f32", SL_KV_F32, check_stored, NULL },
    { "stored q8_0", SL_KV_Q8_0, check_stored, NULL },
    { "definition f16", SL_KV_F16, check_attend_definition, NULL },
    { "definition f32", SL_KV_F32, check_attend_definition, NULL },
    { "definition q8_0", SL_KV_Q8_0, check_attend_definition, NULL },
};

const struct ck_group ck_group_attend = { "attend", cases, sizeof(cases) / sizeof(cases[0]) };
