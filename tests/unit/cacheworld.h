/*
 * A cache over made files, and a second account of what it does, kept from its events
 * and from the reads it submits: world_verify compares the two. For the tests of the
 * cache. Failures end the cmocka test that runs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "experts/cache.h"
#include "fakereader.h"

#define WORLD_LAYERS_MAX 8u
#define WORLD_EXPERTS_MAX 16u

/* Bytes of matrices: gate and up, down; 0: a layer without experts. Multiples of 32. */
struct world_layer {
    uint32_t gate_bytes, down_bytes;
};

struct world_opts {
    uint32_t n_layers, n_experts, n_used;
    struct world_layer layers[WORLD_LAYERS_MAX];
    uint32_t alignment, depth;
    bool is_encoded; /* parts are stored with a tenth less, and must be decoded */
    bool is_checked; /* parts must be checked before use */
    bool guess;
    enum sl_evict_policy policy;
    void (*place)(void *arg, void *base, uint64_t bytes);
    void *place_arg;
};

/* What is known of an expert. */
struct world_expert {
    bool is_held; /* from the beginning of its reading until it is evicted */
    bool is_used;
    bool has_failed;
    uint32_t origin;     /* enum sl_slot_origin */
    uint32_t parts;      /* in memory */
    uint32_t generation; /* counts readings */
    uint32_t n_again;    /* slices that flew when a ticket came: may fail, and are read again */
    uint32_t n_repeats;  /* of them, to be submitted now */
    uint64_t submitted[SL_PART_COUNT];
    uint64_t landed;     /* bytes */
};

struct world_flight {
    uint64_t tag;
    uint32_t layer, expert, generation, origin;
    uint32_t part, bytes;
    bool is_dead, was_used; /* the slot was given up */
};

struct world {
    struct world_opts opts;
    struct sl_reader reader;
    struct sl_cache *cache;
    struct sl_cache_layer layers[WORLD_LAYERS_MAX];
    struct sl_part_at parts[WORLD_LAYERS_MAX][WORLD_EXPERTS_MAX][SL_PART_COUNT];
    struct world_expert experts[WORLD_LAYERS_MAX][WORLD_EXPERTS_MAX];
    struct world_flight flights[FAKE_DEPTH_MAX];
    uint32_t n_flights;
    struct sl_ticket tickets[WORLD_EXPERTS_MAX];
    uint32_t n_tickets;
    struct sl_cache_counters want; /* the fields that can be known */
    uint64_t budget;
    uint64_t digest;      /* of all events, without times */
    uint32_t spoil_check; /* the next so many checks find the bytes damaged */
    uint32_t n_waited;    /* ends of waits */
};

void world_open(struct world *w, const struct world_opts *opts);
void world_close(struct world *w); /* open tickets are released, reads land */

int world_set_budget(struct world *w, uint64_t bytes);
uint64_t world_least(const struct world *w); /* the smallest budget */
uint64_t world_budget_of(const struct world *w, uint32_t n_slots); /* of the widest kind */

/* Ask for experts; no ticket may be open. */
void world_request(struct world *w, uint32_t layer, const uint32_t *experts, uint32_t n);
/* Wait once; fails if that brought nothing though something could be read. */
int world_wait(struct world *w);
/* Check or decode what must be; -EBADMSG if some part is damaged. */
int world_check(struct world *w, struct sl_ticket *ticket);
/* Compare all views with the files, then release. */
void world_release(struct world *w, struct sl_ticket *ticket);
void world_release_all(struct world *w);
/* Request, wait until all is there, use, release; the first error. */
int world_use(struct world *w, uint32_t layer, const uint32_t *experts, uint32_t n);
void world_hint(struct world *w, uint32_t layer, uint32_t expert, float p);

bool world_has_open(const struct world *w);
bool world_is_whole(const struct sl_ticket *ticket);
bool world_is_ready(const struct world *w, uint32_t layer, uint32_t expert);
uint32_t world_n_ready(const struct world *w);
struct sl_cache_counters world_counters(const struct world *w);

/* All that must be true between calls. */
void world_verify(struct world *w);
