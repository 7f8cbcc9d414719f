/*
 * Schemas compiled with failing allocations: the n-th of our own fails, for every n until none
 * does. Each time -ENOMEM with a text, what was written before is as it was, and nothing is
 * left behind (LeakSanitizer looks).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "faults.h"
#include "text/schema.h"

/* One that goes through every file of the compiler, one that is refused. */
static const char good[] =
    "{\"$defs\":{"
    "\"node\":{\"type\":\"object\",\"properties\":{\"next\":{\"$ref\":\"#/$defs/node\"},"
    "\"kind\":{\"enum\":[\"a\",[1,{\"k\":null}],2.5]}},"
    "\"additionalProperties\":{\"type\":\"null\"}},"
    "\"names\":{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^x-[a-z]+$\"}}},"
    "\"type\":\"object\",\"properties\":{"
    "\"one\":{\"oneOf\":["
    "{\"type\":\"object\",\"required\":[\"t\"],\"properties\":{\"t\":{\"const\":1}}},"
    "{\"type\":\"object\",\"required\":[\"t\"],\"properties\":{\"t\":{\"const\":2}}},"
    "{\"type\":\"null\"}]},"
    "\"any\":{\"anyOf\":[{\"$ref\":\"#/$defs/node\"},{\"$ref\":\"#/$defs/names\"}]},"
    "\"list\":{\"prefixItems\":[{\"type\":\"integer\",\"minimum\":-7,\"maximum\":1234},"
    "{\"type\":\"number\",\"exclusiveMinimum\":0.25}],\"items\":{\"multipleOf\":5},"
    "\"minItems\":1},"
    "\"text\":{\"type\":\"string\",\"pattern\":\"^[^\\\\d\\\\s]{2,9}(a|b)\\\\\\\\$\","
    "\"maxLength\":8},"
    "\"long\":{\"type\":\"string\",\"minLength\":300,\"maxLength\":70000},"
    "\"when\":{\"type\":\"string\",\"format\":\"date-time\"},"
    "\"all\":{\"allOf\":[{\"properties\":{\"p\":{}},\"required\":[\"p\",\"q\"]},"
    "{\"maxProperties\":4}]}},"
    "\"required\":[\"one\",\"text\"],\"minProperties\":3}";
static const char refused[] =
    "{\"properties\":{\"a\":{\"type\":\"object\",\"required\":[\"b\"],"
    "\"additionalProperties\":false}}}";

static void check(const char *schema, int code, uint64_t n_least)
{
    struct sl_json_doc *doc = NULL;

    assert_int_equal(sl_json_parse(&doc, schema, strlen(schema), NULL), 0);
    for (uint64_t n = 1;; n++) {
        struct sl_strbuf out = {0};
        struct sl_diag diag = {""};
        int r;

        sl_strbuf_add_str(&out, "kept");
        faults_arm(FAULTS_ALL, n);
        r = sl_schema_compile(sl_json_root(doc), 0, &out, &diag);
        faults_disarm();
        /* where only the place in a text was lost the schema is refused all the same */
        if (r != (faults_hit() ? -ENOMEM : code) && (code == 0 || r != code))
            fail_msg("allocation %d: %d, %s", (int)n, r, diag.text);
        if (r < 0) {
            assert_string_equal(out.ptr, "kept");
            assert_int_equal(diag.text[0], '#');
        } else {
            assert_memory_equal(out.ptr, "keptroot ::= ", 13);
        }
        assert_int_equal(out.error, 0);
        sl_strbuf_done(&out);
        if (!faults_hit()) {
            assert_true(n > n_least); /* or the faults never reached it */
            break;
        }
    }
    sl_json_free(doc);
}

static void test_compile(void **state)
{
    check(good, 0, 100);
}

static void test_refused(void **state)
{
    check(refused, -ENOTSUP, 5);
}

static void test_any_object(void **state)
{
    for (uint64_t n = 1;; n++) {
        struct sl_strbuf out = {0};
        int r;

        faults_arm(FAULTS_ALL, n);
        r = sl_schema_any_object(&out);
        faults_disarm();
        assert_int_equal(r, faults_hit() ? -ENOMEM : 0);
        sl_strbuf_done(&out);
        if (!faults_hit())
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compile),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_any_object),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
