/*
 * The keys make a trie over code points, each of which has one spelling, ebnfjson.h's: so
 * that a string is a key where its text is the key's. At a node a string may go on with
 * another character than its children's and is free from then on, or with a child's; it
 * may end where no key does. Each step of 32 and each fork is a rule of its own, so that
 * groups are not nested too deeply.
 */
#include "text/keyset.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/codepoint.h"
#include "base/strbuf.h"
#include "text/ebnfjson.h"

#define NESTED_MAX 32u
#define ESCAPED    "\"\\\\\\x00-\\x1F" /* in a class: what needs an escape */
#define N_CONTROLS 0x20u
#define N_ESCAPED  (N_CONTROLS + 2) /* and the quote, and the backslash */

struct trie {
    struct sl_ebnf *e;
    const char **keys;
    uint32_t escape; /* rule: a character that needs an escape */
    uint32_t any;    /* rule: a character */
    uint32_t free;   /* rule: any more characters */
};

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The escapes of all characters that need one but those of a set, a bit for each. */
static struct sl_ebnf_expr *escapes_but(struct sl_ebnf *e, uint64_t excluded)
{
    struct sl_ebnfjson_range ranges[N_ESCAPED];
    size_t n = 0;

    for (uint32_t i = 0; i < N_ESCAPED; i++) {
        uint32_t cp = i < N_CONTROLS ? i : i == N_CONTROLS ? '"' : '\\';

        if (!(excluded >> i & 1))
            ranges[n++] = (struct sl_ebnfjson_range){cp, cp};
    }
    return sl_ebnfjson_class(e, ranges, n);
}

/* The bit of escapes_but; 0 for a character that needs none. */
static uint64_t escape_bit(uint32_t cp)
{
    if (cp == '"' || cp == '\\')
        return 1ull << (cp == '"' ? N_CONTROLS : N_CONTROLS + 1);
    return cp < N_CONTROLS ? 1ull << cp : 0;
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

/* A character that none of the keys has at off. */
static struct sl_ebnf_expr *other_character(struct trie *t, size_t first, size_t end, size_t off)
{
    struct sl_ebnf_expr *alt = sl_ebnf_alt(t->e);
    struct sl_strbuf text = {0};
    uint64_t escaped = 0;
    size_t len;
    uint32_t cp = 0;

    sl_strbuf_add_str(&text, "[^" ESCAPED);
    for (size_t i = first; i < end;) {
        i = child_end(t, i, end, off, &len, &cp);
        escaped |= escape_bit(cp);
        if (!escape_bit(cp))
            sl_strbuf_add_fmt(&text, cp < 0x10000 ? "\\u%04X" : "\\U%08X", cp);
    }
    sl_strbuf_add_str(&text, "]");
    if (text.error && !t->e->error)
        t->e->error = text.error;
    sl_ebnf_add(t->e, alt, sl_ebnf_symbol(t->e, text.error ? "" : text.ptr));
    sl_strbuf_done(&text);
    return sl_ebnf_add(t->e, alt, escaped ? escapes_but(t->e, escaped)
                                          : sl_ebnf_ref(t->e, t->escape));
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
    sl_ebnf_add(t->e, seq, first < end ? other_character(t, first, end, off)
                                       : sl_ebnf_ref(t->e, t->any));
    sl_ebnf_add(t->e, alt, sl_ebnf_add(t->e, seq, sl_ebnf_ref(t->e, t->free)));
    forks = first < end && child_end(t, first, end, off, &len, &cp) < end;
    forks |= n_nested >= NESTED_MAX;
    for (size_t i = first, next; i < end && !t->e->error; i = next) {
        struct sl_ebnf_expr *rest;

        next = child_end(t, i, end, off, &len, &cp);
        rest = after(t, i, next, off + len, forks ? 0 : n_nested + 1);
        seq = sl_ebnf_seq(t->e);
        sl_ebnf_add(t->e, seq, sl_ebnfjson_text(t->e, t->keys[i] + off, len));
        sl_ebnf_add(t->e, seq, forks ? sl_ebnf_ref(t->e, sl_ebnf_rule_of(t->e, rest)) : rest);
        sl_ebnf_add(t->e, alt, seq);
    }
    return is_key ? alt : sl_ebnf_optional(t->e, alt);
}

struct sl_ebnf_expr *sl_keyset_others(struct sl_ebnf *e, const char **keys, size_t n)
{
    struct trie t = {.e = e, .keys = keys};
    struct sl_ebnf_expr *seq = sl_ebnf_seq(e);

    assert(n > 0);
    for (size_t i = 0; i < n; i++)
        if (strlen(keys[i]) > SL_KEYSET_KEY_BYTES_MAX && !e->error)
            e->error = -E2BIG;
    if (e->error)
        return e->failed;
    qsort(keys, n, sizeof(*keys), by_bytes);
    t.escape = sl_ebnf_rule_of(e, escapes_but(e, 0));
    t.any = sl_ebnf_rule_of(e, other_character(&t, 0, 0, 0));
    t.free = sl_ebnf_rule_of(e, sl_ebnf_repeat(e, sl_ebnf_ref(e, t.any), 0, SL_EBNF_NO_MAX));
    sl_ebnf_add(e, seq, sl_ebnf_literal_str(e, "\""));
    sl_ebnf_add(e, seq, after(&t, 0, n, 0, 0));
    return sl_ebnf_add(e, seq, sl_ebnf_literal_str(e, "\""));
}
