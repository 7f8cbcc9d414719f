/*
 * How the front ends are put together: each has a list of endpoints, and a voice for each
 * kind of reply to a request to generate. api.c looks endpoints up, apiwriter.c drives the
 * voices. Internal to the APIs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/jsonwriter.h"
#include "server/api.h"
#include "server/apiobject.h"
#include "server/apitokens.h"
#include "server/genevent.h"
#include "server/genid.h"

/* What sl_api_answer is given. */
struct sl_apianswer {
    const struct sl_apicall *call;
    const struct sl_apienv *env;
    const struct sl_apistate *state;
    const struct sl_apitext *text; /* NULL for SL_APIWORK_STATE */
    struct sl_jsonwriter w;        /* for the body, unless it is no JSON ... */
    struct sl_strbuf *out;         /* ... and is written here */
    struct sl_apireply reply;
    struct sl_apierror *error;
};

struct sl_apivoice;

enum {
    SL_APIENDPOINT_PUBLIC = 1, /* no key is asked for */
    SL_APIENDPOINT_STATIC = 2, /* answered while loading */
    SL_APIENDPOINT_BODY = 4,   /* a JSON object as body */
    SL_APIENDPOINT_MAY_BODY = 8, /* the same, or none */
};

struct sl_apiendpoint {
    enum sl_http_method method;
    const char *pattern;
    enum sl_apiform form;
    enum sl_apiwork work;
    uint32_t flags;
    /* Fill in the call; what the pattern's asterisk stands for is in call->name. May be NULL. */
    void (*parse)(struct sl_apiobject *body);
    /* Of STATE and TEXT: write the body. 0, or a negative errno with the error filled in. */
    int (*answer)(struct sl_apianswer *a);
    const struct sl_apivoice *voice; /* of GENERATE */
};

struct sl_apilist {
    const struct sl_apiendpoint *endpoints;
    size_t n;
};

/* A call of a reply. */
struct sl_apiwriter_call {
    char *id, *name;
    struct sl_strbuf arguments;
};

/* A reply on its way. */
struct sl_apiwriter {
    const struct sl_apicall *call;
    const struct sl_apienv *env;
    const struct sl_apivoice *voice;
    struct sl_genid id;
    int64_t created_ns;
    struct sl_jsonwriter w; /* the piece at hand */
    struct sl_strbuf *out;  /* of the write at hand */

    bool is_stream; /* what is written is one */
    bool has_begun; /* something was written */
    int status;

    struct sl_gencounts counts; /* of the event at hand */
    uint32_t slot;
    uint64_t seed;
    struct sl_strbuf prompt;    /* of the start event */
    struct sl_apitokens tokens; /* those not yet told */
    struct sl_strbuf text, reasoning; /* of the whole reply, or since the voice cut them */
    struct sl_apiwriter_call *calls;
    uint32_t n_calls, calls_cap;
    bool call_is_dropped; /* the one at hand: of several only the first is wanted */
    enum sl_genfinish finish;
    char *word;

    bool has_new_line; /* text has */

    /* For the voice alone. */
    uint32_t state, n_events, n_items;
    struct sl_strbuf items;
    uint32_t token_first, token_told;
    size_t text_off;
};

/*
 * How an API tells what the writer has collected. Each writes to out by way of w; errors of
 * memory are kept in these.
 */
struct sl_apivoice {
    const char *stream_type; /* Content-Type */
    /* A stream's next piece: what the event makes of it, after it was collected. Hidden
     * reasoning and dropped calls do not come here. */
    void (*tell)(struct sl_apiwriter *w, const struct sl_genevent *event);
    /* All of a reply in one piece. */
    void (*tell_all)(struct sl_apiwriter *w);
    /* A stream that ends in an error; NULL: in the form of the endpoint. */
    void (*tell_error)(struct sl_apiwriter *w, const struct sl_apierror *error);
};

/* Unix time in seconds. */
int64_t sl_apiwriter_created_s(const struct sl_apiwriter *w);

/* Hand w->w over as an event of SSE, called name unless that is NULL, or as a line. */
void sl_apiwriter_send_event(struct sl_apiwriter *w, const char *name);
void sl_apiwriter_send_line(struct sl_apiwriter *w);
