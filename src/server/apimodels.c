/*
 * The list is OpenAI's and, beside it in "models", Ollama's, as llama.cpp has it.
 */
#include "server/apimodels.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/apijson.h"

static bool is_name(const char *served, const char *name)
{
    size_t len = strlen(served);

    return strncmp(served, name, len) == 0 &&
           (name[len] == '\0' || strcmp(name + len, ":latest") == 0);
}

bool sl_apimodels_is_served(const struct sl_apienv *env, const char *name)
{
    for (size_t i = 0; i < env->n_aliases; i++)
        if (is_name(env->aliases[i], name))
            return true;
    return is_name(env->model, name);
}

void sl_apimodels_write_capabilities(const struct sl_apienv *env, struct sl_jsonwriter *w)
{
    sl_jsonwriter_begin_array(w);
    sl_jsonwriter_string(w, "completion");
    if (env->has_tools)
        sl_jsonwriter_string(w, "tools");
    if (env->has_thinking)
        sl_jsonwriter_string(w, "thinking");
    sl_jsonwriter_end_array(w);
}

/* "23.8B", "365.1K" */
static void write_size(const struct sl_apienv *env, struct sl_jsonwriter *w)
{
    static const char units[] = {'K', 'M', 'B', 'T'};
    double n = (double)env->n_params / 1e3;
    char text[32];
    size_t i = 0;

    for (; n >= 999.95 && i + 1 < sizeof(units); i++)
        n /= 1e3;
    (void)snprintf(text, sizeof(text), "%.1f%c", n, units[i]);
    sl_apijson_text(w, "parameter_size", text);
}

void sl_apimodels_write_details(const struct sl_apienv *env, struct sl_jsonwriter *w)
{
    sl_apijson_object(w, "details");
    sl_apijson_text(w, "parent_model", "");
    sl_apijson_text(w, "format", "gguf");
    sl_apijson_text(w, "family", env->architecture);
    sl_apijson_array(w, "families");
    sl_jsonwriter_string(w, env->architecture);
    sl_jsonwriter_end_array(w);
    write_size(env, w);
    sl_apijson_text(w, "quantization_level", env->quantization);
    sl_jsonwriter_end_object(w);
}

static void write_ollama_model(const struct sl_apienv *env, struct sl_jsonwriter *w)
{
    sl_jsonwriter_begin_object(w);
    sl_apijson_text(w, "name", env->model);
    sl_apijson_text(w, "model", env->model);
    sl_apijson_text(w, "modified_at", "");
    sl_apijson_text(w, "size", "");
    sl_apijson_text(w, "digest", "");
    sl_apijson_text(w, "type", "model");
    sl_apijson_text(w, "description", "");
    sl_apijson_array(w, "tags");
    sl_jsonwriter_string(w, "");
    sl_jsonwriter_end_array(w);
    sl_jsonwriter_key(w, "capabilities");
    sl_apimodels_write_capabilities(env, w);
    sl_apijson_text(w, "parameters", "");
    sl_apimodels_write_details(env, w);
    sl_jsonwriter_end_object(w);
}

static void write_model(const struct sl_apienv *env, struct sl_jsonwriter *w)
{
    sl_jsonwriter_begin_object(w);
    sl_apijson_text(w, "id", env->model);
    sl_apijson_array(w, "aliases");
    for (size_t i = 0; i < env->n_aliases; i++)
        sl_jsonwriter_string(w, env->aliases[i]);
    sl_jsonwriter_end_array(w);
    sl_apijson_array(w, "tags");
    sl_jsonwriter_end_array(w);
    sl_apijson_text(w, "object", "model");
    sl_apijson_i64(w, "created", env->started_s);
    sl_apijson_text(w, "owned_by", "sluice");
    sl_apijson_object(w, "meta");
    sl_apijson_i64(w, "vocab_type", 2); /* llama.cpp's number of byte-level BPE */
    sl_apijson_i64(w, "n_vocab", env->n_vocab);
    sl_apijson_i64(w, "n_ctx", env->n_ctx_tok);
    sl_apijson_i64(w, "n_ctx_train", env->n_ctx_train_tok);
    sl_apijson_i64(w, "n_embd", env->n_embd);
    sl_apijson_i64(w, "n_params", (int64_t)env->n_params);
    sl_apijson_i64(w, "size", (int64_t)env->file_bytes);
    sl_apijson_text(w, "ftype", env->quantization);
    sl_jsonwriter_end_object(w);
    sl_jsonwriter_end_object(w);
}

static int answer_list(struct sl_apianswer *a)
{
    sl_jsonwriter_begin_object(&a->w);
    sl_apijson_array(&a->w, "models");
    write_ollama_model(a->env, &a->w);
    sl_jsonwriter_end_array(&a->w);
    sl_apijson_text(&a->w, "object", "list");
    sl_apijson_array(&a->w, "data");
    write_model(a->env, &a->w);
    sl_jsonwriter_end_array(&a->w);
    sl_jsonwriter_end_object(&a->w);
    return 0;
}

static int answer_one(struct sl_apianswer *a)
{
    write_model(a->env, &a->w);
    return 0;
}

static void parse_one(struct sl_apiobject *o)
{
    const char *name = o->parse->call->name;

    if (sl_apimodels_is_served(o->parse->env, name))
        return;
    o->parse->code = sl_apierror_set(o->parse->error, -ENOENT, 404, "model",
                                     "\"%.100s\" is not served here; GET /v1/models has the name",
                                     name);
}

#define GET(path, parse_, answer_) \
    { \
        .method = SL_HTTP_GET, .pattern = path, .form = SL_APIFORM_OPENAI, \
        .work = SL_APIWORK_STATE, .parse = parse_, .answer = answer_, \
    }

static const struct sl_apiendpoint endpoints[] = {
    GET("/v1/models", NULL, answer_list),
    GET("/models", NULL, answer_list),
    GET("/v1/models/*", parse_one, answer_one),
};

struct sl_apilist sl_apimodels_list(void)
{
    return (struct sl_apilist){endpoints, sizeof(endpoints) / sizeof(endpoints[0])};
}
