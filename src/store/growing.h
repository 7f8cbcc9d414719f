/* Room in arrays that grow. For src/store. */
#pragma once

#include <stdbool.h>
#include <stdlib.h>

/* Make room for entry n of *array, which has *cap of entry_bytes each; NULL and 0 at first.
 * False, and nothing changed, without memory. */
static inline bool sl_growing_room(void **array, size_t n, size_t *cap, size_t entry_bytes)
{
    size_t want = *cap ? *cap * 2 : 16;
    void *grown;

    if (n < *cap)
        return true;
    grown = reallocarray(*array, want, entry_bytes);
    if (!grown)
        return false;
    *array = grown;
    *cap = want;
    return true;
}
