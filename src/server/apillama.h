/* llama.cpp's own completions. */
#pragma once

#include "server/apiendpoint.h"

struct sl_apilist sl_apillama_list(void);
