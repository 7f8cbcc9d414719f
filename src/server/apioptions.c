#include "server/apioptions.h"

#include <string.h>

#include "server/apisampling.h"

void sl_apioptions_default(struct sl_apiparse *parse)
{
    struct sl_genreq *gen = &parse->call->gen;

    gen->sampling = parse->env->sampling;
    gen->sampling.bias = NULL;
    gen->sampling.n_bias = 0;
    gen->n_predict_max = parse->env->n_predict_max;
    gen->slot = -1;
    gen->ping_s = -1;
}

void sl_apioptions_read_limit(struct sl_apiobject *o, const char *const *keys, size_t n_keys)
{
    int64_t n;

    for (size_t i = 0; i < n_keys; i++)
        if (sl_apiobject_i64(o, keys[i], -2, INT32_MAX, &n)) {
            o->parse->call->gen.n_predict_max = n < 0 ? -1 : n;
            return;
        }
}

void sl_apioptions_read_effort(struct sl_apiobject *o, const char *key)
{
    const char *effort = sl_apiobject_text(o, key, NULL);

    if (effort && strcmp(effort, "none") == 0)
        o->parse->call->gen.reasoning = SL_GENREASONING_HIDDEN;
}

void sl_apioptions_read_probs(struct sl_apiobject *o)
{
    struct sl_genreq *gen = &o->parse->call->gen;
    int64_t n;

    if (!sl_apiobject_i64(o, "n_probs", 0, SL_GENREQ_TOP_MAX, &n) || n == 0)
        return;
    gen->flags |= SL_GENREQ_LOGPROBS;
    gen->n_top = (uint32_t)n;
}

static void read_flags(struct sl_apiobject *o)
{
    struct sl_genreq *gen = &o->parse->call->gen;
    struct sl_apiobject stream_options = sl_apiobject_object(o, "stream_options");
    bool truth = true;
    int64_t n;

    sl_apiobject_flag(o, "stream", SL_GENREQ_STREAM, &gen->flags);
    sl_apiobject_flag(&stream_options, "include_usage", SL_GENREQ_USAGE, &gen->flags);
    sl_apiobject_flag(o, "timings_per_token", SL_GENREQ_TIMINGS, &gen->flags);
    sl_apiobject_flag(o, "return_progress", SL_GENREQ_PROGRESS, &gen->flags);
    if (sl_apiobject_bool(o, "cache_prompt", &truth) && !truth)
        gen->flags |= SL_GENREQ_NO_CACHE;
    if (sl_apiobject_i64(o, "id_slot", -1, INT32_MAX, &n)) {
        if (n >= (int64_t)o->parse->env->n_slots)
            sl_apiobject_fail(o, "id_slot", "there are slots 0 to %u",
                              o->parse->env->n_slots - 1);
        gen->slot = (int32_t)n;
    }
    if (sl_apiobject_i64(o, "sse_ping_interval", -1, INT32_MAX, &n))
        gen->ping_s = n < 0 ? 0 : (int32_t)n;
}

void sl_apioptions_read(struct sl_apiobject *o)
{
    static const char *const limits[] = {"n_predict", "max_completion_tokens", "max_tokens"};
    static const struct sl_apirefusal refusals[] = {
        {"n", SL_APINEUTRAL_ONE, "send one request for each choice"},
        {"n_cmpl", SL_APINEUTRAL_ONE, "send one request for each choice"},
        {"best_of", SL_APINEUTRAL_ONE, NULL},
        {"echo", SL_APINEUTRAL_ZERO, NULL},
        {"suffix", SL_APINEUTRAL_EMPTY, NULL},
        {"n_indent", SL_APINEUTRAL_TO_ZERO, NULL},
        {"t_max_predict_ms", SL_APINEUTRAL_TO_ZERO, "use max_tokens"},
        {"post_sampling_probs", SL_APINEUTRAL_ZERO, NULL},
        {"min_tokens", SL_APINEUTRAL_TO_ZERO, NULL},
        {"lora", SL_APINEUTRAL_EMPTY, NULL},
        {"grammar_lazy", SL_APINEUTRAL_ZERO, "use tools, or a grammar for the whole reply"},
        {"grammar_triggers", SL_APINEUTRAL_EMPTY, NULL},
        {"reasoning_budget_tokens", SL_APINEUTRAL_BELOW, NULL},
        {"thinking_budget_tokens", SL_APINEUTRAL_BELOW, NULL},
        {"chat_template", SL_APINEUTRAL_EMPTY, "the model's own is used"},
        {"guided_json", SL_APINEUTRAL_NONE, "use response_format"},
        {"guided_grammar", SL_APINEUTRAL_NONE, "use grammar"},
        {"guided_regex", SL_APINEUTRAL_NONE, "use response_format with a pattern"},
        {"guided_choice", SL_APINEUTRAL_NONE, "use response_format with an enum"},
        {"structured_outputs", SL_APINEUTRAL_NONE, "use response_format"},
    };
    struct sl_genreq *gen = &o->parse->call->gen;

    gen->model = sl_apiobject_copy(o, "model");
    read_flags(o);
    sl_apioptions_read_limit(o, limits, sizeof(limits) / sizeof(limits[0]));
    sl_apisampling_read(o);
    sl_apisampling_read_order(o);
    sl_apisampling_read_bias(o);
    sl_apisampling_read_stops(o, "stop");
    sl_apisampling_refuse(o, refusals, sizeof(refusals) / sizeof(refusals[0]));
    gen->cache_key = sl_apiobject_copy(o, "prompt_cache_key");
}
