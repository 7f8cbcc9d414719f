/*
 * Whether a request may come from where a browser says that it does. DNS rebinding makes a
 * stranger's name mean our address: then the Host header holds that name, so only names of
 * ours and bare addresses pass. A page of another site gives itself away by Origin. Pure;
 * any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether the value of a Host header (or the host of an absolute target) is one of ours:
 * localhost and names below it, an IPv4 address or [IPv6 address], or one of the names
 * allowed, each with or without a port. "*" among names allows all. NULL is not.
 */
bool sl_hostcheck_is_allowed(const char *host, const char *const *names, size_t n_names);

enum sl_origin {
    SL_ORIGIN_NONE,    /* no Origin header: no page of another site */
    SL_ORIGIN_SAME,    /* a page of ours */
    SL_ORIGIN_ALLOWED, /* another's that may */
    SL_ORIGIN_REFUSED,
};

/* origins: "https://host:port" as browsers send it, or "*". origin and host may be NULL. */
enum sl_origin sl_hostcheck_origin(const char *origin, const char *host,
                                   const char *const *origins, size_t n_origins);
