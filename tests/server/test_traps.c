/*
 * What src/server/httpconn.c believes of libevent 2.1.12, shown on a bare evhttp server:
 * each case is a mistake that it avoids. Another version is not judged (exit code 77): there
 * a trap that is gone would be no fault.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>

#define LOOK_MS 300 /* how long to wait for what must not come */

enum watch { WATCH_NOTHING, WATCH_READ, WATCH_CLOSED };

struct trap {
    enum watch watch;
    struct event_base *base;
    int tell; /* a pipe: what happened, a letter each */
};

static void tell(struct trap *trap, char what)
{
    if (write(trap->tell, &what, 1) != 1)
        _exit(9);
}

static void on_closed_connection(struct evhttp_connection *evcon, void *arg)
{
    tell(arg, 'c');
}

static void on_closed_event(evutil_socket_t fd, short what, void *arg)
{
    tell(arg, 'e');
    event_base_loopbreak(((struct trap *)arg)->base);
}

/* Was time lost in spinning? A tenth: others may want the processor too. */
static void on_look(evutil_socket_t fd, short what, void *arg)
{
    tell(arg, clock() > CLOCKS_PER_SEC / 1000 * LOOK_MS / 10 ? 's' : 'q');
    event_base_loopbreak(((struct trap *)arg)->base);
}

/* A request whose answer is due later. */
static void on_request(struct evhttp_request *req, void *arg)
{
    struct trap *trap = arg;
    struct evhttp_connection *evcon = evhttp_request_get_connection(req);
    struct bufferevent *bev = evhttp_connection_get_bufferevent(evcon);
    struct timeval look = {.tv_usec = LOOK_MS * 1000};

    evhttp_connection_set_closecb(evcon, on_closed_connection, trap);
    if (trap->watch == WATCH_READ)
        bufferevent_enable(bev, EV_READ);
    if (trap->watch == WATCH_CLOSED)
        event_add(event_new(trap->base, bufferevent_getfd(bev), EV_CLOSED | EV_PERSIST,
                            on_closed_event, trap), NULL);
    event_base_once(trap->base, -1, EV_TIMEOUT, on_look, trap, &look);
    tell(trap, 'r');
}

/* Fork a server. Returns its process; *ret_client is connected to it, *ret_told what it tells. */
static pid_t serve(enum watch watch, int *ret_client, int *ret_told)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int told[2];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    pid_t pid;

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(pipe(told), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct trap trap = {.watch = watch, .tell = told[1], .base = event_base_new()};
        struct evhttp *http = evhttp_new(trap.base);

        close(told[0]);
        evutil_make_socket_nonblocking(fd);
        evhttp_accept_socket(http, fd);
        evhttp_set_gencb(http, on_request, &trap);
        event_base_dispatch(trap.base);
        _exit(0);
    }
    close(fd);
    close(told[1]);
    *ret_told = told[0];
    *ret_client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(*ret_client, (struct sockaddr *)&address, sizeof(address)), 0);
    return pid;
}

static void ask(int client)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    assert_int_equal(send(client, text, sizeof(text) - 1, MSG_NOSIGNAL), sizeof(text) - 1);
}

static char hear(int told)
{
    char what = 0;

    return read(told, &what, 1) == 1 ? what : '-';
}

static int end(pid_t pid, int told)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(told);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void test_nobody_hears_of_a_close(void **state)
{
    int client, told;
    pid_t pid = serve(WATCH_NOTHING, &client, &told);

    ask(client);
    assert_int_equal(hear(told), 'r');
    close(client);
    assert_int_equal(hear(told), 'q'); /* and no c before it */
    assert_int_equal(end(pid, told), 0);
}

static void test_reading_hears_of_a_close(void **state)
{
    int client, told;
    pid_t pid = serve(WATCH_READ, &client, &told);

    ask(client);
    assert_int_equal(hear(told), 'r');
    close(client);
    assert_int_equal(hear(told), 'c');
    assert_int_equal(hear(told), 'q');
    assert_int_equal(end(pid, told), 0);
}

static void test_reading_ends_the_process_by_a_second_request(void **state)
{
    int client, told;
    pid_t pid = serve(WATCH_READ, &client, &told);

    ask(client);
    assert_int_equal(hear(told), 'r');
    ask(client);
    assert_int_equal(hear(told), '-');
    assert_int_equal(end(pid, told), 1);
    close(client);
}

static void test_closed_event_hears_of_a_close(void **state)
{
    int client, told;
    pid_t pid = serve(WATCH_CLOSED, &client, &told);

    ask(client);
    assert_int_equal(hear(told), 'r');
    close(client);
    assert_int_equal(hear(told), 'e');
    assert_int_equal(end(pid, told), 0);
}

static void test_closed_event_spins_after_a_reset(void **state)
{
    struct linger reset = {1, 0};
    int client, told;
    pid_t pid = serve(WATCH_CLOSED, &client, &told);

    ask(client);
    assert_int_equal(hear(told), 'r');
    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    close(client);
    assert_int_equal(hear(told), 's'); /* and no e before it */
    assert_int_equal(end(pid, told), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_hears_of_a_close),
        cmocka_unit_test(test_reading_hears_of_a_close),
        cmocka_unit_test(test_reading_ends_the_process_by_a_second_request),
        cmocka_unit_test(test_closed_event_hears_of_a_close),
        cmocka_unit_test(test_closed_event_spins_after_a_reset),
    };

    if (event_get_version_number() >> 8 != 0x02010c) {
        printf("libevent %s, and not 2.1.12\n", event_get_version());
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
