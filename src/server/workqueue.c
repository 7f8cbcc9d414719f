/*
 * One list holds all requests, in order of coming; a request's stage says whose it is:
 *
 *     FOR_TEXT -> IN_TEXT -> FOR_ENGINE -> IN_ENGINE -> dropped
 *
 * In the stages FOR_ the queue owns it, and drops it by itself when its client goes. In
 * IN_TEXT the mark is_gone waits for the text thread, in IN_ENGINE it is news for the engine.
 * Lists are short (as many requests as connections), so they are searched.
 */
#include "server/workqueue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { FOR_TEXT, IN_TEXT, FOR_ENGINE, IN_ENGINE };

struct sl_workqueue {
    /* set once, then read only */
    uint32_t n_max;
    pthread_mutex_t lock;
    pthread_cond_t for_text, for_engine;

    /* guarded by lock; of an item next, prev, stage and is_gone are too */
    struct sl_workitem *first, *last;
    uint32_t n;
    bool has_gone; /* there may be news of a client of the engine's */
    bool is_closed;
};

int sl_workqueue_new(struct sl_workqueue **ret_queue, uint32_t n_max)
{
    struct sl_workqueue *queue = calloc(1, sizeof(*queue));
    pthread_condattr_t attr;

    if (!queue)
        return -ENOMEM;
    queue->n_max = n_max;
    /* none of these can fail with what they are given */
    (void)pthread_mutex_init(&queue->lock, NULL);
    (void)pthread_cond_init(&queue->for_text, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&queue->for_engine, &attr);
    (void)pthread_condattr_destroy(&attr);
    *ret_queue = queue;
    return 0;
}

static void unlink_locked(struct sl_workqueue *queue, struct sl_workitem *item)
{
    if (item->prev)
        item->prev->next = item->next;
    else
        queue->first = item->next;
    if (item->next)
        item->next->prev = item->prev;
    else
        queue->last = item->prev;
    queue->n--;
}

void sl_workqueue_free(struct sl_workqueue *queue)
{
    if (!queue)
        return;
    while (queue->first) {
        struct sl_workitem *item = queue->first;

        unlink_locked(queue, item); /* no other thread is there any more */
        sl_workitem_free(item);
    }
    (void)pthread_cond_destroy(&queue->for_text);
    (void)pthread_cond_destroy(&queue->for_engine);
    (void)pthread_mutex_destroy(&queue->lock);
    free(queue);
}

/* The first in a stage, or NULL. */
static struct sl_workitem *find_locked(const struct sl_workqueue *queue, uint32_t stage)
{
    for (struct sl_workitem *item = queue->first; item; item = item->next)
        if (item->stage == stage)
            return item;
    return NULL;
}

int sl_workqueue_put(struct sl_workqueue *queue, struct sl_workitem *item)
{
    int r = 0;

    pthread_mutex_lock(&queue->lock);
    if (queue->is_closed)
        r = -ECANCELED;
    else if (queue->n >= queue->n_max)
        r = -EAGAIN;
    if (r == 0) {
        item->stage = FOR_TEXT;
        item->prev = queue->last;
        item->next = NULL;
        if (queue->last)
            queue->last->next = item;
        else
            queue->first = item;
        queue->last = item;
        queue->n++;
        pthread_cond_signal(&queue->for_text);
    }
    pthread_mutex_unlock(&queue->lock);
    return r;
}

void sl_workqueue_gone(struct sl_workqueue *queue, uint64_t id)
{
    struct sl_workitem *item, *dropped = NULL;

    pthread_mutex_lock(&queue->lock);
    for (item = queue->first; item && item->id != id; item = item->next)
        ;
    if (item && (item->stage == FOR_TEXT || item->stage == FOR_ENGINE)) {
        unlink_locked(queue, item);
        dropped = item;
    } else if (item) {
        item->is_gone = true;
        queue->has_gone = true;
        pthread_cond_signal(&queue->for_engine);
    }
    pthread_mutex_unlock(&queue->lock);
    sl_workitem_free(dropped);
}

void sl_workqueue_close(struct sl_workqueue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->is_closed = true;
    pthread_cond_broadcast(&queue->for_text);
    pthread_cond_broadcast(&queue->for_engine);
    pthread_mutex_unlock(&queue->lock);
}

struct sl_workitem *sl_workqueue_take_text(struct sl_workqueue *queue)
{
    struct sl_workitem *item;

    pthread_mutex_lock(&queue->lock);
    while (!(item = find_locked(queue, FOR_TEXT)) && !queue->is_closed)
        pthread_cond_wait(&queue->for_text, &queue->lock);
    if (queue->is_closed)
        item = NULL;
    if (item)
        item->stage = IN_TEXT;
    pthread_mutex_unlock(&queue->lock);
    return item;
}

void sl_workqueue_pass(struct sl_workqueue *queue, struct sl_workitem *item)
{
    bool is_gone;

    pthread_mutex_lock(&queue->lock);
    is_gone = item->is_gone;
    if (is_gone) {
        unlink_locked(queue, item);
    } else {
        item->stage = FOR_ENGINE;
        pthread_cond_signal(&queue->for_engine);
    }
    pthread_mutex_unlock(&queue->lock);
    if (is_gone)
        sl_workitem_free(item);
}

void sl_workqueue_drop(struct sl_workqueue *queue, struct sl_workitem *item)
{
    pthread_mutex_lock(&queue->lock);
    unlink_locked(queue, item);
    pthread_mutex_unlock(&queue->lock);
    sl_workitem_free(item);
}

static enum sl_workqueue_news look_locked(struct sl_workqueue *queue,
                                          struct sl_workitem **ret_item)
{
    struct sl_workitem *item;

    if (queue->is_closed)
        return SL_WORKQUEUE_CLOSED;
    for (item = queue->has_gone ? queue->first : NULL; item; item = item->next)
        if (item->stage == IN_ENGINE && item->is_gone) {
            item->is_gone = false; /* told once */
            *ret_item = item;
            return SL_WORKQUEUE_GONE;
        }
    queue->has_gone = false;
    item = find_locked(queue, FOR_ENGINE);
    if (!item)
        return SL_WORKQUEUE_NONE;
    item->stage = IN_ENGINE;
    *ret_item = item;
    return SL_WORKQUEUE_NEW;
}

enum sl_workqueue_news sl_workqueue_next(struct sl_workqueue *queue, int64_t wait_ms,
                                         struct sl_workitem **ret_item)
{
    enum sl_workqueue_news news;
    struct timespec until;
    int r = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail for this clock */
    if (wait_ms > 0) {
        until.tv_sec += (time_t)(wait_ms / 1000);
        until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
    }
    pthread_mutex_lock(&queue->lock);
    while ((news = look_locked(queue, ret_item)) == SL_WORKQUEUE_NONE && wait_ms && r == 0)
        r = wait_ms < 0 ? pthread_cond_wait(&queue->for_engine, &queue->lock)
                        : pthread_cond_timedwait(&queue->for_engine, &queue->lock, &until);
    pthread_mutex_unlock(&queue->lock);
    return news;
}

bool sl_workqueue_is_closed(struct sl_workqueue *queue)
{
    bool is_closed;

    pthread_mutex_lock(&queue->lock);
    is_closed = queue->is_closed;
    pthread_mutex_unlock(&queue->lock);
    return is_closed;
}
