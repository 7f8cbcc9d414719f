/*
 * The states of a matcher, which are sorted lists of items, and the steps between them that
 * are known. Equal lists are one state. Called by matcher.c. One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "text/itemset.h"

#define SL_STATETABLE_FIRST 2u           /* number of the first state; 0 unknown, 1 dead */
#define SL_STATETABLE_STEPS_MAX (1u << 22) /* places for steps */
#define SL_STATETABLE_ITEMS_MAX (1u << 21) /* of all states together */

struct sl_state {
    uint32_t item, n; /* first in items, and how many */
    uint32_t hash;
    bool is_done; /* the text may end here */
};

struct sl_statetable {
    struct sl_state *states; /* arrays owned; FIRST is the first that is used */
    struct sl_item *items;
    uint32_t *steps; /* state * n_classes + class: the state behind it, 0: not known */
    uint32_t *slots; /* hash table of state numbers */
    uint32_t n_states, n_items, n_slots, n_classes;
    uint32_t states_cap, items_cap, steps_cap;
};

/* table is zeroed by the caller; given to sl_statetable_done also after a failure. -ENOMEM. */
int sl_statetable_init(struct sl_statetable *table, uint32_t n_classes);
void sl_statetable_done(struct sl_statetable *table);

/* The number of the state of these sorted items, perhaps a new one without known steps.
 * -E2BIG (there are too many), -ENOMEM. */
int64_t sl_statetable_intern(struct sl_statetable *table, const struct sl_item *items, uint32_t n,
                             bool is_done);

/* Whether there are half as many as there may be. */
bool sl_statetable_is_crowded(const struct sl_statetable *table);

/* Forget all states. The room they had stays: one of them made anew cannot fail. */
void sl_statetable_clear(struct sl_statetable *table);
