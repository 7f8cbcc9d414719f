/*
 * The page that browsers get at GET /, and its parts under /page/: files of src/server/page,
 * which the build makes part of the program. They ask for no key; what the page then does
 * with the APIs does. Handlers run on the HTTP server's loop.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "server/http.h"

struct sl_pagefile {
    const char *path; /* "/page/main.js" */
    const char *type; /* Content-Type */
    const char *etag; /* with its quotes */
    const char *text;
    size_t len;
};

/* All of them, the page itself first; made by page/embed.py. */
const struct sl_pagefile *sl_pagefiles(size_t *ret_n);

struct sl_page {
    struct sl_http *http;  /* borrowed */
    sl_http_handler other; /* gets a GET / of clients that want no page */
    void *other_arg;
};

/* To be called before GET / gets another route. page is borrowed for as long as the server
 * runs. Returns 0 or -ENOMEM. */
int sl_page_add_routes(struct sl_page *page);

/* Whether an Accept header (NULL: none) names text/html. Browsers' do; that any type will do,
 * as programs say, is not enough. */
bool sl_page_is_wanted(const char *accept);

/* Whether an If-None-Match header (NULL: none) names the tag. */
bool sl_page_is_known(const char *if_none_match, const char *etag);
