/*
 * Regions: anonymous memory that starts at a huge page. Given back only whole, by
 * munmap: dropping single pages of memory that io_uring has registered would make later
 * reads succeed into pages that nobody sees.
 */
#include "experts/region.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/bytes.h"

#define HUGE_BYTES (2ull << 20)

int sl_region_map(struct sl_region *ret_region, uint64_t slot_bytes, uint32_t n_slots)
{
    uint64_t bytes = sl_align_up(slot_bytes * n_slots, SL_READER_ALIGN_MAX);
    uint64_t room = bytes + HUGE_BYTES;
    uint8_t *map, *base;

    map = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
               -1, 0);
    if (map == MAP_FAILED)
        return -ENOMEM;
    base = (uint8_t *)sl_align_up((uintptr_t)map, HUGE_BYTES);
    if (base > map)
        (void)munmap(map, (size_t)(base - map));
    if (map + room > base + bytes)
        (void)munmap(base + bytes, (size_t)(map + room - (base + bytes)));
    (void)madvise(base, bytes, MADV_HUGEPAGE); /* small pages do, slower */
    *ret_region = (struct sl_region){
        .base = base,
        .bytes = bytes,
        .slot_bytes = slot_bytes,
        .n_slots = n_slots,
        .reader_region = SL_READER_NO_REGION,
    };
    return 0;
}

void sl_region_unmap(struct sl_region *region, struct sl_reader *reader)
{
    if (!region->base)
        return;
    if (region->reader_region != SL_READER_NO_REGION)
        sl_reader_remove_region(reader, region->reader_region);
    (void)munmap(region->base, region->bytes);
    *region = (struct sl_region){ .reader_region = SL_READER_NO_REGION };
}

void sl_region_use(struct sl_region *region, struct sl_reader *reader)
{
    int r;

    if (region->reader_region != SL_READER_NO_REGION)
        return;
    r = sl_reader_add_region(reader, region->base, region->bytes);
    if (r >= 0)
        region->reader_region = (uint32_t)r;
}
