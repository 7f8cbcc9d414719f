/*
 * A call is name(key=value, ...), each value JSON that satisfies the member's schema. For
 * that, parameters have to be an object whose members are described one by one and refer to
 * nothing but definitions; others are written as one object, name(**{...}), which is read in
 * the same way.
 *
 * Every schema is compiled to a grammar of its own, whose rules get a prefix: v0-root,
 * v1-root ...; equal ones are kept once. The rules around them are
 *
 *     calls ::= <|tool_call_start|> "[" call (", " call){0,31} "]" <|tool_call_end|>
 *     call  ::= t0 | t1 ...
 *     t0    ::= "name(" t0-a0 ")"
 *
 * where t0-a0 stands for member 0 and all behind it with nothing before them, and t0-b1 for
 * member 1 and all behind it with something before them. The text that is possible beside
 * calls has the prefix x.
 */
#include "server/gencalls.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/jsonwriter.h"
#include "text/schema.h"
#include "text/toolcall.h"
#include "text/vector.h"

#define CALLS_MAX 32               /* in one reply */
#define TEXT_MAX ((size_t)1 << 20) /* bytes; a grammar's limit */

#define STEP_BYTES 64u             /* of a member's schema that are written and parsed in 2 us */

struct calls {
    struct sl_strbuf rules;
    struct sl_strbuf *values; /* the grammars as they were compiled */
    uint32_t n_values, values_cap;
    uint32_t steps; /* of all schemas together, see schema.h */
    struct sl_diag *diag;
};

static bool is_name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* Whether text can be a name in a call; a function's may have dots. */
static bool is_name(const char *text, bool of_function)
{
    bool begins = true;

    for (; *text; text++) {
        if (of_function && *text == '.' && !begins) {
            begins = true;
            continue;
        }
        if (!is_name_char(*text) || (begins && (isdigit((unsigned char)*text) || *text == '-')))
            return false;
        begins = false;
    }
    return !begins;
}

/* Past a literal or a class of GBNF, of which end is the last character. */
static const char *skip_terminal(const char *p, char end)
{
    for (p++; *p != end; p++)
        p += *p == '\\';
    return p + 1;
}

/* Append a compiled grammar with a prefix to the names of its rules. */
static void add_renamed(struct sl_strbuf *out, const char *text, const char *prefix)
{
    const char *p = text;

    while (*p) {
        const char *start = p;

        if (*p == '"') {
            p = skip_terminal(p, '"');
        } else if (*p == '[') {
            p = skip_terminal(p, ']');
        } else if (*p == '{') {
            p = strchr(p, '}') + 1;
        } else if (isalpha((unsigned char)*p)) {
            p += strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");
            sl_strbuf_add_str(out, prefix);
        } else {
            p++;
        }
        sl_strbuf_add(out, start, (size_t)(p - start));
    }
}

/* Compile a schema; its root is v and the number that is returned, or a negative errno. */
static int64_t add_value(struct calls *c, const struct sl_json *schema)
{
    struct sl_strbuf text = {0};
    char prefix[16];
    int r = sl_schema_compile_one(schema, SL_SCHEMA_CLOSED, &c->steps, &text, c->diag);

    for (uint32_t i = 0; r == 0 && i < c->n_values; i++)
        if (c->values[i].len == text.len && memcmp(c->values[i].ptr, text.ptr, text.len) == 0) {
            sl_strbuf_done(&text);
            return i;
        }
    if (r == 0 && c->rules.len + text.len > TEXT_MAX)
        r = sl_diag_set(c->diag, -E2BIG, "the tools' grammar would have more than %zu bytes",
                        TEXT_MAX);
    if (r == 0)
        r = sl_vector_grow(&c->values, &c->values_cap, c->n_values, 1);
    if (r < 0) {
        sl_strbuf_done(&text);
        return r;
    }
    (void)snprintf(prefix, sizeof(prefix), "v%u-", c->n_values);
    add_renamed(&c->rules, text.ptr, prefix);
    c->values[c->n_values] = text;
    return c->n_values++;
}

/* Whether there is a reference in a schema. */
static bool has_ref(const struct sl_json *node)
{
    struct sl_json_iter iter = {0};
    const struct sl_json *value;
    const char *key;

    for (size_t i = 0; sl_json_is(node, SL_JSON_ARRAY) && i < sl_json_n_items(node); i++)
        if (has_ref(sl_json_item(node, i)))
            return true;
    while (sl_json_is(node, SL_JSON_OBJECT) && sl_json_next(node, &iter, &key, &value))
        if (strcmp(key, "$ref") == 0 || has_ref(value))
            return true;
    return false;
}

/* The same of one member, with the definitions if it refers to something. */
static int64_t add_member(struct calls *c, const struct sl_json *parameters,
                          const struct sl_json *member)
{
    static const char *const definitions[] = {"$defs", "definitions"};
    struct sl_json_iter iter = {0};
    const struct sl_json *value;
    struct sl_json_doc *doc = NULL;
    struct sl_jsonwriter w;
    const char *key;
    int64_t n;

    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_begin_object(&w);
    for (size_t i = 0; i < 2 && has_ref(member); i++)
        if (sl_json_find(parameters, definitions[i])) {
            sl_jsonwriter_key(&w, definitions[i]);
            sl_jsonwriter_value(&w, sl_json_find(parameters, definitions[i]));
        }
    while (sl_json_next(member, &iter, &key, &value)) {
        if (strcmp(key, definitions[0]) == 0 || strcmp(key, definitions[1]) == 0)
            continue;
        sl_jsonwriter_key(&w, key);
        sl_jsonwriter_value(&w, value);
    }
    sl_jsonwriter_end_object(&w);
    c->steps += (uint32_t)(w.buf.len / STEP_BYTES);
    n = w.buf.error ? w.buf.error : sl_json_parse(&doc, w.buf.ptr, w.buf.len, c->diag);
    if (n == 0)
        n = add_value(c, sl_json_root(doc));
    if (doc)
        sl_json_free(doc);
    (void)sl_jsonwriter_done(&w); /* its error was seen */
    return n;
}

/* Whether all references in a schema are to definitions. */
static bool has_plain_refs(const struct sl_json *node)
{
    struct sl_json_iter iter = {0};
    const struct sl_json *value;
    const char *key, *ref;

    for (size_t i = 0; sl_json_is(node, SL_JSON_ARRAY) && i < sl_json_n_items(node); i++)
        if (!has_plain_refs(sl_json_item(node, i)))
            return false;
    while (sl_json_is(node, SL_JSON_OBJECT) && sl_json_next(node, &iter, &key, &value)) {
        ref = strcmp(key, "$ref") == 0 ? sl_json_get_string(value, NULL) : NULL;
        if (ref && strncmp(ref, "#/$defs/", 8) != 0 && strncmp(ref, "#/definitions/", 14) != 0)
            return false;
        if (!has_plain_refs(value))
            return false;
    }
    return true;
}

static bool is_in(const struct sl_json *list, const char *name)
{
    for (size_t i = 0; i < sl_json_n_items(list); i++) {
        const char *text = sl_json_get_string(sl_json_item(list, i), NULL);

        if (text && strcmp(text, name) == 0)
            return true;
    }
    return false;
}

/* Whether parameters are an object whose members can be written as arguments by name. */
static bool is_plain(const struct sl_json *parameters)
{
    static const char *const known[] = {"type",     "properties", "required",    "$defs",
                                        "title",    "$schema",    "description", "definitions",
                                        "$comment", "strict",     "additionalProperties"};
    const struct sl_json *properties = sl_json_find(parameters, "properties");
    const struct sl_json *required = sl_json_find(parameters, "required");
    const struct sl_json *value;
    struct sl_json_iter iter = {0};
    const char *key;

    while (sl_json_next(parameters, &iter, &key, &value)) {
        bool is_known = false;

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            is_known = is_known || strcmp(key, known[i]) == 0;
        if (!is_known)
            return false;
    }
    iter = (struct sl_json_iter){0};
    while (sl_json_next(properties, &iter, &key, &value))
        if (!is_name(key, false) || !sl_json_is(value, SL_JSON_OBJECT))
            return false;
    for (size_t i = 0; i < sl_json_n_items(required); i++) {
        key = sl_json_get_string(sl_json_item(required, i), NULL);
        if (!key || !sl_json_find(properties, key))
            return false;
    }
    return has_plain_refs(parameters);
}

/* The rules of tool i for its arguments by name. */
static int add_arguments(struct calls *c, size_t tool, const struct sl_json *parameters)
{
    const struct sl_json *required = sl_json_find(parameters, "required");
    const struct sl_json *member;
    struct sl_json_iter iter = {0};
    size_t i = 0;
    const char *key;

    while (sl_json_next(sl_json_find(parameters, "properties"), &iter, &key, &member)) {
        bool is_required = is_in(required, key);
        int64_t n = add_member(c, parameters, member);

        if (n < 0)
            return sl_diag_prefix(c->diag, (int)n, "parameters.properties.%.60s", key);
        for (int later = 0; later < 2; later++) {
            char rule = later ? 'b' : 'a';

            sl_strbuf_add_fmt(&c->rules, "t%zu-%c%zu ::= \"%s%s=\" v%lld-root t%zu-b%zu", tool,
                              rule, i, later ? ", " : "", key, (long long)n, tool, i + 1);
            if (!is_required)
                sl_strbuf_add_fmt(&c->rules, " | t%zu-%c%zu", tool, rule, i + 1);
            sl_strbuf_add(&c->rules, "\n", 1);
        }
        i++;
    }
    sl_strbuf_add_fmt(&c->rules, "t%zu-a%zu ::= \"\"\nt%zu-b%zu ::= \"\"\n", tool, i, tool, i);
    return 0;
}

static int add_tool(struct calls *c, size_t tool, const struct sl_json *function)
{
    const char *name = sl_json_get_string(sl_json_find(function, "name"), NULL);
    const struct sl_json *parameters = sl_json_find(function, "parameters");
    const struct sl_json *type = sl_json_find(parameters, "type");
    const char *type_name = sl_json_get_string(type, NULL);
    int64_t n;

    if (!is_name(name, true))
        return sl_diag_set(c->diag, -ENOTSUP,
                           "name: letters, digits, \"_\", \"-\" and dots between them expected "
                           "where a call is required, found \"%.60s\"",
                           name);
    if (type && (!type_name || strcmp(type_name, "object") != 0))
        return sl_diag_set(c->diag, -ENOTSUP, "parameters: of the type object expected");
    if (is_plain(parameters)) {
        sl_strbuf_add_fmt(&c->rules, "t%zu ::= \"%s(\" t%zu-a0 \")\"\n", tool, name, tool);
        return add_arguments(c, tool, parameters);
    }
    n = add_value(c, parameters);
    if (n < 0)
        return sl_diag_prefix(c->diag, (int)n, "parameters");
    sl_strbuf_add_fmt(&c->rules, "t%zu ::= \"%s(**\" v%lld-root \")\"\n", tool, name,
                      (long long)n);
    return 0;
}

/* The rules of all tools that may be called, and "call" itself. */
static int add_tools(struct calls *c, const struct sl_genreq *req, const struct sl_json *tools)
{
    struct sl_strbuf call = {0};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sl_json_n_items(tools); i++) {
        const struct sl_json *function = sl_json_find(sl_json_item(tools, i), "function");
        const char *name = sl_json_get_string(sl_json_find(function, "name"), NULL);

        if (req->tool_choice == SL_GENTOOLCHOICE_NAMED && strcmp(name, req->tool_name) != 0)
            continue;
        sl_strbuf_add_fmt(&call, "%s t%zu", call.len ? " |" : "call ::=", i);
        r = add_tool(c, i, function);
        if (r < 0)
            (void)sl_diag_prefix(c->diag, r, "tools[%zu]", i);
    }
    if (r == 0)
        sl_strbuf_add_fmt(&c->rules, "%s\n", call.len ? call.ptr : "");
    r = r < 0 ? r : call.error;
    sl_strbuf_done(&call);
    return r;
}

/* root and calls, what is possible beside them, and the rules of the tools. */
static void put_together(struct calls *c, const struct sl_genreq *req, struct sl_strbuf *grammar)
{
    bool is_one = req->flags & SL_GENREQ_ONE_CALL || req->tool_choice == SL_GENTOOLCHOICE_NAMED;
    struct sl_strbuf beside = *grammar;

    *grammar = (struct sl_strbuf){0};
    sl_strbuf_add_fmt(grammar, "root ::= %scalls\n", beside.len ? "x-root | " : "");
    sl_strbuf_add_str(grammar, "calls ::= " SL_TOOLCALL_START " \"[\" call");
    if (!is_one)
        sl_strbuf_add_fmt(grammar, " (\", \" call){0,%d}", CALLS_MAX - 1);
    sl_strbuf_add_str(grammar, " \"]\" " SL_TOOLCALL_END "\n");
    if (beside.len)
        add_renamed(grammar, beside.ptr, "x-");
    sl_strbuf_add(grammar, c->rules.ptr, c->rules.len);
    if (beside.error)
        grammar->error = beside.error;
    sl_strbuf_done(&beside);
}

int sl_gencalls_compile(const struct sl_genreq *req, struct sl_strbuf *grammar,
                        struct sl_diag *diag)
{
    struct calls c = {.diag = diag};
    struct sl_json_doc *doc = NULL;
    int r = sl_json_parse(&doc, req->tools_json, strlen(req->tools_json), diag);

    if (r == 0)
        r = add_tools(&c, req, sl_json_root(doc));
    if (r == 0)
        r = c.rules.error;
    if (r == 0) {
        put_together(&c, req, grammar);
        r = grammar->error;
    }
    for (uint32_t i = 0; i < c.n_values; i++)
        sl_strbuf_done(&c.values[i]);
    free(c.values);
    sl_strbuf_done(&c.rules);
    sl_json_free(doc);
    return r;
}
