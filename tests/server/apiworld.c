#include "apiworld.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"

static const char *const aliases[] = {"tiny"};

#define ENV \
    .model = "tiny-lfm2", .aliases = aliases, .n_aliases = 1, .version = "0.1.0", \
    .fingerprint = "b1-de3ff81", .path = "tiny-lfm2moe-f32.gguf", \
    .digest = "4ab2fb6ef6cbcd2f0da1b3a9d2e1d5e2", .architecture = "lfm2moe", \
    .quantization = "all F32", .chat_template = "{{ messages }}", .bos = "<|startoftext|>", \
    .eos = "<|im_end|>", \
    .model_info_json = "{\"general.architecture\":\"lfm2moe\",\"lfm2moe.context_length\":4096}", \
    .has_tools = true, .has_metrics = true, .has_slots = true, .has_page = false, .n_slots = 2, \
    .n_ctx_tok = 256, .n_ctx_train_tok = 4096, .n_vocab = 2014, .n_embd = 64, \
    .n_params = 365112, .file_bytes = 1460448, .started_s = 1795399497, \
    .modified_s = 1795399000, .n_predict_max = -1, \
    .sampling = {.temperature = 0.8f, \
                 .top_k = 40, \
                 .top_p = 0.95f, \
                 .min_p = 0.05f, \
                 .repeat_penalty = 1.0f, \
                 .penalty_last_n = 64, \
                 .seed = 42}

const struct sl_apienv apiworld_env = {ENV};
const struct sl_apienv apiworld_thinker = {ENV, .has_thinking = true, .has_calls = true};
const struct sl_apistate apiworld_state = {.resident_bytes = 1000, .now_s = 1795399530};
const struct sl_genid apiworld_id = {{1, 2}};

static int64_t tokenize(void *arg, const char *text, size_t len, uint32_t flags, int32_t *ids,
                        size_t cap)
{
    size_t n = 0;

    if (flags & SLUICE_TOKENIZE_BOS && n++ < cap)
        ids[0] = 256;
    for (size_t i = 0; i < len; i++, n++)
        if (n < cap)
            ids[n] = (unsigned char)text[i];
    return (int64_t)n;
}

static int piece(void *arg, int32_t id, const char **ret_piece)
{
    static const char bytes[] = "abc\xF0\x9F";

    if (id < 0 || id >= 2014)
        return -ERANGE;
    *ret_piece = id == 256 ? "<|startoftext|>" : bytes + id % 5;
    return id == 256 ? 15 : 1;
}

static int render(void *arg, const char *messages_json, const char *tools_json,
                  bool add_generation_prompt, char **ret_text, struct sl_diag *diag)
{
    struct sl_strbuf buf = {0};

    if (strstr(messages_json, "unrenderable"))
        return sl_diag_set(diag, -ENOTSUP, "this cannot be rendered");
    sl_strbuf_add_fmt(&buf, "[%s][%s]%s", messages_json, tools_json ? tools_json : "",
                      add_generation_prompt ? ">" : "");
    return sl_strbuf_take(&buf, ret_text, NULL);
}

const struct sl_apitext apiworld_text = {.tokenize = tokenize, .piece = piece, .render = render};

static void key_text(struct sl_jsonwriter *w, const char *key, const char *text)
{
    if (!text)
        return;
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_string(w, text);
}

static void key_raw(struct sl_jsonwriter *w, const char *key, const char *json)
{
    if (!json)
        return;
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_raw(w, json, strlen(json));
}

static void key_number(struct sl_jsonwriter *w, const char *key, double value, double absent)
{
    char text[40];

    if (value == absent)
        return;
    (void)snprintf(text, sizeof(text), "%.9g", value);
    sl_jsonwriter_key(w, key);
    if (isfinite(value))
        sl_jsonwriter_raw(w, text, strlen(text));
    else
        sl_jsonwriter_string(w, text);
}

static void tell_sampling(const struct sluice_sampler_opts *s, const struct sluice_sampler_opts *d,
                          struct sl_jsonwriter *w)
{
    key_number(w, "temperature", (double)s->temperature, (double)d->temperature);
    key_number(w, "top_k", s->top_k, d->top_k);
    key_number(w, "top_p", (double)s->top_p, (double)d->top_p);
    key_number(w, "min_p", (double)s->min_p, (double)d->min_p);
    key_number(w, "repeat", (double)s->repeat_penalty, (double)d->repeat_penalty);
    key_number(w, "presence", (double)s->presence_penalty, (double)d->presence_penalty);
    key_number(w, "frequency", (double)s->frequency_penalty, (double)d->frequency_penalty);
    key_number(w, "last_n", s->penalty_last_n, d->penalty_last_n);
    key_number(w, "seed", (double)s->seed, (double)d->seed);
}

static void tell_flags(uint32_t flags, struct sl_jsonwriter *w)
{
    static const char *const names[] = {
        "stream",     "usage", "progress", "tokens",     "logprobs", "timings",     "ignore_eos",
        "no_cache",   "one",   "calls",    "no_opening", "new_turn", "prompt_text",
    };

    if (!flags)
        return;
    sl_jsonwriter_key(w, "flags");
    sl_jsonwriter_begin_array(w);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (flags & 1u << i)
            sl_jsonwriter_string(w, names[i]);
    sl_jsonwriter_end_array(w);
}

static void tell_parts(const struct sl_genreq *gen, struct sl_jsonwriter *w)
{
    sl_jsonwriter_key(w, "parts");
    sl_jsonwriter_begin_array(w);
    for (size_t i = 0; i < gen->n_parts; i++) {
        if (gen->parts[i].text)
            sl_jsonwriter_string_len(w, gen->parts[i].text, gen->parts[i].len);
        for (size_t k = 0; k < gen->parts[i].n_tokens; k++)
            sl_jsonwriter_i64(w, gen->parts[i].tokens[k]);
    }
    sl_jsonwriter_end_array(w);
}

static void tell_lists(const struct sl_genreq *gen, struct sl_jsonwriter *w)
{
    if (gen->n_biases) {
        sl_jsonwriter_key(w, "biases");
        sl_jsonwriter_begin_object(w);
        for (size_t i = 0; i < gen->n_biases; i++) {
            char key[40];

            (void)snprintf(key, sizeof(key), "%d", (int)gen->biases[i].token);
            key_number(w, gen->biases[i].text ? gen->biases[i].text : key,
                       (double)gen->biases[i].bias, 0.0);
        }
        sl_jsonwriter_end_object(w);
    }
    if (gen->n_stops) {
        sl_jsonwriter_key(w, "stops");
        sl_jsonwriter_begin_array(w);
        for (size_t i = 0; i < gen->n_stops; i++)
            sl_jsonwriter_string(w, gen->stops[i]);
        sl_jsonwriter_end_array(w);
    }
}

static void tell_tools(const struct sl_genreq *gen, struct sl_jsonwriter *w)
{
    static const char *const choices[] = {NULL, "none", "required", "named"};

    key_raw(w, "tools", gen->tools_json);
    key_text(w, "choice", choices[gen->tool_choice]);
    key_text(w, "tool", gen->tool_name);
    if (gen->n_tool_names) {
        sl_jsonwriter_key(w, "names");
        sl_jsonwriter_begin_array(w);
        for (size_t i = 0; i < gen->n_tool_names; i++)
            sl_jsonwriter_string(w, gen->tool_names[i]);
        sl_jsonwriter_end_array(w);
    }
}

/* A grammar without the rules of values, which are the schema compiler's business, and
 * without its numbers of rules. */
static void tell_grammar(const char *grammar, struct sl_jsonwriter *w)
{
    struct sl_strbuf buf = {0};

    for (const char *p = grammar; p && *p;) {
        size_t len = strcspn(p, "\n") + (p[strcspn(p, "\n")] == '\n');
        bool is_ours = strncmp(p, "root ", 5) == 0 || strncmp(p, "call", 4) == 0 || *p == 't';

        for (size_t i = 0; is_ours && i < len; i++) {
            bool is_number = i > 1 && p[i - 2] == ' ' && p[i - 1] == 'r';

            if (is_number)
                i += strspn(p + i, "0123456789");
            sl_strbuf_add(&buf, p + i, 1);
        }
        p += len;
    }
    if (grammar)
        key_text(w, "grammar", buf.len ? buf.ptr : "");
    sl_strbuf_done(&buf);
}

void apiworld_tell_call(const struct sl_apicall *call, const struct sl_apienv *env,
                        struct sl_strbuf *out)
{
    static const char *const reasonings[] = {NULL, "text", "hidden"};
    const struct sl_genreq *gen = &call->gen;
    struct sl_jsonwriter w;

    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_begin_object(&w);
    key_text(&w, "model", gen->model);
    tell_flags(gen->flags, &w);
    key_raw(&w, "messages", gen->messages_json);
    key_text(&w, "prefill", gen->prefill);
    if (gen->n_parts)
        tell_parts(gen, &w);
    tell_sampling(&gen->sampling, &env->sampling, &w);
    if (gen->is_seeded)
        key_text(&w, "seeded", "yes");
    key_number(&w, "max", (double)gen->n_predict_max, (double)env->n_predict_max);
    key_number(&w, "top", gen->n_top, 0.0);
    tell_lists(gen, &w);
    tell_grammar(gen->grammar, &w);
    key_text(&w, "reasoning", reasonings[gen->reasoning]);
    tell_tools(gen, &w);
    key_number(&w, "slot", gen->slot, -1.0);
    key_number(&w, "ping", gen->ping_s, -1.0);
    key_text(&w, "key", gen->cache_key);
    key_raw(&w, "echo", call->echo_json);
    key_number(&w, "work", call->work, SL_APIWORK_GENERATE);
    sl_jsonwriter_end_object(&w);
    sl_strbuf_add(out, w.buf.ptr, w.buf.len);
    sl_strbuf_done(&w.buf);
}

/* Fill in an event; top is room for alternatives, error for an error. */
static struct sl_genevent make_event(const struct apiworld_event *from, uint32_t n_top,
                                     struct sl_genprob *top, struct sl_apierror *error)
{
    struct sl_genevent event = {.kind = from->kind};
    size_t len = from->text ? strlen(from->text) : 0;

    switch (from->kind) {
    case SL_GENEVENT_START:
        event.start.slot = 1;
        event.start.seed = 77;
        event.start.prompt = from->text ? from->text : "";
        event.start.prompt_len = len;
        break;
    case SL_GENEVENT_PROGRESS:
        event.progress.total = 13;
        event.progress.processed = (uint32_t)from->number;
        break;
    case SL_GENEVENT_TOKEN:
        event.token.chosen = (struct sl_genprob){from->number, from->text, len, -1.5f};
        for (uint32_t i = 0; i < n_top; i++)
            top[i] = (struct sl_genprob){from->number + (int32_t)i, from->text, len,
                                         -1.5f - (float)i};
        event.token.top = top;
        event.token.n_top = n_top;
        break;
    case SL_GENEVENT_CALL_BEGIN: event.call.name = from->text; break;
    case SL_GENEVENT_FINISH:
        event.finish.reason = (enum sl_genfinish)from->number;
        event.finish.word = from->text;
        break;
    case SL_GENEVENT_ERROR:
        (void)sl_apierror_set(error, -EIO, from->number, NULL, "%s", from->text);
        event.error = error;
        break;
    default:
        event.text.ptr = from->text;
        event.text.len = len;
    }
    return event;
}

int apiworld_play(const struct sl_apicall *call, const struct sl_apienv *env,
                  const struct apiworld_event *events, size_t n, struct sl_strbuf *out,
                  struct sl_apireply *ret_reply)
{
    struct sl_gencounts counts = {
        .n_prompt_tok = 13, .n_cached_tok = 9, .prompt_ms = 2.0, .total_ms = 2.0};
    struct sl_genprob top[SL_GENREQ_TOP_MAX];
    struct sl_apiwriter *writer = NULL;
    char id[SL_GENID_BYTES] = "";
    uint32_t n_calls = 0;
    int r = sl_apiwriter_new(&writer, call, env, &apiworld_id, APIWORLD_CREATED_NS);

    for (size_t i = 0; r == 0 && i < n; i++) {
        struct sl_apierror error = {0};
        struct sl_genevent event = make_event(&events[i], call->gen.n_top, top, &error);

        if (events[i].kind == SL_GENEVENT_CALL_BEGIN) {
            sl_genid_call(id, &apiworld_id, n_calls);
            event.call.id = id;
            event.call.i_call = n_calls++;
        }
        if (events[i].kind == SL_GENEVENT_TEXT || events[i].kind == SL_GENEVENT_REASONING) {
            counts.n_predicted_tok++;
            counts.predicted_ms += 0.5;
            counts.total_ms += 0.5;
            counts.n_reasoning_tok += events[i].kind == SL_GENEVENT_REASONING;
        }
        event.counts = counts;
        r = sl_apiwriter_write(writer, &event, out);
    }
    if (r == 0)
        *ret_reply = sl_apiwriter_reply(writer);
    sl_apiwriter_free(writer);
    return r;
}
