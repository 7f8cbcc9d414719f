/*
 * An array and a hash table over it. The table never shrinks, so it is emptied slot by slot:
 * after one step with many items the following ones would else pay for all of it.
 */
#include "text/itemset.h"

#include "text/vector.h"

uint32_t sl_itemset_hash(const struct sl_item *items, uint32_t n, uint32_t start)
{
    uint64_t h = start;

    for (uint32_t i = 0; i < n; i++) {
        h = (h ^ items[i].point) * 0x9e3779b97f4a7c15u;
        h = (h ^ h >> 29 ^ items[i].set) * 0xbf58476d1ce4e5b9u;
    }
    return (uint32_t)(h >> 32);
}

static uint32_t first_slot(const struct sl_itemset *set, const struct sl_item *item)
{
    return sl_itemset_hash(item, 1, 0) & (set->n_slots - 1);
}

static uint32_t next_slot(const struct sl_itemset *set, uint32_t slot)
{
    return (slot + 1) & (set->n_slots - 1);
}

static int grow(struct sl_itemset *set)
{
    if (sl_vector_grow_slots(&set->slots, &set->n_slots) < 0)
        return -ENOMEM;
    for (uint32_t k = 0; k < set->n; k++) {
        uint32_t slot = first_slot(set, &set->items[k]);

        while (set->slots[slot])
            slot = next_slot(set, slot);
        set->slots[slot] = k + 1;
    }
    return 0;
}

int sl_itemset_add(struct sl_itemset *set, struct sl_item item)
{
    uint32_t slot;

    if (set->n >= set->n_slots / 2 && grow(set) < 0)
        return -ENOMEM;
    for (slot = first_slot(set, &item); set->slots[slot]; slot = next_slot(set, slot)) {
        const struct sl_item *other = &set->items[set->slots[slot] - 1];

        if (other->point == item.point && other->set == item.set)
            return 0;
    }
    if (sl_vector_grow(&set->items, &set->cap, set->n, 1) < 0)
        return -ENOMEM;
    set->items[set->n++] = item;
    set->slots[slot] = set->n;
    return 0;
}

void sl_itemset_clear(struct sl_itemset *set)
{
    for (uint32_t k = 0; k < set->n; k++) {
        uint32_t slot = first_slot(set, &set->items[k]);

        while (set->slots[slot] != k + 1)
            slot = next_slot(set, slot);
        set->slots[slot] = 0;
    }
    set->n = 0;
}

void sl_itemset_done(struct sl_itemset *set)
{
    free(set->items);
    free(set->slots);
}
