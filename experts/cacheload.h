/*
 * The inside of the expert cache: its state, and how an expert gets into a slot and out
 * of it again. Shared by cache.c, which answers requests, and cacheload.c, which starts
 * reads and takes note of what they brought. Internal to experts/. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "experts/cache.h"
#include "experts/prefetch.h"
#include "experts/residency.h"
#include "experts/slots.h"

/* With fewer reads in flight than this the disk counts as idle. */
#define SL_CACHE_FLYING_IDLE 2u

/* Reading ahead: one expert at a time of each. */
enum sl_cache_ahead { SL_CACHE_AHEAD_GUESS, SL_CACHE_AHEAD_FILL, SL_CACHE_AHEAD_COUNT };

/* The likeliest expert of a layer that is not in memory; chance 0: none worth reading. */
struct sl_cache_missing {
    uint32_t expert;
    float chance;
};

struct sl_cache {
    /* set once */
    uint32_t n_layers;
    struct sl_cache_layer *layers; /* [n_layers] */
    bool is_streaming;
    struct sl_cache_opts opts;
    sl_cache_event_fn event_fn;
    void *event_arg;
    /* owned by the leader */
    struct sl_slots slots;
    struct sl_evict *evict;
    struct sl_prefetch *prefetch;
    float *hint_p; /* [n_layers][n_experts] of guesses whose layer has not been asked for */
    struct sl_ticket *tickets; /* of the request at hand, while any of them is open */
    uint32_t n_tickets, n_open_tickets;
    uint32_t layer; /* last asked for */
    uint32_t ahead[SL_CACHE_AHEAD_COUNT]; /* slots with slices left to submit */
    struct sl_cache_missing *missing;     /* [n_layers] */
    uint32_t n_asked; /* experts of the request at hand */
    bool is_filling;
    uint64_t use_count;
    float miss_share; /* decayed over MISS_MEMORY requests */
    float behind_share; /* of layers, decayed, that were reached before all guesses were read */
    uint64_t read_start_ns; /* since when reads are in flight without a break */
    struct sl_cache_counters counters;
    /* written by the leader, read by any thread */
    struct sl_residency residency;
};

/* The aligned range of a part in its file, and where in the slot it goes. */
struct sl_cache_range {
    uint64_t off, bytes;
    uint8_t *buf;    /* of the range */
    uint8_t *stored; /* of the part's first byte */
    uint8_t *matrix; /* where it is used */
    uint32_t n_slices;
};

struct sl_cache_range sl_cacheload_range(const struct sl_cache *cache, uint32_t slot,
                                         uint32_t layer, uint32_t expert, uint32_t part);

/* To whoever listens, see sl_cache_set_event_fn. */
void sl_cacheload_tell(struct sl_cache *cache, const struct sl_cache_event *event);
void sl_cacheload_event(struct sl_cache *cache, enum sl_cache_event_kind kind, uint32_t layer,
                        uint32_t expert, uint64_t value);

/* What onlookers should see of a slot, and let them: after each change of its state or pin
 * while it holds something. */
enum sl_residency_state sl_cacheload_residency(const struct sl_slot *slot);
void sl_cacheload_show(struct sl_cache *cache, uint32_t slot);

/* Take note of completed reads; returns how many. */
uint32_t sl_cacheload_reap(struct sl_cache *cache, bool wait);

/* The slot's expert is forgotten; reads in flight are waited for in DRAINING. Not pinned. */
void sl_cacheload_empty(struct sl_cache *cache, uint32_t slot);

/* A layer is asked for: whether the disk has kept up with the guesses until now. */
void sl_cacheload_reached(struct sl_cache *cache);

/* The slot is not read ahead any more: given up, or demanded. */
void sl_cacheload_forget(struct sl_cache *cache, uint32_t slot);

/* Start what can be started: demands; when the disk would be idle guesses, then fillings. */
void sl_cacheload_pump(struct sl_cache *cache);
