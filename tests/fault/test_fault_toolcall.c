/*
 * Replies and rendered calls with failing allocations: the n-th of our own fails, for
 * every n until none does. A call that met one says -ENOMEM, then and ever after, and
 * never takes a list of calls for text; nothing is left behind (LeakSanitizer looks).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "faults.h"
#include "text/reply.h"
#include "text/toolcall.h"

static const char reply_text[] =
    "Text.<|tool_call_start|>[f(a=\"x\\u20ac\", b=[1.5, 0xff, -1_0, None], "
    "c={'k': 1, 'l': 2, 'k': (3,)}, **{'d e': r'\\d' 'z'}), a.b()]<|tool_call_end|>"
    "<|tool_call_start|>[{\"name\": \"g\", \"arguments\": \"{\\\"a\\\": [1]}\"}]<|tool_call_end|>"
    "<|tool_call_start|>{'name': 'h', 'arguments': {'a': True}}<|tool_call_end|>";

struct heard {
    uint32_t n_calls;
    size_t n_text;
};

static void hear(void *user, const struct sl_reply_event *event)
{
    struct heard *heard = user;

    if (event->kind == SL_REPLY_CALL)
        heard->n_calls++;
    else
        heard->n_text += event->len;
}

static int run_reply(struct heard *heard)
{
    struct sl_reply_opts opts = {.calls = true, .fn = hear, .user = heard};
    struct sl_reply *reply = NULL;
    size_t len = strlen(reply_text);
    int r;

    *heard = (struct heard){0};
    r = sl_reply_new(&reply, &opts);
    if (r < 0)
        return r;
    for (size_t i = 0; i < len && r == 0; i += 20)
        r = sl_reply_feed(reply, reply_text + i, len - i < 20 ? len - i : 20);
    if (r == 0)
        r = sl_reply_end(reply);
    if (r < 0) {
        assert_int_equal(sl_reply_feed(reply, "x", 1), r);
        assert_int_equal(sl_reply_end(reply), r);
    }
    sl_reply_free(reply);
    return r;
}

static void test_reply(void **state)
{
    for (uint64_t n = 1;; n++) {
        struct heard heard;
        int r;

        faults_arm(FAULTS_ALL, n);
        r = run_reply(&heard);
        faults_disarm();
        assert_true(heard.n_text <= strlen("Text."));
        if (!faults_hit()) {
            assert_int_equal(r, 0);
            assert_int_equal(heard.n_calls, 4);
            assert_true(n > 20); /* or the faults never reached it */
            break;
        }
        if (r != -ENOMEM)
            fail_msg("allocation %d failed: %d, -ENOMEM expected", (int)n, r);
    }
}

static void test_render(void **state)
{
    static const char calls[] =
        "[{\"name\":\"f\",\"arguments\":{\"a\":[1,\"x\",null],\"b c\":{\"k\":2.5}}},"
        "{\"function\":{\"name\":\"g\",\"arguments\":\"{\\\"a\\\":\\\"a longer text than "
        "fits into what a text has room for at first\\\"}\"}}]";
    struct sl_json_doc *doc = NULL;

    assert_int_equal(sl_json_parse(&doc, calls, strlen(calls), NULL), 0);
    for (uint64_t n = 1;; n++) {
        char *text = NULL;
        int r;

        faults_arm(FAULTS_ALL, n);
        r = sl_toolcall_render(sl_json_root(doc), &text, NULL, NULL);
        faults_disarm();
        if (!faults_hit()) {
            assert_int_equal(r, 0);
            assert_non_null(strstr(text, "**{\"b c\": {\"k\": 2.5}}"));
            assert_true(n > 3);
            free(text);
            break;
        }
        if (r != -ENOMEM)
            fail_msg("allocation %d failed: %d, -ENOMEM expected", (int)n, r);
        assert_null(text);
    }
    sl_json_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reply),
        cmocka_unit_test(test_render),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
