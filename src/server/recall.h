/*
 * What replies with tool calls really were, by the ids of their calls, so that a later prompt
 * can repeat what was sampled (genchat.h). Bounded; the oldest are forgotten. Any thread, but
 * find by one.
 */
#pragma once

#include <stddef.h>

#include "server/genchat.h"
#include "server/genid.h"

struct sl_recall;

/* At most max_bytes of texts are kept. 0 or -ENOMEM. */
int sl_recall_new(struct sl_recall **ret_recall, size_t max_bytes);
void sl_recall_free(struct sl_recall *recall); /* NULL is allowed */

/* Keep a turn of which genid made the first n_calls calls. A copy; without memory for it, it
 * is not kept. */
void sl_recall_put(struct sl_recall *recall, const struct sl_genid *genid, uint32_t n_calls,
                   const char *text, size_t len);

/* For sl_genchat_render. */
struct sl_genchat_recall sl_recall_finder(struct sl_recall *recall);
