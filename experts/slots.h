/*
 * The slots of the expert cache as data: which lie where, which hold what, how a budget
 * becomes slots, and which to give up. No reads are started here; the transitions of a
 * slot's state are in cache.c. Internal to experts/. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "experts/cache.h"
#include "experts/region.h"

#define SL_SLOT_NONE UINT32_MAX
#define SL_SLOT_KINDS_MAX 8u
#define SL_REGIONS_MAX 1024u

enum sl_slot_state {
    SL_SLOT_EMPTY = 0, /* holds nothing */
    SL_SLOT_LOADING,   /* some part is not in memory yet */
    SL_SLOT_READY,     /* all parts are */
    SL_SLOT_DRAINING,  /* failed or given up with reads in flight; holds nothing any more */
};

/* Who began the reading. */
enum sl_slot_origin { SL_SLOT_DEMAND = 0, SL_SLOT_GUESS, SL_SLOT_FILL };

struct sl_slot {
    uint32_t layer, expert; /* unless EMPTY; DRAINING: what it was */
    uint32_t region;        /* SL_SLOT_NONE: no memory behind it now */
    enum sl_slot_state state;
    enum sl_slot_origin origin;
    bool is_pinned;     /* by a ticket */
    bool was_used;      /* since it was read */
    uint8_t parts;      /* in memory */
    uint8_t unchecked;  /* of these */
    uint16_t next_slice, n_slices, n_flying; /* slices in order of parts */
    uint16_t n_left[SL_PART_COUNT];          /* slices that have not landed */
    uint16_t n_again;    /* slices that may fail and are read again, see cacheload.c */
    int error;           /* a slice has failed, and a ticket is still out */
    uint64_t bytes_read; /* landed so far */
    uint64_t last_use;
};

/* How an expert of a layer lies in a slot: for each part a range that takes the stored
 * bytes with what an aligned read adds, or the decoded matrix. */
struct sl_slot_shape {
    uint64_t part_off[SL_PART_COUNT], part_room[SL_PART_COUNT];
    uint64_t bytes;
    uint32_t kind; /* shapes of one size are one kind */
};

struct sl_slots {
    /* set once */
    uint32_t n_layers, n_experts; /* most experts of a layer */
    uint32_t n_used;
    uint32_t n_kinds;
    uint64_t kind_bytes[SL_SLOT_KINDS_MAX];   /* of one slot, ascending */
    uint32_t kind_experts[SL_SLOT_KINDS_MAX]; /* experts of that size */
    struct sl_slot_shape *shapes;             /* [n_layers] */
    struct sl_reader *reader;                 /* borrowed */
    void (*place)(void *arg, void *base, uint64_t bytes);
    void *place_arg;
    /* now */
    bool is_one_kind; /* too small to divide: every slot is of the widest kind */
    uint32_t n_slots_max;
    uint32_t n_top; /* numbers from here on have no memory */
    struct sl_slot *slots; /* [n_slots_max] */
    uint32_t *map;         /* [n_layers][n_experts]: slot, or SL_SLOT_NONE */
    uint32_t *free_list;   /* [n_slots_max] EMPTY slots with memory, all kinds mixed */
    uint32_t n_free;
    struct sl_region *regions; /* [SL_REGIONS_MAX], holes have base NULL */
    uint64_t bytes;            /* mapped */
};

/* layers as for the cache, streaming. -ENOMEM. */
int sl_slots_init(struct sl_slots *slots, const struct sl_cache_layer *layers, uint32_t n_layers,
                  uint32_t n_used, struct sl_reader *reader);
/* No reads in flight. All zeroes are allowed. */
void sl_slots_done(struct sl_slots *slots);

/* Slots of each kind for so many bytes: the kinds' shares by bytes, no more than there
 * are experts. False if the widest kind alone would get fewer than n_used + 2. */
bool sl_slots_divide(const struct sl_slots *slots, uint64_t bytes, bool *ret_is_one_kind,
                     uint32_t ret_n[SL_SLOT_KINDS_MAX]);

/*
 * Bring regions to what the budget says. Before a region goes, its slots' contents are
 * dropped through drop(arg, slot), after which the slot must be EMPTY. 0 or -ENOMEM.
 */
int sl_slots_resize(struct sl_slots *slots, uint64_t bytes,
                    void (*drop)(void *arg, uint32_t slot), void *arg);

static inline uint32_t sl_slots_find(const struct sl_slots *s, uint32_t layer, uint32_t expert)
{
    return s->map[(uint64_t)layer * s->n_experts + expert];
}

/* Kind of slot that the layer's experts go to now. */
static inline uint32_t sl_slots_kind(const struct sl_slots *s, uint32_t layer)
{
    return s->is_one_kind ? s->n_kinds - 1 : s->shapes[layer].kind;
}

static inline uint8_t *sl_slots_base(const struct sl_slots *s, uint32_t slot)
{
    const struct sl_region *r = &s->regions[s->slots[slot].region];

    return r->base + (uint64_t)(slot - r->first_slot) * r->slot_bytes;
}

/* A free slot of the kind, taken off the list, or SL_SLOT_NONE. */
uint32_t sl_slots_take_free(struct sl_slots *slots, uint32_t kind);
bool sl_slots_has_free(const struct sl_slots *slots, uint32_t kind);
/* An EMPTY slot goes back to the list. */
void sl_slots_put_free(struct sl_slots *slots, uint32_t slot);

/* NULL, or which invariant at the top of cache.c is broken. */
const char *sl_slots_verify(const struct sl_slots *slots);
