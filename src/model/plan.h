/*
 * Where the memory goes: a budget for the whole process, divided before anything is
 * allocated. Pure arithmetic over a model's shape, a session's options and a number of
 * bytes; needs no weights, so a file cut after its tensor table will do. Called by the
 * engine and by sluice plan.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/hparams.h"
#include "model/weights.h"
#include "sluice.h"

struct sl_plan_in {
    const struct sl_hparams *hp;
    const struct sl_weights *weights; /* shapes; data may be NULL */
    struct sluice_session_opts session; /* 0: default, for the residency chosen */
    uint32_t n_workers;
    uint32_t n_nodes;         /* NUMA nodes with workers (experts/nodeplan.h); 0: one */
    bool is_pack;             /* its shared weights are not placed on a node: some are decoded */
    uint32_t alignment;       /* of direct reads; 0: SL_READER_ALIGN */
    uint64_t ram_bytes;       /* as in sluice_model_opts */
    uint64_t available_bytes; /* what the system can give now (sl_memory_available) */
    enum sluice_residency residency;
    uint64_t weight_bytes;    /* of all tensors */
    uint64_t metadata_bytes;  /* of the file that are read besides weights: the vocabulary */
};

struct sl_plan {
    bool is_streaming;
    bool is_lowered;         /* the system has less than ram_bytes asked for */
    struct sluice_session_opts session; /* defaults filled in */
    uint64_t ram_bytes;      /* the bound: given, or what was found safe */
    uint64_t shared_bytes;   /* weights that every token uses: pinned when streaming */
    uint64_t expert_bytes;   /* all experts */
    uint64_t kv_bytes, scratch_bytes;
    uint64_t overhead_bytes; /* program, libraries, vocabulary, page tables, kernel memory */
    uint64_t cache_bytes;    /* streaming: for slots, a multiple of 2 MiB */
    uint64_t cache_all_bytes; /* as much holds all experts */
    uint32_t n_copies;       /* of the shared weights, one for each node; 0: one for all */
    uint64_t copy_bytes;     /* what they take beside the weights themselves */
    uint64_t slot_bytes_max; /* of the widest expert */
    uint64_t min_bytes;      /* the smallest ram_bytes that streams; 0: no experts */
    uint64_t resident_bytes; /* the ram_bytes from which on everything is resident */
};

/*
 * Copies of the shared weights for the nodes of a machine are made of what is left over: they
 * never shorten the context, and while streaming they are made only if the cache holds all
 * experts. (By arithmetic, not measured: with a copy a byte is read from the own node in
 * place of the nodes in turn, once per token: some 2 ps less where that makes 200 GB/s of
 * 140. A byte more of cache saves reading a sixteenth of a byte with 4 of 64 experts used:
 * 9 ps at 7 GB/s.)
 */

/* Default context when streaming, and when resident only because of it. */
#define SL_PLAN_CTX_STREAMING 8192u

/*
 * -ENOMEM: nothing works; the text says what is needed and found, and ends in
 * "smallest that works: --ram NM" with the number of MiB rounded up. -ENOTSUP: streaming
 * asked for a model without experts. -ERANGE, -EINVAL: bad session options.
 */
int sl_plan_make(struct sl_plan *ret_plan, const struct sl_plan_in *in, struct sl_diag *diag);

/* What auto leaves to others: of so much available. */
uint64_t sl_plan_headroom(uint64_t available_bytes);

/* Bytes of a slot for an expert of this layer: three matrices, each in the aligned range
 * that a direct read takes. The cache uses the same formula. */
uint64_t sl_plan_slot_bytes(const struct sl_layer *layer, uint32_t alignment);
