/* Counts and times of a reply, as members. Pure; any thread. */
#pragma once

#include "base/jsonwriter.h"
#include "server/genevent.h"

/* OpenAI's "usage" of chat and completions. */
void sl_apiusage_write(const struct sl_gencounts *counts, struct sl_jsonwriter *w);

/* llama.cpp's "timings". */
void sl_apiusage_write_timings(const struct sl_gencounts *counts, struct sl_jsonwriter *w);

/* llama.cpp's "prompt_progress", of a PROGRESS event. */
void sl_apiusage_write_progress(const struct sl_genevent *event, struct sl_jsonwriter *w);
