/* Chat rendering: detection, each generation's own ways, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat.h"

static enum sl_chat_template detect(const char *text)
{
    return sl_chat_detect(text, strlen(text));
}

static void test_detect(void **state)
{
    assert_int_equal(detect("x <|tool_list_start|> y"), SL_CHAT_LFM2);
    assert_int_equal(detect("keep_past_thinking"), SL_CHAT_LFM25);
    assert_int_equal(detect("keep_past_thinking \"<image>\""), SL_CHAT_LFM25_LIST);
    assert_int_equal(detect("preserve_thinking 'assistant\\n'"), SL_CHAT_LFM25_THINKING);
    assert_int_equal(detect("preserve_thinking 'assistant\\n<think>'"),
                     SL_CHAT_LFM25_THINKING_OPEN);
    assert_int_equal(detect("{{ messages }}"), SL_CHAT_CHATML);
    assert_int_equal(detect("keep_past_thinking strftime_now"), SL_CHAT_CHATML);
    assert_int_equal(sl_chat_detect(NULL, 0), SL_CHAT_CHATML);
    assert_string_equal(sl_chat_template_name(SL_CHAT_LFM25_LIST), "lfm2.5-list");
}

static void assert_rendered(enum sl_chat_template kind, const char *messages, const char *tools,
                            const char *want)
{
    struct sl_chat_opts opts = {.template_kind = kind, .bos = "<s>"};
    struct sl_diag diag = {""};
    char *text = NULL;

    if (sl_chat_render(&opts, messages, tools, &text, &diag) < 0)
        fail_msg("%s", diag.text);
    assert_string_equal(text, want);
    free(text);
}

static void test_tool_results(void **state)
{
    const char *messages = "[{\"role\":\"tool\",\"content\":\"22\"}]";

    assert_rendered(SL_CHAT_LFM2, messages, NULL,
                    "<s><|im_start|>tool\n"
                    "<|tool_response_start|>22<|tool_response_end|><|im_end|>\n");
    assert_rendered(SL_CHAT_LFM25, messages, NULL, "<s><|im_start|>tool\n22<|im_end|>\n");
}

static void test_tools(void **state)
{
    const char *messages = "[{\"role\":\"system\",\"content\":\"Hi.\"}]";
    const char *tools = "[{\"a\":1.50},\"b\"]";

    assert_rendered(SL_CHAT_LFM2, messages, tools,
                    "<s><|im_start|>system\nHi.\n"
                    "List of tools: <|tool_list_start|>[{\"a\": 1.5}, b]<|tool_list_end|>"
                    "<|im_end|>\n");
    assert_rendered(SL_CHAT_LFM25, messages, tools,
                    "<s><|im_start|>system\nHi.\nList of tools: [{\"a\": 1.5}, b]<|im_end|>\n");
    assert_rendered(SL_CHAT_LFM25, messages, "[]", "<s><|im_start|>system\nHi.<|im_end|>\n");
    assert_rendered(SL_CHAT_LFM25, messages, "null", "<s><|im_start|>system\nHi.<|im_end|>\n");
}

static void test_content_lists(void **state)
{
    const char *messages = "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                           "{\"type\":\"text\",\"text\":\"b\"}]}]";

    for (int kind = SL_CHAT_CHATML; kind <= SL_CHAT_LFM25_THINKING_OPEN; kind++)
        assert_rendered((enum sl_chat_template)kind, messages, NULL,
                        "<s><|im_start|>user\nab<|im_end|>\n");
}

static void test_past_thinking(void **state)
{
    const char *messages =
        "[{\"role\":\"assistant\",\"content\":\"<think>x</think>\\u3000 a \\u0085\"},"
        "{\"role\":\"assistant\",\"content\":\"<think>y</think> b\"}]";

    assert_rendered(SL_CHAT_LFM25, messages, NULL,
                    "<s><|im_start|>assistant\na<|im_end|>\n"
                    "<|im_start|>assistant\n<think>y</think> b<|im_end|>\n");
}

static void test_calls(void **state)
{
    const char *messages =
        "[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\","
        "\"arguments\":{\"a\":\"it's\",\"b\":[1,\"it's\",null,true,\"\\u200b\"],"
        "\"c\":{\"k\":1}}}}]}]";

    assert_rendered(SL_CHAT_LFM25_THINKING, messages, NULL,
                    "<s><|im_start|>assistant\n"
                    "<|tool_call_start|>[f(a='it's', b=[1, \"it's\", None, True, '\\u200b'], "
                    "c={\"k\": 1})]<|tool_call_end|><|im_end|>\n");
    assert_rendered(SL_CHAT_LFM25_THINKING_OPEN, messages, NULL,
                    "<s><|im_start|>assistant\n"
                    "<|tool_call_start|>[f(a='it\\'s', b=[1, \"it's\", null, true, \"\u200b\"], "
                    "c={\"k\": 1})]<|tool_call_end|><|im_end|>\n");
}

static void assert_refused(enum sl_chat_template kind, const char *messages, const char *tools,
                           int code, const char *word)
{
    struct sl_chat_opts opts = {.template_kind = kind, .bos = ""};
    struct sl_diag diag = {""};
    char *text = NULL;
    int r = sl_chat_render(&opts, messages, tools, &text, &diag);

    if (r != code || !strstr(diag.text, word))
        fail_msg("%s: %d \"%s\", %d and \"%s\" expected", messages, r, diag.text, code, word);
    assert_null(text);
}

static void test_refused(void **state)
{
    static const struct {
        const char *messages, *tools;
        int code;
        const char *word;
    } cases[] = {
        {"", NULL, -EBADMSG, "messages: JSON"},
        {"{}", NULL, -EBADMSG, "array"},
        {"[]", NULL, -EBADMSG, "at least one"},
        {"[1]", NULL, -EBADMSG, "messages[0]: no role"},
        {"[{\"role\":\"user\"},{\"content\":\"x\"}]", NULL, -EBADMSG, "messages[1]: no role"},
        {"[{\"role\":7}]", NULL, -EBADMSG, "no role"},
        {"[{\"role\":\"u\",\"content\":[{\"type\":\"image\"}]}]", NULL, -ENOTSUP, "\"image\""},
        {"[{\"role\":\"u\",\"content\":[{\"type\":\"input_audio\"}]}]", NULL, -ENOTSUP,
         "input_audio"},
        {"[{\"role\":\"u\",\"content\":[{\"type\":\"text\"}]}]", NULL, -EBADMSG, "absent"},
        {"[{\"role\":\"u\"}]", "{", -EBADMSG, "tools: JSON"},
        {"[{\"role\":\"u\"}]", "{}", -EBADMSG, "tools: an array"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_refused(SL_CHAT_LFM25_LIST, cases[i].messages, cases[i].tools, cases[i].code,
                       cases[i].word);
    assert_refused(SL_CHAT_CHATML, "[{\"role\":\"u\"}]", "[{}]", -ENOTSUP, "tools");
    assert_refused(SL_CHAT_LFM2, "[{\"role\":\"u\",\"content\":[{\"type\":\"x\"}]}]", NULL,
                   -ENOTSUP, "\"x\"");
    assert_refused(SL_CHAT_LFM25_THINKING, "[{\"role\":\"assistant\",\"tool_calls\":[{}]}]", NULL,
                   -EBADMSG, "without a name");
    assert_refused(SL_CHAT_LFM25_THINKING,
                   "[{\"role\":\"assistant\","
                   "\"tool_calls\":[{\"name\":\"f\",\"arguments\":\"[1]\"}]}]",
                   NULL, -EBADMSG, "an object expected");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_detect),        cmocka_unit_test(test_tool_results),
        cmocka_unit_test(test_tools),         cmocka_unit_test(test_content_lists),
        cmocka_unit_test(test_past_thinking), cmocka_unit_test(test_calls),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
