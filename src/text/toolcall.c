/*
 * Parsing collects names and arguments in one growing text, each terminated; the table
 * of calls is made at the end, when that text no longer moves.
 *
 * All calls of a list stand or fall together: half a list could not be told from the
 * whole by whoever acts on it.
 */
#include "text/toolcall.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "text/pyliteral.h"
#include "text/pyrepr.h"
#include "text/utf8.h"

struct parse {
    struct sl_pyliteral in;
    struct sl_jsonwriter w; /* the arguments of the call at hand */
    struct sl_strbuf texts;
    size_t n_calls;
    size_t offs[SL_TOOLCALL_N_MAX][3]; /* of name, arguments, and the end, in texts */
};

/* The writer's text becomes the arguments of a call by this name. */
static int add_call(struct parse *parse, const char *name, size_t len)
{
    size_t *offs = parse->offs[parse->n_calls];
    int r = parse->w.buf.error;

    if (r < 0)
        return r;
    if (parse->n_calls == SL_TOOLCALL_N_MAX)
        return -E2BIG;
    offs[0] = parse->texts.len;
    sl_strbuf_add(&parse->texts, name, len);
    sl_strbuf_add(&parse->texts, "", 1);
    offs[1] = parse->texts.len;
    sl_strbuf_add(&parse->texts, parse->w.buf.ptr, parse->w.buf.len);
    offs[2] = parse->texts.len;
    sl_strbuf_add(&parse->texts, "", 1);
    parse->n_calls++;
    return parse->texts.error;
}

static void restart_writer(struct parse *parse)
{
    (void)sl_jsonwriter_done(&parse->w); /* its error has been looked at */
    sl_jsonwriter_init(&parse->w, NULL, 0);
}

/* key=value or **{...} */
static int take_argument(struct parse *parse, const struct sl_pydict *dict)
{
    struct sl_pyliteral *in = &parse->in;
    const char *name;
    size_t len;
    int r;

    if (sl_pyliteral_take(in, '*')) {
        if (in->pos == in->len || in->text[in->pos++] != '*' || !sl_pyliteral_take(in, '{'))
            return -EBADMSG;
        return sl_pyliteral_members(in, &parse->w, dict);
    }
    len = sl_pyliteral_take_name(in, &name);
    if (len == 0 || !sl_pyliteral_take(in, '='))
        return -EBADMSG;
    r = sl_pydict_key(&in->dicts, &parse->w, name, len, SL_PYDICT_KEY_STRING);
    if (r == 0)
        r = sl_pyliteral_value(in, &parse->w);
    if (r == 0)
        sl_pydict_end_value(&in->dicts, dict, &parse->w);
    return r;
}

static int take_arguments(struct parse *parse)
{
    struct sl_pyliteral *in = &parse->in;
    struct sl_pydict dict;
    bool comma = true;
    int r;

    if (!sl_pyliteral_take(in, '('))
        return -EBADMSG;
    restart_writer(parse);
    sl_pydict_begin(&in->dicts, &dict, &parse->w);
    while (!sl_pyliteral_take(in, ')')) {
        if (!comma)
            return -EBADMSG;
        r = take_argument(parse, &dict);
        if (r < 0)
            return r;
        comma = sl_pyliteral_take(in, ',');
    }
    return sl_pydict_end(&in->dicts, &dict, &parse->w, SL_PYDICT_KEYWORDS);
}

/* name(...), where the name may have dots */
static int take_call(struct parse *parse)
{
    struct sl_pyliteral *in = &parse->in;
    const char *name, *part;
    size_t len = sl_pyliteral_take_name(in, &name);
    int r;

    while (len && in->pos < in->len && in->text[in->pos] == '.') {
        in->pos++;
        if (sl_pyliteral_take_name(in, &part) == 0 || part[-1] != '.')
            return -EBADMSG;
        len = (size_t)(in->text + in->pos - name);
    }
    if (len == 0)
        return -EBADMSG;
    r = take_arguments(parse);
    return r < 0 ? r : add_call(parse, name, len);
}

static int parse_python(struct parse *parse)
{
    struct sl_pyliteral *in = &parse->in;
    bool list = sl_pyliteral_take(in, '[');
    bool comma = true;
    int r;

    while (!(list && sl_pyliteral_take(in, ']'))) {
        if (!comma)
            return -EBADMSG;
        r = take_call(parse);
        if (r < 0)
            return r;
        if (!list)
            break;
        comma = sl_pyliteral_take(in, ',');
    }
    return sl_pyliteral_peek(in) == '\0' && in->pos == in->len ? 0 : -EBADMSG;
}

/* Whether the whole text is one name as the parser takes it, with dots if they may be. */
static bool is_name(const char *text, bool dots)
{
    struct sl_pyliteral in;
    const char *name;
    bool more;

    if (strpbrk(text, " \t\f\r\n"))
        return false;
    sl_pyliteral_init(&in, text, strlen(text));
    do {
        if (sl_pyliteral_take_name(&in, &name) == 0)
            return false;
        more = dots && in.pos < in.len && text[in.pos] == '.';
        in.pos += more;
    } while (more);
    return in.pos == in.len;
}

/*
 * Arguments as an object: as they are, or parsed from JSON text into ret_doc, which the
 * caller frees, also on failure. ret_object is NULL for no arguments.
 */
static int find_arguments(const struct sl_json *value, const struct sl_json **ret_object,
                          struct sl_json_doc **ret_doc, struct sl_diag *diag)
{
    size_t len = 0;
    const char *text = sl_json_get_string(value, &len);
    int r;

    *ret_object = NULL;
    if (!value || sl_json_is(value, SL_JSON_NULL) || (text && strspn(text, " \t\r\n") == len))
        return 0;
    if (text) {
        r = sl_json_parse(ret_doc, text, len, diag);
        if (r < 0)
            return r;
        value = sl_json_root(*ret_doc);
        if (sl_json_is(value, SL_JSON_NULL))
            return 0;
    }
    if (!sl_json_is(value, SL_JSON_OBJECT))
        return sl_diag_set(diag, -EBADMSG, "an object expected, found %s",
                           sl_json_type_name(sl_json_get_type(value)));
    *ret_object = value;
    return 0;
}

static int add_json_call(struct parse *parse, const struct sl_json *call)
{
    const struct sl_json *function = sl_json_find(call, "function");
    const struct sl_json *arguments;
    struct sl_json_doc *doc = NULL;
    const char *name;
    int r;

    function = sl_json_is(function, SL_JSON_OBJECT) ? function : call;
    name = sl_json_get_string(sl_json_find(function, "name"), NULL);
    arguments = sl_json_find(function, "arguments");
    arguments = arguments ? arguments : sl_json_find(function, "parameters");
    /* "name" alone may be any data; and a name must be fit to be rendered again */
    if (!name || !arguments || !is_name(name, true))
        return -EBADMSG;
    r = find_arguments(arguments, &arguments, &doc, NULL);
    if (r == 0) {
        restart_writer(parse);
        if (arguments) {
            sl_jsonwriter_value(&parse->w, arguments);
        } else {
            sl_jsonwriter_begin_object(&parse->w);
            sl_jsonwriter_end_object(&parse->w);
        }
        r = add_call(parse, name, strlen(name));
    }
    sl_json_free(doc);
    return r;
}

/* JSON, or the same as a Python literal: then that is turned into JSON first. */
static int parse_json(struct parse *parse)
{
    struct sl_pyliteral *in = &parse->in;
    struct sl_json_doc *doc = NULL;
    const struct sl_json *root;
    int r;

    r = sl_json_parse(&doc, in->text, in->len, NULL);
    if (r == -EBADMSG) {
        restart_writer(parse);
        in->pos = 0;
        r = sl_pyliteral_value(in, &parse->w);
        if (r == 0 && (sl_pyliteral_peek(in) != '\0' || in->pos < in->len))
            r = -EBADMSG;
        if (r == 0)
            r = parse->w.buf.error;
        if (r == 0)
            r = sl_json_parse(&doc, parse->w.buf.ptr, parse->w.buf.len, NULL);
    }
    if (r < 0)
        return r;
    root = sl_json_root(doc);
    if (sl_json_is(root, SL_JSON_OBJECT))
        r = add_json_call(parse, root);
    else
        for (size_t i = 0; r == 0 && i < sl_json_n_items(root); i++)
            r = add_json_call(parse, sl_json_item(root, i));
    sl_json_free(doc);
    return r;
}

/* A brace first, or as the first item of a list. */
static bool looks_like_json(struct sl_pyliteral *in)
{
    bool brace;

    (void)sl_pyliteral_take(in, '[');
    brace = sl_pyliteral_peek(in) == '{';
    in->pos = 0;
    return brace;
}

static int make_table(struct parse *parse, struct sl_toolcalls *ret_calls)
{
    struct sl_toolcalls made = {.n = parse->n_calls};
    int r;

    made.calls = calloc(made.n, sizeof(*made.calls));
    if (!made.calls)
        return -ENOMEM;
    r = sl_strbuf_take(&parse->texts, &made.texts, NULL);
    if (r < 0) {
        free(made.calls);
        return r;
    }
    for (size_t i = 0; i < made.n; i++) {
        const size_t *offs = parse->offs[i];

        made.calls[i] = (struct sl_toolcall){
            .name = made.texts + offs[0],
            .arguments = made.texts + offs[1],
            .arguments_len = offs[2] - offs[1],
        };
    }
    *ret_calls = made;
    return 0;
}

int sl_toolcall_parse(struct sl_toolcalls *ret_calls, const char *text, size_t len)
{
    struct parse parse = {0};
    int r = -EBADMSG;

    sl_pyliteral_init(&parse.in, text, len);
    sl_jsonwriter_init(&parse.w, NULL, 0);
    if (sl_utf8_valid_len(text, len) == len)
        r = looks_like_json(&parse.in) ? parse_json(&parse) : parse_python(&parse);
    if (r == 0)
        r = parse.n_calls ? make_table(&parse, ret_calls) : -EBADMSG;
    sl_strbuf_done(&parse.texts);
    restart_writer(&parse);
    sl_pyliteral_done(&parse.in);
    return r;
}

void sl_toolcall_done(struct sl_toolcalls *calls)
{
    free(calls->calls);
    free(calls->texts);
    *calls = (struct sl_toolcalls){0};
}

static void render_string(struct sl_strbuf *out, const char *text, size_t len)
{
    static const char plain[] = "nrt", escaped[] = "\n\r\t";

    sl_strbuf_add(out, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        const char *found = text[i] ? strchr(escaped, text[i]) : NULL;

        if (found)
            sl_strbuf_add_fmt(out, "\\%c", plain[found - escaped]);
        else if (text[i] == '"' || text[i] == '\\')
            sl_strbuf_add_fmt(out, "\\%c", text[i]);
        else if ((unsigned char)text[i] < 0x20 ||
                 (text[i] == '<' && i + 1 < len && text[i + 1] == '|'))
            sl_strbuf_add_fmt(out, "\\u%04x", (unsigned)text[i]);
        else
            sl_strbuf_add(out, text + i, 1);
    }
    sl_strbuf_add(out, "\"", 1);
}

static void render_value(struct sl_strbuf *out, const struct sl_json *value);

static void render_array(struct sl_strbuf *out, const struct sl_json *value)
{
    sl_strbuf_add(out, "[", 1);
    for (size_t i = 0; i < sl_json_n_items(value); i++) {
        if (i)
            sl_strbuf_add(out, ", ", 2);
        render_value(out, sl_json_item(value, i));
    }
    sl_strbuf_add(out, "]", 1);
}

static void render_object(struct sl_strbuf *out, const struct sl_json *value)
{
    struct sl_json_iter iter = {0};
    const struct sl_json *member;
    const char *key;
    bool first = true;

    sl_strbuf_add(out, "{", 1);
    while (sl_json_next(value, &iter, &key, &member)) {
        if (!first)
            sl_strbuf_add(out, ", ", 2);
        first = false;
        render_string(out, key, strlen(key));
        sl_strbuf_add(out, ": ", 2);
        render_value(out, member);
    }
    sl_strbuf_add(out, "}", 1);
}

/* Depth is bounded by the JSON parser's limit. */
static void render_value(struct sl_strbuf *out, const struct sl_json *value)
{
    size_t len = 0;
    const char *text = sl_json_get_string(value, &len);

    if (text)
        render_string(out, text, len);
    else if (sl_json_is(value, SL_JSON_ARRAY))
        render_array(out, value);
    else if (sl_json_is(value, SL_JSON_OBJECT))
        render_object(out, value);
    else
        sl_pyrepr_add(out, value);
}

static void render_arguments(struct sl_strbuf *out, const struct sl_json *arguments)
{
    struct sl_json_iter iter = {0};
    const struct sl_json *value;
    const char *key;
    bool first = true;

    while (sl_json_next(arguments, &iter, &key, &value)) {
        bool named = is_name(key, false);

        if (!first)
            sl_strbuf_add(out, ", ", 2);
        first = false;
        if (named) {
            sl_strbuf_add_str(out, key);
        } else {
            sl_strbuf_add_str(out, "**{");
            render_string(out, key, strlen(key));
        }
        sl_strbuf_add_str(out, named ? "=" : ": ");
        render_value(out, value);
        sl_strbuf_add_str(out, named ? "" : "}");
    }
}

static int render_call(struct sl_strbuf *out, size_t i, const struct sl_json *call,
                       struct sl_diag *diag)
{
    const struct sl_json *function = sl_json_find(call, "function");
    const struct sl_json *arguments;
    struct sl_json_doc *doc = NULL;
    const char *name;
    int r;

    function = function ? function : call;
    name = sl_json_get_string(sl_json_find(function, "name"), NULL);
    if (!name)
        return sl_diag_set(diag, -EBADMSG, "tool_calls[%zu]: no name", i);
    if (!is_name(name, true))
        return sl_diag_set(diag, -EBADMSG,
                           "tool_calls[%zu]: name \"%.60s\": letters, digits, _ - and . expected",
                           i, name);
    r = find_arguments(sl_json_find(function, "arguments"), &arguments, &doc, diag);
    if (r == 0) {
        sl_strbuf_add_str(out, name);
        sl_strbuf_add(out, "(", 1);
        render_arguments(out, arguments);
        sl_strbuf_add(out, ")", 1);
    } else {
        r = sl_diag_prefix(diag, r, "tool_calls[%zu]: arguments of %.60s", i, name);
    }
    sl_json_free(doc);
    return r;
}

int sl_toolcall_render(const struct sl_json *calls, char **ret_text, size_t *ret_len,
                        struct sl_diag *diag)
{
    struct sl_strbuf out = {0};
    int r;

    if (!sl_json_is(calls, SL_JSON_ARRAY))
        return sl_diag_set(diag, -EBADMSG, "tool_calls: an array expected, found %s",
                           sl_json_type_name(sl_json_get_type(calls)));
    for (size_t i = 0; i < sl_json_n_items(calls); i++) {
        sl_strbuf_add_str(&out, i ? ", " : SL_TOOLCALL_START "[");
        r = render_call(&out, i, sl_json_item(calls, i), diag);
        if (r < 0) {
            sl_strbuf_done(&out);
            return r;
        }
    }
    if (out.len)
        sl_strbuf_add_str(&out, "]" SL_TOOLCALL_END);
    return sl_strbuf_take(&out, ret_text, ret_len);
}
