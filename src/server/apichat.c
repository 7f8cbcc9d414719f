/*
 * Keys and their order are llama.cpp's, with what OpenAI's schema requires beside them
 * ("refusal", "logprobs"). A stream begins with the role and ends with [DONE]; its timings
 * are in the last piece that has any, with the usage if that is asked for.
 */
#include "server/apichat.h"

#include <string.h>

#include "server/apiformat.h"
#include "server/apijson.h"
#include "server/apimessages.h"
#include "server/apioptions.h"
#include "server/apisampling.h"
#include "server/apitools.h"
#include "server/apiusage.h"
#include "server/sse.h"

#define DONE "data: [DONE]\n\n"

static void read_logprobs(struct sl_apiobject *o)
{
    struct sl_genreq *gen = &o->parse->call->gen;
    bool wanted = false;
    int64_t n = 0;

    sl_apioptions_read_probs(o);
    (void)sl_apiobject_bool(o, "logprobs", &wanted); /* absent: not wanted */
    if (wanted)
        gen->flags |= SL_GENREQ_LOGPROBS;
    if (!sl_apiobject_i64(o, "top_logprobs", 0, SL_APIOPTIONS_TOP_MAX, &n))
        return;
    if (!wanted && n > 0)
        sl_apiobject_fail(o, "top_logprobs", "needs logprobs to be true");
    gen->n_top = (uint32_t)n;
}

static void read_reasoning(struct sl_apiobject *o)
{
    static const struct sl_apirefusal kwargs[] = {
        {"keep_past_thinking", SL_APINEUTRAL_ZERO, NULL},
        {"preserve_thinking", SL_APINEUTRAL_ZERO, NULL},
    };
    struct sl_genreq *gen = &o->parse->call->gen;
    struct sl_apiobject args = sl_apiobject_object(o, "chat_template_kwargs");
    const char *format = sl_apiobject_text(o, "reasoning_format", NULL);
    bool parses = true, thinks = true;

    sl_apisampling_refuse(&args, kwargs, sizeof(kwargs) / sizeof(kwargs[0]));
    sl_apioptions_read_effort(o, "reasoning_effort");
    if (sl_apiobject_bool(&args, "enable_thinking", &thinks) && !thinks)
        gen->reasoning = SL_GENREASONING_HIDDEN;
    if (sl_apiobject_bool(o, "parse_tool_calls", &parses) && !parses)
        gen->flags &= ~(uint32_t)SL_GENREQ_CALLS;
    if (!format)
        return;
    if (strcmp(format, "none") == 0)
        gen->reasoning = SL_GENREASONING_TEXT;
    else if (strcmp(format, "auto") != 0 && strcmp(format, "deepseek") != 0)
        sl_apiobject_fail(o, "reasoning_format",
                          "\"none\", \"auto\" or \"deepseek\" expected, found \"%.60s\"", format);
}

/* Whether the modalities asked for are text alone. */
static void check_modalities(struct sl_apiobject *o)
{
    const struct sl_json *list = sl_apiobject_get(o, "modalities", SL_JSON_ARRAY);

    for (size_t i = 0; i < sl_json_n_items(list); i++) {
        const char *name = sl_json_get_string(sl_json_item(list, i), NULL);

        if (!name || strcmp(name, "text") != 0)
            sl_apiobject_fail(o, "modalities", "only \"text\" is supported");
    }
}

void sl_apichat_parse(struct sl_apiobject *o)
{
    static const struct sl_apirefusal refusals[] = {
        {"functions", SL_APINEUTRAL_EMPTY, "use tools"},
        {"function_call", SL_APINEUTRAL_NONE, "use tool_choice"},
        {"audio", SL_APINEUTRAL_NONE, NULL},
        {"moderation", SL_APINEUTRAL_NONE, NULL},
        {"web_search_options", SL_APINEUTRAL_NONE, NULL},
    };

    sl_apioptions_read(o);
    read_logprobs(o);
    sl_apisampling_refuse(o, refusals, sizeof(refusals) / sizeof(refusals[0]));
    check_modalities(o);
    sl_apitools_read(o, "tools");
    sl_apitools_read_choice(o);
    read_reasoning(o);
    sl_apiformat_read_grammar(o);
    sl_apiformat_read_response(o, "response_format");
    sl_apimessages_read(o);
    sl_apiformat_finish(o->parse);
}

static const char *finish_reason(const struct sl_apiwriter *w)
{
    if (w->finish == SL_GENFINISH_LENGTH || w->finish == SL_GENFINISH_CONTEXT)
        return "length";
    return w->n_calls ? "tool_calls" : "stop";
}

static void write_logprobs(struct sl_apiwriter *w)
{
    sl_apijson_object(&w->w, "logprobs");
    sl_jsonwriter_key(&w->w, "content");
    sl_apitokens_write_probs(&w->tokens, 0, SL_APITOKENS_IDS, &w->w);
    sl_apijson_null(&w->w, "refusal");
    sl_jsonwriter_end_object(&w->w);
    sl_apitokens_clear(&w->tokens);
}

/* Open a chunk, up to its delta, which the caller writes and ends. */
static void begin_chunk(struct sl_apiwriter *w, const char *reason)
{
    sl_jsonwriter_begin_object(&w->w);
    sl_apijson_array(&w->w, "choices");
    sl_jsonwriter_begin_object(&w->w);
    sl_apijson_text(&w->w, "finish_reason", reason);
    sl_apijson_i64(&w->w, "index", 0);
    sl_apijson_object(&w->w, "delta");
}

/* What all chunks have after the choices. */
static void write_tail(struct sl_apiwriter *w)
{
    char id[SL_GENID_BYTES];

    sl_genid_make(id, &w->id, "chatcmpl-", 0);
    sl_apijson_i64(&w->w, "created", sl_apiwriter_created_s(w));
    sl_apijson_text(&w->w, "id", id);
    sl_apijson_text(&w->w, "model", w->env->model);
    sl_apijson_text(&w->w, "system_fingerprint", w->env->fingerprint);
    sl_apijson_text(&w->w, "object", "chat.completion.chunk");
}

/* From behind the delta to the end, and away. */
static void end_chunk(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    uint32_t flags = w->call->gen.flags;
    bool is_last = event->kind == SL_GENEVENT_FINISH;

    sl_jsonwriter_end_object(&w->w);
    if (flags & SL_GENREQ_LOGPROBS && w->tokens.n)
        write_logprobs(w);
    sl_jsonwriter_end_object(&w->w);
    sl_jsonwriter_end_array(&w->w);
    write_tail(w);
    if (event->kind == SL_GENEVENT_PROGRESS)
        sl_apiusage_write_progress(event, &w->w);
    else if (is_last ? !(flags & SL_GENREQ_USAGE)
                     : flags & SL_GENREQ_TIMINGS && event->kind != SL_GENEVENT_START)
        sl_apiusage_write_timings(&w->counts, &w->w);
    sl_jsonwriter_end_object(&w->w);
    sl_apiwriter_send_event(w, NULL);
}

/* The member tool_calls of a delta; begins a call, or adds to its arguments. */
static void write_call_delta(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    bool begins = event->kind == SL_GENEVENT_CALL_BEGIN;

    sl_apijson_array(&w->w, "tool_calls");
    sl_jsonwriter_begin_object(&w->w);
    sl_apijson_i64(&w->w, "index", w->n_calls - 1);
    if (begins) {
        sl_apijson_text(&w->w, "id", event->call.id);
        sl_apijson_text(&w->w, "type", "function");
    }
    sl_apijson_object(&w->w, "function");
    if (begins) {
        sl_apijson_text(&w->w, "name", event->call.name);
        sl_apijson_text(&w->w, "arguments", "");
    } else {
        sl_apijson_text_len(&w->w, "arguments", event->text.ptr, event->text.len);
    }
    sl_jsonwriter_end_object(&w->w);
    sl_jsonwriter_end_object(&w->w);
    sl_jsonwriter_end_array(&w->w);
}

static void tell_end(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    begin_chunk(w, finish_reason(w));
    end_chunk(w, event);
    if (w->call->gen.flags & SL_GENREQ_USAGE) {
        sl_jsonwriter_begin_object(&w->w);
        sl_apijson_array(&w->w, "choices");
        sl_jsonwriter_end_array(&w->w);
        write_tail(w);
        sl_apiusage_write(&w->counts, &w->w);
        sl_apiusage_write_timings(&w->counts, &w->w);
        sl_jsonwriter_end_object(&w->w);
        sl_apiwriter_send_event(w, NULL);
    }
    sl_strbuf_add_str(w->out, DONE);
}

static void tell(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    switch (event->kind) {
    case SL_GENEVENT_TOKEN:
    case SL_GENEVENT_CALL_END:
    case SL_GENEVENT_ERROR: return;
    case SL_GENEVENT_FINISH: tell_end(w, event); return;
    default: break;
    }
    begin_chunk(w, NULL);
    if (event->kind == SL_GENEVENT_START) {
        sl_apijson_text(&w->w, "role", "assistant");
        sl_apijson_null(&w->w, "content");
    } else if (event->kind == SL_GENEVENT_TEXT) {
        sl_apijson_text_len(&w->w, "content", event->text.ptr, event->text.len);
    } else if (event->kind == SL_GENEVENT_REASONING) {
        sl_apijson_text_len(&w->w, "reasoning_content", event->text.ptr, event->text.len);
    } else if (event->kind != SL_GENEVENT_PROGRESS) {
        write_call_delta(w, event);
    }
    end_chunk(w, event);
}

static void write_calls(struct sl_apiwriter *w)
{
    sl_apijson_array(&w->w, "tool_calls");
    for (uint32_t i = 0; i < w->n_calls; i++) {
        const struct sl_apiwriter_call *call = &w->calls[i];

        sl_jsonwriter_begin_object(&w->w);
        sl_apijson_text(&w->w, "type", "function");
        sl_apijson_text(&w->w, "id", call->id);
        sl_apijson_object(&w->w, "function");
        sl_apijson_text(&w->w, "name", call->name);
        sl_apijson_text_len(&w->w, "arguments", call->arguments.len ? call->arguments.ptr : "",
                            call->arguments.len);
        sl_jsonwriter_end_object(&w->w);
        sl_jsonwriter_end_object(&w->w);
    }
    sl_jsonwriter_end_array(&w->w);
}

static void write_message(struct sl_apiwriter *w)
{
    bool hides = w->call->gen.reasoning == SL_GENREASONING_HIDDEN;

    sl_apijson_object(&w->w, "message");
    sl_apijson_text(&w->w, "role", "assistant");
    if (w->text.len == 0 && w->n_calls)
        sl_apijson_null(&w->w, "content");
    else
        sl_apijson_text_len(&w->w, "content", w->text.len ? w->text.ptr : "", w->text.len);
    sl_apijson_null(&w->w, "refusal");
    if (w->reasoning.len && !hides)
        sl_apijson_text_len(&w->w, "reasoning_content", w->reasoning.ptr, w->reasoning.len);
    if (w->n_calls)
        write_calls(w);
    sl_jsonwriter_end_object(&w->w);
}

static void tell_all(struct sl_apiwriter *w)
{
    char id[SL_GENID_BYTES];

    sl_genid_make(id, &w->id, "chatcmpl-", 0);
    sl_jsonwriter_begin_object(&w->w);
    sl_apijson_array(&w->w, "choices");
    sl_jsonwriter_begin_object(&w->w);
    sl_apijson_text(&w->w, "finish_reason", finish_reason(w));
    sl_apijson_i64(&w->w, "index", 0);
    write_message(w);
    if (w->call->gen.flags & SL_GENREQ_LOGPROBS)
        write_logprobs(w);
    else
        sl_apijson_null(&w->w, "logprobs");
    sl_jsonwriter_end_object(&w->w);
    sl_jsonwriter_end_array(&w->w);
    sl_apijson_i64(&w->w, "created", sl_apiwriter_created_s(w));
    sl_apijson_text(&w->w, "model", w->env->model);
    sl_apijson_text(&w->w, "system_fingerprint", w->env->fingerprint);
    sl_apijson_text(&w->w, "object", "chat.completion");
    sl_apiusage_write(&w->counts, &w->w);
    sl_apijson_text(&w->w, "id", id);
    sl_apiusage_write_timings(&w->counts, &w->w);
    sl_jsonwriter_end_object(&w->w);
}

static const struct sl_apivoice voice = {
    .stream_type = SL_SSE_TYPE,
    .tell = tell,
    .tell_all = tell_all,
};

#define CHAT(path) \
    { \
        .method = SL_HTTP_POST, .pattern = path, .form = SL_APIFORM_OPENAI, \
        .work = SL_APIWORK_GENERATE, .flags = SL_APIENDPOINT_BODY, .parse = sl_apichat_parse, \
        .voice = &voice, \
    }

static const struct sl_apiendpoint endpoints[] = {
    CHAT("/v1/chat/completions"),
    CHAT("/chat/completions"),
};

struct sl_apilist sl_apichat_list(void)
{
    return (struct sl_apilist){endpoints, sizeof(endpoints) / sizeof(endpoints[0])};
}
