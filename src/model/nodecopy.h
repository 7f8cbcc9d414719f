/*
 * The shared weights once per NUMA node, so that each worker reads those of its own node:
 * copies of the model's matrices but for the embedding's, of which a token reads one row, and
 * views of them. Where the model's own lie on the first node already (pinned.h) that node
 * needs no copy. Called by engine.c, stream.c and workers.c; one thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "experts/nodeplan.h"
#include "experts/region.h"
#include "model/hparams.h"
#include "model/weights.h"

#define SL_NODECOPY_WHY_BYTES 160

struct sl_nodecopy {
    struct sl_weights weights; /* its views; only layers are its own, the rest is the model's */
    struct sl_region region;   /* not mapped: the model's own weights lie on this node */
    int32_t node_id;           /* as the system numbers it */
};

struct sl_nodecopies {
    struct sl_nodecopy *list; /* [n], owned */
    uint32_t n;               /* 0: all workers read the model's own */
    const struct sl_weights **of_worker; /* owned: what each worker reads; NULL if n is 0 */
    uint64_t bytes;           /* of memory beside the model's own weights */
    char why[SL_NODECOPY_WHY_BYTES]; /* why there are none on a machine with more nodes */
    bool is_refused;          /* the system did not do as planned: why tells */
};

/* Bytes of one copy, a multiple of 2 MiB. */
uint64_t sl_nodecopy_bytes(const struct sl_weights *weights, const struct sl_hparams *hp);

/*
 * Map memory on the node of each group of nodes (more than one); nothing is touched yet.
 * is_placed: the model's own weights will be those of the first node. Returns 0, or why it
 * cannot be had, -ENOMEM or what the system says to mbind: then there are no copies, and
 * ret_copies tells why.
 */
int sl_nodecopy_reserve(struct sl_nodecopies *ret_copies, const struct sl_weights *weights,
                        const struct sl_hparams *hp, const struct sl_nodeplan *nodes,
                        bool is_placed);

/* Once the model's own weights are there: copy them, each group of the pool its own. The
 * groups are those of nodes. 0 or -ENOMEM: there are no copies then. */
int sl_nodecopy_fill(struct sl_nodecopies *copies, const struct sl_weights *weights,
                     const struct sl_hparams *hp, const struct sl_nodeplan *nodes,
                     struct sl_pool *pool);

/* mlock them: all or none. True if they are locked; false too if there are none. */
bool sl_nodecopy_lock(const struct sl_nodecopies *copies);

/* For other workers than before: which copy each reads. One whose node has none, or that is
 * on any, reads the model's own. 0, or -ENOMEM: all is as before. */
int sl_nodecopy_assign(struct sl_nodecopies *copies, const struct sl_weights *weights,
                       const struct sl_nodeplan *nodes, uint32_t n_workers);

/* No copies, because of this: a line for people. */
__attribute__((format(printf, 2, 3)))
void sl_nodecopy_drop(struct sl_nodecopies *copies, const char *fmt, ...);

void sl_nodecopy_done(struct sl_nodecopies *copies); /* all zeroes are allowed */
