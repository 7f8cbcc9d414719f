/*
 * The keys make a trie over code points. At a node a string may go on with another
 * character than its children's and is free from then on, or with a child's; it may end
 * where no key does. Each step of 32 and each fork is a rule of its own, so that groups
 * are not nested too deeply.
 */
#include "text/keyset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/codepoint.h"
#include "base/strbuf.h"

#define NESTED_MAX 32u
#define PLAIN "\"\\\\\\x00-\\x1F" /* what a class of GBNF excludes anyway */

struct trie {
    struct sl_ebnf *e;
    const char **keys;
    uint32_t free; /* rule: any more characters */
};

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool needs_escape(const char *key)
{
    for (; *key; key++)
        if ((unsigned char)*key < 0x20 || *key == '"' || *key == '\\')
            return true;
    return false;
}

/* End of the keys from i on that have key i's character at off; its length and number. */
static size_t child_end(const struct trie *t, size_t i, size_t end, size_t off, size_t *ret_len,
                        uint32_t *ret_cp)
{
    const char *key = t->keys[i] + off;

    *ret_len = sl_codepoint_decode(key, strlen(key), ret_cp);
    if (*ret_len == 0) /* the parser gives UTF-8 only */
        *ret_len = 1;
    while (i < end && strncmp(t->keys[i] + off, key, *ret_len) == 0)
        i++;
    return i;
}

static struct sl_ebnf_expr *other_character(struct trie *t, size_t first, size_t end, size_t off)
{
    struct sl_strbuf text = {0};
    struct sl_ebnf_expr *expr;
    size_t len;
    uint32_t cp = 0;

    sl_strbuf_add_str(&text, "[^" PLAIN);
    for (size_t i = first; i < end;) {
        i = child_end(t, i, end, off, &len, &cp);
        sl_strbuf_add_fmt(&text, cp < 0x10000 ? "\\u%04X" : "\\U%08X", cp);
    }
    sl_strbuf_add_str(&text, "]");
    if (text.error && !t->e->error)
        t->e->error = text.error;
    expr = sl_ebnf_symbol(t->e, text.error ? "" : text.ptr);
    sl_strbuf_done(&text);
    return expr;
}

/* What may follow the first off bytes that keys first to end - 1 share. */
static struct sl_ebnf_expr *after(struct trie *t, size_t first, size_t end, size_t off,
                                  uint32_t n_nested)
{
    struct sl_ebnf_expr *alt = sl_ebnf_alt(t->e), *seq = sl_ebnf_seq(t->e);
    bool is_key = !t->keys[first][off], forks;
    size_t len;
    uint32_t cp = 0;

    while (first < end && !t->keys[first][off])
        first++;
    if (first < end)
        sl_ebnf_add(t->e, seq, other_character(t, first, end, off));
    else
        sl_ebnf_add(t->e, seq, sl_ebnf_symbol(t->e, "[^" PLAIN "]"));
    sl_ebnf_add(t->e, alt, sl_ebnf_add(t->e, seq, sl_ebnf_ref(t->e, t->free)));
    forks = first < end && child_end(t, first, end, off, &len, &cp) < end;
    forks |= n_nested >= NESTED_MAX;
    for (size_t i = first, next; i < end && !t->e->error; i = next) {
        struct sl_ebnf_expr *rest;

        next = child_end(t, i, end, off, &len, &cp);
        rest = after(t, i, next, off + len, forks ? 0 : n_nested + 1);
        seq = sl_ebnf_seq(t->e);
        sl_ebnf_add(t->e, seq, sl_ebnf_literal(t->e, t->keys[i] + off, len));
        sl_ebnf_add(t->e, seq, forks ? sl_ebnf_ref(t->e, sl_ebnf_rule_of(t->e, rest)) : rest);
        sl_ebnf_add(t->e, alt, seq);
    }
    return is_key ? alt : sl_ebnf_optional(t->e, alt);
}

struct sl_ebnf_expr *sl_keyset_others(struct sl_ebnf *e, const char **keys, size_t n)
{
    struct trie t = {.e = e, .keys = keys};
    struct sl_ebnf_expr *seq = sl_ebnf_seq(e);
    size_t n_plain = 0;

    for (size_t i = 0; i < n; i++) {
        if (strlen(keys[i]) > SL_KEYSET_KEY_BYTES_MAX && !e->error)
            e->error = -E2BIG;
        if (!needs_escape(keys[i]))
            keys[n_plain++] = keys[i];
    }
    t.free = sl_ebnf_rule_of(e, sl_ebnf_symbol(e, "[^" PLAIN "]*"));
    sl_ebnf_add(e, seq, sl_ebnf_literal_str(e, "\""));
    if (n_plain) {
        qsort(keys, n_plain, sizeof(*keys), by_bytes);
        if (!e->error)
            sl_ebnf_add(e, seq, after(&t, 0, n_plain, 0, 0));
    } else {
        sl_ebnf_add(e, seq, sl_ebnf_ref(e, t.free));
    }
    return sl_ebnf_add(e, seq, sl_ebnf_literal_str(e, "\""));
}
