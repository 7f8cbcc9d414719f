/*
 * Replies are streams of JSON lines unless a request says otherwise; a tool call is told
 * whole, its arguments as an object. Times are in nanoseconds. A request without a message
 * or prompt loads the model, which it is, or gives memory back: it is answered at once.
 */
#include "server/apiollama.h"

#include <errno.h>
#include <string.h>

#include "server/apiformat.h"
#include "server/apijson.h"
#include "server/apimessages.h"
#include "server/apimodels.h"
#include "server/apioptions.h"
#include "server/apiprompt.h"
#include "server/apisampling.h"
#include "server/apitime.h"
#include "server/apitools.h"
#include "server/sse.h"

/* A flag of calls. */
#define IS_CHAT 1u

void sl_apiollama_check_model(struct sl_apiobject *o, const char *name)
{
    if (sl_apiobject_is_failed(o))
        return;
    if (!name || !*name)
        sl_apiobject_fail(o, NULL, "model is required");
    else if (!sl_apimodels_is_served(o->parse->env, name))
        o->parse->code = sl_apierror_set(o->parse->error, -ENOENT, 404, NULL,
                                         "model '%.100s' not found", name);
}

static void read_format(struct sl_apiobject *o)
{
    const struct sl_json *format = sl_apiobject_find(o, "format");
    const char *name = sl_json_get_string(format, NULL);

    if (sl_json_is(format, SL_JSON_OBJECT))
        sl_apiformat_set_schema(o, "format", format);
    else if (name && strcmp(name, "json") == 0)
        sl_apiformat_set_object(o, "format");
    else if (format && (!name || *name))
        sl_apiobject_fail(o, "format", "\"json\" or a schema expected");
}

/* true, false, or how much. */
static void read_think(struct sl_apiobject *o)
{
    const struct sl_json *node = sl_apiobject_find(o, "think");
    const char *level = sl_json_get_string(node, NULL);
    bool truth = level && *level;

    if (!node)
        return;
    if (!level && !sl_json_get_bool(node, &truth))
        sl_apiobject_fail(o, "think", "true, false or a level expected");
    else if (!truth)
        o->parse->call->gen.reasoning = SL_GENREASONING_HIDDEN;
    else if (!o->parse->env->has_thinking)
        sl_apiobject_fail(o, NULL, "\"%.100s\" does not support thinking",
                          o->parse->call->gen.model);
}

static void read_probs(struct sl_apiobject *o)
{
    struct sl_genreq *gen = &o->parse->call->gen;
    int64_t n = 0;

    sl_apiobject_flag(o, "logprobs", SL_GENREQ_LOGPROBS, &gen->flags);
    if (sl_apiobject_i64(o, "top_logprobs", 0, SL_APIOPTIONS_TOP_MAX, &n) &&
        gen->flags & SL_GENREQ_LOGPROBS)
        gen->n_top = (uint32_t)n;
}

/* What chat and generate have in common. */
static void read_common(struct sl_apiobject *o)
{
    static const char *const limits[] = {"num_predict"};
    static const struct sl_apirefusal refusals[] = {
        {"_debug_render_only", SL_APINEUTRAL_ZERO, NULL},
        {"images", SL_APINEUTRAL_EMPTY, "this model reads text"},
    };
    struct sl_genreq *gen = &o->parse->call->gen;
    struct sl_apiobject options = sl_apiobject_object(o, "options");
    const struct sl_json *keep_alive = sl_apiobject_find(o, "keep_alive");
    int64_t seconds;

    gen->model = sl_apiobject_copy(o, "model");
    sl_apiollama_check_model(o, gen->model);
    gen->flags |= SL_GENREQ_STREAM;
    sl_apiobject_flag(o, "stream", SL_GENREQ_STREAM, &gen->flags);
    sl_apisampling_refuse(o, refusals, sizeof(refusals) / sizeof(refusals[0]));
    sl_apisampling_read(&options);
    sl_apisampling_read_stops(&options, "stop");
    sl_apioptions_read_limit(&options, limits, 1);
    read_probs(o);
    read_think(o);
    read_format(o);
    o->parse->call->releases = sl_json_get_i64(keep_alive, &seconds) && seconds == 0;
}

static void parse_chat(struct sl_apiobject *o)
{
    struct sl_apicall *call = o->parse->call;

    read_common(o);
    call->flags |= IS_CHAT;
    sl_apitools_read(o, "tools");
    if (sl_json_n_items(sl_apiobject_get(o, "messages", SL_JSON_ARRAY)) == 0) {
        call->work = SL_APIWORK_STATE;
        return;
    }
    sl_apimessages_read(o);
    sl_apiformat_finish(o->parse);
}

/* The prompt as a user's message, behind the system's. */
static void read_turn(struct sl_apiobject *o, const char *system, const char *prompt, size_t len)
{
    struct sl_apimessages m;

    sl_apimessages_init(&m, o->parse);
    if (system && *system) {
        sl_apimessages_begin(&m, "system");
        sl_apimessages_add_text(&m, system, strlen(system));
    }
    sl_apimessages_begin(&m, "user");
    sl_apimessages_add_text(&m, prompt, len);
    sl_apimessages_finish(&m, o, "prompt");
    sl_apimessages_done(&m);
}

static void parse_generate(struct sl_apiobject *o)
{
    static const struct sl_apirefusal refusals[] = {
        {"suffix", SL_APINEUTRAL_EMPTY, NULL},
        {"template", SL_APINEUTRAL_EMPTY, "use raw"},
        {"context", SL_APINEUTRAL_EMPTY, "use /api/chat"},
        {"width", SL_APINEUTRAL_ZERO, "this model writes text"},
        {"height", SL_APINEUTRAL_ZERO, "this model writes text"},
        {"steps", SL_APINEUTRAL_ZERO, "this model writes text"},
    };
    struct sl_apicall *call = o->parse->call;
    const char *system, *prompt;
    bool is_raw = false;
    size_t len = 0;

    read_common(o);
    (void)sl_apiobject_bool(o, "raw", &is_raw); /* absent: false */
    sl_apisampling_refuse(o, refusals, sizeof(refusals) / sizeof(refusals[0]));
    system = sl_apiobject_text(o, "system", NULL);
    prompt = sl_apiobject_text(o, "prompt", &len);
    if (len == 0) {
        call->work = SL_APIWORK_STATE;
        return;
    }
    if (!is_raw)
        read_turn(o, system, prompt, len);
    else if (system && *system)
        sl_apiobject_fail(o, NULL, "raw mode does not support template, system, or context");
    else
        sl_apiprompt_read(o, "prompt");
    if (is_raw)
        call->gen.reasoning = SL_GENREASONING_TEXT;
    sl_apiformat_finish(o->parse);
}

/* The members that all replies begin with; created_ns is Unix time. */
static void write_head(struct sl_jsonwriter *w, const char *model, int64_t created_ns)
{
    char time[SL_APITIME_BYTES];

    sl_apitime_print(time, created_ns);
    sl_jsonwriter_begin_object(w);
    sl_apijson_text(w, "model", model);
    sl_apijson_text(w, "created_at", time);
}

static void begin(struct sl_apiwriter *w)
{
    write_head(&w->w, w->call->gen.model,
               w->created_ns + (int64_t)(w->counts.total_ms * 1e6));
}

static void write_call(struct sl_apiwriter *w, uint32_t i)
{
    const struct sl_apiwriter_call *call = &w->calls[i];

    sl_jsonwriter_begin_object(&w->w);
    sl_apijson_text(&w->w, "id", call->id);
    sl_apijson_object(&w->w, "function");
    sl_apijson_i64(&w->w, "index", i);
    sl_apijson_text(&w->w, "name", call->name);
    sl_apijson_raw(&w->w, "arguments", call->arguments.len ? call->arguments.ptr : "{}");
    sl_jsonwriter_end_object(&w->w);
    sl_jsonwriter_end_object(&w->w);
}

/* What was said, and calls from first on: a chat's "message", or members of the reply. */
static void write_said(struct sl_apiwriter *w, const char *text, size_t len, const char *thinking,
                       size_t thinking_len, uint32_t first_call)
{
    bool is_chat = w->call->flags & IS_CHAT;

    if (is_chat) {
        sl_apijson_object(&w->w, "message");
        sl_apijson_text(&w->w, "role", "assistant");
    }
    sl_apijson_text_len(&w->w, is_chat ? "content" : "response", len ? text : "", len);
    if (thinking_len)
        sl_apijson_text_len(&w->w, "thinking", thinking, thinking_len);
    if (first_call < w->n_calls) {
        sl_apijson_array(&w->w, "tool_calls");
        for (uint32_t i = first_call; i < w->n_calls; i++)
            write_call(w, i);
        sl_jsonwriter_end_array(&w->w);
    }
    if (is_chat)
        sl_jsonwriter_end_object(&w->w);
}

static void write_probs(struct sl_apiwriter *w)
{
    if (!(w->call->gen.flags & SL_GENREQ_LOGPROBS) || w->tokens.n == 0)
        return;
    sl_jsonwriter_key(&w->w, "logprobs");
    sl_apitokens_write_probs(&w->tokens, 0, SL_APITOKENS_NO_TOP, &w->w);
    sl_apitokens_clear(&w->tokens);
}

static void write_end(struct sl_apiwriter *w)
{
    bool is_full = w->finish == SL_GENFINISH_LENGTH || w->finish == SL_GENFINISH_CONTEXT;

    sl_apijson_bool(&w->w, "done", true);
    sl_apijson_text(&w->w, "done_reason", is_full ? "length" : "stop");
    write_probs(w);
    sl_apijson_i64(&w->w, "total_duration", (int64_t)(w->counts.total_ms * 1e6));
    sl_apijson_i64(&w->w, "load_duration", 0);
    sl_apijson_i64(&w->w, "prompt_eval_count", w->counts.n_prompt_tok);
    sl_apijson_i64(&w->w, "prompt_eval_duration", (int64_t)(w->counts.prompt_ms * 1e6));
    sl_apijson_i64(&w->w, "eval_count", w->counts.n_predicted_tok);
    sl_apijson_i64(&w->w, "eval_duration", (int64_t)(w->counts.predicted_ms * 1e6));
    sl_jsonwriter_end_object(&w->w);
}

static void tell(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    const char *ptr = event->text.ptr;
    size_t len = event->text.len;

    switch (event->kind) {
    case SL_GENEVENT_TEXT:
        begin(w);
        write_said(w, ptr, len, NULL, 0, w->n_calls);
        break;
    case SL_GENEVENT_REASONING:
        begin(w);
        write_said(w, NULL, 0, ptr, len, w->n_calls);
        break;
    case SL_GENEVENT_CALL_END:
        begin(w);
        write_said(w, NULL, 0, NULL, 0, w->n_calls - 1);
        break;
    case SL_GENEVENT_FINISH:
        begin(w);
        write_said(w, NULL, 0, NULL, 0, w->n_calls);
        write_end(w);
        sl_apiwriter_send_line(w);
        return;
    default: return;
    }
    sl_apijson_bool(&w->w, "done", false);
    write_probs(w);
    sl_jsonwriter_end_object(&w->w);
    sl_apiwriter_send_line(w);
}

static void tell_all(struct sl_apiwriter *w)
{
    bool hides = w->call->gen.reasoning == SL_GENREASONING_HIDDEN;

    begin(w);
    write_said(w, w->text.ptr, w->text.len, w->reasoning.ptr, hides ? 0 : w->reasoning.len, 0);
    write_end(w);
}

/* Nothing was to be generated. */
static int answer_load(struct sl_apianswer *a)
{
    write_head(&a->w, a->call->gen.model, a->state->now_s * 1000000000);
    if (a->call->flags & IS_CHAT) {
        sl_apijson_object(&a->w, "message");
        sl_apijson_text(&a->w, "role", "assistant");
        sl_apijson_text(&a->w, "content", "");
        sl_jsonwriter_end_object(&a->w);
    } else {
        sl_apijson_text(&a->w, "response", "");
    }
    sl_apijson_bool(&a->w, "done", true);
    sl_apijson_text(&a->w, "done_reason", a->call->releases ? "unload" : "load");
    sl_jsonwriter_end_object(&a->w);
    return 0;
}

static const struct sl_apivoice voice = {
    .stream_type = SL_NDJSON_TYPE,
    .tell = tell,
    .tell_all = tell_all,
};

#define GENERATE(path, parse_) \
    { \
        .method = SL_HTTP_POST, .pattern = path, .form = SL_APIFORM_OLLAMA, \
        .work = SL_APIWORK_GENERATE, .flags = SL_APIENDPOINT_BODY, .parse = parse_, \
        .answer = answer_load, .voice = &voice, \
    }

static const struct sl_apiendpoint endpoints[] = {
    GENERATE("/api/chat", parse_chat),
    GENERATE("/api/generate", parse_generate),
};

struct sl_apilist sl_apiollama_list(void)
{
    return (struct sl_apilist){endpoints, sizeof(endpoints) / sizeof(endpoints[0])};
}
