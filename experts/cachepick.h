/*
 * Which slot an expert gets, and which missing expert is worth reading when the disk has
 * nothing else to do. Internal to experts/. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "experts/cacheload.h"

/* An empty slot for an expert of the layer, for the caller to fill: a free one, or that
 * of the expert worth least, if less than limit, which is given up. SL_SLOT_NONE. */
uint32_t sl_cachepick_slot(struct sl_cache *cache, uint32_t layer, float limit);

/* Note the layer's likeliest missing expert, anew: its chances or its slots changed. */
void sl_cachepick_note(struct sl_cache *cache, uint32_t layer);

/*
 * The next expert to fill the cache with, and an empty slot for it: a free one, or, if
 * is_swapping, that of a far less likely expert, which is given up. False: there is none.
 */
bool sl_cachepick_fill(struct sl_cache *cache, bool is_swapping, uint32_t *ret_layer,
                       uint32_t *ret_expert, uint32_t *ret_slot);
