/* JSON: what is taken and refused, numbers of any size, and Python's spelling. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"

static struct sl_json_doc *parse(const char *text)
{
    struct sl_json_doc *doc = NULL;
    struct sl_diag diag = {""};

    if (sl_json_parse(&doc, text, strlen(text), &diag) < 0)
        fail_msg("%s: %s", text, diag.text);
    return doc;
}

static void assert_dump(const char *text, const char *want)
{
    struct sl_json_doc *doc = parse(text);
    char *got = NULL;

    assert_int_equal(sl_json_dump_python(sl_json_root(doc), &got, NULL), 0);
    assert_string_equal(got, want);
    free(got);
    sl_json_free(doc);
}

static void test_dump(void **state)
{
    assert_dump("{\"b\":1,\"a\":[true,false,null,\"x\"],\"c\":{}}",
                "{\"b\": 1, \"a\": [true, false, null, \"x\"], \"c\": {}}");
}

static void test_numbers(void **state)
{
    assert_dump("[1.0,0.1,1e16,1e15,1e-7,1e-4,100.0,-0.0,-0,1e21,5e-324,123.456]",
                "[1.0, 0.1, 1e+16, 1000000000000000.0, 1e-07, 0.0001, 100.0, -0.0, 0, 1e+21, "
                "5e-324, 123.456]");
    assert_dump("[5.684341886080802e-14,2.2250738585072014e-308,1.7976931348623157e308]",
                "[5.684341886080802e-14, 2.2250738585072014e-308, 1.7976931348623157e+308]");
    assert_dump("[9223372036854775807,9223372036854775808,-9223372036854775808,"
                "-9223372036854775809,100000000000000000000000000000000]",
                "[9223372036854775807, 9223372036854775808, -9223372036854775808, "
                "-9223372036854775809, 100000000000000000000000000000000]");
}

static void test_big_int_is_an_integer(void **state)
{
    struct sl_json_doc *doc = parse("[18446744073709551616, \"18446744073709551616\"]");
    const struct sl_json *big = sl_json_item(sl_json_root(doc), 0);
    const struct sl_json *text = sl_json_item(sl_json_root(doc), 1);
    double value = 0.0;
    int64_t integer = 7;

    assert_true(sl_json_is(big, SL_JSON_INT));
    assert_null(sl_json_get_string(big, NULL));
    assert_false(sl_json_get_i64(big, &integer));
    assert_int_equal(integer, 7);
    assert_true(sl_json_get_f64(big, &value));
    assert_true(value == 18446744073709551616.0);
    assert_string_equal(sl_json_get_big_int(big), "18446744073709551616");
    assert_true(sl_json_is(text, SL_JSON_STRING));
    assert_null(sl_json_get_big_int(text));
    sl_json_free(doc);
}

static void test_strings(void **state)
{
    assert_dump("\"\\u00fc\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u007f\\ud83d\\ude00\"",
                "\"ü\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f😀\"");
    assert_dump("\"\\\\u0000\"", "\"\\\\u0000\"");
}

static void test_repeated_keys_take_the_last_value(void **state)
{
    assert_dump("{\"a\":1,\"b\":2,\"a\":3}", "{\"a\": 3, \"b\": 2}");
}

static void assert_refused(const char *text, size_t len, int code)
{
    struct sl_json_doc *doc = NULL;
    struct sl_diag diag = {""};
    int r = sl_json_parse(&doc, text, len, &diag);

    if (r != code)
        fail_msg("%.*s: %d, %d expected", (int)len, text, r, code);
    assert_null(doc);
    assert_true(strlen(diag.text) > 4);
}

static void test_refused(void **state)
{
    static const char *const texts[] = {
        "",        " ",      "{",         "[1,]",      "{\"a\":1,}",   "{a:1}",    "'a'",
        "[1] 2",   "nul",    "01",        "-",         "1.",           ".5",       "+1",
        "1e400",   "\"\n\"", "\"\\x\"",   "\"\\u12\"", "\"\\ud800\"",  "\"\xff\"", "\"\xc0\x80\"",
        "\"a",     "\"\\",   "\"\\u0000", "\"\\u0000\"", "[\"\\u0000\"]", "NaN",   "Infinity",
        "{18446744073709551616:1}", "0123456789012345678901", "--18446744073709551616",
        "1844674407370955161x6", "// c\n1",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_refused(texts[i], strlen(texts[i]), -EBADMSG);
    assert_refused("\"a\0b\"", 5, -EBADMSG);
    assert_refused("1\0", 2, -EBADMSG);
}

static void test_depth(void **state)
{
    char text[2 * SL_JSON_DEPTH_MAX + 2];
    struct sl_json_doc *doc;

    memset(text, '[', SL_JSON_DEPTH_MAX);
    memset(text + SL_JSON_DEPTH_MAX, ']', SL_JSON_DEPTH_MAX);
    text[2 * SL_JSON_DEPTH_MAX] = '\0';
    assert_dump(text, text);
    doc = parse(text);
    sl_json_free(doc);
    memset(text, '[', SL_JSON_DEPTH_MAX + 1);
    assert_refused(text, SL_JSON_DEPTH_MAX + 1, -E2BIG);
}

/* "[1,1,...1]" of n numbers; heap. */
static char *ones(size_t n)
{
    char *text = malloc(2 * n + 2);

    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + 2 * i, ",1", 2);
    text[0] = '[';
    memcpy(text + 2 * n, "]", 2);
    return text;
}

static void test_number_of_values(void **state)
{
    char *most = ones(SL_JSON_VALUES_MAX - 1), *more = ones(SL_JSON_VALUES_MAX);
    struct sl_json_doc *doc = parse(most);
    char *commas = malloc(SL_JSON_VALUES_MAX + 3);

    assert_int_equal(sl_json_n_items(sl_json_root(doc)), SL_JSON_VALUES_MAX - 1);
    sl_json_free(doc);
    assert_refused(more, strlen(more), -E2BIG);
    assert_non_null(commas); /* in a string they are text */
    memset(commas, ',', SL_JSON_VALUES_MAX + 2);
    commas[0] = commas[SL_JSON_VALUES_MAX + 1] = '"';
    commas[SL_JSON_VALUES_MAX + 2] = '\0';
    sl_json_free(parse(commas));
    free(commas);
    free(more);
    free(most);
}

static void test_access(void **state)
{
    struct sl_json_doc *doc = parse("{\"n\":3,\"r\":2.5,\"s\":\"x\",\"t\":true,\"l\":[1,2]}");
    const struct sl_json *root = sl_json_root(doc);
    struct sl_json_iter iter = {0};
    const struct sl_json *value;
    char keys[8] = "";
    const char *key;
    int64_t integer;
    double real;
    bool truth;
    size_t len;

    assert_int_equal(sl_json_n_items(root), 5);
    while (sl_json_next(root, &iter, &key, &value))
        strncat(keys, key, 1);
    assert_string_equal(keys, "nrstl");
    assert_true(sl_json_get_i64(sl_json_find(root, "n"), &integer) && integer == 3);
    assert_true(sl_json_get_f64(sl_json_find(root, "n"), &real) && real == 3.0);
    assert_true(sl_json_get_f64(sl_json_find(root, "r"), &real) && real == 2.5);
    assert_false(sl_json_get_i64(sl_json_find(root, "r"), &integer));
    assert_true(sl_json_get_bool(sl_json_find(root, "t"), &truth) && truth);
    assert_string_equal(sl_json_get_string(sl_json_find(root, "s"), &len), "x");
    assert_int_equal(len, 1);
    assert_int_equal(sl_json_n_items(sl_json_find(root, "l")), 2);
    assert_null(sl_json_item(sl_json_find(root, "l"), 2));
    assert_true(sl_json_is(sl_json_find(root, "?"), SL_JSON_NONE));
    assert_null(sl_json_find(sl_json_find(root, "?"), "?"));
    assert_null(sl_json_get_string(NULL, NULL));
    assert_false(sl_json_get_bool(NULL, &truth));
    assert_int_equal(sl_json_n_items(NULL), 0);
    sl_json_free(doc);
    sl_json_free(NULL);
}

static void write_sample(struct sl_jsonwriter *w)
{
    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_key(w, "a");
    sl_jsonwriter_begin_array(w);
    sl_jsonwriter_i64(w, -1);
    sl_jsonwriter_u64(w, UINT64_MAX);
    sl_jsonwriter_f64(w, 0.5);
    sl_jsonwriter_f64(w, NAN);
    sl_jsonwriter_end_array(w);
    sl_jsonwriter_key(w, "e");
    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_end_object(w);
    sl_jsonwriter_key(w, "s");
    sl_jsonwriter_string_len(w, "x\xff\"\xe6\x97\xa5\xe6", 7);
    sl_jsonwriter_key(w, "r");
    sl_jsonwriter_begin_array(w);
    sl_jsonwriter_raw(w, "{\"k\": 1}", 8);
    sl_jsonwriter_raw(w, "2", 1);
    sl_jsonwriter_end_array(w);
    sl_jsonwriter_end_object(w);
}

static void test_writer(void **state)
{
    static const char *const wants[] = {
        "{\"a\":[-1,18446744073709551615,0.5,null],\"e\":{},"
        "\"s\":\"x\xEF\xBF\xBD\\\"日\xEF\xBF\xBD\",\"r\":[{\"k\": 1},2]}",
        "{\n  \"a\": [\n    -1,\n    18446744073709551615,\n    0.5,\n    null\n  ],\n"
        "  \"e\": {},\n  \"s\": \"x\xEF\xBF\xBD\\\"日\xEF\xBF\xBD\",\n"
        "  \"r\": [\n    {\"k\": 1},\n    2\n  ]\n}",
        "{\"a\": [-1, 18446744073709551615, 0.5, null], \"e\": {}, "
        "\"s\": \"x\xEF\xBF\xBD\\\"日\xEF\xBF\xBD\", \"r\": [{\"k\": 1}, 2]}",
    };

    for (uint32_t flags = 0; flags < 3; flags++) {
        struct sl_jsonwriter w;
        char *text = NULL;

        sl_jsonwriter_init(&w, NULL, flags);
        write_sample(&w);
        assert_int_equal(sl_strbuf_take(&w.buf, &text, NULL), 0);
        assert_string_equal(text, wants[flags]);
        free(text);
        assert_int_equal(sl_jsonwriter_done(&w), 0);
    }
}

static void test_members_are_keys_with_values(void **state)
{
    struct sl_jsonwriter w;
    char *text = NULL;

    sl_jsonwriter_init(&w, NULL, SL_JSONWRITER_SPACED);
    sl_jsonwriter_begin_object(&w);
    sl_jsonwriter_member_string(&w, "s", "\"");
    sl_jsonwriter_member_i64(&w, "i", INT64_MIN);
    sl_jsonwriter_member_u64(&w, "u", UINT64_MAX);
    sl_jsonwriter_member_f64(&w, "f", 0.1);
    sl_jsonwriter_member_f64(&w, "n", -INFINITY);
    sl_jsonwriter_member_known(&w, "k", 2.0);
    sl_jsonwriter_member_known(&w, "z", 0.0);
    sl_jsonwriter_member_bool(&w, "b", true);
    sl_jsonwriter_member_object(&w, "o");
    sl_jsonwriter_member_array(&w, "a");
    sl_jsonwriter_bool(&w, false);
    sl_jsonwriter_end_array(&w);
    sl_jsonwriter_end_object(&w);
    sl_jsonwriter_end_object(&w);
    assert_int_equal(sl_strbuf_take(&w.buf, &text, NULL), 0);
    assert_string_equal(text, "{\"s\": \"\\\"\", \"i\": -9223372036854775808, "
                              "\"u\": 18446744073709551615, \"f\": 0.1, \"n\": null, "
                              "\"k\": 2.0, \"z\": null, "
                              "\"b\": true, \"o\": {\"a\": [false]}}");
    free(text);
    assert_int_equal(sl_jsonwriter_done(&w), 0);
}

static void test_writer_says_when_the_file_is_full(void **state)
{
    FILE *full = fopen("/dev/full", "w");
    struct sl_jsonwriter w;

    if (!full)
        skip();
    sl_jsonwriter_init(&w, full, 0);
    write_sample(&w);
    assert_int_equal(sl_jsonwriter_done(&w), -EIO);
    fclose(full);
}

/* Every double printed reads back equal; powers of two are the hard ones. */
static void test_reals_read_back(void **state)
{
    uint64_t x = 88172645463325252u;

    for (int i = 0; i < 20000; i++) {
        char text[SL_JSON_REAL_BYTES];
        double value;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        if (i < 2098)
            value = ldexp(1.0, i - 1074);
        else
            memcpy(&value, &x, sizeof(value));
        if (!isfinite(value))
            continue;
        sl_json_print_real(text, value);
        assert_true(strtod(text, NULL) == value);
        assert_true(strlen(text) <= 24);
    }
}

static void test_a_decimal_comma_changes_nothing(void **state)
{
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8"))
        skip(); /* no such locale on this machine */
    assert_dump("[0.5,1.25e-9]", "[0.5, 1.25e-09]");
    setlocale(LC_NUMERIC, "C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dump),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_big_int_is_an_integer),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_repeated_keys_take_the_last_value),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_number_of_values),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_members_are_keys_with_values),
        cmocka_unit_test(test_writer_says_when_the_file_is_full),
        cmocka_unit_test(test_reals_read_back),
        cmocka_unit_test(test_a_decimal_comma_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
