#include "server/route.h"

#include <string.h>

bool sl_route_is_match(const char *pattern, const char *path, const char **ret_rest)
{
    size_t len = strlen(pattern);

    *ret_rest = NULL;
    if (len == 0 || pattern[len - 1] != '*')
        return strcmp(pattern, path) == 0;
    if (strncmp(pattern, path, len - 1) != 0 || path[len - 1] == '\0')
        return false;
    *ret_rest = path + len - 1;
    return true;
}

int sl_route_find(const struct sl_route_view *routes, size_t n, enum sl_http_method method,
                  const char *path, unsigned int *ret_methods, const char **ret_rest)
{
    unsigned int methods = 0;
    int found = -1;

    *ret_rest = NULL;
    for (size_t i = 0; i < n; i++) {
        const char *rest;

        if (!sl_route_is_match(routes[i].pattern, path, &rest))
            continue;
        methods |= 1u << routes[i].method;
        if (routes[i].method == SL_HTTP_GET)
            methods |= 1u << SL_HTTP_HEAD;
        if (found < 0 && (routes[i].method == method ||
                          (routes[i].method == SL_HTTP_GET && method == SL_HTTP_HEAD))) {
            found = (int)i;
            *ret_rest = rest;
        }
    }
    *ret_methods = methods;
    return found >= 0 ? found : methods ? -2 : -1;
}
