/* Byte loads, alignment and checked arithmetic of base/bytes.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"

static void checked_sums_and_products_say_when_they_overflow(void **state)
{
    uint64_t x = 7;

    (void)state;
    assert_true(sl_add_u64(UINT64_MAX - 1, 1, &x));
    assert_int_equal(x, UINT64_MAX);
    assert_true(sl_mul_u64(1ull << 32, (1ull << 32) - 1, &x));
    assert_int_equal(x, 0xFFFFFFFF00000000u);
    x = 7;
    assert_false(sl_add_u64(UINT64_MAX, 1, &x));
    assert_false(sl_mul_u64(1ull << 32, 1ull << 32, &x));
    assert_int_equal(x, 7); /* untouched */
}

static void alignment_rounds_up_to_powers_of_two(void **state)
{
    (void)state;
    assert_int_equal(sl_align_up(0, 32), 0);
    assert_int_equal(sl_align_up(1, 32), 32);
    assert_int_equal(sl_align_up(32, 32), 32);
    assert_int_equal(sl_align_up((1ull << 40) + 1, 4096), (1ull << 40) + 4096);
    assert_false(sl_is_pow2(0));
    assert_true(sl_is_pow2(1));
    assert_false(sl_is_pow2(24));
    assert_true(sl_is_pow2(1ull << 63));
}

static void loads_are_little_endian_at_any_address(void **state)
{
    static const uint8_t bytes[] = { 0xFF, 1, 2, 3, 4, 5, 6, 7, 8 };

    (void)state;
    assert_int_equal(sl_load_u16(bytes + 1), 0x0201);
    assert_int_equal(sl_load_u32(bytes + 1), 0x04030201);
    assert_int_equal(sl_load_u64(bytes + 1), 0x0807060504030201);
    assert_int_equal(sl_f32_bits(1.0f), 0x3F800000);
    assert_true(sl_f32_from_bits(0x40490FDB) > 3.14159f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checked_sums_and_products_say_when_they_overflow),
        cmocka_unit_test(alignment_rounds_up_to_powers_of_two),
        cmocka_unit_test(loads_are_little_endian_at_any_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
