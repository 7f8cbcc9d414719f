/*
 * Reading many parts of a pack at once: into memory, or only to check them.
 *
 * The work is a list of items in the order of the file. Groups of about GROUP_BYTES are
 * read ahead into the page cache with large reads, then checked and decoded by all
 * workers from the mapping, and, when they are in memory, dropped from the cache: the
 * cache never holds more than a group of what is not needed again.
 */
#include "loader/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "loader/check.h"
#include "loader/packlayout.h"

#define GROUP_BYTES (UINT64_C(64) << 20)
#define READ_THREADS 4u
#define DATA_ALIGN 64u /* of tensors in memory */
#define SHARED UINT32_MAX

struct item {
    uint64_t off, bytes; /* stored */
    uint64_t hash;
    uint8_t *dst;        /* NULL: check only */
    uint32_t layer;      /* or SHARED */
    uint32_t i;          /* expert * SL_PACK_PARTS + part, or the tensor */
};

struct job {
    /* Set before a run. */
    struct sl_pack *pack;
    const uint8_t *data;
    const struct item *items;
    uint32_t end;
    /* Atomic. */
    atomic_uint next;
    atomic_uint failed; /* the first item that is damaged, or UINT32_MAX */
};

/* Whether the tensor is to be read for what, and is not a stack. */
static bool wants_shared(const struct sl_pack *pack, uint32_t i, uint32_t what, bool load)
{
    const struct sl_pack_tensor *t = sl_pack_tensor_at(pack, i);

    if (!(what & SL_PACK_LOAD_SHARED) || t->is_stack)
        return false;
    return !load || (t->kind != SL_ZBLOCK_PLAIN && !sl_gguf_tensor_at(sl_pack_gguf(pack), i)->data);
}

static bool wants_layer(const struct sl_pack *pack, const struct sl_pack_layer *layer,
                        uint32_t what, bool load)
{
    if (!(what & SL_PACK_LOAD_EXPERTS))
        return false;
    return !load || !sl_gguf_tensor_at(sl_pack_gguf(pack), layer->tensors[0])->data;
}

uint64_t sl_pack_load_bytes(const struct sl_pack *pack, uint32_t what)
{
    const struct sl_gguf *gguf = sl_pack_gguf(pack);
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++)
        if (wants_shared(pack, i, what, true))
            bytes += sl_align_up(sl_gguf_tensor_at(gguf, i)->bytes, DATA_ALIGN);
    for (uint32_t i = 0; i < sl_pack_n_layers(pack); i++) {
        const struct sl_pack_layer *layer = sl_pack_layer_at(pack, i);

        for (uint32_t part = 0; part < SL_PACK_PARTS && wants_layer(pack, layer, what, true);
             part++)
            bytes += sl_align_up(sl_gguf_tensor_at(gguf, layer->tensors[part])->bytes,
                                 DATA_ALIGN);
    }
    return bytes;
}

/* Items of all that is wanted, the destinations one after the other from memory on (NULL:
 * check only). Returns their number; items NULL: only that. */
static uint32_t list_items(const struct sl_pack *pack, uint32_t what, uint8_t *memory,
                           bool load, struct item *items)
{
    const struct sl_gguf *gguf = sl_pack_gguf(pack);
    uint8_t *next = memory;
    uint32_t n = 0;

    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_pack_tensor *t = sl_pack_tensor_at(pack, i);

        if (!wants_shared(pack, i, what, load))
            continue;
        if (items)
            items[n] = (struct item){ t->off, t->bytes, t->hash, next, SHARED, i };
        n++;
        if (next)
            next += sl_align_up(sl_gguf_tensor_at(gguf, i)->bytes, DATA_ALIGN);
    }
    for (uint32_t i = 0; i < sl_pack_n_layers(pack); i++) {
        const struct sl_pack_layer *layer = sl_pack_layer_at(pack, i);
        uint8_t *stacks[SL_PACK_PARTS];

        if (!wants_layer(pack, layer, what, load))
            continue;
        for (uint32_t part = 0; part < SL_PACK_PARTS; part++) {
            stacks[part] = next;
            if (next)
                next += sl_align_up(sl_gguf_tensor_at(gguf, layer->tensors[part])->bytes,
                                    DATA_ALIGN);
        }
        for (uint32_t k = 0; k < layer->n_experts * SL_PACK_PARTS; k++, n++) {
            const struct sl_pack_part *p = &layer->parts[k];
            uint32_t part = k % SL_PACK_PARTS;
            uint8_t *dst = stacks[part];

            if (dst)
                dst += (uint64_t)layer->mat_bytes[part] * (k / SL_PACK_PARTS);
            if (items)
                items[n] = (struct item){ p->off, p->bytes, p->hash, dst, layer->layer, k };
        }
    }
    return n;
}

static void mark_failed(struct job *job, uint32_t i)
{
    unsigned first = atomic_load_explicit(&job->failed, memory_order_relaxed);

    /* relaxed: the pool's end of the run publishes it */
    while (i < first && !atomic_compare_exchange_weak_explicit(
                            &job->failed, &first, i, memory_order_relaxed, memory_order_relaxed))
        ;
}

static void work(void *arg, uint32_t worker, uint32_t n_workers)
{
    struct job *job = arg;

    (void)worker;
    (void)n_workers;
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        const struct item *item;
        const uint8_t *stored;
        int r;

        if (i >= job->end)
            return;
        item = &job->items[i];
        stored = job->data + item->off;
        if (!item->dst)
            r = sl_check_hash(stored, item->bytes) == item->hash ? 0 : -EBADMSG;
        else if (item->layer == SHARED)
            r = sl_pack_check_tensor(job->pack, item->i, stored, item->dst);
        else
            r = sl_pack_check_part(job->pack, item->layer, item->i / SL_PACK_PARTS,
                                   item->i % SL_PACK_PARTS, stored, item->dst);
        if (r < 0)
            mark_failed(job, i);
    }
}

static int say_damaged(const struct job *job, const struct item *item, struct sl_diag *diag)
{
    static const char *const names[SL_PACK_PARTS] = { "gate", "up", "down" };
    const char *path = sl_mapping_path_tail(sl_mapping_path(sl_pack_mapping(job->pack)));
    const struct sl_gguf_tensor *t;

    if (item->layer != SHARED)
        return sl_diag_set(diag, -EBADMSG, "%s: byte %" PRIu64 ": layer %" PRIu32 ", expert %"
                           PRIu32 ", %s: the file is damaged", path, item->off, item->layer,
                           item->i / SL_PACK_PARTS, names[item->i % SL_PACK_PARTS]);
    t = sl_gguf_tensor_at(sl_pack_gguf(job->pack), item->i);
    return sl_diag_set(diag, -EBADMSG, "%s: byte %" PRIu64 ": tensor %.*s: the file is damaged",
                       path, item->off, (int)t->name.len, t->name.ptr);
}

/* Give the pages of a range back; they may stay, it is only kinder. */
static void drop(struct sl_mapping *map, uint64_t off, uint64_t bytes)
{
    uint64_t begin = sl_align_up(off, SL_PACK_ALIGN);
    uint64_t end = (off + bytes) & ~(uint64_t)(SL_PACK_ALIGN - 1);

    if (begin >= end)
        return;
    (void)madvise((void *)(sl_mapping_data(map) + begin), end - begin, MADV_DONTNEED);
    (void)posix_fadvise(sl_mapping_fd(map), (off_t)begin, (off_t)(end - begin),
                        POSIX_FADV_DONTNEED);
}

/* Items [begin, job->end), which follow each other in the file. */
static int run_group(struct job *job, uint32_t begin, struct sl_pool *pool, struct sl_diag *diag)
{
    struct sl_mapping *map = sl_pack_mapping(job->pack);
    const struct item *first = &job->items[begin], *last = &job->items[job->end - 1];
    uint64_t bytes = last->off + last->bytes - first->off;
    uint64_t bad_off;
    unsigned failed;
    int r = sl_mapping_warm(map, first->off, bytes, READ_THREADS, NULL, NULL, diag);

    if (r < 0)
        return r;
    atomic_store_explicit(&job->next, begin, memory_order_relaxed);
    if (pool)
        sl_pool_run(pool, work, job);
    else
        work(job, 0, 1);
    if (first->dst)
        drop(map, first->off, bytes);
    bad_off = sl_mapping_bad_off(map);
    if (bad_off != UINT64_MAX)
        return sl_diag_set(diag, -EIO, "%s: cannot read at offset %" PRIu64
                           "; was the file changed while in use?",
                           sl_mapping_path_tail(sl_mapping_path(map)), bad_off);
    failed = atomic_load_explicit(&job->failed, memory_order_relaxed);
    return failed == UINT32_MAX ? 0 : say_damaged(job, &job->items[failed], diag);
}

static int run_all(struct job *job, uint32_t n, struct sl_pool *pool,
                   int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                   struct sl_diag *diag)
{
    uint64_t total = 0, done = 0;

    for (uint32_t i = 0; i < n; i++)
        total += job->items[i].bytes;
    for (uint32_t begin = 0; begin < n; begin = job->end) {
        uint64_t group = 0;
        int r;

        for (job->end = begin; job->end < n && group < GROUP_BYTES; job->end++)
            group += job->items[job->end].bytes;
        r = run_group(job, begin, pool, diag);
        if (r < 0)
            return r;
        done += group;
        if (progress && progress(arg, done, total))
            return sl_diag_set(diag, -ECANCELED, "stopped");
    }
    return 0;
}

static int list_and_run(struct sl_pack *pack, uint32_t what, uint8_t *memory, bool load,
                        struct sl_pool *pool,
                        int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                        struct sl_diag *diag)
{
    struct job job = { .pack = pack, .data = sl_mapping_data(sl_pack_mapping(pack)) };
    uint32_t n = list_items(pack, what, memory, load, NULL);
    struct item *items = calloc((size_t)n + 1, sizeof(*items));
    int r = sl_pack_prepare(pack, pool ? sl_pool_n_workers(pool) : 1);

    if (!items || r < 0) {
        r = sl_diag_set(diag, -ENOMEM, "not enough memory to read a pack");
        goto done;
    }
    (void)list_items(pack, what, memory, load, items);
    job.items = items;
    atomic_init(&job.next, 0);
    atomic_init(&job.failed, UINT32_MAX);
    r = run_all(&job, n, pool, progress, arg, diag);
    for (uint32_t i = 0; i < n && r == 0 && load; i++) {
        const struct item *item = &items[i];

        if (item->layer == SHARED)
            sl_gguf_set_data(sl_pack_gguf(pack), item->i, item->dst, UINT64_MAX);
        else if (item->i < SL_PACK_PARTS) /* of expert 0: the stack begins there */
            sl_gguf_set_data(sl_pack_gguf(pack),
                             sl_pack_layer_find(pack, item->layer)->tensors[item->i], item->dst,
                             UINT64_MAX);
    }
done:
    free(items);
    return r;
}

int sl_pack_load(struct sl_pack *pack, uint32_t what, struct sl_pool *pool,
                 int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                 struct sl_diag *diag)
{
    uint64_t bytes = sl_pack_load_bytes(pack, what);
    void *memory;
    int r;

    if (sl_pack_is_headless(pack))
        return sl_diag_set(diag, -EINVAL, "a pack opened headless cannot be loaded");
    if (bytes == 0)
        return 0;
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return sl_diag_set(diag, -ENOMEM, "not enough memory: the weights of %s take %" PRIu64
                           " MiB", sl_mapping_path_tail(sl_mapping_path(sl_pack_mapping(pack))),
                           bytes >> 20);
    (void)madvise(memory, bytes, MADV_HUGEPAGE); /* where the system can */
    r = list_and_run(pack, what, memory, true, pool, progress, arg, diag);
    if (r < 0) {
        (void)munmap(memory, bytes); /* ours: cannot fail */
        return r;
    }
    sl_pack_keep(pack, memory, bytes);
    return 0;
}

int sl_pack_verify(struct sl_pack *pack, uint32_t what, struct sl_pool *pool,
                   int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                   struct sl_diag *diag)
{
    if (sl_pack_is_headless(pack))
        return sl_diag_set(diag, -EINVAL, "a pack opened headless cannot be verified");
    return list_and_run(pack, what, NULL, false, pool, progress, arg, diag);
}
