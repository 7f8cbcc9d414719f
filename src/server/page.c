/*
 * Two kinds of clients ask for /: browsers, which get the page, and programs that speak
 * Ollama's API, which look whether it is there. They differ in what they accept.
 *
 * The policy lets the page load its own parts and talk to its own server, and nothing else;
 * so whatever a model makes the page show, nothing leaves for another place. Browsers keep
 * the files and ask each time whether they are still the same: a file's tag is the hash of
 * its bytes.
 */
#include "server/page.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HEADERS \
    "ETag: %s\r\n" \
    "Cache-Control: no-cache\r\n" \
    "Vary: Accept\r\n" \
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; " \
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; " \
    "frame-ancestors 'none'\r\n" \
    "Cross-Origin-Opener-Policy: same-origin\r\n" \
    "Cross-Origin-Resource-Policy: same-origin\r\n" \
    "Referrer-Policy: no-referrer\r\n" \
    "X-Content-Type-Options: nosniff\r\n"

bool sl_page_is_wanted(const char *accept)
{
    static const char html[] = "text/html";
    const size_t len = sizeof(html) - 1;

    for (const char *p = accept; p && *p;) {
        p += strspn(p, " \t,");
        if (strncasecmp(p, html, len) == 0 && strchr("; \t,", p[len])) /* the end counts too */
            return true;
        p += strcspn(p, ",");
    }
    return false;
}

bool sl_page_is_known(const char *if_none_match, const char *etag)
{
    if (!if_none_match)
        return false;
    if (if_none_match[strspn(if_none_match, " \t")] == '*')
        return true;
    return strstr(if_none_match, etag) != NULL; /* with its quotes: W/"..." too */
}

static const struct sl_pagefile *find_file(const char *path)
{
    size_t n;
    const struct sl_pagefile *files = sl_pagefiles(&n);

    for (size_t i = 0; i < n; i++)
        if (strcmp(files[i].path, path) == 0)
            return &files[i];
    return NULL;
}

static void on_file(void *arg, const struct sl_http_request *request)
{
    const struct sl_page *page = arg;
    const struct sl_pagefile *file = find_file(sl_http_request_path(request));
    sl_http_id id = sl_http_request_id(request);
    char headers[1024];
    struct sl_http_reply reply = {.status = 200, .headers = headers};
    bool is_known;
    int r;

    (void)snprintf(headers, sizeof(headers), HEADERS, file->etag); /* fits: tags are short */
    is_known = sl_page_is_known(sl_http_request_header(request, "If-None-Match"), file->etag);
    if (is_known)
        reply.status = 304;
    else
        reply.type = file->type;
    r = sl_http_reply(page->http, id, &reply, is_known ? "" : file->text,
                      is_known ? 0 : file->len);
    if (r == -ENOMEM)
        (void)sl_http_abort(page->http, id); /* or the client is gone already */
}

static void on_root(void *arg, const struct sl_http_request *request)
{
    const struct sl_page *page = arg;

    if (sl_page_is_wanted(sl_http_request_header(request, "Accept")))
        on_file(arg, request);
    else
        page->other(page->other_arg, request);
}

int sl_page_add_routes(struct sl_page *page)
{
    size_t n;
    const struct sl_pagefile *files = sl_pagefiles(&n);
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++)
        r = sl_http_route(page->http, SL_HTTP_GET, files[i].path, SL_HTTP_PUBLIC,
                          i == 0 ? on_root : on_file, page);
    return r;
}
