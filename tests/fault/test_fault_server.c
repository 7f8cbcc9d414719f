/*
 * The server with failing allocations: the n-th of our own fails, for every n until none does
 * (libevent 2.1.12 does not live through failures of its own). Whatever it was, the server
 * ends when it is told to, and nothing is left behind (LeakSanitizer looks). Without a
 * failure the client gets its answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "faults.h"
#include "server/http.h"
#include "server/sse.h"

static const struct sl_http_reply plain = {.status = 200, .type = "text/plain"};
static const struct sl_http_reply stream = {
    .status = 200, .type = SL_SSE_TYPE, .headers = "X-Accel-Buffering: no\r\n"};

static struct sl_http *server;

static void on_echo(void *arg, const struct sl_http_request *request)
{
    const char *body;
    size_t len;

    sl_http_request_body(request, &body, &len);
    if (sl_http_reply(server, sl_http_request_id(request), &plain, body, len) < 0)
        (void)sl_http_abort(server, sl_http_request_id(request));
}

static void on_stream(void *arg, const struct sl_http_request *request)
{
    sl_http_id id = sl_http_request_id(request);

    if (sl_http_begin(server, id, &stream) < 0 || sl_http_write(server, id, "a", 1) < 0 ||
        sl_http_write(server, id, "b", 1) < 0 || sl_http_end(server, id) < 0)
        (void)sl_http_abort(server, id);
}

/* All that comes until the end of the connection. */
static size_t ask(uint16_t port, const char *text, char *answer, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t len = 0;
    ssize_t n;

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)send(fd, text, strlen(text), MSG_NOSIGNAL); /* it may be closed already */
    while (len < size - 1 && (n = recv(fd, answer + len, size - 1 - len, 0)) > 0)
        len += (size_t)n;
    answer[len] = '\0';
    close(fd);
    return len;
}

static int open_server(const struct sl_listen *sockets)
{
    struct sl_http_opts opts = sl_http_opts_default();
    struct sl_diag diag;
    int r;

    opts.n_conns_max = 4;
    opts.head_ms = opts.body_ms = opts.idle_ms = opts.stall_ms = 100;
    opts.linger_ms = 50;
    r = sl_http_open(&server, &opts, &diag);
    if (r < 0)
        return r;
    r = sl_http_route(server, SL_HTTP_POST, "/echo", 0, on_echo, NULL);
    if (r == 0)
        r = sl_http_route(server, SL_HTTP_GET, "/stream/*", 0, on_stream, NULL);
    if (r == 0)
        r = sl_http_listen(server, sockets, &diag);
    if (r == 0)
        r = sl_http_start(server);
    return r;
}

static void test_requests(void **state)
{
    static const char text[] =
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n0\r\n\r\n"
        "GET /stream/x%20y HTTP/1.1\r\nHost: localhost\r\n\r\n"
        "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
        "nonsense\r\n\r\n";
    struct sl_diag diag;
    char answer[4096];

    for (uint64_t n = 1;; n++) {
        struct sl_listen sockets = {0}; /* a drained server's listens no more */
        int r;

        assert_int_equal(sl_listen_add_tcp(&sockets, "127.0.0.1", 0, &diag), 0);
        faults_arm(FAULTS_ALL, n);
        r = open_server(&sockets);
        if (r == 0) {
            (void)ask(sl_listen_port(&sockets), text, answer, sizeof(answer));
            sl_http_drain(server, 1000);
            (void)sl_http_join(server);
        }
        faults_disarm();
        sl_http_close(server);
        server = NULL;
        sl_listen_done(&sockets);
        if (!faults_hit()) {
            assert_int_equal(r, 0);
            assert_non_null(strstr(answer, "\r\n\r\nabcHTTP/1.1 200 OK\r\n"));
            assert_non_null(strstr(answer, "\r\n\r\nabHTTP/1.1 404 Not Found\r\n"));
            assert_true(n > 20); /* or the faults never reached it */
            break;
        }
        assert_true(r == 0 || r == -ENOMEM || r == -EAGAIN);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
