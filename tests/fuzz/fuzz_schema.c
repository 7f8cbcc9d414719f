/*
 * Any JSON as a schema, and any bytes as a pattern: compiled or refused with a text, within
 * the limits, out untouched on failure; what is compiled has a root and is printed the
 * same again.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/schema.h"
#include "text/schemaregex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_schema(const char *text, size_t len)
{
    struct sl_strbuf out = {0}, again = {0};
    struct sl_json_doc *doc = NULL;
    struct sl_diag diag = {""};

    if (sl_json_parse(&doc, text, len, NULL) < 0)
        return;
    for (uint32_t flags = 0; flags <= SL_SCHEMA_CLOSED; flags++) {
        int r = sl_schema_compile(sl_json_root(doc), flags, &out, &diag);

        if (r < 0) {
            require(diag.text[0] == '#' && out.len == 0);
        } else {
            require(out.len <= SL_SCHEMA_TEXT_MAX && memcmp(out.ptr, "root ::= ", 9) == 0);
            require(sl_schema_compile(sl_json_root(doc), flags, &again, NULL) == 0);
            require(again.len == out.len && memcmp(again.ptr, out.ptr, out.len) == 0);
            sl_strbuf_cut(&again, 0);
            sl_strbuf_cut(&out, 0);
        }
    }
    sl_strbuf_done(&out);
    sl_strbuf_done(&again);
    sl_json_free(doc);
}

static void check_pattern(const char *text, size_t len)
{
    struct sl_ebnf e = {0};
    struct sl_ebnf_expr *expr = NULL;
    struct sl_strbuf out = {0};
    struct sl_diag diag = {""};
    uint32_t rule;
    int r;

    require(sl_ebnf_init(&e) == 0);
    rule = sl_ebnf_rule_new(&e, NULL);
    r = sl_schemaregex_compile(&e, text, len, len % 7, len % 2 ? SL_EBNF_NO_MAX : 20, &expr, &diag);
    require(r == 0 || e.error || diag.text[0]);
    if (r == 0) {
        sl_ebnf_rule_set(&e, rule, expr);
        r = sl_ebnf_print(&e, rule, SL_SCHEMA_TEXT_MAX, &out);
        require(r == 0 || r == -ENOTSUP || r == -E2BIG);
    }
    sl_strbuf_done(&out);
    sl_ebnf_done(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    check_schema((const char *)data, n);
    check_pattern((const char *)data, n);
    return 0;
}
