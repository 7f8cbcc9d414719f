/*
 * Tools of a request in the form that chat templates list, and the choice among them. Faults
 * as in apiobject.h. One thread at a time per parse.
 */
#pragma once

#include "server/apiobject.h"

/* OpenAI's and Ollama's form: {"type": "function", "function": {...}}, taken as it is. */
void sl_apitools_read(struct sl_apiobject *o, const char *key);

/*
 * The forms that have name, description and a schema beside each other, the schema under
 * this key. Tools of other types are refused, or with SL_APITOOLS_SKIP left out: a model
 * that does not know of them does not call them.
 */
enum {
    SL_APITOOLS_SKIP = 1,
};
void sl_apitools_read_flat(struct sl_apiobject *o, const char *key, const char *schema_key,
                           uint32_t flags);

/* The choice; name, of SL_GENTOOLCHOICE_NAMED, is one of the tools. Called once the tools are
 * read. */
void sl_apitools_choose(struct sl_apiobject *o, const char *key, enum sl_gentoolchoice choice,
                        const char *name);

/* OpenAI's tool_choice and parallel_tool_calls; of the Responses API, where the name is
 * beside "type", as well. */
void sl_apitools_read_choice(struct sl_apiobject *o);
