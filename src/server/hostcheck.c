/*
 * Addresses need no list: a rebound request carries the attacker's name, never an address.
 */
#include "server/hostcheck.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#define HOST_BYTES 254

/* The host without port and final dot, in ret_name of HOST_BYTES; false if malformed. */
static bool cut_port(const char *host, char *ret_name, bool *ret_is_ipv6)
{
    const char *end;
    size_t len;

    *ret_is_ipv6 = host[0] == '[';
    if (*ret_is_ipv6) {
        host++;
        end = strchr(host, ']');
        if (!end)
            return false;
        len = (size_t)(end - host);
        end++;
    } else {
        len = strcspn(host, ":");
        end = host + len;
    }
    if (*end == ':')
        for (end++; isdigit((unsigned char)*end);)
            end++;
    if (*end != '\0' || len == 0 || len >= HOST_BYTES)
        return false;
    if (!*ret_is_ipv6 && len > 1 && host[len - 1] == '.')
        len--;
    memcpy(ret_name, host, len);
    ret_name[len] = '\0';
    return true;
}

static bool is_localhost(const char *name)
{
    static const char local[] = "localhost";
    size_t len = strlen(name);

    if (len < sizeof(local) - 1 || strcasecmp(name + len - (sizeof(local) - 1), local) != 0)
        return false;
    return len == sizeof(local) - 1 || name[len - sizeof(local)] == '.';
}

bool sl_hostcheck_is_allowed(const char *host, const char *const *names, size_t n_names)
{
    unsigned char address[sizeof(struct in6_addr)];
    char name[HOST_BYTES];
    bool is_ipv6;

    for (size_t i = 0; i < n_names; i++)
        if (strcmp(names[i], "*") == 0)
            return true;
    if (!host || !cut_port(host, name, &is_ipv6))
        return false;
    if (is_ipv6)
        return inet_pton(AF_INET6, name, address) == 1;
    if (is_localhost(name) || inet_pton(AF_INET, name, address) == 1)
        return true;
    for (size_t i = 0; i < n_names; i++)
        if (strcasecmp(names[i], name) == 0)
            return true;
    return false;
}

enum sl_origin sl_hostcheck_origin(const char *origin, const char *host,
                                   const char *const *origins, size_t n_origins)
{
    const char *rest;

    if (!origin)
        return SL_ORIGIN_NONE;
    for (size_t i = 0; i < n_origins; i++)
        if (strcmp(origins[i], "*") == 0 || strcasecmp(origins[i], origin) == 0)
            return SL_ORIGIN_ALLOWED;
    rest = strstr(origin, "://");
    return rest && host && strcasecmp(rest + 3, host) == 0 ? SL_ORIGIN_SAME : SL_ORIGIN_REFUSED;
}
