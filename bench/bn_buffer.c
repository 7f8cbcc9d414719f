/* Mapped one huge page larger than asked for, so that it can start at one. */
#include "bench/bn_buffer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/memory.h"

#define MIB ((size_t)1 << 20)
#define HUGE_BYTES (2 * MIB)
#define BYTES_MIN (128 * MIB)

const char *bn_buffer_pages_name(enum bn_pages pages)
{
    return pages == BN_PAGES_HUGE ? "huge" : "ordinary";
}

size_t bn_buffer_bytes(const struct sl_topology *topo)
{
    long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t bytes = 3 * (l3 > 0 ? (size_t)l3 : 0) * topo->n_l3;
    uint64_t most = sl_memory_available("") / 6;

    bytes = bytes < BYTES_MIN ? BYTES_MIN : bytes;
    return (bytes < most ? bytes : (size_t)most) / HUGE_BYTES * HUGE_BYTES;
}

int bn_buffer_new(struct bn_buffer *ret_buffer, size_t bytes, enum bn_pages pages,
                  const struct sl_topology *topo, struct sl_diag *diag)
{
    size_t map_bytes = bytes + HUGE_BYTES;
    void *map = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (map == MAP_FAILED) {
        sl_diag_set(diag, -ENOMEM, "the system refused %zu MiB to be read", bytes / MIB);
        return -ENOMEM;
    }
    /* advice only; bn_buffer_huge_bytes tells what came of it */
    (void)madvise(map, map_bytes, pages == BN_PAGES_HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    if (topo) /* if it fails, first touch decides */
        (void)sl_topology_interleave(&topo->memory, map, map_bytes);
    *ret_buffer = (struct bn_buffer){
        .base = (char *)sl_align_up((uintptr_t)map, HUGE_BYTES),
        .bytes = bytes,
        .map = map,
        .map_bytes = map_bytes,
    };
    memset(ret_buffer->base, 1, bytes);
    return 0;
}

void bn_buffer_free(struct bn_buffer *buffer)
{
    if (buffer->map)
        (void)munmap(buffer->map, buffer->map_bytes);
    *buffer = (struct bn_buffer){ 0 };
}

size_t bn_buffer_huge_bytes(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    char line[128];
    size_t kib = 0;

    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "AnonHugePages: %zu", &kib) == 1)
            break;
    (void)fclose(file); /* read only */
    return kib * 1024;
}
