/*
 * The APIs with failing allocations: the n-th of our own fails, for every n until none does.
 * A request is then refused with 503, an answer or a reply says -ENOMEM, and nothing is left
 * behind (LeakSanitizer looks).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "faults.h"
#include "tests/server/apiworld.h"

#define TOOLS \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"F\"," \
    "\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},\"b\":" \
    "{\"$ref\":\"#/$defs/x\"}},\"required\":[\"a\"],\"$defs\":{\"x\":{\"enum\":[1,2]}}}}}]"
#define CHAT \
    "\"messages\":[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"S\"}]}," \
    "{\"role\":\"user\",\"content\":\"w?\"},{\"role\":\"assistant\",\"content\":\"so\"," \
    "\"reasoning_content\":\"hm\",\"tool_calls\":[{\"id\":\"call_1\",\"function\":{\"name\":" \
    "\"f\",\"arguments\":\"{\\\"a\\\": \\\"x\\\"}\"}}]},{\"role\":\"tool\",\"content\":\"22\"," \
    "\"tool_call_id\":\"call_1\"},{\"role\":\"assistant\",\"content\":\"Well\"}]"

static const struct {
    const char *path, *body;
} requests[] = {
    {"/v1/chat/completions",
     "{\"model\":\"m\"," CHAT "," TOOLS ",\"tool_choice\":\"required\",\"stop\":[\"a\",\"b\"],"
     "\"logit_bias\":{\"5\":1,\"abc\":-1},\"prompt_cache_key\":\"k\"}"},
    {"/v1/chat/completions",
     "{" CHAT "," TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}},"
     "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"logprobs\":true,"
     "\"top_logprobs\":2}"},
    {"/v1/chat/completions",
     "{" CHAT "," TOOLS ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":"
     "{\"schema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\"}}}}}}"},
    {"/v1/chat/completions", "{" CHAT ",\"response_format\":{\"type\":\"json_object\"}}"},
    {"/v1/completions", "{\"prompt\":[\"a\",1,2,\"b\"],\"logprobs\":1,\"stream\":true}"},
    {"/completion",
     "{\"prompt\":\"Hello\",\"grammar\":\"root ::= [a-z]\",\"response_fields\":[\"content\","
     "\"timings/prompt_n\"],\"n_probs\":1,\"return_tokens\":true}"},
    {"/completion", "{\"prompt\":[1,2],\"stream\":true,\"return_progress\":true}"},
    {"/api/chat",
     "{\"model\":\"tiny\"," CHAT "," TOOLS ",\"format\":{\"const\":1},\"logprobs\":true,"
     "\"options\":{\"stop\":[\"x\"]}}"},
    {"/api/generate", "{\"model\":\"tiny\",\"prompt\":\"Hi\",\"system\":\"S\",\"stream\":false}"},
    {"/v1/messages",
     "{\"system\":[{\"type\":\"text\",\"text\":\"S\"}],\"messages\":[{\"role\":\"user\","
     "\"content\":[{\"type\":\"text\",\"text\":\"x\"}]},{\"role\":\"assistant\",\"content\":"
     "[{\"type\":\"thinking\",\"thinking\":\"hm\"},{\"type\":\"tool_use\",\"id\":\"t\",\"name\":"
     "\"f\",\"input\":{\"a\":[1]}}]},{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\","
     "\"tool_use_id\":\"t\",\"content\":\"y\"}]}],\"tools\":[{\"name\":\"f\",\"description\":"
     "\"F\",\"input_schema\":{\"type\":\"object\"}}],\"tool_choice\":{\"type\":\"none\"},"
     "\"stream\":true}"},
    {"/v1/responses",
     "{\"instructions\":\"I\",\"input\":[{\"role\":\"user\",\"content\":\"x\"},{\"type\":"
     "\"reasoning\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\",\"text\":\"hm\"}]},"
     "{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\"},"
     "{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"y\"}],\"tools\":"
     "[{\"type\":\"function\",\"name\":\"f\"}],\"tool_choice\":\"required\",\"include\":"
     "[\"message.output_text.logprobs\"]}"},
    {"/v1/responses", "{\"input\":\"x\",\"stream\":true,\"tools\":[{\"type\":\"function\",\"name\":"
                      "\"f\"}]}"},
    {"/tokenize", "{\"content\":[\"ab\",5],\"add_special\":true,\"with_pieces\":true}"},
    {"/detokenize", "{\"tokens\":[1,2,3]}"},
    {"/apply-template", "{" CHAT "," TOOLS "}"},
    {"/v1/messages/count_tokens", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"},
    {"/api/show", "{\"model\":\"tiny\"}"},
    {"/slots/0", "{\"filename\":\"a.bin\"}"},
};
#define N_REQUESTS (sizeof(requests) / sizeof(requests[0]))

static int parse(size_t i, struct sl_apicall **ret_call, struct sl_apierror *error)
{
    return sl_api_parse(ret_call, &apiworld_thinker, SL_HTTP_POST, requests[i].path, "action=save",
                        requests[i].body, strlen(requests[i].body), error);
}

static void test_parse(void **state)
{
    for (size_t i = 0; i < N_REQUESTS; i++)
        for (uint64_t n = 1;; n++) {
            struct sl_apicall *call = NULL;
            struct sl_apierror error;
            int r;

            faults_arm(FAULTS_ALL, n);
            r = parse(i, &call, &error);
            faults_disarm();
            if (!faults_hit()) {
                if (r < 0)
                    fail_msg("%s: %s", requests[i].path, error.message.text);
                assert_true(n > 1); /* or the faults never reached it */
                sl_apicall_free(call);
                break;
            }
            if (r != -ENOMEM || error.status != 503 || call)
                fail_msg("%s, allocation %d: %d, %s", requests[i].path, (int)n, r,
                         error.message.text);
        }
}

static const struct apiworld_event events[] = {
    {SL_GENEVENT_START, "Hello", 0},       {SL_GENEVENT_PROGRESS, NULL, 13},
    {SL_GENEVENT_REASONING, "hm", 0},      {SL_GENEVENT_TOKEN, "a", 7},
    {SL_GENEVENT_TEXT, "a text\n", 0},     {SL_GENEVENT_CALL_BEGIN, "f", 0},
    {SL_GENEVENT_CALL_ARGUMENTS, "{}", 0}, {SL_GENEVENT_CALL_END, NULL, 0},
    {SL_GENEVENT_TEXT, "after", 0},        {SL_GENEVENT_FINISH, "word", SL_GENFINISH_WORD},
};
static const struct apiworld_event failing[] = {
    {SL_GENEVENT_START, "", 0},
    {SL_GENEVENT_TEXT, "a", 0},
    {SL_GENEVENT_ERROR, "the file is gone", 500},
};

static void play(size_t i, const struct sl_apicall *call, const struct apiworld_event *list,
                 size_t n_events)
{
    for (uint64_t n = 1;; n++) {
        struct sl_strbuf out = {0};
        struct sl_apireply reply;
        int r;

        faults_arm(FAULTS_ALL, n);
        r = apiworld_play(call, &apiworld_thinker, list, n_events, &out, &reply);
        faults_disarm();
        sl_strbuf_done(&out);
        if (!faults_hit()) {
            assert_int_equal(r, 0);
            assert_true(n > 5);
            return;
        }
        if (r != -ENOMEM)
            fail_msg("%s, allocation %d: %d, -ENOMEM expected", requests[i].path, (int)n, r);
    }
}

static void answer(size_t i, const struct sl_apicall *call)
{
    for (uint64_t n = 1;; n++) {
        struct sl_strbuf out = {0};
        struct sl_apireply reply;
        struct sl_apierror error;
        int r;

        faults_arm(FAULTS_ALL, n);
        r = sl_api_answer(call, &apiworld_env, &apiworld_state, &apiworld_text, &out, &reply,
                          &error);
        faults_disarm();
        sl_strbuf_done(&out);
        if (!faults_hit()) {
            if (r < 0)
                fail_msg("%s: %s", requests[i].path, error.message.text);
            assert_true(n > 1);
            return;
        }
        if (r != -ENOMEM || error.status != 503)
            fail_msg("%s, allocation %d: %d, %s", requests[i].path, (int)n, r, error.message.text);
    }
}

static void test_replies_and_answers(void **state)
{
    size_t n_played = 0, n_answered = 0;

    for (size_t i = 0; i < N_REQUESTS; i++) {
        struct sl_apicall *call = NULL;
        struct sl_apierror error;

        assert_int_equal(parse(i, &call, &error), 0);
        if (call->work == SL_APIWORK_GENERATE) {
            play(i, call, events, sizeof(events) / sizeof(events[0]));
            play(i, call, failing, sizeof(failing) / sizeof(failing[0]));
            n_played++;
        } else if (call->work <= SL_APIWORK_TEXT) {
            answer(i, call);
            n_answered++;
        }
        sl_apicall_free(call);
    }
    assert_int_equal(n_played, 12);
    assert_int_equal(n_answered, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_replies_and_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
