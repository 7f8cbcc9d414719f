/*
 * Numbers of the trace format that its writer and its reader share; described in
 * trace.c. Internal to experts/.
 */
#pragma once

#include <stdint.h>

#include "experts/counters.h"

#define SL_TRACE_MAGIC "SLTRACE1"
#define SL_TRACE_MAGIC_BYTES 8u
#define SL_TRACE_VERSION 1u
#define SL_TRACE_P_STEPS 1024.0f
#define SL_TRACE_KIND_END 255u
#define SL_TRACE_N_COUNTERS (sizeof(struct sl_cache_counters) / sizeof(uint64_t))

_Static_assert(sizeof(struct sl_cache_counters) % sizeof(uint64_t) == 0, "only uint64_t inside");
