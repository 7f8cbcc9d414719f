/*
 * The read loop that kernels and tokens are held against: each worker of a team goes round
 * in its own part of some memory. One thread at a time.
 */
#pragma once

#include <stddef.h>

#include "base/pool.h"
#include "bench/bn_ceiling.h"
#include "bench/bn_team.h"

struct bn_readloop {
    struct bn_team *team;
    bn_ceiling_read_fn fns[2]; /* without and with software prefetches; the second may be NULL */
    uint64_t n_chunks[2];      /* of a timing */
    bn_ceiling_read_fn fn;     /* of the current one */
    size_t chunk;
    struct {
        const char *base;
        size_t bytes, at;
        uint64_t sum;
        char apart[32];
    } workers[SL_POOL_WORKERS_MAX];
};

/*
 * Share bytes at base out among the workers, read them once, so that all pages are there,
 * and find out how much a timing of so many seconds reads. Each worker reads its part from
 * end to end, in chunks of 1 MiB, or, where cache_bytes is not 0, its first cache_bytes
 * again and again. base: aligned to 64; a share has at least 4096 bytes. Borrows both.
 */
void bn_readloop_init(struct bn_readloop *loop, struct bn_team *team, const void *base,
                      size_t bytes, size_t cache_bytes, enum sl_cpu_level level,
                      double seconds);

/* Bytes per second of all workers together, by each of the loops; how many there are. */
int bn_readloop_rates(struct bn_readloop *loop, double ret_rates[2]);

/* The better of both. */
double bn_readloop_rate(struct bn_readloop *loop);
