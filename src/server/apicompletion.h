/* OpenAI's completions of raw prompts. */
#pragma once

#include "server/apiendpoint.h"

struct sl_apilist sl_apicompletion_list(void);
