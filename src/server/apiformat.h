/*
 * Structured output: the members of requests that say what form the text must have, and the
 * grammar that comes of them and of the tools that must be called. Faults as in apiobject.h.
 */
#pragma once

#include "server/apiobject.h"

/* llama.cpp's "grammar" (GBNF) and "json_schema". */
void sl_apiformat_read_grammar(struct sl_apiobject *o);

/* OpenAI's response_format, as a member of this name; of the Responses API, whose members lie
 * beside "type", as well. */
void sl_apiformat_read_response(struct sl_apiobject *o, const char *key);

/* A schema as a member of o; it must live as long as the parse. */
void sl_apiformat_set_schema(struct sl_apiobject *o, const char *key,
                             const struct sl_json *schema);
void sl_apiformat_set_object(struct sl_apiobject *o, const char *key);

/*
 * Make the request's grammar, once its tools are known: of the format, of the calls that
 * tool_choice asks for, or of either. What cannot be enforced is refused with its path.
 */
void sl_apiformat_finish(struct sl_apiparse *parse);
