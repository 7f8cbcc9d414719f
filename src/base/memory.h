/*
 * How much memory this process can really have, and how much it has had. Reads
 * /proc and the memory cgroup (v1 and v2). Any thread.
 */
#pragma once

#include <limits.h>
#include <stdint.h>

/*
 * Bytes that can still be used without swapping: the smallest of MemAvailable and what
 * every memory cgroup above this process leaves (limit - usage + page cache that can be
 * dropped). UINT64_MAX if nothing can be read. root: "" for the live system, or a
 * folder with proc/ and sys/ in it, for tests.
 */
uint64_t sl_memory_available(const char *root);

/* The memory cgroup that leaves least. */
struct sl_memory_limit {
    uint64_t limit_bytes, left_bytes; /* UINT64_MAX: none sets a limit */
    char file[2 * PATH_MAX + 32];     /* that holds the limit, with root before it; "" */
};
struct sl_memory_limit sl_memory_find_limit(const char *root);

/* Largest resident size so far (VmHWM), bytes; 0 if unknown. */
uint64_t sl_memory_peak(void);
