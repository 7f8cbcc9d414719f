/*
 * Clients look at the version before they use tools or structured output, so it is that of the
 * Ollama whose API this is. One model is served: it cannot be pulled, copied or deleted.
 */
#include "server/apiollamainfo.h"

#include <errno.h>
#include <string.h>

#include "server/apijson.h"
#include "server/apimodels.h"
#include "server/apiollama.h"
#include "server/apitime.h"

#define OLLAMA_VERSION "0.12.6"

static void write_time(struct sl_jsonwriter *w, const char *key, int64_t unix_s)
{
    char time[SL_APITIME_BYTES];

    sl_apitime_print(time, unix_s * 1000000000);
    sl_apijson_text(w, key, time);
}

static int answer_root(struct sl_apianswer *a)
{
    sl_strbuf_add_str(a->out, "Ollama is running");
    a->reply.type = "text/plain; charset=utf-8";
    return 0;
}

static int answer_version(struct sl_apianswer *a)
{
    sl_jsonwriter_begin_object(&a->w);
    sl_apijson_text(&a->w, "version", OLLAMA_VERSION);
    sl_jsonwriter_end_object(&a->w);
    return 0;
}

static void begin_models(struct sl_apianswer *a)
{
    sl_jsonwriter_begin_object(&a->w);
    sl_apijson_array(&a->w, "models");
    sl_jsonwriter_begin_object(&a->w);
    sl_apijson_text(&a->w, "name", a->env->model);
    sl_apijson_text(&a->w, "model", a->env->model);
}

static void end_models(struct sl_apianswer *a)
{
    sl_jsonwriter_end_object(&a->w);
    sl_jsonwriter_end_array(&a->w);
    sl_jsonwriter_end_object(&a->w);
}

static int answer_tags(struct sl_apianswer *a)
{
    begin_models(a);
    write_time(&a->w, "modified_at", a->env->modified_s);
    sl_apijson_i64(&a->w, "size", (int64_t)a->env->file_bytes);
    sl_apijson_text(&a->w, "digest", a->env->digest);
    sl_apimodels_write_details(a->env, &a->w);
    sl_jsonwriter_key(&a->w, "capabilities");
    sl_apimodels_write_capabilities(a->env, &a->w);
    end_models(a);
    return 0;
}

static int answer_ps(struct sl_apianswer *a)
{
    int64_t expires_s = a->state->expires_s;

    begin_models(a);
    sl_apijson_i64(&a->w, "size", (int64_t)a->state->resident_bytes);
    sl_apijson_text(&a->w, "digest", a->env->digest);
    sl_apimodels_write_details(a->env, &a->w);
    /* never: as far ahead as nanoseconds of 63 bits reach */
    write_time(&a->w, "expires_at", expires_s ? expires_s : INT64_MAX / 1000000000);
    sl_apijson_i64(&a->w, "size_vram", 0);
    sl_apijson_i64(&a->w, "context_length", a->env->n_ctx_tok);
    end_models(a);
    return 0;
}

static void parse_show(struct sl_apiobject *o)
{
    const char *name = sl_apiobject_text(o, "model", NULL);

    sl_apiollama_check_model(o, name ? name : sl_apiobject_text(o, "name", NULL));
}

/* A line of "parameters": its name, blanks up to column 31, its value. */
static void add_parameter(struct sl_strbuf *buf, const char *name, double value)
{
    char text[SL_JSON_REAL_BYTES];
    size_t len;

    sl_json_print_real(text, value);
    len = strlen(text);
    if (len > 2 && strcmp(text + len - 2, ".0") == 0)
        text[len - 2] = '\0';
    sl_strbuf_add_fmt(buf, "%s%-30s %s", buf->len ? "\n" : "", name, text);
}

/* A float as the fewest digits that mean it, where double would show what float rounded. */
static double as_written(float value)
{
    double scaled = (double)value * 1e6;

    return (double)(int64_t)(scaled + (scaled < 0.0 ? -0.5 : 0.5)) / 1e6;
}

static int answer_show(struct sl_apianswer *a)
{
    const struct sluice_sampler_opts *s = &a->env->sampling;
    struct sl_strbuf parameters = {0};

    add_parameter(&parameters, "temperature", as_written(s->temperature));
    add_parameter(&parameters, "top_k", s->top_k);
    add_parameter(&parameters, "top_p", as_written(s->top_p));
    add_parameter(&parameters, "min_p", as_written(s->min_p));
    add_parameter(&parameters, "repeat_penalty", as_written(s->repeat_penalty));
    sl_jsonwriter_begin_object(&a->w);
    sl_apijson_text(&a->w, "parameters", parameters.len ? parameters.ptr : "");
    sl_apijson_text(&a->w, "template", a->env->chat_template);
    sl_apimodels_write_details(a->env, &a->w);
    sl_apijson_raw(&a->w, "model_info", a->env->model_info_json);
    sl_jsonwriter_key(&a->w, "capabilities");
    sl_apimodels_write_capabilities(a->env, &a->w);
    write_time(&a->w, "modified_at", a->env->modified_s);
    sl_jsonwriter_end_object(&a->w);
    if (parameters.error)
        a->w.buf.error = parameters.error;
    sl_strbuf_done(&parameters);
    return 0;
}

static void refuse_embedding(struct sl_apiobject *o)
{
    o->parse->code = sl_apierror_set(o->parse->error, -ENOTSUP, 501, NULL,
                                     "this server does not support embeddings");
}

static void refuse_managing(struct sl_apiobject *o)
{
    o->parse->code = sl_apierror_set(o->parse->error, -ENOTSUP, 501, NULL,
                                     "this server serves the model it was started with; models "
                                     "cannot be fetched, made, copied or deleted through it");
}

#define GET(path, flags_, answer_) \
    { \
        .method = SL_HTTP_GET, .pattern = path, .form = SL_APIFORM_OLLAMA, \
        .work = SL_APIWORK_STATE, .flags = flags_, .answer = answer_, \
    }
#define REFUSED(method_, path, parse_) \
    { \
        .method = method_, .pattern = path, .form = SL_APIFORM_OLLAMA, \
        .work = SL_APIWORK_STATE, .parse = parse_, \
    }

static const struct sl_apiendpoint endpoints[] = {
    GET("/", SL_APIENDPOINT_PUBLIC | SL_APIENDPOINT_STATIC, answer_root),
    GET("/api/version", SL_APIENDPOINT_STATIC, answer_version),
    GET("/api/tags", 0, answer_tags),
    GET("/api/ps", 0, answer_ps),
    {
        .method = SL_HTTP_POST,
        .pattern = "/api/show",
        .form = SL_APIFORM_OLLAMA,
        .work = SL_APIWORK_STATE,
        .flags = SL_APIENDPOINT_BODY,
        .parse = parse_show,
        .answer = answer_show,
    },
    REFUSED(SL_HTTP_POST, "/api/embed", refuse_embedding),
    REFUSED(SL_HTTP_POST, "/api/embeddings", refuse_embedding),
    REFUSED(SL_HTTP_POST, "/api/pull", refuse_managing),
    REFUSED(SL_HTTP_POST, "/api/push", refuse_managing),
    REFUSED(SL_HTTP_POST, "/api/create", refuse_managing),
    REFUSED(SL_HTTP_POST, "/api/copy", refuse_managing),
    REFUSED(SL_HTTP_DELETE, "/api/delete", refuse_managing),
};

struct sl_apilist sl_apiollamainfo_list(void)
{
    return (struct sl_apilist){endpoints, sizeof(endpoints) / sizeof(endpoints[0])};
}
