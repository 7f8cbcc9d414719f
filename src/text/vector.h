/* Growing arrays of plain structs, indexed by uint32_t, and hash tables over them. Any thread. */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Room for n_more elements behind the first n of an array of heap memory (a pointer to the
 * pointer, which is NULL while cap is 0). 0, or -ENOMEM with all as it was. */
#define sl_vector_grow(array, cap, n, n_more) \
    sl_vector_grow_bytes((array), (cap), (n), (n_more), sizeof(**(array)))

static inline int sl_vector_grow_bytes(void *array, uint32_t *cap, uint32_t n, uint32_t n_more,
                                       size_t element_bytes)
{
    uint64_t need = (uint64_t)n + n_more, room = *cap ? *cap : 16;
    void *ptr;

    if (need <= *cap)
        return 0;
    while (room < need)
        room *= 2;
    if (room > UINT32_MAX)
        return -ENOMEM;
    memcpy(&ptr, array, sizeof(ptr));
    ptr = realloc(ptr, room * element_bytes);
    if (!ptr)
        return -ENOMEM;
    memcpy(array, &ptr, sizeof(ptr));
    *cap = (uint32_t)room;
    return 0;
}

/* The slots of a hash table of indexes: twice as many as there were, all zero, for the caller
 * to fill again; their number is a power of two. 0, or -ENOMEM with all as it was. */
static inline int sl_vector_grow_slots(uint32_t **slots, uint32_t *n_slots)
{
    uint32_t n = *n_slots ? *n_slots * 2 : 64;
    uint32_t *grown = calloc(n, sizeof(*grown));

    if (!grown)
        return -ENOMEM;
    free(*slots);
    *slots = grown;
    *n_slots = n;
    return 0;
}
