/*
 * Sets of stacks: from where a rule was called the matcher may have come by many ways, and
 * each set of such ways is one number. Equal sets have equal numbers. Called by matcher.c.
 * One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SL_STACKSET_BOTTOM 0u        /* the set of the empty stack */
#define SL_STACKSET_NONE UINT32_MAX  /* no set */
#define SL_STACKSET_DEPTH_MAX 1000u
#define SL_STACKSET_FRAMES_MAX (1u << 21)

/* Stacks with ret on top and one of the set below beneath. */
struct sl_stackset_frame {
    uint32_t ret; /* a point; NONE: nothing, the empty stack */
    uint32_t below;
};

struct sl_stackset_entry;
struct sl_stackset_memo;

struct sl_stackset {
    struct sl_stackset_frame *frames; /* arrays owned */
    struct sl_stackset_entry *sets;
    uint32_t *slots; /* hash table of set numbers + 1 */
    struct sl_stackset_memo *memo;
    struct sl_stackset_frame *scratch;
    uint32_t n_frames, n_sets, n_slots, n_scratch;
    uint32_t frames_cap, sets_cap, scratch_cap;
    uint64_t work; /* frames looked at; the caller may reset it */
    uint64_t work_max; /* beyond, unions fail with -E2BIG */
};

/* stackset is zeroed by the caller; given to sl_stackset_done also after a failure. -ENOMEM. */
int sl_stackset_init(struct sl_stackset *s);
void sl_stackset_done(struct sl_stackset *s);

/* The frames of a set, sorted by ret, which are all different. Valid until a set is made. */
const struct sl_stackset_frame *sl_stackset_frames(const struct sl_stackset *s, uint32_t set,
                                                   uint32_t *ret_n);

/* Height of the highest stack; the empty one's is 0. */
uint32_t sl_stackset_depth(const struct sl_stackset *s, uint32_t set);

/* The set with ret pushed onto every stack; the stacks in any of n >= 1 sets. 0, -E2BIG (too
 * many frames, too much work), -ENOMEM. */
int sl_stackset_push(struct sl_stackset *s, uint32_t set, uint32_t ret, uint32_t *ret_set);
int sl_stackset_union(struct sl_stackset *s, const uint32_t *sets, uint32_t n, uint32_t *ret_set);

/* Make s hold nothing but the n sets of from in keep and what lies beneath them; keep gets the
 * new numbers. from may be s itself. 0, or -ENOMEM with the sets of both as they were. */
int sl_stackset_collect(struct sl_stackset *s, const struct sl_stackset *from, uint32_t *keep,
                        uint32_t n);
