/*
 * Reads by a pool of threads that call pread: for systems that have or allow no io_uring.
 *
 * Submitted reads wait in a ring (todo) for a thread, ended ones in another (landed) for
 * the caller. A read is touched by one side at a time: by the caller until it is in
 * todo, by the thread that took it, by the caller again once it is in landed. n_landed
 * doubles as the caller's cheap look: it is read without the lock, and zero means that
 * there is nothing to fetch.
 *
 * If the system gives fewer threads than wanted, those do it all; if it gives none, each
 * call of reap carries out one read itself.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/readop.h"

#define THREADS_DEFAULT 8

/* Indices, first in, first out. */
struct fifo {
    uint32_t items[SL_READER_DEPTH_MAX];
    uint32_t head, n;
};

struct preadio {
    /* Set once, then read only. */
    struct sl_readback_setup setup;
    uint32_t n_threads, n_wanted;
    int thread_error; /* why n_threads < n_wanted */
    pthread_t threads[SL_READER_THREADS_MAX];
    /* Owned by the caller's thread. */
    uint32_t n_flying;
    /* Atomic; written with the lock held. */
    atomic_uint n_landed;
    /* Guarded by lock. */
    pthread_mutex_t lock;
    pthread_cond_t work; /* for threads: todo or stop */
    pthread_cond_t news; /* for the caller: landed */
    struct fifo todo, landed;
    uint32_t n_idle; /* threads that wait for work */
    bool caller_waits;
    bool stop;
};

static void push(struct fifo *fifo, uint32_t item)
{
    fifo->items[(fifo->head + fifo->n++) % SL_READER_DEPTH_MAX] = item;
}

static uint32_t pop(struct fifo *fifo)
{
    uint32_t item = fifo->items[fifo->head];

    fifo->head = (fifo->head + 1) % SL_READER_DEPTH_MAX;
    fifo->n--;
    return item;
}

void sl_preadio_run(struct sl_readop *op, const struct sl_readfile *file, uint32_t alignment)
{
    int64_t res;

    do {
        res = pread(sl_readop_fd(op, file), (char *)op->read.buf + op->done_bytes,
                    op->read.bytes - op->done_bytes,
                    (off_t)(op->read.off + op->done_bytes));
        if (res < 0)
            res = -errno;
    } while (!sl_readop_advance(op, file, res, alignment));
    sl_readop_drop_behind(op, file);
}

static void run(const struct preadio *pool, uint32_t item)
{
    struct sl_readop *op = &pool->setup.ops[item];

    sl_preadio_run(op, &pool->setup.files[op->read.file], pool->setup.alignment);
}

static void *thread_main(void *arg)
{
    struct preadio *pool = arg;

    (void)pthread_mutex_lock(&pool->lock); /* a plain mutex: cannot fail */
    for (;;) {
        uint32_t item;

        while (pool->todo.n == 0 && !pool->stop) {
            pool->n_idle++;
            (void)pthread_cond_wait(&pool->work, &pool->lock);
            pool->n_idle--;
        }
        if (pool->stop)
            break;
        item = pop(&pool->todo);
        (void)pthread_mutex_unlock(&pool->lock);
        run(pool, item);
        (void)pthread_mutex_lock(&pool->lock);
        push(&pool->landed, item);
        /* With the acquire in reap; what it announces is under the lock anyway. */
        atomic_store_explicit(&pool->n_landed, pool->landed.n, memory_order_release);
        if (pool->caller_waits)
            (void)pthread_cond_signal(&pool->news);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals are for the program's own threads. */
static void start_threads(struct preadio *pool)
{
    sigset_t all, old;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    while (pool->n_threads < pool->n_wanted) {
        pool->thread_error = pthread_create(&pool->threads[pool->n_threads], NULL,
                                            thread_main, pool);
        if (pool->thread_error != 0)
            break;
        pool->n_threads++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static int preadio_open(struct sl_readback **ret_back, const struct sl_readback_setup *setup,
                        struct sl_diag *why)
{
    struct preadio *pool = calloc(1, sizeof(*pool));
    uint32_t n = setup->n_threads ? setup->n_threads : THREADS_DEFAULT;

    if (!pool)
        return sl_diag_set(why, -ENOMEM, "not enough memory");
    pool->setup = *setup;
    n = n < setup->depth ? n : setup->depth;
    pool->n_wanted = n < SL_READER_THREADS_MAX ? n : SL_READER_THREADS_MAX;
    (void)pthread_mutex_init(&pool->lock, NULL); /* without attributes these cannot fail */
    (void)pthread_cond_init(&pool->work, NULL);
    (void)pthread_cond_init(&pool->news, NULL);
    start_threads(pool);
    *ret_back = (struct sl_readback *)pool;
    return 0;
}

static void preadio_close(struct sl_readback *back)
{
    struct preadio *pool = (struct preadio *)back;

    if (!pool)
        return;
    (void)pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    (void)pthread_cond_broadcast(&pool->work);
    (void)pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->n_threads; i++)
        (void)pthread_join(pool->threads[i], NULL); /* ours, and joined once */
    (void)pthread_cond_destroy(&pool->news);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static void preadio_add_region(struct sl_readback *back, uint32_t region, void *base,
                               uint64_t bytes)
{
    (void)back;
    (void)region;
    (void)base;
    (void)bytes;
}

static void preadio_remove_region(struct sl_readback *back, uint32_t region)
{
    (void)back;
    (void)region;
}

static void preadio_submit(struct sl_readback *back, const uint32_t *ops, uint32_t n)
{
    struct preadio *pool = (struct preadio *)back;

    (void)pthread_mutex_lock(&pool->lock);
    for (uint32_t i = 0; i < n; i++)
        push(&pool->todo, ops[i]);
    for (uint32_t i = 0; i < n && i < pool->n_idle; i++)
        (void)pthread_cond_signal(&pool->work);
    (void)pthread_mutex_unlock(&pool->lock);
    pool->n_flying += n;
}

static uint32_t preadio_reap(struct sl_readback *back, bool wait, uint32_t *ret_ops,
                             uint32_t cap)
{
    struct preadio *pool = (struct preadio *)back;
    uint32_t n = 0;

    if (cap == 0 || pool->n_flying == 0)
        return 0;
    if (pool->n_threads == 0) { /* then nobody else touches todo */
        ret_ops[0] = pop(&pool->todo);
        run(pool, ret_ops[0]);
        pool->n_flying--;
        return 1;
    }
    /* With the release in thread_main. */
    if (!wait && atomic_load_explicit(&pool->n_landed, memory_order_acquire) == 0)
        return 0;
    (void)pthread_mutex_lock(&pool->lock);
    while (wait && pool->landed.n == 0) {
        pool->caller_waits = true;
        (void)pthread_cond_wait(&pool->news, &pool->lock);
        pool->caller_waits = false;
    }
    while (n < cap && pool->landed.n > 0)
        ret_ops[n++] = pop(&pool->landed);
    atomic_store_explicit(&pool->n_landed, pool->landed.n, memory_order_relaxed);
    (void)pthread_mutex_unlock(&pool->lock);
    pool->n_flying -= n;
    return n;
}

static bool preadio_has_given_up(const struct sl_readback *back)
{
    (void)back;
    return false;
}

static void preadio_get_info(const struct sl_readback *back, struct sl_reader_info *ret_info,
                             struct sl_diag *ret_why)
{
    const struct preadio *pool = (const struct preadio *)back;

    ret_info->n_threads = pool->n_threads;
    ret_why->text[0] = '\0';
    if (pool->n_threads < pool->n_wanted)
        (void)sl_diag_set(ret_why, 0, "%u of %u reading threads could be started (%s)",
                          pool->n_threads, pool->n_wanted, strerror(pool->thread_error));
}

const struct sl_readback_ops sl_preadio_ops = {
    .name = "pread",
    .open = preadio_open,
    .close = preadio_close,
    .add_region = preadio_add_region,
    .remove_region = preadio_remove_region,
    .submit = preadio_submit,
    .reap = preadio_reap,
    .has_given_up = preadio_has_given_up,
    .get_info = preadio_get_info,
};
