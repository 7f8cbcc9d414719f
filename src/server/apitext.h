/*
 * Calls of struct sl_apitext, with their results in heap memory. For endpoints that only
 * handle text; on the thread of sl_api_answer.
 */
#pragma once

#include "server/apiendpoint.h"

/* Tokens of a text; flags are SLUICE_TOKENIZE_*. 0 and heap memory for the caller to free, or
 * a negative errno with a's error filled in. */
int sl_apitext_tokenize(struct sl_apianswer *a, const char *text, size_t len, uint32_t flags,
                        int32_t **ret_ids, size_t *ret_n);

/* The prompt of the call's request as text, if it is a chat. */
int sl_apitext_render(struct sl_apianswer *a, char **ret_text, size_t *ret_len);

/* How many tokens the prompt of the call's request has. */
int sl_apitext_count(struct sl_apianswer *a, size_t *ret_n);
