#include "server/apisettings.h"

#include <math.h>

#include "server/apijson.h"

static void write_f32(struct sl_jsonwriter *w, const char *key, float value)
{
    sl_apijson_f64(w, key, (double)value);
}

static void write_texts(struct sl_jsonwriter *w, const char *key, const char *const *texts,
                        size_t n)
{
    sl_apijson_array(w, key);
    for (size_t i = 0; i < n; i++)
        sl_jsonwriter_string(w, texts[i]);
    sl_jsonwriter_end_array(w);
}

static void write_empty(struct sl_jsonwriter *w, const char *key)
{
    write_texts(w, key, NULL, 0);
}

/* -INFINITY, which JSON has no number for, is false, as in a request. */
static void write_biases(const struct sl_genreq *req, struct sl_jsonwriter *w)
{
    sl_apijson_array(w, "logit_bias");
    for (size_t i = 0; i < req->n_biases; i++) {
        const struct sl_genbias *bias = &req->biases[i];

        sl_jsonwriter_begin_object(w);
        if (isfinite(bias->bias))
            write_f32(w, "bias", bias->bias);
        else
            sl_apijson_bool(w, "bias", false);
        if (bias->token >= 0)
            sl_apijson_i64(w, "token", bias->token);
        else
            sl_apijson_text(w, "token", bias->text);
        sl_jsonwriter_end_object(w);
    }
    sl_jsonwriter_end_array(w);
}

static void write_sampling(const struct sluice_sampler_opts *s, uint64_t seed,
                           struct sl_jsonwriter *w)
{
    sl_jsonwriter_key(w, "seed");
    sl_jsonwriter_u64(w, seed);
    write_f32(w, "temperature", s->temperature);
    sl_apijson_f64(w, "dynatemp_range", 0.0);
    sl_apijson_f64(w, "dynatemp_exponent", 1.0);
    sl_apijson_i64(w, "top_k", s->top_k);
    write_f32(w, "top_p", s->top_p);
    write_f32(w, "min_p", s->min_p);
    sl_apijson_f64(w, "top_n_sigma", -1.0);
    sl_apijson_f64(w, "xtc_probability", 0.0);
    write_f32(w, "xtc_threshold", 0.1f);
    sl_apijson_f64(w, "typical_p", 1.0);
    sl_apijson_i64(w, "repeat_last_n", s->penalty_last_n);
    write_f32(w, "repeat_penalty", s->repeat_penalty);
    write_f32(w, "presence_penalty", s->presence_penalty);
    write_f32(w, "frequency_penalty", s->frequency_penalty);
    sl_apijson_f64(w, "dry_multiplier", 0.0);
    sl_apijson_f64(w, "dry_base", 1.75);
    sl_apijson_i64(w, "dry_allowed_length", 2);
    sl_apijson_i64(w, "dry_penalty_last_n", 64);
}

static void write_other_samplers(struct sl_jsonwriter *w)
{
    sl_apijson_i64(w, "mirostat", 0);
    sl_apijson_f64(w, "mirostat_tau", 5.0);
    write_f32(w, "mirostat_eta", 0.1f);
    sl_apijson_f64(w, "adaptive_target", -1.0);
    write_f32(w, "adaptive_decay", 0.9f);
}

static void write_limits(const struct sl_genreq *req, struct sl_jsonwriter *w)
{
    sl_apijson_i64(w, "max_tokens", req->n_predict_max);
    sl_apijson_i64(w, "n_predict", req->n_predict_max);
    sl_apijson_i64(w, "n_keep", 0);
    sl_apijson_i64(w, "n_discard", 0);
    sl_apijson_bool(w, "ignore_eos", req->flags & SL_GENREQ_IGNORE_EOS);
    sl_apijson_bool(w, "stream", req->flags & SL_GENREQ_STREAM);
}

static void write_format(const struct sl_genreq *req, struct sl_jsonwriter *w)
{
    static const char *const samplers[] = {"penalties", "top_k", "top_p", "min_p", "temperature"};

    sl_apijson_text(w, "chat_format", "Content-only");
    sl_apijson_text(w, "reasoning_format",
                    req->reasoning == SL_GENREASONING_TEXT ? "none" : "deepseek");
    sl_apijson_bool(w, "reasoning_in_content", false);
    sl_apijson_text(w, "generation_prompt", "");
    write_texts(w, "samplers", samplers, sizeof(samplers) / sizeof(samplers[0]));
    sl_apijson_text(w, "speculative.types", "none");
    sl_apijson_bool(w, "timings_per_token", req->flags & SL_GENREQ_TIMINGS);
    sl_apijson_bool(w, "post_sampling_probs", false);
    sl_apijson_bool(w, "backend_sampling", false);
    write_empty(w, "lora");
}

void sl_apisettings_write(const struct sl_genreq *req, uint64_t seed, struct sl_jsonwriter *w)
{
    static const char *const breakers[] = {"\n", ":", "\"", "*"};

    sl_jsonwriter_begin_object(w);
    write_sampling(&req->sampling, seed, w);
    write_texts(w, "dry_sequence_breakers", breakers, sizeof(breakers) / sizeof(breakers[0]));
    write_other_samplers(w);
    write_texts(w, "stop", (const char *const *)req->stops, req->n_stops);
    write_limits(req, w);
    write_biases(req, w);
    sl_apijson_i64(w, "n_probs", req->n_top);
    sl_apijson_i64(w, "min_keep", 0);
    sl_apijson_text_len(w, "grammar", req->grammar ? req->grammar : "", req->grammar_len);
    sl_apijson_bool(w, "grammar_lazy", false);
    write_empty(w, "grammar_triggers");
    write_empty(w, "preserved_tokens");
    write_format(req, w);
    sl_jsonwriter_end_object(w);
}

void sl_apisettings_write_default(const struct sl_apienv *env, struct sl_jsonwriter *w)
{
    const struct sl_genreq req = {
        .sampling = env->sampling,
        .n_predict_max = env->n_predict_max,
        .reasoning = SL_GENREASONING_TEXT,
    };

    sl_jsonwriter_begin_object(w);
    write_sampling(&req.sampling, req.sampling.seed, w);
    write_other_samplers(w);
    write_limits(&req, w);
    sl_apijson_i64(w, "n_probs", 0);
    sl_apijson_i64(w, "min_keep", 0);
    write_format(&req, w);
    sl_jsonwriter_end_object(w);
}
