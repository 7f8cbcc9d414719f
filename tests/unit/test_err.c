/* Error texts: one clean line, whatever is quoted in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/err.h"

static void check_clean(const char *text, const char *want)
{
    struct sl_diag diag;

    assert_int_equal(sl_diag_set(&diag, -EBADMSG, "%s", text), -EBADMSG);
    assert_string_equal(diag.text, want);
}

static void text_stays_as_it_is(void **state)
{
    (void)state;
    check_clean("", "");
    check_clean("tensor \"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\" is missing",
                "tensor \"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\" is missing");
    check_clean("~\xC2\xA0", "~\xC2\xA0"); /* neighbours of control characters */
}

static void control_characters_become_blanks(void **state)
{
    (void)state;
    check_clean("a\nb\r\tc", "a b  c");
    check_clean("\x1B[2J\x7F", " [2J ");
    check_clean("x\xC2\x9B" "2J\xC2\x80", "x  2J  "); /* the escape in one character */
}

static void bytes_that_are_not_utf8_become_question_marks(void **state)
{
    (void)state;
    check_clean("\xFF" "a\x9B\x80", "?a??");
    check_clean("\xC0\x8A" "b\xED\xA0\x80", "??b???"); /* too long a form, a surrogate */
    check_clean("cut \xE2\x82", "cut ??");
}

static void a_long_text_is_cut_between_characters(void **state)
{
    char text[2 * SL_DIAG_BYTES];
    struct sl_diag diag;

    (void)state;
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 'a', sizeof(text));
        for (size_t i = shift; i + 3 < sizeof(text); i += 3)
            memcpy(text + i, "\xE2\x82\xAC", 3);
        text[sizeof(text) - 1] = '\0';
        (void)sl_diag_set(&diag, 0, "%s", text);
        assert_in_range(strlen(diag.text), SL_DIAG_BYTES - 3, SL_DIAG_BYTES - 1);
        assert_memory_equal(diag.text, text, strlen(diag.text));
        assert_null(strchr(diag.text, '?'));
    }
}

static void a_prefix_is_cleaned_too(void **state)
{
    struct sl_diag diag = { "bad" };

    (void)state;
    assert_int_equal(sl_diag_prefix(&diag, -EIO, "%s", "a\x1B\xFF"), -EIO);
    assert_string_equal(diag.text, "a ?: bad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_stays_as_it_is),
        cmocka_unit_test(control_characters_become_blanks),
        cmocka_unit_test(bytes_that_are_not_utf8_become_question_marks),
        cmocka_unit_test(a_long_text_is_cut_between_characters),
        cmocka_unit_test(a_prefix_is_cleaned_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
