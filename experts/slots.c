/*
 * Budget to slots: each kind of expert (distinct size) gets its share of the budget by
 * bytes, so that all layers keep the same share of their experts. Where that would leave
 * a kind with hardly more slots than one layer needs at once, all slots are of the widest
 * kind, and any expert goes anywhere.
 *
 * Slots are numbered once for all: a region takes a run of numbers and leaves it when it
 * is given back. A number without memory has region SL_SLOT_NONE and is in no list.
 */
#include "experts/slots.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* A kind with fewer slots than this many layers' needs shares with all others. */
#define LAYERS_PER_KIND_MIN 4u

static void shape_layer(struct sl_slot_shape *shape, const struct sl_cache_layer *layer,
                        uint32_t align)
{
    uint64_t off = 0;

    for (uint32_t p = 0; p < SL_PART_COUNT; p++) {
        shape->part_off[p] = off;
        shape->part_room[p] = sl_align_up(sl_tensor_mat_bytes(&layer->mats[p]), align) + align;
        off += shape->part_room[p];
    }
    shape->bytes = off;
}

/* Kinds in ascending order of size. More sizes than kinds: the widest kind takes them. */
static void sort_kinds(struct sl_slots *s, const struct sl_cache_layer *layers)
{
    s->n_kinds = 0;
    for (;;) {
        uint64_t above = s->n_kinds ? s->kind_bytes[s->n_kinds - 1] : 0, next = UINT64_MAX;

        for (uint32_t i = 0; i < s->n_layers; i++)
            if (layers[i].mats[0].n_mats && s->shapes[i].bytes > above &&
                s->shapes[i].bytes < next)
                next = s->shapes[i].bytes;
        if (next == UINT64_MAX)
            break;
        if (s->n_kinds < SL_SLOT_KINDS_MAX)
            s->n_kinds++;
        s->kind_bytes[s->n_kinds - 1] = next;
    }
    for (uint32_t i = 0; i < s->n_layers; i++) {
        uint32_t kind = 0;

        if (!layers[i].mats[0].n_mats)
            continue;
        while (s->kind_bytes[kind] < s->shapes[i].bytes)
            kind++;
        s->shapes[i].kind = kind;
        s->kind_experts[kind] += layers[i].mats[0].n_mats;
    }
}

int sl_slots_init(struct sl_slots *s, const struct sl_cache_layer *layers, uint32_t n_layers,
                  uint32_t n_used, struct sl_reader *reader)
{
    uint64_t n_all = 0;

    *s = (struct sl_slots){ .n_layers = n_layers, .n_used = n_used, .reader = reader };
    s->shapes = calloc(n_layers, sizeof(*s->shapes));
    if (!s->shapes)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_layers; i++) {
        uint32_t n = layers[i].mats[0].n_mats;

        if (!n)
            continue;
        shape_layer(&s->shapes[i], &layers[i], sl_reader_alignment(reader));
        s->n_experts = n > s->n_experts ? n : s->n_experts;
        n_all += n;
    }
    sort_kinds(s, layers);
    /* a region that goes leaves a hole; twice the numbers are always enough */
    s->n_slots_max = (uint32_t)(2 * n_all + 2 * (n_used + 2));
    s->slots = calloc(s->n_slots_max, sizeof(*s->slots));
    s->free_list = calloc(s->n_slots_max, sizeof(*s->free_list));
    s->map = calloc((uint64_t)n_layers * s->n_experts, sizeof(*s->map));
    s->regions = calloc(SL_REGIONS_MAX, sizeof(*s->regions));
    if (!s->slots || !s->free_list || !s->map || !s->regions) {
        sl_slots_done(s);
        return -ENOMEM;
    }
    memset(s->map, 0xFF, sizeof(*s->map) * n_layers * s->n_experts);
    for (uint32_t i = 0; i < s->n_slots_max; i++)
        s->slots[i].region = SL_SLOT_NONE;
    return 0;
}

void sl_slots_done(struct sl_slots *s)
{
    for (uint32_t i = 0; s->regions && i < SL_REGIONS_MAX; i++)
        sl_region_unmap(&s->regions[i], s->reader);
    free(s->shapes);
    free(s->slots);
    free(s->free_list);
    free(s->map);
    free(s->regions);
    *s = (struct sl_slots){ 0 };
}

bool sl_slots_divide(const struct sl_slots *s, uint64_t bytes, bool *ret_is_one_kind,
                     uint32_t ret_n[SL_SLOT_KINDS_MAX])
{
    uint64_t all = 0, n_all = 0, widest = s->kind_bytes[s->n_kinds - 1];
    bool is_one_kind = false;

    for (uint32_t k = 0; k < s->n_kinds; k++) {
        all += s->kind_bytes[k] * s->kind_experts[k];
        n_all += s->kind_experts[k];
    }
    memset(ret_n, 0, sizeof(*ret_n) * SL_SLOT_KINDS_MAX);
    for (uint32_t k = 0; k < s->n_kinds; k++) {
        /* exact: rounding down by a hair would cost the smallest budget a slot */
        ret_n[k] = bytes < all ? (uint32_t)((unsigned __int128)bytes * s->kind_experts[k] / all)
                               : s->kind_experts[k];
        is_one_kind |= ret_n[k] < LAYERS_PER_KIND_MIN * (s->n_used + 2) &&
                       ret_n[k] < s->kind_experts[k] && s->n_kinds > 1;
    }
    if (is_one_kind) {
        memset(ret_n, 0, sizeof(*ret_n) * SL_SLOT_KINDS_MAX);
        ret_n[s->n_kinds - 1] = (uint32_t)(bytes / widest < n_all ? bytes / widest : n_all);
    }
    *ret_is_one_kind = is_one_kind;
    return ret_n[s->n_kinds - 1] >= s->n_used + 2 || bytes >= all;
}

static uint32_t n_slots_of(const struct sl_slots *s, uint32_t kind)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < SL_REGIONS_MAX; i++)
        if (s->regions[i].base && s->regions[i].kind == kind)
            n += s->regions[i].n_slots;
    return n;
}

/* After a change of regions: n_top, and the free list, in ascending order of slots from
 * its end, so that low regions are used first and high ones stay untouched as long as
 * possible. */
static void list_free(struct sl_slots *s)
{
    s->n_free = s->n_top = 0;
    for (uint32_t i = s->n_slots_max; i-- > 0;) {
        if (s->slots[i].region == SL_SLOT_NONE)
            continue;
        if (s->n_top == 0)
            s->n_top = i + 1;
        if (s->slots[i].state == SL_SLOT_EMPTY)
            s->free_list[s->n_free++] = i;
    }
}

static void give_back(struct sl_slots *s, uint32_t region,
                      void (*drop)(void *arg, uint32_t slot), void *arg)
{
    struct sl_region *r = &s->regions[region];

    for (uint32_t i = 0; i < r->n_slots; i++) {
        uint32_t slot = r->first_slot + i;

        if (s->slots[slot].state != SL_SLOT_EMPTY)
            drop(arg, slot);
        assert(s->slots[slot].state == SL_SLOT_EMPTY);
        s->slots[slot].region = SL_SLOT_NONE;
    }
    s->bytes -= r->bytes;
    sl_region_unmap(r, s->reader);
}

/* A run of n slot numbers without memory, or SL_SLOT_NONE. */
static uint32_t find_numbers(const struct sl_slots *s, uint32_t n)
{
    uint32_t n_run = 0;

    for (uint32_t i = 0; i < s->n_slots_max; i++) {
        n_run = s->slots[i].region == SL_SLOT_NONE ? n_run + 1 : 0;
        if (n_run == n)
            return i + 1 - n;
    }
    return SL_SLOT_NONE;
}

static int map_region(struct sl_slots *s, uint32_t kind, uint32_t n)
{
    uint32_t first = find_numbers(s, n), i = 0;
    int r;

    while (i < SL_REGIONS_MAX && s->regions[i].base)
        i++;
    if (i == SL_REGIONS_MAX || first == SL_SLOT_NONE)
        return -ENOMEM;
    r = sl_region_map(&s->regions[i], s->kind_bytes[kind], n);
    if (r < 0)
        return r;
    s->regions[i].kind = kind;
    s->regions[i].first_slot = first;
    s->bytes += s->regions[i].bytes;
    for (uint32_t j = first; j < first + n; j++)
        s->slots[j] = (struct sl_slot){ .region = i };
    return 0;
}

static void shrink(struct sl_slots *s, uint32_t kind, uint32_t n_want,
                   void (*drop)(void *arg, uint32_t slot), void *arg)
{
    uint32_t n = n_slots_of(s, kind);

    /* the last ones first: those that were mapped last hold the least */
    for (uint32_t i = SL_REGIONS_MAX; i-- > 0 && n > n_want;)
        if (s->regions[i].base && s->regions[i].kind == kind) {
            n -= s->regions[i].n_slots;
            give_back(s, i, drop, arg);
        }
}

static int grow(struct sl_slots *s, uint32_t kind, uint32_t n_want)
{
    uint32_t n = n_slots_of(s, kind), n_most = sl_region_slots_max(s->kind_bytes[kind]);

    while (n < n_want) {
        uint32_t n_more = n_want - n < n_most ? n_want - n : n_most;
        int r = map_region(s, kind, n_more);

        if (r < 0)
            return r;
        n += n_more;
    }
    return 0;
}

int sl_slots_resize(struct sl_slots *s, uint64_t bytes,
                    void (*drop)(void *arg, uint32_t slot), void *arg)
{
    uint32_t n_want[SL_SLOT_KINDS_MAX];
    bool is_one_kind;
    int r = 0;

    if (!sl_slots_divide(s, bytes, &is_one_kind, n_want))
        return -ENOMEM;
    for (uint32_t k = 0; k < s->n_kinds; k++)
        shrink(s, k, is_one_kind == s->is_one_kind ? n_want[k] : 0, drop, arg);
    s->is_one_kind = is_one_kind;
    for (uint32_t k = 0; k < s->n_kinds && r == 0; k++)
        r = grow(s, k, n_want[k]);
    list_free(s);
    return r;
}

/* Before its first read: pages that are not touched yet can be placed. */
static void use_region(const struct sl_slots *s, struct sl_region *region)
{
    if (region->reader_region != SL_READER_NO_REGION)
        return;
    if (s->place)
        s->place(s->place_arg, region->base, region->bytes);
    sl_region_use(region, s->reader);
}

uint32_t sl_slots_take_free(struct sl_slots *s, uint32_t kind)
{
    for (uint32_t i = s->n_free; i-- > 0;) {
        uint32_t slot = s->free_list[i];

        if (s->regions[s->slots[slot].region].kind != kind)
            continue;
        s->free_list[i] = s->free_list[--s->n_free];
        use_region(s, &s->regions[s->slots[slot].region]);
        return slot;
    }
    return SL_SLOT_NONE;
}

bool sl_slots_has_free(const struct sl_slots *s, uint32_t kind)
{
    for (uint32_t i = s->n_free; i-- > 0;)
        if (s->regions[s->slots[s->free_list[i]].region].kind == kind)
            return true;
    return false;
}

void sl_slots_put_free(struct sl_slots *s, uint32_t slot)
{
    assert(s->slots[slot].state == SL_SLOT_EMPTY);
    s->free_list[s->n_free++] = slot;
}

static const char *verify_slot(const struct sl_slots *s, uint32_t i)
{
    const struct sl_slot *slot = &s->slots[i];
    bool holds = slot->state == SL_SLOT_LOADING || slot->state == SL_SLOT_READY;
    uint32_t n_left = 0;

    for (uint32_t p = 0; p < SL_PART_COUNT; p++)
        n_left += slot->n_left[p];
    if (slot->region == SL_SLOT_NONE)
        return slot->state == SL_SLOT_EMPTY ? NULL : "3: a slot without memory is not EMPTY";
    if (!s->regions[slot->region].base || i < s->regions[slot->region].first_slot ||
        i - s->regions[slot->region].first_slot >= s->regions[slot->region].n_slots)
        return "3: a slot's region does not hold it";
    if (i >= s->n_top)
        return "3: a slot with memory beyond the last one";
    if (holds && sl_slots_find(s, slot->layer, slot->expert) != i)
        return "1: a slot is not in the map";
    if (holds && (slot->state == SL_SLOT_READY) != (slot->parts == SL_PARTS_ALL))
        return "3: READY without all parts, or LOADING with all";
    if (slot->state == SL_SLOT_READY && n_left)
        return "3: READY with slices left";
    if ((slot->state == SL_SLOT_READY || slot->state == SL_SLOT_EMPTY) && slot->n_flying)
        return "3: EMPTY or READY with reads in flight";
    if (slot->state == SL_SLOT_DRAINING && !slot->n_flying)
        return "3: DRAINING without reads in flight";
    if (slot->unchecked & ~slot->parts)
        return "3: a part is to be checked that is not there";
    return slot->is_pinned && !holds ? "4: a pinned slot holds nothing" : NULL;
}

const char *sl_slots_verify(const struct sl_slots *s)
{
    uint32_t n_free = 0, n_mapped = 0, n_held = 0;

    for (uint32_t i = 0; i < s->n_slots_max; i++) {
        const struct sl_slot *slot = &s->slots[i];
        const char *broken = verify_slot(s, i);

        if (broken)
            return broken;
        n_free += slot->region != SL_SLOT_NONE && slot->state == SL_SLOT_EMPTY;
        n_held += slot->state == SL_SLOT_LOADING || slot->state == SL_SLOT_READY;
    }
    for (uint32_t i = 0; i < s->n_free; i++) {
        uint32_t slot = s->free_list[i];

        if (s->slots[slot].region == SL_SLOT_NONE || s->slots[slot].state != SL_SLOT_EMPTY)
            return "5: the free list has a slot that is not free";
        for (uint32_t j = 0; j < i; j++)
            if (s->free_list[j] == slot)
                return "5: the free list has a slot twice";
    }
    for (uint32_t i = 0; i < s->n_layers * s->n_experts; i++)
        n_mapped += s->map[i] != SL_SLOT_NONE;
    if (n_free != s->n_free)
        return "5: a free slot is not in the list";
    return n_mapped == n_held ? NULL : "1: the map names a slot that does not hold it";
}
