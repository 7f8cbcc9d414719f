/*
 * Quantisation of activations: each level against C for numbers of every size;
 * for infinities and NaNs only what the contract promises. At level C the promises
 * themselves are checked.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "checkkern.h"
#include "tensor/block.h"

struct pair {
    struct sl_act want, got;
    void *want_buf, *got_buf;
    size_t bytes;
};

static struct pair make_pair(struct ck *ck, enum sl_act_kind kind, uint32_t n_tok,
                             uint32_t n_cols)
{
    struct pair p = { .bytes = sl_act_bytes(kind, n_tok, n_cols) };

    p.want_buf = ck_alloc_end(ck, p.bytes, 64);
    p.got_buf = ck_alloc_end(ck, p.bytes, 64);
    sl_act_init(&p.want, kind, n_tok, n_cols, p.want_buf);
    sl_act_init(&p.got, kind, n_tok, n_cols, p.got_buf);
    return p;
}

static float random_value(struct ck *ck, uint32_t kind)
{
    switch (kind) {
    case 0:
        return ck_rand_normal(ck);
    case 1: /* quotients that fall on ties: small whole numbers, 127 among them */
        return (float)((int)ck_rand_below(ck, 255) - 127) * 0.5f;
    case 2:
        return ldexpf(ck_rand_float(ck), -140); /* subnormal: zeros */
    case 3:
        return ldexpf(ck_rand_float(ck), (int)ck_rand_below(ck, 250) - 125);
    case 4:
        return ldexpf(ck_rand_float(ck), -99 - (int)ck_rand_below(ck, 3)); /* the limit */
    case 5:
        return ck_rand_below(ck, 64) ? 0.0f : ck_rand_float(ck);
    default:
        return ck_rand_below(ck, 2) ? -0.0f : 0.0f;
    }
}

/* x starts at any multiple of 4 and ends at a guard page. */
static float *random_row(struct ck *ck, uint32_t n_cols)
{
    float *x = ck_alloc_end(ck, n_cols * sizeof(float), sizeof(float));

    for (uint32_t i = 0; i < n_cols; i += 32) {
        uint32_t kind = ck_rand_below(ck, 7);

        for (uint32_t j = i; j < i + 32; j++)
            x[j] = random_value(ck, kind);
    }
    return x;
}

static void check_finite(struct ck *ck, enum sl_act_kind kind, uint32_t n_tok, uint32_t n_cols)
{
    struct pair p = make_pair(ck, kind, n_tok, n_cols);

    for (uint32_t t = 0; t < n_tok; t++) {
        float *x = random_row(ck, n_cols);

        ck_about("kind %d, token %u of %u, columns %u", (int)kind, t, n_tok, n_cols);
        ck->c->quantize(&p.want, t, x);
        ck->isa->quantize(&p.got, t, x);
        ck_equal(ck, p.want_buf, p.got_buf, p.bytes);
    }
    ck_free_all(ck);
}

/* One value of a row is not finite: d of its block must show it, and no other block
 * may change. */
static void check_not_finite(struct ck *ck, enum sl_act_kind kind, float bad)
{
    uint32_t len = kind == SL_ACT_Q32 ? SL_BLOCK32 : SL_BLOCK256, n_cols = 3 * len;
    struct pair p = make_pair(ck, kind, 1, n_cols);
    float *x = random_row(ck, n_cols);
    uint32_t at = len + ck_rand_below(ck, len);

    ck_about("kind %d, %g at %u", (int)kind, bad, at);
    x[at] = bad;
    ck->c->quantize(&p.want, 0, x);
    ck->isa->quantize(&p.got, 0, x);
    ck->n_compared++;
    if (isfinite(p.got.d[1]))
        ck_fail(ck, "d is %g", p.got.d[1]);
    for (uint32_t b = 0; b < 3; b += 2)
        if (p.want.d[b] != p.got.d[b] || memcmp(p.want.q + b * len, p.got.q + b * len, len) != 0)
            ck_fail(ck, "block %u changed", b);
    ck_free_all(ck);
}

static void check(struct ck *ck, int arg)
{
    enum sl_act_kind kind = (enum sl_act_kind)arg;
    uint32_t len = kind == SL_ACT_Q32 ? SL_BLOCK32 : SL_BLOCK256;

    for (uint32_t n_blocks = 1; n_blocks <= 12; n_blocks++)
        for (uint32_t n_tok = 1; n_tok <= 5; n_tok++)
            check_finite(ck, kind, n_tok, n_blocks * len);
    for (int i = 0; i < 20; i++) {
        check_not_finite(ck, kind, NAN);
        check_not_finite(ck, kind, -NAN);
        check_not_finite(ck, kind, INFINITY);
        check_not_finite(ck, kind, -INFINITY);
    }
}

struct bench {
    const struct sl_kernels *k;
    struct sl_act act;
    float *x;
};

static void bench_call(void *arg)
{
    struct bench *b = arg;

    b->k->quantize(&b->act, 0, b->x);
}

static void bench(struct ck *ck, int arg)
{
    enum sl_act_kind kind = (enum sl_act_kind)arg;
    struct pair p = make_pair(ck, kind, 1, 2048);
    struct bench b = { .k = ck->isa, .act = p.got, .x = random_row(ck, 2048) };

    printf("quantize %s %-6s 2048 columns  %8.3f us\n", kind == SL_ACT_Q32 ? "q32 " : "q256",
           ck->isa_name, ck_time(bench_call, &b) * 1e6);
}

static const struct ck_case cases[] = {
    { "q32", SL_ACT_Q32, check, bench },
    { "q256", SL_ACT_Q256, check, bench },
};

const struct ck_group ck_group_quantize = { "quantize", cases, sizeof(cases) / sizeof(cases[0]) };
