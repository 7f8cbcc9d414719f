/*
 * Worker threads that run one program together (SPMD): sl_pool_run calls the same
 * function on every worker, the caller being worker 0, and returns when all have
 * returned; inside, sl_pool_barrier makes all of them meet. Workers spin briefly
 * between runs and at barriers, then sleep on a futex.
 *
 * One thread at a time may call sl_pool_run on a pool. Workers may not allocate,
 * block or call sl_pool_run.
 *
 * Workers may form groups, those of a NUMA node for instance: each group then shares out
 * work of its own, so that no counter is written by all of the machine.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SL_POOL_WORKERS_MAX 256

struct sl_pool;

typedef void (*sl_pool_fn)(void *arg, uint32_t worker, uint32_t n_workers);

struct sl_pool_opts {
    uint32_t n_workers;   /* 1..SL_POOL_WORKERS_MAX, the caller included */
    const int32_t *cpus;  /* n_workers logical CPU numbers to bind to, -1 or NULL: not
                             bound; the caller is bound during a run only. Copied. */
    uint32_t spin_us;     /* how long to spin before sleeping, default 50 */
    const uint32_t *groups; /* of each worker: 0..n_groups - 1, none empty; NULL: one for
                               all. Copied. */
    uint32_t n_groups;      /* 0 or 1: one for all */
};

/* The group of a worker, which is number `rank` in it. Groups stand in a row: in front of
 * this one are `first` workers. */
struct sl_pool_group {
    uint32_t index, first, n_workers, rank;
};

/* Returns 0, -ENOMEM, -ERANGE (workers, groups), or -EAGAIN (no thread could be started). */
int sl_pool_new(struct sl_pool **ret_pool, const struct sl_pool_opts *opts);

/* Ends and joins the workers. NULL is allowed. */
void sl_pool_free(struct sl_pool *pool);

uint32_t sl_pool_n_workers(const struct sl_pool *pool);

/* Run fn(arg, worker, n_workers) on every worker; returns when all are done. */
void sl_pool_run(struct sl_pool *pool, sl_pool_fn fn, void *arg);

/* Every worker of the run calls it the same number of times; memory written before
 * it by any is visible after it to all. */
void sl_pool_barrier(struct sl_pool *pool);

/* The same. A worker that has to wait calls idle(arg) over and over meanwhile, as long as it
 * returns true: work of well below a microsecond each, since nobody waits for its end. */
typedef bool (*sl_pool_idle_fn)(void *arg);
void sl_pool_barrier_idle(struct sl_pool *pool, sl_pool_idle_fn idle, void *arg);

/*
 * Work that is shared out as it goes: each call takes the next `n` numbers of one
 * counter, which starts at 0 after every barrier (and at the start of a run), and
 * returns the first. Between two barriers the workers share one list of work.
 */
uint64_t sl_pool_take(struct sl_pool *pool, uint64_t n);

/* The same of a counter that only one group has. Group 0's is that of sl_pool_take: between
 * two barriers either one is used or the other. */
uint64_t sl_pool_take_in(struct sl_pool *pool, uint32_t group, uint64_t n);

struct sl_pool_group sl_pool_group_of(const struct sl_pool *pool, uint32_t worker);

/* Workers that could not be bound to the CPU asked for (they run unbound). */
uint32_t sl_pool_n_unbound(const struct sl_pool *pool);

/* The share [*ret_begin, *ret_end) of n items for `count` workers from `first` on, in
 * whole multiples of grain (the last may be cut by n); shares are in order and cover n
 * exactly. */
static inline void sl_pool_share_span(uint64_t n, uint64_t grain, uint32_t first, uint32_t count,
                                      uint32_t n_workers, uint64_t *ret_begin, uint64_t *ret_end)
{
    uint64_t n_grains = (n + grain - 1) / grain;
    uint64_t begin = n_grains * first / n_workers * grain;
    uint64_t end = n_grains * (first + count) / n_workers * grain;

    *ret_begin = begin < n ? begin : n;
    *ret_end = end < n ? end : n;
}

/* That of one worker. */
static inline void sl_pool_share(uint64_t n, uint64_t grain, uint32_t worker,
                                 uint32_t n_workers, uint64_t *ret_begin,
                                 uint64_t *ret_end)
{
    sl_pool_share_span(n, grain, worker, 1, n_workers, ret_begin, ret_end);
}
