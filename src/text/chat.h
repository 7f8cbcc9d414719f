/*
 * Chat templates of the LFM2 family, rendered natively. A file's Jinja template is
 * recognised by markers and rendered by the generation it belongs to; an unknown one
 * is rendered as plain ChatML, and the caller says so. Pure; any thread.
 *
 * chat.c states what each generation does. Content null or absent is rendered as the
 * template would where that has a meaning, else as nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum sl_chat_template {
    SL_CHAT_CHATML = 0,     /* fallback: no template in the file, or an unknown one */
    SL_CHAT_LFM2,           /* tool list tokens, tool results wrapped */
    SL_CHAT_LFM25,          /* plain tool list, thinking of past turns cut */
    SL_CHAT_LFM25_LIST,     /* the same with content lists ("<image>" for images) */
    SL_CHAT_LFM25_THINKING, /* thinking field, tool calls rendered, preserve_thinking */
    SL_CHAT_LFM25_THINKING_OPEN, /* the same; the assistant's turn opens with <think> */
};

/* Which generation a template text belongs to. NULL or "": SL_CHAT_CHATML. */
enum sl_chat_template sl_chat_detect(const char *template_text, size_t len);
/* A static name; never NULL. */
const char *sl_chat_template_name(enum sl_chat_template t); /* "lfm2.5-thinking" */

struct sl_chat_opts {
    enum sl_chat_template template_kind;
    const char *bos; /* text of the BOS token, "" if none */
    bool add_generation_prompt;
    bool keep_past_thinking; /* lfm2.5 */
    bool preserve_thinking;  /* lfm2.5-thinking, lfm2.5-thinking-open */
};

/*
 * Render messages (a JSON array) and tools (a JSON array or NULL) to heap text that
 * the caller frees. Content lists are flattened to their text first; images are
 * refused by name. -EBADMSG (not JSON, a message without role; says which), -ENOTSUP
 * (images, sound, files; tools with SL_CHAT_CHATML), -E2BIG, -ENOMEM.
 */
int sl_chat_render(const struct sl_chat_opts *opts, const char *messages_json,
                   const char *tools_json, char **ret_text, struct sl_diag *diag);
