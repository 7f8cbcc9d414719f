/*
 * Parts of the APIs that files of expected results do not reach: grammars of tool calls do
 * what their schemas say, past turns are recalled, hostile requests are refused, names and
 * errors have their forms.
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
#include "server/apitime.h"
#include "server/genchat.h"
#include "text/grammar.h"
#include "text/matcher.h"
#include "text/toolcall.h"

static int parse(struct sl_apicall **ret_call, const char *path, const char *body,
                 struct sl_apierror *error)
{
    return sl_api_parse(ret_call, &apiworld_env, SL_HTTP_POST, path, "", body, strlen(body), error);
}

static struct sl_apicall *must_parse(const char *path, const char *body)
{
    struct sl_apicall *call = NULL;
    struct sl_apierror error;

    if (parse(&call, path, body, &error) < 0)
        fail_msg("%s\n%s", body, error.message.text);
    return call;
}

/* Go on by a text in which markers are tokens. 1: it matches so far. */
static int match(const struct sl_grammar *grammar, struct sl_matcher *m, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "<");
        int r = len ? sl_matcher_accept(m, text, len) : 0;

        for (uint32_t i = 0; len == 0 && i < sl_grammar_n_tokens(grammar); i++) {
            const char *token = sl_grammar_token(grammar, i)->text;

            if (strncmp(text, token, strlen(token)) == 0) {
                len = strlen(token);
                r = sl_matcher_accept_token(m, i);
            }
        }
        if (r != 1)
            return 0;
        text += len;
    }
    return 1;
}

static int is_match(const char *gbnf, const char *text)
{
    struct sl_grammar *grammar = NULL;
    struct sl_matcher *m = NULL;
    struct sl_diag diag;
    int r;

    if (sl_grammar_new(&grammar, gbnf, strlen(gbnf), &diag) < 0)
        fail_msg("%s\n%s", gbnf, diag.text);
    assert_int_equal(sl_matcher_new(&m, grammar), 0);
    r = match(grammar, m, text) && sl_matcher_is_done(m);
    sl_matcher_free(m);
    sl_grammar_free(grammar);
    return r;
}

#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"w?\"}]"
#define TOOL(name, parameters) \
    "{\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"parameters\":" parameters "}}"
#define WEATHER \
    TOOL("get_weather", \
         "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":" \
         "\"integer\"},\"unit\":{\"$ref\":\"#/$defs/u\"}},\"required\":[\"city\"],\"$defs\":" \
         "{\"u\":{\"enum\":[\"C\",\"F\"]}}}")
#define NOTHING "{\"type\":\"function\",\"function\":{\"name\":\"a.b-c\"}}"
#define TREE \
    TOOL("tree", "{\"type\":\"object\",\"properties\":{\"kids\":{\"type\":\"array\",\"items\":" \
                 "{\"$ref\":\"#\"}}}}")
#define ODD TOOL("odd", "{\"type\":\"object\",\"properties\":{\"a b\":{\"type\":\"null\"}}}")
#define OPEN "<|tool_call_start|>["
#define CLOSE "]<|tool_call_end|>"

static void test_call_grammars(void **state)
{
    static const struct {
        const char *body;
        const char *matches[8], *others[16];
    } cases[] = {
        {"{" USER ",\"tools\":[" WEATHER "," NOTHING "],\"tool_choice\":\"required\"}",
         {OPEN "get_weather(city=\"Paris\")" CLOSE,
          OPEN "get_weather(city=\"P\\\"[]()\", days=3, unit=\"F\")" CLOSE,
          OPEN "get_weather(city=\"\", unit=\"C\"), a.b-c(), a.b-c()" CLOSE, OPEN "a.b-c()" CLOSE},
         {"", "x", OPEN CLOSE, OPEN "get_weather()" CLOSE, OPEN "get_weather(days=3)" CLOSE,
          OPEN "get_weather(city=\"P\", days=3.5)" CLOSE,
          OPEN "get_weather(city=\"P\", unit=\"K\")" CLOSE,
          OPEN "get_weather(days=3, city=\"P\")" CLOSE, OPEN "get_weather(city=\"P\",)" CLOSE,
          OPEN "get_weather(city=\"P\")", OPEN "a.b-c(x=1)" CLOSE, OPEN "other()" CLOSE,
          OPEN "a.b-c()" CLOSE "x", OPEN "get_weather(, days=3)" CLOSE}},
        {"{" USER ",\"tools\":[" WEATHER "," NOTHING "],\"tool_choice\":\"required\","
         "\"parallel_tool_calls\":false}",
         {OPEN "a.b-c()" CLOSE},
         {OPEN "a.b-c(), a.b-c()" CLOSE}},
        {"{" USER ",\"tools\":[" WEATHER "," NOTHING "],\"tool_choice\":{\"type\":\"function\","
         "\"function\":{\"name\":\"get_weather\"}}}",
         {OPEN "get_weather(city=\"Paris\")" CLOSE},
         {OPEN "a.b-c()" CLOSE}},
        {"{" USER ",\"tools\":[" TREE "," ODD "],\"tool_choice\":\"required\"}",
         {OPEN "tree(**{\"kids\":[{},{\"kids\":[]}]})" CLOSE, OPEN "odd(**{})" CLOSE,
          OPEN "odd(**{\"a b\": null})" CLOSE},
         {OPEN "tree(kids=[])" CLOSE, OPEN "tree(**{\"kids\":[1]})" CLOSE,
          OPEN "odd(**{\"a b\": 1})" CLOSE}},
        {"{" USER ",\"tools\":[" NOTHING "],\"response_format\":{\"type\":\"json_schema\","
         "\"json_schema\":{\"schema\":{\"enum\":[\"[x]{y}\",7]}}}}",
         {OPEN "a.b-c()" CLOSE, "7", "\"[x]{y}\""},
         {"", "8", "7" OPEN "a.b-c()" CLOSE, OPEN "7" CLOSE}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sl_apicall *call = must_parse("/v1/chat/completions", cases[i].body);

        for (size_t k = 0; k < 8 && cases[i].matches[k]; k++)
            if (!is_match(call->gen.grammar, cases[i].matches[k]))
                fail_msg("%s\nis refused by\n%s", cases[i].matches[k], call->gen.grammar);
        for (size_t k = 0; k < 16 && cases[i].others[k]; k++)
            if (is_match(call->gen.grammar, cases[i].others[k]))
                fail_msg("%s\nis taken by\n%s", cases[i].others[k], call->gen.grammar);
        sl_apicall_free(call);
    }
}

/* What a grammar of calls lets through is read as the calls that were meant. */
static void test_calls_are_read_back(void **state)
{
    static const char *const pairs[][2] = {
        {"get_weather(city=\"P\\u00e9\\n\", days=-3, unit=\"F\")",
         "{\"city\":\"P\xC3\xA9\\n\",\"days\":-3,\"unit\":\"F\"}"},
        {"tree(**{\"kids\":[{},{\"kids\":[]}]})", "{\"kids\":[{},{\"kids\":[]}]}"},
        {"odd(**{\"a b\": null})", "{\"a b\":null}"},
        {"a.b-c()", "{}"},
    };

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct sl_toolcalls calls = {0};

        assert_int_equal(sl_toolcall_parse(&calls, pairs[i][0], strlen(pairs[i][0])), 0);
        assert_int_equal(calls.n, 1);
        assert_string_equal(calls.calls[0].arguments, pairs[i][1]);
        sl_toolcall_done(&calls);
    }
}

/* A memory of one turn. */
struct memory {
    const char *id, *text;
};

static int find(void *arg, const char *call_id, const char **ret_text, size_t *ret_len)
{
    const struct memory *memory = arg;

    if (strcmp(call_id, memory->id) != 0)
        return -ENOENT;
    *ret_text = memory->text;
    *ret_len = strlen(memory->text);
    return 0;
}

static void test_recall(void **state)
{
    static const char turn[] = "so <|tool_call_start|>[f(a='It\\'s', b=1)]<|tool_call_end|>";
    static const char thought[] = "<think>hm</think>so <|tool_call_start|>[f()]<|tool_call_end|>";
    static const struct {
        const struct sl_apienv *env;
        const char *turn, *id, *content, *arguments, *want;
    } cases[] = {
        /* in the order of the client, unless it is that of the turn */
        {&apiworld_env, turn, "call_1", "so ", "{\\\"b\\\": 1, \\\"a\\\": \\\"It's\\\"}",
         "[f(b=1, a=\\\"It's\\\")]"},
        {&apiworld_env, turn, "call_1", "so ", "{\\\"a\\\":\\\"It's\\\",\\\"b\\\": 1}",
         "[f(a='It\\\\'s', b=1)]"},
        {&apiworld_thinker, thought, "call_1", "so ", "{}",
         "\"<think>hm</think>so <|tool_call_start|>[f()]"},
        /* changed, or of somebody else: in the model's form, or the template's */
        {&apiworld_env, turn, "call_1", "so", "{\\\"a\\\":\\\"It's\\\",\\\"b\\\":1}",
         "[f(a=\\\"It's\\\", b=1)]"},
        {&apiworld_env, turn, "call_1", "so ", "{\\\"a\\\":\\\"It's\\\",\\\"b\\\":2}",
         "[f(a=\\\"It's\\\", b=2)]"},
        {&apiworld_env, turn, "call_2", "so ", "{\\\"a\\\":\\\"It's\\\",\\\"b\\\":1}",
         "[f(a=\\\"It's\\\", b=1)]"},
        {&apiworld_thinker, thought, "call_1", "other", "{}", "\"tool_calls\":["},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct memory memory = {"call_1", cases[i].turn};
        const struct sl_genchat_recall recall = {&memory, find};
        struct sl_apicall *call = NULL;
        struct sl_apierror error;
        struct sl_diag diag;
        char body[1024], *prompt = NULL;
        size_t len;

        (void)snprintf(body, sizeof(body),
                       "{\"messages\":[{\"role\":\"user\",\"content\":\"w?\"},{\"role\":"
                       "\"assistant\",\"content\":\"%s\",\"tool_calls\":[{\"id\":\"%s\","
                       "\"function\":{\"name\":\"f\",\"arguments\":\"%s\"}}]},{\"role\":"
                       "\"tool\",\"content\":\"x\"}]}",
                       cases[i].content, cases[i].id, cases[i].arguments);
        assert_int_equal(parse(&call, "/v1/chat/completions", body, &error), 0);
        assert_int_equal(sl_genchat_render(&call->gen, cases[i].env, &apiworld_text, &recall,
                                           &prompt, &len, &diag),
                         0);
        assert_int_equal(strlen(prompt), len);
        if (!strstr(prompt, cases[i].want))
            fail_msg("case %zu: %s\nis not in %s", i, cases[i].want, prompt);
        free(prompt);
        sl_apicall_free(call);
    }
}

/* n times a text with another before, between and after. */
static char *repeat(const char *before, const char *text, size_t n, const char *after)
{
    struct sl_strbuf buf = {0};
    char *out = NULL;

    sl_strbuf_add_str(&buf, before);
    for (size_t i = 0; i < n; i++)
        sl_strbuf_add_str(&buf, text);
    sl_strbuf_add_str(&buf, after);
    assert_int_equal(sl_strbuf_take(&buf, &out, NULL), 0);
    return out;
}

static void test_hostile(void **state)
{
    static const struct {
        const char *before, *text;
        size_t n;
        const char *after, *want; /* in the message */
    } cases[] = {
        {"", "[", 200, "", "levels deep"},
        {"{\"messages\":", "[", 127, "", "JSON, line 1"},
        {"{\"messages\":", "{\"role\":", 126, "", "JSON, line 1"},
        {"{" USER ",\"stop\":[\"a\"", ",\"b\"", 16, "]}", "at most 16"},
        {"{" USER ",\"tools\":[1", ",1", 1024, "]}", "at most 1024"},
        {"{" USER ",\"logit_bias\":[[1,1]", ",[1,1]", 65536, "]}", "more than 65536"},
        {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\"}}",
         ",{\"function\":{\"name\":\"f\"}}", 1024, "]},{\"role\":\"user\",\"content\":\"\"}]}",
         "more than 1024 calls"},
        {"{" USER ",\"tools\":[{\"function\":{\"name\":\"", "n", 257, "\"}}]}", "1 to 256 bytes"},
        {"{" USER ",\"tool_choice\":\"required\",\"tools\":[{\"function\":{\"name\":\"f\","
         "\"parameters\":{\"properties\":{\"a\":{\"enum\":[0",
         ",0", 20000, "]}}}}}]}", "parameters.properties.a: #/enum: more than 4096 values"},
        {"{" USER ",\"temperature\":1", "0", 400, "}", "0 to 1e+06 expected"},
        {"{" USER ",\"seed\":1", "0", 40, "}", "seed: an integer of up to 63 bits"},
        {"{" USER ",\"chat_template_kwargs\":", "[", 100, "", "JSON, line 1"},
        {"{" USER ",\"stop\":\"", "\xFF", 1, "\"}", "JSON, line 1"},
        {"{" USER ",\"stop\":\"", "\\u0000", 1, "\"}", "\\u0000"},
        {"{" USER ",\"stop\":\"", "\\ud800", 1, "\"}", "JSON, line 1"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *body = repeat(cases[i].before, cases[i].text, cases[i].n, cases[i].after);
        struct sl_apierror error = {0};
        struct sl_apicall *call = NULL;

        if (parse(&call, "/v1/chat/completions", body, &error) == 0)
            fail_msg("case %zu is taken", i);
        assert_null(call);
        assert_int_equal(error.status, 400);
        if (!strstr(error.message.text, cases[i].want))
            fail_msg("case %zu: %s", i, error.message.text);
        free(body);
    }
}

/* Each of these tools is cheap; together they are not. */
static void test_many_tools_have_one_bound(void **state)
{
    struct sl_strbuf body = {0};
    struct sl_apierror error = {0};
    struct sl_apicall *call = NULL;

    sl_strbuf_add_str(&body, "{" USER ",\"tool_choice\":\"required\",\"tools\":[");
    for (int i = 0; i < 1000; i++) {
        sl_strbuf_add_fmt(&body, "%s{\"function\":{\"name\":\"f%d\",\"parameters\":{\"properties\":"
                          "{\"a\":{\"allOf\":[{\"enum\":[0", i ? "," : "", i);
        for (int k = 1; k < 100; k++)
            sl_strbuf_add_fmt(&body, ",%d", k);
        sl_strbuf_add_str(&body, "]},{\"enum\":[0");
        for (int k = 1; k < 100; k++)
            sl_strbuf_add_fmt(&body, ",%d", 1000 + k);
        sl_strbuf_add_str(&body, "]}]}}}}}");
    }
    sl_strbuf_add_str(&body, "]}");
    assert_true(parse(&call, "/v1/chat/completions", body.ptr, &error) < 0);
    assert_int_equal(error.status, 400);
    assert_non_null(strstr(error.message.text, "parameters.properties.a: #: too much work"));
    sl_strbuf_done(&body);
}

static void test_nul_bytes_are_refused(void **state)
{
    static const char body[] = "{" USER ",\"stop\":\"a\0b\"}";
    struct sl_apicall *call = NULL;
    struct sl_apierror error;

    assert_int_equal(sl_api_parse(&call, &apiworld_env, SL_HTTP_POST, "/v1/chat/completions", "",
                                  body, sizeof(body) - 1, &error),
                     -EBADMSG);
    assert_non_null(strstr(error.message.text, "NUL"));
}

/* A deep path is cut, and says so. */
static void test_long_paths(void **state)
{
    char *body = repeat("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"", "t", 300,
                        "\"}]}]}");
    struct sl_apicall *call = NULL;
    struct sl_apierror error;

    assert_int_equal(parse(&call, "/v1/chat/completions", body, &error), -EBADMSG);
    assert_string_equal(error.param, "messages[0].content[0].type");
    assert_true(strlen(error.message.text) < 200);
    free(body);
}

static void test_routes(void **state)
{
    size_t n = sl_api_n_routes();

    assert_true(n > 50);
    for (size_t i = 0; i < n; i++) {
        struct sl_apiroute a = sl_api_route(i);
        bool is_public = strstr(a.pattern, "health") || strcmp(a.pattern, "/") == 0;

        assert_int_equal(a.is_public, is_public);
        for (size_t k = 0; k < i; k++) {
            struct sl_apiroute b = sl_api_route(k);

            if (a.method == b.method && strcmp(a.pattern, b.pattern) == 0)
                fail_msg("%s is there twice", a.pattern);
        }
    }
}

static void test_forms(void **state)
{
    static const struct {
        const char *path;
        enum sl_apiform form;
    } cases[] = {
        {"/v1/chat/completions", SL_APIFORM_OPENAI}, {"/v1/messages", SL_APIFORM_ANTHROPIC},
        {"/v1/nothing", SL_APIFORM_OPENAI},          {"/api/chat", SL_APIFORM_OLLAMA},
        {"/api/nothing", SL_APIFORM_OLLAMA},         {"/completion", SL_APIFORM_LLAMACPP},
        {"/nothing", SL_APIFORM_LLAMACPP},           {"", SL_APIFORM_LLAMACPP},
        {"/v1/messages/count_tokens", SL_APIFORM_ANTHROPIC},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(sl_api_form(cases[i].path), cases[i].form);
}

static void test_errors(void **state)
{
    static const struct {
        int status;
        const char *llamacpp, *openai, *anthropic;
    } cases[] = {
        {400, "{\"error\":{\"code\":400,\"message\":\"M\",\"type\":\"invalid_request_error\"}}",
         "{\"error\":{\"code\":null,\"message\":\"M\",\"type\":\"invalid_request_error\","
         "\"param\":null}}",
         "invalid_request_error"},
        {401, "{\"error\":{\"code\":401,\"message\":\"M\",\"type\":\"authentication_error\"}}",
         "{\"error\":{\"code\":\"invalid_api_key\",\"message\":\"M\",\"type\":"
         "\"authentication_error\",\"param\":null}}",
         "authentication_error"},
        {403, "{\"error\":{\"code\":403,\"message\":\"M\",\"type\":\"permission_error\"}}", NULL,
         "permission_error"},
        {404, "{\"error\":{\"message\":\"M\",\"type\":\"not_found_error\",\"code\":404}}", NULL,
         "not_found_error"},
        {413, "{\"error\":{\"code\":413,\"message\":\"M\",\"type\":\"invalid_request_error\"}}",
         NULL, "request_too_large"},
        {429, "{\"error\":{\"code\":429,\"message\":\"M\",\"type\":\"rate_limit_error\"}}",
         "{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"M\",\"type\":"
         "\"rate_limit_error\",\"param\":null}}",
         "rate_limit_error"},
        {500, "{\"error\":{\"code\":500,\"message\":\"M\",\"type\":\"server_error\"}}", NULL,
         "api_error"},
        {501, "{\"error\":{\"code\":501,\"message\":\"M\",\"type\":\"not_supported_error\"}}", NULL,
         "invalid_request_error"},
        {503, "{\"error\":{\"message\":\"M\",\"type\":\"unavailable_error\",\"code\":503}}", NULL,
         "overloaded_error"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sl_strbuf out = {0};
        struct sl_apierror error;
        char anthropic[160];

        assert_int_equal(sl_apierror_set(&error, -EIO, cases[i].status, NULL, "%s", "M"), -EIO);
        sl_apierror_write(&error, SL_APIFORM_LLAMACPP, &out);
        assert_string_equal(out.ptr, cases[i].llamacpp);
        sl_strbuf_cut(&out, 0);
        sl_apierror_write(&error, SL_APIFORM_OPENAI, &out);
        if (cases[i].openai)
            assert_string_equal(out.ptr, cases[i].openai);
        sl_strbuf_cut(&out, 0);
        (void)snprintf(anthropic, sizeof(anthropic),
                       "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"M\"}}",
                       cases[i].anthropic);
        sl_apierror_write(&error, SL_APIFORM_ANTHROPIC, &out);
        assert_string_equal(out.ptr, anthropic);
        sl_strbuf_cut(&out, 0);
        sl_apierror_write(&error, SL_APIFORM_OLLAMA, &out);
        assert_string_equal(out.ptr, "{\"error\":\"M\"}");
        sl_strbuf_done(&out);
    }
}

/* Codes of lower layers. */
static void test_error_codes(void **state)
{
    static const int cases[][2] = {{-EBADMSG, 400}, {-ENOTSUP, 400}, {-E2BIG, 400},
                                   {-ERANGE, 400},  {-ENOMEM, 503},  {-ECANCELED, 503},
                                   {-EIO, 500},     {-EPIPE, 500}};
    struct sl_apierror error;
    struct sl_diag diag = {"why"};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(sl_apierror_set_code(&error, cases[i][0], "p", &diag), cases[i][0]);
        assert_int_equal(error.status, cases[i][1]);
        assert_string_equal(error.message.text, "p: why");
    }
    (void)sl_apierror_set_code(&error, -EIO, NULL, NULL); /* its code is known */
    assert_string_equal(error.message.text, sl_err_text(-EIO));
}

static void test_loading(void **state)
{
    static const struct sl_apistate loading = {.is_loading = true};
    static const struct {
        const char *path;
        int r;
    } cases[] = {{"/health", -EAGAIN},  {"/props", -EAGAIN}, {"/v1/models", -EAGAIN},
                 {"/api/tags", -EAGAIN}, {"/", 0},           {"/api/version", 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sl_strbuf out = {0};
        struct sl_apicall *call = NULL;
        struct sl_apierror error;
        struct sl_apireply reply;

        assert_int_equal(sl_api_parse(&call, &apiworld_env, SL_HTTP_GET, cases[i].path, "", "", 0,
                                      &error),
                         0);
        assert_int_equal(sl_api_answer(call, &apiworld_env, &loading, &apiworld_text, &out, &reply,
                                       &error),
                         cases[i].r);
        if (cases[i].r < 0) {
            assert_int_equal(error.status, 503);
            assert_string_equal(error.message.text, "Loading model");
        }
        sl_strbuf_done(&out);
        sl_apicall_free(call);
    }
}

static void test_switched_off(void **state)
{
    static const char *const paths[] = {"/metrics", "/slots"};
    struct sl_apienv env = apiworld_env;

    env.has_metrics = env.has_slots = false;
    for (size_t i = 0; i < 2; i++) {
        struct sl_apicall *call = NULL;
        struct sl_apierror error;

        assert_int_equal(sl_api_parse(&call, &env, SL_HTTP_GET, paths[i], "", "", 0, &error),
                         -ENOTSUP);
        assert_int_equal(error.status, 501);
        assert_non_null(strstr(error.message.text, "Start it with `--"));
    }
}

static void test_ids(void **state)
{
    const struct sl_genid a = {{1, 2}}, b = {{1, 3}};
    char ids[6][SL_GENID_BYTES];

    sl_genid_make(ids[0], &a, "chatcmpl-", 0);
    sl_genid_make(ids[1], &a, "chatcmpl-", 1);
    sl_genid_make(ids[2], &b, "chatcmpl-", 0);
    sl_genid_call(ids[3], &a, 0);
    sl_genid_call(ids[4], &a, 1);
    sl_genid_make(ids[5], &a, "chatcmpl-", 0);
    assert_string_equal(ids[0], ids[5]);
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(ids[i], ids[k]);
    assert_int_equal(strlen(ids[0]), strlen("chatcmpl-") + SL_GENID_CHARS);
    assert_int_equal(strncmp(ids[3], "call_", 5), 0);
    assert_int_equal(strspn(ids[3] + 5, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
                                        "uvwxyz"),
                     SL_GENID_CHARS);
}

static void test_times(void **state)
{
    char text[SL_APITIME_BYTES];

    sl_apitime_print(text, 0);
    assert_string_equal(text, "1970-01-01T00:00:00.000000000Z");
    sl_apitime_print(text, 1795399530000000001);
    assert_string_equal(text, "2026-11-23T02:05:30.000000001Z");
    sl_apitime_print(text, -1);
    assert_string_equal(text, "1969-12-31T23:59:59.999999999Z");
    sl_apitime_print(text, INT64_MAX);
    assert_string_equal(text, "2262-04-11T23:47:16.854775807Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call_grammars),
        cmocka_unit_test(test_calls_are_read_back),
        cmocka_unit_test(test_recall),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_many_tools_have_one_bound),
        cmocka_unit_test(test_nul_bytes_are_refused),
        cmocka_unit_test(test_long_paths),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_error_codes),
        cmocka_unit_test(test_loading),
        cmocka_unit_test(test_switched_off),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_times),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
