/*
 * Which of a list of routes a method and a path mean. Pure; any thread.
 */
#pragma once

#include <stddef.h>

#include "server/httphead.h"

/*
 * Whether path (without query, begins with /) is pattern: byte for byte, but that a
 * pattern's final asterisk stands for one byte or more, to which ret_rest then points;
 * otherwise it is NULL.
 */
bool sl_route_is_match(const char *pattern, const char *path, const char **ret_rest);

struct sl_route_view {
    enum sl_http_method method;
    const char *pattern; /* borrowed */
};

/*
 * The index of the first route that matches; a GET route answers HEAD as well, unless a
 * HEAD route comes before it. -1: no such path; -2: not with this method.
 * ret_methods gets the methods of the path as bits (1 << method), in all three cases.
 */
int sl_route_find(const struct sl_route_view *routes, size_t n, enum sl_http_method method,
                  const char *path, unsigned int *ret_methods, const char **ret_rest);
