/*
 * Every matrix is a piece of a tensor of the file (q, k and v may be pieces of one). The
 * tensors are read whole, each in its enclosing aligned range, one behind the other into
 * one region; then the views are moved by the distance that their tensor was moved.
 */
#include "model/pinned.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "experts/topology.h"

#define SLICE_BYTES (2u << 20)
#define READS_MAX 16u
#define PROGRESS_BYTES (64ull << 20)

/* A tensor to be read. */
struct piece {
    const struct sl_gguf_tensor *t;
    uint32_t index; /* in the file */
    uint64_t off, bytes; /* aligned range in the file */
    uint64_t at;         /* of the range in the region */
};

struct pieces {
    struct piece *list;
    uint32_t n;
    uint64_t bytes;
    struct sl_tensor **views;
    uint32_t n_views;
};

static bool holds(const struct sl_gguf_tensor *t, const void *data)
{
    const uint8_t *at = data;

    return t->data && at >= t->data && at < t->data + t->bytes;
}

static struct piece *find_piece(const struct pieces *p, const void *data)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (holds(p->list[i].t, data))
            return &p->list[i];
    return NULL;
}

static void list_pieces(struct pieces *p, const struct sl_gguf *gguf, uint32_t align)
{
    for (uint32_t i = 0; i < p->n_views; i++) {
        if (find_piece(p, p->views[i]->data))
            continue;
        for (uint32_t j = 0; j < sl_gguf_n_tensors(gguf); j++) {
            const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, j);
            struct piece *piece = &p->list[p->n];

            /* those without an offset lie in memory already: decoded from a pack */
            if (!holds(t, p->views[i]->data) || t->file_off == UINT64_MAX)
                continue;
            *piece = (struct piece){ .t = t, .index = j, .at = p->bytes,
                                     .off = t->file_off / align * align };
            piece->bytes = sl_align_up(t->file_off + t->bytes, align) - piece->off;
            p->bytes += piece->bytes;
            p->n++;
            break;
        }
    }
}

static int list_all(struct pieces *p, struct sl_weights *w, const struct sl_hparams *hp,
                    const struct sl_gguf *gguf, uint32_t align)
{
    *p = (struct pieces){ 0 };
    p->list = calloc(sl_gguf_n_tensors(gguf) + 1, sizeof(*p->list));
    p->views = calloc(2 + (size_t)SL_SHARED_PER_LAYER * hp->n_layers, sizeof(struct sl_tensor *));
    if (!p->list || !p->views)
        return -ENOMEM;
    p->n_views = sl_weights_list_shared(w, hp, p->views);
    list_pieces(p, gguf, align);
    return 0;
}

static void pieces_done(struct pieces *p)
{
    free(p->list);
    free(p->views);
}

uint64_t sl_pinned_measure(struct sl_weights *w, const struct sl_hparams *hp,
                           const struct sl_gguf *gguf, uint32_t align)
{
    struct pieces p;
    uint64_t bytes = 0;

    if (list_all(&p, w, hp, gguf, align) == 0)
        bytes = p.bytes;
    pieces_done(&p);
    return bytes;
}

static int reap(struct sl_reader *reader, uint64_t *done_bytes)
{
    struct sl_read_done done[READS_MAX];
    uint32_t n = sl_reader_reap(reader, true, done, READS_MAX);
    int r = 0;

    for (uint32_t i = 0; i < n; i++) {
        *done_bytes += done[i].tag;
        r = done[i].error ? done[i].error : r;
    }
    return r;
}

/* Read every piece to its place in base. */
static int read_pieces(const struct pieces *p, uint8_t *base, struct sl_reader *reader,
                       int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg)
{
    uint64_t done = 0, next_report = 0;
    int r = 0;

    for (uint32_t i = 0; i < p->n && r == 0; i++) {
        const struct piece *piece = &p->list[i];

        for (uint64_t at = 0; at < piece->bytes && r == 0; at += SLICE_BYTES) {
            uint64_t left = piece->bytes - at;
            struct sl_read read = {
                .off = piece->off + at,
                .buf = base + piece->at + at,
                .bytes = (uint32_t)(left < SLICE_BYTES ? left : SLICE_BYTES),
                .file = piece->t->split,
                .region = SL_READER_NO_REGION,
            };

            read.tag = read.bytes;
            while (r == 0 && (sl_reader_n_flying(reader) >= READS_MAX || !sl_reader_room(reader)))
                r = reap(reader, &done);
            if (r == 0)
                sl_reader_submit(reader, &read, 1);
            if (progress && done >= next_report) {
                next_report = done + PROGRESS_BYTES;
                if (progress(arg, done, p->bytes) != 0)
                    r = -ECANCELED;
            }
        }
    }
    while (sl_reader_n_flying(reader)) {
        int last = reap(reader, &done);

        r = r ? r : last;
    }
    if (progress && r == 0 && progress(arg, done, p->bytes) != 0)
        r = -ECANCELED;
    return r;
}

/* All or nothing counts: the region, and matrices that were decoded from a pack. */
static void lock(struct sl_pinned *pinned, const struct pieces *p)
{
    bool is_locked = !pinned->region.base ||
                     mlock(pinned->region.base, pinned->region.bytes) == 0;

    for (uint32_t i = 0; i < p->n_views; i++) {
        const struct sl_tensor *view = p->views[i];
        const uint8_t *data = view->data, *base = pinned->region.base;

        if (base && data >= base && data < base + pinned->region.bytes)
            continue;
        pinned->bytes += sl_tensor_mat_bytes(view);
        is_locked = is_locked && mlock(data, sl_tensor_mat_bytes(view)) == 0;
    }
    pinned->locked_bytes = is_locked ? pinned->bytes : 0;
}

int sl_pinned_load(struct sl_pinned *ret_pinned, struct sl_weights *w, const struct sl_hparams *hp,
                   const struct sl_gguf *gguf, struct sl_pack *pack, struct sl_reader *reader,
                   int32_t node_id,
                   int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                   struct sl_diag *diag)
{
    struct sl_pinned pinned = { .region = { .reader_region = SL_READER_NO_REGION } };
    struct pieces p;
    int r;

    r = list_all(&p, w, hp, gguf, sl_reader_alignment(reader));
    if (r < 0)
        goto done;
    r = p.bytes ? sl_region_map(&pinned.region, p.bytes, 1) : 0;
    if (r < 0) {
        sl_diag_set(diag, r, "the system refused %.0f MiB of memory for the shared weights",
                    (double)p.bytes / (1 << 20));
        goto done;
    }
    if (node_id >= 0 && pinned.region.base)
        pinned.place_error = sl_topology_prefer(node_id, pinned.region.base, pinned.region.bytes);
    r = read_pieces(&p, pinned.region.base, reader, progress, arg);
    if (r < 0) {
        sl_diag_set(diag, r, r == -ECANCELED ? "cancelled" : "cannot read the shared weights: %s",
                    sl_err_text(r));
        goto done;
    }
    for (uint32_t i = 0; i < p.n; i++) {
        const struct piece *piece = &p.list[i];
        uint8_t *data = pinned.region.base + piece->at + (piece->t->file_off - piece->off);

        r = pack ? sl_pack_check_tensor(pack, piece->index, data, data) : 0;
        if (r < 0) {
            sl_diag_set(diag, r, "tensor %.*s: the checksum does not match; the pack is damaged",
                        (int)piece->t->name.len, piece->t->name.ptr);
            goto done;
        }
        pinned.bytes += piece->t->bytes;
    }
    for (uint32_t i = 0; i < p.n_views; i++) {
        const struct piece *piece = find_piece(&p, p.views[i]->data);

        if (!piece)
            continue;
        p.views[i]->data = pinned.region.base + piece->at + (piece->t->file_off - piece->off) +
                           ((const uint8_t *)p.views[i]->data - piece->t->data);
    }
    lock(&pinned, &p);
    *ret_pinned = pinned;
    pinned.region.base = NULL;

done:
    pieces_done(&p);
    sl_region_unmap(&pinned.region, reader);
    return r;
}

void sl_pinned_done(struct sl_pinned *pinned)
{
    pinned->region.reader_region = SL_READER_NO_REGION;
    sl_region_unmap(&pinned->region, NULL);
    *pinned = (struct sl_pinned){ 0 };
}
