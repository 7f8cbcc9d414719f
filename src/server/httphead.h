/*
 * What an HTTP/1.1 request may look like on the wire, stricter than the parser behind it:
 * the head is checked line by line, a chunked body byte by byte. What passes here means the
 * same to every reader, so no request can hide in another. Used by httpconn.c; pure, any
 * thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_HTTPHEAD_FIELDS_MAX 100

enum sl_http_method {
    SL_HTTP_NONE,
    SL_HTTP_GET,
    SL_HTTP_HEAD,
    SL_HTTP_POST,
    SL_HTTP_PUT,
    SL_HTTP_PATCH,
    SL_HTTP_DELETE,
    SL_HTTP_OPTIONS,
    SL_HTTP_N_METHODS,
};

struct sl_httphead_limits {
    size_t target_max_bytes; /* over it: 414 */
    size_t head_max_bytes;   /* request line and fields with their ends; over it: 431 */
    uint64_t body_max_bytes; /* over it: 413 */
};

/* A head as it comes, line by line. All zeroes before its first line. */
struct sl_httphead {
    enum sl_http_method method; /* set by the first line */
    bool is_http10;
    bool is_chunked;
    uint64_t body_bytes; /* Content-Length; 0 without, and when chunked */

    /* httphead.c's own */
    size_t n_bytes;
    uint32_t n_lines;
    uint32_t n_hosts;
    uint32_t n_lengths;
    uint32_t n_encodings;
};

/* "GET" and so on; "" for SL_HTTP_NONE. */
const char *sl_httphead_method_text(enum sl_http_method method);

/*
 * Judge the beginning of a line, of which len bytes have come: is it too long already?
 * Returns 0 or the status to answer (414, 431).
 */
int sl_httphead_check_part(const struct sl_httphead *head, size_t len,
                           const struct sl_httphead_limits *limits);

/*
 * Judge the next line, its line feed included. Returns 0; 1 if it was the empty one that
 * ends the head, and head then says how the body is framed; or the status to answer: 400,
 * 413, 414, 417, 431, 501, 505, with ret_why pointing at a constant text.
 */
int sl_httphead_take_line(struct sl_httphead *head, const char *line, size_t len,
                          const struct sl_httphead_limits *limits, const char **ret_why);

/* A chunked body as it passes. All zeroes at its beginning. */
struct sl_httpchunk {
    uint32_t state;
    uint32_t line_bytes; /* of the size line or trailer, to bound it */
    uint64_t left_bytes; /* of the chunk */
    uint64_t body_bytes; /* announced so far */
};

/*
 * Take len bytes. On return 0 all were taken and more must come. On return 1 the body is
 * complete and ret_used says how many were part of it. Else the status: 400 or 413.
 */
int sl_httpchunk_feed(struct sl_httpchunk *chunk, const char *text, size_t len,
                      uint64_t body_max_bytes, size_t *ret_used);
