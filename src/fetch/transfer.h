/*
 * HTTP requests that run at once, by libcurl: the one file that knows it. GET alone, HTTP/1.1,
 * each on a connection of its own, for several ranges of a file come in faster so. Redirects
 * are followed here, and a token goes to its own server only. Called by the rest of src/fetch.
 * One thread: callbacks are called inside sl_transfer_run.
 *
 * Proxies are what the environment says (http_proxy, https_proxy, all_proxy, no_proxy), as
 * libcurl reads it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SL_TRANSFER_UNKNOWN UINT64_MAX
#define SL_TRANSFER_TAG_BYTES 136

struct sl_transfer;

struct sl_transfer_opts {
    const char *user_agent; /* borrowed */
    const char *ca_file;    /* certificates to trust instead of the system's, or NULL */
    uint32_t stall_s;       /* a connection that gives less than 100 bytes/s for so long
                             * is given up; 1..3600 */
};

/* What a server said, all of it; texts are cut and cleaned. */
struct sl_transfer_reply {
    int error;              /* 0: there is a status; -ETIMEDOUT (stalled), -ECONNRESET (it broke
                             * off), -ECONNREFUSED, -EHOSTUNREACH (no such host), -EPROTO (what
                             * trying again does not mend), or what a callback returned */
    int status;             /* 200, ...; 0: none came */
    uint64_t length;        /* Content-Length, else SL_TRANSFER_UNKNOWN; likewise: */
    uint64_t range_first, range_last, range_total;
    uint64_t retry_after_s;
    uint64_t linked_bytes;  /* X-Linked-Size of any answer on the way */
    char linked_tag[SL_TRANSFER_TAG_BYTES]; /* X-Linked-Etag likewise, without quotes; or "" */
    char tag[SL_TRANSFER_TAG_BYTES];        /* Etag, without quotes; or "" */
    bool is_encoded;        /* Content-Encoding says so */
    bool is_redirected;
    const char *url;        /* where it came from in the end; borrowed during the call */
    char text[256];         /* what went wrong, or what an error's headers say; or "" */
};

struct sl_transfer_request {
    const char *url;        /* http or https; copied */
    const char *token;      /* for Authorization: Bearer; NULL: none; borrowed */
    const char *token_home; /* a URL on the one server that may see it; borrowed */
    uint64_t first, last;   /* bytes wanted; last SL_TRANSFER_UNKNOWN: all, no range */
    /* Before the first byte of an answer 200 or 206; nonzero stops it with that. */
    int (*head)(void *arg, const struct sl_transfer_reply *reply);
    int (*body)(void *arg, const char *data, size_t len); /* likewise; len > 0 */
    void (*done)(void *arg, const struct sl_transfer_reply *reply); /* once, at the end */
    void *arg;
};

int sl_transfer_open(struct sl_transfer **ret_transfer, const struct sl_transfer_opts *opts,
                     struct sl_diag *diag);
void sl_transfer_close(struct sl_transfer *transfer); /* NULL is allowed; no done is called */

/* Begin a request. 0, -ENOMEM, -EINVAL: libcurl refuses it. */
int sl_transfer_start(struct sl_transfer *transfer, const struct sl_transfer_request *request);

/* Drop all requests; no done is called. Not from a callback. */
void sl_transfer_cancel(struct sl_transfer *transfer);

/* Do what can be done, then wait for more, at most wait_ms. 0 or -EIO, -ENOMEM. A signal ends
 * the waiting. */
int sl_transfer_run(struct sl_transfer *transfer, uint32_t wait_ms);
