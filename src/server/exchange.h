/*
 * The open requests by id, and what has been answered but not yet handed to their
 * connections: the one place where the loop and other threads meet. The functions that
 * answer may be called from any thread; those marked loop by the server's loop alone. None
 * blocks but for a lock that is held for copying.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "server/http.h"

struct sl_exchanges;

/* What the loop takes over from those who answered. */
struct sl_exchange_out {
    uint32_t index;
    sl_http_id id;
    bool has_head;    /* status, type, headers, ping are to be sent first */
    bool is_error;    /* the body is the error's message */
    bool is_ended;    /* nothing comes after this */
    bool is_aborted;  /* to be cut off: as asked, or because the client does not read */
    int status;
    char *type;       /* heap or NULL, as headers */
    char *headers;
    uint32_t ping_ms;
    const char *ping; /* constant */
    struct sl_strbuf body;
};

void sl_exchange_out_done(struct sl_exchange_out *out);

/* Room for n requests, indexes 0 to n - 1. Returns 0, -ENOMEM, or what eventfd said. */
int sl_exchanges_new(struct sl_exchanges **ret_table, uint32_t n, size_t out_max_bytes);
void sl_exchanges_free(struct sl_exchanges *table);

/* A descriptor that gets readable when there is something to take, or after a wake. */
int sl_exchanges_fd(const struct sl_exchanges *table);
void sl_exchanges_wake(const struct sl_exchanges *table); /* also from signal handlers */

/* Loop: make that descriptor unreadable; what comes later makes it readable again. */
void sl_exchanges_calm(const struct sl_exchanges *table);

/* Loop: a new id at an index that has none. */
sl_http_id sl_exchanges_open(struct sl_exchanges *table, uint32_t index);

/* Loop: void the id at index. Returns whether its answer was not yet complete. */
bool sl_exchanges_close(struct sl_exchanges *table, uint32_t index);

/* Loop: take what waits at one index. Returns false when nothing does. */
bool sl_exchanges_take(struct sl_exchanges *table, struct sl_exchange_out *ret_out);

/* Loop: how much of what was taken the client has not. */
void sl_exchanges_set_unsent(struct sl_exchanges *table, uint32_t index, size_t bytes);

/* As in http.h. headers of an error are like those of a reply. */
int sl_exchanges_reply(struct sl_exchanges *table, sl_http_id id,
                       const struct sl_http_reply *reply, const char *body, size_t len);
int sl_exchanges_begin(struct sl_exchanges *table, sl_http_id id,
                       const struct sl_http_reply *reply);
int sl_exchanges_write(struct sl_exchanges *table, sl_http_id id, const char *data, size_t len);
int sl_exchanges_end(struct sl_exchanges *table, sl_http_id id);
int sl_exchanges_error(struct sl_exchanges *table, sl_http_id id, int status,
                       const char *message, const char *headers);
int sl_exchanges_abort(struct sl_exchanges *table, sl_http_id id);
