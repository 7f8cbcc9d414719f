/* The queue of guesses against a slow model of it that does what prefetch.h says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "experts/prefetch.h"

#define N_LAYERS 9u
#define N_EXPERTS 12u /* fewer than SL_PREFETCH_PER_LAYER: the model needs no cut */

static uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static bool model_best(float p[N_LAYERS][N_EXPERTS], uint32_t now, float min_p,
                       struct sl_guess *ret)
{
    int best = -1;

    for (uint32_t d = 1; d <= N_LAYERS; d++) {
        uint32_t l = (now + d) % N_LAYERS, top = N_EXPERTS;

        for (uint32_t e = 0; e < N_EXPERTS; e++)
            if (p[l][e] > 0 && (top == N_EXPERTS || p[l][e] > p[l][top]))
                top = e;
        if (top == N_EXPERTS || p[l][top] < min_p || (int)(p[l][top] * 16) <= best)
            continue;
        best = (int)(p[l][top] * 16);
        *ret = (struct sl_guess){ l, top, p[l][top] };
    }
    return best >= 0;
}

static void put(struct sl_prefetch *prefetch, float p[N_LAYERS][N_EXPERTS], uint64_t *rng)
{
    struct sl_guess guesses[20];
    uint32_t n = draw(rng) % 21;

    for (uint32_t i = 0; i < n; i++)
        guesses[i] = (struct sl_guess){ draw(rng) % (N_LAYERS + 1), draw(rng) % (N_EXPERTS + 1),
                                        (float)(draw(rng) % 40) / 32 - 0.1f };
    for (uint32_t i = 0; i < n; i++)
        if (guesses[i].layer < N_LAYERS)
            memset(p[guesses[i].layer], 0, sizeof(p[0]));
    for (uint32_t i = 0; i < n; i++) {
        const struct sl_guess *g = &guesses[i];
        float value = g->p > 1 ? 1 : g->p;

        if (g->layer < N_LAYERS && g->expert < N_EXPERTS && value > p[g->layer][g->expert])
            p[g->layer][g->expert] = value;
    }
    sl_prefetch_put(prefetch, guesses, n);
}

static void test_like_the_model(void **state)
{
    const char *text = getenv("SL_SEED");
    uint64_t rng = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
    float p[N_LAYERS][N_EXPERTS] = { { 0 } };
    struct sl_prefetch *prefetch;

    printf("SL_SEED=%llu\n", (unsigned long long)rng);
    assert_int_equal(sl_prefetch_new(&prefetch, N_LAYERS, N_EXPERTS), 0);
    for (int t = 0; t < 30000; t++) {
        uint32_t layer = draw(&rng) % N_LAYERS, expert = draw(&rng) % N_EXPERTS, n = 0;
        float min_p = (float)(draw(&rng) % 8) / 8;
        struct sl_guess want, got;
        bool has;

        switch (draw(&rng) % 8) {
        case 0: case 1: put(prefetch, p, &rng); break;
        case 2:
            sl_prefetch_expire(prefetch, layer);
            memset(p[layer], 0, sizeof(p[layer]));
            break;
        case 3:
            if (draw(&rng) % 16)
                break;
            sl_prefetch_clear(prefetch);
            memset(p, 0, sizeof(p));
            break;
        default:
            sl_prefetch_drop(prefetch, layer, expert);
            p[layer][expert] = 0;
        }
        for (uint32_t i = 0; i < N_LAYERS * N_EXPERTS; i++)
            n += p[i / N_EXPERTS][i % N_EXPERTS] > 0;
        assert_int_equal(sl_prefetch_count(prefetch), n);
        has = model_best(p, layer, min_p, &want);
        assert_int_equal(sl_prefetch_best(prefetch, layer, min_p, &got), has);
        if (has) {
            assert_int_equal(got.layer, want.layer);
            assert_int_equal(got.expert, want.expert);
            assert_float_equal(got.p, want.p, 0);
        }
    }
    sl_prefetch_free(prefetch);
    sl_prefetch_free(NULL);
}

static void test_a_full_row_keeps_the_likeliest(void **state)
{
    struct sl_guess guesses[64], got;
    struct sl_prefetch *prefetch;

    assert_int_equal(sl_prefetch_new(&prefetch, 2, 64), 0);
    for (uint32_t i = 0; i < 64; i++)
        guesses[i] = (struct sl_guess){ 1, i, (float)(i * 37 % 64 + 1) / 64 };
    sl_prefetch_put(prefetch, guesses, 64);
    assert_int_equal(sl_prefetch_count(prefetch), SL_PREFETCH_PER_LAYER);
    for (uint32_t i = 0; i < SL_PREFETCH_PER_LAYER; i++) {
        assert_true(sl_prefetch_best(prefetch, 0, 0, &got));
        assert_float_equal(got.p, (float)(64 - i) / 64, 0);
        sl_prefetch_drop(prefetch, got.layer, got.expert);
    }
    assert_false(sl_prefetch_best(prefetch, 0, 0, &got));
    sl_prefetch_free(prefetch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_the_model),
        cmocka_unit_test(test_a_full_row_keeps_the_likeliest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
