/*
 * One client's connection: what of its requests has come, its deadlines, its end. Internal
 * to the http files, which alone see libevent. On the loop.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>

#include "server/exchange.h"
#include "server/http.h"
#include "server/route.h"

enum sl_httpconn_phase {
    SL_HTTPCONN_FREE,   /* no connection */
    SL_HTTPCONN_IDLE,   /* between requests */
    SL_HTTPCONN_HEAD,
    SL_HTTPCONN_BODY,
    SL_HTTPCONN_OPEN,   /* a whole request is here; until its answer has been sent */
    SL_HTTPCONN_REFUSED, /* has got an answer to something that was no request */
};

struct sl_httpconn {
    /* set once, then read only */
    struct sl_http *server;
    uint32_t index;
    struct event *timer;

    /* owned by the loop, of this connection */
    enum sl_httpconn_phase phase;
    struct bufferevent *bev;
    struct evhttp_connection *evcon; /* NULL until the timer's first run */
    struct evbuffer_cb_entry *input_cb;
    struct evbuffer_cb_entry *output_cb;
    struct event *linger; /* reads and forgets what a refused client still sends */
    bool is_unix;
    bool is_doomed; /* to be cut off by the timer */
    uint64_t phase_end_ns; /* 0: no end */
    uint64_t stall_end_ns;
    uint64_t ping_at_ns;
    uint64_t sent_bytes; /* of all answers */
    int64_t stall_mark;  /* what the client had taken when the stall's time began */

    /* owned by the loop, of what comes in */
    struct sl_strbuf line; /* of the head, as far as it has come */
    struct sl_httphead head;
    struct sl_httpchunk chunk;
    uint64_t body_left_bytes;
    uint64_t body_held_bytes; /* of the body, counted in bodies_bytes */
    size_t ahead_bytes; /* come after the open request */

    /* owned by the loop, of the open request */
    struct evhttp_request *req; /* NULL once its answer was sent */
    sl_http_id id;
    char *path;   /* heap or NULL */
    char *origin; /* to be named in the answer; heap or NULL */
    bool is_streaming;
    bool is_end_given; /* req is libevent's, also when the connection ends */
    uint32_t ping_ms;
    const char *ping;
};

struct sl_httproute {
    sl_http_handler handler;
    void *arg;
    uint32_t flags;
};

struct sl_http {
    /* set once, then read only (the routes and listeners before the loop runs) */
    struct sl_http_opts opts;
    struct event_base *base;
    struct evhttp *evhttp;
    struct sl_exchanges *exchanges;
    struct event *wake;
    struct event *accept_again; /* after accept() failed */
    struct event *trim;         /* after large bodies went */
    struct sl_route_view *route_views;
    struct sl_httproute *routes;
    size_t n_routes;
    struct evconnlistener *listeners[SL_LISTEN_MAX];
    bool is_inherited[SL_LISTEN_MAX]; /* of the listeners */
    uint32_t n_listeners;

    /* owned by the loop */
    struct sl_httpconn *conns; /* opts.n_conns_max */
    struct event *drain_timer;
    bool is_draining;
    bool is_drained; /* the loop ends; it is left for other reasons too */
    uint64_t bodies_bytes; /* of requests whose handlers have not returned */
    uint64_t bodies_gone_bytes; /* of others, since memory was last given back */
    uint64_t accept_said_ns; /* 0: never */
    bool is_cut; /* something was, while draining */
    int result;

    /* atomic; the stores of drain pair with the loads of the loop after a wake */
    _Atomic uint32_t n_conns;
    _Atomic uint32_t n_drain_calls;
    _Atomic uint32_t drain_ms;

    /* owned by the thread that started the loop on another */
    unsigned long thread;
    bool has_thread;
};

/* http.c */
void sl_http_say(struct sl_http *server, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void sl_http_conn_came(struct sl_http *server);
void sl_http_conn_went(struct sl_http *server);

/* So many bytes of a request's body, counted in bodies_bytes, have been given up. */
void sl_http_body_went(struct sl_http *server, uint64_t bytes);

/* httpconn.c: evhttp asks for a bufferevent for each connection. */
struct bufferevent *sl_httpconn_accept(struct event_base *base, void *server);
struct sl_httpconn *sl_httpconn_find(struct sl_http *server, struct evhttp_request *req);
void sl_httpconn_timer(int fd, short what, void *conn);

/* The handler is about to be called: watch for the client's going. */
void sl_httpconn_opened(struct sl_httpconn *conn, struct evhttp_request *req);

/* The request's body has been given up, as far as it had come. */
void sl_httpconn_forget_body(struct sl_httpconn *conn);

/* Close at once; the connection is free afterwards. */
void sl_httpconn_cut(struct sl_httpconn *conn);

/* Close soon, from a place where libevent is in the middle of something. */
void sl_httpconn_doom(struct sl_httpconn *conn);

/* Set the timer by the nearest of the three deadlines. */
void sl_httpconn_arm(struct sl_httpconn *conn);

/* httpreply.c: send what was answered; the connection may be free afterwards. */
void sl_httpreply_send(struct sl_httpconn *conn, struct sl_exchange_out *out);
void sl_httpreply_ping(struct sl_httpconn *conn);

/* The body of an error, and its type (constant). */
void sl_httpreply_error_body(const struct sl_http *server, const char *path, int status,
                             const char *message, struct sl_strbuf *out, const char **ret_type);
const char *sl_httpreply_phrase(int status);

/* httproute.c: evhttp's callback for every request. */
void sl_httproute_dispatch(struct evhttp_request *req, void *server);
