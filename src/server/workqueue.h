/*
 * Requests on their way: from the loop to the text thread, and from there to the engine
 * thread. At each time one of them owns a request, or the queue does while it waits between
 * two; the loop knows it by its id alone. A client that goes away is told to the queue, which
 * drops what waits and tells the engine of what runs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/workitem.h"

struct sl_workqueue;

/* At most n_max requests at once. 0 or -ENOMEM. */
int sl_workqueue_new(struct sl_workqueue **ret_queue, uint32_t n_max);

/* Frees what is left, also what a thread owns: all must have ended. NULL is allowed. */
void sl_workqueue_free(struct sl_workqueue *queue);

/* Loop: hand a request in. 0, and it is the queue's; -EAGAIN (full), -ECANCELED (closed), and
 * it is the caller's. */
int sl_workqueue_put(struct sl_workqueue *queue, struct sl_workitem *item);

/* Loop: the client of this id is gone. */
void sl_workqueue_gone(struct sl_workqueue *queue, uint64_t id);

/* Any thread: hand out no more; who waits is woken. */
void sl_workqueue_close(struct sl_workqueue *queue);

/* Text thread: the next request, when there is one, which it then owns. NULL: closed. */
struct sl_workitem *sl_workqueue_take_text(struct sl_workqueue *queue);

/* Text thread: pass a request on to the engine. Without a client it is freed instead. */
void sl_workqueue_pass(struct sl_workqueue *queue, struct sl_workitem *item);

/* The thread that owns it: it is answered, or nobody waits for it. It is freed. */
void sl_workqueue_drop(struct sl_workqueue *queue, struct sl_workitem *item);

enum sl_workqueue_news {
    SL_WORKQUEUE_NONE = 0, /* and what to wait for has not come in time */
    SL_WORKQUEUE_NEW,      /* a request that was passed on: the engine's from now on */
    SL_WORKQUEUE_GONE,     /* the client of one that the engine owns; told once for each */
    SL_WORKQUEUE_CLOSED,
};

/* Engine thread: the next news. wait_ms: how long to wait for it, -1 for ever. */
enum sl_workqueue_news sl_workqueue_next(struct sl_workqueue *queue, int64_t wait_ms,
                                         struct sl_workitem **ret_item);

bool sl_workqueue_is_closed(struct sl_workqueue *queue); /* any thread */
