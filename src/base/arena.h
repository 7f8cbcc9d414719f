/*
 * A bump allocator over one anonymous mapping, for memory that is planned once and
 * lives as long as its owner: a session's scratch, a timeline's blocks. One thread
 * at a time while carving; the memory itself may be used by any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SL_ARENA_ALIGN 64

struct sl_arena {
    char *base; /* page-aligned, zero-filled, or NULL while measuring */
    size_t used;
    size_t size; /* bytes mapped; 0 while measuring */
};

/*
 * Two passes with the same code: first on an arena of all zeroes, sl_arena_take only
 * counts and returns NULL; then sl_arena_map maps arena->used bytes (rounded up to
 * 2 MiB, huge pages asked for from there on) and resets used; the second pass takes.
 * Returns 0 or -ENOMEM.
 */
int sl_arena_map(struct sl_arena *arena);

/* The next `bytes` bytes, 64-aligned. NULL while measuring. Taking more than was
 * measured is a bug and asserted. */
void *sl_arena_take(struct sl_arena *arena, size_t bytes);

/* Unmap. An arena of all zeroes is allowed. */
void sl_arena_done(struct sl_arena *arena);
