/*
 * Memory to be read: anonymous, of ordinary or of huge pages. Any thread.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "experts/topology.h"

enum bn_pages {
    BN_PAGES_ORDINARY = 0, /* 4 KiB, as a file's mapping has */
    BN_PAGES_HUGE,         /* 2 MiB, as far as the system gives them */
};

struct bn_buffer {
    char *base; /* aligned to 2 MiB */
    size_t bytes;
    void *map; /* what was mapped */
    size_t map_bytes;
};

const char *bn_buffer_pages_name(enum bn_pages pages);

/* Bytes for which reading once through leaves nothing useful in caches: three times all
 * last-level caches, at least 128 MiB, at most a sixth of the memory there is. */
size_t bn_buffer_bytes(const struct sl_topology *topo);

/* Map and touch: pages are spread over the nodes of topo, or, where that is NULL, lie on the
 * node of the calling thread. bytes: a multiple of 4096. -ENOMEM with text. */
int bn_buffer_new(struct bn_buffer *ret_buffer, size_t bytes, enum bn_pages pages,
                  const struct sl_topology *topo, struct sl_diag *diag);
void bn_buffer_free(struct bn_buffer *buffer); /* all zero is allowed */

/* Bytes of huge pages that this process has now, all mappings together. */
size_t bn_buffer_huge_bytes(void);
