/*
 * The parts of the server that need no connection: keys, hosts and origins, heads and
 * chunks, routes, streams' pieces, systemd's variables.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/auth.h"
#include "server/hostcheck.h"
#include "server/httphead.h"
#include "server/route.h"
#include "server/sdnotify.h"
#include "server/sse.h"

static void test_equal_compares_all_bytes(void **state)
{
    char a[64], b[64];

    for (size_t len = 0; len <= sizeof(a); len++) {
        memset(a, 'k', sizeof(a));
        memset(b, 'k', sizeof(b));
        assert_true(sl_auth_is_equal(a, len, b, len));
        for (size_t i = 0; i < len; i++)
            for (int bit = 0; bit < 8; bit++) {
                b[i] ^= (char)(1 << bit);
                assert_false(sl_auth_is_equal(a, len, b, len));
                b[i] ^= (char)(1 << bit);
            }
        if (len) {
            assert_false(sl_auth_is_equal(a, len - 1, b, len));
            assert_false(sl_auth_is_equal(a, len, b, len - 1));
        }
    }
    /* zeroes past the end of the shorter are not its bytes */
    assert_false(sl_auth_is_equal("ab", 2, "ab\0", 3));
}

static void test_keys(void **state)
{
    struct sl_auth *auth;
    struct sl_diag diag;
    char many[SL_AUTH_KEY_BYTES + 1];

    assert_int_equal(sl_auth_new(&auth), 0);
    assert_false(sl_auth_has_keys(auth));
    assert_true(sl_auth_is_allowed(auth, NULL, NULL));
    memset(many, 'k', sizeof(many));
    assert_int_equal(sl_auth_add_key(auth, "", 0, &diag), -EINVAL);
    assert_int_equal(sl_auth_add_key(auth, many, sizeof(many), &diag), -EINVAL);
    assert_int_equal(sl_auth_add_key(auth, "a b", 3, &diag), -EINVAL);
    assert_int_equal(sl_auth_add_key(auth, "a\n", 2, &diag), -EINVAL);
    assert_int_equal(sl_auth_add_key(auth, many, sizeof(many) - 1, &diag), 0);
    assert_int_equal(sl_auth_add_key(auth, "two", 3, &diag), 0);
    assert_true(sl_auth_has_keys(auth));
    assert_false(sl_auth_is_allowed(auth, NULL, NULL));
    assert_false(sl_auth_is_allowed(auth, "", ""));
    assert_true(sl_auth_is_allowed(auth, "Bearer two", NULL));
    assert_true(sl_auth_is_allowed(auth, "BEARER   two", "wrong"));
    assert_true(sl_auth_is_allowed(auth, "Bearer wrong", "two"));
    assert_false(sl_auth_is_allowed(auth, "two", NULL));
    assert_false(sl_auth_is_allowed(auth, "Bearer twos", "tw"));
    for (int i = 2; i < SL_AUTH_KEYS_MAX; i++)
        assert_int_equal(sl_auth_add_key(auth, "k", 1, &diag), 0);
    assert_int_equal(sl_auth_add_key(auth, "k", 1, &diag), -E2BIG);
    sl_auth_free(auth);
}

static void test_key_file(void **state)
{
    static const struct {
        const char *text;
        int r;
    } cases[] = {
        {"one\n", 0}, {"one", 0}, {"# c\n\n one\n", -EBADMSG}, {"# c\n\none \r\n", 0},
        {"", -EBADMSG}, {"# only\n", -EBADMSG}, {"one\na b\n", -EBADMSG},
    };
    char path[] = "/tmp/sluice-keys-XXXXXX";
    int fd = mkstemp(path);
    struct sl_diag diag;
    bool is_open = true;

    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sl_auth *auth;
        ssize_t len = (ssize_t)strlen(cases[i].text);

        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, cases[i].text, (size_t)len, 0), len);
        assert_int_equal(sl_auth_new(&auth), 0);
        assert_int_equal(sl_auth_add_file(auth, path, &is_open, &diag), cases[i].r);
        if (cases[i].r == 0) {
            assert_true(sl_auth_is_allowed(auth, NULL, "one"));
            assert_false(is_open); /* mkstemp's mode */
        }
        if (cases[i].r == 0) {
            assert_int_equal(fchmod(fd, 0640), 0);
            assert_int_equal(sl_auth_add_file(auth, path, &is_open, &diag), 0);
            assert_true(is_open);
            assert_int_equal(fchmod(fd, 0600), 0);
        }
        sl_auth_free(auth);
    }
    close(fd);
    unlink(path);
}

static void test_origin(void **state)
{
    static const char *const some[] = {"https://a.example"};
    static const char *const all[] = {"*"};

    assert_int_equal(sl_hostcheck_origin(NULL, "h", some, 1), SL_ORIGIN_NONE);
    assert_int_equal(sl_hostcheck_origin("http://h:1", "h:1", NULL, 0), SL_ORIGIN_SAME);
    assert_int_equal(sl_hostcheck_origin("http://h:2", "h:1", NULL, 0), SL_ORIGIN_REFUSED);
    assert_int_equal(sl_hostcheck_origin("null", NULL, NULL, 0), SL_ORIGIN_REFUSED);
    assert_int_equal(sl_hostcheck_origin("https://a.example", "h", some, 1), SL_ORIGIN_ALLOWED);
    assert_int_equal(sl_hostcheck_origin("http://a.example", "h", some, 1), SL_ORIGIN_REFUSED);
    assert_int_equal(sl_hostcheck_origin("null", "h", all, 1), SL_ORIGIN_ALLOWED);
    assert_true(sl_hostcheck_is_allowed("x.y", all, 1));
    assert_false(sl_hostcheck_is_allowed(NULL, some, 1));
}

/* The first chunked body of text, in pieces of n bytes: its status, and what it used. */
static int feed(const char *text, size_t n, uint64_t most, size_t *ret_used)
{
    struct sl_httpchunk chunk = {0};
    size_t len = strlen(text), at = 0, used;
    int r = 0;

    while (at < len && r == 0) {
        r = sl_httpchunk_feed(&chunk, text + at, n < len - at ? n : len - at, most, &used);
        if (r < 2)
            at += used;
    }
    *ret_used = at;
    return r;
}

static void test_chunks(void **state)
{
    static const struct {
        const char *text;
        uint64_t most;
        int r;
        size_t used;
    } cases[] = {
        {"0\r\n\r\n", 0, 1, 5},
        {"3\r\nabc\r\n0\r\n\r\nGET", 3, 1, 13},
        {"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 5, 1, 20},
        {"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 4, 413, 0},
        {"00000003\r\nabc\r\n0000\r\n\r\n", 3, 1, 23},
        {"ffffffffffffffff\r\n", UINT32_MAX, 413, 0},
        {"00000000000000001\r\na", 1, 400, 0},
        {"g\r\n", 9, 400, 0}, {"\r\n", 9, 400, 0}, {"1 \r\n", 9, 400, 0}, {"1\n", 9, 400, 0},
        {"1\r\nab", 9, 400, 0}, {"0\r\nx", 9, 400, 0}, {"0\r\n\rx", 9, 400, 0},
        {"3\r\nab", 9, 0, 5}, {"-1\r\n", 9, 400, 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t n = 1; n < 30; n++) {
            size_t used;

            assert_int_equal(feed(cases[i].text, n, cases[i].most, &used), cases[i].r);
            if (cases[i].r < 2)
                assert_int_equal(used, cases[i].used);
        }
}

/* Heads with any bytes changed end in a verdict, and what passes is framed in one way. */
static void test_heads_with_changes(void **state)
{
    static const char *const lines[] = {
        "POST /v1/chat/completions?x=%20y HTTP/1.1\r\n", "Host: localhost:8080\r\n",
        "Content-Length: 12\r\n", "Transfer-Encoding: chunked\r\n", "X-Other: \t some text \r\n",
        "\r\n"};
    const struct sl_httphead_limits limits = {64, 200, 1000};
    const char *seed_text = getenv("SL_SEED");
    unsigned int seed = seed_text ? (unsigned int)strtoul(seed_text, NULL, 10) : 1;
    uint32_t n_passed = 0;

    printf("SL_SEED=%u\n", seed);
    for (int round = 0; round < 20000; round++) {
        struct sl_httphead head = {0};
        const char *why = NULL;
        int r = 0;

        for (size_t i = 0; i < 6 && r == 0; i++) {
            char line[64];
            size_t len = strlen(lines[i]);

            /* one of the two framings, mostly */
            if ((i == 2 || i == 3) && rand_r(&seed) % 2)
                continue;
            memcpy(line, lines[i], len);
            if (rand_r(&seed) % 4 == 0)
                line[(size_t)rand_r(&seed) % len] = (char)rand_r(&seed);
            r = sl_httphead_take_line(&head, line, len, &limits, &why);
        }
        assert_true(r <= 1 || (r >= 400 && r <= 505));
        assert_true(r <= 0 || why);
        if (r == 1) {
            n_passed++;
            assert_true(head.method != SL_HTTP_NONE);
            assert_false(head.is_chunked && head.body_bytes);
        }
    }
    assert_in_range(n_passed, 1000, 19000);
}

static void test_routes(void **state)
{
    static const struct sl_route_view routes[] = {
        {SL_HTTP_GET, "/a"}, {SL_HTTP_POST, "/a"}, {SL_HTTP_GET, "/m/*"}, {SL_HTTP_GET, "/m/x"}};
    unsigned int methods;
    const char *rest;

    assert_int_equal(sl_route_find(routes, 4, SL_HTTP_POST, "/a", &methods, &rest), 1);
    assert_null(rest);
    assert_int_equal(sl_route_find(routes, 4, SL_HTTP_HEAD, "/a", &methods, &rest), 0);
    assert_int_equal(methods, 1 << SL_HTTP_GET | 1 << SL_HTTP_HEAD | 1 << SL_HTTP_POST);
    assert_int_equal(sl_route_find(routes, 4, SL_HTTP_PUT, "/a", &methods, &rest), -2);
    assert_int_equal(sl_route_find(routes, 4, SL_HTTP_GET, "/a/", &methods, &rest), -1);
    assert_int_equal(methods, 0);
    assert_int_equal(sl_route_find(routes, 4, SL_HTTP_GET, "/m/x", &methods, &rest), 2);
    assert_string_equal(rest, "x");
    assert_int_equal(sl_route_find(routes, 4, SL_HTTP_GET, "/m/", &methods, &rest), -1);
}

static void test_pieces_of_streams(void **state)
{
    struct sl_strbuf out = {0};

    sl_sse_add(&out, NULL, "{}", 2);
    sl_sse_add(&out, "ping", "", 0);
    sl_sse_add(&out, NULL, "a\nb\r\nc\rd\n", 9);
    sl_sse_add_json_line(&out, "{}", 2);
    assert_int_equal(out.error, 0);
    assert_string_equal(out.ptr, "data: {}\n\nevent: ping\ndata: \n\n"
                                 "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n{}\n");
    sl_strbuf_done(&out);
}

static void test_systemd_variables(void **state)
{
    struct sl_diag diag;
    char pid[24], other[24];

    snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    snprintf(other, sizeof(other), "%ld", (long)getpid() + 1);
    assert_int_equal(sl_sdnotify_inherited(NULL, NULL, &diag), 0);
    assert_int_equal(sl_sdnotify_inherited(pid, NULL, &diag), 0);
    assert_int_equal(sl_sdnotify_inherited(other, "1", &diag), 0);
    assert_int_equal(sl_sdnotify_inherited(pid, "0", &diag), 0);
    assert_int_equal(sl_sdnotify_inherited(pid, "9", &diag), -E2BIG);
    assert_int_equal(sl_sdnotify_inherited(pid, "x", &diag), -EBADMSG);
    assert_int_equal(sl_sdnotify_inherited(pid, "-1", &diag), -EBADMSG);
    assert_int_equal(sl_sdnotify_inherited(pid, "99999999999999999999", &diag), -EBADMSG);
    assert_int_equal(sl_sdnotify_send(NULL, "READY=1", &diag), 0);
    assert_int_equal(sl_sdnotify_send("", "READY=1", &diag), 0);
    assert_int_equal(sl_sdnotify_send("relative", "READY=1", &diag), -EINVAL);
    assert_int_equal(sl_sdnotify_send("/nowhere/at/all", "READY=1", &diag), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_compares_all_bytes),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_key_file),
        cmocka_unit_test(test_origin),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_heads_with_changes),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_pieces_of_streams),
        cmocka_unit_test(test_systemd_variables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
