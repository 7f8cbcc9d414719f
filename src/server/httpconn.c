/*
 * libevent parses requests and writes answers; what it does not watch over is watched here,
 * by looking at the same bytes and taking its callbacks away when it must not see them.
 *
 *   FREE -> IDLE -> HEAD -> BODY -> OPEN -> IDLE ...     a connection's life
 *              any but FREE -> REFUSED                    answered, to be closed
 *              any -> FREE                                closed (on_close)
 *
 * on_input sees all bytes as they come, before libevent does, and follows the framing
 * (httphead.h). At a fault it writes the answer itself and takes the bufferevent over, so
 * libevent never parses what was refused.
 *
 * In OPEN the read callback is NULL and reading is on: libevent then learns of the end of
 * the connection or its failure, half-closes included, and closes; with its own callback
 * there, a second request would end the process ("illegal connection state"), and with
 * reading off nobody would hear of a client that is gone. EV_CLOSED alone is no way out:
 * epoll reports a reset as an error, which libevent turns into EV_READ and EV_WRITE, so the
 * event is never called and the loop spins.
 *
 * Invariants:
 *  1. evcon is set in all phases but FREE, from the timer's first run on; that run is
 *     queued at accept, before any byte can be read.
 *  2. In OPEN req is set until the answer was sent or the connection ends. Only on_close
 *     frees it, and only if libevent has let it go.
 *  3. on_close is called exactly once for each connection, whoever ends it.
 *  4. phase_end_ns is 0 only in OPEN, once the request was handed to its handler.
 *  5. The timer of a doomed connection is queued to run, and nothing sets it anew.
 */
#include "server/httpconn.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <event2/bufferevent.h>

#include "base/clock.h"

#define NS_PER_MS 1000000u
#define STALL_BYTES 4096
#define COPY_BYTES 4096

static uint64_t in_ms(uint32_t ms)
{
    return sl_clock_ns() + (uint64_t)ms * NS_PER_MS;
}

void sl_httpconn_arm(struct sl_httpconn *conn)
{
    uint64_t ends[] = {conn->phase_end_ns, conn->stall_end_ns, conn->ping_at_ns};
    uint64_t end = UINT64_MAX;
    uint64_t now = sl_clock_ns();
    struct timeval left;

    if (conn->is_doomed)
        return; /* to set the timer would take it out of the queue of what is to run now */
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (ends[i] && ends[i] < end)
            end = ends[i];
    if (end == UINT64_MAX) {
        (void)event_del(conn->timer); /* of an event that exists */
        return;
    }
    end = end > now ? (end - now) / 1000 + 1 : 0;
    left.tv_sec = (time_t)(end / 1000000);
    left.tv_usec = (suseconds_t)(end % 1000000);
    (void)event_add(conn->timer, &left); /* a slot in a heap; without it the phase has no end */
}

static void set_phase(struct sl_httpconn *conn, enum sl_httpconn_phase phase, uint32_t ms)
{
    conn->phase = phase;
    conn->phase_end_ns = in_ms(ms);
    sl_httpconn_arm(conn);
}

void sl_httpconn_doom(struct sl_httpconn *conn)
{
    if (conn->phase == SL_HTTPCONN_FREE)
        return;
    conn->is_doomed = true;
    event_active(conn->timer, EV_TIMEOUT, 0);
}

void sl_httpconn_cut(struct sl_httpconn *conn)
{
    conn->server->is_cut |= conn->server->is_draining && conn->phase == SL_HTTPCONN_OPEN;
    evhttp_connection_free(conn->evcon); /* calls on_close */
}

/* Forget the open request. */
static void forget_request(struct sl_httpconn *conn)
{
    conn->req = NULL;
    conn->id = 0;
    conn->is_streaming = false;
    conn->is_end_given = false;
    conn->ping_at_ns = 0;
    free(conn->path);
    free(conn->origin);
    conn->path = NULL;
    conn->origin = NULL;
}

void sl_httpconn_forget_body(struct sl_httpconn *conn)
{
    sl_http_body_went(conn->server, conn->body_held_bytes);
    conn->body_held_bytes = 0;
}

/* libevent's callback just before it frees a connection. */
static void on_close(struct evhttp_connection *evcon, void *arg)
{
    struct sl_httpconn *conn = arg;
    struct sl_http *server = conn->server;
    sl_http_id id = conn->id;
    bool was_open = sl_exchanges_close(server->exchanges, conn->index);

    evhttp_connection_set_closecb(evcon, NULL, NULL);
    evbuffer_remove_cb_entry(bufferevent_get_input(conn->bev), conn->input_cb);
    evbuffer_remove_cb_entry(bufferevent_get_output(conn->bev), conn->output_cb);
    /* a request that libevent has cut loose is nobody's but ours */
    if (conn->req && !conn->is_end_given && !evhttp_request_get_connection(conn->req))
        evhttp_request_free(conn->req);
    forget_request(conn);
    sl_httpconn_forget_body(conn);
    if (conn->linger)
        event_free(conn->linger);
    (void)event_del(conn->timer);
    sl_strbuf_done(&conn->line);
    *conn = (struct sl_httpconn){
        .server = server, .index = conn->index, .timer = conn->timer};
    if (was_open && id && server->opts.gone)
        server->opts.gone(server->opts.arg, id);
    sl_http_conn_went(server);
}

/* Read and forget, until the client has read its answer and closes. */
static void on_linger(evutil_socket_t fd, short what, void *arg)
{
    char sink[16384];
    ssize_t n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        sl_httpconn_cut(arg);
}

/* A refusal has been sent: say that nothing follows, and wait a little. */
static void on_refused_written(struct bufferevent *bev, void *arg)
{
    (void)shutdown(bufferevent_getfd(bev), SHUT_WR); /* or it is gone already */
}

static void on_refused_event(struct bufferevent *bev, short what, void *arg)
{
    sl_httpconn_cut(arg);
}

/*
 * Answer what is no request, and close. The client may still be sending, and closing at
 * once would reset the connection before it has read why.
 */
static void refuse(struct sl_httpconn *conn, int status, const char *why)
{
    struct evbuffer *output = bufferevent_get_output(conn->bev);
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    struct sl_strbuf body = {0};
    char date[64] = "";
    const char *type;

    (void)evutil_date_rfc1123(date, sizeof(date), NULL); /* fits */
    sl_httpreply_error_body(conn->server, NULL, status, why, &body, &type);
    bufferevent_setcb(conn->bev, NULL, on_refused_written, on_refused_event, conn);
    bufferevent_disable(conn->bev, EV_READ);
    (void)evbuffer_drain(input, evbuffer_get_length(input)); /* libevent shall not see it */
    sl_httpconn_forget_body(conn);
    evbuffer_add_printf(output,
                        "HTTP/1.1 %d %s\r\nServer: sluice\r\nDate: %s\r\nContent-Type: %s\r\n"
                        "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                        status, sl_httpreply_phrase(status), date, type, body.len);
    evbuffer_add(output, body.ptr, body.len);
    sl_strbuf_done(&body);
    bufferevent_enable(conn->bev, EV_WRITE);
    conn->linger = event_new(conn->server->base, bufferevent_getfd(conn->bev),
                             EV_READ | EV_PERSIST, on_linger, conn);
    if (conn->linger)
        (void)event_add(conn->linger, NULL); /* without it the deadline closes */
    sl_strbuf_done(&conn->line);
    conn->stall_end_ns = 0;
    set_phase(conn, SL_HTTPCONN_REFUSED, conn->server->opts.linger_ms);
}

/* A request is complete; libevent calls its callback as soon as it gets to see it. */
static void complete(struct sl_httpconn *conn)
{
    sl_strbuf_done(&conn->line);
    conn->ahead_bytes = 0;
    set_phase(conn, SL_HTTPCONN_OPEN, conn->server->opts.body_ms);
}

/* The head is complete. */
static void begin_body(struct sl_httpconn *conn)
{
    conn->chunk = (struct sl_httpchunk){0};
    conn->body_left_bytes = conn->head.body_bytes;
    if (conn->head.is_chunked || conn->body_left_bytes)
        set_phase(conn, SL_HTTPCONN_BODY, conn->server->opts.body_ms);
    else
        complete(conn);
}

/*
 * Take bytes of a head. Returns how many belong to it; *ret_status the status to refuse
 * with, if any. Each line is judged when it is whole, before libevent sees it.
 */
static size_t scan_head(struct sl_httpconn *conn, const char *data, size_t len, int *ret_status,
                        const char **ret_why)
{
    const struct sl_httphead_limits *limits = &conn->server->opts.limits;
    struct sl_strbuf *line = &conn->line;
    size_t n = 0;
    int r = 0;

    if (conn->phase == SL_HTTPCONN_IDLE) {
        conn->head = (struct sl_httphead){0};
        set_phase(conn, SL_HTTPCONN_HEAD, conn->server->opts.head_ms);
    }
    while (n < len && r == 0) {
        const char *feed = memchr(data + n, '\n', len - n);
        size_t piece = feed ? (size_t)(feed - data) + 1 - n : len - n;

        sl_strbuf_add(line, data + n, piece);
        n += piece;
        *ret_why = line->error ? "no memory" : "the request's head is too long";
        if (line->error)
            r = 503;
        else if (!feed)
            r = sl_httphead_check_part(&conn->head, line->len, limits);
        else
            r = sl_httphead_take_line(&conn->head, line->ptr, line->len, limits, ret_why);
        if (feed)
            sl_strbuf_cut(line, 0);
    }
    if (r == 1)
        begin_body(conn);
    *ret_status = r > 1 ? r : 0;
    return n;
}

static size_t scan_body(struct sl_httpconn *conn, const char *data, size_t len, int *ret_status,
                        const char **ret_why)
{
    struct sl_http *server = conn->server;
    size_t n = len;
    int r;

    if (conn->head.is_chunked) {
        r = sl_httpchunk_feed(&conn->chunk, data, len, server->opts.limits.body_max_bytes, &n);
        *ret_why = r == 413 ? "the request's body is too large" : "malformed chunk";
    } else {
        if (n > conn->body_left_bytes)
            n = (size_t)conn->body_left_bytes;
        conn->body_left_bytes -= n;
        r = conn->body_left_bytes == 0;
    }
    conn->body_held_bytes += n;
    server->bodies_bytes += n;
    if (r <= 1 && server->bodies_bytes > server->opts.in_max_bytes) {
        *ret_why = "the requests that are coming are too large together; try again later";
        r = 503;
    }
    if (r == 1)
        complete(conn);
    *ret_status = r > 1 ? r : 0;
    return n;
}

/* Follow bytes that came. Returns 0 or the status to refuse with. */
static int scan(struct sl_httpconn *conn, const char *data, size_t len, const char **ret_why)
{
    int status = 0;

    while (len && status == 0 && conn->phase != SL_HTTPCONN_OPEN) {
        size_t n = conn->phase == SL_HTTPCONN_BODY
                       ? scan_body(conn, data, len, &status, ret_why)
                       : scan_head(conn, data, len, &status, ret_why);

        data += n;
        len -= n;
    }
    if (status == 0)
        conn->ahead_bytes += len;
    return status;
}

/* Follow the last n_bytes of what is there. */
static int scan_buffer(struct sl_httpconn *conn, struct evbuffer *input, size_t n_bytes,
                       const char **ret_why)
{
    struct evbuffer_ptr at;
    char copy[COPY_BYTES];
    int status = 0;

    if (n_bytes == 0 || evbuffer_ptr_set(input, &at, evbuffer_get_length(input) - n_bytes,
                                         EVBUFFER_PTR_SET) < 0)
        return 0;
    while (n_bytes && status == 0) {
        ssize_t n = evbuffer_copyout_from(input, &at, copy,
                                          n_bytes < sizeof(copy) ? n_bytes : sizeof(copy));

        if (n <= 0)
            break;
        status = scan(conn, copy, (size_t)n, ret_why);
        n_bytes -= (size_t)n;
        if (n_bytes)
            (void)evbuffer_ptr_set(input, &at, (size_t)n, EVBUFFER_PTR_ADD); /* within */
    }
    return status;
}

/* Called for all that comes in, before the bufferevent's read callback. */
static void on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
    struct sl_httpconn *conn = arg;
    const char *why = "";
    int status;

    if (info->n_added == 0 || conn->phase == SL_HTTPCONN_REFUSED || conn->is_doomed)
        return;
    status = scan_buffer(conn, input, info->n_added, &why);
    if (status)
        refuse(conn, status, why);
    else if (conn->ahead_bytes > conn->server->opts.ahead_max_bytes)
        sl_httpconn_doom(conn);
}

/*
 * How much of our answers the client has taken. Without what the system still holds for it:
 * that can be megabytes, and says nothing of the client.
 */
static int64_t taken(const struct sl_httpconn *conn)
{
    int held = 0;

    (void)ioctl(bufferevent_getfd(conn->bev), SIOCOUTQ, &held); /* or 0 */
    return (int64_t)conn->sent_bytes - held;
}

/* Called when an answer grows or has been sent in part. */
static void on_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
    struct sl_httpconn *conn = arg;
    size_t len = evbuffer_get_length(output);

    conn->sent_bytes += info->n_deleted;
    sl_exchanges_set_unsent(conn->server->exchanges, conn->index, len);
    if (conn->phase == SL_HTTPCONN_REFUSED || (len != 0) == (conn->stall_end_ns != 0))
        return;
    conn->stall_end_ns = len ? in_ms(conn->server->opts.stall_ms) : 0;
    conn->stall_mark = taken(conn);
    sl_httpconn_arm(conn);
}

static struct sl_httpconn *find_free(struct sl_http *server)
{
    for (uint32_t i = 0; i < server->opts.n_conns_max; i++)
        if (server->conns[i].phase == SL_HTTPCONN_FREE)
            return &server->conns[i];
    return NULL;
}

struct bufferevent *sl_httpconn_accept(struct event_base *base, void *arg)
{
    struct sl_http *server = arg;
    struct sl_httpconn *conn = find_free(server);
    struct bufferevent *bev = conn ? bufferevent_socket_new(base, -1, 0) : NULL;

    /* libevent then makes a connection of its own, whose requests nobody knows: dispatch
     * closes it. The listeners pause before there is no place. */
    if (!bev)
        return NULL;
    conn->input_cb = evbuffer_add_cb(bufferevent_get_input(bev), on_input, conn);
    conn->output_cb = evbuffer_add_cb(bufferevent_get_output(bev), on_output, conn);
    if (!conn->input_cb || !conn->output_cb) {
        bufferevent_free(bev);
        return NULL;
    }
    bufferevent_incref(bev); /* until adopt */
    conn->bev = bev;
    conn->phase = SL_HTTPCONN_IDLE;
    sl_http_conn_came(server);
    event_active(conn->timer, EV_TIMEOUT, 0);
    return bev;
}

/* libevent makes its connection object after it has asked for the bufferevent: learn it. */
static void adopt(struct sl_httpconn *conn)
{
    bufferevent_data_cb on_read, on_write;
    bufferevent_event_cb on_event;
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    int fd = bufferevent_getfd(conn->bev);
    int one = 1;
    void *evcon;

    bufferevent_getcb(conn->bev, &on_read, &on_write, &on_event, &evcon);
    (void)bufferevent_decref(conn->bev);
    if (!evcon) { /* it had no memory for one */
        conn->phase = SL_HTTPCONN_FREE;
        sl_http_conn_went(conn->server);
        return;
    }
    conn->evcon = evcon;
    evhttp_connection_set_closecb(evcon, on_close, conn);
    (void)getsockname(fd, (struct sockaddr *)&address, &len);
    conn->is_unix = address.ss_family == AF_UNIX;
    if (!conn->is_unix) /* a token is not to wait until the one before is acknowledged */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* or it is slow */
    set_phase(conn, SL_HTTPCONN_IDLE, conn->server->opts.head_ms);
}

/* The answer has been sent; the connection goes on, unless libevent closes it next. */
static void on_answered(struct evhttp_request *req, void *arg)
{
    struct sl_httpconn *conn = arg;
    size_t ahead = conn->ahead_bytes;
    const char *why;

    (void)sl_exchanges_close(conn->server->exchanges, conn->index);
    forget_request(conn);
    conn->ahead_bytes = 0;
    set_phase(conn, SL_HTTPCONN_IDLE, conn->server->opts.idle_ms);
    /* What came ahead is looked at now. Libevent starts to read after this, and resets the
     * callbacks: too late to answer a fault, so it is only closed. */
    if (conn->server->is_draining ||
        scan_buffer(conn, bufferevent_get_input(conn->bev), ahead, &why) != 0)
        sl_httpconn_doom(conn);
}

void sl_httpconn_opened(struct sl_httpconn *conn, struct evhttp_request *req)
{
    bufferevent_data_cb on_read, on_write;
    bufferevent_event_cb on_event;
    void *evcon;

    bufferevent_getcb(conn->bev, &on_read, &on_write, &on_event, &evcon);
    bufferevent_setcb(conn->bev, NULL, on_write, on_event, evcon);
    bufferevent_enable(conn->bev, EV_READ);
    evhttp_request_set_on_complete_cb(req, on_answered, conn);
    conn->req = req;
    conn->id = sl_exchanges_open(conn->server->exchanges, conn->index);
    conn->phase_end_ns = 0;
    sl_httpconn_arm(conn);
}

struct sl_httpconn *sl_httpconn_find(struct sl_http *server, struct evhttp_request *req)
{
    struct evhttp_connection *evcon = evhttp_request_get_connection(req);

    for (uint32_t i = 0; i < server->opts.n_conns_max; i++)
        if (server->conns[i].evcon == evcon)
            return &server->conns[i];
    return NULL;
}

/* The time of a phase is over. */
static void phase_over(struct sl_httpconn *conn)
{
    if (conn->phase == SL_HTTPCONN_HEAD)
        refuse(conn, 408, "the request's head did not come in time");
    else if (conn->phase == SL_HTTPCONN_BODY)
        refuse(conn, 408, "the request's body did not come in time");
    else
        sl_httpconn_cut(conn);
}

void sl_httpconn_timer(int fd, short what, void *arg)
{
    struct sl_httpconn *conn = arg;
    uint64_t now = sl_clock_ns();

    if (conn->phase == SL_HTTPCONN_FREE)
        return;
    if (!conn->evcon) {
        adopt(conn);
        return;
    }
    if (conn->is_doomed) {
        sl_httpconn_cut(conn);
        return;
    }
    if (conn->phase_end_ns && now >= conn->phase_end_ns) {
        phase_over(conn);
        return;
    }
    if (conn->stall_end_ns && now >= conn->stall_end_ns) {
        if (taken(conn) - conn->stall_mark < STALL_BYTES) {
            sl_httpconn_cut(conn);
            return;
        }
        conn->stall_mark = taken(conn);
        conn->stall_end_ns = in_ms(conn->server->opts.stall_ms);
    }
    if (conn->ping_at_ns && now >= conn->ping_at_ns)
        sl_httpreply_ping(conn);
    sl_httpconn_arm(conn);
}
