/*
 * One counter, `generation`, drives everything: a barrier is passed when it grows,
 * and a run starts when it grows. Workers live in one endless loop
 *
 *     barrier (wait for a run) → fn → barrier (run is over) → ...
 *
 * and the caller of sl_pool_run takes part in both barriers, so a run is nothing but
 * two barriers around fn. The last to arrive resets the arrival count and the work
 * counter, then releases the others; nobody can touch either before that release, so
 * both are reset exactly once per barrier.
 *
 * The caller is bound to its CPU for the length of a run. Left alone it is put, when the
 * disk wakes it, on the CPU that took the disk's interrupt, which is another worker's:
 * both then share it and one CPU idles (measured: a fifth of the time of a decode step).
 *
 * Waiting is a spin of spin_us, then a futex on the generation. The waker pays the
 * system call only if somebody sleeps.
 */
#include "base/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

#define SPIN_US_DEFAULT 50
#define CACHE_LINE 64

struct worker {
    struct sl_pool *pool;
    pthread_t thread;
    uint32_t index;
    int32_t cpu;
    struct sl_pool_group group;
};

/* Alone in its cache line: written by the workers of one node only. */
struct counter {
    _Alignas(CACHE_LINE) _Atomic uint64_t next_work;
};

struct sl_pool {
    /* set once, then read only */
    uint32_t n_workers;
    uint32_t n_started; /* threads to join; worker 0 is the caller */
    uint32_t n_groups;
    uint64_t spin_ns;
    struct worker *workers;
    struct counter *others; /* [n_groups - 1] counters of the groups but the first; or NULL */

    /* written by the caller before the barrier that starts a run */
    sl_pool_fn fn;
    void *arg;
    bool closing;

    /* atomic */
    _Atomic uint32_t n_unbound;
    _Alignas(CACHE_LINE) _Atomic uint32_t generation;
    _Alignas(CACHE_LINE) _Atomic uint32_t n_arrived;
    _Atomic uint32_t n_asleep;
    _Alignas(CACHE_LINE) _Atomic uint64_t next_work;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    /* EAGAIN and EINTR are as good as a wake-up: the caller looks again. */
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* acquire: pairs with the release of the last to arrive */
static bool is_over(struct sl_pool *pool, uint32_t generation)
{
    return atomic_load_explicit(&pool->generation, memory_order_acquire) != generation;
}

static void wait_while(struct sl_pool *pool, uint32_t generation, sl_pool_idle_fn idle, void *arg)
{
    uint64_t start = 0;

    while (idle && !is_over(pool, generation))
        if (!idle(arg))
            break;
    for (uint32_t i = 1;; i++) {
        if (is_over(pool, generation))
            return;
        __builtin_ia32_pause();
        if (i % 64)
            continue;
        if (!start)
            start = sl_clock_ns();
        else if (sl_clock_ns() - start > pool->spin_ns)
            break;
    }
    /* seq_cst on both sides: either the waker sees us, or we see its generation. */
    atomic_fetch_add(&pool->n_asleep, 1);
    while (atomic_load(&pool->generation) == generation)
        futex_wait(&pool->generation, generation);
    atomic_fetch_sub(&pool->n_asleep, 1);
}

void sl_pool_barrier_idle(struct sl_pool *pool, sl_pool_idle_fn idle, void *arg)
{
    uint32_t generation = atomic_load_explicit(&pool->generation, memory_order_relaxed);

    /* acq_rel: the last arrival sees what all others wrote before they arrived */
    if (atomic_fetch_add_explicit(&pool->n_arrived, 1, memory_order_acq_rel) + 1 <
        pool->n_workers) {
        wait_while(pool, generation, idle, arg);
        return;
    }
    atomic_store_explicit(&pool->n_arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->next_work, 0, memory_order_relaxed);
    for (uint32_t i = 1; i < pool->n_groups; i++)
        atomic_store_explicit(&pool->others[i - 1].next_work, 0, memory_order_relaxed);
    atomic_fetch_add(&pool->generation, 1); /* releases the others */
    if (atomic_load(&pool->n_asleep))
        futex_wake_all(&pool->generation);
}

void sl_pool_barrier(struct sl_pool *pool)
{
    sl_pool_barrier_idle(pool, NULL, NULL);
}

uint64_t sl_pool_take(struct sl_pool *pool, uint64_t n)
{
    return atomic_fetch_add_explicit(&pool->next_work, n, memory_order_relaxed);
}

uint64_t sl_pool_take_in(struct sl_pool *pool, uint32_t group, uint64_t n)
{
    if (group == 0)
        return sl_pool_take(pool, n);
    return atomic_fetch_add_explicit(&pool->others[group - 1].next_work, n, memory_order_relaxed);
}

/* Of the calling thread. False if it stays as it is. */
static bool bind_to(int32_t cpu)
{
    cpu_set_t set;

    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return false;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct sl_pool *pool = worker->pool;

    if (!bind_to(worker->cpu) && worker->cpu >= 0)
        atomic_fetch_add(&pool->n_unbound, 1);
    for (;;) {
        sl_pool_barrier(pool);
        if (pool->closing)
            return NULL;
        pool->fn(pool->arg, worker->index, pool->n_workers);
        sl_pool_barrier(pool);
    }
}

/* Unblock and end the threads that were started when not all could be. */
static void abandon(struct sl_pool *pool)
{
    /* Threads wait in their first barrier for n_workers arrivals that will never
     * come; the missing ones and the caller are counted in here. */
    uint32_t n_missing = pool->n_workers - 1 - pool->n_started;

    pool->closing = true;
    atomic_fetch_add_explicit(&pool->n_arrived, n_missing, memory_order_acq_rel);
    sl_pool_barrier(pool);
}

/* Groups of all workers, and their counters. 0, -ENOMEM, or -ERANGE: a group is empty, or is
 * none of n_groups. */
static int form_groups(struct sl_pool *pool, const struct sl_pool_opts *opts)
{
    uint32_t n = pool->n_workers, first = 0;

    pool->n_groups = opts->groups && opts->n_groups > 1 ? opts->n_groups : 1;
    for (uint32_t g = 0; g < pool->n_groups; g++) {
        uint32_t size = 0, rank = 0;

        for (uint32_t i = 0; i < n; i++)
            size += pool->n_groups == 1 || opts->groups[i] == g;
        for (uint32_t i = 0; i < n; i++)
            if (pool->n_groups == 1 || opts->groups[i] == g)
                pool->workers[i].group = (struct sl_pool_group){ g, first, size, rank++ };
        if (size == 0)
            return -ERANGE;
        first += size;
    }
    if (first != n)
        return -ERANGE;
    if (pool->n_groups == 1)
        return 0;
    pool->others = aligned_alloc(CACHE_LINE, sizeof(*pool->others) * (pool->n_groups - 1));
    if (!pool->others)
        return -ENOMEM;
    for (uint32_t i = 1; i < pool->n_groups; i++)
        atomic_init(&pool->others[i - 1].next_work, 0);
    return 0;
}

static void free_pool(struct sl_pool *pool)
{
    free(pool->others);
    free(pool->workers);
    free(pool);
}

int sl_pool_new(struct sl_pool **ret_pool, const struct sl_pool_opts *opts)
{
    struct sl_pool *pool;
    uint32_t n = opts->n_workers;
    int r;

    if (n < 1 || n > SL_POOL_WORKERS_MAX)
        return -ERANGE;
    pool = aligned_alloc(CACHE_LINE, sizeof(*pool));
    if (!pool)
        return -ENOMEM;
    *pool = (struct sl_pool){ .n_workers = n,
        .spin_ns = 1000u * (uint64_t)(opts->spin_us ? opts->spin_us : SPIN_US_DEFAULT) };
    pool->workers = calloc(n, sizeof(*pool->workers));
    if (!pool->workers) {
        free(pool);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++)
        pool->workers[i] = (struct worker){ .pool = pool, .index = i,
                                            .cpu = opts->cpus ? opts->cpus[i] : -1 };
    r = form_groups(pool, opts);
    if (r < 0) {
        free_pool(pool);
        return r;
    }
    for (uint32_t i = 1; i < n; i++) {
        struct worker *worker = &pool->workers[i];

        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
            sl_pool_free(pool);
            return -EAGAIN;
        }
        pool->n_started++;
    }
    *ret_pool = pool;
    return 0;
}

void sl_pool_free(struct sl_pool *pool)
{
    if (!pool)
        return;
    abandon(pool);
    for (uint32_t i = 1; i <= pool->n_started; i++)
        (void)pthread_join(pool->workers[i].thread, NULL); /* joinable by construction */
    free_pool(pool);
}

uint32_t sl_pool_n_workers(const struct sl_pool *pool)
{
    return pool->n_workers;
}

struct sl_pool_group sl_pool_group_of(const struct sl_pool *pool, uint32_t worker)
{
    return pool->workers[worker].group;
}

uint32_t sl_pool_n_unbound(const struct sl_pool *pool)
{
    return atomic_load(&pool->n_unbound);
}

void sl_pool_run(struct sl_pool *pool, sl_pool_fn fn, void *arg)
{
    int32_t cpu = pool->workers[0].cpu;
    cpu_set_t before;
    bool is_bound = cpu >= 0 &&
                    pthread_getaffinity_np(pthread_self(), sizeof(before), &before) == 0 &&
                    bind_to(cpu);

    pool->fn = fn;
    pool->arg = arg;
    sl_pool_barrier(pool); /* the workers wait in it: they start now */
    fn(arg, 0, pool->n_workers);
    sl_pool_barrier(pool); /* all have returned */
    if (is_bound) /* cannot fail: it was so before */
        (void)pthread_setaffinity_np(pthread_self(), sizeof(before), &before);
}
