/*
 * The first piece of a stream begins it: until something is written, an error can still be an
 * answer of its own. What cannot be sent for want of memory is cut off, so that no client
 * takes a part for the whole.
 */
#include "server/workitem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "server/promptjob.h"
#include "server/sse.h"

#define PING_S 30 /* where a request does not say */
#define RETRY_HEADER "Retry-After: 1\r\n"
#define STREAM_HEADERS "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"

struct sl_workitem *sl_workitem_new(struct sl_http *http, const struct sl_http_request *request)
{
    struct sl_workitem *item = calloc(1, sizeof(*item));
    struct timespec now;

    if (!item)
        return NULL;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    item->http = http;
    item->id = sl_http_request_id(request);
    item->came_ns = sl_clock_ns();
    item->created_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    item->method = sl_http_request_method(request);
    item->path = strdup(sl_http_request_path(request));
    item->query = strdup(sl_http_request_query(request));
    item->body_len = sl_http_request_body_len(request);
    item->body = malloc(item->body_len + 1);
    if (!item->path || !item->query || !item->body) {
        sl_workitem_free(item);
        return NULL;
    }
    sl_http_request_copy_body(request, item->body);
    item->body[item->body_len] = '\0';
    return item;
}

void sl_workitem_free(struct sl_workitem *item)
{
    if (!item)
        return;
    sl_apiwriter_free(item->writer);
    sl_promptjob_free(item->job);
    sl_apicall_free(item->call);
    sl_strbuf_done(&item->out);
    free(item->path);
    free(item->query);
    free(item->body);
    free(item);
}

/* The end of an answer: r is what sending it returned. */
static void end(struct sl_workitem *item, int r)
{
    item->is_ended = true;
    if (r == -ENOMEM)
        (void)sl_http_abort(item->http, item->id); /* or the client is gone already */
}

static void reply_with(struct sl_workitem *item, const struct sl_apireply *reply,
                       const char *headers, const char *body, size_t len)
{
    struct sl_http_reply head = {.status = reply->status, .type = reply->type,
                                 .headers = headers};

    end(item, sl_http_reply(item->http, item->id, &head, body ? body : "", len));
}

void sl_workitem_reply(struct sl_workitem *item, const struct sl_apireply *reply,
                       const char *body, size_t len)
{
    bool is_busy = reply->status == 429 || reply->status == 503;

    reply_with(item, reply, is_busy ? RETRY_HEADER : NULL, body, len);
}

void sl_workitem_error(struct sl_workitem *item, const struct sl_apierror *error)
{
    struct sl_apireply reply = {.status = error->status,
                                .type = "application/json; charset=utf-8"};
    struct sl_strbuf body = {0};

    sl_apierror_write(error, item->call ? sl_apicall_form(item->call) : sl_api_form(item->path),
                      &body);
    if (body.error)
        end(item, -ENOMEM);
    else
        sl_workitem_reply(item, &reply, body.ptr, body.len);
    sl_strbuf_done(&body);
}

int sl_workitem_begin(struct sl_workitem *item, const struct sl_apienv *env)
{
    return sl_apiwriter_new(&item->writer, item->call, env, &item->job->genid, item->created_ns);
}

static int begin_stream(struct sl_workitem *item)
{
    struct sl_apireply reply = sl_apiwriter_reply(item->writer);
    bool is_sse = strncmp(reply.type, SL_SSE_TYPE, strlen(SL_SSE_TYPE)) == 0;
    int32_t ping_s = item->call->gen.ping_s < 0 ? PING_S : item->call->gen.ping_s;
    struct sl_http_reply head = {
        .status = reply.status,
        .type = reply.type,
        .headers = STREAM_HEADERS,
        .ping_ms = is_sse ? (uint32_t)ping_s * 1000 : 0,
        .ping = is_sse ? SL_SSE_PING : NULL,
    };

    item->has_begun = true;
    return sl_http_begin(item->http, item->id, &head);
}

/* Send what is written of a stream. */
static int send_out(struct sl_workitem *item)
{
    int r = 0;

    if (item->out.len == 0)
        return 0;
    if (!item->has_begun)
        r = begin_stream(item);
    if (r == 0)
        r = sl_http_write(item->http, item->id, item->out.ptr, item->out.len);
    sl_strbuf_cut(&item->out, 0);
    if (r < 0)
        end(item, r);
    return r < 0 ? -ECANCELED : 0;
}

static int send_last(struct sl_workitem *item)
{
    struct sl_apireply reply = sl_apiwriter_reply(item->writer);

    if (!sl_apiwriter_is_stream(item->writer)) {
        sl_workitem_reply(item, &reply, item->out.ptr, item->out.len);
        return 0;
    }
    if (send_out(item) < 0)
        return -ECANCELED;
    end(item, sl_http_end(item->http, item->id));
    return 0;
}

int sl_workitem_event(struct sl_workitem *item, const struct sl_genevent *event)
{
    bool is_last = event->kind == SL_GENEVENT_FINISH || event->kind == SL_GENEVENT_ERROR;

    if (item->is_ended)
        return -ECANCELED;
    if (sl_apiwriter_write(item->writer, event, &item->out) < 0) {
        end(item, -ENOMEM);
        return -ECANCELED;
    }
    return is_last ? send_last(item) : 0;
}

int sl_workitem_flush(struct sl_workitem *item)
{
    if (item->is_ended || !sl_apiwriter_is_stream(item->writer))
        return 0;
    return send_out(item);
}
