/*
 * Raw prompts: a text, a list of token ids, a list of both, or a list of one such prompt.
 * Faults as in apiobject.h. One thread at a time per parse.
 */
#pragma once

#include "server/apiobject.h"

/* A member into the request's parts. */
void sl_apiprompt_read(struct sl_apiobject *o, const char *key);

/* A list of token ids in heap memory; each is held against the vocabulary. NULL after
 * failing, or where there are none. */
int32_t *sl_apiprompt_read_ids(struct sl_apiobject *o, const char *key,
                               const struct sl_json *list, size_t *ret_n);
