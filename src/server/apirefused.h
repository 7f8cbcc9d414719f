/* Endpoints of OpenAI's and Anthropic's services that there are not: they answer 501. */
#pragma once

#include "server/apiendpoint.h"

struct sl_apilist sl_apirefused_list(void);
