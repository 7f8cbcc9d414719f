/*
 * Chat rendering with failing allocations: the n-th of our own fails, for every n until
 * none does. The result is -ENOMEM and nothing is left behind (LeakSanitizer looks).
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
#include "text/chat.h"

static const char messages[] =
    "[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":["
    "{\"type\":\"text\",\"text\":\"Weather?\"},{\"type\":\"other\",\"x\":1e300}]},"
    "{\"role\":\"assistant\",\"content\":\"<think>a</think>b\",\"thinking\":\"t\",\"tool_calls\":["
    "{\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":[1,2.5,\\\"x\\\",{\\\"k\\\":null}],"
    "\\\"n\\\":123456789012345678901234567890,\\\"o\\\":{\\\"p\\\":\\\"q\\\"}}\"}}]},"
    "{\"role\":\"tool\",\"content\":\"22\"}]";
static const char tools[] = "[{\"name\":\"f\",\"max\":123456789012345678901234567890},\"g\"]";

static void test_render(void **state)
{
    struct sl_chat_opts opts = {
        .template_kind = SL_CHAT_LFM25_THINKING, .bos = "<s>", .add_generation_prompt = true};
    char *want = NULL;

    assert_int_equal(sl_chat_render(&opts, messages, tools, &want, NULL), 0);
    for (uint64_t n = 1;; n++) {
        struct sl_diag diag = {""};
        char *text = NULL;
        int r;

        faults_arm(FAULTS_ALL, n);
        r = sl_chat_render(&opts, messages, tools, &text, &diag);
        faults_disarm();
        if (!faults_hit()) {
            assert_int_equal(r, 0);
            assert_string_equal(text, want);
            assert_true(n > 5); /* or the faults never reached it */
            free(text);
            break;
        }
        if (r != -ENOMEM)
            fail_msg("allocation %d failed: %d \"%s\", -ENOMEM expected", (int)n, r, diag.text);
        assert_null(text);
        assert_non_null(strstr(diag.text, "memory"));
    }
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_render)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
