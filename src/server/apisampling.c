#include "server/apisampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 1e6f
#define PENALTY_LAST_N_MAX 65536 /* text/sampler.h */

static struct sl_genreq *gen_of(struct sl_apiobject *o)
{
    return &o->parse->call->gen;
}

static bool is_neutral(const struct sl_json *node, enum sl_apineutral neutral)
{
    bool truth = true;
    double number = NAN;

    if (sl_json_get_bool(node, &truth))
        return !truth && (neutral == SL_APINEUTRAL_ZERO || neutral == SL_APINEUTRAL_TO_ZERO ||
                          neutral == SL_APINEUTRAL_EMPTY);
    if (neutral == SL_APINEUTRAL_EMPTY) {
        const char *text = sl_json_get_string(node, NULL);

        return text ? *text == '\0'
                    : sl_json_n_items(node) == 0 && (sl_json_is(node, SL_JSON_ARRAY) ||
                                                     sl_json_is(node, SL_JSON_OBJECT));
    }
    (void)sl_json_get_f64(node, &number); /* what is no number is not neutral */
    switch (neutral) {
    case SL_APINEUTRAL_ZERO: return number == 0.0;
    case SL_APINEUTRAL_ONE: return number == 1.0;
    case SL_APINEUTRAL_TO_ZERO: return number <= 0.0;
    case SL_APINEUTRAL_BELOW: return number < 0.0;
    default: return false;
    }
}

void sl_apisampling_refuse(struct sl_apiobject *o, const struct sl_apirefusal *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct sl_json *node = sl_apiobject_find(o, list[i].key);

        if (node && !is_neutral(node, list[i].neutral))
            sl_apiobject_fail(o, list[i].key, "not supported%s%s", list[i].hint ? "; " : "",
                              list[i].hint ? list[i].hint : "");
    }
}

static void read_seed(struct sl_apiobject *o)
{
    struct sl_genreq *gen = gen_of(o);
    int64_t seed;

    if (!sl_apiobject_i64(o, "seed", INT64_MIN, INT64_MAX, &seed))
        return;
    gen->is_seeded = seed != -1;
    gen->sampling.seed = (uint64_t)seed;
}

void sl_apisampling_read(struct sl_apiobject *o)
{
    static const struct sl_apirefusal others[] = {
        {"typical_p", SL_APINEUTRAL_ONE, "use top_p or min_p"},
        {"tfs_z", SL_APINEUTRAL_ONE, "use top_p or min_p"},
        {"top_n_sigma", SL_APINEUTRAL_TO_ZERO, "use min_p"},
        {"xtc_probability", SL_APINEUTRAL_TO_ZERO, NULL},
        {"dynatemp_range", SL_APINEUTRAL_ZERO, "use temperature"},
        {"dry_multiplier", SL_APINEUTRAL_ZERO, "use repeat_penalty"},
        {"mirostat", SL_APINEUTRAL_ZERO, "use top_p or min_p"},
        {"adaptive_target", SL_APINEUTRAL_BELOW, NULL},
        {"min_keep", SL_APINEUTRAL_TO_ZERO, NULL},
    };
    struct sluice_sampler_opts *s = &gen_of(o)->sampling;
    int64_t n;

    sl_apiobject_f32(o, "temperature", 0.0f, NUMBER_MAX, &s->temperature);
    if (sl_apiobject_i64(o, "top_k", -1, INT32_MAX, &n))
        s->top_k = n > 0 ? (uint32_t)n : 0;
    sl_apiobject_f32(o, "top_p", 0.0f, 1.0f, &s->top_p);
    sl_apiobject_f32(o, "min_p", 0.0f, 1.0f, &s->min_p);
    sl_apiobject_f32(o, "repeat_penalty", 0.01f, NUMBER_MAX, &s->repeat_penalty);
    sl_apiobject_f32(o, "presence_penalty", -NUMBER_MAX, NUMBER_MAX, &s->presence_penalty);
    sl_apiobject_f32(o, "frequency_penalty", -NUMBER_MAX, NUMBER_MAX, &s->frequency_penalty);
    if (sl_apiobject_i64(o, "repeat_last_n", -1, INT32_MAX, &n)) {
        n = n < 0 ? o->parse->env->n_ctx_tok : n;
        s->penalty_last_n = (uint32_t)(n < PENALTY_LAST_N_MAX ? n : PENALTY_LAST_N_MAX);
    }
    read_seed(o);
    sl_apisampling_refuse(o, others, sizeof(others) / sizeof(others[0]));
}

/* Samplers that llama.cpp knows, by name and letter. Those of ours have a place in its default
 * order, which is ours; the others are off in any case. */
static const struct {
    const char *name;
    char letter;
    int place; /* 0: not one of ours */
} samplers[] = {
    {"penalties", 'e', 1}, {"top_k", 'k', 2},       {"top_p", 'p', 3},  {"min_p", 'm', 4},
    {"temperature", 't', 5}, {"dry", 'd', 0},       {"typ_p", 'y', 0},  {"typical_p", 'y', 0},
    {"xtc", 'x', 0},         {"top_n_sigma", 's', 0}, {"tfs_z", 'f', 0}, {"adaptive_p", 'a', 0},
};

static int find_sampler(const char *name, char letter)
{
    for (size_t i = 0; i < sizeof(samplers) / sizeof(samplers[0]); i++)
        if (name ? strcmp(samplers[i].name, name) == 0 : samplers[i].letter == letter)
            return samplers[i].place;
    return -1;
}

static void switch_off(struct sluice_sampler_opts *s, const bool *is_on)
{
    if (!is_on[1]) {
        s->repeat_penalty = 1.0f;
        s->presence_penalty = s->frequency_penalty = 0.0f;
    }
    s->top_k = is_on[2] ? s->top_k : 0;
    s->top_p = is_on[3] ? s->top_p : 1.0f;
    s->min_p = is_on[4] ? s->min_p : 0.0f;
    s->temperature = is_on[5] ? s->temperature : 1.0f;
}

void sl_apisampling_read_order(struct sl_apiobject *o)
{
    const struct sl_json *node = sl_apiobject_find(o, "samplers");
    const char *letters = sl_json_get_string(node, NULL);
    size_t n = letters ? strlen(letters) : sl_json_n_items(node);
    bool is_on[6] = {false};
    int last = 0;

    if (!node)
        return;
    if (!letters && !sl_json_is(node, SL_JSON_ARRAY))
        sl_apiobject_fail(o, "samplers", "a list of names or a text of letters expected");
    for (size_t i = 0; i < n && !sl_apiobject_is_failed(o); i++) {
        const char *name = letters ? NULL : sl_json_get_string(sl_json_item(node, i), NULL);
        int place = letters ? find_sampler(NULL, letters[i]) : name ? find_sampler(name, 0) : -1;

        if (place < 0)
            sl_apiobject_fail(o, "samplers", "number %zu is not known", i);
        else if (place && place <= last)
            sl_apiobject_fail(o, "samplers",
                              "only the order penalties, top_k, top_p, min_p, temperature is "
                              "supported");
        else if (place)
            is_on[last = place] = true;
    }
    if (!sl_apiobject_is_failed(o))
        switch_off(&gen_of(o)->sampling, is_on);
}

void sl_apisampling_add_bias(struct sl_apiobject *o, const char *key, int32_t token,
                             const char *text, size_t len, float bias)
{
    struct sl_genreq *gen = gen_of(o);
    struct sl_genbias *grown;
    char *copy = NULL;

    if (sl_apiobject_is_failed(o))
        return;
    if (gen->n_biases == SL_GENREQ_BIASES_MAX) {
        sl_apiobject_fail(o, key, "more than %d", SL_GENREQ_BIASES_MAX);
        return;
    }
    if (token < 0) {
        copy = sl_apiparse_copy(o->parse, text, len);
        if (!copy)
            return;
    }
    /* room doubles: at each power of two it is full */
    if ((gen->n_biases & (gen->n_biases - 1)) == 0) {
        grown = realloc(gen->biases, (gen->n_biases ? gen->n_biases * 2 : 1) * sizeof(*grown));
        if (!grown) {
            free(copy);
            sl_apiparse_no_memory(o->parse);
            return;
        }
        gen->biases = grown;
    }
    gen->biases[gen->n_biases++] = (struct sl_genbias){token, copy, bias};
}

/* A key that is a token's number. */
static bool is_number(const char *key, int64_t *ret_id)
{
    char *end;

    *ret_id = strtoll(key, &end, 10);
    return end != key && *end == '\0';
}

/* One bias, a number or false: of a token by its number, or of those of a text. */
static void read_bias(struct sl_apiobject *o, int64_t id, const char *text,
                      const struct sl_json *value)
{
    double bias = 0.0;
    bool truth = true;

    if (text && *text == '\0')
        sl_apiobject_fail(o, "logit_bias", "an empty text");
    if (!text && (id < 0 || id >= (int64_t)o->parse->env->n_vocab))
        sl_apiobject_fail(o, "logit_bias", "token %lld, but the vocabulary has 0 to %u",
                          (long long)id, o->parse->env->n_vocab - 1);
    if (sl_json_get_bool(value, &truth) && !truth)
        bias = -INFINITY;
    else if (!sl_json_get_f64(value, &bias))
        sl_apiobject_fail(o, "logit_bias", "a bias that is a number or false expected");
    sl_apisampling_add_bias(o, "logit_bias", text ? -1 : (int32_t)id, text,
                            text ? strlen(text) : 0, (float)bias);
}

void sl_apisampling_read_bias(struct sl_apiobject *o)
{
    const struct sl_json *list = sl_apiobject_find(o, "logit_bias");
    struct sl_json_iter iter = {0};
    const struct sl_json *value;
    const char *key, *text;
    int64_t id = -1;

    sl_apiobject_flag(o, "ignore_eos", SL_GENREQ_IGNORE_EOS, &gen_of(o)->flags);
    if (list && !sl_json_is(list, SL_JSON_OBJECT) && !sl_json_is(list, SL_JSON_ARRAY))
        sl_apiobject_fail(o, "logit_bias", "an object or an array expected");
    while (!sl_apiobject_is_failed(o) && sl_json_is(list, SL_JSON_OBJECT) &&
           sl_json_next(list, &iter, &key, &value)) {
        text = is_number(key, &id) ? NULL : key;
        read_bias(o, id, text, value);
    }
    for (size_t i = 0; sl_json_is(list, SL_JSON_ARRAY) && i < sl_json_n_items(list); i++) {
        const struct sl_json *pair = sl_json_item(list, i);

        if (sl_json_n_items(pair) != 2 || !sl_json_is(pair, SL_JSON_ARRAY))
            sl_apiobject_fail(o, "logit_bias", "pairs of a token and its bias expected");
        if (sl_apiobject_is_failed(o))
            return;
        text = sl_json_get_string(sl_json_item(pair, 0), NULL);
        if (!text && !sl_json_get_i64(sl_json_item(pair, 0), &id))
            sl_apiobject_fail(o, "logit_bias", "a token's number or a text expected");
        read_bias(o, id, text, sl_json_item(pair, 1));
    }
}

void sl_apisampling_read_stops(struct sl_apiobject *o, const char *key)
{
    const struct sl_json *node = sl_apiobject_find(o, key);
    struct sl_genreq *gen = gen_of(o);
    bool is_one = sl_json_is(node, SL_JSON_STRING);
    size_t n = is_one ? 1 : sl_json_n_items(node);

    if (!node || gen->stops)
        return;
    if (!is_one && !sl_json_is(node, SL_JSON_ARRAY))
        sl_apiobject_fail(o, key, "a text or a list of texts expected, found %s",
                          sl_json_type_name(sl_json_get_type(node)));
    if (n > SL_GENREQ_STOPS_MAX)
        sl_apiobject_fail(o, key, "at most %d are supported, found %zu", SL_GENREQ_STOPS_MAX, n);
    gen->stops = n ? sl_apiparse_alloc(o->parse, n, sizeof(*gen->stops)) : NULL;
    for (size_t i = 0; gen->stops && i < n; i++) {
        size_t len = 0;
        const char *text = sl_json_get_string(is_one ? node : sl_json_item(node, i), &len);

        if (!text)
            sl_apiobject_fail(o, key, "texts expected, but number %zu is %s", i,
                              sl_json_type_name(sl_json_get_type(sl_json_item(node, i))));
        else if (len)
            gen->stops[gen->n_stops] = sl_apiparse_copy(o->parse, text, len);
        if (sl_apiobject_is_failed(o))
            return;
        gen->n_stops += len > 0;
    }
}
