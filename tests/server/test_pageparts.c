/*
 * The parts of the page and of its picture that need no server: who gets the page, when it is
 * known already, what the build made part of the program, and what /experts says.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "server/apiexperts.h"
#include "server/page.h"

static void browsers_get_the_page(void **state)
{
    static const char *const yes[] = {
        "text/html", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "application/json, TEXT/HTML;q=0.5", " text/html ", ",,text/html;charset=utf-8",
    };
    static const char *const no[] = {
        "", "*/*", "text/*", "application/json", "text/htmlx", "xtext/html", "text", "text/plain",
        "application/json, text/plain, */*", ";text/html", ",",
    };

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        assert_true(sl_page_is_wanted(yes[i]));
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        assert_false(sl_page_is_wanted(no[i]));
    assert_false(sl_page_is_wanted(NULL));
}

static void tags_are_compared(void **state)
{
    assert_true(sl_page_is_known("\"abc\"", "\"abc\""));
    assert_true(sl_page_is_known("W/\"abc\"", "\"abc\""));
    assert_true(sl_page_is_known("\"x\", \"abc\" ", "\"abc\""));
    assert_true(sl_page_is_known(" *", "\"abc\""));
    assert_false(sl_page_is_known("\"ab\"", "\"abc\""));
    assert_false(sl_page_is_known("\"abcd\"", "\"abc\""));
    assert_false(sl_page_is_known("abc", "\"abc\""));
    assert_false(sl_page_is_known("", "\"abc\""));
    assert_false(sl_page_is_known(NULL, "\"abc\""));
}

static void files_are_whole(void **state)
{
    size_t n;
    const struct sl_pagefile *files = sl_pagefiles(&n);

    assert_true(n > 1);
    assert_string_equal(files[0].path, "/");
    assert_memory_equal(files[0].text, "<!doctype html>\n", 16);
    for (size_t i = 0; i < n; i++) {
        assert_true(files[i].len > 0 && files[i].len == strlen(files[i].text));
        assert_int_equal(strlen(files[i].etag), 34);
        assert_true(i == 0 || strncmp(files[i].path, "/page/", 6) == 0);
        for (size_t k = 0; k < i; k++)
            assert_true(strcmp(files[i].path, files[k].path) != 0 &&
                        strcmp(files[i].etag, files[k].etag) != 0);
    }
}

static void experts_are_written(void **state)
{
    static const struct sluice_expert experts[2][3] = {
        {{SLUICE_EXPERT_DISK, 0}, {SLUICE_EXPERT_MEMORY, 255}, {SLUICE_EXPERT_PINNED, 16}},
        {{SLUICE_EXPERT_READING, 1}, {SLUICE_EXPERT_AHEAD, 10}, {SLUICE_EXPERT_DISK, 171}},
    };
    const struct sl_apiexperts view = {
        .is_streaming = true, .n_layers = 2, .first_layer = 1, .n_experts = 3, .n_used = 2,
        .experts = experts[0], .now_ns = 12345678901u, .n_running = 1, .n_waiting = 2,
        .engine = {.n_steps = 3, .n_tokens = 4, .step_ns = 1500000000,
                   .experts = {.requests = 10, .hits = 4, .covered = 3, .covered_late = 2,
                               .misses = 1, .demand_bytes = 5, .guess_bytes = 6, .fill_bytes = 7,
                               .evictions = 8, .stall_ns = 250000000, .read_ns = 500000000,
                               .slot_bytes = 9, .n_slots = 11, .n_ready = 12}},
    };
    struct sl_strbuf out = {0};

    sl_apiexperts_write(&view, &out);
    assert_int_equal(out.error, 0);
    assert_string_equal(
        out.ptr,
        "{\"is_streaming\":true,\"n_layers\":2,\"first_layer\":1,\"n_experts\":3,"
        "\"n_experts_used\":2,\"states\":[\"dmp\",\"rad\"],\"shares\":[\"00ff10\",\"010aab\"],"
        "\"seconds\":12.345,\"requests_running\":1,\"requests_waiting\":2,"
        "\"counters\":{\"steps\":3,\"step_tokens\":4,\"step_seconds\":1.5,"
        "\"requests\":10,\"hits\":4,\"covered\":3,\"covered_late\":2,\"misses\":1,"
        "\"demand_bytes\":5,\"guess_bytes\":6,\"fill_bytes\":7,\"evictions\":8,"
        "\"stall_seconds\":0.25,\"read_seconds\":0.5,"
        "\"cache_bytes\":9,\"cache_slots\":11,\"cache_ready\":12}}");
    sl_strbuf_done(&out);
}

static void dense_models_have_none(void **state)
{
    const struct sl_apiexperts view = {0};
    struct sl_strbuf out = {0};

    sl_apiexperts_write(&view, &out);
    assert_int_equal(out.error, 0);
    assert_non_null(strstr(out.ptr, "\"n_layers\":0,\"first_layer\":0,\"n_experts\":0,"
                                    "\"n_experts_used\":0,\"states\":[],\"shares\":[],"));
    sl_strbuf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(browsers_get_the_page),
        cmocka_unit_test(tags_are_compared),
        cmocka_unit_test(files_are_whole),
        cmocka_unit_test(experts_are_written),
        cmocka_unit_test(dense_models_have_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
