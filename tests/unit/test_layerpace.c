/*
 * How long a prefill's next layer takes: unknown at first, then the longest of this prefill's
 * layers, and before one of its kind was seen, the last prefill's in proportion to the rows.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/layerpace.h"

static void test_first_prefill(void **state)
{
    struct sl_layerpace pace = {0};

    sl_layerpace_begin(&pace, 100);
    for (uint32_t kind = 0; kind < SL_LAYERPACE_KINDS; kind++)
        assert_true(sl_layerpace_guess(&pace, kind) == SL_LAYERPACE_UNKNOWN);
    sl_layerpace_add(&pace, 2, 10);
    assert_int_equal(sl_layerpace_guess(&pace, 2), 10);
    assert_true(sl_layerpace_guess(&pace, 0) == SL_LAYERPACE_UNKNOWN); /* a short one is no hint */
    sl_layerpace_add(&pace, 0, 50);
    sl_layerpace_add(&pace, 0, 30);
    assert_int_equal(sl_layerpace_guess(&pace, 0), 50);
    assert_int_equal(sl_layerpace_guess(&pace, 2), 50); /* the longest of all */
    sl_layerpace_add(&pace, 1, 0); /* the clock did not move, and still it is known */
    assert_int_equal(sl_layerpace_guess(&pace, 1), 50);
}

static void test_next_prefills(void **state)
{
    struct sl_layerpace pace = {0};

    sl_layerpace_begin(&pace, 100);
    sl_layerpace_add(&pace, 0, 50);
    sl_layerpace_add(&pace, 2, 10);
    sl_layerpace_begin(&pace, 200);
    assert_int_equal(sl_layerpace_guess(&pace, 0), 100);
    assert_int_equal(sl_layerpace_guess(&pace, 2), 20);
    assert_true(sl_layerpace_guess(&pace, 1) == SL_LAYERPACE_UNKNOWN);
    sl_layerpace_add(&pace, 2, 15); /* what is seen counts, and not what was */
    assert_int_equal(sl_layerpace_guess(&pace, 2), 15);
    assert_int_equal(sl_layerpace_guess(&pace, 0), 100);
    sl_layerpace_begin(&pace, 20); /* given up before kind 0 was seen */
    assert_int_equal(sl_layerpace_guess(&pace, 0), 10);
    sl_layerpace_add(&pace, 2, 40); /* the disk is slow now, whatever the kind */
    assert_int_equal(sl_layerpace_guess(&pace, 0), 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_prefill),
        cmocka_unit_test(test_next_prefills),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
