/*
 * Keys and their order are llama.cpp's. A stream has a piece for each piece of text, with the
 * tokens that came since the one before it; the last, with empty text, has what a reply in
 * one piece has. response_fields picks members of that.
 */
#include "server/apillama.h"

#include <errno.h>
#include <string.h>

#include "server/apiformat.h"
#include "server/apijson.h"
#include "server/apioptions.h"
#include "server/apiprompt.h"
#include "server/apisettings.h"
#include "server/apiusage.h"
#include "server/sse.h"

#define FIELDS_MAX 64

/* Keep the list of fields, an array of texts, as the call's echo. */
static void read_fields(struct sl_apiobject *o)
{
    const struct sl_json *list = sl_apiobject_get(o, "response_fields", SL_JSON_ARRAY);
    struct sl_jsonwriter w;

    if (sl_json_n_items(list) == 0)
        return;
    if (sl_json_n_items(list) > FIELDS_MAX)
        sl_apiobject_fail(o, "response_fields", "at most %d are supported", FIELDS_MAX);
    for (size_t i = 0; i < sl_json_n_items(list) && !sl_apiobject_is_failed(o); i++) {
        const char *path = sl_json_get_string(sl_json_item(list, i), NULL);

        if (!path)
            sl_apiobject_fail(o, "response_fields", "texts expected");
        for (size_t k = 0; path && k < i; k++)
            if (strcmp(sl_json_get_string(sl_json_item(list, k), NULL), path) == 0)
                sl_apiobject_fail(o, "response_fields", "\"%.60s\" is there twice", path);
    }
    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_value(&w, list);
    if (sl_strbuf_take(&w.buf, &o->parse->call->echo_json, NULL) < 0)
        sl_apiparse_no_memory(o->parse);
}

static void parse(struct sl_apiobject *o)
{
    struct sl_genreq *gen = &o->parse->call->gen;

    sl_apioptions_read(o);
    sl_apioptions_read_probs(o);
    sl_apiobject_flag(o, "return_tokens", SL_GENREQ_TOKENS, &gen->flags);
    if (gen->flags & SL_GENREQ_STREAM)
        gen->flags |= SL_GENREQ_TOKENS;
    gen->flags |= SL_GENREQ_PROMPT_TEXT;
    gen->reasoning = SL_GENREASONING_TEXT;
    read_fields(o);
    sl_apiformat_read_grammar(o);
    sl_apiprompt_read(o, "prompt");
    sl_apiformat_finish(o->parse);
}

static void write_tokens(struct sl_apiwriter *w)
{
    sl_jsonwriter_key(&w->w, "tokens");
    if (w->call->gen.flags & SL_GENREQ_TOKENS) {
        sl_apitokens_write_ids(&w->tokens, &w->w);
        return;
    }
    sl_jsonwriter_begin_array(&w->w);
    sl_jsonwriter_end_array(&w->w);
}

static void write_probs(struct sl_apiwriter *w)
{
    if (!(w->call->gen.flags & SL_GENREQ_LOGPROBS) || w->tokens.n == 0)
        return;
    sl_jsonwriter_key(&w->w, "completion_probabilities");
    sl_apitokens_write_probs(&w->tokens, 0, SL_APITOKENS_IDS, &w->w);
}

static const char *stop_type(enum sl_genfinish finish)
{
    switch (finish) {
    case SL_GENFINISH_EOS: return "eos";
    case SL_GENFINISH_WORD: return "word";
    case SL_GENFINISH_LENGTH:
    case SL_GENFINISH_CONTEXT: return "limit";
    default: return "none";
    }
}

static void write_end(struct sl_apiwriter *w, const char *text, size_t len)
{
    struct sl_jsonwriter *j = &w->w;
    int64_t n = (int64_t)w->counts.n_prompt_tok + w->counts.n_predicted_tok;

    sl_jsonwriter_begin_object(j);
    sl_apijson_i64(j, "index", 0);
    sl_apijson_text_len(j, "content", text, len);
    write_tokens(w);
    sl_apijson_i64(j, "id_slot", w->slot);
    sl_apijson_bool(j, "stop", true);
    sl_apijson_text(j, "model", w->env->model);
    sl_apijson_i64(j, "tokens_predicted", w->counts.n_predicted_tok);
    sl_apijson_i64(j, "tokens_evaluated", w->counts.n_prompt_tok);
    sl_jsonwriter_key(j, "generation_settings");
    sl_apisettings_write(&w->call->gen, w->seed, j);
    sl_apijson_text_len(j, "prompt", w->prompt.len ? w->prompt.ptr : "", w->prompt.len);
    sl_apijson_bool(j, "has_new_line", w->has_new_line);
    sl_apijson_bool(j, "truncated", w->finish == SL_GENFINISH_CONTEXT);
    sl_apijson_text(j, "stop_type", stop_type(w->finish));
    sl_apijson_text(j, "stopping_word", w->word ? w->word : "");
    sl_apijson_i64(j, "tokens_cached", n > 0 ? n - 1 : 0);
    sl_apiusage_write_timings(&w->counts, j);
    write_probs(w);
    sl_jsonwriter_end_object(j);
}

/* Past the text in quotes at p. What is read here was written here, so it is well formed. */
static const char *skip_text(const char *p)
{
    for (p++; *p != '"'; p++)
        p += *p == '\\';
    return p + 1;
}

/* Past the JSON value at p. */
static const char *skip_value(const char *p)
{
    int depth = 0;

    for (;;) {
        if (*p == '"') {
            p = skip_text(p);
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
        } else if (depth == 0 && strchr(",}]", *p)) {
            return p; /* behind a number or word */
        } else {
            depth -= *p == '}' || *p == ']';
            p++;
        }
        if (depth == 0 && strchr(",}]", *p))
            return p;
    }
}

/* The text of the member that a path like "generation_settings/n_predict" names in the
 * object at p, or NULL; its last name is ret_key. */
static const char *find_field(const char *p, const char *path, const char **ret_key,
                              const char **ret_end)
{
    const char *slash = strchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : strlen(path);

    *ret_key = path;
    while (*p == '{' || *p == ',') {
        const char *key = p + 2, *value;

        if (p[1] == '}')
            return NULL;
        value = skip_text(p + 1) + 1;
        *ret_end = skip_value(value);
        if ((size_t)(value - 2 - key) == len && memcmp(key, path, len) == 0) {
            if (!slash)
                return value;
            return *value == '{' ? find_field(value, slash + 1, ret_key, ret_end) : NULL;
        }
        p = *ret_end;
    }
    return NULL;
}

/* Reduce what was written to the fields asked for. */
static void pick_fields(struct sl_apiwriter *w)
{
    const char *echo = w->call->echo_json;
    struct sl_json_doc *fields = NULL;
    struct sl_strbuf all = w->w.buf;

    sl_jsonwriter_init(&w->w, NULL, 0);
    /* the list was written here: nothing but memory can be wrong with it */
    if (all.error || sl_json_parse(&fields, echo, strlen(echo), NULL) < 0) {
        w->w.buf.error = -ENOMEM;
        sl_strbuf_done(&all);
        return;
    }
    sl_jsonwriter_begin_object(&w->w);
    for (size_t i = 0; i < sl_json_n_items(sl_json_root(fields)); i++) {
        const char *path = sl_json_get_string(sl_json_item(sl_json_root(fields), i), NULL);
        const char *key, *end;
        const char *value = find_field(all.ptr, path, &key, &end);

        if (!value)
            continue;
        sl_jsonwriter_key(&w->w, key);
        sl_jsonwriter_raw(&w->w, value, (size_t)(end - value));
    }
    sl_jsonwriter_end_object(&w->w);
    sl_json_free(fields);
    sl_strbuf_done(&all);
}

static void tell(struct sl_apiwriter *w, const struct sl_genevent *event)
{
    struct sl_jsonwriter *j = &w->w;
    bool is_text = event->kind == SL_GENEVENT_TEXT;

    if (event->kind == SL_GENEVENT_FINISH) {
        write_end(w, "", 0);
        if (w->call->echo_json)
            pick_fields(w);
        sl_apiwriter_send_event(w, NULL);
        return;
    }
    if (!is_text && event->kind != SL_GENEVENT_PROGRESS)
        return;
    sl_jsonwriter_begin_object(j);
    sl_apijson_i64(j, "index", 0);
    if (is_text)
        sl_apijson_text_len(j, "content", event->text.ptr, event->text.len);
    else
        sl_apijson_text(j, "content", "");
    write_tokens(w);
    sl_apijson_bool(j, "stop", false);
    sl_apijson_i64(j, "id_slot", -1);
    sl_apijson_i64(j, "tokens_predicted", w->counts.n_predicted_tok);
    sl_apijson_i64(j, "tokens_evaluated", w->counts.n_prompt_tok);
    if (is_text && w->call->gen.flags & SL_GENREQ_TIMINGS)
        sl_apiusage_write_timings(&w->counts, j);
    write_probs(w);
    if (!is_text)
        sl_apiusage_write_progress(event, j);
    sl_jsonwriter_end_object(j);
    sl_apitokens_clear(&w->tokens);
    sl_apiwriter_send_event(w, NULL);
}

static void tell_all(struct sl_apiwriter *w)
{
    write_end(w, w->text.len ? w->text.ptr : "", w->text.len);
    if (w->call->echo_json)
        pick_fields(w);
}

static const struct sl_apivoice voice = {
    .stream_type = SL_SSE_TYPE,
    .tell = tell,
    .tell_all = tell_all,
};

#define COMPLETION(path) \
    { \
        .method = SL_HTTP_POST, .pattern = path, .form = SL_APIFORM_LLAMACPP, \
        .work = SL_APIWORK_GENERATE, .flags = SL_APIENDPOINT_BODY, .parse = parse, \
        .voice = &voice, \
    }

static const struct sl_apiendpoint endpoints[] = {
    COMPLETION("/completion"),
    COMPLETION("/completions"),
};

struct sl_apilist sl_apillama_list(void)
{
    return (struct sl_apilist){endpoints, sizeof(endpoints) / sizeof(endpoints[0])};
}
