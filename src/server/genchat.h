/*
 * The prompt of a chat: messages and tools through the model's template, past tool calls in
 * the model's own form also where the template would drop them, and the assistant's turn
 * opened and begun as the request asks. Any thread that may call struct sl_apitext.
 */
#pragma once

#include <stddef.h>

#include "server/api.h"

/*
 * What a reply of this server really was: find gives the text of the assistant's whole turn
 * that made the call of this id, as it stood behind the role: with what the prompt began it
 * with, with markers, without its end token. It is then put in place of what the client sent
 * back, so that the prompt repeats what was sampled, unless the client changed it. 0, or
 * -ENOENT. The text is borrowed until the next find.
 */
struct sl_genchat_recall {
    void *arg;
    int (*find)(void *arg, const char *call_id, const char **ret_text, size_t *ret_len);
};

/*
 * Render req, whose input is SL_GENINPUT_CHAT, to heap text that the caller frees; it is to
 * be tokenised with special tokens and without BOS. recall may be NULL. -EBADMSG, -ENOTSUP,
 * -E2BIG, -ENOMEM, as sluice_chat_render.
 */
int sl_genchat_render(const struct sl_genreq *req, const struct sl_apienv *env,
                      const struct sl_apitext *text, const struct sl_genchat_recall *recall,
                      char **ret_prompt, size_t *ret_len, struct sl_diag *diag);
