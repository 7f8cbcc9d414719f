/*
 * Finding special tokens in text, so that they are cut out before the rest is split.
 * Called by the tokenizer only. Read-only after sl_special_new; any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "text/vocab.h"

struct sl_special;

struct sl_special_hit {
    size_t off;
    uint32_t len;
    uint32_t i_special; /* our own index: longest first, then by id */
    int32_t id;
};

/* Borrows the vocabulary. 0 or -ENOMEM. */
int sl_special_new(struct sl_special **ret_special, const struct sl_vocab *vocab);
void sl_special_free(struct sl_special *special);

enum {
    SL_SPECIAL_CONTROL = 1, /* control and unknown tokens too, not only user-defined ones */
};

/*
 * All tokens to cut out of text, in order, none overlapping another. ret_hits is the
 * caller's to free, and NULL if there are none. 0 or -ENOMEM.
 */
int sl_special_find(const struct sl_special *special, const char *text, size_t len, uint32_t flags,
                    struct sl_special_hit **ret_hits, size_t *ret_n);
