/*
 * Guesses by looking back: a text that repeats itself, or quotes its prompt, has its next
 * tokens written down already. The longest run of tokens that ends the text and stood in it
 * before is found, and what followed it then is the guess. Tokens are only numbers here, and
 * guesses are free to be wrong: speculate.h decides whether they are worth trying.
 *
 * Called by speculate.c. One thread at a time per object.
 */
#pragma once

#include <stdint.h>

#define SL_LOOKUP_MATCH_MAX 32u /* longer runs count as this long */
#define SL_LOOKUP_WINDOW_MAX 65536u

struct sl_lookup;

/*
 * The last n_window tokens are remembered (rounded up to a power of two, at least 256, at
 * most SL_LOOKUP_WINDOW_MAX), in 12 bytes each. Nothing is allocated later. -ENOMEM.
 */
int sl_lookup_new(struct sl_lookup **ret_lookup, uint32_t n_window);
void sl_lookup_free(struct sl_lookup *lookup);

/* Forget all tokens. */
void sl_lookup_reset(struct sl_lookup *lookup);

/* The text's next token. Bounded time, whatever the text. */
void sl_lookup_add(struct sl_lookup *lookup, int32_t id);

/*
 * The n tokens that are guessed to come next. Returns n, or 0 if nothing repeats itself here:
 * there are always n or none. ret_match: length of the run that agrees, 2 to
 * SL_LOOKUP_MATCH_MAX; untouched if there is none.
 */
uint32_t sl_lookup_guess(const struct sl_lookup *lookup, uint32_t n, int32_t *ids,
                         uint32_t *ret_match);
