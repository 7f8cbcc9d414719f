/*
 * Parsing of responses. Input items become messages: what the assistant thought, said and
 * called in a row is one message. Nothing is stored, so what refers to an earlier response is
 * refused. Tools that OpenAI's own servers would run are left out: a model that does not know
 * of them does not call them.
 */
#include "server/apiresponses.h"

#include <errno.h>
#include <string.h>

#include "server/apiformat.h"
#include "server/apijson.h"
#include "server/apimessages.h"
#include "server/apioptions.h"
#include "server/apisampling.h"
#include "server/apitext.h"
#include "server/apitools.h"

static const char *const text_types[] = {"input_text", "output_text", "text", "refusal",
                                         "reasoning_text", "summary_text"};
#define N_TEXT_TYPES (sizeof(text_types) / sizeof(text_types[0]))

static bool is_assistant(const struct sl_apimessages *m)
{
    return m->role && strcmp(m->role, "assistant") == 0;
}

static void read_message(struct sl_apimessages *m, struct sl_apiobject *item)
{
    static const char *const roles[][2] = {
        {"user", "user"}, {"assistant", "assistant"}, {"system", "system"}, {"developer", "system"},
    };
    const char *role, *known = NULL;

    (void)sl_apiobject_require(item, "role", SL_JSON_STRING);
    role = sl_apiobject_text(item, "role", NULL);
    for (size_t i = 0; role && i < sizeof(roles) / sizeof(roles[0]); i++)
        if (strcmp(role, roles[i][0]) == 0)
            known = roles[i][1];
    if (!known) {
        sl_apiobject_fail(item, "role", "user, assistant, system or developer expected");
        return;
    }
    if (!sl_apiobject_find(item, "content"))
        sl_apiobject_fail(item, "content", "is required");
    /* what was thought comes before what is said of it */
    if (known[0] != 'a' || !is_assistant(m) || m->content.len || m->n_calls)
        sl_apimessages_begin(m, known);
    sl_apimessages_add_content(m, item, "content", text_types, N_TEXT_TYPES);
}

static void read_call(struct sl_apimessages *m, struct sl_apiobject *item)
{
    (void)sl_apiobject_require(item, "name", SL_JSON_STRING);
    (void)sl_apiobject_require(item, "arguments", SL_JSON_STRING);
    if (!is_assistant(m))
        sl_apimessages_begin(m, "assistant");
    sl_apimessages_add_call(m, item, "arguments", sl_apiobject_text(item, "call_id", NULL),
                            sl_apiobject_text(item, "name", NULL));
}

static void read_output(struct sl_apimessages *m, struct sl_apiobject *item)
{
    (void)sl_apiobject_require(item, "call_id", SL_JSON_STRING);
    if (!sl_apiobject_find(item, "output"))
        sl_apiobject_fail(item, "output", "is required");
    sl_apimessages_begin(m, "tool");
    m->call_id = sl_apiobject_text(item, "call_id", NULL);
    sl_apimessages_add_content(m, item, "output", text_types, 1);
}

static void read_reasoning(struct sl_apimessages *m, struct sl_apiobject *item)
{
    const struct sl_json *list = sl_apiobject_get(item, "content", SL_JSON_ARRAY);

    if (!is_assistant(m) || m->content.len || m->n_calls)
        sl_apimessages_begin(m, "assistant");
    for (size_t i = 0; i < sl_json_n_items(list) && !sl_apiobject_is_failed(item); i++) {
        struct sl_apiobject part = sl_apiobject_item(item, "content", i);
        size_t len = 0;
        const char *text = sl_apiobject_text(&part, "text", &len);

        if (text)
            sl_apimessages_add_thinking(m, text, len);
    }
}

static void read_item(struct sl_apimessages *m, struct sl_apiobject *item)
{
    const char *type = sl_apiobject_text(item, "type", NULL);

    if (!type || strcmp(type, "message") == 0)
        read_message(m, item);
    else if (strcmp(type, "function_call") == 0)
        read_call(m, item);
    else if (strcmp(type, "function_call_output") == 0)
        read_output(m, item);
    else if (strcmp(type, "reasoning") == 0)
        read_reasoning(m, item);
    else
        sl_apiobject_fail(item, "type", "\"%.60s\" is not supported", type);
}

static void read_input(struct sl_apiobject *o)
{
    const struct sl_json *input = sl_apiobject_find(o, "input");
    struct sl_apimessages m;
    size_t len = 0;
    const char *text;

    if (sl_apiobject_is_failed(o))
        return;
    sl_apimessages_init(&m, o->parse);
    text = sl_apiobject_text(o, "instructions", &len);
    if (text && len) {
        sl_apimessages_begin(&m, "system");
        sl_apimessages_add_text(&m, text, len);
    }
    text = sl_json_get_string(input, &len);
    if (text) {
        sl_apimessages_begin(&m, "user");
        sl_apimessages_add_text(&m, text, len);
    } else if (!sl_json_is(input, SL_JSON_ARRAY) || sl_json_n_items(input) == 0) {
        sl_apiobject_fail(o, "input", "a text or a list of items is required");
    }
    for (size_t i = 0; !text && i < sl_json_n_items(input) && !sl_apiobject_is_failed(o); i++) {
        struct sl_apiobject item = sl_apiobject_item(o, "input", i);

        read_item(&m, &item);
    }
    if (!sl_apiobject_is_failed(o))
        sl_apimessages_finish(&m, o, "input");
    sl_apimessages_done(&m);
}

static void read_logprobs(struct sl_apiobject *o)
{
    const struct sl_json *include = sl_apiobject_get(o, "include", SL_JSON_ARRAY);
    struct sl_genreq *gen = &o->parse->call->gen;
    int64_t n = 0;

    for (size_t i = 0; i < sl_json_n_items(include); i++) {
        const char *name = sl_json_get_string(sl_json_item(include, i), NULL);

        if (name && strcmp(name, "message.output_text.logprobs") == 0)
            gen->flags |= SL_GENREQ_LOGPROBS;
    }
    if (sl_apiobject_i64(o, "top_logprobs", 0, SL_APIOPTIONS_TOP_MAX, &n) &&
        gen->flags & SL_GENREQ_LOGPROBS)
        gen->n_top = (uint32_t)n;
}

/* A member of the request, or what it is without: JSON text. */
static void echo(struct sl_jsonwriter *w, const struct sl_apiobject *o, const char *key,
                 const char *absent)
{
    const struct sl_json *node = sl_apiobject_find(o, key);

    sl_jsonwriter_key(w, key);
    if (node)
        sl_jsonwriter_value(w, node);
    else
        sl_jsonwriter_raw(w, absent, strlen(absent));
}

/* The tools that are offered to the model. */
static void echo_tools(struct sl_jsonwriter *w, struct sl_apiobject *o)
{
    const struct sl_json *list = sl_apiobject_find(o, "tools");

    sl_apijson_array(w, "tools");
    for (size_t i = 0; i < sl_json_n_items(list); i++) {
        struct sl_apiobject tool = sl_apiobject_item(o, "tools", i);
        const char *type = sl_apiobject_text(&tool, "type", NULL);

        if (type && strcmp(type, "function") != 0)
            continue;
        sl_jsonwriter_begin_object(w);
        sl_apijson_text(w, "type", "function");
        echo(w, &tool, "name", "null");
        echo(w, &tool, "description", "null");
        echo(w, &tool, "parameters", "null");
        echo(w, &tool, "strict", "true");
        sl_jsonwriter_end_object(w);
    }
    sl_jsonwriter_end_array(w);
}

/* What a response repeats of its request. */
static void write_echo(struct sl_apiobject *o)
{
    const struct sl_genreq *gen = &o->parse->call->gen;
    struct sl_jsonwriter w;

    if (sl_apiobject_is_failed(o))
        return;
    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_begin_object(&w);
    sl_apijson_bool(&w, "background", false);
    echo(&w, o, "instructions", "null");
    echo(&w, o, "max_output_tokens", "null");
    echo(&w, o, "max_tool_calls", "null");
    echo(&w, o, "metadata", "{}");
    echo(&w, o, "parallel_tool_calls", "true");
    sl_apijson_null(&w, "previous_response_id");
    echo(&w, o, "prompt_cache_key", "null");
    echo(&w, o, "reasoning", "{\"effort\":null,\"summary\":null}");
    echo(&w, o, "safety_identifier", "null");
    sl_apijson_text(&w, "service_tier", "default");
    sl_apijson_bool(&w, "store", false);
    sl_apijson_f64(&w, "temperature", (double)gen->sampling.temperature);
    echo(&w, o, "text", "{\"format\":{\"type\":\"text\"}}");
    echo(&w, o, "tool_choice", "\"auto\"");
    echo_tools(&w, o);
    sl_apijson_i64(&w, "top_logprobs", gen->n_top);
    sl_apijson_f64(&w, "top_p", (double)gen->sampling.top_p);
    sl_apijson_text(&w, "truncation", "disabled"); /* what does not fit is an error */
    if (sl_apiobject_find(o, "user"))
        echo(&w, o, "user", "null");
    sl_jsonwriter_end_object(&w);
    if (sl_strbuf_take(&w.buf, &o->parse->call->echo_json, NULL) < 0)
        sl_apiparse_no_memory(o->parse);
}

static void parse(struct sl_apiobject *o)
{
    static const char *const limits[] = {"max_output_tokens"};
    static const struct sl_apirefusal refusals[] = {
        {"previous_response_id", SL_APINEUTRAL_EMPTY, "send the whole conversation as input"},
        {"conversation", SL_APINEUTRAL_NONE, "send the whole conversation as input"},
        {"background", SL_APINEUTRAL_ZERO, NULL},
        {"context_management", SL_APINEUTRAL_EMPTY, "shorten the conversation yourself"},
        {"moderation", SL_APINEUTRAL_NONE, NULL},
        {"prompt", SL_APINEUTRAL_NONE, "send it as input"},
    };
    struct sl_genreq *gen = &o->parse->call->gen;
    struct sl_apiobject text = sl_apiobject_object(o, "text");
    struct sl_apiobject reasoning = sl_apiobject_object(o, "reasoning");

    gen->model = sl_apiobject_copy(o, "model");
    sl_apiobject_flag(o, "stream", SL_GENREQ_STREAM, &gen->flags);
    sl_apioptions_read_limit(o, limits, 1);
    sl_apisampling_read(o);
    sl_apisampling_read_bias(o);
    sl_apisampling_read_stops(o, "stop");
    sl_apisampling_refuse(o, refusals, sizeof(refusals) / sizeof(refusals[0]));
    gen->cache_key = sl_apiobject_copy(o, "prompt_cache_key");
    read_logprobs(o);
    sl_apioptions_read_effort(&reasoning, "effort");
    sl_apitools_read_flat(o, "tools", "parameters", SL_APITOOLS_SKIP);
    sl_apitools_read_choice(o);
    sl_apiformat_read_response(&text, "format");
    read_input(o);
    write_echo(o);
    sl_apiformat_finish(o->parse);
}

static int answer_count(struct sl_apianswer *a)
{
    size_t n;
    int r = sl_apitext_count(a, &n);

    if (r < 0)
        return r;
    sl_jsonwriter_begin_object(&a->w);
    sl_apijson_text(&a->w, "object", "response.input_tokens");
    sl_apijson_i64(&a->w, "input_tokens", (int64_t)n);
    sl_jsonwriter_end_object(&a->w);
    return 0;
}

static void refuse_stored(struct sl_apiobject *o)
{
    o->parse->code = sl_apierror_set(o->parse->error, -ENOTSUP, 501, NULL,
                                     "this server does not store responses");
}

#define RESPONSE(path) \
    { \
        .method = SL_HTTP_POST, .pattern = path, .form = SL_APIFORM_OPENAI, \
        .work = SL_APIWORK_GENERATE, .flags = SL_APIENDPOINT_BODY, .parse = parse, \
        .voice = &sl_apiresponses_voice, \
    }
#define COUNT(path) \
    { \
        .method = SL_HTTP_POST, .pattern = path, .form = SL_APIFORM_OPENAI, \
        .work = SL_APIWORK_TEXT, .flags = SL_APIENDPOINT_BODY, .parse = parse, \
        .answer = answer_count, \
    }
#define STORED(method_) \
    { \
        .method = method_, .pattern = "/v1/responses/*", .form = SL_APIFORM_OPENAI, \
        .work = SL_APIWORK_STATE, .parse = refuse_stored, \
    }

static const struct sl_apiendpoint endpoints[] = {
    RESPONSE("/v1/responses"),
    RESPONSE("/responses"),
    COUNT("/v1/responses/input_tokens"),
    COUNT("/responses/input_tokens"),
    STORED(SL_HTTP_GET),
    STORED(SL_HTTP_POST),
    STORED(SL_HTTP_DELETE),
};

struct sl_apilist sl_apiresponses_list(void)
{
    return (struct sl_apilist){endpoints, sizeof(endpoints) / sizeof(endpoints[0])};
}
