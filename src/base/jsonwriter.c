/*
 * The JSON writer. Two choices of its own: text goes out as UTF-8 and only what must
 * be escaped is (the tool lists of chat templates are compared with Python's), and a
 * real is printed with the fewest digits that read back equal. jansson prints 17.
 */
#include "base/jsonwriter.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/codepoint.h"

#define FLUSH_BYTES 65536

void sl_jsonwriter_init(struct sl_jsonwriter *w, FILE *file, uint32_t flags)
{
    assert((flags & ~(uint32_t)(SL_JSONWRITER_PRETTY | SL_JSONWRITER_SPACED)) == 0);
    *w = (struct sl_jsonwriter){.file = file, .flags = flags};
}

static void flush(struct sl_jsonwriter *w)
{
    if (!w->file || w->error || w->buf.len == 0)
        return;
    if (fwrite(w->buf.ptr, 1, w->buf.len, w->file) != w->buf.len)
        w->error = -EIO;
    sl_strbuf_cut(&w->buf, 0);
}

int sl_jsonwriter_done(struct sl_jsonwriter *w)
{
    int r;

    flush(w);
    if (!w->error && w->file && fflush(w->file) != 0)
        w->error = -EIO;
    r = w->buf.error ? w->buf.error : w->error;
    sl_strbuf_done(&w->buf);
    return r;
}

static void new_line(struct sl_jsonwriter *w)
{
    sl_strbuf_add(&w->buf, "\n", 1);
    for (uint32_t i = 0; i < w->depth; i++)
        sl_strbuf_add(&w->buf, "  ", 2);
}

/* What stands before a value or a key: a comma, a line, nothing. */
static void separate(struct sl_jsonwriter *w)
{
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (w->filled[w->depth])
        sl_strbuf_add_str(&w->buf, w->flags & SL_JSONWRITER_SPACED ? ", " : ",");
    w->filled[w->depth] = true;
    if (w->depth && (w->flags & SL_JSONWRITER_PRETTY))
        new_line(w);
    if (w->buf.len >= FLUSH_BYTES)
        flush(w);
}

static void begin(struct sl_jsonwriter *w, const char *bracket)
{
    assert(w->depth < SL_JSONWRITER_DEPTH_MAX);
    separate(w);
    sl_strbuf_add(&w->buf, bracket, 1);
    w->depth++;
    w->filled[w->depth] = false;
}

static void end(struct sl_jsonwriter *w, const char *bracket)
{
    assert(w->depth > 0 && !w->after_key);
    w->depth--;
    if (w->filled[w->depth + 1] && (w->flags & SL_JSONWRITER_PRETTY))
        new_line(w);
    sl_strbuf_add(&w->buf, bracket, 1);
}

void sl_jsonwriter_begin_object(struct sl_jsonwriter *w)
{
    begin(w, "{");
}

void sl_jsonwriter_end_object(struct sl_jsonwriter *w)
{
    end(w, "}");
}

void sl_jsonwriter_begin_array(struct sl_jsonwriter *w)
{
    begin(w, "[");
}

void sl_jsonwriter_end_array(struct sl_jsonwriter *w)
{
    end(w, "]");
}

static void add_escaped(struct sl_strbuf *buf, unsigned char c)
{
    switch (c) {
    case '"': sl_strbuf_add(buf, "\\\"", 2); break;
    case '\\': sl_strbuf_add(buf, "\\\\", 2); break;
    case '\n': sl_strbuf_add(buf, "\\n", 2); break;
    case '\r': sl_strbuf_add(buf, "\\r", 2); break;
    case '\t': sl_strbuf_add(buf, "\\t", 2); break;
    case '\b': sl_strbuf_add(buf, "\\b", 2); break;
    case '\f': sl_strbuf_add(buf, "\\f", 2); break;
    default: sl_strbuf_add_fmt(buf, "\\u%04x", c);
    }
}

static void add_quoted(struct sl_strbuf *buf, const char *text, size_t len)
{
    size_t i = 0, plain = 0;

    sl_strbuf_add(buf, "\"", 1);
    while (i < len) {
        unsigned char c = (unsigned char)text[i];
        uint32_t cp;
        size_t n = c < 0x80 ? 1 : sl_codepoint_decode(text + i, len - i, &cp);

        if (n > 0 && c >= 0x20 && c != '"' && c != '\\') {
            i += n;
            continue;
        }
        sl_strbuf_add(buf, text + plain, i - plain);
        if (n == 0)
            sl_strbuf_add(buf, "\xEF\xBF\xBD", 3);
        else
            add_escaped(buf, c);
        plain = ++i;
    }
    sl_strbuf_add(buf, text + plain, len - plain);
    sl_strbuf_add(buf, "\"", 1);
}

void sl_jsonwriter_key(struct sl_jsonwriter *w, const char *key)
{
    sl_jsonwriter_key_len(w, key, strlen(key));
}

void sl_jsonwriter_key_len(struct sl_jsonwriter *w, const char *key, size_t len)
{
    assert(w->depth > 0 && !w->after_key);
    separate(w);
    add_quoted(&w->buf, key, len);
    sl_strbuf_add_str(&w->buf, w->flags ? ": " : ":");
    w->after_key = true;
}

void sl_jsonwriter_string(struct sl_jsonwriter *w, const char *text)
{
    sl_jsonwriter_string_len(w, text, strlen(text));
}

void sl_jsonwriter_string_len(struct sl_jsonwriter *w, const char *text, size_t len)
{
    separate(w);
    add_quoted(&w->buf, text, len);
}

void sl_jsonwriter_i64(struct sl_jsonwriter *w, int64_t value)
{
    separate(w);
    sl_strbuf_add_fmt(&w->buf, "%lld", (long long)value);
}

void sl_jsonwriter_u64(struct sl_jsonwriter *w, uint64_t value)
{
    separate(w);
    sl_strbuf_add_fmt(&w->buf, "%llu", (unsigned long long)value);
}

void sl_jsonwriter_f64(struct sl_jsonwriter *w, double value)
{
    char text[SL_JSON_REAL_BYTES] = "null";

    separate(w);
    if (isfinite(value))
        sl_json_print_real(text, value);
    sl_strbuf_add_str(&w->buf, text);
}

void sl_jsonwriter_bool(struct sl_jsonwriter *w, bool value)
{
    separate(w);
    sl_strbuf_add_str(&w->buf, value ? "true" : "false");
}

void sl_jsonwriter_null(struct sl_jsonwriter *w)
{
    separate(w);
    sl_strbuf_add_str(&w->buf, "null");
}

static void write_int(struct sl_jsonwriter *w, const struct sl_json *node)
{
    int64_t value;

    if (sl_json_get_i64(node, &value)) {
        sl_jsonwriter_i64(w, value);
        return;
    }
    separate(w);
    sl_strbuf_add_str(&w->buf, sl_json_get_big_int(node));
}

/* Depth is bounded by the parser's limit. */
void sl_jsonwriter_value(struct sl_jsonwriter *w, const struct sl_json *node)
{
    struct sl_json_iter iter = {0};
    const struct sl_json *value;
    const char *key, *text;
    double real = 0.0;
    bool truth = false;
    size_t len = 0;

    switch (sl_json_get_type(node)) {
    case SL_JSON_NONE:
    case SL_JSON_NULL: sl_jsonwriter_null(w); break;
    case SL_JSON_BOOL:
        (void)sl_json_get_bool(node, &truth); /* its type was asked */
        sl_jsonwriter_bool(w, truth);
        break;
    case SL_JSON_INT: write_int(w, node); break;
    case SL_JSON_REAL:
        (void)sl_json_get_f64(node, &real); /* its type was asked */
        sl_jsonwriter_f64(w, real);
        break;
    case SL_JSON_STRING:
        text = sl_json_get_string(node, &len);
        sl_jsonwriter_string_len(w, text, len);
        break;
    case SL_JSON_ARRAY:
        sl_jsonwriter_begin_array(w);
        for (size_t i = 0; i < sl_json_n_items(node); i++)
            sl_jsonwriter_value(w, sl_json_item(node, i));
        sl_jsonwriter_end_array(w);
        break;
    case SL_JSON_OBJECT:
        sl_jsonwriter_begin_object(w);
        while (sl_json_next(node, &iter, &key, &value)) {
            sl_jsonwriter_key(w, key);
            sl_jsonwriter_value(w, value);
        }
        sl_jsonwriter_end_object(w);
        break;
    }
}

void sl_jsonwriter_raw(struct sl_jsonwriter *w, const char *json, size_t len)
{
    separate(w);
    sl_strbuf_add(&w->buf, json, len);
}

void sl_jsonwriter_member_string(struct sl_jsonwriter *w, const char *key, const char *text)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_string(w, text);
}

void sl_jsonwriter_member_i64(struct sl_jsonwriter *w, const char *key, int64_t value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_i64(w, value);
}

void sl_jsonwriter_member_u64(struct sl_jsonwriter *w, const char *key, uint64_t value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_u64(w, value);
}

void sl_jsonwriter_member_f64(struct sl_jsonwriter *w, const char *key, double value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_f64(w, value);
}

void sl_jsonwriter_member_known(struct sl_jsonwriter *w, const char *key, double value)
{
    sl_jsonwriter_member_f64(w, key, value > 0.0 ? value : (double)NAN);
}

void sl_jsonwriter_member_bool(struct sl_jsonwriter *w, const char *key, bool value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_bool(w, value);
}

void sl_jsonwriter_member_object(struct sl_jsonwriter *w, const char *key)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_begin_object(w);
}

void sl_jsonwriter_member_array(struct sl_jsonwriter *w, const char *key)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_begin_array(w);
}

/* digits: n decimal digits. Returns the number that d.ddd x 10^exponent reads as. */
static double read_back(const char *digits, int n, int exponent)
{
    char text[40];
    int len = 0;

    /* as an integer with exponent: no decimal point, so the locale has no say */
    for (int i = 0; i < n; i++)
        text[len++] = digits[i];
    (void)snprintf(text + len, sizeof(text) - (size_t)len, "e%d", exponent - (n - 1));
    return strtod(text, NULL);
}

/* The n-digit decimal nearest to value, value > 0, as digits and exponent. */
static void nearest_decimal(double value, int n, char *digits, int *ret_exponent)
{
    char text[40];
    int len = 0;

    (void)snprintf(text, sizeof(text), "%.*e", n - 1, value);
    for (const char *p = text; *p != 'e'; p++)
        if (*p >= '0' && *p <= '9')
            digits[len++] = *p;
    *ret_exponent = atoi(strchr(text, 'e') + 1);
}

/* The next n-digit decimal up. False when all digits are nines (not needed). */
static bool step_up(char *digits, int n)
{
    while (n > 0 && digits[n - 1] == '9')
        digits[--n] = '0';
    if (n == 0)
        return false;
    digits[n - 1]++;
    return true;
}

/*
 * Fewest digits by trial. The nearest n-digit decimal decides, except at powers of two:
 * there the doubles below lie twice as close as those above, so the nearest decimal
 * may lie below and fail while the next one up reads back (2^-44 is such a case).
 */
static int shortest_decimal(double value, char *digits, int *ret_exponent)
{
    uint64_t bits;
    int n;

    memcpy(&bits, &value, sizeof(bits));
    for (n = 1; n < 17; n++) {
        nearest_decimal(value, n, digits, ret_exponent);
        if (read_back(digits, n, *ret_exponent) == value)
            return n;
        if ((bits & 0xFFFFFFFFFFFFFu) == 0 && step_up(digits, n) &&
            read_back(digits, n, *ret_exponent) == value)
            return n;
    }
    nearest_decimal(value, n, digits, ret_exponent);
    return n;
}

void sl_json_print_real(char *out, double value)
{
    char digits[40];
    int exponent, n;

    assert(isfinite(value));
    if (signbit(value))
        *out++ = '-';
    if (value == 0.0) {
        memcpy(out, "0.0", 4);
        return;
    }
    n = shortest_decimal(fabs(value), digits, &exponent);
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (exponent < -4 || exponent >= 16) {
        *out++ = digits[0];
        if (n > 1)
            *out++ = '.';
        for (int i = 1; i < n; i++)
            *out++ = digits[i];
        (void)snprintf(out, 13, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) {
        *out++ = '0';
        *out++ = '.';
        for (int i = -1; i > exponent; i--)
            *out++ = '0';
    }
    for (int i = 0; i < n || i <= exponent; i++) {
        *out++ = i < n ? digits[i] : '0';
        if (i == exponent && exponent >= 0)
            *out++ = '.';
    }
    if (out[-1] == '.')
        *out++ = '0';
    *out = '\0';
}

int sl_json_dump_python(const struct sl_json *node, char **ret_text, size_t *ret_len)
{
    struct sl_jsonwriter w;

    sl_jsonwriter_init(&w, NULL, SL_JSONWRITER_SPACED);
    sl_jsonwriter_value(&w, node);
    return sl_strbuf_take(&w.buf, ret_text, ret_len);
}
