/*
 * What the next step computes, what steps cost, and stop strings however a text is cut: pure
 * functions, tried by hand and with random states.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/steppick.h"
#include "server/stopscan.h"
#include "server/tokenprob.h"

#define N 8

static uint64_t seed = 1;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static struct sl_steppick pick(const uint32_t *pending, uint32_t n, uint32_t turn,
                               struct sl_steppick_limits limits, double ms_per_row,
                               uint32_t *rows)
{
    struct sl_steppick_slot slots[N];
    struct sl_stepcost cost = {0};

    for (uint32_t size = 1; size <= 1024 && ms_per_row > 0; size *= 2)
        sl_stepcost_add(&cost, size, size * ms_per_row);
    for (uint32_t i = 0; i < n; i++)
        slots[i] = (struct sl_steppick_slot){.n_pending = pending[i]};
    return sl_steppick(slots, n, turn, &limits, &cost, rows);
}

static void check_rows(const uint32_t *pending, uint32_t n, struct sl_steppick_limits limits,
                       const uint32_t *want)
{
    uint32_t rows[N];

    (void)pick(pending, n, 0, limits, 1, rows);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(rows[i], want[i]);
}

static void test_by_hand(void **state)
{
    const struct sl_steppick_limits limits = {.n_rows = 512, .n_logits = 8, .max_ms = 100};

    /* a lone prompt has all */
    check_rows((uint32_t[]){4096}, 1, limits, (uint32_t[]){512});
    check_rows((uint32_t[]){0, 40}, 2, limits, (uint32_t[]){0, 40});
    /* beside one who decodes, what the time allows */
    check_rows((uint32_t[]){1, 4096}, 2, limits, (uint32_t[]){1, 99});
    check_rows((uint32_t[]){1, 1, 1, 1, 4096}, 5, limits, (uint32_t[]){1, 1, 1, 1, 96});
    /* prompts share; what a short one does not need goes to the others */
    check_rows((uint32_t[]){4096, 4096}, 2, limits, (uint32_t[]){256, 256});
    check_rows((uint32_t[]){4096, 16, 4096}, 3, limits, (uint32_t[]){248, 16, 248});
    check_rows((uint32_t[]){1, 4096, 10, 4096}, 4, limits, (uint32_t[]){1, 45, 10, 44});
    /* nobody */
    check_rows((uint32_t[]){0, 0}, 2, limits, (uint32_t[]){0, 0});
}

static void test_slow_decoding_may_be_doubled(void **state)
{
    const struct sl_steppick_limits limits = {.n_rows = 512, .n_logits = 8, .max_ms = 1};
    const uint32_t pending[] = {1, 1, 4096};
    uint32_t rows[3];
    struct sl_steppick p = pick(pending, 3, 0, limits, 10, rows);

    assert_int_equal(rows[2], 2);
    assert_true(p.is_over && p.is_short && p.n_decoding == 2 && p.n_rows == 4);
}

/* Whatever the state: limits hold, something is done, nobody waits for ever. */
static void test_random_states(void **state)
{
    for (uint32_t round = 0; round < 20000; round++) {
        struct sl_steppick_limits limits = {.n_rows = 1 + draw(draw(2) ? 4 : 600),
                                            .max_ms = 1 + draw(50)};
        uint32_t n = 1 + draw(N), pending[N], rows[N], n_active = 0;

        limits.n_logits = 1 + draw(limits.n_rows < N ? limits.n_rows : N);
        for (uint32_t i = 0; i < n; i++) {
            pending[i] = draw(3) == 0 ? 0 : draw(2) ? 1 : draw(1000);
            n_active += pending[i] > 0;
        }
        for (uint32_t turn = round; n_active && turn < round + 40; turn++) {
            struct sl_steppick p = pick(pending, n, turn, limits, 0.1, rows);
            uint32_t n_rows = 0, n_logits = 0;

            for (uint32_t i = 0; i < n; i++) {
                assert_true(rows[i] <= pending[i]);
                n_rows += rows[i];
                n_logits += rows[i] && rows[i] == pending[i];
            }
            assert_int_equal(n_rows, p.n_rows);
            assert_in_range(n_rows, 1, limits.n_rows);
            assert_true(n_logits <= limits.n_logits);
            for (uint32_t i = 0; i < n; i++) { /* who has said a token has the next to compute */
                pending[i] -= rows[i];
                pending[i] += rows[i] && pending[i] == 0;
            }
        }
    }
}

static void test_everyone_has_a_turn(void **state)
{
    for (uint32_t n_rows = 1; n_rows < 9; n_rows++)
        for (uint32_t n_logits = 1; n_logits <= n_rows; n_logits++) {
            const uint32_t pending[] = {1, 1, 50, 1, 2000, 1, 1, 3};
            struct sl_steppick_limits limits = {.n_rows = n_rows, .n_logits = n_logits,
                                                .max_ms = 1e-3};
            uint32_t had[N] = {0}, rows[N];

            for (uint32_t turn = 0; turn < 64; turn++) {
                (void)pick(pending, N, turn, limits, 1, rows);
                for (uint32_t i = 0; i < N; i++)
                    had[i] += rows[i];
            }
            for (uint32_t i = 0; i < N; i++)
                assert_true(had[i] > 0);
        }
}

static void test_costs(void **state)
{
    struct sl_stepcost cost = {0};

    assert_true(sl_stepcost_guess(&cost, 100) == 0);
    assert_int_equal(sl_stepcost_room(&cost, 1, 500, 10), 500);
    sl_stepcost_add(&cost, 1, 50);
    assert_true(sl_stepcost_guess(&cost, 1) == 50 && sl_stepcost_guess(&cost, 10) == 500);
    assert_int_equal(sl_stepcost_room(&cost, 1, 500, 500), 9);
    for (int i = 0; i < 50; i++)
        sl_stepcost_add(&cost, 8, 60);
    assert_true(fabs(sl_stepcost_guess(&cost, 8) - 60) < 1e-6);
    assert_true(fabs(sl_stepcost_guess(&cost, 80) - 600) < 1e-6);
    for (uint32_t n = 1; n < 3000; n++)
        assert_true(sl_stepcost_guess(&cost, n) <= sl_stepcost_guess(&cost, n + 1));
    sl_stepcost_add(&cost, 64, 1e6); /* the disk hung, once ... */
    assert_true(sl_stepcost_guess(&cost, 64) > 1e5);
    for (int i = 0; i <= SL_STEPCOST_AGE; i++)
        sl_stepcost_add(&cost, 8, 60);
    assert_true(sl_stepcost_guess(&cost, 64) < 1000); /* ... and is forgiven */
}

/* A step of a size that never was is guessed from smaller ones and is no larger than they allow:
 * where rows are as dear as the first was, the guess holds, where they are cheaper, steps grow
 * until the bound is used, and never beyond. */
static void test_steps_grow_within_the_bound(void **state)
{
    for (uint32_t round = 0; round < 200; round++) {
        double first_ms = 1 + draw(100), row_ms = first_ms * (1 + draw(100)) / 100;
        double bound_ms = 2 * first_ms + draw(1000);
        uint32_t n_rows = 0, n_most;
        struct sl_stepcost cost = {0};

        sl_stepcost_add(&cost, 1, first_ms);
        for (int i = 0; i < 40; i++) {
            double ms;

            n_rows = 1 + sl_stepcost_room(&cost, 1, 511, bound_ms);
            ms = first_ms + row_ms * (n_rows - 1);
            assert_true(ms <= bound_ms + 1e-6);
            sl_stepcost_add(&cost, n_rows, ms);
        }
        n_most = 1 + (uint32_t)((bound_ms - first_ms) / row_ms);
        n_most = n_most < 512 ? n_most : 512;
        assert_true(n_rows >= n_most * 3 / 4);
    }
}

/* The first word to be complete, its place, by looking at every beginning of the text. */
static int find_by_hand(const char *text, char *const *words, size_t n, size_t *ret_start)
{
    for (size_t end = 1; end <= strlen(text); end++) {
        int found = -1;

        for (size_t i = 0; i < n; i++) {
            size_t len = strlen(words[i]);

            if (len <= end && memcmp(text + end - len, words[i], len) == 0 &&
                (found < 0 || len > strlen(words[found])))
                found = (int)i;
        }
        if (found >= 0) {
            *ret_start = end - strlen(words[found]);
            return found;
        }
    }
    return -1;
}

static void test_stop_strings(void **state)
{
    for (uint32_t round = 0; round < 20000; round++) {
        char texts[4][8], text[40];
        char *words[4];
        size_t n = draw(5), len = draw(sizeof(text)), start = 0;
        struct sl_stopscan scan;
        struct sl_strbuf out = {0};
        uint32_t word = UINT32_MAX;
        int want, r = 0;

        for (size_t i = 0; i < n; i++) {
            size_t word_len = 1 + draw(6);

            for (size_t k = 0; k < word_len; k++)
                texts[i][k] = (char)('a' + draw(2));
            texts[i][word_len] = '\0';
            words[i] = texts[i];
        }
        for (size_t k = 0; k + 1 < len; k++)
            text[k] = (char)('a' + draw(3) % 3);
        text[len ? len - 1 : 0] = '\0';
        want = find_by_hand(text, words, n, &start);
        assert_int_equal(sl_stopscan_init(&scan, words, n), 0);
        for (size_t at = 0; at < strlen(text) && r == 0;) {
            size_t part = 1 + draw(5);

            part = part < strlen(text) - at ? part : strlen(text) - at;
            r = sl_stopscan_feed(&scan, text + at, part, &out, &word);
            at += part;
        }
        assert_int_equal(r, want >= 0);
        if (r == 0)
            sl_stopscan_end(&scan, &out);
        assert_int_equal(out.len, want >= 0 ? start : strlen(text));
        if (out.len)
            assert_memory_equal(out.ptr, text, out.len);
        if (want >= 0)
            assert_string_equal(words[word], words[want]);
        sl_strbuf_done(&out);
        sl_stopscan_done(&scan);
    }
}

static void test_probabilities(void **state)
{
    float logits[] = {1, 3, NAN, 2, 3, -INFINITY};
    double sum = exp(1) + exp(3) + exp(2) + exp(3);
    struct sl_tokenprob top[6];
    float chosen;

    assert_int_equal(sl_tokenprob_get(logits, 6, 3, 3, &chosen, top), 3);
    assert_true(fabs(chosen - (2 - log(sum))) < 1e-6);
    assert_true(top[0].token == 1 && top[1].token == 4 && top[2].token == 3);
    assert_true(fabs(top[0].logprob - (3 - log(sum))) < 1e-6);
    assert_int_equal(sl_tokenprob_get(logits, 6, 5, 10, &chosen, top), 6);
    assert_true(isinf(chosen) && chosen < 0);
    assert_int_equal(sl_tokenprob_get(logits, 6, 0, 0, &chosen, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_slow_decoding_may_be_doubled),
        cmocka_unit_test(test_random_states),
        cmocka_unit_test(test_everyone_has_a_turn),
        cmocka_unit_test(test_costs),
        cmocka_unit_test(test_steps_grow_within_the_bound),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_probabilities),
    };

    if (getenv("SL_SEED"))
        seed = strtoull(getenv("SL_SEED"), NULL, 10);
    printf("SL_SEED=%llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
