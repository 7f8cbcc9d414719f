/*
 * The server as a whole: its loop, its sockets, its end. Connections are in httpconn.c,
 * requests in httproute.c, answers in httpreply.c; between the loop and other threads
 * stands exchange.c, and a descriptor that wakes the loop.
 *
 * Listeners pause while every place for a connection is taken; who comes then waits in the
 * system's queue. They also pause for a moment when accept fails (no descriptors left):
 * the loop would otherwise spin on a socket that stays ready.
 *
 * Libevent gathers a body in pieces of 4 KiB, and whatever small thing lies behind them keeps
 * malloc from giving them back. So malloc is told to, a moment after large bodies went.
 */
#include "server/http.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/bufferevent.h>
#include <event2/listener.h>

#include "base/clock.h"
#include "base/trim.h"
#include "server/httpconn.h"

#define ACCEPT_AGAIN_US 100000
#define ACCEPT_SAY_NS 60000000000u /* no log is filled by it */
#define TRIM_US 500000 /* and once for all that go meanwhile */
#define METHODS                                                                             \
    (EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT | EVHTTP_REQ_PATCH | \
     EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS)

_Static_assert(sizeof(pthread_t) <= sizeof(unsigned long), "sl_http.thread");

struct sl_http_opts sl_http_opts_default(void)
{
    return (struct sl_http_opts){
        .limits = {.target_max_bytes = 8192,
                   .head_max_bytes = 32768,
                   .body_max_bytes = 32 * 1024 * 1024},
        .n_conns_max = 256,
        .in_max_bytes = 256 * 1024 * 1024,
        .ahead_max_bytes = 65536,
        .out_max_bytes = 1024 * 1024,
        .idle_ms = 60000,
        .head_ms = 10000,
        .body_ms = 60000,
        .stall_ms = 30000,
        .linger_ms = 2000,
    };
}

void sl_http_say(struct sl_http *server, const char *fmt, ...)
{
    char line[SL_DIAG_BYTES];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, args); /* cut is fine */
    va_end(args);
    if (server->opts.log)
        server->opts.log(server->opts.arg, line);
    else
        fprintf(stderr, "sluice: %s\n", line);
}

static void enable_listeners(struct sl_http *server, bool is_on)
{
    for (uint32_t i = 0; i < server->n_listeners; i++) {
        if (!is_on)
            (void)evconnlistener_disable(server->listeners[i]); /* of an event that exists */
        else if (evconnlistener_enable(server->listeners[i]) < 0)
            sl_http_say(server, "cannot accept connections any more: no memory");
    }
}

static void end_loop(struct sl_http *server)
{
    server->is_drained = true;
    (void)event_base_loopbreak(server->base); /* of the running loop */
}

void sl_http_conn_came(struct sl_http *server)
{
    uint32_t n = atomic_fetch_add_explicit(&server->n_conns, 1, memory_order_relaxed) + 1;

    if (n == server->opts.n_conns_max)
        enable_listeners(server, false);
}

void sl_http_conn_went(struct sl_http *server)
{
    uint32_t n = atomic_fetch_sub_explicit(&server->n_conns, 1, memory_order_relaxed) - 1;

    if (server->is_draining && n == 0)
        end_loop(server);
    else if (!server->is_draining && !evtimer_pending(server->accept_again, NULL))
        enable_listeners(server, true);
}

/* Its argument is libevent's, not ours: leave the loop to get where the server is known. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    (void)event_base_loopbreak(evconnlistener_get_base(listener)); /* of the running loop */
}

static void pause_accepting(struct sl_http *server)
{
    struct timeval again = {.tv_usec = ACCEPT_AGAIN_US};

    if (!server->accept_said_ns || sl_clock_ns() - server->accept_said_ns > ACCEPT_SAY_NS) {
        server->accept_said_ns = sl_clock_ns();
        sl_http_say(server, "cannot accept connections, for example because too many files are "
                            "open; trying again");
    }
    enable_listeners(server, false);
    (void)evtimer_add(server->accept_again, &again); /* or the next close enables them */
}

void sl_http_body_went(struct sl_http *server, uint64_t bytes)
{
    struct timeval soon = {.tv_usec = TRIM_US};

    server->bodies_bytes -= bytes;
    server->bodies_gone_bytes += bytes;
    if (server->bodies_gone_bytes >= SL_HTTP_LARGE_BYTES && !evtimer_pending(server->trim, NULL))
        (void)evtimer_add(server->trim, &soon); /* or memory is only larger */
}

static void on_trim(evutil_socket_t fd, short what, void *arg)
{
    struct sl_http *server = arg;

    server->bodies_gone_bytes = 0;
    sl_trim();
}

static void on_accept_again(evutil_socket_t fd, short what, void *arg)
{
    struct sl_http *server = arg;

    if (!server->is_draining && sl_http_n_conns(server) < server->opts.n_conns_max)
        enable_listeners(server, true);
}

/* Who comes from now on is refused by the system. A socket that was handed over may be another
 * server's next: there they wait. */
static void end_listeners(struct sl_http *server)
{
    for (uint32_t i = 0; i < server->n_listeners; i++) {
        evconnlistener_disable(server->listeners[i]);
        if (!server->is_inherited[i]) /* of a socket that listens, or did */
            (void)shutdown(evconnlistener_get_fd(server->listeners[i]), SHUT_RDWR);
    }
    (void)event_del(server->accept_again); /* of an event that exists */
}

/* Cut off everything that still stands. */
static void on_drain_over(evutil_socket_t fd, short what, void *arg)
{
    struct sl_http *server = arg;

    for (uint32_t i = 0; i < server->opts.n_conns_max; i++)
        if (server->conns[i].evcon)
            sl_httpconn_cut(&server->conns[i]);
    end_loop(server);
}

static void look_for_drain(struct sl_http *server)
{
    /* pairs with the release in sl_http_drain */
    uint32_t calls = atomic_load_explicit(&server->n_drain_calls, memory_order_acquire);
    uint32_t ms = atomic_load_explicit(&server->drain_ms, memory_order_relaxed);
    struct timeval left = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    bool is_first = !server->is_draining;

    if (calls == 0)
        return;
    server->is_draining = true;
    if (calls > 1) { /* the first of them may not have been seen before */
        on_drain_over(-1, 0, server);
        return;
    }
    if (!is_first)
        return;
    end_listeners(server);
    for (uint32_t i = 0; i < server->opts.n_conns_max; i++)
        if (server->conns[i].evcon && server->conns[i].phase == SL_HTTPCONN_IDLE)
            sl_httpconn_cut(&server->conns[i]);
    if (sl_http_n_conns(server) == 0)
        end_loop(server);
    else if (evtimer_add(server->drain_timer, &left) < 0)
        on_drain_over(-1, 0, server);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct sl_http *server = arg;
    struct sl_exchange_out out;

    sl_exchanges_calm(server->exchanges);
    look_for_drain(server);
    while (sl_exchanges_take(server->exchanges, &out)) {
        sl_httpreply_send(&server->conns[out.index], &out);
        sl_exchange_out_done(&out);
    }
}

/* Libevent's own messages go nowhere: what they tell is dealt with, or ours to say. */
static void on_libevent_log(int severity, const char *text)
{
}

static int make_events(struct sl_http *server)
{
    struct event_config *config = event_config_new();

    if (!config)
        return -ENOMEM;
    /* no environment variable decides how we wait */
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV | EVENT_BASE_FLAG_NOLOCK |
                                            EVENT_BASE_FLAG_PRECISE_TIMER);
    server->base = event_base_new_with_config(config);
    event_config_free(config);
    if (!server->base)
        return -ENOMEM;
    server->evhttp = evhttp_new(server->base);
    server->wake = event_new(server->base, sl_exchanges_fd(server->exchanges),
                             EV_READ | EV_PERSIST, on_wake, server);
    server->drain_timer = evtimer_new(server->base, on_drain_over, server);
    server->accept_again = evtimer_new(server->base, on_accept_again, server);
    server->trim = evtimer_new(server->base, on_trim, server);
    if (!server->evhttp || !server->wake || !server->drain_timer || !server->accept_again ||
        !server->trim || event_add(server->wake, NULL) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < server->opts.n_conns_max; i++) {
        struct sl_httpconn *conn = &server->conns[i];

        conn->server = server;
        conn->index = i;
        conn->timer = evtimer_new(server->base, sl_httpconn_timer, conn);
        if (!conn->timer)
            return -ENOMEM;
    }
    return 0;
}

int sl_http_open(struct sl_http **ret_server, const struct sl_http_opts *opts,
                 struct sl_diag *diag)
{
    struct sl_http *server;
    int r;

    if (opts->n_conns_max == 0 || opts->n_conns_max > SL_HTTP_CONNS_MAX)
        return sl_diag_set(diag, -ERANGE, "%u connections: 1 to %d can be served",
                           opts->n_conns_max, SL_HTTP_CONNS_MAX);
    server = calloc(1, sizeof(*server));
    if (!server)
        return -ENOMEM;
    server->opts = *opts;
    event_set_log_callback(on_libevent_log);
    server->conns = calloc(opts->n_conns_max, sizeof(*server->conns));
    r = server->conns
            ? sl_exchanges_new(&server->exchanges, opts->n_conns_max, opts->out_max_bytes)
            : -ENOMEM;
    if (r == 0)
        r = make_events(server);
    if (r < 0)
        goto fail;

    evhttp_set_bevcb(server->evhttp, sl_httpconn_accept, server);
    evhttp_set_gencb(server->evhttp, sl_httproute_dispatch, server);
    evhttp_set_allowed_methods(server->evhttp, METHODS);
    evhttp_set_default_content_type(server->evhttp, NULL);
    /* httphead.c bounds them first, so that the answer is ours */
    evhttp_set_max_headers_size(server->evhttp, (ev_ssize_t)opts->limits.head_max_bytes);
    evhttp_set_max_body_size(server->evhttp, (ev_ssize_t)opts->limits.body_max_bytes);
    *ret_server = server;
    return 0;

fail:
    sl_http_close(server);
    return sl_diag_set(diag, r, "cannot set up the server: %s", sl_err_text(r));
}

void sl_http_close(struct sl_http *server)
{
    if (!server)
        return;
    server->opts.gone = NULL;
    server->is_draining = true; /* no listener is enabled again */
    if (server->base) {
        /* connections that were accepted, but not yet known, get known by their timers */
        (void)event_base_loop(server->base, EVLOOP_NONBLOCK);
    }
    if (server->evhttp)
        evhttp_free(server->evhttp); /* closes connections, which frees what they hold */
    for (uint32_t i = 0; server->conns && i < server->opts.n_conns_max; i++)
        if (server->conns[i].timer)
            event_free(server->conns[i].timer);
    if (server->wake)
        event_free(server->wake);
    if (server->drain_timer)
        event_free(server->drain_timer);
    if (server->accept_again)
        event_free(server->accept_again);
    if (server->trim)
        event_free(server->trim);
    if (server->base)
        event_base_free(server->base);
    sl_exchanges_free(server->exchanges);
    free(server->conns);
    free(server->routes);
    free(server->route_views);
    free(server);
}

int sl_http_route(struct sl_http *server, enum sl_http_method method, const char *pattern,
                  uint32_t flags, sl_http_handler handler, void *arg)
{
    size_t n = server->n_routes + 1;
    struct sl_httproute *routes;
    struct sl_route_view *views;

    if (flags & ~(uint32_t)SL_HTTP_PUBLIC)
        return -EINVAL;
    routes = realloc(server->routes, n * sizeof(*routes));
    if (!routes)
        return -ENOMEM;
    server->routes = routes;
    views = realloc(server->route_views, n * sizeof(*views));
    if (!views)
        return -ENOMEM;
    server->route_views = views;
    routes[n - 1] = (struct sl_httproute){handler, arg, flags};
    views[n - 1] = (struct sl_route_view){method, pattern};
    server->n_routes = n;
    return 0;
}

int sl_http_listen(struct sl_http *server, const struct sl_listen *sockets, struct sl_diag *diag)
{
    for (uint32_t i = 0; i < sockets->n; i++) {
        struct evconnlistener *listener;

        if (server->n_listeners == SL_LISTEN_MAX)
            return sl_diag_set(diag, -EIO, "more than %d sockets", SL_LISTEN_MAX);
        listener = evconnlistener_new(server->base, NULL, NULL, LEV_OPT_CLOSE_ON_EXEC, 0,
                                      sockets->fds[i]);
        if (!listener || !evhttp_bind_listener(server->evhttp, listener)) {
            if (listener)
                evconnlistener_free(listener);
            return sl_diag_set(diag, -ENOMEM, "cannot listen: no memory");
        }
        evconnlistener_set_error_cb(listener, on_accept_error);
        server->is_inherited[server->n_listeners] = sockets->is_inherited[i];
        server->listeners[server->n_listeners++] = listener;
    }
    if (sockets->is_beyond_loopback &&
        (!server->opts.auth || !sl_auth_has_keys(server->opts.auth)))
        sl_http_say(server, "warning: other machines can reach this server, and it asks for no "
                            "key; give one with --api-key-file");
    return 0;
}

int sl_http_run(struct sl_http *server)
{
    sigset_t pipe;
    int r;

    /* libevent writes without MSG_NOSIGNAL */
    (void)sigemptyset(&pipe); /* these three take what they are given */
    (void)sigaddset(&pipe, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    for (;;) {
        r = event_base_dispatch(server->base);
        if (r < 0 || server->is_drained)
            break;
        pause_accepting(server);
    }
    end_listeners(server);
    return r < 0 ? -EIO : server->is_cut ? -ECANCELED : 0;
}

static void *run_thread(void *arg)
{
    struct sl_http *server = arg;

    server->result = sl_http_run(server);
    return NULL;
}

int sl_http_start(struct sl_http *server)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run_thread, server) != 0)
        return -EAGAIN;
    server->thread = thread;
    server->has_thread = true;
    return 0;
}

int sl_http_join(struct sl_http *server)
{
    if (server->has_thread)
        (void)pthread_join((pthread_t)server->thread, NULL); /* of a thread that was started */
    server->has_thread = false;
    return server->result;
}

void sl_http_drain(struct sl_http *server, uint32_t timeout_ms)
{
    atomic_store_explicit(&server->drain_ms, timeout_ms, memory_order_relaxed);
    /* pairs with the acquire in look_for_drain */
    atomic_fetch_add_explicit(&server->n_drain_calls, 1, memory_order_release);
    sl_exchanges_wake(server->exchanges);
}

uint32_t sl_http_n_conns(struct sl_http *server)
{
    return atomic_load_explicit(&server->n_conns, memory_order_relaxed);
}

int sl_http_reply(struct sl_http *server, sl_http_id id, const struct sl_http_reply *reply,
                  const char *body, size_t len)
{
    return sl_exchanges_reply(server->exchanges, id, reply, body, len);
}

int sl_http_begin(struct sl_http *server, sl_http_id id, const struct sl_http_reply *reply)
{
    return sl_exchanges_begin(server->exchanges, id, reply);
}

int sl_http_write(struct sl_http *server, sl_http_id id, const char *data, size_t len)
{
    return sl_exchanges_write(server->exchanges, id, data, len);
}

int sl_http_end(struct sl_http *server, sl_http_id id)
{
    return sl_exchanges_end(server->exchanges, id);
}

int sl_http_error(struct sl_http *server, sl_http_id id, int status, const char *message,
                  uint32_t retry_s)
{
    char headers[64];

    (void)snprintf(headers, sizeof(headers), "Retry-After: %u\r\n", retry_s); /* fits */
    return sl_exchanges_error(server->exchanges, id, status, message, retry_s ? headers : NULL);
}

int sl_http_abort(struct sl_http *server, sl_http_id id)
{
    return sl_exchanges_abort(server->exchanges, id);
}
