#include "server/apimessages.h"

#include <string.h>

#include "server/apijson.h"

void sl_apimessages_init(struct sl_apimessages *m, struct sl_apiparse *parse)
{
    *m = (struct sl_apimessages){.parse = parse};
    sl_jsonwriter_init(&m->w, NULL, 0);
    sl_jsonwriter_init(&m->calls, NULL, 0);
    sl_jsonwriter_begin_array(&m->w);
}

void sl_apimessages_done(struct sl_apimessages *m)
{
    sl_strbuf_done(&m->w.buf);
    sl_strbuf_done(&m->calls.buf);
    sl_strbuf_done(&m->content);
    sl_strbuf_done(&m->thinking);
}

/* Write the message that is being built. */
static void flush(struct sl_apimessages *m)
{
    struct sl_jsonwriter *w = &m->w;

    if (!m->role)
        return;
    sl_jsonwriter_begin_object(w);
    sl_apijson_text(w, "role", m->role);
    sl_apijson_text_len(w, "content", m->content.len ? m->content.ptr : "", m->content.len);
    if (m->thinking.len)
        sl_apijson_text_len(w, "thinking", m->thinking.ptr, m->thinking.len);
    if (m->n_calls) {
        sl_jsonwriter_end_array(&m->calls);
        sl_jsonwriter_key(w, "tool_calls");
        sl_jsonwriter_raw(w, m->calls.buf.len ? m->calls.buf.ptr : "", m->calls.buf.len);
    }
    if (m->call_id)
        sl_apijson_text(w, "tool_call_id", m->call_id);
    if (m->name)
        sl_apijson_text(w, "name", m->name);
    sl_jsonwriter_end_object(w);
    m->n++;
    if (w->buf.error || m->calls.buf.error || m->content.error || m->thinking.error)
        sl_apiparse_no_memory(m->parse);
}

void sl_apimessages_begin(struct sl_apimessages *m, const char *role)
{
    flush(m);
    sl_strbuf_cut(&m->content, 0);
    sl_strbuf_cut(&m->thinking, 0);
    sl_strbuf_done(&m->calls.buf);
    sl_jsonwriter_init(&m->calls, NULL, 0);
    m->n_calls = 0;
    m->call_id = m->name = NULL;
    m->role = role;
}

void sl_apimessages_close(struct sl_apimessages *m)
{
    sl_apimessages_begin(m, NULL);
}

void sl_apimessages_add_text(struct sl_apimessages *m, const char *text, size_t len)
{
    sl_strbuf_add(&m->content, text, len);
}

void sl_apimessages_add_thinking(struct sl_apimessages *m, const char *text, size_t len)
{
    sl_strbuf_add(&m->thinking, text, len);
}

/* Check JSON text of arguments, and write it as the member "arguments". */
static void write_arguments_text(struct sl_apimessages *m, struct sl_apiobject *o,
                                 const char *key, const char *text, size_t len)
{
    struct sl_json_doc *doc = NULL;
    struct sl_diag diag;
    int r;

    if (strspn(text, " \t\r\n") == len) {
        sl_apijson_text(&m->calls, "arguments", "{}");
        return;
    }
    r = sl_json_parse(&doc, text, len, &diag);
    if (r < 0)
        sl_apiobject_fail_code(o, key, r, &diag);
    else if (!sl_json_is(sl_json_root(doc), SL_JSON_OBJECT))
        sl_apiobject_fail(o, key, "JSON text of an object expected, found %s",
                          sl_json_type_name(sl_json_get_type(sl_json_root(doc))));
    sl_json_free(doc);
    sl_apijson_text_len(&m->calls, "arguments", text, len);
}

static void write_arguments(struct sl_apimessages *m, struct sl_apiobject *o, const char *key)
{
    const struct sl_json *node = sl_apiobject_find(o, key);
    struct sl_jsonwriter w;
    size_t len = 0;
    const char *text = sl_json_get_string(node, &len);

    if (text) {
        write_arguments_text(m, o, key, text, len);
        return;
    }
    if (node && !sl_json_is(node, SL_JSON_OBJECT))
        sl_apiobject_fail(o, key, "an object or JSON text of one expected, found %s",
                          sl_json_type_name(sl_json_get_type(node)));
    sl_jsonwriter_init(&w, NULL, 0);
    if (node)
        sl_jsonwriter_value(&w, node);
    else
        sl_jsonwriter_raw(&w, "{}", 2);
    sl_apijson_text_len(&m->calls, "arguments", w.buf.len ? w.buf.ptr : "", w.buf.len);
    if (sl_jsonwriter_done(&w) < 0)
        sl_apiparse_no_memory(m->parse);
}

void sl_apimessages_add_call(struct sl_apimessages *m, struct sl_apiobject *o, const char *key,
                             const char *id, const char *name)
{
    if (sl_apiobject_is_failed(o))
        return;
    if (m->n_calls == SL_APIMESSAGES_CALLS_MAX) {
        sl_apiobject_fail(o, NULL, "more than %d calls in a message", SL_APIMESSAGES_CALLS_MAX);
        return;
    }
    if (m->n_calls++ == 0)
        sl_jsonwriter_begin_array(&m->calls);
    sl_jsonwriter_begin_object(&m->calls);
    if (id)
        sl_apijson_text(&m->calls, "id", id);
    sl_apijson_text(&m->calls, "type", "function");
    sl_apijson_object(&m->calls, "function");
    sl_apijson_text(&m->calls, "name", name);
    write_arguments(m, o, key);
    sl_jsonwriter_end_object(&m->calls);
    sl_jsonwriter_end_object(&m->calls);
}

static void add_part(struct sl_apimessages *m, struct sl_apiobject *part,
                     const char *const *types, size_t n_types)
{
    const char *type = sl_apiobject_text(part, "type", NULL);
    size_t len = 0;
    const char *text;

    if (!type) {
        sl_apiobject_fail(part, "type", "is required");
        return;
    }
    for (size_t i = 0; i < n_types; i++) {
        if (strcmp(type, types[i]) != 0)
            continue;
        text = sl_apiobject_text(part, strcmp(type, "refusal") == 0 ? type : "text", &len);
        if (text)
            sl_apimessages_add_text(m, text, len);
        else
            sl_apiobject_fail(part, "text", "is required");
        return;
    }
    sl_apiobject_fail(part, "type", "\"%.60s\" is not supported; this model reads text", type);
}

void sl_apimessages_add_content(struct sl_apimessages *m, struct sl_apiobject *o, const char *key,
                                const char *const *types, size_t n_types)
{
    const struct sl_json *content = sl_apiobject_find(o, key);
    size_t len = 0;
    const char *text = sl_json_get_string(content, &len);

    if (text) {
        sl_apimessages_add_text(m, text, len);
        return;
    }
    if (content && !sl_json_is(content, SL_JSON_ARRAY))
        sl_apiobject_fail(o, key, "a text or a list of parts expected, found %s",
                          sl_json_type_name(sl_json_get_type(content)));
    for (size_t i = 0; i < sl_json_n_items(content) && !sl_apiobject_is_failed(o); i++) {
        struct sl_apiobject part;

        text = sl_json_get_string(sl_json_item(content, i), &len);
        if (text) {
            sl_apimessages_add_text(m, text, len);
            continue;
        }
        part = sl_apiobject_item(o, key, i);
        add_part(m, &part, types, n_types);
    }
}

void sl_apimessages_finish(struct sl_apimessages *m, struct sl_apiobject *o, const char *key)
{
    struct sl_genreq *gen = &m->parse->call->gen;
    bool is_prefill = m->role && strcmp(m->role, "assistant") == 0 && m->n_calls == 0 &&
                      !(gen->flags & (SL_GENREQ_NO_OPENING | SL_GENREQ_NEW_TURN));

    if (!is_prefill)
        flush(m);
    sl_jsonwriter_end_array(&m->w);
    if (m->n == 0)
        sl_apiobject_fail(o, key, is_prefill ? "nothing to answer" : "at least one is required");
    if (m->content.error)
        sl_apiparse_no_memory(m->parse);
    if (sl_apiobject_is_failed(o))
        return;
    if (is_prefill && m->content.len) {
        gen->prefill_len = m->content.len;
        if (sl_strbuf_take(&m->content, &gen->prefill, NULL) < 0)
            sl_apiparse_no_memory(m->parse);
    }
    gen->input = SL_GENINPUT_CHAT;
    if (sl_strbuf_take(&m->w.buf, &gen->messages_json, NULL) < 0)
        sl_apiparse_no_memory(m->parse);
}

static void read_calls(struct sl_apimessages *m, struct sl_apiobject *o)
{
    const struct sl_json *list = sl_apiobject_get(o, "tool_calls", SL_JSON_ARRAY);

    for (size_t i = 0; i < sl_json_n_items(list) && !sl_apiobject_is_failed(o); i++) {
        struct sl_apiobject call = sl_apiobject_item(o, "tool_calls", i);
        struct sl_apiobject function = sl_apiobject_object(&call, "function");
        const char *name;

        if (!function.node)
            sl_apiobject_fail(&call, "function", "is required");
        (void)sl_apiobject_require(&function, "name", SL_JSON_STRING);
        name = sl_apiobject_text(&function, "name", NULL);
        sl_apimessages_add_call(m, &function, "arguments", sl_apiobject_text(&call, "id", NULL),
                                name);
    }
}

/* The role as templates know it, constant; NULL: no role. */
static const char *role_of(const char *role)
{
    static const char *const roles[][2] = {
        {"user", "user"}, {"assistant", "assistant"}, {"system", "system"},
        {"developer", "system"}, {"tool", "tool"}, {"function", "tool"},
    };

    for (size_t i = 0; role && i < sizeof(roles) / sizeof(roles[0]); i++)
        if (strcmp(role, roles[i][0]) == 0)
            return roles[i][1];
    return NULL;
}

static void read_message(struct sl_apimessages *m, struct sl_apiobject *o)
{
    static const char *const types[] = {"text", "refusal"};
    static const char *const thinking[] = {"thinking", "reasoning_content", "reasoning"};
    static const char *const media[] = {"images", "audio"};
    const char *role, *text;
    size_t len;

    (void)sl_apiobject_require(o, "role", SL_JSON_STRING);
    role = sl_apiobject_text(o, "role", NULL);
    if (!role)
        return;
    if (!role_of(role)) {
        sl_apiobject_fail(o, "role",
                          "system, developer, user, assistant or tool expected, found \"%.60s\"",
                          role);
        return;
    }
    role = role_of(role);
    sl_apimessages_begin(m, role);
    for (size_t i = 0; i < 2; i++)
        if (sl_json_n_items(sl_apiobject_find(o, media[i])))
            sl_apiobject_fail(o, media[i], "not supported; this model reads text");
    if (sl_apiobject_find(o, "function_call"))
        sl_apiobject_fail(o, "function_call", "not supported; use tool_calls");
    if (role[0] != 'a' && !sl_apiobject_find(o, "content"))
        sl_apiobject_fail(o, "content", "is required");
    sl_apimessages_add_content(m, o, "content", types, role[0] == 'a' ? 2 : 1);
    if (role[0] == 't') {
        m->call_id = sl_apiobject_text(o, "tool_call_id", NULL);
        m->name = sl_apiobject_text(o, sl_apiobject_find(o, "tool_name") ? "tool_name" : "name",
                                    NULL);
    }
    if (role[0] != 'a')
        return;
    for (size_t i = 0; i < 3 && m->thinking.len == 0; i++) {
        text = sl_apiobject_text(o, thinking[i], &len);
        if (text)
            sl_apimessages_add_thinking(m, text, len);
    }
    read_calls(m, o);
}

void sl_apimessages_read(struct sl_apiobject *o)
{
    const struct sl_json *list = sl_apiobject_find(o, "messages");
    struct sl_genreq *gen = &o->parse->call->gen;
    struct sl_apimessages m;
    bool truth = true;

    if (!list && !sl_apiobject_is_failed(o))
        sl_apiobject_fail(o, "messages", "is required");
    (void)sl_apiobject_get(o, "messages", SL_JSON_ARRAY);
    if (sl_apiobject_bool(o, "add_generation_prompt", &truth) && !truth)
        gen->flags |= SL_GENREQ_NO_OPENING;
    if (sl_apiobject_bool(o, "continue_final_message", &truth) && !truth)
        gen->flags |= SL_GENREQ_NEW_TURN;
    sl_apimessages_init(&m, o->parse);
    for (size_t i = 0; i < sl_json_n_items(list) && !sl_apiobject_is_failed(o); i++) {
        struct sl_apiobject message = sl_apiobject_item(o, "messages", i);

        read_message(&m, &message);
    }
    if (!sl_apiobject_is_failed(o))
        sl_apimessages_finish(&m, o, "messages");
    sl_apimessages_done(&m);
}
