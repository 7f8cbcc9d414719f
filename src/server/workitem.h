/*
 * One request between its coming and its last byte: what the client sent, what was made of
 * it, and how the answer is sent. One thread at a time owns it (workqueue.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/apiwriter.h"
#include "server/genjob.h"
#include "server/http.h"

struct sl_workitem {
    struct sl_http *http; /* borrowed */
    sl_http_id id;
    uint64_t came_ns;   /* sl_clock_ns */
    int64_t created_ns; /* Unix time */

    /* as it came */
    enum sl_http_method method;
    char *path, *query;
    char *body;
    size_t body_len;

    /* what it means */
    struct sl_apicall *call;
    struct sl_genjob *job; /* of GENERATE */

    /* how a reply to GENERATE is sent */
    struct sl_apiwriter *writer;
    struct sl_strbuf out; /* written, and not sent yet */
    bool has_begun;       /* a stream */
    bool is_ended;        /* nothing more can be sent */

    /* the queue's */
    struct sl_workitem *next, *prev;
    uint32_t stage;
    bool is_gone;
};

/* A copy of a request. NULL: no memory. */
struct sl_workitem *sl_workitem_new(struct sl_http *http, const struct sl_http_request *request);
void sl_workitem_free(struct sl_workitem *item); /* NULL is allowed */

/* Answer in one piece. Whoever is gone does not hear it; a failure is cut off. */
void sl_workitem_reply(struct sl_workitem *item, const struct sl_apireply *reply,
                       const char *body, size_t len);

/* Answer with an error, in the form of the request's API. */
void sl_workitem_error(struct sl_workitem *item, const struct sl_apierror *error);

/* Begin a reply to a call whose work is GENERATE. 0 or -ENOMEM. */
int sl_workitem_begin(struct sl_workitem *item, const struct sl_apienv *env);

/* Write an event of the reply; what flush has not sent yet is kept. Returns 0 or -ECANCELED:
 * nobody listens, or it can no longer be told. */
int sl_workitem_event(struct sl_workitem *item, const struct sl_genevent *event);
int sl_workitem_flush(struct sl_workitem *item);
