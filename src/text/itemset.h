/*
 * Items: points of an automaton (rtn.h), each with the set of stacks (stackset.h) that
 * matching stands there with. Here: collections of them without repetition, and their hash.
 * Called by matcher.c and statetable.c. One thread at a time.
 */
#pragma once

#include <stdint.h>

struct sl_item {
    uint32_t point, set;
};

/* In order of coming. All zeroes: empty; arrays owned. */
struct sl_itemset {
    struct sl_item *items;
    uint32_t n, cap;
    uint32_t *slots; /* hash table of index + 1 */
    uint32_t n_slots;
};

/* Add an item, if it is not there. 0, or -ENOMEM with the set as it was. */
int sl_itemset_add(struct sl_itemset *set, struct sl_item item);

/* Forget all items, in time by their number and not by the table's size. */
void sl_itemset_clear(struct sl_itemset *set);
void sl_itemset_done(struct sl_itemset *set);

/* Of n items in this order, begun with start. */
uint32_t sl_itemset_hash(const struct sl_item *items, uint32_t n, uint32_t start);
