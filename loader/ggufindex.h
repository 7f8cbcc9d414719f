/*
 * Names to entries: an open-addressing hash table of borrowed strings. For
 * loader/gguf.c only. Any thread may search; one adds.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "loader/gguf.h"

struct sl_ggufindex {
    const struct sl_gguf_str **slots; /* owned; NULL: free */
    uint64_t mask;                    /* number of slots - 1 */
    uint64_t seed;
};

/* Room for n strings. Returns 0 or -ENOMEM. */
int sl_ggufindex_init(struct sl_ggufindex *index, uint32_t n);
void sl_ggufindex_done(struct sl_ggufindex *index); /* all zeroes are allowed */

/* Add str, which must stay where it is. If an equal one is there already, nothing is
 * added and that one returned, else NULL. */
const struct sl_gguf_str *sl_ggufindex_add(struct sl_ggufindex *index,
                                           const struct sl_gguf_str *str);

/* The string equal to the len bytes at ptr, or NULL. */
const struct sl_gguf_str *sl_ggufindex_find(const struct sl_ggufindex *index,
                                            const char *ptr, size_t len);
