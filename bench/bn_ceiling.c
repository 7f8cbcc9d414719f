/* The reading loop in C, and the choice by level; see bn_ceiling_avx2.c and _avx512.c. */
#include "bench/bn_ceiling.h"

#define AHEAD_BYTES 8192 /* as the kernels of one token do */
#define LINE_BYTES 64

static uint64_t read_c(const void *p, size_t bytes)
{
    const uint64_t *words = p;
    uint64_t sum[8] = { 0 };

    for (size_t i = 0; i < bytes / sizeof(*words); i += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += words[i + lane];
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

static uint64_t read_ahead_c(const void *p, size_t bytes)
{
    const uint64_t *words = p;
    uint64_t sum[8] = { 0 };

    for (size_t i = 0; i < bytes / sizeof(*words); i += LINE_BYTES / sizeof(*words)) {
        __builtin_prefetch((const char *)(words + i) + AHEAD_BYTES, 0, 2);
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += words[i + lane];
    }
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

void bn_ceiling_get(struct bn_ceiling *ret_ceiling, enum sl_cpu_level level)
{
    *ret_ceiling = (struct bn_ceiling){ .read = read_c, .read_ahead = read_ahead_c };
    if (level >= SL_CPU_AVX2)
        bn_ceiling_fill_avx2(ret_ceiling);
    if (level >= SL_CPU_AVX512)
        bn_ceiling_fill_avx512(ret_ceiling);
}
