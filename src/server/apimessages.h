/*
 * A conversation in the form that struct sl_genreq takes, built message by message by the
 * front ends. What the last message, the assistant's, has said so far becomes what its next
 * turn begins with. Faults as in apiobject.h. One thread at a time per parse.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/jsonwriter.h"
#include "base/strbuf.h"
#include "server/apiobject.h"

#define SL_APIMESSAGES_CALLS_MAX 1024 /* of one message */

struct sl_apimessages {
    struct sl_apiparse *parse;
    struct sl_jsonwriter w; /* the array of finished ones */
    size_t n;               /* of these */
    /* The one that is being built. */
    const char *role; /* constant; NULL: none */
    struct sl_strbuf content, thinking;
    struct sl_jsonwriter calls;
    size_t n_calls;
    const char *call_id, *name; /* borrowed from the request; NULL */
};

/* done after it in any case. */
void sl_apimessages_init(struct sl_apimessages *m, struct sl_apiparse *parse);
void sl_apimessages_done(struct sl_apimessages *m);

/* Begin a message; the one before it is finished. Or finish it and begin none. */
void sl_apimessages_begin(struct sl_apimessages *m, const char *role);
void sl_apimessages_close(struct sl_apimessages *m);
void sl_apimessages_add_text(struct sl_apimessages *m, const char *text, size_t len);
void sl_apimessages_add_thinking(struct sl_apimessages *m, const char *text, size_t len);

/*
 * Add a call, which a member of o named key is, to the assistant's message: arguments are
 * an object, JSON text of one, or absent. id may be NULL.
 */
void sl_apimessages_add_call(struct sl_apimessages *m, struct sl_apiobject *o, const char *key,
                             const char *id, const char *name);

/*
 * The text of a member that is a text, or a list of texts and objects {"type": one of the
 * n_types types, "text"}. Others, images among them, are refused.
 */
void sl_apimessages_add_content(struct sl_apimessages *m, struct sl_apiobject *o, const char *key,
                                const char *const *types, size_t n_types);

/* Hand the conversation over to the request; it must have a message. */
void sl_apimessages_finish(struct sl_apimessages *m, struct sl_apiobject *o, const char *key);

/* The list "messages" as OpenAI and Ollama have it. */
void sl_apimessages_read(struct sl_apiobject *o);
