/*
 * From a whole request to its handler: who asks, from where, for what, and whether now. The
 * first of these that says no answers in the form of the path's API.
 */
#include "server/httpconn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/bufferevent.h>
#include <event2/keyvalq_struct.h>

#include "server/hostcheck.h"

struct sl_http_request {
    sl_http_id id;
    enum sl_http_method method;
    const char *path;
    const char *query;
    const char *rest;
    struct evhttp_request *req; /* borrowed */
};

sl_http_id sl_http_request_id(const struct sl_http_request *request)
{
    return request->id;
}

enum sl_http_method sl_http_request_method(const struct sl_http_request *request)
{
    return request->method;
}

const char *sl_http_request_path(const struct sl_http_request *request)
{
    return request->path;
}

const char *sl_http_request_query(const struct sl_http_request *request)
{
    return request->query;
}

const char *sl_http_request_rest(const struct sl_http_request *request)
{
    return request->rest;
}

static const char *field(struct evhttp_request *req, const char *name)
{
    return evhttp_find_header(evhttp_request_get_input_headers(req), name);
}

const char *sl_http_request_header(const struct sl_http_request *request, const char *name)
{
    return field(request->req, name);
}

void sl_http_request_body(const struct sl_http_request *request, const char **ret_body,
                          size_t *ret_len)
{
    struct evbuffer *body = evhttp_request_get_input_buffer(request->req);
    size_t len = evbuffer_get_length(body);
    const char *text = len ? (const char *)evbuffer_pullup(body, -1) : NULL;

    *ret_body = text ? text : "";
    *ret_len = text ? len : 0;
}

size_t sl_http_request_body_len(const struct sl_http_request *request)
{
    return evbuffer_get_length(evhttp_request_get_input_buffer(request->req));
}

void sl_http_request_copy_body(const struct sl_http_request *request, char *out)
{
    struct evbuffer *body = evhttp_request_get_input_buffer(request->req);

    (void)evbuffer_copyout(body, out, evbuffer_get_length(body)); /* all of it is there */
}

static void say_no(struct sl_httpconn *conn, int status, const char *message,
                   const char *headers)
{
    if (sl_exchanges_error(conn->server->exchanges, conn->id, status, message, headers) < 0)
        sl_httpconn_doom(conn);
}

/* The names of methods, as bits, in a list; OPTIONS is always one. */
static void list_methods(unsigned int methods, char *out, size_t size)
{
    size_t at = 0;

    methods |= 1u << SL_HTTP_OPTIONS;
    for (int m = SL_HTTP_GET; m < SL_HTTP_N_METHODS; m++)
        if (methods & 1u << m)
            at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "",
                                   sl_httphead_method_text((enum sl_http_method)m));
}

/* Host and Origin. Returns whether the request may go on; otherwise it is answered. */
static bool is_from_here(struct sl_httpconn *conn, struct evhttp_request *req)
{
    const struct sl_http_opts *opts = &conn->server->opts;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    const char *uri_host = uri ? evhttp_uri_get_host(uri) : NULL;
    const char *host = field(req, "Host");
    const char *origin = field(req, "Origin");

    /* no browser can be led to a socket in the file system */
    if (!conn->is_unix &&
        ((host && !sl_hostcheck_is_allowed(host, opts->hosts, opts->n_hosts)) ||
         (uri_host && !sl_hostcheck_is_allowed(uri_host, opts->hosts, opts->n_hosts)))) {
        say_no(conn, 403, "the Host header names no host of this server", NULL);
        return false;
    }
    switch (sl_hostcheck_origin(origin, host, opts->origins, opts->n_origins)) {
    case SL_ORIGIN_REFUSED:
        say_no(conn, 403, "pages of this origin may not call this server", NULL);
        return false;
    case SL_ORIGIN_ALLOWED:
        conn->origin = strdup(origin); /* without memory the browser refuses the answer */
        return true;
    default:
        return true;
    }
}

/* Clients send headers of their own. The asterisk allows all but authorization; what stands
 * behind it is for browsers that do not know it. */
static void answer_options(struct sl_httpconn *conn, unsigned int methods)
{
    char list[128], headers[512];
    struct sl_http_reply reply = {.status = 204, .headers = headers};

    list_methods(methods, list, sizeof(list));
    (void)snprintf(headers, sizeof(headers), "Allow: %s\r\n", list); /* fits, as below */
    if (conn->origin)
        (void)snprintf(headers, sizeof(headers),
                       "Allow: %s\r\nAccess-Control-Allow-Methods: %s\r\n"
                       "Access-Control-Allow-Headers: *, authorization, content-type, x-api-key, "
                       "anthropic-version, anthropic-beta\r\n"
                       "Access-Control-Max-Age: 600\r\n",
                       list, list);
    if (sl_exchanges_reply(conn->server->exchanges, conn->id, &reply, "", 0) < 0)
        sl_httpconn_doom(conn);
}

/* Find the route, or answer that there is none. */
static const struct sl_httproute *find_route(struct sl_httpconn *conn, const char **ret_rest)
{
    struct sl_http *server = conn->server;
    enum sl_http_method method = conn->head.method;
    char list[128], headers[160];
    unsigned int methods;
    int i = sl_route_find(server->route_views, server->n_routes, method, conn->path, &methods,
                          ret_rest);

    if (i >= 0)
        return &server->routes[i];
    if (i == -1) {
        say_no(conn, 404, "no such path", NULL);
    } else if (method == SL_HTTP_OPTIONS) {
        answer_options(conn, methods);
    } else {
        list_methods(methods, list, sizeof(list));
        (void)snprintf(headers, sizeof(headers), "Allow: %s\r\n", list); /* fits */
        say_no(conn, 405, "this path does not take this method", headers);
    }
    return NULL;
}

/* Key and admission. */
static bool may_enter(struct sl_httpconn *conn, const struct sl_httproute *route,
                      const struct sl_http_request *request)
{
    const struct sl_http_opts *opts = &conn->server->opts;
    uint32_t retry_s = 0;
    int status = 0;

    if (opts->auth && !(route->flags & SL_HTTP_PUBLIC) &&
        !sl_auth_is_allowed(opts->auth, field(request->req, "Authorization"),
                            field(request->req, "x-api-key"))) {
        say_no(conn, 401, "Invalid API Key", "WWW-Authenticate: Bearer\r\n");
        return false;
    }
    if (conn->server->is_draining) {
        status = 503;
        retry_s = 1;
    } else if (opts->admit) {
        status = opts->admit(opts->arg, request, &retry_s);
    }
    if (status == 0)
        return true;
    if (sl_http_error(conn->server, conn->id, status,
                      status == 429 ? "too many requests, try again later"
                                    : "the server takes no requests now",
                      retry_s) < 0)
        sl_httpconn_doom(conn);
    return false;
}

static void handle(struct sl_httpconn *conn, struct evhttp_request *req)
{
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
    const char *query = uri ? evhttp_uri_get_query(uri) : NULL;
    struct sl_http_request request;
    const struct sl_httproute *route;
    const char *rest = NULL;
    char *decoded = NULL;

    conn->path = strdup(path && *path ? path : "/");
    if (!conn->path) {
        sl_httpconn_doom(conn);
        return;
    }
    if (!is_from_here(conn, req))
        return;
    route = find_route(conn, &rest);
    if (!route)
        return;
    if (rest) {
        size_t len;

        decoded = evhttp_uridecode(rest, 0, &len);
        if (!decoded || strlen(decoded) != len) {
            free(decoded);
            say_no(conn, 400, "malformed path", NULL);
            return;
        }
    }
    request = (struct sl_http_request){
        .id = conn->id, .method = conn->head.method, .path = conn->path,
        .query = query ? query : "", .rest = decoded ? decoded : "", .req = req};
    if (may_enter(conn, route, &request))
        route->handler(route->arg, &request);
    free(decoded);
}

void sl_httproute_dispatch(struct evhttp_request *req, void *arg)
{
    struct sl_httpconn *conn = sl_httpconn_find(arg, req);
    struct evbuffer *body = evhttp_request_get_input_buffer(req);

    /* ours and libevent's idea of what came must be the same */
    if (!conn || conn->phase != SL_HTTPCONN_OPEN || conn->req) {
        evhttp_send_error(req, 400, NULL);
        if (conn)
            sl_httpconn_doom(conn);
        return;
    }
    sl_httpconn_opened(conn, req);
    if (conn->head.is_http10) /* so that libevent closes when the answer ends */
        (void)evhttp_remove_header(evhttp_request_get_input_headers(req), "Connection");
    handle(conn, req);
    /* the handler has what it wants of it, and the answer may be long in coming */
    (void)evbuffer_drain(body, evbuffer_get_length(body));
    sl_httpconn_forget_body(conn);
}
