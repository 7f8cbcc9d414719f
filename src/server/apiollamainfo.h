/* Ollama's endpoints that describe the model and the server. */
#pragma once

#include "server/apiendpoint.h"

struct sl_apilist sl_apiollamainfo_list(void);
