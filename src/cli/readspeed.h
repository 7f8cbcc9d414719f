/*
 * How fast worker threads read memory: a plain loop over huge pages and, with a model's own
 * threads, over its largest file's mapping. Decoding reads weights, so this is what bounds
 * it. Main thread, between steps.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sluice.h"

struct sl_readspeed {
    struct sl_pool *pool;   /* borrowed, as gguf */
    const struct sl_gguf *gguf; /* NULL: no model */
    const uint64_t *mapped; /* NULL: experts are not used in the mapping */
    uint64_t mapped_bytes;
    uint64_t *huge; /* owned */
    size_t bytes;   /* read at a time, and of huge */
    void *shares;   /* owned; a line for each worker */
};

/*
 * How many bytes to read at a time: enough that memory and not a cache gives them; a part of
 * what there is. They are taken out of the budget *ram_bytes, if it is one, so that the
 * process stays within it.
 */
size_t sl_readspeed_bytes(uint64_t *ram_bytes);

/* Where a model could not be opened in a budget: say to stderr if bytes were taken out of it. */
void sl_readspeed_explain(size_t bytes, uint64_t ram_bytes);

/* The largest of a model's files: the first may hold no weights. Borrowed. */
struct sl_mapping *sl_readspeed_file(const struct sluice_model *model);

/* Takes bytes of memory, at least a MiB, as huge pages if the system gives them; there is no
 * mapping. -ENOMEM. pool is borrowed. */
int sl_readspeed_init(struct sl_readspeed *rs, struct sl_pool *pool, size_t bytes);

/* With a model's threads and its mapping, and no more bytes than it has weights. */
int sl_readspeed_init_model(struct sl_readspeed *rs, const struct sluice_model *model,
                            size_t bytes);
void sl_readspeed_done(struct sl_readspeed *rs); /* all zeroes are allowed */

/* Touch all of the mappings, so that neither the loop nor decoding meets a page for the first
 * time while it is timed: that costs ten times as much. Ends early after Ctrl-C. */
void sl_readspeed_touch(struct sl_readspeed *rs);

/* Bytes per second of one pass. 0: there is no mapping to read. */
double sl_readspeed_mapped(struct sl_readspeed *rs);
double sl_readspeed_huge(struct sl_readspeed *rs);
