#include "base/arena.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "base/bytes.h"

#define HUGE_BYTES ((size_t)2 << 20)

int sl_arena_map(struct sl_arena *arena)
{
    size_t size = sl_align_up(arena->used ? arena->used : 1, HUGE_BYTES);
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (base == MAP_FAILED)
        return -ENOMEM;
    /* Advice only: without huge pages everything works, with more TLB misses. */
    (void)madvise(base, size, MADV_HUGEPAGE);
    *arena = (struct sl_arena){ .base = base, .size = size };
    return 0;
}

void *sl_arena_take(struct sl_arena *arena, size_t bytes)
{
    size_t off = arena->used;

    arena->used += sl_align_up(bytes, SL_ARENA_ALIGN);
    if (!arena->base)
        return NULL;
    assert(arena->used <= arena->size);
    return arena->base + off;
}

void sl_arena_done(struct sl_arena *arena)
{
    if (arena->base)
        (void)munmap(arena->base, arena->size); /* fails only for bad arguments */
    *arena = (struct sl_arena){ 0 };
}
