/*
 * Python's repr() of JSON values. The one intricate part is a string: which quote it
 * takes, and which characters are escaped as not printable (printable_table.h).
 */
#include "text/pyrepr.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/jsonwriter.h"
#include "base/codepoint.h"
#include "text/printable_table.h"

#define N_BOUNDS (sizeof(printable_bounds) / sizeof(printable_bounds[0]))

/* An odd number of bounds at or below cp: inside a range that is not printed. */
static bool is_printable(uint32_t cp)
{
    size_t low = 0, high = N_BOUNDS;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (printable_bounds[mid] <= cp)
            low = mid + 1;
        else
            high = mid;
    }
    return low % 2 == 0;
}

static void add_char(struct sl_strbuf *buf, const char *text, size_t len, uint32_t cp, char quote)
{
    if (cp == (unsigned char)quote || cp == '\\')
        sl_strbuf_add_fmt(buf, "\\%c", (char)cp);
    else if (cp == '\n')
        sl_strbuf_add(buf, "\\n", 2);
    else if (cp == '\r')
        sl_strbuf_add(buf, "\\r", 2);
    else if (cp == '\t')
        sl_strbuf_add(buf, "\\t", 2);
    else if (is_printable(cp))
        sl_strbuf_add(buf, text, len);
    else if (cp < 0x100)
        sl_strbuf_add_fmt(buf, "\\x%02x", cp);
    else if (cp < 0x10000)
        sl_strbuf_add_fmt(buf, "\\u%04x", cp);
    else
        sl_strbuf_add_fmt(buf, "\\U%08x", cp);
}

static void add_string(struct sl_strbuf *buf, const char *text, size_t len)
{
    char quote = memchr(text, '\'', len) && !memchr(text, '"', len) ? '"' : '\'';

    sl_strbuf_add(buf, &quote, 1);
    for (size_t i = 0; i < len;) {
        uint32_t cp = 0;
        size_t n = sl_codepoint_decode(text + i, len - i, &cp);

        if (n == 0)
            break; /* not in a parsed tree: the parser checks UTF-8 */
        add_char(buf, text + i, n, cp, quote);
        i += n;
    }
    sl_strbuf_add(buf, &quote, 1);
}

static void add_number(struct sl_strbuf *buf, const struct sl_json *value)
{
    char text[SL_JSON_REAL_BYTES];
    int64_t integer;
    double real;

    if (sl_json_get_big_int(value)) {
        sl_strbuf_add_str(buf, sl_json_get_big_int(value));
    } else if (sl_json_get_i64(value, &integer)) {
        sl_strbuf_add_fmt(buf, "%lld", (long long)integer);
    } else if (sl_json_get_f64(value, &real) && isfinite(real)) {
        sl_json_print_real(text, real);
        sl_strbuf_add_str(buf, text);
    }
}

static void add_list(struct sl_strbuf *buf, const struct sl_json *value)
{
    sl_strbuf_add(buf, "[", 1);
    for (size_t i = 0; i < sl_json_n_items(value); i++) {
        if (i)
            sl_strbuf_add(buf, ", ", 2);
        sl_pyrepr_add(buf, sl_json_item(value, i));
    }
    sl_strbuf_add(buf, "]", 1);
}

static void add_dict(struct sl_strbuf *buf, const struct sl_json *value)
{
    struct sl_json_iter iter = {0};
    const struct sl_json *member;
    const char *key;
    bool first = true;

    sl_strbuf_add(buf, "{", 1);
    while (sl_json_next(value, &iter, &key, &member)) {
        if (!first)
            sl_strbuf_add(buf, ", ", 2);
        first = false;
        add_string(buf, key, strlen(key));
        sl_strbuf_add(buf, ": ", 2);
        sl_pyrepr_add(buf, member);
    }
    sl_strbuf_add(buf, "}", 1);
}

void sl_pyrepr_add(struct sl_strbuf *buf, const struct sl_json *value)
{
    const char *text;
    bool truth = false;
    size_t len = 0;

    switch (sl_json_get_type(value)) {
    case SL_JSON_NONE:
    case SL_JSON_NULL: sl_strbuf_add_str(buf, "None"); break;
    case SL_JSON_BOOL:
        (void)sl_json_get_bool(value, &truth); /* its type was asked */
        sl_strbuf_add_str(buf, truth ? "True" : "False");
        break;
    case SL_JSON_INT:
    case SL_JSON_REAL: add_number(buf, value); break;
    case SL_JSON_STRING:
        text = sl_json_get_string(value, &len);
        add_string(buf, text, len);
        break;
    case SL_JSON_ARRAY: add_list(buf, value); break;
    case SL_JSON_OBJECT: add_dict(buf, value); break;
    }
}

void sl_pyrepr_add_str(struct sl_strbuf *buf, const struct sl_json *value)
{
    size_t len = 0;
    const char *text = sl_json_get_string(value, &len);

    if (text)
        sl_strbuf_add(buf, text, len);
    else
        sl_pyrepr_add(buf, value);
}
