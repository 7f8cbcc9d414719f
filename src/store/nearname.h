/* How alike two names are, for suggestions. Pure. Any thread. */
#pragma once

#include <stdint.h>

/*
 * 0: equal but for case; else the least number of letters to add, take away, change or swap
 * with the next one; a name that is a piece of the other (three letters at least) counts as 1.
 * UINT32_MAX: too far apart to be a slip, by the length of what was typed, or too long.
 */
uint32_t sl_nearname_distance(const char *typed, const char *name);
