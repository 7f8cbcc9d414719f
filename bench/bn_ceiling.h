/*
 * What a core can do at most at a CPU level: plain loops that read, and that multiply
 * and add what lies in registers or in the first cache. Kernels are held against them.
 * Pure. Any thread, on a machine that has the level.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* Does its work n times; the result depends on all of it. */
typedef uint64_t (*bn_ceiling_fn)(uint64_t n);

/* Sum of what is read: bytes a multiple of 512, p aligned to 64. */
typedef uint64_t (*bn_ceiling_read_fn)(const void *p, size_t bytes);

struct bn_ceiling {
    bn_ceiling_read_fn read;
    bn_ceiling_read_fn read_ahead; /* the same with software prefetches */
    /* NULL where the level has no such instructions (C) */
    bn_ceiling_fn dot;  /* bytes by bytes, summed as integers, all in registers */
    bn_ceiling_fn tile; /* as a tile kernel must: see the file of the level */
    bn_ceiling_fn fma;  /* floats, all in registers */
    double dot_macs, tile_macs, fma_macs; /* multiply-adds of one time */
};

void bn_ceiling_get(struct bn_ceiling *ret_ceiling, enum sl_cpu_level level);

void bn_ceiling_fill_avx2(struct bn_ceiling *c);
void bn_ceiling_fill_avx512(struct bn_ceiling *c);
