/*
 * A text can have one form only, so that two members which ask for one are refused. Schemas
 * are taken as closed: an object has the members that "properties" names and no others,
 * unless it says otherwise. What is then written satisfies the schema as it stands.
 */
#include "server/apiformat.h"

#include <errno.h>
#include <string.h>

#include "server/gencalls.h"
#include "text/schema.h"

static struct sl_genreq *gen_of(struct sl_apiobject *o)
{
    return &o->parse->call->gen;
}

static void set_shape(struct sl_apiobject *o, const char *key, enum sl_apishape shape,
                      const struct sl_json *schema)
{
    struct sl_apiparse *parse = o->parse;

    if (parse->code < 0)
        return;
    if (parse->shape != SL_APISHAPE_TEXT || parse->call->gen.grammar) {
        sl_apiobject_fail(o, key, "together with %s",
                          parse->shape_path[0] ? parse->shape_path : "grammar");
        return;
    }
    parse->shape = shape;
    parse->schema = schema;
    sl_apiobject_path(o, key, parse->shape_path);
}

void sl_apiformat_set_schema(struct sl_apiobject *o, const char *key,
                             const struct sl_json *schema)
{
    set_shape(o, key, SL_APISHAPE_SCHEMA, schema);
}

void sl_apiformat_set_object(struct sl_apiobject *o, const char *key)
{
    set_shape(o, key, SL_APISHAPE_OBJECT, NULL);
}

void sl_apiformat_read_grammar(struct sl_apiobject *o)
{
    const struct sl_json *schema = sl_apiobject_find(o, "json_schema");
    size_t len = 0;
    const char *text = sl_apiobject_text(o, "grammar", &len);

    if (schema)
        sl_apiformat_set_schema(o, "json_schema", schema);
    if (!text || len == 0)
        return;
    if (schema)
        sl_apiobject_fail(o, "grammar", "together with json_schema");
    gen_of(o)->grammar = sl_apiparse_copy(o->parse, text, len);
    gen_of(o)->grammar_len = len;
}

void sl_apiformat_read_response(struct sl_apiobject *o, const char *key)
{
    struct sl_apiobject format = sl_apiobject_object(o, key);
    struct sl_apiobject nested;
    const struct sl_json *schema;
    const char *type;

    if (!format.node)
        return;
    type = sl_apiobject_text(&format, "type", NULL);
    schema = sl_apiobject_find(&format, "schema");
    if (!type) {
        sl_apiobject_fail(&format, "type", "is required");
    } else if (strcmp(type, "json_object") == 0 && !schema) {
        sl_apiformat_set_object(o, key);
    } else if (strcmp(type, "json_object") == 0) {
        sl_apiformat_set_schema(&format, "schema", schema);
    } else if (strcmp(type, "json_schema") == 0) {
        nested = sl_apiobject_object(&format, "json_schema");
        if (nested.node)
            schema = sl_apiobject_find(&nested, "schema");
        if (!schema)
            sl_apiobject_fail(nested.node ? &nested : &format, "schema", "is required");
        sl_apiformat_set_schema(nested.node ? &nested : &format, "schema", schema);
    } else if (strcmp(type, "text") != 0) {
        sl_apiobject_fail(&format, "type",
                          "must be one of \"text\", \"json_object\" or \"json_schema\", but "
                          "got: %.60s",
                          type);
    }
}

static int compile_shape(struct sl_apiparse *parse, struct sl_strbuf *out, struct sl_diag *diag)
{
    if (parse->shape == SL_APISHAPE_OBJECT)
        return sl_schema_any_object(out);
    return sl_schema_compile(parse->schema, SL_SCHEMA_CLOSED, out, diag);
}

void sl_apiformat_finish(struct sl_apiparse *parse)
{
    struct sl_apiobject root = {.parse = parse};
    struct sl_genreq *gen = &parse->call->gen;
    bool calls_forced = gen->tool_choice >= SL_GENTOOLCHOICE_REQUIRED;
    bool calls_possible = (gen->flags & SL_GENREQ_CALLS) != 0;
    struct sl_strbuf grammar = {0};
    struct sl_diag diag = {""};
    const char *param = parse->shape_path;
    int r = 0;

    if (parse->code < 0 || (parse->shape == SL_APISHAPE_TEXT && !calls_forced))
        return;
    if (gen->grammar) {
        sl_apiobject_fail(&root, "grammar", "together with tool_choice");
        return;
    }
    if (parse->shape != SL_APISHAPE_TEXT && !calls_forced)
        r = compile_shape(parse, &grammar, &diag);
    if (r == 0 && (calls_forced || calls_possible)) {
        param = "tools";
        r = sl_gencalls_compile(gen, &grammar, &diag);
    }
    if (r == 0)
        r = sl_strbuf_take(&grammar, &gen->grammar, &gen->grammar_len);
    sl_strbuf_done(&grammar);
    if (r == -ENOMEM)
        sl_apiparse_no_memory(parse);
    else if (r < 0)
        sl_apiobject_fail_code(&root, param, r, &diag);
}
