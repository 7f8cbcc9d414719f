/*
 * The HTTP server under the APIs: connections, limits, deadlines, keys, origins and routes
 * are its business; a handler gets a whole request and answers at once or later, from any
 * thread, in one piece or in many, by the request's id. Nobody but the server ever holds
 * a request.
 *
 * One thread, the loop, runs sl_http_run and all handlers and callbacks, which must not
 * block or compute. The functions that answer and sl_http_drain may be called from any
 * thread, with no lock held that a callback takes. The rest is for setting up, before the
 * loop runs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/strbuf.h"
#include "server/auth.h"
#include "server/httphead.h"
#include "server/listen.h"

struct sl_http;
struct sl_http_request;

typedef uint64_t sl_http_id; /* names a request for as long as the server lives; not 0 */

#define SL_HTTP_CONNS_MAX 4096
#define SL_HTTP_LARGE_BYTES (4u << 20) /* bodies after which memory is given back */

struct sl_http_opts {
    const struct sl_auth *auth; /* borrowed; NULL: no keys */
    const char *const *hosts;   /* names that Host may hold beside localhost and addresses */
    size_t n_hosts;
    const char *const *origins; /* sites whose pages may call; "*" for all. Default none */
    size_t n_origins;
    struct sl_httphead_limits limits; /* 8 KiB target, 32 KiB head, 32 MiB body */
    uint32_t n_conns_max;   /* 1..SL_HTTP_CONNS_MAX, default 256; more wait to be accepted */
    uint64_t in_max_bytes;  /* of the bodies of all requests on their way, 256 MiB; over it: 503 */
    uint32_t ahead_max_bytes; /* what a client may send before its answer is there, 64 KiB */
    uint32_t out_max_bytes; /* of a stream that its client has not taken yet, 1 MiB */
    uint32_t idle_ms;       /* without a request, 60 000 */
    uint32_t head_ms;       /* from a head's first byte, or from the connection until it, 10 000 */
    uint32_t body_ms;       /* from the head's end to the body's, 60 000 */
    uint32_t stall_ms;      /* in which a client must take 4 KiB, or all that waits, 30 000 */
    uint32_t linger_ms;     /* for a refused client to take its answer, 2 000 */

    /* Callbacks, on the loop. Each may be NULL. */
    void *arg;

    /* The client of an answer not yet given whole is gone, or was cut off: its id means
     * nothing any more. At most once per id. */
    void (*gone)(void *arg, sl_http_id id);

    /* Whether to take a request at all, asked before its handler: 0, or 429 or 503, and
     * after how many seconds to try again (0: not said). */
    int (*admit)(void *arg, const struct sl_http_request *request, uint32_t *ret_retry_s);

    /* The body of an error in the form of the API that the path belongs to (NULL: not
     * known), to out, and its type; otherwise the server's own form. */
    void (*error_body)(void *arg, const char *path, int status, const char *message,
                       struct sl_strbuf *out, const char **ret_type);

    /* One line for the log, without its end; NULL: to stderr. Never what clients sent. */
    void (*log)(void *arg, const char *line);
};

struct sl_http_opts sl_http_opts_default(void);

/* opts is copied, but what its pointers show is borrowed until close. Returns 0, -ERANGE,
 * -ENOMEM. */
int sl_http_open(struct sl_http **ret_server, const struct sl_http_opts *opts,
                 struct sl_diag *diag);

/* After sl_http_run has returned, or before it was called. Tells no one. NULL is allowed. */
void sl_http_close(struct sl_http *server);

typedef void (*sl_http_handler)(void *arg, const struct sl_http_request *request);

enum {
    SL_HTTP_PUBLIC = 1, /* no key is asked for */
};

/*
 * Call handler for method and pattern: a path, or its beginning and an asterisk for the
 * rest. Of several that match, the first added counts. pattern is borrowed. HEAD is
 * answered by GET's handler, and the body left out. Returns 0, -EINVAL (unknown flag), -ENOMEM.
 */
int sl_http_route(struct sl_http *server, enum sl_http_method method, const char *pattern,
                  uint32_t flags, sl_http_handler handler, void *arg);

/*
 * Accept connections on these sockets, which must stay open until close; says it when they
 * can be reached from elsewhere and there is no key. Returns 0, -ENOMEM, -EIO.
 */
int sl_http_listen(struct sl_http *server, const struct sl_listen *sockets, struct sl_diag *diag);

/* Serve until drained; SIGPIPE stays blocked in this thread. Returns 0 (nothing was cut off),
 * -ECANCELED (something was), -EIO. */
int sl_http_run(struct sl_http *server);

/* The same on a thread of its own. Returns 0 or -EAGAIN. */
int sl_http_start(struct sl_http *server);

/* Wait for that thread to end. Returns what sl_http_run did. */
int sl_http_join(struct sl_http *server);

/*
 * Refuse who comes from now on, close idle connections, let open requests end, for at most
 * timeout_ms; then cut off the rest and end the loop. A second call ends it at once. Also
 * from a signal handler.
 */
void sl_http_drain(struct sl_http *server, uint32_t timeout_ms);

/* Connections open now. Any thread. */
uint32_t sl_http_n_conns(struct sl_http *server);

/* A request: valid, with all it shows, until its handler returns. */
sl_http_id sl_http_request_id(const struct sl_http_request *request);
enum sl_http_method sl_http_request_method(const struct sl_http_request *request);
const char *sl_http_request_path(const struct sl_http_request *request);
const char *sl_http_request_query(const struct sl_http_request *request); /* "" without */
const char *sl_http_request_rest(const struct sl_http_request *request);  /* of the pattern's
    asterisk, percent-decoded; "" without */
const char *sl_http_request_header(const struct sl_http_request *request, const char *name);
void sl_http_request_body(const struct sl_http_request *request, const char **ret_body,
                          size_t *ret_len);

/* The same as a copy, for large ones: the other puts it in one piece first. out has room. */
size_t sl_http_request_body_len(const struct sl_http_request *request);
void sl_http_request_copy_body(const struct sl_http_request *request, char *out);

struct sl_http_reply {
    int status;
    const char *type;    /* Content-Type; NULL: none */
    const char *headers; /* further ones, each "Name: value\r\n"; NULL: none */
    uint32_t ping_ms;    /* streams: how long silence may last before ping is sent; 0: for ever */
    const char *ping;    /* constant text */
};

/*
 * Answer in one piece, or begin a stream, add to it, end it. All is copied. None blocks.
 * Each returns 0; -ECANCELED: the client is gone or the id means nothing; -ENOBUFS: it
 * does not take what it gets, and is cut off (gone is called); -EINVAL: not in this order;
 * -ENOMEM, with nothing sent.
 */
int sl_http_reply(struct sl_http *server, sl_http_id id, const struct sl_http_reply *reply,
                  const char *body, size_t len);
int sl_http_begin(struct sl_http *server, sl_http_id id, const struct sl_http_reply *reply);
int sl_http_write(struct sl_http *server, sl_http_id id, const char *data, size_t len);
int sl_http_end(struct sl_http *server, sl_http_id id);

/* Answer with an error in the form of the request's API; retry_s: Retry-After, 0 for none. */
int sl_http_error(struct sl_http *server, sl_http_id id, int status, const char *message,
                  uint32_t retry_s);

/* Break a stream off so that its client sees it cut: an error that can no longer be told. */
int sl_http_abort(struct sl_http *server, sl_http_id id);
