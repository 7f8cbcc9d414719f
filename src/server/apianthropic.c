/*
 * Parsing of Anthropic's messages. A message of theirs may hold text, thinking, calls and
 * results of calls together; it becomes one or more messages here, in its order.
 */
#include "server/apianthropic.h"

#include <string.h>

#include "server/apiformat.h"
#include "server/apijson.h"
#include "server/apimessages.h"
#include "server/apioptions.h"
#include "server/apisampling.h"
#include "server/apitext.h"
#include "server/apitools.h"

static const char *const text_types[] = {"text"};

/*
 * One client begins its system text with a line for billing that holds a number which is new
 * in every request, so that nothing behind it could be found in the prefix cache. The model
 * has no use for the number: it is put to zeroes.
 */
static void mask_billing(char *text)
{
    static const char header[] = "x-anthropic-billing-header:";
    char *number = strncmp(text, header, sizeof(header) - 1) == 0 ? strstr(text, "cch=") : NULL;

    if (!number)
        return;
    for (number += 4; strspn(number, "0123456789abcdef") > 0; number++)
        *number = '0';
}

static void read_system(struct sl_apimessages *m, struct sl_apiobject *o)
{
    if (!sl_apiobject_find(o, "system"))
        return;
    sl_apimessages_begin(m, "system");
    sl_apimessages_add_content(m, o, "system", text_types, 1);
    if (m->content.ptr)
        mask_billing(m->content.ptr);
}

static void read_result(struct sl_apimessages *m, struct sl_apiobject *block)
{
    (void)sl_apiobject_require(block, "tool_use_id", SL_JSON_STRING);
    sl_apimessages_begin(m, "tool");
    m->call_id = sl_apiobject_text(block, "tool_use_id", NULL);
    sl_apimessages_add_content(m, block, "content", text_types, 1);
}

static void read_user_block(struct sl_apimessages *m, struct sl_apiobject *block,
                            const char *type)
{
    size_t len = 0;
    const char *text;

    if (strcmp(type, "tool_result") == 0) {
        read_result(m, block);
        return;
    }
    if (strcmp(type, "text") != 0) {
        sl_apiobject_fail(block, "type", "\"%.60s\" is not supported; this model reads text",
                          type);
        return;
    }
    (void)sl_apiobject_require(block, "text", SL_JSON_STRING);
    text = sl_apiobject_text(block, "text", &len);
    if (!m->role || strcmp(m->role, "user") != 0)
        sl_apimessages_begin(m, "user");
    if (text)
        sl_apimessages_add_text(m, text, len);
}

static void read_assistant_block(struct sl_apimessages *m, struct sl_apiobject *block,
                                 const char *type)
{
    size_t len = 0;
    const char *text;

    if (strcmp(type, "text") == 0) {
        (void)sl_apiobject_require(block, type, SL_JSON_STRING);
        text = sl_apiobject_text(block, type, &len);
        if (text)
            sl_apimessages_add_text(m, text, len);
    } else if (strcmp(type, "thinking") == 0) {
        text = sl_apiobject_text(block, type, &len);
        if (text)
            sl_apimessages_add_thinking(m, text, len);
    } else if (strcmp(type, "tool_use") == 0) {
        (void)sl_apiobject_require(block, "name", SL_JSON_STRING);
        sl_apimessages_add_call(m, block, "input", sl_apiobject_text(block, "id", NULL),
                                sl_apiobject_text(block, "name", NULL));
    } else if (strcmp(type, "redacted_thinking") != 0) {
        sl_apiobject_fail(block, "type", "\"%.60s\" is not supported", type);
    }
}

static void read_blocks(struct sl_apimessages *m, struct sl_apiobject *o, bool is_user)
{
    const struct sl_json *list = sl_apiobject_get(o, "content", SL_JSON_ARRAY);

    if (!is_user)
        sl_apimessages_begin(m, "assistant");
    for (size_t i = 0; i < sl_json_n_items(list) && !sl_apiobject_is_failed(o); i++) {
        struct sl_apiobject block = sl_apiobject_item(o, "content", i);
        const char *type;

        (void)sl_apiobject_require(&block, "type", SL_JSON_STRING);
        type = sl_apiobject_text(&block, "type", NULL);
        if (type && is_user)
            read_user_block(m, &block, type);
        else if (type)
            read_assistant_block(m, &block, type);
    }
}

static void read_message(struct sl_apimessages *m, struct sl_apiobject *o)
{
    const char *role;
    bool is_user;

    (void)sl_apiobject_require(o, "role", SL_JSON_STRING);
    role = sl_apiobject_text(o, "role", NULL);
    is_user = role && strcmp(role, "user") == 0;
    if (role && !is_user && strcmp(role, "assistant") != 0)
        sl_apiobject_fail(o, "role", "user or assistant expected, found \"%.60s\"", role);
    if (!sl_apiobject_is_failed(o) && !sl_apiobject_find(o, "content"))
        sl_apiobject_fail(o, "content", "is required");
    if (sl_apiobject_is_failed(o))
        return;
    if (sl_json_is(sl_apiobject_find(o, "content"), SL_JSON_STRING)) {
        sl_apimessages_begin(m, is_user ? "user" : "assistant");
        sl_apimessages_add_content(m, o, "content", text_types, 1);
        return;
    }
    /* texts of one message are one message, those of two are two */
    if (m->role && strcmp(m->role, "user") == 0)
        sl_apimessages_close(m);
    read_blocks(m, o, is_user);
}

static void read_messages(struct sl_apiobject *o)
{
    const struct sl_json *list = sl_apiobject_require(o, "messages", SL_JSON_ARRAY);
    struct sl_apimessages m;

    sl_apimessages_init(&m, o->parse);
    read_system(&m, o);
    if (sl_json_n_items(list) == 0)
        sl_apiobject_fail(o, "messages", "at least one is required");
    for (size_t i = 0; i < sl_json_n_items(list) && !sl_apiobject_is_failed(o); i++) {
        struct sl_apiobject message = sl_apiobject_item(o, "messages", i);

        read_message(&m, &message);
    }
    if (!sl_apiobject_is_failed(o))
        sl_apimessages_finish(&m, o, "messages");
    sl_apimessages_done(&m);
}

static void read_choice(struct sl_apiobject *o)
{
    struct sl_apiobject choice = sl_apiobject_object(o, "tool_choice");
    struct sl_genreq *gen = &o->parse->call->gen;
    const char *type, *name;

    if (!choice.node)
        return;
    sl_apiobject_flag(&choice, "disable_parallel_tool_use", SL_GENREQ_ONE_CALL, &gen->flags);
    (void)sl_apiobject_require(&choice, "type", SL_JSON_STRING);
    type = sl_apiobject_text(&choice, "type", NULL);
    if (!type)
        return;
    if (strcmp(type, "auto") == 0) {
        sl_apitools_choose(o, "tool_choice", SL_GENTOOLCHOICE_AUTO, NULL);
    } else if (strcmp(type, "none") == 0) {
        sl_apitools_choose(o, "tool_choice", SL_GENTOOLCHOICE_NONE, NULL);
    } else if (strcmp(type, "any") == 0) {
        sl_apitools_choose(o, "tool_choice", SL_GENTOOLCHOICE_REQUIRED, NULL);
    } else if (strcmp(type, "tool") == 0) {
        (void)sl_apiobject_require(&choice, "name", SL_JSON_STRING);
        name = sl_apiobject_text(&choice, "name", NULL);
        sl_apitools_choose(o, "tool_choice", SL_GENTOOLCHOICE_NAMED, name);
    } else {
        sl_apiobject_fail(&choice, "type", "auto, any, tool or none expected, found \"%.60s\"",
                          type);
    }
}

static void read_thinking(struct sl_apiobject *o)
{
    struct sl_apiobject thinking = sl_apiobject_object(o, "thinking");
    const char *type = sl_apiobject_text(&thinking, "type", NULL);
    const char *display = sl_apiobject_text(&thinking, "display", NULL);

    if (display && strcmp(display, "omitted") == 0)
        o->parse->call->gen.reasoning = SL_GENREASONING_HIDDEN;
    else if (display && strcmp(display, "summarized") != 0)
        sl_apiobject_fail(&thinking, "display", "summarized or omitted expected, found \"%.60s\"",
                          display);
    if (type && strcmp(type, "disabled") == 0)
        o->parse->call->gen.reasoning = SL_GENREASONING_HIDDEN;
    else if (type && strcmp(type, "enabled") != 0 && strcmp(type, "adaptive") != 0)
        sl_apiobject_fail(&thinking, "type",
                          "enabled, adaptive or disabled expected, found \"%.60s\"", type);
}

static void parse(struct sl_apiobject *o)
{
    static const char *const limits[] = {"max_tokens"};
    static const struct sl_apirefusal refusals[] = {
        {"container", SL_APINEUTRAL_NONE, NULL},
        {"mcp_servers", SL_APINEUTRAL_EMPTY, NULL},
        {"compaction", SL_APINEUTRAL_NONE, "shorten the conversation yourself"},
        {"thread", SL_APINEUTRAL_NONE, "send the whole conversation as messages"},
    };
    struct sl_genreq *gen = &o->parse->call->gen;
    struct sl_apiobject config = sl_apiobject_object(o, "output_config");

    gen->model = sl_apiobject_copy(o, "model");
    sl_apiobject_flag(o, "stream", SL_GENREQ_STREAM, &gen->flags);
    sl_apioptions_read_limit(o, limits, 1);
    sl_apisampling_read(o);
    sl_apisampling_read_stops(o, "stop_sequences");
    sl_apisampling_refuse(o, refusals, sizeof(refusals) / sizeof(refusals[0]));
    sl_apitools_read_flat(o, "tools", "input_schema", 0);
    read_choice(o);
    read_thinking(o);
    if (sl_apiobject_get(o, "context_management", SL_JSON_OBJECT))
        o->parse->call->flags |= SL_APIANTHROPIC_CONTEXT;
    sl_apiformat_read_response(&config, "format");
    if (!config.node)
        sl_apiformat_read_response(o, "output_format");
    read_messages(o);
    sl_apiformat_finish(o->parse);
}

static int answer_count(struct sl_apianswer *a)
{
    size_t n;
    int r = sl_apitext_count(a, &n);

    if (r < 0)
        return r;
    sl_jsonwriter_begin_object(&a->w);
    sl_apijson_i64(&a->w, "input_tokens", (int64_t)n);
    sl_jsonwriter_end_object(&a->w);
    return 0;
}

static const struct sl_apiendpoint endpoints[] = {
    {
        .method = SL_HTTP_POST,
        .pattern = "/v1/messages",
        .form = SL_APIFORM_ANTHROPIC,
        .work = SL_APIWORK_GENERATE,
        .flags = SL_APIENDPOINT_BODY,
        .parse = parse,
        .voice = &sl_apianthropic_voice,
    },
    {
        .method = SL_HTTP_POST,
        .pattern = "/v1/messages/count_tokens",
        .form = SL_APIFORM_ANTHROPIC,
        .work = SL_APIWORK_TEXT,
        .flags = SL_APIENDPOINT_BODY,
        .parse = parse,
        .answer = answer_count,
    },
};

struct sl_apilist sl_apianthropic_list(void)
{
    return (struct sl_apilist){endpoints, sizeof(endpoints) / sizeof(endpoints[0])};
}
