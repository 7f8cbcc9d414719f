/* OpenAI's responses, without a memory of past ones. */
#pragma once

#include "server/apiendpoint.h"

struct sl_apilist sl_apiresponses_list(void);

/* How they are written (apiresponsesvoice.c). */
extern const struct sl_apivoice sl_apiresponses_voice;
