/* The schema compiler: exact grammars of small schemas, limits, errors, nothing left over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/matcher.h"
#include "text/schema.h"

static int compile(const char *schema, uint32_t flags, struct sl_strbuf *out, struct sl_diag *diag)
{
    struct sl_json_doc *doc = NULL;
    int r;

    if (sl_json_parse(&doc, schema, strlen(schema), diag) < 0)
        fail_msg("%s: %s", diag ? diag->text : "?", schema);
    r = sl_schema_compile(sl_json_root(doc), flags, out, diag);
    sl_json_free(doc);
    return r;
}

/* The grammar's own rules come last; want is their text. */
static void assert_rules(const char *schema, uint32_t flags, const char *want)
{
    struct sl_strbuf out = {0};
    struct sl_diag diag = {""};

    if (compile(schema, flags, &out, &diag) < 0)
        fail_msg("%s: %s", diag.text, schema);
    if (!strstr(out.ptr, want))
        fail_msg("%s gives\n%s", schema, out.ptr);
    assert_int_equal(strncmp(out.ptr, "root ::= ", 9), 0);
    sl_strbuf_done(&out);
}

static void test_rules(void **state)
{
    assert_rules("{\"type\":\"boolean\"}", 0,
                 "root ::= boolean\nboolean ::= \"true\" | \"false\"\n");
    assert_rules("{\"type\":\"integer\",\"minimum\":7,\"maximum\":120}", 0,
                 " ::= [7-9] | [1-9] [0-9] | \"1\" ([0-1] [0-9] | \"2\" \"0\")\n");
    assert_rules("{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", 0,
                 " ::= \"0\" (\".\" [0-9]{1,20})? | \"1\" (\".\" \"0\"{1,20})?\n");
    assert_rules("{\"type\":\"string\",\"pattern\":\"^a\\\"[b-d]{2}$\"}", 0,
                 " ::= \"\\\"\" \"a\\\\\\\"\" [b-d]{2} \"\\\"\"\n");
    assert_rules("{\"enum\":[1,\"x\",null]}", 0, " ::= \"1\" | \"\\\"x\\\"\" | \"null\"\n");
}

static void test_objects(void **state)
{
    const char *open = "{\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"null\"}},"
                       "\"required\":[\"a\"]}";

    assert_rules(open, SL_SCHEMA_CLOSED,
                 " ::= \"\\\"a\\\"\" colon r15 (comma \"\\\"b\\\"\" colon r16)? ws\n");
    /* others: any name but a and b */
    assert_rules(open, 0, "\"\\\"\" (([^\"\\\\\\x00-\\x1F\\u0061\\u0062] | ");
    /* an object without properties stays open */
    assert_rules("{\"type\":\"object\"}", SL_SCHEMA_CLOSED, "root ::= object\n");
}

static void test_recursion_makes_few_rules(void **state)
{
    assert_rules("{\"$defs\":{\"t\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/t\"}}},"
                 "\"$ref\":\"#/$defs/t\"}",
                 0, " ::= \"[\" ws (r15 ");
}

/* Whether the grammar of a schema, read by our own matcher, takes a text. */
static void assert_takes(const char *schema, const char *json, bool want)
{
    struct sl_strbuf out = {0};
    struct sl_diag diag = {""};
    struct sl_grammar *grammar = NULL;
    struct sl_matcher *matcher = NULL;
    int r;

    if (compile(schema, 0, &out, &diag) < 0 ||
        sl_grammar_new(&grammar, out.ptr, out.len, &diag) < 0)
        fail_msg("%s: %s", diag.text, schema);
    assert_int_equal(sl_matcher_new(&matcher, grammar), 0);
    r = sl_matcher_accept(matcher, json, strlen(json));
    if ((r == 1 && sl_matcher_is_done(matcher)) != want)
        fail_msg("%s %s\n%s", want ? "does not take" : "takes", json, out.ptr);
    sl_matcher_free(matcher);
    sl_grammar_free(grammar);
    sl_strbuf_done(&out);
}

/* Names of others: any but those that are named, also where these need an escape. */
static void test_other_names(void **state)
{
    const char *schema = "{\"properties\":{\"a\":{\"type\":\"null\"},"
                         "\"a\\\"b\":{\"type\":\"null\"},\"\\n\":{\"type\":\"null\"}},"
                         "\"additionalProperties\":{\"type\":\"integer\"}}";

    assert_takes(schema, "{\"a\":null,\"a\\\"b\":null,\"\\n\":null}", true);
    assert_takes(schema, "{\"a\\\"\":1,\"a\\\\\":2,\"\\n\\n\":3,\"\\t\":4,\"\\u001f\":5}", true);
    assert_takes(schema, "{\"\":1,\"a\\\"bc\":2,\"a\\\"\\u0001\":3,\"\\\\\\\"\":4}", true);
    assert_takes(schema, "{\"a\\\"b\":1}", false);
    assert_takes(schema, "{\"\\n\":1}", false);
    /* other spellings of those that are named */
    assert_takes(schema, "{\"\\u0061\":1}", false);
    assert_takes(schema, "{\"\\u000a\":1}", false);
    assert_takes(schema, "{\"a\\u0022b\":1}", false);
}

/* A length does not loosen a repetition that must be there once. */
static void test_narrowed_once(void **state)
{
    const char *schema = "{\"type\":\"string\",\"pattern\":\"^(ab*){1}$\",\"maxLength\":3}";

    assert_takes(schema, "\"a\"", true);
    assert_takes(schema, "\"abb\"", true);
    assert_takes(schema, "\"abbb\"", false);
    assert_takes(schema, "\"\"", false);
}

static void assert_refused(const char *schema, int code, const char *text)
{
    struct sl_strbuf out = {0};
    struct sl_diag diag = {""};
    int r;

    sl_strbuf_add_str(&out, "kept");
    r = compile(schema, 0, &out, &diag);
    if (r != code || !strstr(diag.text, text))
        fail_msg("%.200s gives %d, %s", schema, r, diag.text);
    assert_string_equal(out.ptr, "kept"); /* untouched on failure */
    sl_strbuf_done(&out);
}

static void test_errors(void **state)
{
    assert_refused("{\"properties\":{\"a\":{\"not\":{}}}}", -ENOTSUP,
                   "#/properties/a/not: not supported");
    assert_refused("{\"items\":[1]}", -EBADMSG, "#/items/0: a schema is an object");
    assert_refused("false", -ENOTSUP, "#: there is no finite value");
    assert_refused("{\"type\":\"string\",\"minLength\":5000000}", -ENOTSUP, "#/minLength: ");
}

static void test_pattern_errors(void **state)
{
    const int bad = -EBADMSG;

    assert_refused("{\"pattern\":\"[\\\\u{\"}", bad, "\\u{...} needs the number");
    assert_refused("{\"pattern\":\"\\\\u{110000}\"}", bad, "\\u{...} needs the number");
    assert_refused("{\"pattern\":\"a{2}{3}\"}", bad, "at byte 4: nothing to repeat");
    assert_refused("{\"pattern\":\"a**\"}", bad, "nothing to repeat");
    assert_refused("{\"pattern\":\"a|{1,2}\"}", bad, "nothing to repeat");
}

/* A member need not match the other branch's pattern, and may then be anything. */
static void test_patterns_do_not_exclude(void **state)
{
    assert_refused("{\"oneOf\":[{\"type\":\"object\",\"required\":[\"kind\"],"
                   "\"properties\":{\"kind\":{\"const\":\"a\"}}},"
                   "{\"type\":\"object\",\"patternProperties\":{\"^x\":{\"type\":\"number\"}}}]}",
                   -ENOTSUP, "may both be satisfied");
}

static void test_flags(void **state)
{
    struct sl_strbuf out = {0};
    struct sl_diag diag = {""};

    assert_int_equal(compile("{}", 2, &out, &diag), -EINVAL);
    assert_int_equal(compile("{}", 0, &out, NULL), 0);
    assert_int_equal(sl_schema_any_object(&out), 0);
    sl_strbuf_done(&out);
}

/* n times piece, with its number for each @, joined by commas. */
static char *many(const char *before, const char *piece, int n, const char *after)
{
    struct sl_strbuf out = {0};
    char *text = NULL;

    sl_strbuf_add_str(&out, before);
    for (int i = 0; i < n; i++) {
        sl_strbuf_add_str(&out, i ? "," : "");
        for (const char *c = piece; *c; c++)
            if (*c == '@')
                sl_strbuf_add_fmt(&out, "%d", i);
            else
                sl_strbuf_add(&out, c, 1);
    }
    sl_strbuf_add_str(&out, after);
    assert_int_equal(sl_strbuf_take(&out, &text, NULL), 0);
    return text;
}

static void test_limits(void **state)
{
    /* two to the 20th branches */
    char *text = many("{\"allOf\":[",
                      "{\"anyOf\":[{\"minLength\":@},{\"maxLength\":9}]}", 20, "]}");

    assert_refused(text, -E2BIG, "too much work");
    free(text);
    text = many("{\"properties\":{", "\"k@\":{\"type\":\"integer\",\"maximum\":@}", 9000, "}}");
    assert_refused(text, -E2BIG, "rules");
    free(text);
    text = many("{\"enum\":[", "@", 5000, "]}");
    assert_refused(text, -E2BIG, "#/enum: more than 4096 values");
    free(text);
    text = many("{\"allOf\":[", "{\"type\":\"null\"}", 200, "]}");
    assert_refused(text, -E2BIG, "schemas have to hold");
    free(text);
}

/* Small schemas that would keep us busy for minutes. */
static void test_work_is_bounded(void **state)
{
    struct sl_strbuf text = {0};
    char *start, *all;

    /* a long list of types, looked at again for each member */
    start = many("{\"$defs\":{\"a\":{\"type\":[", "\"string\"", 100000, "]}},\"properties\":{");
    all = many(start, "\"k@\":{\"allOf\":[{\"$ref\":\"#/$defs/a\"}],\"minLength\":@}", 2000, "}}");
    assert_refused(all, -E2BIG, "too much work");
    free(start);
    free(all);

    /* constants of which none fits, again for each member: not each against all */
    start = many("{\"$defs\":{\"a\":{\"enum\":[", "@", 4096, "]}},\"properties\":{");
    all = many(start, "\"k@\":{\"allOf\":[{\"$ref\":\"#/$defs/a\"}],\"minimum\":9999@}", 500, "}}");
    assert_takes(all, "{\"k499\":0}", false);
    free(start);
    free(all);

    /* branches with many constants, each pair of which is compared */
    sl_strbuf_add_str(&text, "{\"oneOf\":[");
    for (int i = 0; i < 60; i++) {
        sl_strbuf_add_fmt(&text, "%s{\"enum\":[\"%d", i ? "," : "", i);
        for (int k = 1; k < 1000; k++)
            sl_strbuf_add_fmt(&text, "\",\"%d.%d", i, k);
        sl_strbuf_add_str(&text, "\"]}");
    }
    sl_strbuf_add_str(&text, "]}");
    assert_refused(text.ptr, -E2BIG, "#: too much work");
    sl_strbuf_done(&text);
}

/* The same, each with a part that is long: what is counted is not only how many there are. */
static void test_long_parts_are_work(void **state)
{
    static const struct {
        const char *before, *part;
        int n;
        const char *middle, *again;
        int n_again;
        const char *after, *want;
    } cases[] = {
        /* keywords that nobody knows */
        {"{\"$defs\":{\"a\":{", "\"x@\":0", 50000, "}},\"prefixItems\":[",
         "{\"allOf\":[{\"$ref\":\"#/$defs/a\"}],\"minLength\":@}", 1000, "]}",
         "#/$defs/a: too much work"},
        /* a constant that is too long everywhere */
        {"{\"$defs\":{\"a\":{\"enum\":[\"", "abcdefgh", 100000, "\"]}},\"prefixItems\":[",
         "{\"allOf\":[{\"$ref\":\"#/$defs/a\"}],\"maxLength\":@}", 1000, "]}",
         ": too much work"},
        /* names of members that are looked for among those that are required */
        {"{\"required\":[", "\"k@\"", 4000, "],\"properties\":{", "\"k@\":{\"type\":\"null\"}",
         8100, "}}", "#: too much work"},
        /* branches that only the last of many required members tells apart */
        {"{\"$defs\":{\"a\":{\"type\":\"object\",\"required\":[", "\"k@\"", 4000,
         ",\"z\"]}},\"oneOf\":[",
         "{\"$ref\":\"#/$defs/a\",\"properties\":{\"z\":{\"const\":@}}}", 200, "]}",
         "#: too much work"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *start = many(cases[i].before, cases[i].part, cases[i].n, cases[i].middle);
        char *all = many(start, cases[i].again, cases[i].n_again, cases[i].after);

        assert_refused(all, -E2BIG, cases[i].want);
        free(start);
        free(all);
    }
}

/* Rules that become productive one after the other, in the worst order for sweeps. */
static void test_order_does_not_matter(void **state)
{
    enum { N = 1500 };
    struct sl_strbuf text = {0};
    int at = N / 2;

    sl_strbuf_add_str(&text, "{\"$defs\":{");
    for (int i = 1; i < N; i++) {
        int next = i % 2 ? N / 2 - (i + 1) / 2 : N / 2 + i / 2;

        sl_strbuf_add_fmt(&text,
                          "\"d%d\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/d%d\"},"
                          "\"minItems\":1},",
                          at, next);
        at = next;
    }
    sl_strbuf_add_fmt(&text, "\"d%d\":{\"const\":0}},\"prefixItems\":[", at);
    for (int i = 0; i < N; i++)
        sl_strbuf_add_fmt(&text, "%s{\"$ref\":\"#/$defs/d%d\"}", i ? "," : "", i);
    sl_strbuf_add_str(&text, "]}");
    assert_takes(text.ptr, "[[0", false);
    sl_strbuf_done(&text);
}

static void test_large_schema(void **state)
{
    char *text = many("{\"properties\":{", "\"property_@\":{\"type\":\"string\"}", 500,
                      "},\"additionalProperties\":false}");
    struct sl_strbuf out = {0};
    struct sl_diag diag = {""};

    if (compile(text, 0, &out, &diag) < 0)
        fail_msg("%s", diag.text);
    assert_true(out.len < 100000);
    sl_strbuf_done(&out);
    free(text);
}

/* References that lead to references and so on, 3,000 of them. */
static void test_long_chain(void **state)
{
    struct sl_strbuf out = {0};
    char *text = NULL;

    sl_strbuf_add_str(&out, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 3000; i++)
        sl_strbuf_add_fmt(&out, "\"d%d\":{\"title\":\"t\",\"$ref\":\"#/$defs/d%d\"},", i, i + 1);
    sl_strbuf_add_str(&out, "\"d3000\":{}}}");
    assert_int_equal(sl_strbuf_take(&out, &text, NULL), 0);
    assert_refused(text, -E2BIG, "references or allOf within each other");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_recursion_makes_few_rules),
        cmocka_unit_test(test_other_names),
        cmocka_unit_test(test_narrowed_once),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_pattern_errors),
        cmocka_unit_test(test_patterns_do_not_exclude),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_work_is_bounded),
        cmocka_unit_test(test_long_parts_are_work),
        cmocka_unit_test(test_order_does_not_matter),
        cmocka_unit_test(test_large_schema),
        cmocka_unit_test(test_long_chain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
