/*
 * A recursive descent over the text, bounded in depth. Values are written as they are
 * read; a failure leaves half a JSON text behind, which callers throw away.
 */
#include "text/pyliteral.h"

#include <errno.h>
#include <string.h>

#include "base/codepoint.h"
#include "text/pyscalar.h"

/*
 * Letters beyond ASCII that a name may have: those of the family's languages and their
 * neighbours. All of them are identifiers in Python and equal to their own NFKC form
 * (which Python would turn a name into), so that a name is the same in both.
 * tests/property/test_toolcall.py holds the table to that.
 */
static const struct {
    uint32_t first, last;
} letters[] = {
    {0x00C0, 0x00D6}, {0x00D8, 0x00F6}, {0x00F8, 0x0131}, {0x0134, 0x013E}, {0x0141, 0x0148},
    {0x014A, 0x017E}, {0x0391, 0x03A1}, {0x03A3, 0x03CE}, {0x0400, 0x0481}, {0x048A, 0x052F},
    {0x05D0, 0x05EA}, {0x0620, 0x063F}, {0x0641, 0x064A}, {0x3041, 0x3096}, {0x30A1, 0x30FA},
    {0x3400, 0x4DBF}, {0x4E00, 0x9FFC}, {0xAC00, 0xD7A3},
};

void sl_pyliteral_init(struct sl_pyliteral *p, const char *text, size_t len)
{
    *p = (struct sl_pyliteral){.text = text, .len = len};
}

void sl_pyliteral_done(struct sl_pyliteral *p)
{
    sl_strbuf_done(&p->scratch);
    sl_pydict_stack_done(&p->dicts);
}

char sl_pyliteral_peek(struct sl_pyliteral *p)
{
    while (p->pos < p->len && p->text[p->pos] != '\0' && strchr(" \t\f\r\n", p->text[p->pos]))
        p->pos++;
    return p->pos < p->len ? p->text[p->pos] : '\0';
}

bool sl_pyliteral_take(struct sl_pyliteral *p, char c)
{
    if (sl_pyliteral_peek(p) != c || p->pos == p->len)
        return false;
    p->pos++;
    return true;
}

static bool is_letter(uint32_t cp)
{
    if (cp < 0x80)
        return (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z') || cp == '_';
    for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
        if (cp >= letters[i].first && cp <= letters[i].last)
            return true;
    return false;
}

size_t sl_pyliteral_take_name(struct sl_pyliteral *p, const char **ret_name)
{
    size_t start, n;
    uint32_t cp;

    (void)sl_pyliteral_peek(p); /* for the blanks */
    start = p->pos;
    while (p->pos < p->len) {
        n = sl_codepoint_decode(p->text + p->pos, p->len - p->pos, &cp);
        if (n == 0)
            break;
        if (!is_letter(cp) && !(p->pos > start && ((cp >= '0' && cp <= '9') || cp == '-')))
            break;
        p->pos += n;
    }
    *ret_name = p->text + start;
    return p->pos - start;
}

/* One string, of any number of literals, into scratch. */
static int take_string(struct sl_pyliteral *p)
{
    struct sl_pystring s = {.out = &p->scratch};

    sl_strbuf_cut(&p->scratch, 0);
    sl_strbuf_add(&p->scratch, "", 0); /* ptr is not NULL */
    do {
        ssize_t n = sl_pyscalar_string(&s, p->text + p->pos, p->len - p->pos);

        if (n < 0)
            return (int)n;
        p->pos += (size_t)n;
        (void)sl_pyliteral_peek(p); /* for the blanks */
    } while (sl_pyscalar_is_string(p->text + p->pos, p->len - p->pos));
    return sl_pyscalar_string_end(&s) ? p->scratch.error : -EBADMSG;
}

/* One number as JSON text into scratch. */
static int take_number(struct sl_pyliteral *p, bool *ret_is_int)
{
    ssize_t n;

    sl_strbuf_cut(&p->scratch, 0);
    n = sl_pyscalar_number(&p->scratch, p->text + p->pos, p->len - p->pos, ret_is_int);
    if (n < 0)
        return (int)n;
    p->pos += (size_t)n;
    return 0;
}

/* Values up to the closing bracket. */
static int take_items(struct sl_pyliteral *p, struct sl_jsonwriter *w, char close)
{
    size_t n_items = 0, n_commas = 0;
    int r;

    while (!sl_pyliteral_take(p, close)) {
        if (n_items > n_commas)
            return -EBADMSG; /* two values without a comma, or the end */
        r = sl_pyliteral_value(p, w);
        if (r < 0)
            return r;
        n_items++;
        n_commas += sl_pyliteral_take(p, ',');
    }
    return close == ')' && n_items == 1 && n_commas == 0 ? -EBADMSG : 0;
}

static int take_array(struct sl_pyliteral *p, struct sl_jsonwriter *w, char close)
{
    int r;

    p->pos++;
    sl_jsonwriter_begin_array(w);
    r = take_items(p, w, close);
    if (r == 0)
        sl_jsonwriter_end_array(w);
    return r;
}

/* key: value */
static int take_member(struct sl_pyliteral *p, struct sl_jsonwriter *w)
{
    enum sl_pydict_key kind = SL_PYDICT_KEY_STRING;
    bool is_int = true;
    int r;

    (void)sl_pyliteral_peek(p); /* for the blanks */
    if (sl_pyscalar_is_string(p->text + p->pos, p->len - p->pos)) {
        r = take_string(p);
    } else if (sl_pyscalar_is_number(p->text + p->pos, p->len - p->pos)) {
        kind = SL_PYDICT_KEY_INT;
        r = take_number(p, &is_int);
    } else {
        return -EBADMSG;
    }
    if (r < 0 || !is_int || !sl_pyliteral_take(p, ':'))
        return r < 0 ? r : -EBADMSG;
    r = sl_pydict_key(&p->dicts, w, p->scratch.ptr, p->scratch.len, kind);
    return r < 0 ? r : sl_pyliteral_value(p, w);
}

int sl_pyliteral_members(struct sl_pyliteral *p, struct sl_jsonwriter *w,
                         const struct sl_pydict *dict)
{
    bool comma = true;
    int r;

    while (!sl_pyliteral_take(p, '}')) {
        if (!comma)
            return -EBADMSG;
        r = take_member(p, w);
        if (r < 0)
            return r;
        sl_pydict_end_value(&p->dicts, dict, w);
        comma = sl_pyliteral_take(p, ',');
    }
    return 0;
}

static int take_dict(struct sl_pyliteral *p, struct sl_jsonwriter *w)
{
    struct sl_pydict dict;
    int r;

    p->pos++;
    sl_pydict_begin(&p->dicts, &dict, w);
    r = sl_pyliteral_members(p, w, &dict);
    return r < 0 ? r : sl_pydict_end(&p->dicts, &dict, w, SL_PYDICT_DICT);
}

static int take_container(struct sl_pyliteral *p, struct sl_jsonwriter *w, char open)
{
    int r;

    if (p->depth == SL_PYLITERAL_DEPTH_MAX)
        return -E2BIG;
    p->depth++;
    r = open == '{' ? take_dict(p, w) : take_array(p, w, open == '[' ? ']' : ')');
    p->depth--;
    return r;
}

/* A value that is JSON text already, in the place of a null: the writer's separator
 * stays. */
static void add_raw(struct sl_jsonwriter *w, const char *json)
{
    sl_jsonwriter_null(w);
    if (w->buf.error)
        return;
    sl_strbuf_cut(&w->buf, w->buf.len - strlen("null"));
    sl_strbuf_add_str(&w->buf, json);
}

static int take_constant(struct sl_pyliteral *p, struct sl_jsonwriter *w)
{
    static const struct {
        const char *name, *json;
    } constants[] = {
        {"True", "true"}, {"False", "false"}, {"None", "null"},
        {"true", "true"}, {"false", "false"}, {"null", "null"},
    };
    const char *name;
    size_t len = sl_pyliteral_take_name(p, &name);

    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++) {
        if (strlen(constants[i].name) == len && !memcmp(constants[i].name, name, len)) {
            add_raw(w, constants[i].json);
            return 0;
        }
    }
    return -EBADMSG;
}

int sl_pyliteral_value(struct sl_pyliteral *p, struct sl_jsonwriter *w)
{
    char c = sl_pyliteral_peek(p);
    bool is_int;
    int r;

    if (c == '[' || c == '(' || c == '{')
        return take_container(p, w, c);
    if (sl_pyscalar_is_string(p->text + p->pos, p->len - p->pos)) {
        r = take_string(p);
        if (r == 0)
            sl_jsonwriter_string_len(w, p->scratch.ptr, p->scratch.len);
        return r;
    }
    if (sl_pyscalar_is_number(p->text + p->pos, p->len - p->pos)) {
        r = take_number(p, &is_int);
        if (r == 0)
            add_raw(w, p->scratch.ptr);
        return r;
    }
    return take_constant(p, w);
}
