/*
 * llama.cpp's account of how a reply is made: "generation_settings" of its completions and
 * "default_generation_settings" of /props. What there is not is told as switched off.
 */
#pragma once

#include "base/jsonwriter.h"
#include "server/api.h"

/* The settings of a request, all of them, with the seed that was used; begins and ends the
 * object. */
void sl_apisettings_write(const struct sl_genreq *req, uint64_t seed, struct sl_jsonwriter *w);

/* Those of a request that says nothing, without what only a request can have. */
void sl_apisettings_write_default(const struct sl_apienv *env, struct sl_jsonwriter *w);
