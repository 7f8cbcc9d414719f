/*
 * What all replies have in common: events are collected here, and the voice of the API says
 * what a stream tells of each, or all of it at the end.
 */
#include "server/apiwriter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/apiendpoint.h"
#include "server/apijson.h"
#include "text/vector.h"

#define JSON_TYPE "application/json; charset=utf-8"

int sl_apiwriter_new(struct sl_apiwriter **ret_writer, const struct sl_apicall *call,
                     const struct sl_apienv *env, const struct sl_genid *id, int64_t created_ns)
{
    struct sl_apiwriter *w = calloc(1, sizeof(*w));

    if (!w)
        return -ENOMEM;
    w->call = call;
    w->env = env;
    w->voice = call->endpoint->voice;
    w->id = *id;
    w->created_ns = created_ns;
    w->is_stream = call->gen.flags & SL_GENREQ_STREAM;
    w->status = 200;
    sl_jsonwriter_init(&w->w, NULL, 0);
    *ret_writer = w;
    return 0;
}

void sl_apiwriter_free(struct sl_apiwriter *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; i < w->n_calls; i++) {
        free(w->calls[i].id);
        free(w->calls[i].name);
        sl_strbuf_done(&w->calls[i].arguments);
    }
    free(w->calls);
    sl_strbuf_done(&w->prompt);
    free(w->word);
    sl_apitokens_done(&w->tokens);
    sl_strbuf_done(&w->text);
    sl_strbuf_done(&w->reasoning);
    sl_strbuf_done(&w->items);
    sl_strbuf_done(&w->w.buf);
    free(w);
}

struct sl_apireply sl_apiwriter_reply(const struct sl_apiwriter *w)
{
    return (struct sl_apireply){w->status, w->is_stream ? w->voice->stream_type : JSON_TYPE};
}

bool sl_apiwriter_is_stream(const struct sl_apiwriter *w)
{
    return w->is_stream;
}

int64_t sl_apiwriter_created_s(const struct sl_apiwriter *w)
{
    return w->created_ns / 1000000000;
}

void sl_apiwriter_send_event(struct sl_apiwriter *w, const char *name)
{
    sl_apijson_hand_over(&w->w, w->out, SL_APIJSON_EVENT, name);
}

void sl_apiwriter_send_line(struct sl_apiwriter *w)
{
    sl_apijson_hand_over(&w->w, w->out, SL_APIJSON_LINE, NULL);
}

static int collect_call(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    struct sl_apiwriter_call *call;

    w->call_is_dropped = w->call->gen.flags & SL_GENREQ_ONE_CALL && w->n_calls > 0;
    if (w->call_is_dropped)
        return 0;
    if (sl_vector_grow(&w->calls, &w->calls_cap, w->n_calls, 1) < 0)
        return -ENOMEM;
    call = &w->calls[w->n_calls++];
    *call = (struct sl_apiwriter_call){
        .id = strdup(event->call.id),
        .name = strdup(event->call.name),
    };
    return call->id && call->name ? 0 : -ENOMEM;
}

static int collect_text(struct sl_strbuf *buf, const struct sl_genevent *event)
{
    sl_strbuf_add(buf, event->text.ptr, event->text.len);
    return buf->error;
}

static int collect(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    w->counts = event->counts;
    switch (event->kind) {
    case SL_GENEVENT_START:
        w->slot = event->start.slot;
        w->seed = event->start.seed;
        sl_strbuf_add(&w->prompt, event->start.prompt, event->start.prompt_len);
        return w->prompt.error;
    case SL_GENEVENT_TOKEN: return sl_apitokens_add(&w->tokens, event);
    case SL_GENEVENT_TEXT:
        w->has_new_line = w->has_new_line || memchr(event->text.ptr, '\n', event->text.len);
        return collect_text(&w->text, event);
    case SL_GENEVENT_REASONING: return collect_text(&w->reasoning, event);
    case SL_GENEVENT_CALL_BEGIN: return collect_call(w, event);
    case SL_GENEVENT_CALL_ARGUMENTS:
        return w->call_is_dropped ? 0 : collect_text(&w->calls[w->n_calls - 1].arguments, event);
    case SL_GENEVENT_FINISH:
        w->finish = event->finish.reason;
        if (!event->finish.word)
            return 0;
        w->word = strdup(event->finish.word);
        return w->word ? 0 : -ENOMEM;
    default: return 0;
    }
}

/* Whether the API is to hear of it. */
static bool is_told(const struct sl_apiwriter *w, const struct sl_genevent *event)
{
    bool of_call = event->kind >= SL_GENEVENT_CALL_BEGIN && event->kind <= SL_GENEVENT_CALL_END;

    if (event->kind == SL_GENEVENT_REASONING)
        return w->call->gen.reasoning != SL_GENREASONING_HIDDEN;
    return !(of_call && w->call_is_dropped);
}

static void tell_error(struct sl_apiwriter *w, const struct sl_apierror *error)
{
    enum sl_apiform form = w->call->endpoint->form;

    if (w->is_stream && w->has_begun) {
        if (w->voice->tell_error)
            w->voice->tell_error(w, error);
        else
            sl_apierror_write_stream(error, form, w->out);
        return;
    }
    w->is_stream = false;
    w->status = error->status;
    sl_apierror_write(error, form, w->out);
}

static void tell(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    struct sl_apierror error;

    if (event->kind == SL_GENEVENT_ERROR) {
        tell_error(w, event->error);
    } else if (event->kind == SL_GENEVENT_FINISH && w->finish == SL_GENFINISH_CANCELLED) {
        (void)sl_apierror_set(&error, -ECANCELED, 503, NULL,
                              "cancelled: the server is shutting down");
        tell_error(w, &error);
    } else if (w->is_stream) {
        w->voice->tell(w, event);
    } else if (event->kind == SL_GENEVENT_FINISH) {
        w->voice->tell_all(w);
        sl_apijson_hand_over(&w->w, w->out, SL_APIJSON_BODY, NULL);
    }
}

int sl_apiwriter_write(struct sl_apiwriter *w, const struct sl_genevent *event,
                       struct sl_strbuf *out)
{
    size_t len = out->len;
    int r = collect(w, event);

    if (r < 0)
        return r;
    w->out = out;
    if (is_told(w, event))
        tell(w, event);
    else if (event->kind == SL_GENEVENT_REASONING)
        sl_apitokens_clear(&w->tokens);
    w->out = NULL;
    w->has_begun = w->has_begun || out->len > len;
    return out->error;
}
