/*
 * Responses: a list of items, each of which a stream opens, fills and closes. Every event has
 * a sequence number; those of an item have its index and, but for calls, that of its only
 * part. The first and last events hold the response itself, as a reply in one piece is.
 *
 * A writer's state is the kind of the open item, n_items its index, items the closed ones as
 * JSON. Its text is what was collected from text_off on, its tokens those from token_first;
 * those before token_told were told with a piece.
 */
#include <errno.h>
#include <string.h>

#include "server/apijson.h"
#include "server/apiresponses.h"
#include "server/sse.h"

enum item {
    NONE = 0,
    MESSAGE,
    REASONING,
    CALL,
};

/* Prefixes of ids; names of parts and of the events of their text. */
static const struct {
    const char *prefix, *part, *delta, *done;
} kinds[] = {
    [MESSAGE] = {"msg_", "output_text", "response.output_text.delta",
                 "response.output_text.done"},
    [REASONING] = {"rs_", "reasoning_text", "response.reasoning_text.delta",
                   "response.reasoning_text.done"},
    [CALL] = {"fc_", NULL, "response.function_call_arguments.delta",
              "response.function_call_arguments.done"},
};

struct span {
    const char *ptr;
    size_t len;
};

static void make_item_id(const struct sl_apiwriter *w, enum item kind, uint32_t index,
                         char out[SL_GENID_BYTES])
{
    sl_genid_make(out, &w->id, kinds[kind].prefix, 1 + index);
}

/* An event up to the members that are its own. */
static void begin_event(struct sl_apiwriter *w, const char *type)
{
    sl_jsonwriter_begin_object(&w->w);
    sl_apijson_text(&w->w, "type", type);
    sl_apijson_i64(&w->w, "sequence_number", w->n_events++);
}

static void end_event(struct sl_apiwriter *w, const char *type)
{
    sl_jsonwriter_end_object(&w->w);
    sl_apiwriter_send_event(w, type);
}

/* An event of the open item. */
static void begin_item_event(struct sl_apiwriter *w, const char *type)
{
    char id[SL_GENID_BYTES];

    begin_event(w, type);
    make_item_id(w, w->state, w->n_items, id);
    sl_apijson_text(&w->w, "item_id", id);
    sl_apijson_i64(&w->w, "output_index", w->n_items);
    if (w->state != CALL)
        sl_apijson_i64(&w->w, "content_index", 0);
}

static void write_probs(struct sl_apiwriter *w, struct sl_jsonwriter *j, uint32_t first)
{
    sl_jsonwriter_key(j, "logprobs");
    sl_apitokens_write_probs(&w->tokens, first, 0, j);
}

/* The only part of a message or of reasoning. */
static void write_part(struct sl_apiwriter *w, struct sl_jsonwriter *j, enum item kind,
                       struct span text)
{
    sl_jsonwriter_begin_object(j);
    sl_apijson_text(j, "type", kinds[kind].part);
    if (kind == MESSAGE) {
        sl_apijson_array(j, "annotations");
        sl_jsonwriter_end_array(j);
        write_probs(w, j, text.len ? w->token_first : w->tokens.n);
    }
    sl_apijson_text_len(j, "text", text.len ? text.ptr : "", text.len);
    sl_jsonwriter_end_object(j);
}

/* A message or reasoning; without text it has no part yet. */
static void write_text_item(struct sl_apiwriter *w, struct sl_jsonwriter *j, enum item kind,
                            uint32_t index, struct span text, const char *status)
{
    char id[SL_GENID_BYTES];

    make_item_id(w, kind, index, id);
    sl_jsonwriter_begin_object(j);
    if (kind == REASONING) {
        sl_apijson_array(j, "summary");
        sl_jsonwriter_end_array(j);
    }
    sl_apijson_array(j, "content");
    if (text.len)
        write_part(w, j, kind, text);
    sl_jsonwriter_end_array(j);
    sl_apijson_text(j, "id", id);
    if (kind == MESSAGE)
        sl_apijson_text(j, "role", "assistant");
    sl_apijson_text(j, "status", status);
    sl_apijson_text(j, "type", kind == MESSAGE ? "message" : "reasoning");
    sl_jsonwriter_end_object(j);
}

static void write_call_item(struct sl_apiwriter *w, struct sl_jsonwriter *j, uint32_t index,
                            const struct sl_apiwriter_call *call, const char *status)
{
    const struct sl_strbuf *arguments = &call->arguments;
    char id[SL_GENID_BYTES];

    make_item_id(w, CALL, index, id);
    sl_jsonwriter_begin_object(j);
    sl_apijson_text(j, "type", "function_call");
    sl_apijson_text(j, "status", status);
    sl_apijson_text_len(j, "arguments", arguments->len ? arguments->ptr : "", arguments->len);
    sl_apijson_text(j, "call_id", call->id);
    sl_apijson_text(j, "name", call->name);
    sl_apijson_text(j, "id", id);
    sl_jsonwriter_end_object(j);
}

/* What the open item has so far. */
static struct span text_of(const struct sl_apiwriter *w)
{
    const struct sl_strbuf *buf = w->state == REASONING ? &w->reasoning : &w->text;

    if (w->state == CALL)
        return (struct span){w->calls[w->n_calls - 1].arguments.ptr,
                             w->calls[w->n_calls - 1].arguments.len};
    return (struct span){buf->ptr ? buf->ptr + w->text_off : NULL, buf->len - w->text_off};
}

static void write_open_item(struct sl_apiwriter *w, struct sl_jsonwriter *j, const char *status)
{
    if (w->state == CALL)
        write_call_item(w, j, w->n_items, &w->calls[w->n_calls - 1], status);
    else
        write_text_item(w, j, w->state, w->n_items,
                        strcmp(status, "in_progress") ? text_of(w) : (struct span){NULL, 0},
                        status);
}

static void tell_part(struct sl_apiwriter *w, const char *type, struct span text)
{
    begin_item_event(w, type);
    sl_jsonwriter_key(&w->w, "part");
    write_part(w, &w->w, w->state, text);
    end_event(w, type);
}

static void open_item(struct sl_apiwriter *w, enum item kind)
{
    w->state = kind;
    w->token_first = w->token_told;
    begin_event(w, "response.output_item.added");
    sl_apijson_i64(&w->w, "output_index", w->n_items);
    sl_jsonwriter_key(&w->w, "item");
    write_open_item(w, &w->w, "in_progress");
    end_event(w, "response.output_item.added");
    if (kind != CALL)
        tell_part(w, "response.content_part.added", (struct span){NULL, 0});
}

static void tell_done(struct sl_apiwriter *w)
{
    const char *type = kinds[w->state].done;
    struct span text = text_of(w);

    begin_item_event(w, type);
    if (w->state == CALL)
        sl_apijson_text(&w->w, "name", w->calls[w->n_calls - 1].name);
    sl_apijson_text_len(&w->w, w->state == CALL ? "arguments" : "text", text.len ? text.ptr : "",
                        text.len);
    if (w->state == MESSAGE)
        write_probs(w, &w->w, w->token_first);
    end_event(w, type);
    if (w->state != CALL)
        tell_part(w, "response.content_part.done", text);
}

/* Keep what j wrote, an item, for the end. */
static void keep_item(struct sl_apiwriter *w, struct sl_jsonwriter *j)
{
    if (w->items.len)
        sl_strbuf_add(&w->items, ",", 1);
    sl_apijson_hand_over(j, &w->items, SL_APIJSON_BODY, NULL);
    w->n_items++;
}

static void close_item(struct sl_apiwriter *w, const char *status)
{
    struct sl_jsonwriter j;

    if (w->state == NONE)
        return;
    tell_done(w);
    begin_event(w, "response.output_item.done");
    sl_apijson_i64(&w->w, "output_index", w->n_items);
    sl_jsonwriter_key(&w->w, "item");
    write_open_item(w, &w->w, status);
    end_event(w, "response.output_item.done");
    sl_jsonwriter_init(&j, NULL, 0);
    write_open_item(w, &j, status);
    keep_item(w, &j);
    w->state = NONE;
}

static void tell_delta(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    const char *type = kinds[w->state].delta;

    begin_item_event(w, type);
    sl_apijson_text_len(&w->w, "delta", event->text.ptr, event->text.len);
    if (w->state == MESSAGE)
        write_probs(w, &w->w, w->token_told);
    end_event(w, type);
    w->token_told = w->tokens.n;
}

static void tell_text(struct sl_apiwriter *w, enum item kind, const struct sl_genevent *event)
{
    const struct sl_strbuf *buf = kind == REASONING ? &w->reasoning : &w->text;

    if (w->state != kind) {
        close_item(w, "completed");
        w->text_off = buf->len - event->text.len;
        open_item(w, kind);
    }
    tell_delta(w, event);
}

static void write_usage(struct sl_apiwriter *w)
{
    const struct sl_gencounts *c = &w->counts;

    sl_apijson_object(&w->w, "usage");
    sl_apijson_i64(&w->w, "input_tokens", c->n_prompt_tok);
    sl_apijson_i64(&w->w, "output_tokens", c->n_predicted_tok);
    sl_apijson_i64(&w->w, "total_tokens", (int64_t)c->n_prompt_tok + c->n_predicted_tok);
    sl_apijson_object(&w->w, "input_tokens_details");
    sl_apijson_i64(&w->w, "cached_tokens", c->n_cached_tok);
    sl_apijson_i64(&w->w, "cache_write_tokens", 0);
    sl_jsonwriter_end_object(&w->w);
    sl_apijson_object(&w->w, "output_tokens_details");
    sl_apijson_i64(&w->w, "reasoning_tokens", c->n_reasoning_tok);
    sl_jsonwriter_end_object(&w->w);
    sl_jsonwriter_end_object(&w->w);
}

static void write_echo(struct sl_apiwriter *w)
{
    const char *echo = w->call->echo_json, *key;
    const struct sl_json *value;
    struct sl_json_iter iter = {0};
    struct sl_json_doc *doc = NULL;

    /* it was written here: nothing but memory can be wrong with it */
    if (sl_json_parse(&doc, echo, strlen(echo), NULL) < 0) {
        w->w.buf.error = -ENOMEM;
        return;
    }
    while (sl_json_next(sl_json_root(doc), &iter, &key, &value)) {
        sl_jsonwriter_key(&w->w, key);
        sl_jsonwriter_value(&w->w, value);
    }
    sl_json_free(doc);
}

/* Why a response failed, or is not complete. */
static void write_fault(struct sl_jsonwriter *j, const char *status,
                        const struct sl_apierror *error)
{
    if (error) {
        sl_apijson_object(j, "error");
        sl_apijson_text(j, "code", "server_error");
        sl_apijson_text(j, "message", error->message.text);
        sl_jsonwriter_end_object(j);
    } else {
        sl_apijson_null(j, "error");
    }
    if (strcmp(status, "incomplete") == 0) {
        sl_apijson_object(j, "incomplete_details");
        sl_apijson_text(j, "reason", "max_output_tokens");
        sl_jsonwriter_end_object(j);
    } else {
        sl_apijson_null(j, "incomplete_details");
    }
}

/* The response as it stands; error is of one that failed, or NULL. */
static void write_response(struct sl_apiwriter *w, const char *status,
                           const struct sl_apierror *error)
{
    struct sl_jsonwriter *j = &w->w;
    int64_t created_s = sl_apiwriter_created_s(w);
    bool is_over = strcmp(status, "in_progress") != 0;
    char id[SL_GENID_BYTES];

    sl_genid_make(id, &w->id, "resp_", 0);
    sl_jsonwriter_begin_object(j);
    if (strcmp(status, "completed") == 0)
        sl_apijson_i64(j, "completed_at", created_s + (int64_t)(w->counts.total_ms / 1e3));
    sl_apijson_i64(j, "created_at", created_s);
    sl_apijson_text(j, "id", id);
    sl_apijson_text(j, "model", w->env->model);
    sl_apijson_text(j, "object", "response");
    sl_apijson_array(j, "output");
    if (w->items.len)
        sl_jsonwriter_raw(j, w->items.ptr, w->items.len);
    sl_jsonwriter_end_array(j);
    sl_apijson_text(j, "status", status);
    if (is_over)
        write_usage(w);
    write_fault(j, status, error);
    write_echo(w);
    sl_jsonwriter_end_object(j);
    if (w->items.error)
        j->buf.error = w->items.error;
}

static void tell_response(struct sl_apiwriter *w, const char *type, const char *status,
                          const struct sl_apierror *error)
{
    begin_event(w, type);
    sl_jsonwriter_key(&w->w, "response");
    write_response(w, status, error);
    end_event(w, type);
}

static const char *status_of(const struct sl_apiwriter *w)
{
    bool is_full = w->finish == SL_GENFINISH_LENGTH || w->finish == SL_GENFINISH_CONTEXT;

    return is_full ? "incomplete" : "completed";
}

static void tell_end(struct sl_apiwriter *w)
{
    const char *status = status_of(w);

    close_item(w, status);
    tell_response(w, status[0] == 'i' ? "response.incomplete" : "response.completed", status,
                  NULL);
}

static void tell(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    switch (event->kind) {
    case SL_GENEVENT_START:
        tell_response(w, "response.created", "in_progress", NULL);
        tell_response(w, "response.in_progress", "in_progress", NULL);
        break;
    case SL_GENEVENT_TEXT: tell_text(w, MESSAGE, event); break;
    case SL_GENEVENT_REASONING: tell_text(w, REASONING, event); break;
    case SL_GENEVENT_CALL_BEGIN:
        close_item(w, "completed");
        open_item(w, CALL);
        break;
    case SL_GENEVENT_CALL_ARGUMENTS: tell_delta(w, event); break;
    case SL_GENEVENT_CALL_END: close_item(w, "completed"); break;
    case SL_GENEVENT_FINISH: tell_end(w); break;
    default: break;
    }
}

static void tell_error(struct sl_apiwriter *w, const struct sl_apierror *error)
{
    close_item(w, "incomplete");
    tell_response(w, "response.failed", "failed", error);
    begin_event(w, "error");
    sl_apijson_text(&w->w, "code", "server_error");
    sl_apijson_text(&w->w, "message", error->message.text);
    sl_apijson_null(&w->w, "param");
    end_event(w, "error");
}

/* A message or reasoning of a reply that was not streamed. */
static void keep_text(struct sl_apiwriter *w, enum item kind, const struct sl_strbuf *text,
                      const char *status)
{
    struct sl_jsonwriter j;

    sl_jsonwriter_init(&j, NULL, 0);
    write_text_item(w, &j, kind, w->n_items, (struct span){text->ptr, text->len}, status);
    keep_item(w, &j);
}

static void tell_all(struct sl_apiwriter *w)
{
    const char *status = status_of(w);
    struct sl_jsonwriter j;

    if (w->reasoning.len && w->call->gen.reasoning != SL_GENREASONING_HIDDEN)
        keep_text(w, REASONING, &w->reasoning, status);
    if (w->text.len || w->n_calls == 0)
        keep_text(w, MESSAGE, &w->text, status);
    for (uint32_t i = 0; i < w->n_calls; i++) {
        sl_jsonwriter_init(&j, NULL, 0);
        write_call_item(w, &j, w->n_items, &w->calls[i], "completed");
        keep_item(w, &j);
    }
    write_response(w, status, NULL);
}

const struct sl_apivoice sl_apiresponses_voice = {
    .stream_type = SL_SSE_TYPE,
    .tell = tell,
    .tell_all = tell_all,
    .tell_error = tell_error,
};
