/*
 * JSON through jansson, the only file that knows of it. A node is jansson's json_t
 * under another name.
 *
 * jansson refuses integers beyond int64. They matter (a tool's schema may have any
 * "maximum") and must come out as they went in, so before parsing such a literal is
 * replaced by a string of NUL and its digits. That cannot be confused with a string
 * of the text: "\u0000" is refused by the same scan, and raw NUL by jansson. The scan
 * also bounds the depth and the number of values: a tree of "[],[],..." takes 50 times the
 * memory of its text.
 */
#include "base/json.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"

struct sl_json_doc {
    json_t *root;
};

/* The scan before the parse. */
struct scan {
    const char *text;
    size_t len, pos;
    size_t copied; /* of text, to out */
    struct sl_strbuf out;
    uint32_t depth;
    uint32_t n_values; /* at most so many: 1 + brackets + commas */
};

static int line_of(const struct scan *scan)
{
    int line = 1;

    for (size_t i = 0; i < scan->pos && i < scan->len; i++)
        line += scan->text[i] == '\n';
    return line;
}

/* Past the string whose opening quote is at pos. An unclosed one is jansson's to name. */
static int skip_string(struct scan *scan, struct sl_diag *diag)
{
    const char *text = scan->text;

    for (scan->pos++; scan->pos < scan->len && text[scan->pos] != '"'; scan->pos++) {
        if (text[scan->pos] != '\\')
            continue;
        scan->pos++;
        if (scan->len - scan->pos >= 5 && !memcmp(text + scan->pos, "u0000", 5))
            return sl_diag_set(diag, -EBADMSG, "JSON, line %d: \\u0000 is not allowed",
                               line_of(scan));
    }
    scan->pos++;
    return 0;
}

static bool is_number_char(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* -?[1-9][0-9]* that does not fit in an int64. */
static bool is_big_int(const char *text, size_t len)
{
    const char *max = text[0] == '-' ? "9223372036854775808" : "9223372036854775807";
    size_t sign = text[0] == '-';

    if (len - sign < 19 || text[sign] == '0')
        return false;
    for (size_t i = sign; i < len; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return len - sign > 19 || memcmp(text + sign, max, 19) > 0;
}

static void scan_number(struct scan *scan)
{
    size_t start = scan->pos;

    while (scan->pos < scan->len && is_number_char(scan->text[scan->pos]))
        scan->pos++;
    if (!is_big_int(scan->text + start, scan->pos - start))
        return;
    sl_strbuf_add(&scan->out, scan->text + scan->copied, start - scan->copied);
    sl_strbuf_add_str(&scan->out, "\"\\u0000");
    sl_strbuf_add(&scan->out, scan->text + start, scan->pos - start);
    sl_strbuf_add_str(&scan->out, "\"");
    scan->copied = scan->pos;
}

/* Count what c, outside of strings, adds. */
static int scan_mark(struct scan *scan, char c, struct sl_diag *diag)
{
    bool is_opening = c == '[' || c == '{';

    if (is_opening && ++scan->depth > SL_JSON_DEPTH_MAX)
        return sl_diag_set(diag, -E2BIG, "JSON, line %d: more than %d levels deep",
                           line_of(scan), SL_JSON_DEPTH_MAX);
    if ((is_opening || c == ',') && ++scan->n_values >= SL_JSON_VALUES_MAX)
        return sl_diag_set(diag, -E2BIG, "JSON, line %d: more than %u values", line_of(scan),
                           SL_JSON_VALUES_MAX);
    if ((c == ']' || c == '}') && scan->depth > 0)
        scan->depth--;
    return 0;
}

static int scan_text(struct scan *scan, struct sl_diag *diag)
{
    int r;

    while (scan->pos < scan->len) {
        char c = scan->text[scan->pos];

        if (c == '"') {
            r = skip_string(scan, diag);
            if (r < 0)
                return r;
        } else if ((c >= '0' && c <= '9') || c == '-') {
            scan_number(scan);
        } else {
            r = scan_mark(scan, c, diag);
            if (r < 0)
                return r;
            scan->pos++;
        }
    }
    if (scan->copied)
        sl_strbuf_add(&scan->out, scan->text + scan->copied, scan->len - scan->copied);
    return scan->out.error;
}

static int parse_error(const json_error_t *error, struct sl_diag *diag)
{
    int code = json_error_code(error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;

    return sl_diag_set(diag, code, "JSON, line %d, column %d: %s", error->line, error->column,
                       error->text);
}

int sl_json_parse(struct sl_json_doc **ret_doc, const char *text, size_t len,
                  struct sl_diag *diag)
{
    struct scan scan = {.text = text, .len = len};
    struct sl_json_doc *doc = NULL;
    json_error_t error;
    int r;

    if (len > SL_JSON_BYTES_MAX)
        return sl_diag_set(diag, -E2BIG, "JSON text of %zu bytes, at most %zu are taken", len,
                           SL_JSON_BYTES_MAX);
    /* jansson takes one for the end of the text */
    if (len && memchr(text, '\0', len))
        return sl_diag_set(diag, -EBADMSG, "JSON: a NUL byte in the text");
    r = scan_text(&scan, diag);
    if (r < 0)
        goto fail;

    r = -ENOMEM;
    doc = calloc(1, sizeof(*doc));
    if (!doc)
        goto fail;
    if (scan.copied) {
        text = scan.out.ptr;
        len = scan.out.len;
    }
    doc->root = json_loadb(text, len, JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (!doc->root) {
        r = parse_error(&error, diag);
        goto fail;
    }
    sl_strbuf_done(&scan.out);
    *ret_doc = doc;
    return 0;

fail:
    sl_strbuf_done(&scan.out);
    sl_json_free(doc);
    return r;
}

void sl_json_free(struct sl_json_doc *doc)
{
    if (!doc)
        return;
    json_decref(doc->root);
    free(doc);
}

const struct sl_json *sl_json_root(const struct sl_json_doc *doc)
{
    return (const struct sl_json *)doc->root;
}

/* jansson's accessors for reading take json_t without const in part. */
static json_t *node_of(const struct sl_json *node)
{
    return (json_t *)(uintptr_t)node;
}

const char *sl_json_get_big_int(const struct sl_json *node)
{
    const char *text = json_string_value(node_of(node));

    if (!text || json_string_length(node_of(node)) == 0 || text[0] != '\0')
        return NULL;
    return text + 1;
}

enum sl_json_type sl_json_get_type(const struct sl_json *node)
{
    if (!node)
        return SL_JSON_NONE;
    switch (json_typeof(node_of(node))) {
    case JSON_OBJECT: return SL_JSON_OBJECT;
    case JSON_ARRAY: return SL_JSON_ARRAY;
    case JSON_STRING: return sl_json_get_big_int(node) ? SL_JSON_INT : SL_JSON_STRING;
    case JSON_INTEGER: return SL_JSON_INT;
    case JSON_REAL: return SL_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE: return SL_JSON_BOOL;
    default: return SL_JSON_NULL;
    }
}

bool sl_json_is(const struct sl_json *node, enum sl_json_type type)
{
    return sl_json_get_type(node) == type;
}

const char *sl_json_type_name(enum sl_json_type type)
{
    static const char *const names[] = {
        [SL_JSON_NONE] = "absent",     [SL_JSON_NULL] = "null",
        [SL_JSON_BOOL] = "a bool",     [SL_JSON_INT] = "an integer",
        [SL_JSON_REAL] = "a real",     [SL_JSON_STRING] = "a string",
        [SL_JSON_ARRAY] = "an array",  [SL_JSON_OBJECT] = "an object",
    };

    return names[type];
}

const struct sl_json *sl_json_find(const struct sl_json *node, const char *key)
{
    return (const struct sl_json *)json_object_get(node_of(node), key);
}

size_t sl_json_n_items(const struct sl_json *node)
{
    json_t *json = node_of(node);

    return json_is_array(json) ? json_array_size(json) : json_object_size(json);
}

const struct sl_json *sl_json_item(const struct sl_json *node, size_t i)
{
    return (const struct sl_json *)json_array_get(node_of(node), i);
}

bool sl_json_next(const struct sl_json *node, struct sl_json_iter *iter,
                  const char **ret_key, const struct sl_json **ret_value)
{
    json_t *json = node_of(node);

    if (!json_is_object(json))
        return false;
    iter->pos = iter->started ? json_object_iter_next(json, iter->pos) : json_object_iter(json);
    iter->started = true;
    if (!iter->pos)
        return false;
    *ret_key = json_object_iter_key(iter->pos);
    *ret_value = (const struct sl_json *)json_object_iter_value(iter->pos);
    return true;
}

const char *sl_json_get_string(const struct sl_json *node, size_t *ret_len)
{
    if (!sl_json_is(node, SL_JSON_STRING))
        return NULL;
    if (ret_len)
        *ret_len = json_string_length(node_of(node));
    return json_string_value(node_of(node));
}

bool sl_json_get_bool(const struct sl_json *node, bool *ret_value)
{
    if (!sl_json_is(node, SL_JSON_BOOL))
        return false;
    *ret_value = json_is_true(node_of(node));
    return true;
}

bool sl_json_get_i64(const struct sl_json *node, int64_t *ret_value)
{
    if (!node || !json_is_integer(node_of(node)))
        return false;
    *ret_value = json_integer_value(node_of(node));
    return true;
}

bool sl_json_get_f64(const struct sl_json *node, double *ret_value)
{
    const char *digits = sl_json_get_big_int(node);

    if (digits) {
        *ret_value = strtod(digits, NULL);
        return true;
    }
    if (!node || !json_is_number(node_of(node)))
        return false;
    *ret_value = json_number_value(node_of(node));
    return true;
}
