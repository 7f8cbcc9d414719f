/*
 * Whether a matcher goes on by any short text of an alphabet, as within a string: then all
 * tokens that are such texts are allowed, without a look at each. Called by tokenmask.c. One
 * thread at a time.
 */
#pragma once

#include <stdbool.h>

#include "text/alphabet.h"
#include "text/matcher.h"

#define SL_FREETEXT_CHARS_MAX 16u

/* All zeroes: nothing is known. */
struct sl_freetext {
    uint8_t *n_free; /* [state][SL_ALPHABET_N]: so many characters are known to go on; owned */
    uint32_t n_states, cap;
};

void sl_freetext_done(struct sl_freetext *free_text);

/* The matcher's states have new numbers: forget what was known of them. */
void sl_freetext_clear(struct sl_freetext *free_text);

/*
 * 1: every text of the alphabet, up to CHARS_MAX characters, goes on from the state. 0: some
 * does not, or to tell would take too long. -E2BIG, -ENOMEM (the matcher's).
 */
int sl_freetext_is_free(struct sl_freetext *free_text, struct sl_matcher *matcher, uint32_t state,
                        enum sl_alphabet alphabet);
