/*
 * A copy is one region with the matrices one behind the other, each at a multiple of 64
 * bytes, in the order of sl_weights_list_shared; its views are the model's with other
 * addresses. The region's memory policy is set before a page is touched, so it does not
 * matter who fills it; a node's own workers do, since they write there fastest.
 */
#include "model/nodecopy.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"

#define MATRIX_ALIGN 64u
#define HUGE_BYTES (2ull << 20)
/* What a worker copies at a time. */
#define PIECE_BYTES (1u << 20)

/* The views to be copied, of the model and of a copy alike. */
struct views {
    struct sl_tensor **list; /* owned */
    uint32_t n;
};

static int list_views(struct views *ret_views, struct sl_weights *w, const struct sl_hparams *hp)
{
    struct views v = {
        .list = calloc(2 + (size_t)SL_SHARED_PER_LAYER * hp->n_layers, sizeof(v.list[0])),
    };

    if (!v.list)
        return -ENOMEM;
    v.n = sl_weights_list_shared(w, hp, v.list);
    /* the embedding's comes first; where it is the output matrix too, that is another view */
    v.n--;
    memmove(v.list, v.list + 1, v.n * sizeof(v.list[0]));
    *ret_views = v;
    return 0;
}

static uint64_t room_of(const struct sl_tensor *view)
{
    return sl_align_up(sl_tensor_mat_bytes(view), MATRIX_ALIGN);
}

uint64_t sl_nodecopy_bytes(const struct sl_weights *w, const struct sl_hparams *hp)
{
    struct sl_weights views_of = *w; /* only the addresses of its views are taken */
    struct sl_tensor *views[2 + SL_SHARED_PER_LAYER * SL_LAYERS_MAX];
    uint32_t n = sl_weights_list_shared(&views_of, hp, views);
    uint64_t bytes = 0;

    for (uint32_t i = 1; i < n; i++)
        bytes += room_of(views[i]);
    return sl_align_up(bytes, HUGE_BYTES);
}

/* The model's weights with layers of its own. */
static int clone(struct sl_weights *ret_w, const struct sl_weights *w, const struct sl_hparams *hp)
{
    struct sl_layer *layers = calloc(hp->n_layers, sizeof(*layers));

    if (!layers)
        return -ENOMEM;
    memcpy(layers, w->layers, sizeof(*layers) * hp->n_layers);
    *ret_w = *w;
    ret_w->layers = layers;
    return 0;
}

void sl_nodecopy_done(struct sl_nodecopies *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        free(c->list[i].weights.layers);
        c->list[i].region.reader_region = SL_READER_NO_REGION;
        sl_region_unmap(&c->list[i].region, NULL);
    }
    free(c->list);
    free(c->of_worker);
    *c = (struct sl_nodecopies){ .n = 0 };
}

void sl_nodecopy_drop(struct sl_nodecopies *c, const char *fmt, ...)
{
    va_list args;

    sl_nodecopy_done(c);
    va_start(args, fmt);
    (void)vsnprintf(c->why, sizeof(c->why), fmt, args); /* a cut line will do */
    va_end(args);
}

int sl_nodecopy_reserve(struct sl_nodecopies *ret_copies, const struct sl_weights *weights,
                        const struct sl_hparams *hp, const struct sl_nodeplan *nodes,
                        bool is_placed)
{
    uint64_t bytes = sl_nodecopy_bytes(weights, hp);
    struct sl_nodecopies c = { .list = calloc(nodes->n, sizeof(*c.list)) };
    int r = c.list ? 0 : -ENOMEM;

    if (r < 0)
        sl_nodecopy_drop(&c, "not enough memory");
    for (uint32_t i = 0; i < nodes->n && r == 0; i++) {
        struct sl_nodecopy *copy = &c.list[c.n++];

        copy->node_id = nodes->ids[i];
        if (i == 0 && is_placed)
            continue;
        r = sl_region_map(&copy->region, bytes, 1);
        if (r == 0)
            r = sl_topology_prefer(copy->node_id, copy->region.base, copy->region.bytes);
        c.bytes += copy->region.bytes;
        if (r < 0)
            sl_nodecopy_drop(&c, "the system refuses memory on node %d: %s", nodes->ids[i],
                             strerror(-r));
    }
    c.is_refused = r < 0;
    *ret_copies = c;
    return r;
}

struct fill {
    struct sl_pool *pool;
    const struct views *from;
    const struct sl_nodecopies *copies;
};

/* The workers of a group share out the pieces of all matrices of its copy. */
static void fill_copy(void *arg, uint32_t worker, uint32_t n_workers)
{
    const struct fill *f = arg;
    uint32_t group = sl_pool_group_of(f->pool, worker).index;
    uint8_t *base = f->copies->list[group].region.base;
    uint64_t first = 0, piece = sl_pool_take_in(f->pool, group, 1);

    (void)n_workers;
    for (uint32_t i = 0; i < f->from->n && base; i++) {
        const struct sl_tensor *view = f->from->list[i];
        uint64_t bytes = sl_tensor_mat_bytes(view);
        uint64_t n_pieces = (bytes + PIECE_BYTES - 1) / PIECE_BYTES;

        for (; piece < first + n_pieces; piece = sl_pool_take_in(f->pool, group, 1)) {
            uint64_t at = (piece - first) * PIECE_BYTES;
            uint64_t left = bytes - at;

            memcpy(base + at, (const uint8_t *)view->data + at,
                   left < PIECE_BYTES ? left : PIECE_BYTES);
        }
        first += n_pieces;
        base += room_of(view);
    }
}

static void move_views(const struct views *views, uint8_t *base)
{
    for (uint32_t i = 0; i < views->n; i++) {
        views->list[i]->data = base;
        base += room_of(views->list[i]);
    }
}

int sl_nodecopy_fill(struct sl_nodecopies *c, const struct sl_weights *weights,
                     const struct sl_hparams *hp, const struct sl_nodeplan *nodes,
                     struct sl_pool *pool)
{
    struct sl_weights own = *weights;
    struct views from = { .n = 0 };
    int r = list_views(&from, &own, hp);

    for (uint32_t i = 0; i < c->n && r == 0; i++) {
        struct sl_nodecopy *copy = &c->list[i];
        struct views to;

        r = clone(&copy->weights, weights, hp);
        if (r < 0 || !copy->region.base)
            continue;
        r = list_views(&to, &copy->weights, hp);
        if (r < 0)
            continue;
        move_views(&to, copy->region.base);
        free(to.list);
    }
    if (r == 0)
        r = sl_nodecopy_assign(c, weights, nodes, sl_pool_n_workers(pool));
    if (r == 0)
        sl_pool_run(pool, fill_copy, &(struct fill){ pool, &from, c });
    free(from.list);
    if (r < 0) {
        sl_nodecopy_drop(c, "not enough memory");
        c->is_refused = true;
    }
    return r;
}

bool sl_nodecopy_lock(const struct sl_nodecopies *c)
{
    bool is_locked = c->n > 0;

    for (uint32_t i = 0; i < c->n && is_locked; i++) {
        const struct sl_region *region = &c->list[i].region;

        is_locked = !region->base || mlock(region->base, region->bytes) == 0;
    }
    for (uint32_t i = 0; i < c->n && !is_locked; i++)
        if (c->list[i].region.base)
            (void)munlock(c->list[i].region.base, c->list[i].region.bytes);
    return is_locked;
}

int sl_nodecopy_assign(struct sl_nodecopies *c, const struct sl_weights *weights,
                       const struct sl_nodeplan *nodes, uint32_t n_workers)
{
    const struct sl_weights **of_worker = calloc(n_workers, sizeof(*of_worker));

    if (!of_worker)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_workers; i++) {
        of_worker[i] = weights;
        for (uint32_t k = 0; k < c->n; k++)
            if (c->list[k].node_id == nodes->ids[nodes->groups[i]])
                of_worker[i] = &c->list[k].weights;
    }
    free(c->of_worker);
    c->of_worker = of_worker;
    return 0;
}
