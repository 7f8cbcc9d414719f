/* OpenAI's chat completions. */
#pragma once

#include "server/apiendpoint.h"

struct sl_apilist sl_apichat_list(void);

/* Parse a chat as llama.cpp's /apply-template and the counting endpoints take it, too. */
void sl_apichat_parse(struct sl_apiobject *o);
