/*
 * Vector operations: each level against C at every length to 67 and the models'
 * widths, in place where that is allowed; and our exp against double precision.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkkern.h"
#include "floats.h"
#include "kernels/mathfn.h"

static const size_t model_widths[] = { 1024, 1536, 1792, 2048, 7168, 65536 };

#define N_LENGTHS (68 + sizeof(model_widths) / sizeof(model_widths[0]))

static size_t length(size_t i)
{
    return i < 68 ? i : model_widths[i - 68];
}

static enum ck_floats kind_of(struct ck *ck)
{
    return (enum ck_floats)ck_rand_below(ck, CK_FLOATS_N);
}

/* Operations with one to three inputs and one output, which may be the first input. */
enum op { OP_RMS_NORM, OP_SILU_MUL, OP_SIGMOID, OP_ADD };

static void call(const struct sl_kernels *k, enum op op, float *out, const float *x,
                 const float *y, size_t n)
{
    switch (op) {
    case OP_RMS_NORM:
        k->rms_norm(out, x, y, n, 1e-5f);
        break;
    case OP_SILU_MUL:
        k->silu_mul(out, x, y, n);
        break;
    case OP_SIGMOID:
        k->sigmoid(out, x, n);
        break;
    case OP_ADD:
        k->add(out, y, n);
        break;
    }
}

static bool is_same(struct ck *ck, enum op op)
{
    const struct sl_kernels *c = ck->c, *isa = ck->isa;

    return op == OP_RMS_NORM   ? isa->rms_norm == c->rms_norm
           : op == OP_SILU_MUL ? isa->silu_mul == c->silu_mul
           : op == OP_SIGMOID  ? isa->sigmoid == c->sigmoid
                               : isa->add == c->add;
}

static void check_elementwise(struct ck *ck, int arg)
{
    enum op op = (enum op)arg;

    if (is_same(ck, op))
        return;
    for (size_t i = 0; i < 3 * N_LENGTHS; i++) {
        size_t n = length(i % N_LENGTHS);
        enum ck_floats kind = kind_of(ck);
        float *x = ck_make_floats(ck, n, kind), *y = ck_make_floats(ck, n, kind_of(ck));
        struct ck_out o = ck_make_out(ck, n);
        bool in_place = op == OP_ADD || ck_rand_below(ck, 2);

        ck_about("n %zu, kind %d, in place %d", n, (int)kind, in_place);
        ck_out_set(&o, x);
        call(ck->c, op, o.want, in_place ? o.want : x, y, n);
        call(ck->isa, op, o.got, in_place ? o.got : x, y, n);
        ck_out_equal(ck, &o);
        ck_free_all(ck);
    }
}

static void check_silu_onto_up(struct ck *ck, int arg)
{
    if (is_same(ck, OP_SILU_MUL))
        return;
    for (size_t n = 0; n < 68; n++) {
        float *gate = ck_make_floats(ck, n, kind_of(ck));
        float *up = ck_make_floats(ck, n, kind_of(ck));
        struct ck_out o = ck_make_out(ck, n);

        ck_about("n %zu", n);
        ck_out_set(&o, up);
        ck->c->silu_mul(o.want, gate, o.want, n);
        ck->isa->silu_mul(o.got, gate, o.got, n);
        ck_out_equal(ck, &o);
        ck_free_all(ck);
    }
}

#define TERMS_MAX 9

static void check_add_weighted(struct ck *ck, int arg)
{
    if (ck->isa->add_weighted == ck->c->add_weighted)
        return;
    for (size_t i = 0; i < 2 * N_LENGTHS; i++) {
        size_t n = length(i % N_LENGTHS);
        uint32_t n_terms = 1 + ck_rand_below(ck, TERMS_MAX);
        enum ck_floats kind = kind_of(ck);
        float *x = ck_make_floats(ck, n, kind);
        float *weight = ck_make_floats(ck, n_terms, kind);
        struct ck_out o = ck_make_out(ck, n);
        const float *y[TERMS_MAX];

        for (uint32_t j = 0; j < n_terms; j++)
            y[j] = ck_make_floats(ck, n, kind);
        ck_about("n %zu, terms %u, kind %d", n, n_terms, (int)kind);
        ck_out_set(&o, x);
        ck->c->add_weighted(o.want, y, weight, n_terms, n);
        ck->isa->add_weighted(o.got, y, weight, n_terms, n);
        ck_out_equal(ck, &o);
        ck_free_all(ck);
    }
}

#define TAPS_MAX 16

static void check_short_conv(struct ck *ck, int arg)
{
    if (ck->isa->short_conv == ck->c->short_conv)
        return;
    for (size_t i = 0; i < 3 * N_LENGTHS; i++) {
        size_t n = length(i % N_LENGTHS);
        uint32_t n_taps = ck_rand_below(ck, 2) ? 3 : 2 + ck_rand_below(ck, TAPS_MAX - 1);
        enum ck_floats kind = kind_of(ck);
        float *bcx = ck_make_floats(ck, 3 * n, kind);
        float *kernel = ck_make_floats(ck, n * n_taps, kind);
        struct ck_out out = ck_make_out(ck, n), z = ck_make_out(ck, n);
        const float *hist[TAPS_MAX];

        for (uint32_t j = 0; j + 1 < n_taps; j++)
            hist[j] = ck_make_floats(ck, n, kind);
        ck_about("n %zu, taps %u, kind %d", n, n_taps, (int)kind);
        ck->c->short_conv(out.want, z.want, bcx, kernel, hist, n_taps, n);
        ck->isa->short_conv(out.got, z.got, bcx, kernel, hist, n_taps, n);
        ck_out_equal(ck, &out);
        ck_out_equal(ck, &z);
        ck_free_all(ck);
    }
}

static void check_rope(struct ck *ck, int arg)
{
    if (ck->isa->rope == ck->c->rope)
        return;
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t half = i % 129;
        enum ck_floats kind = kind_of(ck);
        float *x = ck_make_floats(ck, 2 * half, kind);
        float *cos_i = ck_make_floats(ck, half, CK_FLOATS_NORMAL);
        float *sin_i = ck_make_floats(ck, half, CK_FLOATS_NORMAL);
        struct ck_out o = ck_make_out(ck, 2 * half);

        ck_about("half %u, kind %d", half, (int)kind);
        ck_out_set(&o, x);
        ck->c->rope(o.want, cos_i, sin_i, half);
        ck->isa->rope(o.got, cos_i, sin_i, half);
        ck_out_equal(ck, &o);
        ck_free_all(ck);
    }
}

/* Equal maxima at several places; NaN, zeros of both signs and -infinity alone. */
static void fill_for_argmax(struct ck *ck, float *x, size_t n)
{
    static const float few[] = { NAN, -INFINITY, -0.0f, 0.0f, -1.0f, INFINITY };
    uint32_t how = ck_rand_below(ck, 4);

    ck_fill_floats(ck, x, n, how == 0 ? CK_FLOATS_SPECIAL : CK_FLOATS_NORMAL);
    for (size_t i = 0; i < n; i++) {
        if (how == 1)
            x[i] = floorf(x[i] * 2);
        else if (how > 1) /* only the first kinds: the rarer ones never come second */
            x[i] = few[ck_rand_below(ck, how == 2 ? 6 : 2)];
    }
    if (ck_rand_below(ck, 8) == 0)
        for (size_t i = 0; i < n; i++)
            x[i] = NAN;
}

static void check_argmax(struct ck *ck, int arg)
{
    if (ck->isa->argmax == ck->c->argmax)
        return;
    for (size_t i = 0; i < 10 * N_LENGTHS; i++) {
        size_t n = length(i % N_LENGTHS) + (i % N_LENGTHS == 0);
        float *x = ck_make_floats(ck, n, CK_FLOATS_NORMAL);
        size_t want, got;

        fill_for_argmax(ck, x, n);
        ck_about("n %zu", n);
        want = ck->c->argmax(x, n);
        got = ck->isa->argmax(x, n);
        ck_equal(ck, &want, &got, sizeof(want));
        ck_free_all(ck);
    }
}

/* The argmax of C is itself a program; these are its promises, spelled out. */
static void check_argmax_definition(struct ck *ck, int arg)
{
    static const struct {
        float x[4];
        size_t want;
    } rows[] = {
        { { 1, 3, 3, 2 }, 1 },
        { { NAN, -INFINITY, NAN, -INFINITY }, 1 },
        { { NAN, NAN, NAN, NAN }, 0 },
        { { -1, -0.0f, 0.0f, -2 }, 1 },
        { { NAN, 1, INFINITY, NAN }, 2 },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t got = ck->isa->argmax(rows[i].x, 4);

        ck_about("row %zu", i);
        ck_equal(ck, &rows[i].want, &got, sizeof(got));
    }
}

/*
 * 1 ulp: the polynomial and the two subtractions give 0.39, the last two fma 0.5.
 * Below the smallest normal number the result is +0.
 */
static void check_exp(struct ck *ck, int arg)
{
    const uint32_t stride = 4093; /* a prime; the start is random */

    if (ck->isa->level != SL_CPU_C)
        return;
    for (uint64_t bits = ck_rand_below(ck, stride); bits < 1ull << 32; bits += stride) {
        float x = sl_f32_from_bits((uint32_t)bits), got = sl_expf(x);
        double want = exp((double)x);
        int exponent;

        ck->n_compared++;
        ck_about("exp(%a)", (double)x);
        if (isnan(x)) {
            if (!isnan(got))
                ck_fail(ck, "got %a", (double)got);
        } else if (want < 0x1p-126) {
            if (sl_f32_bits(got) != 0)
                ck_fail(ck, "want +0, got %a", (double)got);
        } else if (want >= 0x1.ffffffp127) {
            if (got != INFINITY)
                ck_fail(ck, "want infinity, got %a", (double)got);
        } else {
            (void)frexp(want, &exponent);
            if (!(fabs((double)got - want) <= ldexp(1.0, exponent - 24)))
                ck_fail(ck, "want %a, got %a", want, (double)got);
        }
    }
    if (sl_expf(0.0f) != 1.0f || sl_expf(-0.0f) != 1.0f || sl_f32_bits(sl_expf(-INFINITY)) != 0)
        ck_fail(ck, "exp of 0 is not 1, or of -infinity not +0");
}

struct bench {
    const struct sl_kernels *k;
    enum op op;
    float *out, *x, *y, *kernel;
    const float *rows[4];
    size_t n;
};

static void bench_elementwise_call(void *arg)
{
    struct bench *b = arg;

    call(b->k, b->op, b->out, b->x, b->y, b->n);
}

static void bench_short_conv_call(void *arg)
{
    struct bench *b = arg;

    b->k->short_conv(b->out, b->y, b->x, b->kernel, b->rows, 3, b->n);
}

static void bench_add_weighted_call(void *arg)
{
    struct bench *b = arg;

    b->k->add_weighted(b->out, b->rows, b->kernel, 4, b->n);
}

static void bench_argmax_call(void *arg)
{
    struct bench *b = arg;

    b->out[0] = (float)b->k->argmax(b->x, b->n);
}

static void bench_run(struct ck *ck, const char *name, void (*fn)(void *), enum op op, size_t n)
{
    struct bench b = { .k = ck->isa, .op = op, .n = n };

    b.out = ck_make_floats(ck, n, CK_FLOATS_NORMAL);
    b.x = ck_make_floats(ck, 3 * n, CK_FLOATS_NORMAL);
    b.y = ck_make_floats(ck, n, CK_FLOATS_NORMAL);
    b.kernel = ck_make_floats(ck, 3 * n, CK_FLOATS_NORMAL);
    memset(b.out, 0, n * sizeof(float));
    memset(b.y, 0, n * sizeof(float)); /* sums in place stay small */
    for (int j = 0; j < 4; j++)
        b.rows[j] = b.y;
    printf("%-12s %-6s n %5zu  %8.3f us\n", name, ck->isa_name, n, ck_time(fn, &b) * 1e6);
    ck_free_all(ck);
}

static void bench(struct ck *ck, int arg)
{
    bench_run(ck, "rms_norm", bench_elementwise_call, OP_RMS_NORM, 2048);
    bench_run(ck, "silu_mul", bench_elementwise_call, OP_SILU_MUL, 1792);
    bench_run(ck, "sigmoid", bench_elementwise_call, OP_SIGMOID, 64);
    bench_run(ck, "add", bench_elementwise_call, OP_ADD, 2048);
    bench_run(ck, "add_weighted", bench_add_weighted_call, OP_ADD, 2048);
    bench_run(ck, "short_conv", bench_short_conv_call, OP_ADD, 2048);
    bench_run(ck, "argmax", bench_argmax_call, OP_ADD, 65536);
}

static const struct ck_case cases[] = {
    { "rms_norm", OP_RMS_NORM, check_elementwise, bench },
    { "silu_mul", OP_SILU_MUL, check_elementwise, NULL },
    { "silu_mul onto up", 0, check_silu_onto_up, NULL },
    { "sigmoid", OP_SIGMOID, check_elementwise, NULL },
    { "add", OP_ADD, check_elementwise, NULL },
    { "add_weighted", 0, check_add_weighted, NULL },
    { "short_conv", 0, check_short_conv, NULL },
    { "rope", 0, check_rope, NULL },
    { "argmax", 0, check_argmax, NULL },
    { "argmax definition", 0, check_argmax_definition, NULL },
    { "exp definition", 0, check_exp, NULL },
};

const struct ck_group ck_group_vecops = { "vecops", cases, sizeof(cases) / sizeof(cases[0]) };
