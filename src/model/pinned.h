/*
 * Weights that every token uses, held in memory for good while experts are streamed:
 * read into anonymous memory on huge pages and locked there when allowed. Called by
 * src/model/stream.c. One thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "experts/region.h"
#include "loader/gguf.h"
#include "loader/pack.h"
#include "loader/reader.h"
#include "model/weights.h"

struct sl_pinned {
    struct sl_region region;
    uint64_t bytes;        /* of weights, those that were decoded from a pack included */
    uint64_t locked_bytes; /* bytes, or 0 */
    int place_error; /* why they are not on the node asked for, or 0 */
};

/* Bytes of memory that sl_pinned_load will take, alignment included. */
uint64_t sl_pinned_measure(struct sl_weights *weights, const struct sl_hparams *hp,
                           const struct sl_gguf *gguf, uint32_t align);

/*
 * Read all matrices but the experts' and let weights point to them. pack: NULL for a GGUF
 * file, otherwise checksums are checked. The reader's files are the parts of gguf in
 * order. node_id: the NUMA node that the memory shall be on, or -1: as this thread's policy
 * has it. progress as in sl_mapping_warm, or NULL. -ENOMEM, -EIO, -EBADMSG, -ECANCELED:
 * weights are as before.
 */
int sl_pinned_load(struct sl_pinned *ret_pinned, struct sl_weights *weights,
                   const struct sl_hparams *hp, const struct sl_gguf *gguf, struct sl_pack *pack,
                   struct sl_reader *reader, int32_t node_id,
                   int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                   struct sl_diag *diag);
void sl_pinned_done(struct sl_pinned *pinned); /* all zeroes are allowed */
