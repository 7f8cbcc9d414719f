/*
 * An id is a generation number above the index of its connection, so that an id that was
 * kept for too long meets another number there and is told -ECANCELED. An exchange is
 *
 *   free (id 0) -> open -> begun -> ended -> free
 *
 * and may go from any of these to free, when its connection closes. Indexes with something
 * to take stand in a ring, each at most once, so the ring cannot overflow.
 */
#include "server/exchange.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define INDEX_BITS 16

struct exchange {
    sl_http_id id; /* 0: none */
    bool is_begun;
    bool is_ended;
    bool is_cut;    /* broken off, or its client does not read: nothing more is taken */
    bool is_queued; /* stands in the ring */
    size_t unsent;
    struct sl_exchange_out out;
};

struct sl_exchanges {
    /* set once, then read only */
    uint32_t n;
    size_t out_max_bytes;
    int wake_fd;
    pthread_mutex_t lock;

    /* guarded by lock */
    struct exchange *list;
    uint32_t *ring; /* n places */
    uint32_t ring_first;
    uint32_t ring_len;
    uint64_t generation;
};

void sl_exchange_out_done(struct sl_exchange_out *out)
{
    free(out->type);
    free(out->headers);
    sl_strbuf_done(&out->body);
    *out = (struct sl_exchange_out){0};
}

int sl_exchanges_new(struct sl_exchanges **ret_table, uint32_t n, size_t out_max_bytes)
{
    struct sl_exchanges *table = calloc(1, sizeof(*table));
    int r = -ENOMEM;

    if (!table)
        return -ENOMEM;
    table->n = n;
    table->out_max_bytes = out_max_bytes;
    table->wake_fd = -1;
    (void)pthread_mutex_init(&table->lock, NULL); /* cannot fail without attributes */
    table->list = calloc(n, sizeof(*table->list));
    table->ring = calloc(n, sizeof(*table->ring));
    if (!table->list || !table->ring)
        goto fail;
    table->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (table->wake_fd < 0) {
        r = -errno;
        goto fail;
    }
    *ret_table = table;
    return 0;

fail:
    sl_exchanges_free(table);
    return r;
}

void sl_exchanges_free(struct sl_exchanges *table)
{
    if (!table)
        return;
    for (uint32_t i = 0; table->list && i < table->n; i++)
        sl_exchange_out_done(&table->list[i].out);
    if (table->wake_fd >= 0)
        close(table->wake_fd);
    (void)pthread_mutex_destroy(&table->lock);
    free(table->list);
    free(table->ring);
    free(table);
}

int sl_exchanges_fd(const struct sl_exchanges *table)
{
    return table->wake_fd;
}

void sl_exchanges_wake(const struct sl_exchanges *table)
{
    uint64_t one = 1;
    int error = errno; /* a signal handler leaves it as it was */
    ssize_t n = write(table->wake_fd, &one, sizeof(one));

    (void)n; /* fails only when the counter is full, and the loop wakes then anyway */
    errno = error;
}

void sl_exchanges_calm(const struct sl_exchanges *table)
{
    uint64_t count;
    ssize_t n = read(table->wake_fd, &count, sizeof(count));

    (void)n; /* nothing to read is as good */
}

sl_http_id sl_exchanges_open(struct sl_exchanges *table, uint32_t index)
{
    struct exchange *exchange = &table->list[index];
    sl_http_id id;

    pthread_mutex_lock(&table->lock);
    id = ++table->generation << INDEX_BITS | index;
    exchange->id = id;
    exchange->is_begun = false;
    exchange->is_ended = false;
    exchange->is_cut = false;
    exchange->unsent = 0;
    pthread_mutex_unlock(&table->lock);
    return id;
}

bool sl_exchanges_close(struct sl_exchanges *table, uint32_t index)
{
    struct exchange *exchange = &table->list[index];
    bool was_open;

    pthread_mutex_lock(&table->lock);
    was_open = exchange->id != 0 && !exchange->is_ended;
    exchange->id = 0;
    sl_exchange_out_done(&exchange->out); /* a place in the ring stays, and shows nothing */
    pthread_mutex_unlock(&table->lock);
    return was_open;
}

bool sl_exchanges_take(struct sl_exchanges *table, struct sl_exchange_out *ret_out)
{
    bool found = false;

    pthread_mutex_lock(&table->lock);
    while (table->ring_len && !found) {
        uint32_t index = table->ring[table->ring_first];
        struct exchange *exchange = &table->list[index];

        table->ring_first = (table->ring_first + 1) % table->n;
        table->ring_len--;
        exchange->is_queued = false;
        if (!exchange->id)
            continue;
        *ret_out = exchange->out;
        ret_out->index = index;
        ret_out->id = exchange->id;
        exchange->unsent += ret_out->body.len; /* until the loop says it better */
        exchange->out = (struct sl_exchange_out){0};
        found = true;
    }
    pthread_mutex_unlock(&table->lock);
    return found;
}

void sl_exchanges_set_unsent(struct sl_exchanges *table, uint32_t index, size_t bytes)
{
    pthread_mutex_lock(&table->lock);
    table->list[index].unsent = bytes;
    pthread_mutex_unlock(&table->lock);
}

static struct exchange *find_locked(struct sl_exchanges *table, sl_http_id id)
{
    uint32_t index = (uint32_t)(id & ((1u << INDEX_BITS) - 1));

    return id && index < table->n && table->list[index].id == id ? &table->list[index] : NULL;
}

static void queue_locked(struct sl_exchanges *table, struct exchange *exchange)
{
    if (exchange->is_queued)
        return;
    exchange->is_queued = true;
    table->ring[(table->ring_first + table->ring_len++) % table->n] =
        (uint32_t)(exchange - table->list);
}

/* A head of the caller's making, copied before the lock is taken. */
static int make_head(struct sl_exchange_out *ret_head, const struct sl_http_reply *reply)
{
    struct sl_exchange_out head = {
        .has_head = true, .status = reply->status, .ping_ms = reply->ping_ms, .ping = reply->ping};

    if (reply->type)
        head.type = strdup(reply->type);
    if (reply->headers)
        head.headers = strdup(reply->headers);
    if ((reply->type && !head.type) || (reply->headers && !head.headers)) {
        sl_exchange_out_done(&head);
        return -ENOMEM;
    }
    *ret_head = head;
    return 0;
}

/* Take head over, and begin the exchange with it. */
static int begin(struct sl_exchanges *table, sl_http_id id, struct sl_exchange_out *head)
{
    struct exchange *exchange;
    int r = 0;

    pthread_mutex_lock(&table->lock);
    exchange = find_locked(table, id);
    if (!exchange || exchange->is_cut)
        r = -ECANCELED;
    else if (exchange->is_begun)
        r = -EINVAL;
    if (r == 0) {
        exchange->is_begun = true;
        exchange->is_ended = head->is_ended;
        exchange->out = *head;
        *head = (struct sl_exchange_out){0};
        queue_locked(table, exchange);
    }
    pthread_mutex_unlock(&table->lock);
    if (r == 0)
        sl_exchanges_wake(table);
    sl_exchange_out_done(head);
    return r;
}

int sl_exchanges_reply(struct sl_exchanges *table, sl_http_id id,
                       const struct sl_http_reply *reply, const char *body, size_t len)
{
    struct sl_exchange_out head;
    int r = make_head(&head, reply);

    if (r < 0)
        return r;
    head.is_ended = true;
    sl_strbuf_add(&head.body, body, len);
    if (head.body.error) {
        r = head.body.error;
        sl_exchange_out_done(&head);
        return r;
    }
    return begin(table, id, &head);
}

int sl_exchanges_begin(struct sl_exchanges *table, sl_http_id id,
                       const struct sl_http_reply *reply)
{
    struct sl_exchange_out head;
    int r = make_head(&head, reply);

    return r < 0 ? r : begin(table, id, &head);
}

int sl_exchanges_error(struct sl_exchanges *table, sl_http_id id, int status,
                       const char *message, const char *headers)
{
    struct sl_http_reply reply = {.status = status, .headers = headers};
    struct sl_exchange_out head;
    int r = make_head(&head, &reply);

    if (r < 0)
        return r;
    head.is_ended = true;
    head.is_error = true;
    sl_strbuf_add_str(&head.body, message);
    if (head.body.error) {
        sl_exchange_out_done(&head);
        return -ENOMEM;
    }
    return begin(table, id, &head);
}

int sl_exchanges_write(struct sl_exchanges *table, sl_http_id id, const char *data, size_t len)
{
    struct exchange *exchange;
    int r = 0;

    pthread_mutex_lock(&table->lock);
    exchange = find_locked(table, id);
    if (!exchange || exchange->is_cut) {
        r = -ECANCELED;
    } else if (!exchange->is_begun || exchange->is_ended) {
        r = -EINVAL;
    } else if (exchange->unsent + exchange->out.body.len > table->out_max_bytes) {
        exchange->is_cut = true;
        exchange->out.is_aborted = true;
        r = -ENOBUFS;
    } else {
        struct sl_strbuf *body = &exchange->out.body;
        size_t before = body->len;

        sl_strbuf_add(body, data, len);
        if (body->error) {
            r = -ENOMEM;
            body->error = 0;
            sl_strbuf_cut(body, before);
        }
    }
    if (r == 0 || r == -ENOBUFS)
        queue_locked(table, exchange);
    pthread_mutex_unlock(&table->lock);
    if (r == 0 || r == -ENOBUFS)
        sl_exchanges_wake(table);
    return r;
}

/* The end of a stream, regular or not. */
static int finish(struct sl_exchanges *table, sl_http_id id, bool is_abort)
{
    struct exchange *exchange;
    int r = 0;

    pthread_mutex_lock(&table->lock);
    exchange = find_locked(table, id);
    if (!exchange || exchange->is_cut)
        r = -ECANCELED;
    else if (exchange->is_ended || (!is_abort && !exchange->is_begun))
        r = -EINVAL;
    if (r == 0) {
        exchange->is_ended = true;
        exchange->is_cut = is_abort;
        exchange->out.is_ended = true;
        exchange->out.is_aborted |= is_abort;
        queue_locked(table, exchange);
    }
    pthread_mutex_unlock(&table->lock);
    if (r == 0)
        sl_exchanges_wake(table);
    return r;
}

int sl_exchanges_end(struct sl_exchanges *table, sl_http_id id)
{
    return finish(table, id, false);
}

int sl_exchanges_abort(struct sl_exchanges *table, sl_http_id id)
{
    return finish(table, id, true);
}
