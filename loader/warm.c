/*
 * Mappings and the page cache: reading a range into it, and asking what is there.
 *
 * Page faults read a cold file in small pieces and one after the other, far below
 * what a disk can do. So threads take chunks of 8 MiB in order from a common counter
 * and have them cached; the caller's thread waits, and tells its caller how far they are.
 * A chunk is populated in place, which is what makes huge pages where they were asked
 * for, and copies nothing; where that fails it is read into a buffer, which says why.
 *
 * mincore tells the truth only about files that the caller owns or may write; of
 * others it says that every page is cached. Those are read whole when warming
 * (a cached chunk costs one copy), and resident asks for one byte of each page with
 * preadv2 and RWF_NOWAIT, which answers for any file.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "loader/mapping.h"

#define CHUNK_BYTES ((uint64_t)8 << 20)
#define PAGE_BYTES_MIN 4096
#define CHUNK_PAGES_MAX (CHUNK_BYTES / PAGE_BYTES_MIN)
#define THREADS_MAX 64
#define PROGRESS_NS 100000000
#define SAMPLES_MAX 4096 /* pages asked about: 14.4 GB have 3.5 million, 0.2 s of mincore */

struct warm {
    /* Set once, then read only. */
    const struct sl_mapping *map;
    uint64_t begin, end; /* file offsets, begin page-aligned */
    uint64_t page_bytes;
    bool mincore_tells;
    /* Atomic. */
    _Atomic uint64_t next; /* first byte that nobody has taken */
    _Atomic uint64_t done_bytes;
    atomic_bool stop;
    /* Guarded by lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a thread ended */
    uint32_t n_running;
    int r;            /* of the first failure */
    int os_error;     /* its errno, 0: end of file */
    uint64_t bad_off; /* its place */
};

/* The kernel's own condition, as far as it can be asked. */
static bool mincore_is_honest(const struct sl_mapping *map)
{
    char path[32];
    struct stat st;

    if (fstat(sl_mapping_fd(map), &st) == 0 && st.st_uid == geteuid())
        return true;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", sl_mapping_fd(map));
    return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

/* Narrow [*begin, *end) of one chunk to the pages that are not cached. */
static void skip_cached(const struct warm *warm, uint64_t *begin, uint64_t *end)
{
    unsigned char cached[CHUNK_PAGES_MAX];
    uint64_t n_pages = (*end - *begin + warm->page_bytes - 1) / warm->page_bytes;
    uint64_t first = 0;
    uint64_t last = n_pages;

    if (!warm->mincore_tells ||
        mincore((void *)(sl_mapping_data(warm->map) + *begin), *end - *begin, cached) < 0)
        return;
    while (first < last && (cached[first] & 1))
        first++;
    while (last > first && (cached[last - 1] & 1))
        last--;
    if (last < n_pages)
        *end = *begin + last * warm->page_bytes;
    *begin = first < last ? *begin + first * warm->page_bytes : *end;
}

static void fail_warm(struct warm *warm, int r, int os_error, uint64_t off)
{
    (void)pthread_mutex_lock(&warm->lock); /* a plain mutex: cannot fail */
    if (warm->r == 0) {
        warm->r = r;
        warm->os_error = os_error;
        warm->bad_off = off;
    }
    (void)pthread_mutex_unlock(&warm->lock);
    atomic_store_explicit(&warm->stop, true, memory_order_relaxed);
}

/* Have [begin, end), which begins with a page, read and mapped. */
static bool populate_chunk(const struct warm *warm, uint64_t begin, uint64_t end)
{
    uint8_t *p = (uint8_t *)sl_mapping_data(warm->map) + begin;

    return begin == end || madvise(p, end - begin, MADV_POPULATE_READ) == 0;
}

/* Read [begin, end), at most a chunk, into buf. */
static bool read_chunk(struct warm *warm, uint64_t begin, uint64_t end, char *buf)
{
    while (begin < end) {
        ssize_t n = pread(sl_mapping_fd(warm->map), buf, end - begin, (off_t)begin);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            fail_warm(warm, -EIO, n < 0 ? errno : 0, begin);
            return false;
        }
        begin += (uint64_t)n;
    }
    return true;
}

/* Take and read one chunk; false when there is none left or something failed. */
static bool warm_next(struct warm *warm, char *buf)
{
    uint64_t taken = atomic_fetch_add_explicit(&warm->next, CHUNK_BYTES, memory_order_relaxed);
    uint64_t begin = taken;
    uint64_t end;

    if (taken >= warm->end || atomic_load_explicit(&warm->stop, memory_order_relaxed))
        return false;
    end = warm->end - taken < CHUNK_BYTES ? warm->end : taken + CHUNK_BYTES;
    taken = end - taken;
    skip_cached(warm, &begin, &end);
    if (!populate_chunk(warm, begin, end) && !read_chunk(warm, begin, end, buf))
        return false;
    atomic_fetch_add_explicit(&warm->done_bytes, taken, memory_order_relaxed);
    return true;
}

static void *warm_thread(void *arg)
{
    struct warm *warm = arg;
    char *buf = malloc(CHUNK_BYTES);

    if (!buf)
        fail_warm(warm, -ENOMEM, ENOMEM, warm->begin);
    while (buf && warm_next(warm, buf))
        ;
    free(buf);
    (void)pthread_mutex_lock(&warm->lock);
    warm->n_running--;
    (void)pthread_cond_signal(&warm->changed);
    (void)pthread_mutex_unlock(&warm->lock);
    return NULL;
}

/* Wait until all threads have ended, reporting about ten times a second. */
static bool wait_threads(struct warm *warm, int (*progress)(void *, uint64_t, uint64_t),
                         void *arg)
{
    bool cancelled = false;

    (void)pthread_mutex_lock(&warm->lock);
    while (warm->n_running > 0) {
        struct timespec until;

        (void)clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail for this clock */
        until.tv_nsec += PROGRESS_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (pthread_cond_timedwait(&warm->changed, &warm->lock, &until) != ETIMEDOUT ||
            !progress || cancelled)
            continue;
        (void)pthread_mutex_unlock(&warm->lock); /* never over a callback */
        if (progress(arg, atomic_load_explicit(&warm->done_bytes, memory_order_relaxed),
                     warm->end - warm->begin)) {
            cancelled = true;
            atomic_store_explicit(&warm->stop, true, memory_order_relaxed);
        }
        (void)pthread_mutex_lock(&warm->lock);
    }
    (void)pthread_mutex_unlock(&warm->lock);
    return cancelled;
}

/* Start up to n threads; returns how many run. */
static uint32_t start_threads(struct warm *warm, pthread_t *threads, uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        (void)pthread_mutex_lock(&warm->lock);
        warm->n_running++;
        (void)pthread_mutex_unlock(&warm->lock);
        if (pthread_create(&threads[i], NULL, warm_thread, warm) == 0)
            continue;
        (void)pthread_mutex_lock(&warm->lock);
        warm->n_running--;
        (void)pthread_mutex_unlock(&warm->lock);
        break;
    }
    return i;
}

static int warm_text(const struct warm *warm, struct sl_diag *diag)
{
    const char *shown = sl_mapping_path_tail(sl_mapping_path(warm->map));

    if (warm->r == -ENOMEM)
        return sl_diag_set(diag, -ENOMEM, "%s: not enough memory for buffers to read it", shown);
    return sl_diag_set(diag, warm->r, "%s: byte %llu: cannot read: %s", shown,
                       (unsigned long long)warm->bad_off,
                       warm->os_error ? strerror(warm->os_error)
                                      : "the file became shorter after it was opened");
}

static int init_sync(struct warm *warm)
{
    pthread_condattr_t attr;
    int r = pthread_condattr_init(&attr);

    if (r != 0)
        return -ENOMEM;
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* a valid clock: cannot fail */
    (void)pthread_mutex_init(&warm->lock, NULL);             /* no attributes: cannot fail */
    r = pthread_cond_init(&warm->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    return r == 0 ? 0 : -ENOMEM;
}

int sl_mapping_warm(struct sl_mapping *map, uint64_t off, uint64_t bytes,
                    uint32_t n_threads,
                    int (*progress)(void *arg, uint64_t done, uint64_t total),
                    void *arg, struct sl_diag *diag)
{
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    struct warm warm = {
        .map = map,
        .begin = off & ~(page_bytes - 1),
        .page_bytes = page_bytes,
        .mincore_tells = mincore_is_honest(map),
    };
    pthread_t threads[THREADS_MAX];
    uint32_t n_started;
    bool cancelled;

    if (!sl_add_u64(off, bytes, &warm.end) || warm.end > sl_mapping_bytes(map))
        return sl_diag_set(diag, -EINVAL, "%s: a range to read ends beyond the file",
                           sl_mapping_path_tail(sl_mapping_path(map)));
    if (init_sync(&warm) < 0)
        return sl_diag_set(diag, -ENOMEM, "not enough memory to read ahead");
    atomic_store_explicit(&warm.next, warm.begin, memory_order_relaxed);

    n_threads = n_threads < 1 ? 1 : n_threads > THREADS_MAX ? THREADS_MAX : n_threads;
    n_started = start_threads(&warm, threads, n_threads);
    if (n_started == 0) { /* no thread to be had: read here, without progress */
        warm.n_running = 1;
        (void)warm_thread(&warm);
    }
    cancelled = wait_threads(&warm, progress, arg);
    for (uint32_t i = 0; i < n_started; i++)
        (void)pthread_join(threads[i], NULL); /* ours, and joined once */
    (void)pthread_cond_destroy(&warm.changed);
    (void)pthread_mutex_destroy(&warm.lock);

    if (cancelled)
        return sl_diag_set(diag, -ECANCELED, "stopped while reading the file");
    if (warm.r < 0)
        return warm_text(&warm, diag);
    if (progress && progress(arg, warm.end - warm.begin, warm.end - warm.begin))
        return sl_diag_set(diag, -ECANCELED, "stopped while reading the file");
    return 0;
}

/* Whether one page can be read without waiting. */
static bool is_cached(const struct sl_mapping *map, uint64_t off, bool mincore_tells)
{
    unsigned char cached;
    char byte;
    struct iovec vec = { .iov_base = &byte, .iov_len = 1 };
    ssize_t r;

    if (mincore_tells && mincore((void *)(sl_mapping_data(map) + off), 1, &cached) == 0)
        return cached & 1;
    r = preadv2(sl_mapping_fd(map), &vec, 1, (off_t)off, RWF_NOWAIT);
    /* A file system without RWF_NOWAIT is one in memory, or cannot say. */
    return r == 1 || (r < 0 && errno == EOPNOTSUPP);
}

void sl_mapping_set_huge(struct sl_mapping *map)
{
    /* where there are none everything works, with small ones */
    (void)madvise((void *)sl_mapping_data(map), sl_mapping_bytes(map), MADV_HUGEPAGE);
}

void sl_mapping_set_random(struct sl_mapping *map, bool is_random)
{
    /* without it everything works, with more page cache */
    (void)madvise((void *)sl_mapping_data(map), sl_mapping_bytes(map),
                  is_random ? MADV_RANDOM : MADV_NORMAL);
}

double sl_mapping_resident(const struct sl_mapping *map, uint64_t off, uint64_t bytes)
{
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t begin = off & ~(page_bytes - 1);
    bool mincore_tells = mincore_is_honest(map);
    uint64_t end, n_pages, n_samples;
    uint64_t n = 0;

    if (!sl_add_u64(off, bytes, &end) || end > sl_mapping_bytes(map))
        end = sl_mapping_bytes(map);
    if (begin >= end)
        return 1.0;
    n_pages = (end - begin + page_bytes - 1) / page_bytes;
    n_samples = n_pages < SAMPLES_MAX ? n_pages : SAMPLES_MAX;
    for (uint64_t i = 0; i < n_samples; i++) {
        uint64_t page = n_pages / n_samples * i + n_pages % n_samples * i / n_samples;

        n += is_cached(map, begin + page * page_bytes, mincore_tells);
    }
    return (double)n / (double)n_samples;
}
