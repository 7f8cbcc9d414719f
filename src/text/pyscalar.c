/*
 * Python's string and number literals, after "Lexical analysis" in its reference.
 *
 * What is no literal there is refused here as well: 07, 1__0, "\x4". Two things are not
 * left to Python. Characters beyond UTF-8 (half a surrogate pair) are refused, as no
 * client could be sent them; and a line end inside a string of one quote is taken.
 */
#include "text/pyscalar.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/codepoint.h"
#include "base/jsonwriter.h"

/* sys.int_info.default_max_str_digits; a longer decimal literal is an error in Python. */
#define INT_DIGITS_MAX 4300
/* Digits of other bases: all fit INT_DIGITS_MAX decimal ones. */
#define BASED_DIGITS_MAX 3500

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 32) >= 'a' && (c | 32) <= 'f')
        return (c | 32) - 'a' + 10;
    return -1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_quote(char c)
{
    return c == '"' || c == '\'';
}

bool sl_pyscalar_is_string(const char *text, size_t len)
{
    if (len && is_quote(text[0]))
        return true;
    return len > 1 && ((text[0] | 32) == 'r' || (text[0] | 32) == 'u') && is_quote(text[1]);
}

static int add_codepoint(struct sl_pystring *s, uint32_t cp)
{
    char c[4];

    if (s->high_surrogate) {
        if (cp < 0xDC00 || cp > 0xDFFF)
            return -EBADMSG;
        cp = 0x10000 + ((s->high_surrogate - 0xD800) << 10) + (cp - 0xDC00);
        s->high_surrogate = 0;
    } else if (cp >= 0xD800 && cp <= 0xDBFF) {
        s->high_surrogate = cp;
        return 0;
    } else if ((cp >= 0xDC00 && cp <= 0xDFFF) || cp > 0x10FFFF) {
        return -EBADMSG;
    }
    sl_strbuf_add(s->out, c, sl_codepoint_encode(cp, c));
    return 0;
}

/* Bytes of the text as they are. */
static int add_plain(struct sl_pystring *s, const char *text, size_t len)
{
    if (s->high_surrogate)
        return -EBADMSG;
    sl_strbuf_add(s->out, text, len);
    return 0;
}

static ssize_t add_hex(struct sl_pystring *s, const char *text, size_t len, size_t n_digits)
{
    uint32_t cp = 0;

    if (len < n_digits)
        return -EBADMSG;
    for (size_t i = 0; i < n_digits; i++) {
        int digit = hex_digit(text[i]);

        if (digit < 0)
            return -EBADMSG;
        cp = cp << 4 | (uint32_t)digit;
    }
    return add_codepoint(s, cp) < 0 ? -EBADMSG : (ssize_t)n_digits;
}

static ssize_t add_octal(struct sl_pystring *s, const char *text, size_t len)
{
    uint32_t cp = 0;
    size_t n = 0;

    while (n < 3 && n < len && text[n] >= '0' && text[n] <= '7')
        cp = cp << 3 | (uint32_t)(text[n++] - '0');
    return add_codepoint(s, cp) < 0 ? -EBADMSG : (ssize_t)n;
}

/* What follows a backslash; returns the bytes taken after it. */
static ssize_t add_escape(struct sl_pystring *s, const char *text, size_t len)
{
    static const char letters[] = "abfnrtv\\'\"", values[] = "\a\b\f\n\r\t\v\\'\"";
    const char *letter;
    ssize_t n;

    if (len == 0 || text[0] == '\0' || text[0] == 'N')
        return -EBADMSG;
    letter = strchr(letters, text[0]);
    if (letter)
        return add_codepoint(s, (unsigned char)values[letter - letters]) < 0 ? -EBADMSG : 1;
    switch (text[0]) {
    case '\n': return 1; /* the line goes on */
    case '\r': return len > 1 && text[1] == '\n' ? 2 : 1;
    case 'x': n = add_hex(s, text + 1, len - 1, 2); break;
    case 'u': n = add_hex(s, text + 1, len - 1, 4); break;
    case 'U': n = add_hex(s, text + 1, len - 1, 8); break;
    default:
        if (text[0] >= '0' && text[0] <= '7')
            return add_octal(s, text, len);
        /* no escape: the backslash stands for itself, the rest is read as usual */
        return add_plain(s, "\\", 1) < 0 ? -EBADMSG : 0;
    }
    return n < 0 ? n : n + 1;
}

/* In a raw string a backslash stays, and keeps a quote from closing it. */
static ssize_t add_raw_escape(struct sl_pystring *s, const char *text, size_t len)
{
    if (len == 0 || add_plain(s, "\\", 1) < 0)
        return -EBADMSG;
    if (!is_quote(text[0]) && text[0] != '\\')
        return 0;
    return add_plain(s, text, 1) < 0 ? -EBADMSG : 1;
}

/* One run of plain bytes, a line end or an escape, at text; returns the bytes taken. */
static ssize_t add_part(struct sl_pystring *s, const char *text, size_t len, bool raw)
{
    size_t n = 0;
    ssize_t taken;

    if (text[0] == '\\') {
        taken = raw ? add_raw_escape(s, text + 1, len - 1) : add_escape(s, text + 1, len - 1);
        return taken < 0 ? taken : taken + 1;
    }
    if (text[0] == '\0')
        return -EBADMSG;
    if (text[0] == '\r') /* Python's reading of a source turns each line end into \n */
        return add_plain(s, "\n", 1) < 0 ? -EBADMSG : len > 1 && text[1] == '\n' ? 2 : 1;
    if (is_quote(text[0]))
        n = 1; /* not the closing one */
    while (n < len && text[n] != '\\' && text[n] != '\r' && text[n] != '\0' && !is_quote(text[n]))
        n++;
    return add_plain(s, text, n) < 0 ? -EBADMSG : (ssize_t)n;
}

ssize_t sl_pyscalar_string(struct sl_pystring *s, const char *text, size_t len)
{
    bool raw = (text[0] | 32) == 'r';
    size_t pos = is_quote(text[0]) ? 0 : 1;
    size_t n_quotes = 1;
    char quotes[3];

    memset(quotes, text[pos], sizeof(quotes));
    if (len - pos >= 3 && memcmp(text + pos, quotes, 3) == 0)
        n_quotes = 3;
    pos += n_quotes;
    while (len - pos >= n_quotes) {
        ssize_t taken;

        if (memcmp(text + pos, quotes, n_quotes) == 0)
            return s->out->error ? s->out->error : (ssize_t)(pos + n_quotes);
        taken = add_part(s, text + pos, len - pos, raw);
        if (taken < 0)
            return taken;
        pos += (size_t)taken;
    }
    return -EBADMSG;
}

bool sl_pyscalar_string_end(const struct sl_pystring *s)
{
    return s->high_surrogate == 0;
}

bool sl_pyscalar_is_number(const char *text, size_t len)
{
    if (len == 0)
        return false;
    return is_digit(text[0]) || text[0] == '-' || text[0] == '+' ||
           (text[0] == '.' && len > 1 && is_digit(text[1]));
}

/* digit (["_"] digit)* : its length, 0 if there is none. Without "_" to digits. */
static size_t digit_part(const char *text, size_t len, struct sl_strbuf *digits)
{
    size_t n = 0;

    while (n < len) {
        size_t at = n > 0 && text[n] == '_' ? n + 1 : n;

        if (at >= len || !is_digit(text[at]))
            break;
        sl_strbuf_add(digits, text + at, 1);
        n = at + 1;
    }
    return n;
}

/*
 * 0x, 0o and 0b to decimal: groups of nine digits, lowest first, multiplied and added
 * to. BASED_DIGITS_MAX bounds the time.
 */
static ssize_t add_based_int(struct sl_strbuf *out, const char *text, size_t len, uint32_t base)
{
    enum { GROUP = 1000000000, N_GROUPS = INT_DIGITS_MAX / 9 + 1 };
    uint32_t groups[N_GROUPS] = {0};
    size_t n = 2, n_digits = 0, n_groups = 1;

    for (;;) {
        size_t at = n < len && text[n] == '_' ? n + 1 : n;
        int digit = at < len ? hex_digit(text[at]) : -1;
        uint64_t carry = (uint64_t)digit;

        if (digit < 0 || (uint32_t)digit >= base)
            break;
        if (++n_digits > BASED_DIGITS_MAX)
            return -EBADMSG;
        for (size_t i = 0; i < n_groups; i++) {
            carry += (uint64_t)groups[i] * base;
            groups[i] = (uint32_t)(carry % GROUP);
            carry /= GROUP;
        }
        if (carry)
            groups[n_groups++] = (uint32_t)carry;
        n = at + 1;
    }
    if (n_digits == 0)
        return -EBADMSG;
    sl_strbuf_add_fmt(out, "%u", groups[n_groups - 1]);
    for (size_t i = n_groups - 1; i > 0; i--)
        sl_strbuf_add_fmt(out, "%09u", groups[i - 1]);
    return (ssize_t)n;
}

/* Whether the decimal digits are an integer literal: no zero in front but of zero. */
static bool is_int_literal(const char *digits, size_t n)
{
    return n <= INT_DIGITS_MAX && (digits[0] != '0' || strspn(digits, "0") == n);
}

static int add_float(struct sl_strbuf *out, const char *digits)
{
    char text[SL_JSON_REAL_BYTES];
    double value = strtod(digits, NULL);

    if (!isfinite(value))
        return -EBADMSG;
    sl_json_print_real(text, value);
    sl_strbuf_add_str(out, text);
    return 0;
}

/* A decimal integer or a float; digits is empty and holds the number without "_". */
static ssize_t add_decimal(struct sl_strbuf *out, struct sl_strbuf *digits, const char *text,
                           size_t len, bool *ret_is_int)
{
    size_t n = digit_part(text, len, digits), n_exp, sign;
    bool is_int = true;

    if (n < len && text[n] == '.') {
        is_int = false;
        sl_strbuf_add(digits, ".", 1);
        n++;
        n += digit_part(text + n, len - n, digits);
    }
    if (n < len && (text[n] | 32) == 'e') {
        sign = n + 1 < len && (text[n + 1] == '-' || text[n + 1] == '+');
        sl_strbuf_add(digits, text + n, 1 + sign);
        n_exp = digit_part(text + n + 1 + sign, len - n - 1 - sign, digits);
        if (n_exp == 0)
            return -EBADMSG;
        n += 1 + sign + n_exp;
        is_int = false;
    }
    if (digits->error)
        return digits->error;
    *ret_is_int = is_int;
    if (!is_int)
        return add_float(out, digits->ptr) < 0 ? -EBADMSG : (ssize_t)n;
    if (!is_int_literal(digits->ptr, digits->len))
        return -EBADMSG;
    sl_strbuf_add_str(out, digits->ptr[0] == '0' ? "0" : digits->ptr);
    return (ssize_t)n;
}

static ssize_t add_unsigned(struct sl_strbuf *out, const char *text, size_t len, bool *ret_is_int)
{
    struct sl_strbuf digits = {0};
    char letter = len > 1 && text[0] == '0' ? (char)(text[1] | 32) : '\0';
    uint32_t base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    ssize_t n;

    if (base) {
        *ret_is_int = true;
        return add_based_int(out, text, len, base);
    }
    n = add_decimal(out, &digits, text, len, ret_is_int);
    sl_strbuf_done(&digits);
    return n;
}

ssize_t sl_pyscalar_number(struct sl_strbuf *out, const char *text, size_t len, bool *ret_is_int)
{
    size_t pos = text[0] == '-' || text[0] == '+', start = out->len;
    ssize_t n;

    while (pos && pos < len && strchr(" \t\f\r\n", text[pos]) && text[pos])
        pos++;
    if (pos == len || !(is_digit(text[pos]) || text[pos] == '.') ||
        !sl_pyscalar_is_number(text + pos, len - pos))
        return -EBADMSG;
    if (text[0] == '-')
        sl_strbuf_add(out, "-", 1);
    n = add_unsigned(out, text + pos, len - pos, ret_is_int);
    if (n < 0 || out->error)
        return n < 0 ? n : out->error;
    if (*ret_is_int && !strcmp(out->ptr + start, "-0")) {
        sl_strbuf_cut(out, start);
        sl_strbuf_add(out, "0", 1);
    }
    return (ssize_t)pos + n;
}
