/*
 * How fast attention of one decoded token reads the KV cache, beside a read loop.
 *
 *     attention [--depth N,..] [--kv TYPE] [--level LEVEL] [--threads N] [--json]
 *
 * The work of one attention layer of LFM2-24B-A2B: 8 KV heads of 64 columns, four queries
 * each, against a cache of so many positions. Blocks lie as the engine's do (those of all
 * layers and heads of 256 positions side by side) and are shared out as it does, one by
 * one; their partial results are merged after a barrier. Successive calls take layer
 * after layer, then a copy of the cache elsewhere, so that short contexts come from
 * memory too, as they do when the weights of a token have passed through the caches.
 *
 * Results are first compared with those of C. Each round begins with the read loops, over
 * ordinary and huge pages; a share is taken within a round.
 */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"
#include "base/pool.h"
#include "bench/bn_buffer.h"
#include "bench/bn_readloop.h"
#include "bench/bn_spread.h"
#include "bench/bn_team.h"
#include "bench/bn_weights.h"
#include "kernels/kernels.h"

#define N_LAYERS 10u
#define N_HEADS_KV 8u
#define GROUP 4u
#define HEAD_DIM 64u
#define N_HEADS (N_HEADS_KV * GROUP)
#define DEPTH_MAX 131072u
#define N_DEPTHS_MAX 16
#define ROUNDS_MAX 101
#define SEED 11

struct args {
    uint32_t depths[N_DEPTHS_MAX], n_depths;
    int kv_type; /* enum sl_kv_type, -1: all */
    int level;   /* -1: the best */
    uint32_t n_threads, n_rounds;
    double seconds;
    bool is_json;
};

/* A partial or a final result of one head. */
struct part {
    float m, l, acc[HEAD_DIM];
};

struct attention {
    const struct sl_kernels *kernels;
    struct sl_pool *pool;
    enum sl_kv_type type;
    const char *kv; /* n_copies caches, [copy][block][layer][head] */
    size_t kv_bytes;
    uint32_t n_blocks, n_copies;
    uint32_t last_valid; /* positions of the last block, 1..256 */
    float q[N_HEADS][HEAD_DIM];
    struct part *parts; /* [N_HEADS][n_blocks] */
    float out[N_HEADS][HEAD_DIM];
    uint32_t next[SL_POOL_WORKERS_MAX]; /* each worker's count of layers, all the same */
};

struct bench {
    struct args args;
    struct sl_topology *topo;
    struct bn_buffer kv, huge;
    struct sl_kernels kernels, reference;
    struct attention a; /* of the current row */
    struct part *parts;
    struct sl_jsonwriter json;
    uint32_t n_faults;
};

static const char *const kv_names[] = { [SL_KV_F16] = "f16", [SL_KV_F32] = "f32",
                                        [SL_KV_Q8_0] = "q8_0" };

static void attend_block(const struct attention *a, uint32_t layer, uint32_t copy, uint32_t b,
                         uint32_t g)
{
    size_t i_block = (((size_t)copy * a->n_blocks + b) * N_LAYERS + layer) * N_HEADS_KV + g;
    size_t i_next = b + 1 < a->n_blocks ? i_block + (size_t)N_LAYERS * N_HEADS_KV : i_block;
    uint16_t valid = (uint16_t)(b + 1 == a->n_blocks ? a->last_valid : SL_KV_BLOCK_TOK);
    const uint16_t n_valid[GROUP] = { valid, valid, valid, valid };
    const float *q[GROUP];
    float m[GROUP], l[GROUP], acc[GROUP * HEAD_DIM];
    const struct sl_attend call = {
        .kv_type = a->type,
        .head_dim = HEAD_DIM,
        .n_queries = GROUP,
        .scale = 0.125f, /* 1 / sqrt(64) */
        .q = q,
        .n_valid = n_valid,
        .kv = a->kv + i_block * a->kv_bytes,
        .kv_next = a->kv + i_next * a->kv_bytes,
        .m = m,
        .l = l,
        .acc = acc,
    };

    for (uint32_t i = 0; i < GROUP; i++)
        q[i] = a->q[g * GROUP + i];
    a->kernels->attend(&call);
    for (uint32_t i = 0; i < GROUP; i++) {
        struct part *part = &a->parts[(size_t)(g * GROUP + i) * a->n_blocks + b];

        part->m = m[i];
        part->l = l[i];
        memcpy(part->acc, acc + i * HEAD_DIM, sizeof(part->acc));
    }
}

static void merge_head(struct attention *a, uint32_t h)
{
    struct part *state = &a->parts[(size_t)h * a->n_blocks];

    for (uint32_t b = 1; b < a->n_blocks; b++)
        a->kernels->attend_merge(&state->m, &state->l, state->acc, state[b].m, state[b].l,
                                 state[b].acc, HEAD_DIM);
    a->kernels->attend_finish(a->out[h], state->acc, state->l, HEAD_DIM);
}

/* n_calls layers. */
static void attend(void *arg, uint32_t worker, uint64_t n_calls)
{
    struct attention *a = arg;
    uint32_t n_workers = sl_pool_n_workers(a->pool);

    for (; n_calls; n_calls--) {
        uint32_t at = a->next[worker]++ % (N_LAYERS * a->n_copies);
        uint64_t n_items = (uint64_t)a->n_blocks * N_HEADS_KV;

        for (uint64_t i = sl_pool_take(a->pool, 1); i < n_items; i = sl_pool_take(a->pool, 1))
            attend_block(a, at % N_LAYERS, at / N_LAYERS, (uint32_t)(i / N_HEADS_KV),
                         (uint32_t)(i % N_HEADS_KV));
        sl_pool_barrier(a->pool);
        for (uint32_t h = worker; h < N_HEADS; h += n_workers)
            merge_head(a, h);
        sl_pool_barrier(a->pool);
    }
}

/* Copies of one block of random keys and values. */
static int fill(struct bench *b, enum sl_kv_type type)
{
    size_t bytes = sl_kernels_kv_bytes(type, HEAD_DIM);
    char *block = aligned_alloc(64, bytes);
    float k[HEAD_DIM], v[HEAD_DIM];
    uint64_t random = SEED;

    if (!block)
        return -ENOMEM;
    memset(block, 0, bytes);
    for (uint32_t pos = 0; pos < SL_KV_BLOCK_TOK; pos++) {
        bn_weights_floats(k, HEAD_DIM, &random);
        bn_weights_floats(v, HEAD_DIM, &random);
        b->reference.kv_store(block, type, HEAD_DIM, pos, k, v);
    }
    for (size_t at = 0; at + bytes <= b->kv.bytes; at += bytes)
        memcpy(b->kv.base + at, block, bytes);
    free(block);
    return 0;
}

static size_t cache_bytes(enum sl_kv_type type, uint32_t depth)
{
    uint32_t n_blocks = (depth + SL_KV_BLOCK_TOK - 1) / SL_KV_BLOCK_TOK;

    return (size_t)n_blocks * N_LAYERS * N_HEADS_KV * sl_kernels_kv_bytes(type, HEAD_DIM);
}

static void prepare(struct bench *b, enum sl_kv_type type, uint32_t depth)
{
    uint64_t random = SEED + 1;

    b->a = (struct attention){
        .kernels = &b->kernels,
        .type = type,
        .kv = b->kv.base,
        .kv_bytes = sl_kernels_kv_bytes(type, HEAD_DIM),
        .n_blocks = (depth + SL_KV_BLOCK_TOK - 1) / SL_KV_BLOCK_TOK,
        .n_copies = (uint32_t)(b->kv.bytes / cache_bytes(type, depth)),
        .last_valid = (depth - 1) % SL_KV_BLOCK_TOK + 1,
        .parts = b->parts,
    };
    bn_weights_floats(b->a.q[0], (size_t)N_HEADS * HEAD_DIM, &random);
}

static void check(struct bench *b, struct bn_team *team, uint32_t depth)
{
    float got[N_HEADS][HEAD_DIM];

    (void)bn_team_time(team, attend, &b->a, 1);
    memcpy(got, b->a.out, sizeof(got));
    b->a.kernels = &b->reference;
    (void)bn_team_time(team, attend, &b->a, 1);
    b->a.kernels = &b->kernels;
    if (memcmp(got, b->a.out, sizeof(got)) == 0)
        return;
    b->n_faults++;
    fprintf(stderr, "attention: %s at depth %u: not what C gives\n", kv_names[b->a.type], depth);
}

struct samples {
    double seconds[ROUNDS_MAX], read[ROUNDS_MAX], huge[ROUNDS_MAX]; /* of a layer; bytes per s */
    double of_read[ROUNDS_MAX], of_huge[ROUNDS_MAX];
};

static void write_f64(struct sl_jsonwriter *w, const char *key, double value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_f64(w, value);
}

static void write_u64(struct sl_jsonwriter *w, const char *key, uint64_t value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_u64(w, value);
}

static void report(struct bench *b, uint32_t depth, uint32_t n_threads, struct samples *s)
{
    uint32_t n = b->args.n_rounds;
    double bytes = (double)b->a.kv_bytes * N_HEADS_KV * depth / SL_KV_BLOCK_TOK;
    double macs = 2.0 * N_HEADS * HEAD_DIM * depth;
    struct bn_spread layer = bn_spread_of(s->seconds, n);
    double read = bn_spread_of(s->read, n).median, huge = bn_spread_of(s->huge, n).median;
    double of_read = bn_spread_of(s->of_read, n).median;
    double of_huge = bn_spread_of(s->of_huge, n).median;
    struct sl_jsonwriter *w = &b->json;

    if (!b->args.is_json) {
        printf("%-5s %6u %3u %10.1f %8.2f %7.2f %7.2f %8.2f %7.2f %5.0f %7.2f %5.0f\n",
               kv_names[b->a.type], depth, n_threads, layer.median * 1e6,
               layer.median * N_LAYERS * 1e3, bytes / layer.median * 1e-9,
               bytes / layer.low * 1e-9, macs / layer.median * 1e-9, read * 1e-9, of_read * 100,
               huge * 1e-9, of_huge * 100);
        (void)fflush(stdout); /* what failed shows at the end */
        return;
    }
    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_key(w, "kv");
    sl_jsonwriter_string(w, kv_names[b->a.type]);
    write_u64(w, "depth", depth);
    write_u64(w, "n_threads", n_threads);
    write_f64(w, "layer_us", layer.median * 1e6);
    write_f64(w, "gb_per_s", bytes / layer.median * 1e-9);
    write_f64(w, "gb_per_s_low", bytes / layer.high * 1e-9);
    write_f64(w, "gb_per_s_high", bytes / layer.low * 1e-9);
    write_f64(w, "gmac_per_s", macs / layer.median * 1e-9);
    write_f64(w, "read_gb_per_s", read * 1e-9);
    write_f64(w, "read_huge_gb_per_s", huge * 1e-9);
    write_f64(w, "of_read", of_read);
    write_f64(w, "of_read_huge", of_huge);
    sl_jsonwriter_end_object(w);
}

static void measure(struct bench *b, struct bn_team *team, enum sl_kv_type type, uint32_t depth)
{
    static struct samples s; /* large; one thread */
    static struct bn_readloop read, huge;
    double bytes;
    uint64_t n_calls;

    prepare(b, type, depth);
    bytes = (double)b->a.kv_bytes * N_HEADS_KV * depth / SL_KV_BLOCK_TOK;
    b->a.pool = bn_team_pool(team);
    check(b, team, depth);
    memset(b->a.next, 0, sizeof(b->a.next));
    n_calls = bn_team_calibrate(team, attend, &b->a, b->args.seconds);
    bn_readloop_init(&read, team, b->kv.base, b->kv.bytes, 0, b->kernels.level, b->args.seconds);
    bn_readloop_init(&huge, team, b->huge.base, b->huge.bytes, 0, b->kernels.level,
                     b->args.seconds);
    for (uint32_t i = 0; i < b->args.n_rounds; i++) {
        s.read[i] = bn_readloop_rate(&read);
        s.huge[i] = bn_readloop_rate(&huge);
        s.seconds[i] = bn_team_time(team, attend, &b->a, n_calls) / (double)n_calls;
        s.of_read[i] = bytes / s.seconds[i] / s.read[i];
        s.of_huge[i] = bytes / s.seconds[i] / s.huge[i];
    }
    report(b, depth, bn_team_n(team), &s);
}

static int measure_all(struct bench *b, struct bn_team *team)
{
    for (int type = SL_KV_F16; type <= SL_KV_Q8_0; type++) {
        int r;

        if (b->args.kv_type >= 0 && b->args.kv_type != type)
            continue;
        r = fill(b, (enum sl_kv_type)type);
        if (r < 0)
            return r;
        for (uint32_t i = 0; i < b->args.n_depths; i++)
            measure(b, team, (enum sl_kv_type)type, b->args.depths[i]);
    }
    return 0;
}

/* The largest cache, and what the read loop wants. */
static size_t buffer_bytes(const struct bench *b)
{
    enum sl_kv_type widest = b->args.kv_type >= 0 ? (enum sl_kv_type)b->args.kv_type : SL_KV_F32;
    size_t bytes = bn_buffer_bytes(b->topo);

    for (uint32_t i = 0; i < b->args.n_depths; i++)
        if (cache_bytes(widest, b->args.depths[i]) > bytes)
            bytes = cache_bytes(widest, b->args.depths[i]);
    return bytes;
}

static int init(struct bench *b, struct sl_diag *diag)
{
    enum sl_cpu_level best = sl_cpu_best();
    uint32_t n_blocks = 0;
    int r;

    if (b->args.level > (int)best)
        return sl_diag_set(diag, -ENOTSUP, "this machine has %s at most", sl_cpu_level_name(best));
    sl_kernels_init(&b->kernels, b->args.level >= 0 ? (enum sl_cpu_level)b->args.level : best);
    sl_kernels_init(&b->reference, SL_CPU_C);
    r = sl_topology_open(&b->topo, diag);
    if (r < 0)
        return r;
    r = bn_buffer_new(&b->kv, buffer_bytes(b), BN_PAGES_ORDINARY, b->topo, diag);
    if (r < 0)
        return r;
    r = bn_buffer_new(&b->huge, bn_buffer_bytes(b->topo), BN_PAGES_HUGE, b->topo, diag);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < b->args.n_depths; i++)
        if (b->args.depths[i] / SL_KV_BLOCK_TOK + 1 > n_blocks)
            n_blocks = b->args.depths[i] / SL_KV_BLOCK_TOK + 1;
    b->parts = malloc((size_t)N_HEADS * n_blocks * sizeof(*b->parts));
    return b->parts ? 0 : sl_diag_set(diag, -ENOMEM, "no memory");
}

static void print_begin(struct bench *b)
{
    struct sl_jsonwriter *w = &b->json;

    if (!b->args.is_json) {
        printf("attention of a decoded token, %s, one layer of LFM2-24B-A2B; median and best of %u "
               "rounds\n%-5s %6s %3s %10s %8s %7s %7s %8s %7s %5s %7s %5s\n",
               sl_cpu_level_name(b->kernels.level), b->args.n_rounds, "kv", "depth", "thr",
               "us/layer", "ms/token", "GB/s", "best", "GMAC/s", "read", "%", "huge", "%");
        return;
    }
    sl_jsonwriter_init(w, stdout, SL_JSONWRITER_SPACED);
    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_key(w, "program");
    sl_jsonwriter_string(w, "attention");
    sl_jsonwriter_key(w, "level");
    sl_jsonwriter_string(w, sl_cpu_level_name(b->kernels.level));
    write_u64(w, "n_rounds", b->args.n_rounds);
    sl_jsonwriter_key(w, "rows");
    sl_jsonwriter_begin_array(w);
}

static int print_end(struct bench *b)
{
    if (b->args.is_json) {
        sl_jsonwriter_end_array(&b->json);
        write_u64(&b->json, "n_faults", b->n_faults);
        sl_jsonwriter_end_object(&b->json);
        if (sl_jsonwriter_done(&b->json) < 0 || printf("\n") < 0)
            return -EIO;
    }
    return fflush(stdout) == 0 ? 0 : -EIO;
}

static int run(struct bench *b, struct sl_diag *diag)
{
    uint32_t counts[2] = { b->args.n_threads ? b->args.n_threads : 1, 0 };
    uint32_t n_done = 0;
    int r = 0;

    print_begin(b);
    for (int i = 0; i < (b->args.n_threads ? 1 : 2) && r == 0; i++) {
        struct bn_team *team = NULL;

        r = bn_team_new_cores(&team, b->topo, counts[i], diag);
        if (r < 0)
            return r;
        if (bn_team_n(team) != n_done) { /* a single core is not measured twice */
            r = measure_all(b, team);
            n_done = bn_team_n(team);
        }
        bn_team_free(team);
    }
    if (r == 0)
        r = print_end(b);
    return r < 0 ? sl_diag_set(diag, r, "%s", sl_err_text(r)) : 0;
}

static void parse_depths(struct args *args, char *arg, struct argp_state *state)
{
    args->n_depths = 0;
    for (char *at = arg;; at++) {
        unsigned long n = strtoul(at, &at, 10);

        if (n < 1 || n > DEPTH_MAX || (*at && *at != ',') || args->n_depths == N_DEPTHS_MAX)
            argp_error(state, "depths are at most %d numbers from 1 to %u", N_DEPTHS_MAX,
                       DEPTH_MAX);
        args->depths[args->n_depths++] = (uint32_t)n;
        if (!*at)
            return;
    }
}

static uint32_t parse_count(struct argp_state *state, const char *text, uint32_t max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || value < 1 || value > max)
        argp_error(state, "%s is no number from 1 to %u", text, max);
    return (uint32_t)value;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;

    switch (key) {
    case 'd':
        parse_depths(args, arg, state);
        return 0;
    case 'k':
        for (args->kv_type = SL_KV_Q8_0; args->kv_type >= 0; args->kv_type--)
            if (strcmp(kv_names[args->kv_type], arg) == 0)
                return 0;
        argp_error(state, "no such KV type: %s", arg);
        return 0;
    case 'l':
        args->level = sl_cpu_level_from_name(arg);
        if (args->level < 0)
            argp_error(state, "no such level: %s", arg);
        return 0;
    case 't':
        args->n_threads = parse_count(state, arg, SL_POOL_WORKERS_MAX);
        return 0;
    case 'r':
        args->n_rounds = parse_count(state, arg, ROUNDS_MAX);
        return 0;
    case 'm':
        args->seconds = parse_count(state, arg, 10000) * 1e-3;
        return 0;
    case 'j':
        args->is_json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "depth", 'd', "N,..", 0, "positions (512,2048,8192,32768)", 0 },
        { "kv", 'k', "TYPE", 0, "only f16, f32 or q8_0", 0 },
        { "level", 'l', "LEVEL", 0, "c, avx2 or avx512 (the best)", 0 },
        { "threads", 't', "N", 0, "threads (one, and one per core)", 0 },
        { "rounds", 'r', "N", 0, "rounds (5)", 0 },
        { "ms", 'm', "N", 0, "length of a timing in milliseconds (10)", 0 },
        { "json", 'j', NULL, 0, "JSON in place of a table", 0 },
        { 0 }
    };
    static const struct argp argp = { options, parse_option, NULL,
                                      "Measure attention of a token beside a read loop.", NULL,
                                      NULL, NULL };
    static struct bench b = {
        .args = { .depths = { 512, 2048, 8192, 32768 }, .n_depths = 4, .kv_type = -1, .level = -1,
                  .n_rounds = 5, .seconds = 10e-3 },
    };
    struct sl_diag diag = { "" };
    int r;

    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &b.args);
    r = init(&b, &diag);
    if (r == 0)
        r = run(&b, &diag);
    if (r < 0)
        fprintf(stderr, "attention: %s\n", diag.text);
    free(b.parts);
    bn_buffer_free(&b.kv);
    bn_buffer_free(&b.huge);
    sl_topology_close(b.topo);
    return r < 0 || b.n_faults;
}
