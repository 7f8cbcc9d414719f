/*
 * Compiles schemas for test_schema.py. Each line of stdin is a JSON object: "schema" as
 * JSON text, and "closed". Each line of stdout is {"gbnf"}, which grammar.c takes, or {"code",
 * "error"}. A line {"any_object": true} gives the grammar of any object.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/jsonwriter.h"
#include "text/grammar.h"
#include "text/schema.h"

static int compile(const struct sl_json *job, struct sl_strbuf *out, struct sl_diag *diag)
{
    struct sl_json_doc *doc = NULL;
    bool closed = false, any_object = false;
    size_t len = 0;
    const char *text = sl_json_get_string(sl_json_find(job, "schema"), &len);
    int r;

    (void)sl_json_get_bool(sl_json_find(job, "closed"), &closed); /* absent: false */
    (void)sl_json_get_bool(sl_json_find(job, "any_object"), &any_object);
    if (any_object)
        return sl_schema_any_object(out);
    r = sl_json_parse(&doc, text, len, diag);
    if (r == 0)
        r = sl_schema_compile(sl_json_root(doc), closed ? SL_SCHEMA_CLOSED : 0, out, diag);
    sl_json_free(doc);
    return r;
}

static int answer(const struct sl_json *job)
{
    struct sl_strbuf out = {0};
    struct sl_jsonwriter w;
    struct sl_diag diag = {""};
    struct sl_grammar *grammar = NULL;
    int r = compile(job, &out, &diag);

    if (r == 0)
        r = sl_grammar_new(&grammar, out.ptr, out.len, &diag);
    sl_grammar_free(grammar);

    sl_jsonwriter_init(&w, stdout, 0);
    sl_jsonwriter_begin_object(&w);
    if (r == 0) {
        sl_jsonwriter_key(&w, "gbnf");
        sl_jsonwriter_string(&w, out.ptr);
    } else {
        sl_jsonwriter_key(&w, "code");
        sl_jsonwriter_i64(&w, r);
        sl_jsonwriter_key(&w, "error");
        sl_jsonwriter_string(&w, diag.text);
    }
    sl_jsonwriter_end_object(&w);
    r = sl_jsonwriter_done(&w);
    putchar('\n');
    sl_strbuf_done(&out);
    return r;
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    int r = 0;

    while (r == 0 && (len = getline(&line, &cap, stdin)) > 0) {
        struct sl_json_doc *doc = NULL;
        struct sl_diag diag;

        r = sl_json_parse(&doc, line, (size_t)len, &diag);
        if (r < 0) {
            fprintf(stderr, "schema_peer: %s\n", diag.text);
            break;
        }
        r = answer(sl_json_root(doc));
        sl_json_free(doc);
    }
    free(line);
    return r == 0 ? 0 : 1;
}
