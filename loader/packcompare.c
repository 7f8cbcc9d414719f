/*
 * Whether a pack holds what the GGUF model holds: metadata and shapes one by one, then
 * every tensor and every matrix, decoded by all workers and compared with the source.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "loader/packwrite.h"

#define GROUP_BYTES (UINT64_C(64) << 20) /* between two reports of progress */
#define READ_THREADS 4u

struct compare {
    /* Set once, then read only. */
    const struct sl_gguf *gguf;
    struct sl_pack *pack;
    const uint8_t *data;
    uint8_t **bufs; /* for each worker: room for the largest decoded thing */
    uint64_t buf_bytes;
    uint32_t n_workers;
    /* Set before a run: shared tensors [next, end), or parts of a layer. */
    const struct sl_pack_layer *layer; /* NULL: shared tensors */
    uint32_t end;
    /* Atomic. */
    atomic_uint next;
    atomic_uint differs; /* the last tensor or part that does, or UINT32_MAX */
};

static bool is_equal_str(struct sl_gguf_str a, struct sl_gguf_str b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static int compare_meta(const struct sl_gguf *a, const struct sl_gguf *b, struct sl_diag *diag)
{
    if (sl_gguf_n_kv(a) != sl_gguf_n_kv(b) || sl_gguf_n_tensors(a) != sl_gguf_n_tensors(b))
        return sl_diag_set(diag, -EBADMSG, "it has another number of keys or tensors");
    for (uint32_t i = 0; i < sl_gguf_n_kv(a); i++) {
        const struct sl_gguf_kv *x = sl_gguf_kv_at(a, i), *y = sl_gguf_kv_at(b, i);

        if (!is_equal_str(x->key, y->key) || x->type != y->type || x->item_type != y->item_type ||
            x->n_items != y->n_items || x->bytes != y->bytes ||
            memcmp(x->data, y->data, x->bytes) != 0)
            return sl_diag_set(diag, -EBADMSG, "metadata key %.*s differs",
                               (int)(x->key.len < 64 ? x->key.len : 64), x->key.ptr);
    }
    for (uint32_t i = 0; i < sl_gguf_n_tensors(a); i++) {
        const struct sl_gguf_tensor *x = sl_gguf_tensor_at(a, i), *y = sl_gguf_tensor_at(b, i);

        if (!is_equal_str(x->name, y->name) || x->dtype != y->dtype || x->n_dims != y->n_dims ||
            memcmp(x->ne, y->ne, sizeof(x->ne)) != 0)
            return sl_diag_set(diag, -EBADMSG, "tensor %.*s has another type or shape",
                               (int)x->name.len, x->name.ptr);
    }
    return 0;
}

static bool is_equal_tensor(struct compare *c, uint32_t i, uint8_t *buf)
{
    const struct sl_gguf_tensor *t = sl_gguf_tensor_at(c->gguf, i);
    const struct sl_pack_tensor *p = sl_pack_tensor_at(c->pack, i);
    const uint8_t *stored = c->data + p->off;

    if (p->is_stack)
        return true; /* its matrices are compared one by one */
    if (p->kind == SL_ZBLOCK_PLAIN)
        buf = (uint8_t *)stored; /* then nothing is written */
    return sl_pack_check_tensor(c->pack, i, stored, buf) == 0 &&
           memcmp(buf, t->data, t->bytes) == 0;
}

static bool is_equal_part(struct compare *c, uint32_t k, uint8_t *buf)
{
    uint32_t expert = k / SL_PACK_PARTS, part = k % SL_PACK_PARTS;
    const struct sl_gguf_tensor *t = sl_gguf_tensor_at(c->gguf, c->layer->tensors[part]);
    const struct sl_pack_part *p = &c->layer->parts[k];
    uint64_t bytes = c->layer->mat_bytes[part];
    const uint8_t *stored = c->data + p->off;

    if (p->kind == SL_ZBLOCK_PLAIN)
        buf = (uint8_t *)stored; /* then nothing is written */
    return sl_pack_check_part(c->pack, c->layer->layer, expert, part, stored, buf) == 0 &&
           memcmp(buf, t->data + bytes * expert, bytes) == 0;
}

static void work(void *arg, uint32_t worker, uint32_t n_workers)
{
    struct compare *c = arg;

    (void)n_workers;
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&c->next, 1, memory_order_relaxed);

        if (i >= c->end)
            return;
        if (c->layer ? !is_equal_part(c, i, c->bufs[worker])
                     : !is_equal_tensor(c, i, c->bufs[worker]))
            atomic_store_explicit(&c->differs, i, memory_order_relaxed);
    }
}

static int run(struct compare *c, struct sl_pool *pool, uint32_t begin, uint32_t end,
               struct sl_diag *diag)
{
    const struct sl_gguf_tensor *t;
    uint64_t bad_off;
    uint32_t i;

    atomic_store_explicit(&c->next, begin, memory_order_relaxed);
    c->end = end;
    if (pool)
        sl_pool_run(pool, work, c);
    else
        work(c, 0, 1);
    bad_off = sl_mapping_bad_off(sl_pack_mapping(c->pack));
    if (bad_off != UINT64_MAX)
        return sl_diag_set(diag, -EIO, "cannot be read at offset %" PRIu64, bad_off);
    i = atomic_load_explicit(&c->differs, memory_order_relaxed);
    if (i == UINT32_MAX)
        return 0;
    if (c->layer)
        return sl_diag_set(diag, -EBADMSG, "layer %" PRIu32 ", expert %" PRIu32 " differs",
                           c->layer->layer, i / SL_PACK_PARTS);
    t = sl_gguf_tensor_at(c->gguf, i);
    return sl_diag_set(diag, -EBADMSG, "tensor %.*s differs", (int)t->name.len, t->name.ptr);
}

/* The index of the thing behind those from begin on that have GROUP_BYTES together. */
static uint32_t group_end(const struct compare *c, uint32_t begin, uint32_t n,
                          uint64_t *ret_off, uint64_t *ret_end, uint64_t *ret_bytes)
{
    uint64_t bytes = 0, off = UINT64_MAX, end = 0;
    uint32_t i;

    for (i = begin; i < n && bytes < GROUP_BYTES; i++) {
        const struct sl_pack_tensor *t = c->layer ? NULL : sl_pack_tensor_at(c->pack, i);
        uint64_t at = t ? t->off : c->layer->parts[i].off;
        uint64_t stored = t ? t->bytes : c->layer->parts[i].bytes;

        if (t && t->is_stack)
            continue;
        bytes += t ? sl_gguf_tensor_at(c->gguf, i)->bytes
                   : c->layer->mat_bytes[i % SL_PACK_PARTS];
        off = at < off ? at : off;
        end = at + stored;
    }
    *ret_off = off;
    *ret_end = end;
    *ret_bytes = bytes;
    return i;
}

/* Shared tensors, or one layer's parts. */
static int compare_list(struct compare *c, uint32_t n, const struct sl_packwrite_opts *opts,
                        uint64_t *done, uint64_t total, struct sl_diag *diag)
{
    for (uint32_t begin = 0, next; begin < n; begin = next) {
        uint64_t off, end, bytes;
        int r = 0;

        next = group_end(c, begin, n, &off, &end, &bytes);
        if (off < end)
            r = sl_mapping_warm(sl_pack_mapping(c->pack), off, end - off, READ_THREADS, NULL,
                                NULL, diag);
        if (r == 0)
            r = run(c, opts->pool, begin, next, diag);
        if (r < 0)
            return r;
        *done += bytes;
        if (opts->progress && opts->progress(opts->arg, *done, total))
            return sl_diag_set(diag, -ECANCELED, "stopped");
    }
    return 0;
}

static int compare_all(struct compare *c, const struct sl_packwrite_opts *opts,
                       struct sl_diag *diag)
{
    uint64_t done = 0, total = 0;
    int r;

    for (uint32_t i = 0; i < sl_gguf_n_tensors(c->gguf); i++)
        total += sl_gguf_tensor_at(c->gguf, i)->bytes;
    r = compare_list(c, sl_gguf_n_tensors(c->gguf), opts, &done, total, diag);
    for (uint32_t i = 0; i < sl_pack_n_layers(c->pack) && r == 0; i++) {
        c->layer = sl_pack_layer_at(c->pack, i);
        r = compare_list(c, c->layer->n_experts * SL_PACK_PARTS, opts, &done, total, diag);
    }
    return r;
}

static int make_bufs(struct compare *c)
{
    c->bufs = calloc(c->n_workers, sizeof(c->bufs[0]));
    if (!c->bufs)
        return -ENOMEM;
    for (uint32_t i = 0; i < sl_gguf_n_tensors(c->gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(c->gguf, i);
        bool is_stack = sl_pack_tensor_at(c->pack, i)->is_stack;
        uint64_t bytes = is_stack ? t->bytes / t->ne[2] : t->bytes;

        c->buf_bytes = bytes > c->buf_bytes ? bytes : c->buf_bytes;
    }
    for (uint32_t i = 0; i < c->n_workers && c->buf_bytes > 0; i++) {
        void *buf = mmap(NULL, c->buf_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (buf == MAP_FAILED)
            return -ENOMEM;
        c->bufs[i] = buf;
    }
    return 0;
}

int sl_packwrite_compare(const struct sl_gguf *gguf, struct sl_pack *pack,
                         const struct sl_packwrite_opts *opts, struct sl_diag *diag)
{
    struct compare c = {
        .gguf = gguf,
        .pack = pack,
        .data = sl_mapping_data(sl_pack_mapping(pack)),
        .n_workers = opts->pool ? sl_pool_n_workers(opts->pool) : 1,
    };
    int r = compare_meta(gguf, sl_pack_gguf(pack), diag);

    if (r < 0)
        return r;
    atomic_init(&c.next, 0);
    atomic_init(&c.differs, UINT32_MAX);
    r = make_bufs(&c);
    if (r == 0)
        r = sl_pack_prepare(pack, c.n_workers);
    if (r < 0)
        sl_diag_set(diag, r, "not enough memory to compare");
    else
        r = compare_all(&c, opts, diag);
    for (uint32_t i = 0; i < c.n_workers && c.bufs; i++)
        if (c.bufs[i])
            (void)munmap(c.bufs[i], c.buf_bytes); /* ours: cannot fail */
    free(c.bufs);
    return r;
}
