/*
 * Where a reply stands with its thinking, told by its text as it comes: the markers may be
 * tokens of their own, or be spelt by several. Pure; one thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum sl_thinkscan_state {
    SL_THINKSCAN_SAYS = 0, /* does not think, or no longer */
    SL_THINKSCAN_BEGINS,   /* may still turn out to begin with <think> */
    SL_THINKSCAN_THINKS,
};

/* All zeroes: says. To begin with, any state and no matched bytes. */
struct sl_thinkscan {
    enum sl_thinkscan_state state;
    uint32_t n_matched; /* bytes of the marker that the text ends with */
};

/* The next piece of text. Returns how many of its bytes reach to the end of the thinking, if
 * that is in it, marker included; else len. */
size_t sl_thinkscan_feed(struct sl_thinkscan *scan, const char *text, size_t len);

/* Of a reply that may begin to think: what is still to come of <think> if this text is next,
 * "" when nothing is; NULL if it does not begin so. */
const char *sl_thinkscan_rest(const struct sl_thinkscan *scan, const char *text, size_t len);
