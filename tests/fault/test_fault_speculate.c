/*
 * Speculation with failing allocations: making it says -ENOMEM and leaves nothing behind
 * (LeakSanitizer looks); and from then on nothing is allocated, whatever the text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "faults.h"
#include "text/speculate.h"

static const struct sl_speculate_opts opts = {.n_window = 1000};

static void test_new(void **state)
{
    uint64_t n;

    (void)state;
    for (n = 1;; n++) {
        struct sl_speculate *s = NULL;
        int r;

        faults_arm(FAULTS_ALL, n);
        r = sl_speculate_new(&s, &opts);
        faults_disarm();
        if (!faults_hit()) {
            assert_int_equal(r, 0);
            sl_speculate_free(s);
            break;
        }
        assert_int_equal(r, -ENOMEM);
        assert_null(s);
    }
    assert_true(n > 3);
}

static void test_nothing_is_allocated_later(void **state)
{
    struct sl_speculate *s;
    uint64_t n_calls, n_drafted = 0;
    uint32_t row, n_wrong;

    (void)state;
    assert_int_equal(sl_speculate_new(&s, &opts), 0);
    n_calls = faults_calls(FAULTS_ALL);
    for (int answer = 0; answer < 3; answer++) {
        int32_t prompt[300];

        for (int32_t i = 0; i < 300; i++)
            prompt[i] = i % 100;
        sl_speculate_begin(s, prompt, 300);
        for (int32_t i = 0; i < 5000; i++) {
            const int32_t *tokens;
            uint32_t n;

            if (sl_speculate_draw(s, i % 317 ? i % 50 : i, &row))
                continue;
            n = sl_speculate_plan(s, SL_SPECULATE_DRAFT_MAX, &tokens, &n_wrong);
            n_drafted += n - 1;
            sl_speculate_computed(s, 1000 + 100 * n, 8, 8);
        }
        (void)sl_speculate_end(s);
    }
    assert_true(n_drafted > 1000);
    assert_int_equal(faults_calls(FAULTS_ALL), n_calls);
    sl_speculate_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new),
        cmocka_unit_test(test_nothing_is_allocated_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
