/*
 * From the pieces of the tokens that a model says to what a client is told: whole characters,
 * up to a stop string, with reasoning and tool calls told apart. One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "server/genevent.h"
#include "server/genjob.h"

struct sl_genout;

/*
 * Told an event (TEXT, REASONING, CALL_...), without counts. Returns 0, or a negative errno:
 * nobody listens any more.
 */
typedef int (*sl_genout_fn)(void *arg, struct sl_genevent *event);

/* job is borrowed until free. 0 or -ENOMEM. */
int sl_genout_new(struct sl_genout **ret_out, const struct sl_genjob *job, sl_genout_fn fn,
                  void *arg);
void sl_genout_free(struct sl_genout *out); /* NULL is allowed */

/*
 * The next piece, cut anywhere. Returns 0; 1 if a stop string has appeared: the text ends
 * before it, and nothing may be fed any more; or a negative errno, of memory or of fn.
 */
int sl_genout_feed(struct sl_genout *out, const char *piece, size_t len);

/* The reply is over: what was held back is told, but not half a character. 0 or a negative
 * errno. */
int sl_genout_end(struct sl_genout *out);

/* The stop string that appeared, borrowed, or NULL. */
const char *sl_genout_word(const struct sl_genout *out);

/* The assistant's turn so far as it would be rendered: what the prompt began it with, and all
 * text that was said, markers included. Kept if the request tells calls apart, else "".
 * Borrowed. */
void sl_genout_turn(const struct sl_genout *out, const char **ret_text, size_t *ret_len);

/* Tool calls so far. */
uint32_t sl_genout_n_calls(const struct sl_genout *out);
