/*
 * Files mapped read-only.
 *
 * The only mutable state of the process that this project keeps in statics is here,
 * because a signal handler has nothing else to go by: a table of the live mappings,
 * and the handler that was installed before ours.
 *
 * A slot of the table is written by the thread that opens or closes a mapping and
 * read by the SIGBUS handler on any thread, at any time. Its seq counts: 0 or even
 * and `map` NULL: free; odd: being written; even and `map` set: live. The handler
 * reads seq, the fields, and seq again, and passes over a slot that changed: the
 * mapping in which it faulted is in use, so its slot does not change.
 *
 * Invariants:
 *  1. A mapping is in the table from before its address is known to the caller
 *     until before it is unmapped.
 *  2. bad_off goes from UINT64_MAX to one value, once.
 *
 * A file that was cut inside a page gives zeros for the rest of that page without
 * any signal, so sl_mapping_bad_off also asks for the file's size (0.2 us).
 *
 * What concerns the page cache (warm, resident) is in warm.c.
 */
#include "loader/mapping.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"

#define MAPPINGS_MAX 2048    /* a split model has at most 999 parts */
#define PATH_SHOWN_BYTES 200 /* of a path in an error text */
#define PAGE_BYTES_MIN 4096

struct sl_mapping {
    /* Set once, then read only. */
    const uint8_t *data;
    uint64_t bytes;
    uint64_t page_bytes;
    struct timespec mtime;
    char *path;
    int fd;
    uint32_t slot; /* in the table, or MAPPINGS_MAX */
    /* Atomic. */
    atomic_uint n_refs;
    _Atomic uint64_t bad_off;
};

struct slot {
    /* Atomic; see the top of the file. */
    atomic_uint seq;
    _Atomic(struct sl_mapping *) map;
    _Atomic uintptr_t begin, end;
};

static struct slot slots[MAPPINGS_MAX];

/* Guarded by install_lock; prev is written before the handler can run. */
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
static bool installed;
static struct sigaction prev;
static atomic_bool prev_used_up; /* it was SA_RESETHAND and has run */

const char *sl_mapping_path_tail(const char *path)
{
    size_t len = strlen(path);

    if (len <= PATH_SHOWN_BYTES)
        return path;
    path += len - PATH_SHOWN_BYTES;
    while (((unsigned char)*path & 0xC0) == 0x80) /* not inside a UTF-8 character */
        path++;
    return path;
}

/* Take a free slot for map; false if there is none. */
static bool slot_take(struct sl_mapping *map)
{
    for (uint32_t i = 0; i < MAPPINGS_MAX; i++) {
        struct slot *s = &slots[i];
        unsigned seq = atomic_load_explicit(&s->seq, memory_order_relaxed);

        if ((seq & 1) || atomic_load_explicit(&s->map, memory_order_relaxed))
            continue;
        /* acquire: what a former owner wrote comes before what we write */
        if (!atomic_compare_exchange_strong_explicit(&s->seq, &seq, seq + 1,
                                                     memory_order_acquire,
                                                     memory_order_relaxed))
            continue;
        /* release on each: a handler that sees one of them sees the odd seq too */
        atomic_store_explicit(&s->map, map, memory_order_release);
        atomic_store_explicit(&s->begin, (uintptr_t)map->data, memory_order_release);
        atomic_store_explicit(&s->end,
                              (uintptr_t)map->data + sl_align_up(map->bytes, map->page_bytes),
                              memory_order_release);
        map->slot = i;
        /* release: pairs with the acquire of seq in slot_find */
        atomic_store_explicit(&s->seq, seq + 2, memory_order_release);
        return true;
    }
    return false;
}

static void slot_give_back(struct sl_mapping *map)
{
    struct slot *s = &slots[map->slot];
    unsigned seq = atomic_load_explicit(&s->seq, memory_order_relaxed);

    atomic_store_explicit(&s->seq, seq + 1, memory_order_relaxed);
    atomic_store_explicit(&s->map, NULL, memory_order_release);
    atomic_store_explicit(&s->begin, 0, memory_order_release);
    atomic_store_explicit(&s->end, 0, memory_order_release);
    atomic_store_explicit(&s->seq, seq + 2, memory_order_release);
}

/* The live mapping that holds addr, or NULL. Called from the signal handler. */
static struct sl_mapping *slot_find(uintptr_t addr)
{
    for (uint32_t i = 0; i < MAPPINGS_MAX; i++) {
        struct slot *s = &slots[i];
        /* acquire: pairs with the last store of slot_take */
        unsigned seq = atomic_load_explicit(&s->seq, memory_order_acquire);
        /* acquire: each pairs with its store, so that seq is read again after them */
        struct sl_mapping *map = atomic_load_explicit(&s->map, memory_order_acquire);
        uintptr_t begin = atomic_load_explicit(&s->begin, memory_order_acquire);
        uintptr_t end = atomic_load_explicit(&s->end, memory_order_acquire);

        if ((seq & 1) || !map || addr < begin || addr >= end)
            continue;
        if (atomic_load_explicit(&s->seq, memory_order_relaxed) == seq)
            return map;
    }
    return NULL;
}

static void mark_bad(struct sl_mapping *map, uint64_t off)
{
    uint64_t none = UINT64_MAX;

    /* relaxed: the number says all; no other memory is published with it */
    atomic_compare_exchange_strong_explicit(&map->bad_off, &none, off,
                                            memory_order_relaxed, memory_order_relaxed);
}

/*
 * Put a page of zeros in the place of the page at addr. By the bare system call:
 * nothing that someone put around the C library's mmap may run in a signal handler.
 * Other threads may be reading that page; they fault like this one, or see zeros.
 */
static bool replace_page(struct sl_mapping *map, uintptr_t addr)
{
    uintptr_t page = addr & ~(uintptr_t)(map->page_bytes - 1);
    long r = syscall(SYS_mmap, page, map->page_bytes, PROT_READ,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);

    if (r == -1)
        return false;
    mark_bad(map, page - (uintptr_t)map->data);
    return true;
}

/*
 * Do what would have happened without our handler. is_fault: the kernel raised the
 * signal for an instruction of this thread, which runs again when we return; for
 * such a signal the kernel takes SIG_IGN as SIG_DFL.
 */
static void pass_on(int sig, siginfo_t *info, void *context, bool is_fault)
{
    bool by_default = !(prev.sa_flags & SA_SIGINFO) &&
                      (prev.sa_handler == SIG_DFL || (is_fault && prev.sa_handler == SIG_IGN));

    if (prev.sa_flags & (int)SA_RESETHAND)
        by_default |= atomic_exchange_explicit(&prev_used_up, true, memory_order_relaxed);
    if (by_default) {
        struct sigaction dfl = { .sa_handler = SIG_DFL };

        (void)sigaction(sig, &dfl, NULL); /* fails only for bad arguments */
        if (!is_fault)
            (void)raise(sig); /* delivered when we return */
    } else if (prev.sa_flags & SA_SIGINFO) {
        prev.sa_sigaction(sig, info, context);
    } else if (prev.sa_handler != SIG_IGN) {
        prev.sa_handler(sig);
    }
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    /* Positive codes come from the kernel; action-optional memory errors are news
     * about some page, not a fault of this thread. */
    bool is_fault = info->si_code > 0 && info->si_code != BUS_MCEERR_AO;
    struct sl_mapping *map = is_fault ? slot_find((uintptr_t)info->si_addr) : NULL;

    if (!map || !replace_page(map, (uintptr_t)info->si_addr))
        pass_on(sig, info, context, is_fault);
    errno = saved_errno;
}

int sl_mapping_install_sigbus(void)
{
    struct sigaction action = { .sa_sigaction = on_sigbus };
    int r = 0;

    (void)pthread_mutex_lock(&install_lock); /* a plain mutex: cannot fail */
    if (installed)
        goto done;
    r = sigaction(SIGBUS, NULL, &prev);
    if (r < 0)
        goto done;
    /* The former handler runs inside ours, so ours has its mask and flags. */
    action.sa_mask = prev.sa_mask;
    action.sa_flags = SA_SIGINFO | (prev.sa_flags & (SA_NODEFER | SA_ONSTACK | SA_RESTART));
    if (!(prev.sa_flags & SA_SIGINFO) &&
        (prev.sa_handler == SIG_DFL || prev.sa_handler == SIG_IGN))
        action.sa_flags |= SA_ONSTACK | SA_RESTART;
    r = sigaction(SIGBUS, &action, NULL);
    installed = r == 0;
done:
    r = r < 0 ? -errno : 0;
    (void)pthread_mutex_unlock(&install_lock);
    return r;
}

/* Open path and refuse what is not a regular file with something in it. */
static int open_regular(const char *path, struct stat *ret_stat, struct sl_diag *diag)
{
    const char *shown = sl_mapping_path_tail(path);
    /* O_NONBLOCK: a FIFO without a writer would hang; regular files ignore it. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    int r;

    if (fd < 0 && errno == ENXIO)
        return sl_diag_set(diag, -ENOTSUP, "%s: not a regular file", shown);
    if (fd < 0) {
        r = -errno;
        return sl_diag_set(diag, r, "%s: cannot open: %s", shown, strerror(-r));
    }
    if (fstat(fd, &st) < 0) {
        r = -errno;
        sl_diag_set(diag, r, "%s: cannot read its size: %s", shown, strerror(-r));
    } else if (S_ISDIR(st.st_mode)) {
        r = sl_diag_set(diag, -EISDIR, "%s: is a directory, expected a file", shown);
    } else if (!S_ISREG(st.st_mode)) {
        r = sl_diag_set(diag, -ENOTSUP, "%s: not a regular file", shown);
    } else if (st.st_size <= 0) {
        r = sl_diag_set(diag, -EBADMSG, "%s: the file is empty", shown);
    } else {
        *ret_stat = st;
        return fd;
    }
    (void)close(fd); /* read-only: nothing to lose */
    return r;
}

int sl_mapping_open(struct sl_mapping **ret_map, const char *path, struct sl_diag *diag)
{
    const char *shown = sl_mapping_path_tail(path);
    struct sl_mapping *map = calloc(1, sizeof(*map));
    struct stat st = { 0 };
    void *data;
    int r;

    if (!map)
        return sl_diag_set(diag, -ENOMEM, "%s: not enough memory to open it", shown);
    map->fd = -1;
    map->slot = MAPPINGS_MAX;
    atomic_init(&map->n_refs, 1);
    atomic_init(&map->bad_off, UINT64_MAX);
    map->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    assert(map->page_bytes >= PAGE_BYTES_MIN && sl_is_pow2(map->page_bytes));

    map->path = strdup(path);
    if (!map->path) {
        r = sl_diag_set(diag, -ENOMEM, "%s: not enough memory to open it", shown);
        goto fail;
    }
    map->fd = r = open_regular(path, &st, diag);
    if (r < 0)
        goto fail;
    map->bytes = (uint64_t)st.st_size;
    map->mtime = st.st_mtim;
    data = mmap(NULL, map->bytes, PROT_READ, MAP_SHARED, map->fd, 0);
    if (data == MAP_FAILED) {
        r = errno == ENOMEM || errno == EAGAIN ? -ENOMEM : -ENOTSUP;
        sl_diag_set(diag, r, "%s: cannot map its %llu bytes: %s", shown,
                    (unsigned long long)map->bytes, strerror(errno));
        goto fail;
    }
    map->data = data;
    if (!slot_take(map)) {
        r = sl_diag_set(diag, -E2BIG, "%s: more than %d files mapped at once", shown,
                        MAPPINGS_MAX);
        goto fail;
    }
    *ret_map = map;
    return 0;

fail:
    sl_mapping_unref(map);
    return r;
}

struct sl_mapping *sl_mapping_ref(struct sl_mapping *map)
{
    atomic_fetch_add_explicit(&map->n_refs, 1, memory_order_relaxed);
    return map;
}

void sl_mapping_unref(struct sl_mapping *map)
{
    if (!map)
        return;
    /* acq_rel: the last one sees what the others did before they let go */
    if (atomic_fetch_sub_explicit(&map->n_refs, 1, memory_order_acq_rel) != 1)
        return;
    if (map->slot < MAPPINGS_MAX)
        slot_give_back(map);
    if (map->data)
        (void)munmap((void *)map->data, map->bytes); /* fails only for bad arguments */
    if (map->fd >= 0)
        (void)close(map->fd); /* read-only: nothing to lose */
    free(map->path);
    free(map);
}

const uint8_t *sl_mapping_data(const struct sl_mapping *map)
{
    return map->data;
}

uint64_t sl_mapping_bytes(const struct sl_mapping *map)
{
    return map->bytes;
}

const char *sl_mapping_path(const struct sl_mapping *map)
{
    return map->path;
}

int sl_mapping_fd(const struct sl_mapping *map)
{
    return map->fd;
}

uint64_t sl_mapping_bad_off(const struct sl_mapping *map)
{
    struct sl_mapping *marked = (struct sl_mapping *)map; /* bad_off is the one atomic field */
    uint64_t off = atomic_load_explicit(&map->bad_off, memory_order_relaxed);
    struct stat st;

    if (off != UINT64_MAX)
        return off;
    if (fstat(map->fd, &st) == 0 && (uint64_t)st.st_size < map->bytes)
        mark_bad(marked, (uint64_t)st.st_size & ~(map->page_bytes - 1));
    return atomic_load_explicit(&map->bad_off, memory_order_relaxed);
}

bool sl_mapping_is_changed(const struct sl_mapping *map)
{
    struct stat st;

    return fstat(map->fd, &st) == 0 &&
           ((uint64_t)st.st_size != map->bytes || st.st_mtim.tv_sec != map->mtime.tv_sec ||
            st.st_mtim.tv_nsec != map->mtime.tv_nsec);
}
