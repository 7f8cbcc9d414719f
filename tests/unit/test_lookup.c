/* Guesses by looking back: they are what followed an earlier occurrence of the text's end,
 * the longest one where few compete, and never older than the window. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "text/lookup.h"

#define N_TEXT 4000u
#define N_GUESS 40u

static uint64_t seed_of_run(void)
{
    const char *text = getenv("SL_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);

    printf("SL_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static uint32_t draw(uint64_t *state, uint32_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % n;
}

static struct sl_lookup *make(uint32_t n_window)
{
    struct sl_lookup *lookup;

    assert_int_equal(sl_lookup_new(&lookup, n_window), 0);
    return lookup;
}

static void add_all(struct sl_lookup *lookup, const int32_t *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        sl_lookup_add(lookup, ids[i]);
}

static uint32_t agreement(const int32_t *text, uint32_t n, uint32_t position)
{
    uint32_t match = 0;

    while (match < position && match < SL_LOOKUP_MATCH_MAX &&
           text[position - 1 - match] == text[n - 1 - match])
        match++;
    return match;
}

/* The longest agreement of the text's end with an earlier place, at most n_back tokens ago. */
static uint32_t longest(const int32_t *text, uint32_t n, uint32_t n_back)
{
    uint32_t best = 0;

    for (uint32_t p = n > n_back ? n - n_back : 1; p < n; p++) {
        uint32_t match = agreement(text, n, p);

        best = match > best ? match : best;
    }
    return best;
}

/* How often the last pair of the text stands in it. */
static uint32_t n_pairs(const int32_t *text, uint32_t n)
{
    uint32_t count = 0;

    for (uint32_t p = 2; p <= n; p++)
        count += text[p - 2] == text[n - 2] && text[p - 1] == text[n - 1];
    return count;
}

/* Whether the guesses are what followed a place at most n_back tokens ago where so many
 * tokens agree. */
static bool is_founded(const int32_t *text, uint32_t n, uint32_t n_back, const int32_t *ids,
                       uint32_t n_ids, uint32_t match)
{
    for (uint32_t p = n > n_back ? n - n_back : 1; p < n; p++) {
        uint32_t i = 0;

        if (agreement(text, n, p) < match)
            continue;
        while (i < n_ids && ids[i] == (p + i < n ? text[p + i] : ids[p + i - n]))
            i++;
        if (i == n_ids)
            return true;
    }
    return false;
}

/* Pieces of what was before among new tokens; n_kinds different ones. */
static void make_text(uint64_t *seed, int32_t *text, uint32_t n, uint32_t n_kinds)
{
    uint32_t i = 0;

    while (i < n) {
        uint32_t n_new = 1 + draw(seed, 20), n_old = draw(seed, 60), from;

        for (; n_new > 0 && i < n; n_new--)
            text[i++] = (int32_t)draw(seed, n_kinds);
        from = draw(seed, i);
        for (; n_old > 0 && i < n && from < i; n_old--)
            text[i++] = text[from++];
    }
}

static void test_guesses_are_founded(void **state)
{
    static const uint32_t kinds[] = { 1, 2, 5, 40, 3000 };
    uint64_t seed = seed_of_run();
    int32_t text[N_TEXT], ids[N_GUESS];
    uint32_t n_found = 0, n_longest = 0, n_missed = 0;

    (void)state;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        struct sl_lookup *lookup = make(N_TEXT);

        make_text(&seed, text, N_TEXT, kinds[k]);
        for (uint32_t n = 1; n <= N_TEXT; n++) {
            uint32_t match = 0, n_guess = 1 + draw(&seed, N_GUESS), got;

            sl_lookup_add(lookup, text[n - 1]);
            if (n % 7 && n > 300)
                continue;
            got = sl_lookup_guess(lookup, n_guess, ids, &match);
            assert_true(got == 0 || got == n_guess);
            if (got == 0) {
                n_missed += longest(text, n, n) >= 2 && n_pairs(text, n) <= 9;
                continue;
            }
            n_found++;
            assert_in_range(match, 2, SL_LOOKUP_MATCH_MAX);
            assert_true(is_founded(text, n, n, ids, got, match));
            if (n_pairs(text, n) > 9)
                continue;
            n_longest += match == longest(text, n, n);
            n_missed += match != longest(text, n, n);
        }
        sl_lookup_free(lookup);
    }
    assert_true(n_found > 500 && n_longest > 100);
    /* where other pairs with the same hash come in between */
    assert_true(n_missed <= n_longest / 100);
}

static void test_newest_of_equals(void **state)
{
    static const int32_t text[] = { 1, 2, 3, 9, 1, 2, 4, 9, 8, 1, 2 };
    struct sl_lookup *lookup = make(256);
    uint32_t match;
    int32_t id;

    (void)state;
    add_all(lookup, text, sizeof(text) / sizeof(text[0]));
    assert_int_equal(sl_lookup_guess(lookup, 1, &id, &match), 1);
    assert_int_equal(id, 4);
    assert_int_equal(match, 2);
    sl_lookup_free(lookup);
}

static void test_longest_before_newest(void **state)
{
    static const int32_t text[] = { 7, 1, 2, 3, 9, 1, 2, 4, 9, 7, 1, 2 };
    struct sl_lookup *lookup = make(256);
    uint32_t match;
    int32_t id;

    (void)state;
    add_all(lookup, text, sizeof(text) / sizeof(text[0]));
    assert_int_equal(sl_lookup_guess(lookup, 1, &id, &match), 1);
    assert_int_equal(id, 3);
    assert_int_equal(match, 3);
    sl_lookup_free(lookup);
}

static void test_a_period_goes_on(void **state)
{
    struct sl_lookup *lookup = make(256);
    int32_t ids[20];
    uint32_t match;

    (void)state;
    for (int32_t i = 0; i < 8; i++)
        sl_lookup_add(lookup, i % 3);
    assert_int_equal(sl_lookup_guess(lookup, 20, ids, &match), 20);
    for (int32_t i = 0; i < 20; i++)
        assert_int_equal(ids[i], (8 + i) % 3);
    sl_lookup_free(lookup);
}

static void test_nothing_repeats(void **state)
{
    struct sl_lookup *lookup = make(256);
    uint32_t match = 77;
    int32_t id = 55;

    (void)state;
    for (int32_t i = 0; i < 5000; i++) {
        sl_lookup_add(lookup, i);
        assert_int_equal(sl_lookup_guess(lookup, 1, &id, &match), 0);
    }
    assert_int_equal(match, 77);
    assert_int_equal(id, 55);
    assert_int_equal(sl_lookup_guess(lookup, 0, &id, &match), 0);
    sl_lookup_free(lookup);
}

/* What is older than the window is not guessed from; what is well within it is. */
static void test_window(void **state)
{
    uint64_t seed = seed_of_run();
    int32_t text[N_TEXT], ids[8];

    (void)state;
    for (uint32_t n_between = 100; n_between <= 400; n_between += 10) {
        struct sl_lookup *lookup = make(256);
        uint32_t match, got;

        for (int32_t i = 0; i < 4; i++)
            sl_lookup_add(lookup, 1000 + i);
        for (uint32_t i = 0; i < n_between; i++)
            sl_lookup_add(lookup, (int32_t)i);
        sl_lookup_add(lookup, 1000);
        sl_lookup_add(lookup, 1001);
        got = sl_lookup_guess(lookup, 1, ids, &match);
        assert_true(n_between > 200 || got == 1);
        assert_true(n_between < 256 || got == 0);
        assert_true(got == 0 || ids[0] == 1002);
        sl_lookup_free(lookup);
    }
    for (uint32_t n_kinds = 2; n_kinds < 400; n_kinds = n_kinds * 3 + 1) {
        struct sl_lookup *lookup = make(256);

        make_text(&seed, text, N_TEXT, n_kinds);
        for (uint32_t n = 1; n <= N_TEXT; n++) {
            uint32_t match, got;

            sl_lookup_add(lookup, text[n - 1]);
            got = sl_lookup_guess(lookup, 8, ids, &match);
            assert_true(got == 0 || is_founded(text, n, 256, ids, got, match));
        }
        sl_lookup_free(lookup);
    }
}

static void test_reset(void **state)
{
    struct sl_lookup *lookup = make(256);
    uint32_t match;
    int32_t id;

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int32_t i = 0; i < 100; i++) {
            sl_lookup_add(lookup, i);
            assert_int_equal(sl_lookup_guess(lookup, 1, &id, &match), 0);
        }
        sl_lookup_add(lookup, 10);
        sl_lookup_add(lookup, 11);
        assert_int_equal(sl_lookup_guess(lookup, 1, &id, &match), 1);
        assert_int_equal(id, 12);
        sl_lookup_reset(lookup);
        assert_int_equal(sl_lookup_guess(lookup, 1, &id, &match), 0);
    }
    sl_lookup_free(lookup);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guesses_are_founded),
        cmocka_unit_test(test_newest_of_equals),
        cmocka_unit_test(test_longest_before_newest),
        cmocka_unit_test(test_a_period_goes_on),
        cmocka_unit_test(test_nothing_repeats),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
