/*
 * Ranges of code points as sequences of byte ranges: what an automaton over bytes needs
 * to match a character class. Called by nfa.c. Any thread.
 */
#pragma once

#include <stdint.h>

#define SL_UTF8RANGE_MAX 24 /* 1 + 3 + 5 + 5 + 7 = 21 of one range */

/* Matches n bytes, the i-th from lo[i] to hi[i]. */
struct sl_utf8range {
    uint32_t n;
    uint8_t lo[4], hi[4];
};

/* The characters lo to hi (lo <= hi <= U+10FFFF), without surrogates, as sequences that
 * have no character in common. Returns how many. */
uint32_t sl_utf8range_split(uint32_t lo, uint32_t hi, struct sl_utf8range ret[SL_UTF8RANGE_MAX]);
