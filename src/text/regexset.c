/* Sets of code points: ranges are collected in any order, then sorted and joined. */
#include "text/regexset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/codepoint.h"

typedef struct sl_ebnfjson_range range;

#define CP_MAX 0x10FFFFu
#define N(array) (sizeof(array) / sizeof((array)[0]))

static const range all_chars[] = {{0, 0xD7FF}, {0xE000, CP_MAX}};
static const range digits[] = {{'0', '9'}};
static const range words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
/* ECMA-262's WhiteSpace and LineTerminator */
static const range spaces[] = {{9, 13},           {' ', ' '},       {0xA0, 0xA0},
                               {0x1680, 0x1680},  {0x2000, 0x200A}, {0x2028, 0x2029},
                               {0x202F, 0x202F},  {0x205F, 0x205F}, {0x3000, 0x3000},
                               {0xFEFF, 0xFEFF}};
static const range line_ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

struct builder {
    struct sl_ebnf *e;
    const char *text;
    size_t len, pos;
    range *ranges;
    size_t n, cap;
    const char *what;
    int error;
};

static void refuse(struct builder *b, int code, const char *what)
{
    if (!b->error) {
        b->error = code;
        b->what = what;
    }
}

static void add(struct builder *b, uint32_t first, uint32_t last)
{
    if (b->n == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 4;
        range *ranges = sl_ebnf_alloc(b->e, cap * sizeof(*ranges));

        if (!ranges) {
            refuse(b, b->e->error, NULL);
            return;
        }
        if (b->n)
            memcpy(ranges, b->ranges, b->n * sizeof(*ranges));
        b->ranges = ranges;
        b->cap = cap;
    }
    b->ranges[b->n++] = (range){first, last};
}

static int by_first(const void *a, const void *b)
{
    const range *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

static void normalise(struct builder *b)
{
    size_t n = 0;

    if (b->n == 0)
        return;
    qsort(b->ranges, b->n, sizeof(range), by_first);
    for (size_t i = 1; i < b->n; i++)
        if (b->ranges[i].first <= b->ranges[n].last + 1) {
            if (b->ranges[i].last > b->ranges[n].last)
                b->ranges[n].last = b->ranges[i].last;
        } else {
            b->ranges[++n] = b->ranges[i];
        }
    b->n = n + 1;
}

/* Add what is not in the n sorted ranges. */
static void add_others(struct builder *b, const range *ranges, size_t n)
{
    uint32_t next = 0;

    for (size_t i = 0; i < n; i++) {
        if (ranges[i].first > next)
            add(b, next, ranges[i].first - 1);
        next = ranges[i].last + 1;
    }
    if (next <= CP_MAX)
        add(b, next, CP_MAX);
}

static void negate(struct builder *b)
{
    struct builder other = {.e = b->e};

    normalise(b);
    add_others(&other, b->ranges, b->n);
    if (other.error)
        refuse(b, other.error, NULL);
    b->ranges = other.ranges;
    b->n = other.n;
    b->cap = other.cap;
}

/* Exactly n hexadecimal digits at pos. */
static bool take_hex(struct builder *b, size_t n, uint32_t *ret)
{
    uint32_t value = 0;

    if (b->len - b->pos < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = b->text[b->pos + i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;

        if (digit < 0)
            return false;
        value = value << 4 | (uint32_t)digit;
    }
    b->pos += n;
    *ret = value;
    return true;
}

/* Behind \u: HHHH, a pair of surrogates, or {H...}. */
static uint32_t take_unicode(struct builder *b)
{
    uint32_t cp = 0, low = 0;

    if (b->pos < b->len && b->text[b->pos] == '{') {
        const char *end = memchr(b->text + b->pos, '}', b->len - b->pos);
        size_t n = end ? (size_t)(end - b->text) - b->pos - 1 : 0;

        b->pos++;
        if (n < 1 || n > 6 || !take_hex(b, n, &cp) || cp > CP_MAX) {
            refuse(b, -EBADMSG, "\\u{...} needs the number of a character");
            return 0;
        }
        b->pos++;
    } else if (!take_hex(b, 4, &cp)) {
        refuse(b, -EBADMSG, "\\u needs four hexadecimal digits");
    }
    if (cp >= 0xD800 && cp < 0xDC00 && b->len - b->pos >= 6 && b->text[b->pos] == '\\' &&
        b->text[b->pos + 1] == 'u') {
        b->pos += 2;
        if (take_hex(b, 4, &low) && low >= 0xDC00 && low < 0xE000)
            cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
    }
    if (cp >= 0xD800 && cp < 0xE000)
        refuse(b, -ENOTSUP, "half of a surrogate pair");
    return cp;
}

/* \d and its like: added, and true. */
static bool add_named(struct builder *b, char c)
{
    const range *set = c == 'd' || c == 'D' ? digits : c == 'w' || c == 'W' ? words : spaces;
    size_t n = set == digits ? N(digits) : set == words ? N(words) : N(spaces);

    if (!c || !strchr("dDwWsS", c))
        return false;
    if (c == 'D' || c == 'W' || c == 'S') {
        add_others(b, set, n);
    } else {
        for (size_t i = 0; i < n; i++)
            add(b, set[i].first, set[i].last);
    }
    return true;
}

/* The character that an escape, whose letter is behind pos, stands for. */
static uint32_t take_escape(struct builder *b, bool in_class)
{
    uint32_t cp = 0;
    char c = b->text[b->pos++];

    switch (c) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    case 'f': return '\f';
    case 'v': return '\v';
    case 'x':
        if (!take_hex(b, 2, &cp))
            refuse(b, -EBADMSG, "\\x needs two hexadecimal digits");
        return cp;
    case 'u': return take_unicode(b);
    case 'b':
        if (in_class)
            return '\b';
        refuse(b, -ENOTSUP, "\\b is not supported");
        return 0;
    default: break;
    }
    if (c == '0' && (b->pos == b->len || b->text[b->pos] < '0' || b->text[b->pos] > '9'))
        return 0;
    if ((c >= '0' && c <= '9') || c == 'k')
        refuse(b, -ENOTSUP, "references back are not supported");
    else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80))
        refuse(b, -ENOTSUP, "this escape is not supported");
    return (unsigned char)c;
}

static uint32_t take_char(struct builder *b)
{
    uint32_t cp = 0;
    size_t n = sl_codepoint_decode(b->text + b->pos, b->len - b->pos, &cp);

    if (n == 0)
        refuse(b, -EBADMSG, "not UTF-8");
    b->pos += n ? n : 1;
    return cp;
}

/* One member of a class: a character to *ret, or a named set, which is added (false). */
static bool take_member(struct builder *b, uint32_t *ret)
{
    if (b->text[b->pos] != '\\') {
        *ret = take_char(b);
        return true;
    }
    b->pos++;
    if (b->pos == b->len) {
        refuse(b, -EBADMSG, "an escape without a letter");
        return false;
    }
    if (add_named(b, b->text[b->pos])) {
        b->pos++;
        return false;
    }
    *ret = take_escape(b, true);
    return true;
}

/* Behind the opening bracket. */
static void parse_class(struct builder *b)
{
    bool negated = b->pos < b->len && b->text[b->pos] == '^';

    b->pos += negated;
    while (!b->error && b->pos < b->len && b->text[b->pos] != ']') {
        uint32_t first = 0, last;
        bool single = take_member(b, &first);

        last = first;
        if (b->len - b->pos >= 2 && b->text[b->pos] == '-' && b->text[b->pos + 1] != ']') {
            b->pos++;
            if (!take_member(b, &last) || !single)
                refuse(b, -EBADMSG, "a range needs a character at both ends");
            else if (last < first)
                refuse(b, -EBADMSG, "a range that runs backwards");
        }
        if (single)
            add(b, first, last);
    }
    if (b->pos >= b->len)
        refuse(b, -EBADMSG, "a class is not closed");
    b->pos++;
    if (negated && !b->error)
        negate(b);
}

static void parse(struct builder *b)
{
    uint32_t cp;

    switch (b->text[b->pos]) {
    case '[':
        b->pos++;
        parse_class(b);
        return;
    case '.':
        b->pos++;
        add_others(b, line_ends, N(line_ends));
        return;
    case '\\':
        b->pos++;
        if (b->pos == b->len) {
            refuse(b, -EBADMSG, "an escape without a letter");
        } else if (add_named(b, b->text[b->pos])) {
            b->pos++;
        } else {
            cp = take_escape(b, false);
            add(b, cp, cp);
        }
        return;
    default:
        cp = take_char(b);
        add(b, cp, cp);
    }
}

struct sl_regexset sl_regexset_all(void)
{
    return (struct sl_regexset){all_chars, N(all_chars)};
}

int sl_regexset_parse(struct sl_ebnf *e, const char *text, size_t len, size_t *pos,
                      struct sl_regexset *ret_set, const char **ret_what)
{
    struct builder b = {.e = e, .text = text, .len = len, .pos = *pos};

    parse(&b);
    if (b.error) {
        *ret_what = b.what;
        return b.error;
    }
    normalise(&b);
    *pos = b.pos;
    *ret_set = (struct sl_regexset){b.ranges, b.n};
    return 0;
}

bool sl_regexset_print_single(const struct sl_regexset *set, struct sl_strbuf *out)
{
    char buf[4];

    if (set->n != 1 || set->ranges[0].first != set->ranges[0].last)
        return false;
    sl_strbuf_add(out, buf, sl_codepoint_encode(set->ranges[0].first, buf));
    return true;
}
