/*
 * Stop strings in a text that comes in pieces: what may be shown of it, and whether one has
 * appeared. The result does not depend on how the text is cut. Pure; one thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

#define SL_STOPSCAN_MAX 16

struct sl_stopscan_word {
    const char *text; /* borrowed, never empty */
    size_t len;
    size_t n_matched;   /* bytes of it that the text ends with */
    uint32_t *fallback; /* [len] owned: the longest beginning that also ends here */
};

/* All zeroes: none. */
struct sl_stopscan {
    struct sl_stopscan_word words[SL_STOPSCAN_MAX];
    uint32_t n;
    struct sl_strbuf held; /* may become a stop string */
};

/* words are borrowed until done; at most SL_STOPSCAN_MAX. 0, or -ENOMEM, and then nothing is
 * left behind. */
int sl_stopscan_init(struct sl_stopscan *scan, char *const *words, size_t n);
void sl_stopscan_done(struct sl_stopscan *scan);

/*
 * Append what can be shown now to out. 0; 1 if a word is complete, ret_word says which was
 * the first (of several that end at one place the longest), out has all before it, and
 * nothing may be fed any more; -ENOMEM.
 */
int sl_stopscan_feed(struct sl_stopscan *scan, const char *text, size_t len,
                     struct sl_strbuf *out, uint32_t *ret_word);

/* The text is over: what was held can be shown. */
void sl_stopscan_end(struct sl_stopscan *scan, struct sl_strbuf *out);
