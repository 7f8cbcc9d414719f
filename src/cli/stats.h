/* What a run cost, in words and in JSON. */
#pragma once

#include <stdint.h>

#include "base/jsonwriter.h"
#include "cli/generate.h"

/* To stderr: a line on tokens, tokens per second, GB/s of weights, memory, threads, seed;
 * streaming, one on experts and one on guesses and the cache. info: of the model. */
void sl_stats_print(const struct sl_generate_stats *stats, const struct sluice_model_info *info,
                    uint64_t seed);

/* The same as members of the object that is being written. */
void sl_stats_write(struct sl_jsonwriter *w, const struct sl_generate_stats *stats,
                    const struct sluice_model_info *info, uint64_t seed);

/* The most memory this process has held (VmHWM), bytes; 0 if the system does not say. */
uint64_t sl_stats_peak_bytes(void);
