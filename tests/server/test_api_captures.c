/*
 * Our replies against those that llama.cpp's server gave (tests/golden/llamacpp): what a
 * capture tells is played into the writer of the same API, and has to come out again: the same
 * events, the same members in the same order with the same values. Where we differ on
 * purpose, a rule says so:
 *
 *     "+path"   a member that only we have
 *     "-path"   one that only they have
 *     "~path"   a value that differs
 *     "!"       the order of members is not compared
 *
 * Paths are keys with dots, [] for items of arrays, * at the end for all that begins so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apiworld.h"
#include "base/json.h"
#include "base/jsonwriter.h"
#include "server/apislots.h"
#include "server/servemetrics.h"

#define DOCS_MAX 32

static const char *folder;

/* A reply taken apart: its JSON texts, each with the name of its event. */
struct reply {
    char *text;
    struct sl_json_doc *docs[DOCS_MAX];
    char names[DOCS_MAX][64];
    size_t n;
    int is_done; /* ends in [DONE] */
};

static void add_doc(struct reply *reply, const char *text, size_t len)
{
    struct sl_diag diag = {""};

    assert_true(reply->n < DOCS_MAX);
    if (sl_json_parse(&reply->docs[reply->n++], text, len, &diag) < 0)
        fail_msg("%s in %.*s", diag.text, (int)len, text);
}

/* text is owned by the reply from then on. */
static void take_apart(struct reply *reply, char *text)
{
    *reply = (struct reply){.text = text};
    if (strncmp(text, "data:", 5) != 0 && strncmp(text, "event:", 6) != 0) {
        add_doc(reply, text, strlen(text));
        return;
    }
    for (char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t len = strcspn(line, "\n");

        if (strncmp(line, "event: ", 7) == 0)
            (void)snprintf(reply->names[reply->n], 64, "%.*s", (int)(len - 7), line + 7);
        else if (strncmp(line, "data: [DONE]", 12) == 0)
            reply->is_done = 1;
        else if (strncmp(line, "data: ", 6) == 0)
            add_doc(reply, line + 6, len - 6);
    }
}

static void reply_done(struct reply *reply)
{
    for (size_t i = 0; i < reply->n; i++)
        sl_json_free(reply->docs[i]);
    free(reply->text);
}

/* The bytes of a capture, to be freed. */
static char *read_capture(const char *name)
{
    char path[512];
    struct sl_strbuf buf = {0};
    char chunk[4096];
    char *text = NULL;
    FILE *file;
    size_t n;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (!file)
        fail_msg("%s: cannot be opened", path);
    while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0)
        sl_strbuf_add(&buf, chunk, n);
    fclose(file);
    assert_int_equal(sl_strbuf_take(&buf, &text, NULL), 0);
    return text;
}

static void load(struct reply *reply, const char *name)
{
    take_apart(reply, read_capture(name));
}

/* The node at a path of keys and indexes, as "choices.0.delta.content", or NULL. */
static const struct sl_json *at(const struct sl_json *node, const char *path)
{
    while (node && *path) {
        size_t len = strcspn(path, ".");
        char key[64];

        (void)snprintf(key, sizeof(key), "%.*s", (int)len, path);
        node = sl_json_is(node, SL_JSON_ARRAY) ? sl_json_item(node, strtoul(key, NULL, 10))
                                               : sl_json_find(node, key);
        path += len + (path[len] == '.');
    }
    return node;
}

static double number(const struct sl_json *node, const char *path)
{
    double value = 0.0;

    (void)sl_json_get_f64(at(node, path), &value); /* absent: 0 */
    return value;
}

/* Whether a rule of this kind is for the path. */
static int has_rule(const char *const *rules, char kind, const char *path)
{
    for (; *rules; rules++) {
        size_t len = strlen(*rules);

        if ((*rules)[0] != kind)
            continue;
        if ((*rules)[len - 1] == '*' ? strncmp(*rules + 1, path, len - 2) == 0
                                     : strcmp(*rules + 1, path) == 0)
            return 1;
    }
    return 0;
}

static void compare(const struct sl_json *theirs, const struct sl_json *ours,
                    const char *const *rules, const char *path);

static void join(char out[256], const char *path, const char *key)
{
    (void)snprintf(out, 256, "%s%s%s", path, *path && *key != '[' ? "." : "", key);
}

/* The next member that both are to have; false at the end. */
static int next_member(const struct sl_json *node, const struct sl_json *other,
                       const char *const *rules, char kind, const char *path,
                       struct sl_json_iter *iter, const char **key, const struct sl_json **value)
{
    char member[256];

    while (sl_json_next(node, iter, key, value)) {
        join(member, path, *key);
        if (sl_json_find(other, *key) || !has_rule(rules, kind, member))
            return 1;
    }
    *key = "nothing";
    return 0;
}

static void compare_objects(const struct sl_json *theirs, const struct sl_json *ours,
                            const char *const *rules, const char *path)
{
    struct sl_json_iter a = {0}, b = {0};
    const struct sl_json *value_a, *value_b;
    const char *key_a, *key_b;
    char member[256];

    for (;;) {
        int more_a = next_member(theirs, ours, rules, '-', path, &a, &key_a, &value_a);
        int more_b = next_member(ours, theirs, rules, '+', path, &b, &key_b, &value_b);

        if (!more_a && !more_b)
            return;
        if (has_rule(rules, '!', "")) {
            if (more_a && !sl_json_find(ours, key_a))
                fail_msg("%s: we lack %s", path, key_a);
            if (more_b && !sl_json_find(theirs, key_b))
                fail_msg("%s: only we have %s", path, key_b);
            if (!more_a)
                continue;
            value_b = sl_json_find(ours, key_a);
        } else if (!more_a || !more_b || strcmp(key_a, key_b) != 0) {
            fail_msg("%s: they have %s, we %s", path, key_a, key_b);
        }
        join(member, path, key_a);
        compare(value_a, value_b, rules, member);
    }
}

static void compare(const struct sl_json *theirs, const struct sl_json *ours,
                    const char *const *rules, const char *path)
{
    char *a = NULL, *b = NULL;
    size_t len;

    if (has_rule(rules, '~', path))
        return;
    if (sl_json_get_type(theirs) == sl_json_get_type(ours) && sl_json_is(ours, SL_JSON_OBJECT)) {
        compare_objects(theirs, ours, rules, path);
        return;
    }
    if (sl_json_get_type(theirs) == sl_json_get_type(ours) && sl_json_is(ours, SL_JSON_ARRAY) &&
        sl_json_n_items(ours) == sl_json_n_items(theirs)) {
        char item[256];

        join(item, path, "[]");
        for (size_t i = 0; i < sl_json_n_items(ours); i++)
            compare(sl_json_item(theirs, i), sl_json_item(ours, i), rules, item);
        return;
    }
    assert_int_equal(sl_json_dump_python(theirs, &a, &len), 0);
    assert_int_equal(sl_json_dump_python(ours, &b, &len), 0);
    if (strcmp(a, b) != 0)
        fail_msg("%s: they have %.300s, we %.300s", path, a, b);
    free(a);
    free(b);
}

static void compare_replies(const struct reply *theirs, const struct reply *ours,
                            const char *const *rules)
{
    for (size_t i = 0; i < theirs->n && i < ours->n; i++) {
        assert_string_equal(theirs->names[i], ours->names[i]);
        compare(sl_json_root(theirs->docs[i]), sl_json_root(ours->docs[i]), rules, "");
    }
    assert_int_equal(theirs->n, ours->n);
    assert_int_equal(theirs->is_done, ours->is_done);
}

/* A capture as it is played. */
struct play {
    struct sl_apiwriter *writer;
    struct sl_strbuf out;
    struct sl_gencounts counts;
};

static void tell(struct play *play, struct sl_genevent event)
{
    event.counts = play->counts;
    assert_int_equal(sl_apiwriter_write(play->writer, &event, &play->out), 0);
}

static struct sl_genprob prob_of(const struct sl_json *node, char *bytes)
{
    const struct sl_json *list = at(node, "bytes");
    size_t n = sl_json_n_items(list);

    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)number(sl_json_item(list, i), "");
    return (struct sl_genprob){(int32_t)number(node, "id"), bytes, n,
                               (float)number(node, "logprob")};
}

/* The tokens of a list of log-probabilities, or of ids. */
static void tell_tokens(struct play *play, const struct sl_json *probs, const struct sl_json *ids)
{
    for (size_t i = 0; i < sl_json_n_items(probs ? probs : ids); i++) {
        const struct sl_json *node = sl_json_item(probs, i);
        const struct sl_json *tops = at(node, "top_logprobs");
        struct sl_genprob top[8];
        char bytes[9][64];
        struct sl_genevent event = {.kind = SL_GENEVENT_TOKEN};

        event.token.n_top = (uint32_t)sl_json_n_items(tops);
        assert_true(event.token.n_top <= 8);
        for (uint32_t k = 0; k < event.token.n_top; k++)
            top[k] = prob_of(sl_json_item(tops, k), bytes[k + 1]);
        event.token.top = top;
        event.token.chosen = prob_of(node, bytes[0]);
        if (ids)
            event.token.chosen.token = (int32_t)number(sl_json_item(ids, i), "");
        tell(play, event);
    }
}

static void tell_text(struct play *play, const struct sl_json *text)
{
    struct sl_genevent event = {.kind = SL_GENEVENT_TEXT};

    event.text.ptr = sl_json_get_string(text, &event.text.len);
    if (event.text.ptr && event.text.len)
        tell(play, event);
}

static void set_counts(struct play *play, const struct sl_json *doc, uint32_t n_predicted)
{
    struct sl_gencounts *c = &play->counts;

    c->n_cached_tok = (uint32_t)number(doc, "timings.cache_n");
    c->n_prompt_tok = c->n_cached_tok + (uint32_t)number(doc, "timings.prompt_n");
    c->n_predicted_tok = n_predicted;
    c->prompt_ms = number(doc, "timings.prompt_ms");
    c->predicted_ms = number(doc, "timings.predicted_ms");
}

struct capture {
    const char *file, *path, *body;
    const char *text;   /* where the text of a document is */
    const char *probs;  /* where its log-probabilities are; NULL */
    const char *ids;    /* where its ids are; NULL */
    uint32_t n_cached, n_prompt, n_predicted; /* where the reply does not tell */
    enum sl_genfinish finish;
    const char *const *rules;
};

static void play_document(struct play *play, const struct capture *capture,
                          const struct sl_json *doc)
{
    const struct sl_json *progress = at(doc, "prompt_progress");
    const struct sl_json *text = at(doc, capture->text);
    struct sl_genevent event = {.kind = SL_GENEVENT_PROGRESS};

    if (progress) {
        event.progress.total = (uint32_t)number(progress, "total");
        event.progress.processed = (uint32_t)number(progress, "processed");
        tell(play, event);
        return;
    }
    if (text)
        tell_tokens(play, capture->probs ? at(doc, capture->probs) : NULL,
                    capture->ids ? at(doc, capture->ids) : NULL);
    if (number(doc, "tokens_predicted") > 0)
        play->counts.n_predicted_tok = (uint32_t)number(doc, "tokens_predicted");
    tell_text(play, text);
}

static void check_capture(const struct capture *capture)
{
    struct play play = {.counts = {.n_cached_tok = capture->n_cached,
                                   .n_prompt_tok = capture->n_prompt,
                                   .n_predicted_tok = capture->n_predicted}};
    struct sl_genevent event = {.kind = SL_GENEVENT_START};
    struct reply theirs, ours;
    struct sl_apicall *call = NULL;
    struct sl_apierror error;
    const struct sl_json *last;

    load(&theirs, capture->file);
    last = sl_json_root(theirs.docs[theirs.n - 1]);
    if (sl_api_parse(&call, &apiworld_env, SL_HTTP_POST, capture->path, "", capture->body,
                     strlen(capture->body), &error) < 0)
        fail_msg("%s: %s", capture->file, error.message.text);
    assert_int_equal(sl_apiwriter_new(&play.writer, call, &apiworld_env, &apiworld_id,
                                      1795399530 * INT64_C(1000000000)),
                     0);
    if (at(last, "timings"))
        set_counts(&play, last, 0);
    event.start.slot = 1;
    event.start.seed = 42;
    event.start.prompt = "<|startoftext|>Hello";
    event.start.prompt_len = strlen(event.start.prompt);
    tell(&play, event);
    for (size_t i = 0; i < theirs.n; i++)
        play_document(&play, capture, sl_json_root(theirs.docs[i]));
    if (at(last, "timings"))
        set_counts(&play, last, (uint32_t)number(last, "timings.predicted_n"));
    event = (struct sl_genevent){.kind = SL_GENEVENT_FINISH};
    event.finish.reason = capture->finish;
    tell(&play, event);
    take_apart(&ours, strdup(play.out.ptr));
    compare_replies(&theirs, &ours, capture->rules);
    reply_done(&theirs);
    reply_done(&ours);
    sl_apiwriter_free(play.writer);
    sl_apicall_free(call);
    sl_strbuf_done(&play.out);
}

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"

static void test_chat(void **state)
{
    static const char *const rules[] = {"~id", "+choices[].message.refusal", "+choices[].logprobs",
                                        "+choices[].logprobs.refusal", NULL};
    static const struct capture captures[] = {
        {"chat.json", "/v1/chat/completions", "{" HI ",\"logprobs\":true,\"top_logprobs\":1}",
         "choices.0.message.content", "choices.0.logprobs.content", NULL, 0, 0, 0,
         SL_GENFINISH_LENGTH, rules},
        {"chat_stream.sse", "/v1/chat/completions",
         "{" HI ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
         "choices.0.delta.content", NULL, NULL, 0, 0, 0, SL_GENFINISH_LENGTH, rules},
        {"json_schema.json", "/v1/chat/completions",
         "{" HI ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":"
         "{\"type\":\"string\"}}}}",
         "choices.0.message.content", NULL, NULL, 0, 0, 0, SL_GENFINISH_EOS, rules},
        {"chat_stream_nousage.sse", "/v1/chat/completions", "{" HI ",\"stream\":true}",
         "choices.0.delta.content", NULL, NULL, 0, 0, 0, SL_GENFINISH_LENGTH, rules},
    };

    for (size_t i = 0; i < sizeof(captures) / sizeof(captures[0]); i++)
        check_capture(&captures[i]);
}

static void test_completions(void **state)
{
    static const char *const openai[] = {"~id", NULL};
    static const char *const own[] = {"~generation_settings.samplers",
                                      "~generation_settings.reasoning_format", "~tokens", NULL};
    static const struct capture captures[] = {
        {"oai_completion.json", "/v1/completions", "{\"prompt\":\"Hello\",\"logprobs\":1}",
         "choices.0.text", "choices.0.logprobs.content", NULL, 0, 0, 0, SL_GENFINISH_LENGTH,
         openai},
        {"oai_completion_stream.sse", "/v1/completions", "{\"prompt\":\"Hello\",\"stream\":true}",
         "choices.0.text", NULL, NULL, 0, 0, 0, SL_GENFINISH_LENGTH, openai},
        {"completion.json", "/completion",
         "{\"prompt\":\"Hello\",\"n_probs\":2,\"temperature\":0,\"n_predict\":4,\"seed\":42,"
         "\"return_tokens\":true}",
         "content", "completion_probabilities", NULL, 0, 0, 0, SL_GENFINISH_LENGTH, own},
        {"completion_stream.sse", "/completion",
         "{\"prompt\":\"Hello\",\"temperature\":0,\"n_predict\":3,\"seed\":42,\"stream\":true,"
         "\"return_progress\":true}",
         "content", NULL, "tokens", 0, 0, 0, SL_GENFINISH_LENGTH, own},
    };

    for (size_t i = 0; i < sizeof(captures) / sizeof(captures[0]); i++)
        check_capture(&captures[i]);
}

static void test_messages(void **state)
{
    static const char *const rules[] = {"~id", "~message.id", NULL};
    static const struct capture captures[] = {
        {"anthropic.json", "/v1/messages", "{\"max_tokens\":3," HI "}", "content.0.text", NULL,
         NULL, 9, 13, 3, SL_GENFINISH_LENGTH, rules},
        {"anthropic_stream.sse", "/v1/messages", "{\"max_tokens\":2,\"stream\":true," HI "}",
         "delta.text", NULL, NULL, 9, 13, 2, SL_GENFINISH_LENGTH, rules},
    };

    for (size_t i = 0; i < sizeof(captures) / sizeof(captures[0]); i++)
        check_capture(&captures[i]);
}

/* llama.cpp's lack what OpenAI requires; in streams they have members in any order. */
static void test_responses(void **state)
{
    static const char *const whole[] = {
        "~id", "~output[].id", "+usage.input_tokens_details.cache_write_tokens",
        "+usage.output_tokens_details", "+error", "+incomplete_details", "+background",
        "+instructions", "+max_*", "+metadata", "+parallel_tool_calls", "+previous_response_id",
        "+prompt_cache_key", "+reasoning", "+safety_identifier", "+service_tier", "+store",
        "+temperature", "+text", "+to*", "+truncation", NULL};
    static const char *const stream[] = {
        "!", "+sequence_number", "+*_index", "+output_index", "+content_index", "~response.id",
        "~item_id", "~item.id", "~response.output[].id", "+logprobs", "+part.annotations",
        "+part.logprobs", "-timings", "+response.*", NULL};
    static const struct capture captures[] = {
        {"responses.json", "/v1/responses", "{\"input\":\"Hi\"}", "output.0.content.0.text", NULL,
         NULL, 9, 13, 2, SL_GENFINISH_EOS, whole},
        {"responses_stream.sse", "/v1/responses", "{\"input\":\"Hi\",\"stream\":true}", "delta",
         NULL, NULL, 9, 13, 2, SL_GENFINISH_EOS, stream},
    };

    for (size_t i = 0; i < sizeof(captures) / sizeof(captures[0]); i++)
        check_capture(&captures[i]);
}

/* A GET, or a POST if there is a body. */
static void check_answer(const char *file, const char *path, const char *body,
                         const char *const *rules)
{
    enum sl_http_method method = body ? SL_HTTP_POST : SL_HTTP_GET;
    struct sl_apicall *call = NULL;
    struct sl_strbuf out = {0};
    struct sl_apireply reply;
    struct sl_apierror error;
    struct reply theirs, ours;

    load(&theirs, file);
    body = body ? body : "";
    assert_int_equal(sl_api_parse(&call, &apiworld_env, method, path, "", body, strlen(body),
                                  &error),
                     0);
    assert_int_equal(sl_api_answer(call, &apiworld_env, &apiworld_state, &apiworld_text, &out,
                                   &reply, &error),
                     0);
    take_apart(&ours, strdup(out.ptr));
    compare_replies(&theirs, &ours, rules);
    reply_done(&theirs);
    reply_done(&ours);
    sl_strbuf_done(&out);
    sl_apicall_free(call);
}

static void test_answers(void **state)
{
    static const char *const none[] = {NULL};
    static const char *const models[] = {"~models[].capabilities", "~models[].details.*",
                                         "~data[].aliases", "~data[].owned_by", NULL};
    static const char *const props[] = {
        "~default_generation_settings.params.samplers", "~media_marker", "~chat_template",
        "~chat_template_caps.*", NULL};

    check_answer("health.json", "/health", NULL, none);
    check_answer("lora.json", "/lora-adapters", NULL, none);
    check_answer("models.json", "/v1/models", NULL, models);
    check_answer("props.json", "/props", NULL, props);
}

/* What a tokenizer or a template makes is not that of the model they had. */
static void test_texts(void **state)
{
    static const char *const count[] = {"~input_tokens", NULL};
    static const char *const prompt[] = {"~prompt", NULL};
    static const char *const content[] = {"~content", NULL};
    static const char *const tokens[] = {"~tokens[].id", "~tokens[].piece", NULL};

    check_answer("anthropic_count.json", "/v1/messages/count_tokens",
                 "{\"max_tokens\":3," HI "}", count);
    check_answer("apply.json", "/apply-template", "{" HI "}", prompt);
    check_answer("tools.json", "/apply-template",
                 "{" HI ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}",
                 prompt);
    check_answer("tokenize.json", "/tokenize",
                 "{\"content\":\"elevenbytes\",\"with_pieces\":true}", tokens);
    check_answer("detok.json", "/detokenize", "{\"tokens\":[1,2]}", content);
}

/* Their words differ; form and kind do not. Of OpenAI's, "code" is a text. */
static void test_errors(void **state)
{
    static const char *const openai[] = {"~error.message", "~error.code", "+error.param", NULL};
    static const char *const own[] = {"~error.message", NULL};
    static const struct {
        const char *file, *path, *body;
        int status;
        const char *const *rules;
    } cases[] = {
        {"eempty.json", "/v1/chat/completions", "{}", 400, openai},
        {"eresp.json", "/v1/chat/completions",
         "{" HI ",\"response_format\":{\"type\":\"sound\"}}", 400, openai},
        {"egrammar.json", "/completion",
         "{\"prompt\":\"Hi\",\"json_schema\":{\"type\":\"sound\"}}", 400, own},
        {"embeddings.json", "/embeddings", "{\"content\":\"Hi\"}", 501, own},
        {"infill.json", "/infill", "{\"input_prefix\":\"a\"}", 501, own},
        {"rerank.json", "/rerank", "{\"query\":\"a\"}", 501, own},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sl_apicall *call = NULL;
        struct sl_strbuf out = {0};
        struct sl_apierror error;
        struct reply theirs, ours;

        assert_true(sl_api_parse(&call, &apiworld_env, SL_HTTP_POST, cases[i].path, "",
                                 cases[i].body, strlen(cases[i].body), &error) < 0);
        assert_int_equal(error.status, cases[i].status);
        sl_apierror_write(&error, sl_api_form(cases[i].path), &out);
        load(&theirs, cases[i].file);
        take_apart(&ours, strdup(out.ptr));
        compare_replies(&theirs, &ours, cases[i].rules);
        reply_done(&theirs);
        reply_done(&ours);
        sl_strbuf_done(&out);
    }
}

/* Theirs come first, in their order: names, help and types to the byte, and any values. */
static void test_metrics(void **state)
{
    const struct sl_sched_counters sched = {0};
    const struct sluice_counters engine = {0};
    char *theirs = read_capture("metrics.txt");
    struct sl_strbuf out = {0};
    const char *ours;
    size_t n = 0;

    sl_servemetrics_write(&sched, &engine, &out);
    ours = out.ptr;
    for (const char *line = theirs; *line; n++) {
        size_t len = strcspn(line, "\n");
        size_t same = *line == '#' ? len + 1 : strcspn(line, " ") + 1;

        if (strncmp(line, ours, same) != 0)
            fail_msg("they have %.*s, we %.*s", (int)len, line, (int)strcspn(ours, "\n"), ours);
        line += len + (line[len] == '\n');
        ours += strcspn(ours, "\n") + 1;
    }
    assert_int_equal(n, 45);
    free(theirs);
    sl_strbuf_done(&out);
}

/* Errors and slots: byte for byte. */
static void check_bytes(const char *file, struct sl_strbuf *ours)
{
    struct reply theirs;

    load(&theirs, file);
    assert_string_equal(theirs.text, ours->ptr);
    reply_done(&theirs);
    sl_strbuf_cut(ours, 0);
}

static void test_bytes(void **state)
{
    static const struct sl_apislot slots[] = {{0, 256, false}, {1, 256, false}};
    struct sl_apislot_file file = {0, "a.bin", 14, 3716, 0.153};
    struct sl_strbuf out = {0};
    struct sl_apierror error;
    struct sl_apicall *call;

    assert_int_equal(sl_api_parse(&call, &apiworld_env, SL_HTTP_GET, "/nothing", "", "", 0,
                                  &error),
                     -ENOENT);
    sl_apierror_write(&error, sl_api_form("/nothing"), &out);
    check_bytes("e404.json", &out);
    assert_int_equal(sl_apierror_set_context(&error, 811, 256), -E2BIG);
    sl_apierror_write(&error, SL_APIFORM_LLAMACPP, &out);
    check_bytes("ectx.json", &out);
    sl_apislots_write(slots, 2, &out);
    check_bytes("slots.json", &out);
    sl_apislots_write_saved(&file, &out);
    check_bytes("slot_save.json", &out);
    file.ms = 0.163;
    sl_apislots_write_restored(&file, &out);
    check_bytes("slot_restore.json", &out);
    sl_apislots_write_erased(0, 14, &out);
    check_bytes("slot_erase.json", &out);
    sl_strbuf_done(&out);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat),      cmocka_unit_test(test_completions),
        cmocka_unit_test(test_messages),  cmocka_unit_test(test_responses),
        cmocka_unit_test(test_answers),   cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_texts),     cmocka_unit_test(test_errors),
        cmocka_unit_test(test_metrics),
    };

    if (argc != 2) {
        fprintf(stderr, "test_api_captures: the folder of captures expected\n");
        return 1;
    }
    folder = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
