/*
 * Products with F32, F16 and BF16 weights: `one` and `many` of each level against C,
 * and C against double precision. Rows of any length, weights at any address of
 * their alignment, the last row at a guard page.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkkern.h"
#include "floats.h"
#include "kernels/half.h"

struct shape {
    uint32_t n_rows, n_tok, n_cols;
};

static void *make_weights(struct ck *ck, enum sl_dtype dtype, size_t n, enum ck_floats kind)
{
    if (dtype == SL_DTYPE_F32)
        return ck_make_floats(ck, n, kind);
    return ck_make_halves(ck, n, kind, dtype == SL_DTYPE_BF16);
}

static struct sl_act make_act(struct ck *ck, struct shape s, enum ck_floats kind)
{
    size_t bytes = sl_act_bytes(SL_ACT_F32, s.n_tok, s.n_cols);
    struct sl_act act;

    sl_act_init(&act, SL_ACT_F32, s.n_tok, s.n_cols, ck_alloc_end(ck, bytes, 64));
    ck_fill_floats(ck, act.f32, (size_t)s.n_tok * s.n_cols, kind);
    return act;
}

static void check_shape(struct ck *ck, enum sl_dtype dtype, struct shape s)
{
    const struct sl_kernels_matmul *ref = &ck->c->matmul[dtype], *isa = &ck->isa->matmul[dtype];
    enum ck_floats w_kind = ck_rand_below(ck, 2) ? ck_rand_below(ck, CK_FLOATS_N) : 0;
    enum ck_floats x_kind = ck_rand_below(ck, 2) ? ck_rand_below(ck, CK_FLOATS_N) : 0;
    size_t stride = s.n_rows + ck_rand_below(ck, 9);
    size_t row_bytes = sl_dtype_row_bytes(dtype, s.n_cols);
    void *w = make_weights(ck, dtype, (size_t)s.n_rows * s.n_cols, w_kind);
    struct sl_act x = make_act(ck, s, x_kind);
    struct ck_out o = ck_make_out(ck, (s.n_tok - 1) * stride + s.n_rows);

    ck_about("reference, rows %u, tokens %u, columns %u", s.n_rows, s.n_tok, s.n_cols);
    ref->many(o.want, stride, w, row_bytes, s.n_rows, &x);
    if (s.n_tok == 1) {
        ck_about("one, rows %u, columns %u, kinds %d %d", s.n_rows, s.n_cols, (int)w_kind,
                 (int)x_kind);
        isa->one(o.got, stride, w, row_bytes, s.n_rows, &x);
        ck_out_equal(ck, &o);
    }
    ck_about("many, rows %u, tokens %u, columns %u, stride %zu, kinds %d %d", s.n_rows, s.n_tok,
             s.n_cols, stride, (int)w_kind, (int)x_kind);
    isa->many(o.got, stride, w, row_bytes, s.n_rows, &x);
    ck_out_equal(ck, &o);
    ck_free_all(ck);
}

static void check(struct ck *ck, int arg)
{
    enum sl_dtype dtype = (enum sl_dtype)arg;

    if (ck->isa->matmul[dtype].one == ck->c->matmul[dtype].one)
        return;
    for (uint32_t n_cols = 1; n_cols <= 67; n_cols++) {
        uint32_t n_rows = ck_rand_below(ck, 20);

        check_shape(ck, dtype, (struct shape){ n_rows, 1, n_cols });
        check_shape(ck, dtype, (struct shape){ n_rows, 1 + ck_rand_below(ck, 20), n_cols });
    }
    for (uint32_t n = 0; n <= 20; n++) {
        check_shape(ck, dtype, (struct shape){ n, 1, 1 + ck_rand_below(ck, 300) });
        check_shape(ck, dtype, (struct shape){ n, n + 1, 1 + ck_rand_below(ck, 300) });
    }
    check_shape(ck, dtype, (struct shape){ 64, 1, 2048 });
    check_shape(ck, dtype, (struct shape){ 64, 67, 2048 });
    check_shape(ck, dtype, (struct shape){ 7, 20, 10752 }); /* a chunk of few tokens */
    check_shape(ck, dtype, (struct shape){ 3, 7, 20000 });
    check_shape(ck, dtype, (struct shape){ 5, 513, 512 });
}

static double weight(enum sl_dtype dtype, const void *w, size_t i)
{
    if (dtype == SL_DTYPE_F32)
        return ((const float *)w)[i];
    return dtype == SL_DTYPE_F16 ? sl_f16_to_f32(((const uint16_t *)w)[i])
                                 : sl_bf16_to_f32(((const uint16_t *)w)[i]);
}

/*
 * A lane rounds once per element, the tree four times: n / 16 + 5 roundings of sums
 * that never exceed sum |w x|.
 */
static void check_definition(struct ck *ck, int arg)
{
    enum sl_dtype dtype = (enum sl_dtype)arg;

    if (ck->isa->level != SL_CPU_C)
        return;
    for (uint32_t n_cols = 1; n_cols < 3000; n_cols += 1 + n_cols / 4) {
        struct shape s = { 3, 2, n_cols };
        size_t row_bytes = sl_dtype_row_bytes(dtype, n_cols);
        void *w = make_weights(ck, dtype, (size_t)s.n_rows * n_cols, CK_FLOATS_NORMAL);
        struct sl_act x = make_act(ck, s, CK_FLOATS_NORMAL);
        float out[6];

        ck_about("columns %u", n_cols);
        ck->c->matmul[dtype].many(out, 3, w, row_bytes, s.n_rows, &x);
        for (uint32_t i = 0; i < 6; i++) {
            double sum = 0, sum_abs = 0;

            for (uint32_t c = 0; c < n_cols; c++) {
                double term = weight(dtype, w, (size_t)(i % 3) * n_cols + c) *
                              (double)x.f32[(size_t)(i / 3) * n_cols + c];

                sum += term;
                sum_abs += fabs(term);
            }
            ck->n_compared++;
            if (!(fabs(sum - (double)out[i]) <= (n_cols / 16.0 + 5) * 0x1p-24 * sum_abs))
                ck_fail(ck, "want %.9g, got %.9g", sum, (double)out[i]);
        }
        ck_free_all(ck);
    }
}

struct bench {
    sl_matmul_fn fn;
    float *out;
    char *w;
    size_t row_bytes, mat_bytes, n_mats, i_mat;
    uint32_t n_rows;
    struct sl_act x;
};

static void bench_call(void *arg)
{
    struct bench *b = arg;

    b->fn(b->out, b->n_rows, b->w + b->i_mat * b->mat_bytes, b->row_bytes, b->n_rows, &b->x);
    b->i_mat = (b->i_mat + 1) % b->n_mats;
}

/* n_mats > 1: weights come from memory. */
static void bench_shape(struct ck *ck, enum sl_dtype dtype, struct shape s, size_t n_mats)
{
    const struct sl_kernels_matmul *isa = &ck->isa->matmul[dtype];
    struct bench b = { .n_rows = s.n_rows, .n_mats = n_mats };
    double seconds, n_fma = (double)s.n_rows * s.n_tok * s.n_cols;

    b.row_bytes = sl_dtype_row_bytes(dtype, s.n_cols);
    b.mat_bytes = b.row_bytes * s.n_rows;
    b.w = ck_alloc_end(ck, b.mat_bytes * n_mats, 64);
    memset(b.w, 0x11, b.mat_bytes * n_mats);
    b.x = make_act(ck, s, CK_FLOATS_NORMAL);
    b.out = ck_alloc_end(ck, (size_t)s.n_rows * s.n_tok * sizeof(float), 64);
    b.fn = s.n_tok == 1 ? isa->one : isa->many;
    seconds = ck_time(bench_call, &b);
    printf("%-6s %-6s %5ux%-5u tokens %3u  %8.1f us  %6.2f GB/s  %7.2f GFLOP/s\n",
           sl_dtype_name(dtype), ck->isa_name, s.n_cols, s.n_rows, s.n_tok, seconds * 1e6,
           (double)b.mat_bytes / seconds * 1e-9, 2 * n_fma / seconds * 1e-9);
    fflush(stdout);
    ck_free_all(ck);
}

static void bench(struct ck *ck, int arg)
{
    enum sl_dtype dtype = (enum sl_dtype)arg;

    bench_shape(ck, dtype, (struct shape){ 64, 1, 2048 }, 1);
    bench_shape(ck, dtype, (struct shape){ 2048, 1, 2048 }, 16);
    bench_shape(ck, dtype, (struct shape){ 32, 6, 256 }, 1);
    bench_shape(ck, dtype, (struct shape){ 64, 64, 2048 }, 1);
    bench_shape(ck, dtype, (struct shape){ 64, 512, 2048 }, 1);
    bench_shape(ck, dtype, (struct shape){ 1536, 8, 2048 }, 16);
    bench_shape(ck, dtype, (struct shape){ 1536, 512, 2048 }, 1);
    bench_shape(ck, dtype, (struct shape){ 1024, 512, 7168 }, 1);
}

static const struct ck_case cases[] = {
    { "f32", SL_DTYPE_F32, check, bench },
    { "f16", SL_DTYPE_F16, check, bench },
    { "bf16", SL_DTYPE_BF16, check, bench },
    { "f32 definition", SL_DTYPE_F32, check_definition, NULL },
    { "f16 definition", SL_DTYPE_F16, check_definition, NULL },
    { "bf16 definition", SL_DTYPE_BF16, check_definition, NULL },
};

const struct ck_group ck_group_float = { "float", cases, sizeof(cases) / sizeof(cases[0]) };
