/*
 * The sampler: each step's formula, the set of tokens that can come, how often they come,
 * ties and NaN, and that a seed fixes the text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "text/sampler.h"

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static double next_unit(uint64_t *state)
{
    return (double)(next_random(state) >> 11) * 0x1p-53;
}

static uint64_t make_seed(void)
{
    const char *text = getenv("SL_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);

    print_message("SL_SEED=%llu\n", (unsigned long long)seed);
    return (seed ^ 0x9e3779b97f4a7c15u) | 1;
}

static struct sl_sampler_opts plain(uint32_t n_vocab, float temperature)
{
    return (struct sl_sampler_opts){
        .n_vocab = n_vocab,
        .temperature = temperature,
        .top_p = 1,
        .repeat_penalty = 1,
        .seed = 42,
    };
}

static struct sl_sampler *make(const struct sl_sampler_opts *opts)
{
    struct sl_sampler *sampler = NULL;

    assert_int_equal(sl_sampler_new(&sampler, opts, NULL), 0);
    return sampler;
}

/* One token with these options after these tokens were accepted. */
static int32_t sample_once(const struct sl_sampler_opts *opts, const float *logits,
                           const int32_t *history, size_t n_history)
{
    struct sl_sampler *sampler = make(opts);
    int32_t id;

    for (size_t i = 0; i < n_history; i++)
        sl_sampler_accept(sampler, history[i]);
    id = sl_sampler_sample(sampler, logits);
    sl_sampler_free(sampler);
    return id;
}

static void test_greedy(void **state)
{
    const struct sl_sampler_opts opts = plain(6, 0);
    static const struct {
        float logits[6];
        int32_t want;
    } cases[] = {
        {{1, 2, 5, 3, 4, 0}, 2},
        {{1, 5, 5, 3, 5, 0}, 1},
        {{-3, -1, -2, -1, -5, -9}, 1},
        {{-0.0f, 0.0f, -1, -1, -1, -1}, 0},
        {{NAN, 1, NAN, 2, NAN, 0}, 3},
        {{NAN, -INFINITY, -FLT_MAX, NAN, NAN, NAN}, 2},
        {{NAN, NAN, NAN, NAN, NAN, NAN}, 0},
        {{0, INFINITY, 1, INFINITY, 2, 3}, 1},
        {{-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY}, 0},
        {{0, 0x1p-149f, 0, 0, 0, 0}, 1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(sample_once(&opts, cases[i].logits, NULL, 0), cases[i].want);
}

static void test_one_candidate_is_left_whatever_the_logits(void **state)
{
    static const float logits[][3] = {
        {NAN, NAN, NAN}, {-INFINITY, -INFINITY, -INFINITY}, {INFINITY, 0, INFINITY},
        {INFINITY, NAN, -INFINITY}, {FLT_MAX, -FLT_MAX, 0}, {-FLT_MAX, NAN, -INFINITY},
    };

    for (unsigned bits = 0; bits < 16; bits++)
        for (size_t i = 0; i < sizeof(logits) / sizeof(logits[0]); i++) {
            struct sl_sampler_opts opts = plain(3, bits & 1 ? 1e-30f : 1e30f);

            opts.top_k = bits & 2 ? 2 : 0;
            opts.top_p = bits & 4 ? 0.0f : 1.0f;
            opts.min_p = bits & 8 ? 1.0f : 0.0f;
            assert_in_range(sample_once(&opts, logits[i], NULL, 0), 0, 2);
        }
}

/* Greedy shows where a logit lies: token 1 has exactly the value given, and the penalised
 * token 0 must lie just above or just below it. */
static void assert_penalised(const struct sl_sampler_opts *opts, const int32_t *history, size_t n,
                             float logit, double want)
{
    float logits[3] = {logit, 0, -FLT_MAX};
    double eps = 1e-5 * (1 + fabs(want));

    logits[1] = (float)(want - eps);
    assert_int_equal(sample_once(opts, logits, history, n), 0);
    logits[1] = (float)(want + eps);
    assert_int_equal(sample_once(opts, logits, history, n), 1);
}

static void test_penalties(void **state)
{
    static const int32_t once[] = {2, 0, 2}, thrice[] = {0, 0, 2, 0}, before[] = {0, 2, 2, 2};
    struct sl_sampler_opts opts = plain(3, 0);

    opts.penalty_last_n = 4;
    opts.repeat_penalty = 1.5f;
    assert_penalised(&opts, once, 3, 3, 2);
    assert_penalised(&opts, once, 3, -2, -3);
    assert_penalised(&opts, thrice, 4, 3, 2); /* not by how often */
    assert_penalised(&opts, NULL, 0, 3, 3);
    assert_penalised(&opts, before, 4, 3, 2);
    opts.penalty_last_n = 3; /* the window has moved on */
    assert_penalised(&opts, before, 4, 3, 3);
    opts.penalty_last_n = 0;
    assert_penalised(&opts, once, 3, 3, 3);

    opts.penalty_last_n = 4;
    opts.repeat_penalty = 1;
    opts.presence_penalty = 0.5f;
    assert_penalised(&opts, thrice, 4, 3, 2.5);
    assert_penalised(&opts, once, 3, -1, -1.5);
    opts.frequency_penalty = 0.25f;
    assert_penalised(&opts, thrice, 4, 3, 3 - 0.5 - 0.75);
    opts.repeat_penalty = 2; /* scaled first */
    assert_penalised(&opts, thrice, 4, 3, 1.5 - 0.5 - 0.75);
    opts.presence_penalty = -1;
    assert_penalised(&opts, once, 3, 3, 1.5 + 1 - 0.25);
}

static void test_bias(void **state)
{
    const struct sl_logit_bias bias[] = {{0, 2}, {0, 0.5f}, {2, -INFINITY}};
    const int32_t history[] = {0};
    float all[3] = {-9, -9, 100};
    struct sl_sampler_opts opts = plain(3, 0);

    opts.bias = bias;
    opts.n_bias = 3;
    assert_penalised(&opts, NULL, 0, 1, 3.5);
    opts.penalty_last_n = 1; /* bias comes before penalties */
    opts.repeat_penalty = 2;
    assert_penalised(&opts, history, 1, -1, 0.75);
    assert_int_equal(sample_once(&opts, all, NULL, 0), 0);
}

static void test_window_counts_over_time(void **state)
{
    /* the ring turns many times: counts equal those of a fresh sampler */
    struct sl_sampler_opts opts = plain(16, 0);
    uint64_t seed = make_seed();
    int32_t history[400];
    struct sl_sampler *sampler;

    opts.penalty_last_n = 7;
    opts.repeat_penalty = 1.1f;
    opts.presence_penalty = 0.3f;
    opts.frequency_penalty = 0.2f;
    sampler = make(&opts);
    for (size_t n = 0; n < 400; n++) {
        float logits[16];
        size_t from = n < 7 ? 0 : n - 7;

        for (int i = 0; i < 16; i++)
            logits[i] = (float)(next_unit(&seed) * 2 - 1);
        assert_int_equal(sl_sampler_sample(sampler, logits),
                         sample_once(&opts, logits, history + from, n - from));
        history[n] = (int32_t)(next_random(&seed) % 16);
        sl_sampler_accept(sampler, history[n]);
    }
    sl_sampler_free(sampler);
}

/* --- the slow sampler: the definition, in double, with libm */

struct pair {
    double logit, p;
    uint32_t id;
};

static int by_logit(const void *pa, const void *pb)
{
    const struct pair *a = pa, *b = pb;

    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

static void soften(struct pair *pairs, size_t n, double t)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += pairs[i].p = exp((pairs[i].logit - pairs[0].logit) / t);
    for (size_t i = 0; i < n; i++)
        pairs[i].p /= sum;
}

/* Probabilities by id. margin: how near the cuts came to going the other way. */
static void reference(const struct sl_sampler_opts *opts, const float *logits, double *p,
                      double *ret_margin)
{
    size_t n = opts->n_vocab, kept = 0;
    struct pair *pairs = malloc(n * sizeof(*pairs));
    double sum = 0;

    *ret_margin = 1;
    for (uint32_t i = 0; i < n; i++) {
        pairs[i] = (struct pair){logits[i], 0, i};
        p[i] = 0;
    }
    qsort(pairs, n, sizeof(*pairs), by_logit);
    if (opts->top_k > 0 && opts->top_k < n)
        n = opts->top_k;
    if (opts->top_p < 1) {
        soften(pairs, n, 1);
        do {
            sum += pairs[kept++].p;
            *ret_margin = fmin(*ret_margin, fabs(sum - (double)opts->top_p));
        } while (kept < n && sum < (double)opts->top_p);
        n = kept;
    }
    if (opts->min_p > 0) {
        soften(pairs, n, 1);
        for (kept = 0; kept < n && pairs[kept].p >= (double)opts->min_p * pairs[0].p; kept++)
            ;
        for (size_t i = 1; i < n; i++)
            *ret_margin = fmin(*ret_margin,
                               fabs(pairs[i].p / pairs[0].p - (double)opts->min_p));
        n = kept;
    }
    soften(pairs, n, (double)opts->temperature);
    for (size_t i = 0; i < n; i++)
        p[pairs[i].id] = pairs[i].p;
    free(pairs);
}

/* Draw often: only tokens the reference allows, and each about as often as it says. */
static void assert_distribution(const struct sl_sampler_opts *opts, const float *logits,
                                unsigned n_draws)
{
    double *p = malloc(opts->n_vocab * sizeof(*p)), margin, chi2 = 0;
    unsigned *count = calloc(opts->n_vocab, sizeof(*count)), n_cells = 0;
    struct sl_sampler *sampler = make(opts);

    reference(opts, logits, p, &margin);
    if (margin < 1e-9)
        goto out; /* a tie that rounding decides */
    for (unsigned i = 0; i < n_draws; i++)
        count[sl_sampler_sample(sampler, logits)]++;
    for (uint32_t i = 0; i < opts->n_vocab; i++) {
        double want = p[i] * n_draws, d = count[i] - want;

        if (p[i] == 0 && count[i] > 0)
            fail_msg("token %u came, which is cut (k %u, p %g, min %g, t %g, vocabulary %u)", i,
                     opts->top_k, (double)opts->top_p, (double)opts->min_p,
                     (double)opts->temperature, opts->n_vocab);
        if (want >= 10) {
            chi2 += d * d / want;
            n_cells++;
        }
    }
    /* mean n, variance 2 n (a little more for cells of 10): 8 sigma */
    if (chi2 > n_cells + 8 * sqrt(2.0 * n_cells) + 16)
        fail_msg("chi squared %g for %u tokens (k %u, p %g, min %g, t %g, vocabulary %u)", chi2,
                 n_cells, opts->top_k, (double)opts->top_p, (double)opts->min_p,
                 (double)opts->temperature, opts->n_vocab);
out:
    sl_sampler_free(sampler);
    free(count);
    free(p);
}

static float draw_logit(uint64_t *seed, unsigned kind)
{
    double x = next_unit(seed) + next_unit(seed) + next_unit(seed) + next_unit(seed) - 2;

    if (kind == 0)
        return (float)(x * 8);
    if (kind == 1)
        return (float)floor(x * 6); /* many ties */
    return (float)(x * 1e-3); /* nearly flat */
}

static void test_distributions(void **state)
{
    static const uint32_t sizes[] = {1, 2, 5, 47, 49, 300, 2500};
    static const uint32_t ks[] = {0, 1, 2, 40, 60, 1000, 5000};
    static const float ps[] = {1, 0.999f, 0.9f, 0.5f, 0.01f, 0};
    static const float mins[] = {0, 0.001f, 0.05f, 0.5f, 1};
    static const float temperatures[] = {1, 0.3f, 2, 100};
    uint64_t seed = make_seed();
    float logits[2500];

    for (int round = 0; round < 150; round++) {
        struct sl_sampler_opts opts = plain(sizes[next_random(&seed) % 7],
                                            temperatures[next_random(&seed) % 4]);
        unsigned kind = (unsigned)(next_random(&seed) % 3);

        opts.top_k = ks[next_random(&seed) % 7];
        opts.top_p = ps[next_random(&seed) % 6];
        opts.min_p = mins[next_random(&seed) % 5];
        opts.seed = next_random(&seed);
        for (uint32_t i = 0; i < opts.n_vocab; i++)
            logits[i] = draw_logit(&seed, kind);
        assert_distribution(&opts, logits, 1000);
    }
}

/* --- top-k over big vocabularies, in orders that are hard for it */

static void assert_top_k(const float *logits, uint32_t n, uint32_t k, uint64_t seed)
{
    struct sl_sampler_opts opts = plain(n, 1e30f); /* all that stay are equally likely */
    double *p = malloc(n * sizeof(*p)), margin;
    struct sl_sampler *sampler;

    opts.top_k = k;
    opts.seed = seed;
    reference(&opts, logits, p, &margin);
    sampler = make(&opts);
    for (int i = 0; i < 30; i++) {
        int32_t id = sl_sampler_sample(sampler, logits);

        if (p[id] == 0)
            fail_msg("token %d is not among the %u greatest of %u", id, k, n);
        p[id] = 2; /* seen */
    }
    if (k <= 3)
        for (uint32_t i = 0; i < n; i++)
            assert_true(p[i] == 0 || p[i] == 2);
    sl_sampler_free(sampler);
    free(p);
}

static void test_top_k_of_many(void **state)
{
    static const uint32_t ks[] = {1, 3, 50, 1100, 9000, 19999};
    const uint32_t n = 20000;
    float *logits = malloc(n * sizeof(*logits));
    uint64_t seed = make_seed();

    assert_non_null(logits);
    for (unsigned order = 0; order < 5; order++) {
        for (uint32_t i = 0; i < n; i++)
            logits[i] = order == 0   ? (float)i
                        : order == 1 ? -(float)i
                        : order == 2 ? (float)(i / 100)
                        : order == 3 ? draw_logit(&seed, 0)
                                     : draw_logit(&seed, 1);
        for (size_t j = 0; j < sizeof(ks) / sizeof(ks[0]); j++)
            assert_top_k(logits, n, ks[j], next_random(&seed));
    }
    free(logits);
}

/* --- determinism */

/* Under a mask an allowed token comes, whatever the logits and biases; and the one that
 * would come if the others' logits were minus infinity. */
static void test_allowed(void **state)
{
    enum { N = 200 };
    const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0};
    uint64_t seed = make_seed(), allowed[(N + 63) / 64];
    float logits[N], masked[N];

    for (int round = 0; round < 2000; round++) {
        struct sl_sampler_opts opts = plain(N, round % 3 ? 0.7f : 0);
        const struct sl_logit_bias bias = {(int32_t)(next_random(&seed) % N), -INFINITY};
        struct sl_sampler *one, *other;
        uint32_t n_allowed = 1 + (uint32_t)(next_random(&seed) % 4) * 40;
        bool is_odd = round % 2;
        int32_t id;

        opts.top_k = round % 5 ? 0 : 20;
        opts.top_p = round % 7 ? 1 : 0.8f;
        opts.min_p = round % 4 ? 0 : 0.05f;
        opts.seed = (uint64_t)round;
        opts.bias = &bias;
        opts.n_bias = is_odd;
        memset(allowed, 0, sizeof(allowed));
        for (uint32_t i = 0; i < n_allowed; i++) {
            id = (int32_t)(next_random(&seed) % N);
            allowed[id / 64] |= (uint64_t)1 << (id % 64);
        }
        for (int i = 0; i < N; i++) {
            logits[i] = (float)(next_unit(&seed) * 20 - 10);
            if (is_odd && next_random(&seed) % 2)
                logits[i] = odd[next_random(&seed) % 6];
            masked[i] = allowed[i / 64] >> (i % 64) & 1 ? logits[i] : -INFINITY;
        }
        one = make(&opts);
        other = make(&opts);
        sl_sampler_set_allowed(one, allowed);
        id = sl_sampler_sample(one, logits);
        assert_true(allowed[id / 64] >> (id % 64) & 1);
        if (!is_odd)
            assert_int_equal(id, sl_sampler_sample(other, masked));
        sl_sampler_free(one);
        sl_sampler_free(other);
    }
}

static void test_seed_fixes_the_text(void **state)
{
    /* made by this very sampler: changes when the generator, exp or any order does */
    static const int32_t want[16] = {406, 406, 793, 249, 732, 386, 662, 759,
                                     382, 692, 390, 406, 826, 406, 887, 249};
    struct sl_sampler_opts opts = plain(1000, 0.8f);
    struct sl_sampler *a, *b, *c;
    float logits[1000];
    uint64_t seed = 7;
    int n_other = 0;

    for (int i = 0; i < 1000; i++)
        logits[i] = draw_logit(&seed, 0);
    opts.top_k = 200;
    opts.top_p = 0.98f;
    opts.min_p = 0.001f;
    opts.penalty_last_n = 8;
    opts.repeat_penalty = 1.1f;
    a = make(&opts);
    b = make(&opts);
    opts.seed++;
    c = make(&opts);
    for (int i = 0; i < 16; i++) {
        int32_t id = sl_sampler_sample(a, logits);

        assert_int_equal(id, want[i]);
        assert_int_equal(sl_sampler_sample(b, logits), id);
        n_other += sl_sampler_sample(c, logits) != id;
        sl_sampler_accept(a, id);
        sl_sampler_accept(b, id);
        sl_sampler_accept(c, id);
    }
    assert_true(n_other > 4);
    sl_sampler_free(a);
    sl_sampler_free(b);
    sl_sampler_free(c);
}

static void test_logits_are_not_written(void **state)
{
    const float before[4] = {1, NAN, -3, 2};
    const struct sl_logit_bias bias = {0, 1};
    struct sl_sampler_opts opts = plain(4, 1);
    float logits[4];
    int32_t history[1] = {3};

    opts.bias = &bias;
    opts.n_bias = 1;
    opts.penalty_last_n = 4;
    opts.repeat_penalty = 2;
    memcpy(logits, before, sizeof(logits));
    sample_once(&opts, logits, history, 1);
    assert_memory_equal(logits, before, sizeof(logits));
}

/* --- options */

static void expect_range(struct sl_sampler_opts opts, const char *word)
{
    struct sl_sampler *sampler = NULL;
    struct sl_diag diag = {""};

    assert_int_equal(sl_sampler_new(&sampler, &opts, &diag), -ERANGE);
    assert_null(sampler);
    if (!strstr(diag.text, word))
        fail_msg("\"%s\" does not say \"%s\"", diag.text, word);
    assert_int_equal(sl_sampler_new(&sampler, &opts, NULL), -ERANGE);
}

static void test_ranges(void **state)
{
    const struct sl_logit_bias outside = {8, 1}, below = {-1, 1}, nan = {0, NAN};
    const struct sl_logit_bias *const biases[] = {&outside, &below, &nan};
    const float bad[] = {-0.1f, 1.1f, NAN, INFINITY, -INFINITY};
    struct sl_sampler_opts opts;

#define BAD(field, value, word) \
    do {                        \
        opts = plain(8, 1);     \
        opts.field = value;     \
        expect_range(opts, word); \
    } while (0)
    BAD(n_vocab, 0, "vocabulary");
    BAD(n_vocab, UINT32_MAX, "vocabulary");
    for (size_t i = 0; i < 5; i++) {
        BAD(top_p, bad[i], "top-p");
        BAD(min_p, bad[i], "min-p");
        if (i == 1)
            continue;
        BAD(temperature, bad[i], "temperature");
        BAD(repeat_penalty, bad[i], "repeat");
        if (i == 0)
            continue;
        BAD(presence_penalty, bad[i], "presence");
        BAD(frequency_penalty, bad[i], "frequency");
    }
    BAD(repeat_penalty, 0, "repeat");
    BAD(penalty_last_n, 65537, "window");
    for (size_t i = 0; i < 3; i++) {
        opts = plain(8, 1);
        opts.bias = biases[i];
        opts.n_bias = 1;
        expect_range(opts, "bias");
    }
#undef BAD
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_one_candidate_is_left_whatever_the_logits),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_bias),
        cmocka_unit_test(test_window_counts_over_time),
        cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_top_k_of_many),
        cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_seed_fixes_the_text),
        cmocka_unit_test(test_logits_are_not_written),
        cmocka_unit_test(test_ranges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
