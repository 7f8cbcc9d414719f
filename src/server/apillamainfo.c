/*
 * Keys and their order are llama.cpp's. What there is not answers 501, also where llama.cpp
 * would have an option for it, so that clients which probe for it understand.
 */
#include "server/apillamainfo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/apichat.h"
#include "server/apijson.h"
#include "server/apiprompt.h"
#include "server/apisettings.h"
#include "server/apitext.h"
#include "text/utf8.h"

/* Flags of a call to /tokenize. */
enum {
    ADD_SPECIAL = 1,
    PARSE_SPECIAL = 2,
    WITH_PIECES = 4,
};

static void parse_tokenize(struct sl_apiobject *o)
{
    struct sl_apicall *call = o->parse->call;

    call->flags = PARSE_SPECIAL;
    sl_apiobject_flag(o, "add_special", ADD_SPECIAL, &call->flags);
    sl_apiobject_flag(o, "parse_special", PARSE_SPECIAL, &call->flags);
    sl_apiobject_flag(o, "with_pieces", WITH_PIECES, &call->flags);
    if (sl_apiobject_find(o, "content"))
        sl_apiprompt_read(o, "content");
}

/* A piece that is no text by itself is told as its bytes. */
static int write_piece(struct sl_apianswer *a, int32_t id)
{
    const char *piece;
    int len = a->text->piece(a->text->arg, id, &piece);

    if (len < 0)
        return sl_apierror_set_code(a->error, len, NULL, NULL);
    sl_jsonwriter_begin_object(&a->w);
    sl_apijson_i64(&a->w, "id", id);
    if (sl_utf8_valid_len(piece, (size_t)len) == (size_t)len) {
        sl_apijson_text_len(&a->w, "piece", piece, (size_t)len);
    } else {
        sl_apijson_array(&a->w, "piece");
        for (int i = 0; i < len; i++)
            sl_jsonwriter_i64(&a->w, (unsigned char)piece[i]);
        sl_jsonwriter_end_array(&a->w);
    }
    sl_jsonwriter_end_object(&a->w);
    return 0;
}

static int write_ids(struct sl_apianswer *a, const int32_t *ids, size_t n)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        if (a->call->flags & WITH_PIECES)
            r = write_piece(a, ids[i]);
        else
            sl_jsonwriter_i64(&a->w, ids[i]);
    }
    return r;
}

static int answer_tokenize(struct sl_apianswer *a)
{
    const struct sl_genreq *gen = &a->call->gen;
    int r = 0;

    sl_jsonwriter_begin_object(&a->w);
    sl_apijson_array(&a->w, "tokens");
    for (size_t i = 0; r == 0 && i < gen->n_parts; i++) {
        const struct sl_genpart *part = &gen->parts[i];
        uint32_t flags = a->call->flags & PARSE_SPECIAL ? SLUICE_TOKENIZE_SPECIAL : 0;
        int32_t *ids = NULL;
        size_t n = 0;

        if (!part->text) {
            r = write_ids(a, part->tokens, part->n_tokens);
            continue;
        }
        if (i == 0 && a->call->flags & ADD_SPECIAL)
            flags |= SLUICE_TOKENIZE_BOS;
        r = sl_apitext_tokenize(a, part->text, part->len, flags, &ids, &n);
        if (r == 0)
            r = write_ids(a, ids, n);
        free(ids);
    }
    if (r < 0)
        return r;
    sl_jsonwriter_end_array(&a->w);
    sl_jsonwriter_end_object(&a->w);
    return 0;
}

static void parse_detokenize(struct sl_apiobject *o)
{
    struct sl_apicall *call = o->parse->call;
    const struct sl_json *list = sl_apiobject_get(o, "tokens", SL_JSON_ARRAY);

    call->tokens = sl_apiprompt_read_ids(o, "tokens", list, &call->n_tokens);
}

static int answer_detokenize(struct sl_apianswer *a)
{
    struct sl_strbuf text = {0};

    for (size_t i = 0; i < a->call->n_tokens; i++) {
        const char *piece;
        int len = a->text->piece(a->text->arg, a->call->tokens[i], &piece);

        if (len < 0) {
            sl_strbuf_done(&text);
            return sl_apierror_set_code(a->error, len, NULL, NULL);
        }
        sl_strbuf_add(&text, piece, (size_t)len);
    }
    sl_jsonwriter_begin_object(&a->w);
    sl_apijson_text_len(&a->w, "content", text.len ? text.ptr : "", text.len);
    sl_jsonwriter_end_object(&a->w);
    if (text.error)
        a->w.buf.error = text.error;
    sl_strbuf_done(&text);
    return 0;
}

static int answer_apply_template(struct sl_apianswer *a)
{
    char *text = NULL;
    size_t len;
    int r = sl_apitext_render(a, &text, &len);

    if (r < 0)
        return r;
    sl_jsonwriter_begin_object(&a->w);
    sl_apijson_text_len(&a->w, "prompt", text, len);
    sl_jsonwriter_end_object(&a->w);
    free(text);
    return 0;
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

static int answer_health(struct sl_apianswer *a)
{
    if (a->state->is_loading)
        return sl_apierror_set(a->error, -EAGAIN, 503, NULL, "Loading model");
    sl_jsonwriter_begin_object(&a->w);
    sl_apijson_text(&a->w, "status", "ok");
    sl_jsonwriter_end_object(&a->w);
    return 0;
}

static void write_caps(struct sl_jsonwriter *w, const struct sl_apienv *env)
{
    sl_apijson_object(w, "chat_template_caps");
    sl_apijson_bool(w, "supports_object_arguments", true);
    sl_apijson_bool(w, "supports_parallel_tool_calls", env->has_tools);
    sl_apijson_bool(w, "supports_preserve_reasoning", false);
    sl_apijson_bool(w, "supports_reasoning_effort", false);
    sl_apijson_bool(w, "supports_string_content", true);
    sl_apijson_bool(w, "supports_system_role", true);
    sl_apijson_bool(w, "supports_tool_calls", env->has_tools);
    sl_apijson_bool(w, "supports_tools", env->has_tools);
    sl_apijson_bool(w, "supports_typed_content", true);
    sl_jsonwriter_end_object(w);
}

static int answer_props(struct sl_apianswer *a)
{
    const struct sl_apienv *env = a->env;
    struct sl_jsonwriter *w = &a->w;

    sl_jsonwriter_begin_object(w);
    sl_apijson_object(w, "default_generation_settings");
    sl_jsonwriter_key(w, "params");
    sl_apisettings_write_default(env, w);
    sl_apijson_i64(w, "n_ctx", env->n_ctx_tok);
    sl_jsonwriter_end_object(w);
    sl_apijson_i64(w, "total_slots", env->n_slots);
    sl_apijson_text(w, "model_alias", env->model);
    sl_apijson_text(w, "model_ftype", env->quantization);
    sl_apijson_text(w, "model_path", env->path);
    sl_apijson_object(w, "modalities");
    sl_apijson_bool(w, "vision", false);
    sl_apijson_bool(w, "video", false);
    sl_apijson_bool(w, "audio", false);
    sl_jsonwriter_end_object(w);
    sl_apijson_text(w, "media_marker", "");
    sl_apijson_bool(w, "endpoint_slots", env->has_slots);
    sl_apijson_bool(w, "endpoint_props", false);
    sl_apijson_bool(w, "endpoint_metrics", env->has_metrics);
    sl_apijson_bool(w, "ui", env->has_page);
    sl_apijson_object(w, "ui_settings");
    sl_jsonwriter_end_object(w);
    sl_apijson_text(w, "chat_template", env->chat_template);
    write_caps(w, env);
    sl_apijson_text(w, "bos_token", env->bos);
    sl_apijson_text(w, "eos_token", env->eos);
    sl_apijson_text(w, "build_info", env->fingerprint);
    sl_apijson_bool(w, "is_sleeping", a->state->is_sleeping);
    sl_apijson_bool(w, "cors_proxy_enabled", false);
    sl_jsonwriter_end_object(w);
    return 0;
}

static int answer_no_adapters(struct sl_apianswer *a)
{
    sl_jsonwriter_begin_array(&a->w);
    sl_jsonwriter_end_array(&a->w);
    return 0;
}

static void check_switch(struct sl_apiobject *o, bool is_on, const char *what, const char *option)
{
    if (!is_on)
        o->parse->code = sl_apierror_set(
            o->parse->error, -ENOTSUP, 501, NULL,
            "This server does not support %s endpoint. Start it with `%s`", what, option);
}

static void parse_metrics(struct sl_apiobject *o)
{
    check_switch(o, o->parse->env->has_metrics, "metrics", "--metrics");
}

static void parse_slots(struct sl_apiobject *o)
{
    check_switch(o, o->parse->env->has_slots, "slots", "--slots");
}

/* The value of a member of the query, or NULL; its length in ret_len. */
static const char *find_query(const char *query, const char *key, size_t *ret_len)
{
    size_t len = strlen(key);

    while (*query) {
        size_t n = strcspn(query, "&");

        if (n > len && strncmp(query, key, len) == 0 && query[len] == '=') {
            *ret_len = n - len - 1;
            return query + len + 1;
        }
        query += n + (query[n] == '&');
    }
    return NULL;
}

/* A name of a file without a folder, and none that a folder could hide in. */
static bool is_plain_name(const char *name)
{
    return *name && *name != '.' && strlen(name) < 256 &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
               strlen(name);
}

static void parse_slot_action(struct sl_apiobject *o)
{
    static const struct {
        const char *name;
        enum sl_apiwork work;
    } actions[] = {
        {"save", SL_APIWORK_SLOT_SAVE},
        {"restore", SL_APIWORK_SLOT_RESTORE},
        {"erase", SL_APIWORK_SLOT_ERASE},
    };
    struct sl_apicall *call = o->parse->call;
    size_t len = 0;
    const char *action = find_query(o->parse->query, "action", &len);
    char *end;
    long slot = strtol(call->name, &end, 10);

    parse_slots(o);
    if (*end || end == call->name || slot < 0 || slot >= (long)o->parse->env->n_slots)
        sl_apiobject_fail(o, "id_slot", "0 to %u expected", o->parse->env->n_slots - 1);
    call->slot = (uint32_t)slot;
    for (size_t i = 0; action && i < sizeof(actions) / sizeof(actions[0]); i++)
        if (strlen(actions[i].name) == len && strncmp(action, actions[i].name, len) == 0)
            call->work = actions[i].work;
    if (call->work == SL_APIWORK_SLOTS)
        sl_apiobject_fail(o, "action", "save, restore or erase expected");
    if (call->work == SL_APIWORK_SLOT_ERASE)
        return;
    (void)sl_apiobject_require(o, "filename", SL_JSON_STRING);
    call->filename = sl_apiobject_copy(o, "filename");
    if (call->filename && !is_plain_name(call->filename))
        sl_apiobject_fail(o, "filename", "letters, digits, \".\", \"_\" and \"-\" expected");
}

static void refuse(struct sl_apiobject *o)
{
    o->parse->code = sl_apierror_set(o->parse->error, -ENOTSUP, 501, NULL,
                                     "This server does not support this endpoint");
}

static void refuse_embeddings(struct sl_apiobject *o)
{
    o->parse->code =
        sl_apierror_set(o->parse->error, -ENOTSUP, 501, NULL,
                        "This server does not support embeddings");
}

static void refuse_reranking(struct sl_apiobject *o)
{
    o->parse->code =
        sl_apierror_set(o->parse->error, -ENOTSUP, 501, NULL,
                        "This server does not support reranking");
}

#define GET(path, work_, flags_, parse_, answer_) \
    { \
        .method = SL_HTTP_GET, .pattern = path, .form = SL_APIFORM_LLAMACPP, .work = work_, \
        .flags = flags_, .parse = parse_, .answer = answer_, \
    }
#define POST(path, form_, work_, flags_, parse_, answer_) \
    { \
        .method = SL_HTTP_POST, .pattern = path, .form = form_, .work = work_, \
        .flags = flags_, .parse = parse_, .answer = answer_, \
    }
#define TEXT(path, form_, parse_, answer_) \
    POST(path, form_, SL_APIWORK_TEXT, SL_APIENDPOINT_BODY, parse_, answer_)
#define REFUSED(path, form_, parse_) POST(path, form_, SL_APIWORK_STATE, 0, parse_, NULL)
#define OPEN (SL_APIENDPOINT_PUBLIC | SL_APIENDPOINT_STATIC)

static const struct sl_apiendpoint endpoints[] = {
    GET("/health", SL_APIWORK_STATE, OPEN, NULL, answer_health),
    GET("/v1/health", SL_APIWORK_STATE, OPEN, NULL, answer_health),
    GET("/props", SL_APIWORK_STATE, 0, NULL, answer_props),
    GET("/lora-adapters", SL_APIWORK_STATE, 0, NULL, answer_no_adapters),
    GET("/metrics", SL_APIWORK_METRICS, 0, parse_metrics, NULL),
    GET("/slots", SL_APIWORK_SLOTS, 0, parse_slots, NULL),
    POST("/slots/*", SL_APIFORM_LLAMACPP, SL_APIWORK_SLOTS, SL_APIENDPOINT_MAY_BODY,
         parse_slot_action, NULL),
    TEXT("/tokenize", SL_APIFORM_LLAMACPP, parse_tokenize, answer_tokenize),
    TEXT("/detokenize", SL_APIFORM_LLAMACPP, parse_detokenize, answer_detokenize),
    TEXT("/apply-template", SL_APIFORM_LLAMACPP, sl_apichat_parse, answer_apply_template),
    TEXT("/v1/chat/completions/input_tokens", SL_APIFORM_OPENAI, sl_apichat_parse, answer_count),
    TEXT("/chat/completions/input_tokens", SL_APIFORM_OPENAI, sl_apichat_parse, answer_count),
    REFUSED("/props", SL_APIFORM_LLAMACPP, refuse),
    REFUSED("/lora-adapters", SL_APIFORM_LLAMACPP, refuse),
    REFUSED("/infill", SL_APIFORM_LLAMACPP, refuse),
    REFUSED("/embedding", SL_APIFORM_LLAMACPP, refuse_embeddings),
    REFUSED("/embeddings", SL_APIFORM_LLAMACPP, refuse_embeddings),
    REFUSED("/v1/embeddings", SL_APIFORM_OPENAI, refuse_embeddings),
    REFUSED("/rerank", SL_APIFORM_LLAMACPP, refuse_reranking),
    REFUSED("/reranking", SL_APIFORM_LLAMACPP, refuse_reranking),
    REFUSED("/v1/rerank", SL_APIFORM_LLAMACPP, refuse_reranking),
    REFUSED("/v1/reranking", SL_APIFORM_LLAMACPP, refuse_reranking),
};

struct sl_apilist sl_apillamainfo_list(void)
{
    return (struct sl_apilist){endpoints, sizeof(endpoints) / sizeof(endpoints[0])};
}
