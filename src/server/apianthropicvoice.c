/*
 * Replies in Anthropic's form. A stream is a message of blocks, each with a beginning, pieces
 * and an end; a block ends where another kind of text begins. The input that is counted is
 * what was read for this request, without the cached part.
 *
 * A writer's state is the kind of the open block, n_items its index.
 */
#include <string.h>

#include "server/apianthropic.h"
#include "server/apijson.h"
#include "server/sse.h"

enum block {
    NONE = 0,
    TEXT,
    THINKING,
    CALL,
};

static void write_usage(struct sl_apiwriter *w, int64_t n_output_tok)
{
    sl_apijson_object(&w->w, "usage");
    sl_apijson_i64(&w->w, "cache_read_input_tokens", w->counts.n_cached_tok);
    sl_apijson_i64(&w->w, "input_tokens",
                   (int64_t)w->counts.n_prompt_tok - w->counts.n_cached_tok);
    sl_apijson_i64(&w->w, "output_tokens", n_output_tok);
    sl_jsonwriter_end_object(&w->w);
}

static const char *stop_reason(const struct sl_apiwriter *w)
{
    switch (w->finish) {
    case SL_GENFINISH_WORD: return "stop_sequence";
    case SL_GENFINISH_LENGTH: return "max_tokens";
    case SL_GENFINISH_CONTEXT: return "model_context_window_exceeded";
    default: return w->n_calls ? "tool_use" : "end_turn";
    }
}

/* A message up to its content, which the caller writes and ends. */
static void begin_message(struct sl_apiwriter *w)
{
    char id[SL_GENID_BYTES];

    sl_genid_make(id, &w->id, "msg_", 0);
    sl_apijson_text(&w->w, "id", id);
    sl_apijson_text(&w->w, "type", "message");
    sl_apijson_text(&w->w, "role", "assistant");
    sl_apijson_array(&w->w, "content");
}

static void write_stop(struct sl_apiwriter *w, const char *reason)
{
    sl_apijson_text(&w->w, "stop_reason", reason);
    sl_apijson_text(&w->w, "stop_sequence", w->word);
}

/* Parts of the context that were cleared before it was read: none ever is. */
static void write_context(struct sl_apiwriter *w)
{
    if (!(w->call->flags & SL_APIANTHROPIC_CONTEXT))
        return;
    sl_apijson_object(&w->w, "context_management");
    sl_apijson_array(&w->w, "applied_edits");
    sl_jsonwriter_end_array(&w->w);
    sl_jsonwriter_end_object(&w->w);
}

/* An event up to the members that are its own. */
static void begin_event(struct sl_apiwriter *w, const char *type)
{
    sl_jsonwriter_begin_object(&w->w);
    sl_apijson_text(&w->w, "type", type);
}

static void end_event(struct sl_apiwriter *w, const char *type)
{
    sl_jsonwriter_end_object(&w->w);
    sl_apiwriter_send_event(w, type);
}

static void tell_start(struct sl_apiwriter *w)
{
    begin_event(w, "message_start");
    sl_apijson_object(&w->w, "message");
    begin_message(w);
    sl_jsonwriter_end_array(&w->w);
    sl_apijson_text(&w->w, "model", w->env->model);
    write_stop(w, NULL);
    write_usage(w, 0);
    sl_jsonwriter_end_object(&w->w);
    end_event(w, "message_start");
}

static void begin_delta(struct sl_apiwriter *w, const char *type)
{
    begin_event(w, "content_block_delta");
    sl_apijson_i64(&w->w, "index", w->n_items);
    sl_apijson_object(&w->w, "delta");
    sl_apijson_text(&w->w, "type", type);
}

static void end_delta(struct sl_apiwriter *w)
{
    sl_jsonwriter_end_object(&w->w);
    end_event(w, "content_block_delta");
}

static void close_block(struct sl_apiwriter *w)
{
    if (w->state == NONE)
        return;
    if (w->state == THINKING) {
        begin_delta(w, "signature_delta");
        sl_apijson_text(&w->w, "signature", "");
        end_delta(w);
    }
    begin_event(w, "content_block_stop");
    sl_apijson_i64(&w->w, "index", w->n_items++);
    end_event(w, "content_block_stop");
    w->state = NONE;
}

/* Open a block of this kind; call is that of CALL. */
static void open_block(struct sl_apiwriter *w, enum block kind, const struct sl_genevent *event)
{
    close_block(w);
    w->state = kind;
    begin_event(w, "content_block_start");
    sl_apijson_i64(&w->w, "index", w->n_items);
    sl_apijson_object(&w->w, "content_block");
    if (kind == TEXT) {
        sl_apijson_text(&w->w, "type", "text");
        sl_apijson_text(&w->w, "text", "");
    } else if (kind == THINKING) {
        sl_apijson_text(&w->w, "type", "thinking");
        sl_apijson_text(&w->w, "thinking", "");
        sl_apijson_text(&w->w, "signature", "");
    } else {
        sl_apijson_text(&w->w, "type", "tool_use");
        sl_apijson_text(&w->w, "id", event->call.id);
        sl_apijson_text(&w->w, "name", event->call.name);
        sl_apijson_object(&w->w, "input");
        sl_jsonwriter_end_object(&w->w);
    }
    sl_jsonwriter_end_object(&w->w);
    end_event(w, "content_block_start");
}

static void tell_piece(struct sl_apiwriter *w, enum block kind, const struct sl_genevent *event)
{
    static const char *const deltas[][2] = {
        [TEXT] = {"text_delta", "text"},
        [THINKING] = {"thinking_delta", "thinking"},
        [CALL] = {"input_json_delta", "partial_json"},
    };

    if (w->state != kind)
        open_block(w, kind, event);
    begin_delta(w, deltas[kind][0]);
    sl_apijson_text_len(&w->w, deltas[kind][1], event->text.ptr, event->text.len);
    end_delta(w);
}

static void tell_end(struct sl_apiwriter *w)
{
    close_block(w);
    begin_event(w, "message_delta");
    sl_apijson_object(&w->w, "delta");
    write_stop(w, stop_reason(w));
    sl_jsonwriter_end_object(&w->w);
    sl_apijson_object(&w->w, "usage");
    sl_apijson_i64(&w->w, "output_tokens", w->counts.n_predicted_tok);
    sl_jsonwriter_end_object(&w->w);
    write_context(w);
    end_event(w, "message_delta");
    begin_event(w, "message_stop");
    end_event(w, "message_stop");
}

static void tell(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    switch (event->kind) {
    case SL_GENEVENT_START: tell_start(w); break;
    case SL_GENEVENT_TEXT: tell_piece(w, TEXT, event); break;
    case SL_GENEVENT_REASONING: tell_piece(w, THINKING, event); break;
    case SL_GENEVENT_CALL_BEGIN: open_block(w, CALL, event); break;
    case SL_GENEVENT_CALL_ARGUMENTS: tell_piece(w, CALL, event); break;
    case SL_GENEVENT_CALL_END: close_block(w); break;
    case SL_GENEVENT_FINISH: tell_end(w); break;
    default: break;
    }
}

static void write_content(struct sl_apiwriter *w)
{
    if (w->reasoning.len && w->call->gen.reasoning != SL_GENREASONING_HIDDEN) {
        sl_jsonwriter_begin_object(&w->w);
        sl_apijson_text(&w->w, "type", "thinking");
        sl_apijson_text_len(&w->w, "thinking", w->reasoning.ptr, w->reasoning.len);
        sl_apijson_text(&w->w, "signature", "");
        sl_jsonwriter_end_object(&w->w);
    }
    if (w->text.len) {
        sl_jsonwriter_begin_object(&w->w);
        sl_apijson_text(&w->w, "type", "text");
        sl_apijson_text_len(&w->w, "text", w->text.ptr, w->text.len);
        sl_jsonwriter_end_object(&w->w);
    }
    for (uint32_t i = 0; i < w->n_calls; i++) {
        const struct sl_apiwriter_call *call = &w->calls[i];

        sl_jsonwriter_begin_object(&w->w);
        sl_apijson_text(&w->w, "type", "tool_use");
        sl_apijson_text(&w->w, "id", call->id);
        sl_apijson_text(&w->w, "name", call->name);
        sl_apijson_raw(&w->w, "input", call->arguments.len ? call->arguments.ptr : "{}");
        sl_jsonwriter_end_object(&w->w);
    }
}

static void tell_all(struct sl_apiwriter *w)
{
    sl_jsonwriter_begin_object(&w->w);
    begin_message(w);
    write_content(w);
    sl_jsonwriter_end_array(&w->w);
    sl_apijson_text(&w->w, "model", w->env->model);
    write_stop(w, stop_reason(w));
    write_usage(w, w->counts.n_predicted_tok);
    write_context(w);
    sl_jsonwriter_end_object(&w->w);
}

const struct sl_apivoice sl_apianthropic_voice = {
    .stream_type = SL_SSE_TYPE,
    .tell = tell,
    .tell_all = tell_all,
};
