/*
 * Lines end in CR LF and nothing else; names are tokens and stand at the colon; values hold
 * no control characters; nothing is folded. Content-Length stands once, in digits, or
 * Transfer-Encoding is chunked alone, never both, and HEAD has no body: libevent would not
 * read it, and take it for the next request. Chunk sizes are hex digits without
 * extensions, trailers are not taken: nobody sends them to us, and libevent reads "0x1F"
 * and a size line without end. Of a target it takes what follows // for a host and what
 * follows # for nothing; of a value it leaves a tab in front.
 */
#include "server/httphead.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define CHUNK_LINE_MAX 18 /* 16 hex digits, CR, LF */

static const char *const method_texts[SL_HTTP_N_METHODS] = {
    [SL_HTTP_NONE] = "",          [SL_HTTP_GET] = "GET",     [SL_HTTP_HEAD] = "HEAD",
    [SL_HTTP_POST] = "POST",      [SL_HTTP_PUT] = "PUT",     [SL_HTTP_PATCH] = "PATCH",
    [SL_HTTP_DELETE] = "DELETE",  [SL_HTTP_OPTIONS] = "OPTIONS",
};

const char *sl_httphead_method_text(enum sl_http_method method)
{
    return method_texts[method];
}

static bool is_token_char(unsigned char c)
{
    return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

int sl_httphead_check_part(const struct sl_httphead *head, size_t len,
                           const struct sl_httphead_limits *limits)
{
    if (head->n_lines == 0 && len > limits->target_max_bytes + sizeof("OPTIONS  HTTP/1.1\r\n"))
        return 414;
    return head->n_bytes + len > limits->head_max_bytes ? 431 : 0;
}

/* A path, an address of http, or the asterisk of OPTIONS. */
static bool is_target(const char *target, size_t len, bool is_options)
{
    static const char *const schemes[] = {"http://", "https://"};

    if (memchr(target, '#', len))
        return false;
    if (target[0] == '/')
        return len == 1 || target[1] != '/';
    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(schemes[i]);

        if (len > n && strncasecmp(target, schemes[i], n) == 0)
            return target[n] != '/';
    }
    return is_options && len == 1 && target[0] == '*';
}

static int check_request_line(const char *line, size_t len, const struct sl_httphead_limits *limits,
                              struct sl_httphead *head, const char **ret_why)
{
    const char *target = memchr(line, ' ', len);
    const char *version =
        target ? memchr(target + 1, ' ', len - (size_t)(target + 1 - line)) : NULL;
    size_t method_len;

    *ret_why = "malformed request line";
    if (!version || version == target + 1 ||
        len - (size_t)(version - line) != sizeof(" HTTP/1.1") - 1)
        return 400;
    method_len = (size_t)(target - line);
    for (size_t i = 0; i < method_len; i++)
        if (!is_token_char((unsigned char)line[i]))
            return 400;
    for (const char *p = target + 1; p < version; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7F)
            return 400;
    if (method_len == 0 || memcmp(version, " HTTP/", 6) != 0 || version[7] != '.' ||
        !isdigit((unsigned char)version[6]) || !isdigit((unsigned char)version[8]))
        return 400;
    if (version[6] != '1' || (version[8] != '0' && version[8] != '1')) {
        *ret_why = "only HTTP/1.0 and HTTP/1.1 are spoken here";
        return 505;
    }
    if ((size_t)(version - target - 1) > limits->target_max_bytes) {
        *ret_why = "the request's path is too long";
        return 414;
    }
    head->is_http10 = version[8] == '0';
    for (int m = SL_HTTP_GET; m < SL_HTTP_N_METHODS; m++)
        if (strlen(method_texts[m]) == method_len && memcmp(method_texts[m], line, method_len) == 0)
            head->method = (enum sl_http_method)m;
    *ret_why = "unknown method";
    if (!head->method)
        return 501;
    *ret_why = "malformed path";
    return is_target(target + 1, (size_t)(version - target - 1), head->method == SL_HTTP_OPTIONS)
               ? 0 : 400;
}

static bool has_name(const char *name, size_t len, const char *wanted)
{
    return strlen(wanted) == len && strncasecmp(name, wanted, len) == 0;
}

static int take_length(struct sl_httphead *head, const char *value, size_t len)
{
    uint64_t bytes = 0;

    if (++head->n_lengths > 1 || len == 0 || len > 18)
        return 400;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)value[i]))
            return 400;
        bytes = bytes * 10 + (uint64_t)(value[i] - '0');
    }
    head->body_bytes = bytes;
    return 0;
}

/* One field line without its end. */
static int check_field(struct sl_httphead *head, const char *line, size_t len, const char **ret_why)
{
    const char *colon = memchr(line, ':', len);
    const char *value;
    size_t name_len, value_len;

    *ret_why = "malformed header";
    if (!colon || colon == line)
        return 400;
    name_len = (size_t)(colon - line);
    for (size_t i = 0; i < name_len; i++)
        if (!is_token_char((unsigned char)line[i]))
            return 400;
    value = colon + 1;
    value_len = len - name_len - 1;
    for (size_t i = 0; i < value_len; i++)
        if (((unsigned char)value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7F)
            return 400;
    while (value_len && *value == ' ')
        value++, value_len--;
    while (value_len && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
        value_len--;

    if (has_name(line, name_len, "host")) {
        *ret_why = "more than one Host header";
        return ++head->n_hosts > 1 ? 400 : 0;
    }
    if (has_name(line, name_len, "content-length")) {
        *ret_why = "malformed Content-Length";
        return take_length(head, value, value_len);
    }
    if (has_name(line, name_len, "transfer-encoding")) {
        *ret_why = "the only Transfer-Encoding taken is chunked";
        head->is_chunked = true;
        return ++head->n_encodings > 1 ? 400 : has_name(value, value_len, "chunked") ? 0 : 501;
    }
    if (has_name(line, name_len, "expect")) {
        *ret_why = "the only expectation met is 100-continue";
        return has_name(value, value_len, "100-continue") ? 0 : 417;
    }
    return 0;
}

/* What the fields say together. Returns 1, as it ends a head, or a status. */
static int check_framing(const struct sl_httphead *head, const struct sl_httphead_limits *limits,
                         const char **ret_why)
{
    *ret_why = "no Host header";
    if (!head->is_http10 && head->n_hosts == 0)
        return 400;
    *ret_why = "Content-Length and Transfer-Encoding in one request";
    if (head->n_lengths && head->n_encodings)
        return 400;
    *ret_why = "Transfer-Encoding is not for HTTP/1.0";
    if (head->is_http10 && head->n_encodings)
        return 400;
    *ret_why = "HEAD has no body";
    if (head->method == SL_HTTP_HEAD && (head->body_bytes || head->is_chunked))
        return 400;
    *ret_why = "the request's body is too large";
    return head->body_bytes > limits->body_max_bytes ? 413 : 1;
}

int sl_httphead_take_line(struct sl_httphead *head, const char *line, size_t len,
                          const struct sl_httphead_limits *limits, const char **ret_why)
{
    int status = sl_httphead_check_part(head, len, limits);

    *ret_why = "the request's head is too long";
    if (status)
        return status;
    head->n_bytes += len;
    *ret_why = "lines end in CR LF";
    if (len < 2 || line[len - 2] != '\r')
        return 400;
    len -= 2;
    if (head->n_lines++ == 0)
        return check_request_line(line, len, limits, head, ret_why);
    if (len == 0)
        return check_framing(head, limits, ret_why);
    *ret_why = "too many headers";
    if (head->n_lines - 1 > SL_HTTPHEAD_FIELDS_MAX)
        return 431;
    return check_field(head, line, len, ret_why);
}

enum {
    CHUNK_SIZE,     /* hex digits of a size */
    CHUNK_SIZE_LF,  /* its line feed */
    CHUNK_DATA,
    CHUNK_DATA_CR,  /* the end of a chunk */
    CHUNK_DATA_LF,
    CHUNK_LAST_CR,  /* the empty line after the last, in place of trailers */
    CHUNK_LAST_LF,
};

/* A byte of a size line. Returns 0, or a status. */
static int feed_size(struct sl_httpchunk *chunk, char c, uint64_t body_max_bytes)
{
    static const char digits[] = "0123456789abcdef";
    const char *digit;

    if (c == '\r') {
        if (chunk->line_bytes == 0)
            return 400;
        chunk->body_bytes += chunk->left_bytes;
        chunk->line_bytes = 0;
        chunk->state = CHUNK_SIZE_LF;
        return 0;
    }
    digit = c ? strchr(digits, tolower((unsigned char)c)) : NULL;
    if (!digit || ++chunk->line_bytes > CHUNK_LINE_MAX - 2)
        return 400;
    chunk->left_bytes = chunk->left_bytes * 16 + (uint64_t)(digit - digits);
    return chunk->left_bytes > body_max_bytes - chunk->body_bytes ? 413 : 0;
}

int sl_httpchunk_feed(struct sl_httpchunk *chunk, const char *text, size_t len,
                      uint64_t body_max_bytes, size_t *ret_used)
{
    for (size_t i = 0; i < len;) {
        char c = text[i];
        int status = 0;

        switch (chunk->state) {
        case CHUNK_SIZE:
            status = feed_size(chunk, c, body_max_bytes);
            break;
        case CHUNK_SIZE_LF:
            status = c == '\n' ? 0 : 400;
            chunk->state = chunk->left_bytes ? CHUNK_DATA : CHUNK_LAST_CR;
            break;
        case CHUNK_DATA: {
            size_t n = len - i < chunk->left_bytes ? len - i : (size_t)chunk->left_bytes;

            chunk->left_bytes -= n;
            if (chunk->left_bytes == 0)
                chunk->state = CHUNK_DATA_CR;
            i += n;
            continue;
        }
        case CHUNK_DATA_CR:
        case CHUNK_LAST_CR:
            status = c == '\r' ? 0 : 400;
            chunk->state++;
            break;
        case CHUNK_DATA_LF:
            status = c == '\n' ? 0 : 400;
            chunk->state = CHUNK_SIZE;
            break;
        default:
            *ret_used = i + 1;
            return c == '\n' ? 1 : 400;
        }
        if (status)
            return status;
        i++;
    }
    *ret_used = len;
    return 0;
}
