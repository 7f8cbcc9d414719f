/*
 * The memory behind the slots of the expert cache: regions of at most 256 MiB, each
 * with slots of one size, on huge pages where the system gives them, known to the
 * reader as targets of reads. Called by experts/cache.c. One thread.
 */
#pragma once

#include <stdint.h>

#include "loader/reader.h"

#define SL_REGION_BYTES_MAX (256ull << 20)

struct sl_region {
    uint8_t *base; /* page-aligned; NULL: not mapped */
    uint64_t bytes;
    uint64_t slot_bytes;
    uint32_t n_slots;
    uint32_t first_slot; /* index of its first slot in the cache's table */
    uint32_t kind;       /* of slot, an index of the cache's */
    uint32_t reader_region; /* SL_READER_NO_REGION until the first use */
};

/* Map memory for n_slots slots. Nothing is touched. 0 or -ENOMEM. */
int sl_region_map(struct sl_region *ret_region, uint64_t slot_bytes, uint32_t n_slots);

/* No read into it may be in flight. All zeroes are allowed. */
void sl_region_unmap(struct sl_region *region, struct sl_reader *reader);

/* Before the first read into it: make it known to the reader. */
void sl_region_use(struct sl_region *region, struct sl_reader *reader);

/* Slots that one region takes. */
static inline uint32_t sl_region_slots_max(uint64_t slot_bytes)
{
    return slot_bytes < SL_REGION_BYTES_MAX ? (uint32_t)(SL_REGION_BYTES_MAX / slot_bytes) : 1;
}
