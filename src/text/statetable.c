/* States lie one behind the other and are found again by the hash of their items. */
#include "text/statetable.h"

#include "text/vector.h"

int sl_statetable_init(struct sl_statetable *t, uint32_t n_classes)
{
    t->n_classes = n_classes;
    t->n_states = SL_STATETABLE_FIRST;
    return sl_vector_grow_slots(&t->slots, &t->n_slots);
}

void sl_statetable_done(struct sl_statetable *t)
{
    free(t->states);
    free(t->items);
    free(t->steps);
    free(t->slots);
}

static void insert(struct sl_statetable *t, uint32_t state)
{
    uint32_t i = t->states[state].hash & (t->n_slots - 1);

    while (t->slots[i])
        i = (i + 1) & (t->n_slots - 1);
    t->slots[i] = state;
}

/* Room for one more state of n items. */
static int reserve(struct sl_statetable *t, uint32_t n)
{
    if ((t->n_states + 1) * (uint64_t)t->n_classes > SL_STATETABLE_STEPS_MAX ||
        t->n_items + n > SL_STATETABLE_ITEMS_MAX)
        return -E2BIG;
    if (t->n_states >= t->n_slots / 2) {
        if (sl_vector_grow_slots(&t->slots, &t->n_slots) < 0)
            return -ENOMEM;
        for (uint32_t i = SL_STATETABLE_FIRST; i < t->n_states; i++)
            insert(t, i);
    }
    if (sl_vector_grow(&t->states, &t->states_cap, t->n_states, 1) < 0 ||
        sl_vector_grow(&t->items, &t->items_cap, t->n_items, n) < 0 ||
        sl_vector_grow(&t->steps, &t->steps_cap, t->n_states * t->n_classes, t->n_classes) < 0)
        return -ENOMEM;
    return 0;
}

int64_t sl_statetable_intern(struct sl_statetable *t, const struct sl_item *items, uint32_t n,
                             bool is_done)
{
    uint32_t hash = sl_itemset_hash(items, n, is_done);
    int r;

    for (uint32_t i = hash & (t->n_slots - 1); t->slots[i]; i = (i + 1) & (t->n_slots - 1)) {
        const struct sl_state *other = &t->states[t->slots[i]];

        if (other->hash == hash && other->n == n && other->is_done == is_done &&
            (n == 0 || memcmp(t->items + other->item, items, n * sizeof(*items)) == 0))
            return t->slots[i];
    }
    r = reserve(t, n);
    if (r < 0)
        return r;
    t->states[t->n_states] = (struct sl_state){t->n_items, n, hash, is_done};
    for (uint32_t i = 0; i < n; i++)
        t->items[t->n_items++] = items[i];
    memset(t->steps + (size_t)t->n_states * t->n_classes, 0, t->n_classes * sizeof(*t->steps));
    insert(t, t->n_states);
    return t->n_states++;
}

bool sl_statetable_is_crowded(const struct sl_statetable *t)
{
    return (uint64_t)t->n_states * t->n_classes > SL_STATETABLE_STEPS_MAX / 2 ||
           t->n_items > SL_STATETABLE_ITEMS_MAX / 2;
}

void sl_statetable_clear(struct sl_statetable *t)
{
    t->n_states = SL_STATETABLE_FIRST;
    t->n_items = 0;
    memset(t->slots, 0, t->n_slots * sizeof(*t->slots));
}
