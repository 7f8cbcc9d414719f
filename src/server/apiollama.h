/* Ollama's chat and generate. */
#pragma once

#include "server/apiendpoint.h"

struct sl_apilist sl_apiollama_list(void);

/* The model that a request to Ollama's API names must be the one that is served. */
void sl_apiollama_check_model(struct sl_apiobject *o, const char *name);
