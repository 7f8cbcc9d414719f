/*
 * Expert cache: the only way from (layer, expert) to the matrices, called by
 * src/model/moe.c. Resident, it answers at once with pointers into the file's mapping.
 * Streaming, it keeps a bounded set of experts in slots, reads what is missing, and
 * reads ahead what guesses name.
 *
 * One thread at a time, the step's leader, makes all calls but sl_cache_check; workers
 * only read views, and any thread may read what sl_cache_residency shows. Must be called
 * with no lock held.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "experts/counters.h"
#include "experts/evict.h"
#include "experts/predict.h"
#include "experts/residency.h"
#include "loader/reader.h"
#include "tensor/tensor.h"

/* The matrices of an expert, in order of use. Bits of ticket->parts: 1 << SL_PART_x. */
enum sl_part { SL_PART_GATE = 0, SL_PART_UP, SL_PART_DOWN, SL_PART_COUNT };
#define SL_PARTS_GATE_UP 3u
#define SL_PARTS_ALL 7u

/* Where a matrix lies in its file, as stored. */
struct sl_part_at {
    uint64_t off;
    uint32_t bytes;
    uint32_t file;
};

/* A layer's experts: stacks of n_mats matrices (data NULL when streaming); n_mats 0 for
 * layers without experts. */
struct sl_cache_layer {
    struct sl_tensor mats[SL_PART_COUNT];
    const struct sl_part_at *parts; /* streaming: [n_mats][SL_PART_COUNT], borrowed */
    const void *const *addresses;   /* resident, where a layer's matrices are no stack:
                                       [n_mats][SL_PART_COUNT], borrowed; or NULL */
};

/*
 * What must be done with a matrix after it was read: checking, decoding. Called by
 * workers, for several matrices at once. stored: the bytes as they lie in the file;
 * ret_matrix: where the matrix must be afterwards, room for mat_bytes. When nothing is
 * encoded both are the same address; otherwise the stored bytes lie at the end of the
 * same piece of memory, so that decoding from front to back in pieces never overwrites
 * what is still to be decoded. 0, or -EBADMSG.
 */
struct sl_part_check {
    int (*run)(void *arg, uint32_t layer, uint32_t expert, enum sl_part part,
               const uint8_t *stored, uint8_t *ret_matrix);
    void *arg;
};

struct sl_cache_opts {
    struct sl_reader *reader;    /* borrowed */
    /* Called for the memory of each new region, to place its pages; or NULL. */
    void (*place)(void *arg, void *base, uint64_t bytes);
    void *place_arg;
    struct sl_part_check check;  /* run NULL: none */
    enum sl_evict_policy policy;
    uint32_t n_used;             /* experts per token */
    bool guess;                  /* read ahead at all */
};

/* Views of one expert. Owned by the caller, must not move until the release. */
struct sl_ticket {
    struct sl_tensor mats[SL_PART_COUNT]; /* read only; valid where `parts` says so */
    uint32_t parts;     /* bit per matrix that is in memory */
    uint32_t unchecked; /* of these, the ones that sl_cache_check must be called for */
    uint32_t layer, expert;
    int error;          /* 0, -EIO, -EBADMSG */
    uint32_t slot;      /* the cache's, as is_open */
    bool is_open;       /* not released */
};

struct sl_cache;

/* layers [n_layers] are copied. Returns 0 or -ENOMEM. */
int sl_cache_new_resident(struct sl_cache **ret_cache, const struct sl_cache_layer *layers,
                          uint32_t n_layers);

/* Without slots at first: see sl_cache_set_budget. -ENOMEM. */
int sl_cache_new_streaming(struct sl_cache **ret_cache, const struct sl_cache_layer *layers,
                           uint32_t n_layers, const struct sl_cache_opts *opts);
void sl_cache_free(struct sl_cache *cache); /* waits for reads; NULL is allowed */

bool sl_cache_is_streaming(const struct sl_cache *cache);

/* As given, [n_layers]; borrowed. */
const struct sl_cache_layer *sl_cache_layers(const struct sl_cache *cache);

/*
 * Memory for slots, in bytes: regions are mapped, or given back whole (what is read into
 * them is waited for). Between steps, with no ticket out. Returns 0; -ENOMEM: fewer than
 * n_used + 2 slots of the widest kind would fit (nothing changed), or the system
 * refuses (what was mapped stays).
 */
int sl_cache_set_budget(struct sl_cache *cache, uint64_t bytes);

/* Bytes of one slot for the widest expert: the smallest budget is (n_used + 2) of these.
 * All experts together, each in a slot: from this budget on nothing is ever evicted. */
uint64_t sl_cache_slot_bytes_max(const struct sl_cache *cache);
uint64_t sl_cache_budget_all(const struct sl_cache *cache);

/*
 * Ask for n experts of a layer, in the order in which they are wanted; one request at a
 * time. What is in memory is pinned and stands in ticket->parts at once; reads of the
 * rest are submitted, gates and ups before downs; never blocks. Asking may be for more
 * experts than there are slots: the rest is read as tickets are released.
 */
void sl_cache_request(struct sl_cache *cache, uint32_t layer, const uint32_t *experts,
                      uint32_t n, struct sl_ticket *tickets);

/*
 * Wait until at least one more part of the request is in memory or has failed. Returns
 * at once if nothing is missing, or if what is missing can only be read after a release.
 * Returns 0 or the first error of a ticket. Tickets change in here and in request only.
 */
int sl_cache_wait(struct sl_cache *cache);

/* Take note of what has landed and go on reading ahead. Cheap; never blocks. */
void sl_cache_poll(struct sl_cache *cache);

/* Check or decode a part in ticket->unchecked; any worker, each part once. The leader
 * clears the bit and sets ticket->error afterwards. 0 or -EBADMSG. */
int sl_cache_check(struct sl_cache *cache, struct sl_ticket *ticket, enum sl_part part);
void sl_cache_checked(struct sl_cache *cache, struct sl_ticket *ticket, enum sl_part part,
                      int result);

/* Unpin; the views are dead. A ticket that is still being read is given up. */
void sl_cache_release(struct sl_cache *cache, struct sl_ticket *ticket);

/* A token chose experts of a layer: for eviction (see sl_evict_observe). */
void sl_cache_observe(struct sl_cache *cache, uint32_t layer, const uint32_t *experts,
                      uint32_t n_used, const int8_t *ranks);

/* A step of n_tok tokens chose n experts of a layer, counts[i] of its tokens the i-th: for
 * onlookers alone. */
void sl_cache_note(struct sl_cache *cache, uint32_t layer, const uint32_t *experts,
                   const uint32_t *counts, uint32_t n, uint32_t n_tok);

/* For onlookers, by any thread, valid until the cache is freed. */
const struct sl_residency *sl_cache_residency(const struct sl_cache *cache);

/* Probabilities, [n_experts], that the next token chooses each expert of the layer, from
 * the past alone; for sl_predict_guess. NULL unless streaming. */
const float *sl_cache_chances(const struct sl_cache *cache, uint32_t layer);

/*
 * Experts that will probably be asked for. Read when the disk has nothing better to do,
 * likeliest and soonest first; dropped when their layer has been asked for. Replaces
 * earlier guesses of the same layers.
 */
void sl_cache_hint(struct sl_cache *cache, const struct sl_guess *guesses, uint32_t n);

/* Share of the requests of the last few hundred that were not simply hits, 0..1. */
float sl_cache_miss_share(const struct sl_cache *cache);

/* Fill free slots in order of value, when the disk is idle (a warm start). Ends by
 * itself when none is free or nothing of value is left. */
void sl_cache_fill(struct sl_cache *cache);

/* The values behind eviction: to seed them from a profile and to save one. */
struct sl_evict *sl_cache_evict(struct sl_cache *cache);

void sl_cache_get_counters(const struct sl_cache *cache, struct sl_cache_counters *ret_counters);

/*
 * What happens, in program order, for traces and tests. First the calls, each at its
 * beginning, then what follows from them; the consequences depend on the calls and on
 * what each reap returned, on nothing else. Pointers are valid during the callback.
 */
enum sl_cache_event_kind {
    /* calls */
    SL_CACHE_EVENT_BUDGET,  /* value: bytes, as asked for */
    SL_CACHE_EVENT_FILL,
    SL_CACHE_EVENT_ASK,     /* layer; experts: n of them */
    SL_CACHE_EVENT_WAIT,
    SL_CACHE_EVENT_POLL,
    SL_CACHE_EVENT_RELEASE, /* layer, expert */
    SL_CACHE_EVENT_OBSERVE, /* layer; experts: n chosen; ranks as sl_evict_rank, or NULL */
    SL_CACHE_EVENT_HINT,    /* guesses: n of them */
    /* what the reader said */
    SL_CACHE_EVENT_REAP,    /* value: reads reaped by this call, in the order of REAPED */
    SL_CACHE_EVENT_REAPED,  /* layer, expert; value: the read's tag; n: 1 if it failed */
    /* what followed */
    SL_CACHE_EVENT_REQUEST, /* layer, expert, one of ASK's; value: parts that were in memory */
    SL_CACHE_EVENT_READ,    /* layer, expert; reading begins; value: 1 if guessed, 2 to fill */
    SL_CACHE_EVENT_LANDED,  /* layer, expert; value: parts now in memory */
    SL_CACHE_EVENT_EVICT,   /* layer, expert; value: 1 if it was never used */
    SL_CACHE_EVENT_WAITED,  /* WAIT ends; value: nanoseconds */
};
struct sl_cache_event {
    enum sl_cache_event_kind kind;
    uint32_t layer, expert;
    uint64_t value;
    uint32_t n;
    const uint32_t *experts;
    const int8_t *ranks;
    const struct sl_guess *guesses;
};
typedef void (*sl_cache_event_fn)(void *arg, const struct sl_cache_event *event);
void sl_cache_set_event_fn(struct sl_cache *cache, sl_cache_event_fn fn, void *arg);

/* Check the invariants at the top of cache.c: NULL, or the one that is broken. For tests. */
const char *sl_cache_verify(const struct sl_cache *cache);
