/* Guesses: ranked by score and past, calibrated by what comes true. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "experts/predict.h"

#define N_LAYERS 8u
#define N_EXPERTS 32u
#define N_USED 4u

static uint64_t seed_of_run(void)
{
    const char *text = getenv("SL_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);

    printf("SL_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static struct sl_predict *make(void)
{
    struct sl_predict *predict;

    assert_int_equal(sl_predict_new(&predict, N_LAYERS, N_EXPERTS, N_USED), 0);
    return predict;
}

static void test_ranks_by_score_and_bias(void **state)
{
    struct sl_predict *predict = make();
    float scores[N_EXPERTS] = { 0 }, bias[N_EXPERTS] = { 0 };
    struct sl_guess guesses[SL_PREDICT_RANKS_MAX];

    scores[7] = 0.9f;
    scores[3] = 0.8f;
    scores[9] = 0.5f;
    bias[9] = 0.45f; /* 0.95: the first */
    assert_int_equal(sl_predict_guess(predict, 5, 1, scores, bias, NULL, guesses, 3), 3);
    assert_int_equal(guesses[0].expert, 9);
    assert_int_equal(guesses[1].expert, 7);
    assert_int_equal(guesses[2].expert, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(guesses[i].layer, 5);
        assert_true(guesses[i].p > 0 && guesses[i].p <= 1);
        assert_true(guesses[i].p * 1024 == floorf(guesses[i].p * 1024));
    }
    assert_int_equal(sl_predict_guess(predict, 5, 1, scores, bias, NULL, guesses, 99),
                     SL_PREDICT_RANKS_MAX);
    sl_predict_free(predict);
}

static void test_past_decides_between_equal_scores(void **state)
{
    struct sl_predict *predict = make();
    float scores[N_EXPERTS], chances[N_EXPERTS], p_often = 0, p_seldom = 0;
    struct sl_guess guesses[SL_PREDICT_RANKS_MAX];

    for (uint32_t e = 0; e < N_EXPERTS; e++) {
        scores[e] = (float)(e % 8) / 10;
        chances[e] = 0.1f;
    }
    chances[20] = 0.9f; /* scores as 4, 12 and 28 do */
    assert_int_equal(sl_predict_guess(predict, 0, 2, scores, NULL, chances, guesses,
                                      SL_PREDICT_RANKS_MAX), SL_PREDICT_RANKS_MAX);
    for (uint32_t i = 0; i < SL_PREDICT_RANKS_MAX; i++) {
        p_often = guesses[i].expert == 20 ? guesses[i].p : p_often;
        p_seldom = guesses[i].expert == 4 ? guesses[i].p : p_seldom;
    }
    assert_true(p_often > 0);
    assert_true(p_often > p_seldom);
    sl_predict_free(predict);
}

/* The first guess comes true always, the others never: probabilities and recall follow. */
static void test_learns_what_guesses_are_worth(void **state)
{
    struct sl_predict *predict = make();
    uint64_t rng = seed_of_run();
    struct sl_guess guesses[SL_PREDICT_RANKS_MAX];
    float first = 0, third = 0;

    assert_float_equal(sl_predict_recall(predict, 1), 0, 0);
    for (int t = 0; t < 1500; t++) {
        uint32_t layer = t % N_LAYERS;
        float scores[N_EXPERTS];
        uint32_t best = draw(&rng) % 16, chosen[N_USED] = { best, 16, 17, 18 };

        for (uint32_t e = 0; e < N_EXPERTS; e++)
            scores[e] = e < 16 ? 0.5f + (float)(draw(&rng) % 100) / 1000 : 0;
        scores[best] = 0.9f;
        sl_predict_guess(predict, layer, 1, scores, NULL, NULL, guesses, SL_PREDICT_RANKS_MAX);
        first = guesses[0].p;
        third = guesses[2].p;
        sl_predict_learn(predict, layer, chosen, N_USED);
        sl_predict_learn(predict, layer, chosen, N_USED); /* nothing waits any more */
    }
    assert_true(first > 0.9f);
    assert_true(third < 0.1f);
    assert_float_equal(sl_predict_recall(predict, 1), 0.25, 1e-3);
    assert_float_equal(sl_predict_recall(predict, 2), 0, 0);
    sl_predict_free(predict);
}

static void test_any_scores_do_no_harm(void **state)
{
    struct sl_predict *predict = make();
    uint64_t rng = seed_of_run();
    const float odd[] = { NAN, INFINITY, -INFINITY, 1e38f, -1e38f, 0, 1, 1e-40f };
    struct sl_guess guesses[SL_PREDICT_RANKS_MAX];

    for (int t = 0; t < 5000; t++) {
        float scores[N_EXPERTS], bias[N_EXPERTS], chances[N_EXPERTS];
        uint32_t chosen[N_USED] = { 1, 2, 3, draw(&rng) % 28 + 4 }, seen = 0, n;

        for (uint32_t e = 0; e < N_EXPERTS; e++) {
            scores[e] = odd[draw(&rng) % 8];
            bias[e] = odd[draw(&rng) % 8];
            chances[e] = odd[draw(&rng) % 8];
        }
        n = sl_predict_guess(predict, t % N_LAYERS, 1 + t % SL_PREDICT_AHEAD_MAX, scores, bias,
                             chances, guesses, SL_PREDICT_RANKS_MAX);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(guesses[i].expert < N_EXPERTS && !(seen & 1u << guesses[i].expert));
            assert_true(guesses[i].p >= 0 && guesses[i].p <= 1);
            seen |= 1u << guesses[i].expert;
        }
        sl_predict_learn(predict, t % N_LAYERS, chosen, N_USED);
    }
    sl_predict_free(predict);
    sl_predict_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranks_by_score_and_bias),
        cmocka_unit_test(test_past_decides_between_equal_scores),
        cmocka_unit_test(test_learns_what_guesses_are_worth),
        cmocka_unit_test(test_any_scores_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
