/*
 * Knuth, Morris and Pratt's search for each word, side by side: a byte moves each word's
 * count of matched bytes, and the greatest count is what has to be held back.
 */
#include "server/stopscan.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How much of the word the text ends with, byte being the next. */
static size_t advance(const struct sl_stopscan_word *word, size_t n_matched, char byte)
{
    while (n_matched && (n_matched == word->len || word->text[n_matched] != byte))
        n_matched = word->fallback[n_matched - 1];
    return n_matched + (word->text[n_matched] == byte);
}

int sl_stopscan_init(struct sl_stopscan *scan, char *const *words, size_t n)
{
    assert(n <= SL_STOPSCAN_MAX);
    *scan = (struct sl_stopscan){.n = (uint32_t)n};
    for (size_t i = 0; i < n; i++) {
        struct sl_stopscan_word *word = &scan->words[i];

        *word = (struct sl_stopscan_word){.text = words[i], .len = strlen(words[i])};
        assert(word->len > 0);
        word->fallback = calloc(word->len, sizeof(*word->fallback));
        if (!word->fallback) {
            sl_stopscan_done(scan);
            return -ENOMEM;
        }
        for (size_t at = 1; at < word->len; at++)
            word->fallback[at] =
                (uint32_t)advance(word, word->fallback[at - 1], word->text[at]);
    }
    return 0;
}

void sl_stopscan_done(struct sl_stopscan *scan)
{
    for (uint32_t i = 0; i < scan->n; i++)
        free(scan->words[i].fallback);
    sl_strbuf_done(&scan->held);
    *scan = (struct sl_stopscan){0};
}

/* The longest word that ends with the byte, or NULL. */
static const struct sl_stopscan_word *take_byte(struct sl_stopscan *scan, char byte)
{
    const struct sl_stopscan_word *found = NULL;

    for (uint32_t i = 0; i < scan->n; i++) {
        struct sl_stopscan_word *word = &scan->words[i];

        word->n_matched = advance(word, word->n_matched, byte);
        if (word->n_matched == word->len && (!found || word->len > found->len))
            found = word;
    }
    return found;
}

/* Show the first len bytes that are held. */
static void show(struct sl_stopscan *scan, size_t len, struct sl_strbuf *out)
{
    struct sl_strbuf *held = &scan->held;

    if (len == 0)
        return;
    sl_strbuf_add(out, held->ptr, len);
    memmove(held->ptr, held->ptr + len, held->len - len);
    sl_strbuf_cut(held, held->len - len);
}

int sl_stopscan_feed(struct sl_stopscan *scan, const char *text, size_t len,
                     struct sl_strbuf *out, uint32_t *ret_word)
{
    size_t before = scan->held.len, n_held = 0;

    sl_strbuf_add(&scan->held, text, len);
    if (scan->held.error)
        return scan->held.error;
    for (size_t i = 0; i < len; i++) {
        const struct sl_stopscan_word *word = take_byte(scan, text[i]);

        if (!word)
            continue;
        show(scan, before + i + 1 - word->len, out);
        sl_strbuf_cut(&scan->held, 0);
        *ret_word = (uint32_t)(word - scan->words);
        return out->error ? out->error : 1;
    }
    for (uint32_t i = 0; i < scan->n; i++)
        n_held = scan->words[i].n_matched > n_held ? scan->words[i].n_matched : n_held;
    show(scan, scan->held.len - n_held, out);
    return out->error;
}

void sl_stopscan_end(struct sl_stopscan *scan, struct sl_strbuf *out)
{
    show(scan, scan->held.len, out);
}
