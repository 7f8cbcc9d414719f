/* JSON as grammar rules. The expressions in init are GBNF's own text, one symbol each. */
#include "text/ebnfjson.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"

#define HEX "[0-9a-fA-F]"

static uint32_t named(struct sl_ebnf *e, const char *name, const char *gbnf)
{
    uint32_t rule = sl_ebnf_rule_new(e, name);

    sl_ebnf_rule_set(e, rule, sl_ebnf_symbol(e, gbnf));
    return rule;
}

struct sl_ebnf_expr *sl_ebnfjson_wrap(const struct sl_ebnfjson *j, struct sl_ebnf *e,
                                      const char *open, struct sl_ebnf_expr *items,
                                      const char *close)
{
    struct sl_ebnf_expr *seq = sl_ebnf_seq(e);

    sl_ebnf_add(e, seq, sl_ebnf_literal_str(e, open));
    sl_ebnf_add(e, seq, sl_ebnf_ref(e, j->ws));
    if (items)
        sl_ebnf_add(e, seq, items);
    return sl_ebnf_add(e, seq, sl_ebnf_literal_str(e, close));
}

/* (item (comma item)* ws)? */
static struct sl_ebnf_expr *any_items(const struct sl_ebnfjson *j, struct sl_ebnf *e,
                                      uint32_t item)
{
    struct sl_ebnf_expr *more = sl_ebnf_seq(e), *seq = sl_ebnf_seq(e);

    sl_ebnf_add(e, more, sl_ebnf_ref(e, j->comma));
    sl_ebnf_add(e, more, sl_ebnf_ref(e, item));
    sl_ebnf_add(e, seq, sl_ebnf_ref(e, item));
    sl_ebnf_add(e, seq, sl_ebnf_repeat(e, more, 0, SL_EBNF_NO_MAX));
    sl_ebnf_add(e, seq, sl_ebnf_ref(e, j->ws));
    return sl_ebnf_optional(e, seq);
}

static void init_values(struct sl_ebnfjson *j, struct sl_ebnf *e)
{
    struct sl_ebnf_expr *member = sl_ebnf_seq(e), *value = sl_ebnf_alt(e);
    uint32_t any_member;

    j->value = sl_ebnf_rule_new(e, "value");
    j->object = sl_ebnf_rule_new(e, "object");
    j->array = sl_ebnf_rule_new(e, "array");
    any_member = sl_ebnf_rule_new(e, "member");
    sl_ebnf_add(e, member, sl_ebnf_ref(e, j->string));
    sl_ebnf_add(e, member, sl_ebnf_ref(e, j->colon));
    sl_ebnf_add(e, member, sl_ebnf_ref(e, j->value));
    sl_ebnf_rule_set(e, any_member, member);
    sl_ebnf_rule_set(e, j->object,
                     sl_ebnfjson_wrap(j, e, "{", any_items(j, e, any_member), "}"));
    sl_ebnf_rule_set(e, j->array, sl_ebnfjson_wrap(j, e, "[", any_items(j, e, j->value), "]"));
    sl_ebnf_add(e, value, sl_ebnf_ref(e, j->object));
    sl_ebnf_add(e, value, sl_ebnf_ref(e, j->array));
    sl_ebnf_add(e, value, sl_ebnf_ref(e, j->string));
    sl_ebnf_add(e, value, sl_ebnf_ref(e, j->number));
    sl_ebnf_add(e, value, sl_ebnf_ref(e, j->boolean));
    sl_ebnf_add(e, value, sl_ebnf_literal_str(e, "null"));
    sl_ebnf_rule_set(e, j->value, value);
}

/* first, then a rule any number of times (or once), then last if there is one */
static uint32_t around(struct sl_ebnf *e, const char *name, const char *first, uint32_t rule,
                       uint32_t max, const char *last)
{
    struct sl_ebnf_expr *seq = sl_ebnf_seq(e);
    uint32_t made = sl_ebnf_rule_new(e, name);

    sl_ebnf_add(e, seq, sl_ebnf_symbol(e, first));
    sl_ebnf_add(e, seq, sl_ebnf_repeat(e, sl_ebnf_ref(e, rule), max == 1, max));
    if (last)
        sl_ebnf_add(e, seq, sl_ebnf_symbol(e, last));
    sl_ebnf_rule_set(e, made, seq);
    return made;
}

void sl_ebnfjson_init(struct sl_ebnfjson *j, struct sl_ebnf *e)
{
    j->ws = named(e, "ws", "(\" \" | \"\\n\" [ \\t]{0,32})?");
    j->colon = named(e, "colon", "\":\" \" \"?");
    j->comma = around(e, "comma", "\",\"", j->ws, 1, NULL);
    /* a surrogate only as half of a pair, which counts as one */
    j->character = named(e, "char",
                         "[^\"\\\\\\x00-\\x1F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" ("
                         "[0-9a-cA-CefEF] " HEX "{3} | [dD] [0-7] " HEX "{2} | "
                         "[dD] [89abAB] " HEX "{2} \"\\\\u\" [dD] [c-fC-F] " HEX "{2}))");
    j->string = around(e, "string", "\"\\\"\"", j->character, SL_EBNF_NO_MAX, "\"\\\"\"");
    j->integer = named(e, "integer", "\"0\" | \"-\"? [1-9] [0-9]{0,19}");
    j->nonneg = named(e, "nonneg",
                      "(\"0\" | [1-9] [0-9]{0,19}) (\".\" [0-9]{1,20})? "
                      "([eE] (\"-\" [0-9]{1,3} | "
                      "\"+\"? ([0-9]{1,2} | \"1\" [0-9]{2} | \"2\" [0-7] [0-9])))?");
    j->number = around(e, "number", "\"-\"?", j->nonneg, 1, NULL);
    j->boolean = named(e, "boolean", "\"true\" | \"false\"");
    init_values(j, e);
}

/* How a JSON string spells cp, if not as itself: an escape, terminated. */
static const char *escape_of(uint32_t cp, char *buf, size_t size)
{
    switch (cp) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\b': return "\\b";
    case '\f': return "\\f";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    default: break;
    }
    if (cp >= 0x20)
        return NULL;
    (void)snprintf(buf, size, "\\u%04x", (unsigned)cp); /* fits: cp < 0x20 */
    return buf;
}

/* text as JSON spells it, with quotes if asked */
static struct sl_ebnf_expr *spelt(struct sl_ebnf *e, const char *text, size_t len,
                                  const char *quote)
{
    struct sl_strbuf out = {0};
    struct sl_ebnf_expr *expr;

    sl_strbuf_add_str(&out, quote);
    for (size_t i = 0; i < len; i++) {
        char buf[8];
        const char *escape = escape_of((unsigned char)text[i], buf, sizeof(buf));

        if (escape)
            sl_strbuf_add_str(&out, escape);
        else
            sl_strbuf_add(&out, text + i, 1);
    }
    sl_strbuf_add_str(&out, quote);
    if (out.error && !e->error)
        e->error = out.error;
    expr = sl_ebnf_literal(e, out.error ? "" : out.ptr ? out.ptr : "", out.len);
    sl_strbuf_done(&out);
    return expr;
}

struct sl_ebnf_expr *sl_ebnfjson_text(struct sl_ebnf *e, const char *text, size_t len)
{
    return spelt(e, text, len, "");
}

struct sl_ebnf_expr *sl_ebnfjson_quoted(struct sl_ebnf *e, const char *text, size_t len)
{
    return spelt(e, text, len, "\"");
}

static void add_class_char(struct sl_strbuf *out, uint32_t cp)
{
    if ((cp >= '0' && cp <= '9') || (cp >= 'A' && cp <= 'Z') || (cp >= 'a' && cp <= 'z'))
        sl_strbuf_add_fmt(out, "%c", (char)cp);
    else
        sl_strbuf_add_fmt(out, cp < 0x80 ? "\\x%02X" : cp < 0x10000 ? "\\u%04X" : "\\U%08X", cp);
}

/* The part of [first, last] that lies in [from, to], if any. */
static void add_class_range(struct sl_strbuf *out, struct sl_ebnfjson_range range, uint32_t from,
                            uint32_t to)
{
    uint32_t first = range.first > from ? range.first : from;
    uint32_t last = range.last < to ? range.last : to;

    if (first > last)
        return;
    add_class_char(out, first);
    if (last > first) {
        if (last > first + 1)
            sl_strbuf_add_str(out, "-");
        add_class_char(out, last);
    }
}

/* Hexadecimal digits of the control characters of base to base + 15 that are in the set
 * and have no short escape, as a class; NULL if there are none. */
static const char *control_digits(uint32_t controls, uint32_t base, char *buf)
{
    const uint32_t has_short = 1u << '\b' | 1u << '\t' | 1u << '\n' | 1u << '\f' | 1u << '\r';
    size_t n = 0;

    buf[n++] = '[';
    for (uint32_t i = 0; i < 16; i++)
        if ((controls & ~has_short) >> (base + i) & 1)
            buf[n++] = "0123456789abcdef"[i];
    buf[n++] = ']';
    buf[n] = '\0';
    return n > 2 ? buf : NULL;
}

static struct sl_ebnf_expr *escaped(struct sl_ebnf *e, const char *prefix, const char *gbnf_class)
{
    struct sl_ebnf_expr *seq = sl_ebnf_seq(e);

    sl_ebnf_add(e, seq, sl_ebnf_literal_str(e, prefix));
    return sl_ebnf_add(e, seq, sl_ebnf_symbol(e, gbnf_class));
}

/* The escapes of what a set has of control characters, quote and backslash. */
static void add_escapes(struct sl_ebnf *e, struct sl_ebnf_expr *alt,
                        const struct sl_ebnfjson_range *ranges, size_t n)
{
    char buf[24], shorts[24] = "[";
    uint32_t controls = 0;
    const char *digits;

    for (size_t i = 0; i < n; i++)
        for (uint32_t cp = ranges[i].first; cp <= ranges[i].last && cp <= '\\'; cp++) {
            const char *escape = escape_of(cp, buf, sizeof(buf));

            if (cp < 0x20)
                controls |= 1u << cp;
            if (escape && escape[1] != 'u')
                strcat(shorts, cp == '\\' ? "\\\\" : (char[]){escape[1], '\0'});
        }
    if (shorts[1])
        sl_ebnf_add(e, alt, escaped(e, "\\", strcat(shorts, "]")));
    digits = control_digits(controls, 0, buf);
    if (digits)
        sl_ebnf_add(e, alt, escaped(e, "\\u000", digits));
    digits = control_digits(controls, 16, buf);
    if (digits)
        sl_ebnf_add(e, alt, escaped(e, "\\u001", digits));
}

struct sl_ebnf_expr *sl_ebnfjson_class(struct sl_ebnf *e, const struct sl_ebnfjson_range *ranges,
                                       size_t n)
{
    /* what stands for itself: all but controls, the quote, the backslash, surrogates */
    static const struct sl_ebnfjson_range plain[] = {
        {0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0xD7FF}, {0xE000, 0x10FFFF}};
    struct sl_ebnf_expr *alt = sl_ebnf_alt(e);
    struct sl_strbuf out = {0};

    sl_strbuf_add_str(&out, "[");
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof(plain) / sizeof(plain[0]); k++)
            add_class_range(&out, ranges[i], plain[k].first, plain[k].last);
    sl_strbuf_add_str(&out, "]");
    if (out.error && !e->error)
        e->error = out.error;
    if (!out.error && out.len > 2)
        sl_ebnf_add(e, alt, sl_ebnf_symbol(e, out.ptr));
    sl_strbuf_done(&out);
    add_escapes(e, alt, ranges, n);
    return alt;
}

static struct sl_ebnf_expr *const_scalar(struct sl_ebnf *e, const struct sl_json *value)
{
    struct sl_ebnf_expr *expr;
    char *text = NULL;
    size_t len = 0;
    const char *string = sl_json_get_string(value, &len);
    int r;

    if (string)
        return sl_ebnfjson_quoted(e, string, len);
    r = sl_json_dump_python(value, &text, &len);
    if (r < 0 && !e->error)
        e->error = r;
    expr = sl_ebnf_literal(e, r < 0 ? "" : text, r < 0 ? 0 : len);
    free(text);
    return expr;
}

/* Recursion ends: the parser bounds the depth of its trees. */
struct sl_ebnf_expr *sl_ebnfjson_const(const struct sl_ebnfjson *j, struct sl_ebnf *e,
                                       const struct sl_json *value)
{
    bool is_object = sl_json_is(value, SL_JSON_OBJECT);
    struct sl_json_iter iter = {0};
    struct sl_ebnf_expr *seq;
    const struct sl_json *item;
    const char *key;

    if (!is_object && !sl_json_is(value, SL_JSON_ARRAY))
        return const_scalar(e, value);
    if (sl_json_n_items(value) == 0)
        return sl_ebnfjson_wrap(j, e, is_object ? "{" : "[", NULL, is_object ? "}" : "]");
    seq = sl_ebnf_seq(e);
    for (size_t i = 0; i < sl_json_n_items(value) && !e->error; i++) {
        if (i > 0)
            sl_ebnf_add(e, seq, sl_ebnf_ref(e, j->comma));
        if (is_object && sl_json_next(value, &iter, &key, &item)) {
            sl_ebnf_add(e, seq, sl_ebnfjson_quoted(e, key, strlen(key)));
            sl_ebnf_add(e, seq, sl_ebnf_ref(e, j->colon));
        } else {
            item = sl_json_item(value, i);
        }
        sl_ebnf_add(e, seq, sl_ebnfjson_const(j, e, item));
    }
    sl_ebnf_add(e, seq, sl_ebnf_ref(e, j->ws));
    return sl_ebnfjson_wrap(j, e, is_object ? "{" : "[", seq, is_object ? "}" : "]");
}
