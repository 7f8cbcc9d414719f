/*
 * The model that is served, as OpenAI lists it and as the other APIs name and describe it.
 */
#pragma once

#include <stdbool.h>

#include "server/apiendpoint.h"

struct sl_apilist sl_apimodels_list(void);

/* Whether a name means the model: its own, an alias, or one of these with ":latest". */
bool sl_apimodels_is_served(const struct sl_apienv *env, const char *name);

/* What the model can do: an array of "completion", "tools", "thinking". */
void sl_apimodels_write_capabilities(const struct sl_apienv *env, struct sl_jsonwriter *w);

/* Ollama's "details", with its key. */
void sl_apimodels_write_details(const struct sl_apienv *env, struct sl_jsonwriter *w);
