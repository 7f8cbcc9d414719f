/*
 * What earlier runs of a model chose: the share of tokens for each (layer, expert), kept
 * in a small file so that the next run can begin with the likeliest experts in memory.
 * Called by src/model/stream.c. One thread.
 *
 * The file is text: a line "sluice-profile 1 LAYERS EXPERTS TOKENS", then a line per layer
 * with EXPERTS shares in millionths. It holds no token and no text.
 */
#pragma once

#include <stdint.h>

#include "experts/evict.h"

/*
 * Seed the values of evict from the file. Returns the tokens it was made from, 0 if there
 * is no file, or -EBADMSG: not such a file, or of another shape (nothing is seeded); or
 * the system's error.
 */
int64_t sl_profile_load(const char *path, struct sl_evict *evict, uint32_t n_layers,
                        uint32_t n_experts);

/*
 * Write the shares of n_tokens observed tokens, averaged with the n_before tokens that
 * were loaded; written aside and renamed. The system's error: then the old file stays.
 */
int sl_profile_save(const char *path, const struct sl_evict *evict, uint32_t n_layers,
                    uint32_t n_experts, uint64_t n_before, uint64_t n_tokens);
