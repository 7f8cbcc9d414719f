/*
 * Members that OpenAI's chat and completions and llama.cpp's /completion have in common:
 * sampling, limits, what the reply is to tell, and what is refused. Fills the call's request
 * to generate; faults as in apiobject.h. One thread at a time per parse.
 */
#pragma once

#include "server/apiobject.h"

#define SL_APIOPTIONS_TOP_MAX 20 /* alternatives of a token, where OpenAI's names ask for them */

/* The settings of the server, where a request says nothing. */
void sl_apioptions_default(struct sl_apiparse *parse);

/* The model's name, and all options but logprobs, grammars and the prompt. */
void sl_apioptions_read(struct sl_apiobject *o);

/* n_probs, llama.cpp's number of alternatives for each token. */
void sl_apioptions_read_probs(struct sl_apiobject *o);

/* How much to think: a hint that this model does not take, but "none" hides what it thinks. */
void sl_apioptions_read_effort(struct sl_apiobject *o, const char *key);

/* The first of several names of one limit that is there; -1 and -2: none. */
void sl_apioptions_read_limit(struct sl_apiobject *o, const char *const *keys, size_t n_keys);
