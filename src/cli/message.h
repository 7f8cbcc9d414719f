/* A conversation as the commands hold it, and what lies between it and the model. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/jsonwriter.h"
#include "sluice.h"

struct sl_message {
    char *role, *content; /* owned */
};

struct sl_messages { /* all zeroes: none */
    struct sl_message *list; /* owned */
    size_t n, cap;
};

/* -ENOMEM. role and content are copied. */
int sl_message_add(struct sl_messages *messages, const char *role, const char *content);
void sl_message_drop_last(struct sl_messages *messages); /* nothing if there is none */
void sl_message_done(struct sl_messages *messages);

/* Make the first message the system prompt text; NULL: take it away. -ENOMEM. */
int sl_message_set_system(struct sl_messages *messages, const char *text);
const char *sl_message_get_system(const struct sl_messages *messages); /* or NULL */

/* Whether the last message is of this role. */
bool sl_message_ends_in(const struct sl_messages *messages, const char *role);

/* [{"role": .., "content": ..}, ...] as the next value. */
void sl_message_write(struct sl_jsonwriter *w, const struct sl_messages *messages);

/*
 * Replace the messages by those of a JSON text, as /save writes it ({"messages": [..]})
 * or the bare array. -EBADMSG, -ENOMEM; then they are as before.
 */
int sl_message_parse(struct sl_messages *messages, const char *json, size_t len,
                     struct sl_diag *diag);

/* The messages as the model's template has them, ready for an answer; heap text. */
int sl_message_render(const struct sl_messages *messages, const struct sluice_model *model,
                      char **ret_text, struct sluice_error *error);

/* All ids of a text, on the heap. flags: SLUICE_TOKENIZE_*. */
int sl_message_tokenize(const struct sluice_model *model, const char *text, uint32_t flags,
                        int32_t **ret_ids, size_t *ret_n);

/* -EBADMSG with what ("the prompt") and the byte where it stops being UTF-8. */
int sl_message_check_utf8(const char *what, const char *text, struct sl_diag *diag);

/* Whether the file brings a chat template, known to us or not. */
bool sl_message_has_template(const struct sluice_model *model);

/* Say once on stderr if the file's chat template is not known. */
void sl_message_note_template(const struct sluice_model *model);

/* Text of a model to stdout, at once; on a terminal without control characters, which
 * could do things to it. sl_report_write's results. */
int sl_message_show(const char *text, size_t len, bool is_terminal);
