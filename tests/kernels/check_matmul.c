/*
 * Products of the block types: `one` and `many` of each level against C. Weights
 * end at a guard page or start at any even address; outputs lie among poison and
 * are compared with their surroundings.
 */
#include <stdio.h>
#include <string.h>

#include "blocks.h"
#include "checkkern.h"
#include "tensor/block.h"

struct shape {
    uint32_t n_rows, n_tok, n_cols;
};

static uint32_t block_len(enum sl_dtype dtype)
{
    return sl_dtype_find(dtype)->block_len;
}

struct outputs {
    float *want, *got;
    size_t n, stride;
};

static struct outputs make_outputs(struct ck *ck, struct shape s)
{
    struct outputs o = { .stride = s.n_rows + ck_rand_below(ck, 9) };

    o.n = (s.n_tok - 1) * o.stride + s.n_rows;
    o.want = ck_alloc_end(ck, o.n * sizeof(float), sizeof(float));
    o.got = ck_alloc_end(ck, o.n * sizeof(float), sizeof(float));
    return o;
}

static void *make_weights(struct ck *ck, enum sl_dtype dtype, struct shape s,
                          enum ck_weights kind)
{
    size_t bytes = s.n_rows * sl_dtype_row_bytes(dtype, s.n_cols);
    void *w;

    if (ck_rand_below(ck, 3) == 0)
        w = ck_alloc_start(ck, bytes, 2 * ck_rand_below(ck, 33));
    else
        w = ck_alloc_end(ck, bytes, 2);
    ck_fill_weights(ck, w, dtype, s.n_rows * (s.n_cols / block_len(dtype)), kind);
    return w;
}

static void check_shape(struct ck *ck, enum sl_dtype dtype, struct shape s)
{
    const struct sl_kernels_matmul *ref = &ck->c->matmul[dtype], *isa = &ck->isa->matmul[dtype];
    enum ck_weights weights = ck_rand_below(ck, 2) ? ck_rand_below(ck, CK_WEIGHTS_N) : 0;
    enum ck_acts acts = ck_rand_below(ck, 2) ? ck_rand_below(ck, CK_ACTS_N) : 0;
    size_t row_bytes = sl_dtype_row_bytes(dtype, s.n_cols);
    void *w = make_weights(ck, dtype, s, weights);
    struct sl_act x = ck_make_act(ck, sl_kernels_act_kind(dtype), s.n_tok, s.n_cols, acts);
    struct outputs o = make_outputs(ck, s);

    ck_about("reference, rows %u, tokens %u, columns %u", s.n_rows, s.n_tok, s.n_cols);
    ref->many(o.want, o.stride, w, row_bytes, s.n_rows, &x);
    if (s.n_tok == 1 && isa->one != ref->one) {
        ck_about("one, rows %u, columns %u, weights %d, activations %d", s.n_rows, s.n_cols,
                 (int)weights, (int)acts);
        isa->one(o.got, o.stride, w, row_bytes, s.n_rows, &x);
        ck_equal(ck, o.want, o.got, o.n * sizeof(float));
        ck_poison(o.got, o.n * sizeof(float));
    }
    if (isa->many != ref->many) {
        ck_about("many, rows %u, tokens %u, columns %u, stride %zu, weights %d, activations %d",
                 s.n_rows, s.n_tok, s.n_cols, o.stride, (int)weights, (int)acts);
        isa->many(o.got, o.stride, w, row_bytes, s.n_rows, &x);
        ck_equal(ck, o.want, o.got, o.n * sizeof(float));
    }
    ck_free_all(ck);
}

/* Few or many blocks; 1536 and 2048 are the 24 B model's. */
static uint32_t random_cols(struct ck *ck, enum sl_dtype dtype)
{
    static const uint32_t large[] = { 1536, 1792, 2048 };

    if (ck_rand_below(ck, 8) == 0)
        return large[ck_rand_below(ck, 3)];
    return block_len(dtype) * (1 + ck_rand_below(ck, block_len(dtype) == SL_BLOCK32 ? 12 : 4));
}

static void check(struct ck *ck, int arg)
{
    static const uint32_t tokens[] = { 1, 2, 3, 4, 7, 12, 13, 16, 31 };
    enum sl_dtype dtype = (enum sl_dtype)arg;
    const struct sl_kernels_matmul *ref = &ck->c->matmul[dtype], *isa = &ck->isa->matmul[dtype];

    if (isa->one == ref->one && isa->many == ref->many)
        return;
    for (uint32_t n_rows = 0; n_rows <= 40; n_rows++) {
        check_shape(ck, dtype, (struct shape){ n_rows, 1, random_cols(ck, dtype) });
        check_shape(ck, dtype, (struct shape){ n_rows, tokens[ck_rand_below(ck, 9)],
                                               random_cols(ck, dtype) });
    }
    for (uint32_t n_tok = 1; n_tok <= 40; n_tok++) {
        uint32_t n_rows = 1 + ck_rand_below(ck, 24);

        check_shape(ck, dtype, (struct shape){ n_rows, n_tok, random_cols(ck, dtype) });
    }
    check_shape(ck, dtype, (struct shape){ 67, 70, 2048 });
    check_shape(ck, dtype, (struct shape){ 5, 513, 512 });
    /* Wider than the parts that rows are taken in: the 24 B model's, and a block too many. */
    check_shape(ck, dtype, (struct shape){ 35, 1, 11776 });
    check_shape(ck, dtype, (struct shape){ 17, 1, 8192 + SL_BLOCK256 });
    check_shape(ck, dtype, (struct shape){ 5, 1, 4096 + block_len(dtype) });
}

/* Benchmark: weights are walked through a buffer that no cache holds. */
#define BENCH_BYTES (192u << 20)

struct bench {
    sl_matmul_fn fn;
    float *out;
    char *w;
    size_t row_bytes, mat_bytes, at;
    uint32_t n_rows;
    struct sl_act x;
};

static void bench_call(void *arg)
{
    struct bench *b = arg;

    b->fn(b->out, b->n_rows, b->w + b->at, b->row_bytes, b->n_rows, &b->x);
    b->at += b->mat_bytes;
    if (b->at + b->mat_bytes > BENCH_BYTES)
        b->at = 0;
}

static void bench(struct ck *ck, int arg)
{
    static const struct shape shapes[] = {
        { 1536, 1, 2048 },   { 2048, 1, 1536 },   { 65536, 1, 2048 },  { 1536, 4, 2048 },
        { 1536, 16, 2048 },  { 1536, 64, 2048 },  { 2048, 64, 1536 },  { 1536, 512, 2048 },
    };
    enum sl_dtype dtype = (enum sl_dtype)arg;
    const struct sl_kernels_matmul *isa = &ck->isa->matmul[dtype];
    struct bench b = { .w = ck_alloc_end(ck, BENCH_BYTES, 64) };

    ck_fill_weights(ck, b.w, dtype, BENCH_BYTES / sl_dtype_find(dtype)->block_bytes,
                    CK_WEIGHTS_RANDOM);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct shape s = shapes[i];
        double seconds, macs = (double)s.n_rows * s.n_tok * s.n_cols;

        b.x = ck_make_act(ck, sl_kernels_act_kind(dtype), s.n_tok, s.n_cols, CK_ACTS_RANDOM);
        b.out = ck_alloc_end(ck, (size_t)s.n_rows * s.n_tok * sizeof(float), 64);
        b.n_rows = s.n_rows;
        b.row_bytes = sl_dtype_row_bytes(dtype, s.n_cols);
        b.mat_bytes = b.row_bytes * s.n_rows;
        if (b.mat_bytes > BENCH_BYTES)
            continue;
        b.at = 0;
        b.fn = s.n_tok == 1 ? isa->one : isa->many;
        seconds = ck_time(bench_call, &b);
        printf("%-6s %-6s %4ux%-5u tokens %3u  %8.1f us  %6.2f GB/s  %7.2f GMAC/s\n",
               sl_dtype_name(dtype), s.n_tok == 1 ? isa->one_isa : isa->many_isa, s.n_cols,
               s.n_rows, s.n_tok, seconds * 1e6, (double)b.mat_bytes / seconds * 1e-9,
               macs / seconds * 1e-9);
        fflush(stdout);
    }
}

static const struct ck_case cases[] = {
    { "q4_0", SL_DTYPE_Q4_0, check, bench },     { "q4_1", SL_DTYPE_Q4_1, check, bench },
    { "q5_0", SL_DTYPE_Q5_0, check, bench },     { "q5_1", SL_DTYPE_Q5_1, check, bench },
    { "q8_0", SL_DTYPE_Q8_0, check, bench },     { "iq4_nl", SL_DTYPE_IQ4_NL, check, bench },
    { "q2_k", SL_DTYPE_Q2_K, check, bench },     { "q3_k", SL_DTYPE_Q3_K, check, bench },
    { "q4_k", SL_DTYPE_Q4_K, check, bench },     { "q5_k", SL_DTYPE_Q5_K, check, bench },
    { "q6_k", SL_DTYPE_Q6_K, check, bench },     { "iq4_xs", SL_DTYPE_IQ4_XS, check, bench },
};

const struct ck_group ck_group_matmul = { "matmul", cases, sizeof(cases) / sizeof(cases[0]) };
