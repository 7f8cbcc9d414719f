/*
 * Answers on their way from the table of exchanges to libevent. HEAD gets the fields of an
 * answer and no body: libevent would send one. HTTP/1.0 gets no chunks, so the end of a
 * stream is the end of the connection.
 */
#include "server/httpconn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/bufferevent.h>
#include <event2/keyvalq_struct.h>

#include "base/clock.h"
#include "base/jsonwriter.h"

static const struct {
    int status;
    const char *phrase;
    const char *type; /* of the server's own error form */
} phrases[] = {
    {200, "OK", ""},
    {204, "No Content", ""},
    {304, "Not Modified", ""},
    {400, "Bad Request", "invalid_request_error"},
    {401, "Unauthorized", "authentication_error"},
    {403, "Forbidden", "permission_error"},
    {404, "Not Found", "not_found_error"},
    {405, "Method Not Allowed", "invalid_request_error"},
    {408, "Request Timeout", "invalid_request_error"},
    {409, "Conflict", "invalid_request_error"},
    {413, "Content Too Large", "invalid_request_error"},
    {414, "URI Too Long", "invalid_request_error"},
    {415, "Unsupported Media Type", "invalid_request_error"},
    {417, "Expectation Failed", "invalid_request_error"},
    {422, "Unprocessable Content", "invalid_request_error"},
    {429, "Too Many Requests", "rate_limit_error"},
    {431, "Request Header Fields Too Large", "invalid_request_error"},
    {500, "Internal Server Error", "server_error"},
    {501, "Not Implemented", "not_supported_error"},
    {503, "Service Unavailable", "unavailable_error"},
    {505, "HTTP Version Not Supported", "invalid_request_error"},
};
#define N_PHRASES (sizeof(phrases) / sizeof(phrases[0]))

const char *sl_httpreply_phrase(int status)
{
    for (size_t i = 0; i < N_PHRASES; i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return "Status";
}

void sl_httpreply_error_body(const struct sl_http *server, const char *path, int status,
                             const char *message, struct sl_strbuf *out, const char **ret_type)
{
    const char *type = status < 500 ? "invalid_request_error" : "server_error";
    struct sl_jsonwriter w;

    *ret_type = "application/json; charset=utf-8";
    if (server->opts.error_body) {
        server->opts.error_body(server->opts.arg, path, status, message, out, ret_type);
        return;
    }
    for (size_t i = 0; i < N_PHRASES; i++)
        if (phrases[i].status == status)
            type = phrases[i].type;
    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_begin_object(&w);
    sl_jsonwriter_key(&w, "error");
    sl_jsonwriter_begin_object(&w);
    sl_jsonwriter_key(&w, "code");
    sl_jsonwriter_i64(&w, status);
    sl_jsonwriter_key(&w, "message");
    sl_jsonwriter_string(&w, message);
    sl_jsonwriter_key(&w, "type");
    sl_jsonwriter_string(&w, type);
    sl_jsonwriter_end_object(&w);
    sl_jsonwriter_end_object(&w);
    sl_strbuf_add(out, w.buf.ptr, w.buf.len);
    (void)sl_jsonwriter_done(&w); /* without memory the answer has an empty body */
}

/* Fields as "Name: value\r\n"...; what libevent does not take is left out. */
static void add_fields(struct evkeyvalq *fields, char *text)
{
    while (text && *text) {
        char *end = strstr(text, "\r\n");
        char *colon = strchr(text, ':');

        if (!end || !colon || colon > end)
            return;
        *colon = *end = '\0';
        (void)evhttp_add_header(fields, text, colon + 1 + strspn(colon + 1, " "));
        text = end + 2;
    }
}

static void add_head(struct sl_httpconn *conn, struct sl_exchange_out *out)
{
    struct evkeyvalq *fields = evhttp_request_get_output_headers(conn->req);

    (void)evhttp_add_header(fields, "Server", "sluice");
    if (out->type)
        (void)evhttp_add_header(fields, "Content-Type", out->type);
    if (conn->origin)
        (void)evhttp_add_header(fields, "Access-Control-Allow-Origin", conn->origin);
    if (conn->server->opts.n_origins) /* where it was missing or refused too */
        (void)evhttp_add_header(fields, "Vary", "Origin");
    if (conn->server->is_draining || conn->head.is_http10)
        (void)evhttp_add_header(fields, "Connection", "close");
    add_fields(fields, out->headers);
}

static bool has_body(const struct sl_httpconn *conn, int status)
{
    return conn->head.method != SL_HTTP_HEAD && status != 204 && status != 304;
}

/* The whole answer at once. */
static void send_whole(struct sl_httpconn *conn, struct sl_exchange_out *out)
{
    struct evbuffer *body = NULL;
    char length[32];

    if (out->status != 204 && out->status != 304) {
        (void)snprintf(length, sizeof(length), "%zu", out->body.len); /* fits */
        (void)evhttp_add_header(evhttp_request_get_output_headers(conn->req), "Content-Length",
                                length);
    }
    if (has_body(conn, out->status) && out->body.len) {
        body = evbuffer_new();
        if (!body || evbuffer_add(body, out->body.ptr, out->body.len) < 0) {
            if (body)
                evbuffer_free(body);
            sl_httpconn_cut(conn);
            return;
        }
    }
    conn->is_end_given = true;
    evhttp_send_reply(conn->req, out->status, sl_httpreply_phrase(out->status), body);
    if (body)
        evbuffer_free(body);
}

/* Returns false, with the connection cut, if there is no memory for it. */
static bool send_piece(struct sl_httpconn *conn, const char *data, size_t len)
{
    struct evbuffer *piece;

    if (conn->head.method == SL_HTTP_HEAD) /* what was taken for it is not waiting to be sent */
        sl_exchanges_set_unsent(conn->server->exchanges, conn->index, 0);
    if (len == 0 || conn->head.method == SL_HTTP_HEAD)
        return true;
    piece = evbuffer_new();
    if (!piece || evbuffer_add(piece, data, len) < 0) {
        if (piece)
            evbuffer_free(piece);
        sl_httpconn_cut(conn);
        return false;
    }
    evhttp_send_reply_chunk(conn->req, piece);
    evbuffer_free(piece);
    conn->ping_at_ns = conn->ping_ms ? sl_clock_ns() + (uint64_t)conn->ping_ms * 1000000u : 0;
    sl_httpconn_arm(conn);
    return true;
}

static void make_error(struct sl_httpconn *conn, struct sl_exchange_out *out)
{
    struct sl_strbuf body = {0};
    const char *type;

    sl_httpreply_error_body(conn->server, conn->path, out->status,
                            out->body.ptr ? out->body.ptr : "", &body, &type);
    sl_strbuf_done(&out->body);
    out->body = body;
    out->type = strdup(type); /* without memory the type is not said */
}

void sl_httpreply_send(struct sl_httpconn *conn, struct sl_exchange_out *out)
{
    /* the id says that the answer is for the request that is open, and no earlier one */
    if (!conn->req || conn->id != out->id || conn->is_end_given)
        return;
    if (out->is_aborted) {
        sl_httpconn_cut(conn);
        return;
    }
    if (out->is_error)
        make_error(conn, out);
    if (out->has_head) {
        add_head(conn, out);
        if (out->is_ended && !conn->is_streaming) {
            send_whole(conn, out);
            return;
        }
        conn->is_streaming = true;
        conn->ping_ms = out->ping ? out->ping_ms : 0;
        conn->ping = out->ping;
        if (conn->ping_ms)
            conn->ping_at_ns = sl_clock_ns() + (uint64_t)conn->ping_ms * 1000000u;
        evhttp_send_reply_start(conn->req, out->status, sl_httpreply_phrase(out->status));
        sl_httpconn_arm(conn);
    }
    if (!send_piece(conn, out->body.ptr, out->body.len) || !out->is_ended)
        return;
    conn->is_end_given = true;
    conn->ping_at_ns = 0;
    evhttp_send_reply_end(conn->req); /* may close the connection */
}

void sl_httpreply_ping(struct sl_httpconn *conn)
{
    /* to a client that still has to read what it got, silence is no question */
    if (conn->req && conn->is_streaming && !conn->is_end_given &&
        evbuffer_get_length(bufferevent_get_output(conn->bev)) == 0)
        (void)send_piece(conn, conn->ping, strlen(conn->ping)); /* tried again by the next */
    else
        conn->ping_at_ns = conn->ping_ms ? sl_clock_ns() + (uint64_t)conn->ping_ms * 1000000u : 0;
}
