/* llama.cpp's endpoints beside completions: text, properties, slots, and those that there are
 * not. */
#pragma once

#include "server/apiendpoint.h"

struct sl_apilist sl_apillamainfo_list(void);
