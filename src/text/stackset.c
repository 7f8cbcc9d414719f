/*
 * A set of stacks is a tree that branches from the top down, with equal parts shared: a
 * set is a sorted list of frames, each a top element and the set of what may lie beneath
 * it. Since tops within a list differ and lists are found again by hash, each set has
 * exactly one form (it is the smallest automaton that reads its stacks), so comparing
 * numbers compares sets. Two ways of nesting at each of n levels are 2^n stacks, but n
 * lists.
 *
 * Sets are made from the bottom up, so what lies beneath has a smaller number; collect()
 * renumbers in one pass in that order.
 *
 * A union goes down only where both lists have the same top. It remembers results in a
 * table that forgets; the recursion is as deep as the stacks, at most DEPTH_MAX.
 */
#include "text/stackset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/vector.h"

#define MEMO_SLOTS 1024u

struct sl_stackset_entry {
    uint32_t frame, n; /* first in frames, and how many */
    uint32_t hash, depth;
};

struct sl_stackset_memo {
    uint32_t a, b, both;
};

static uint32_t hash_frames(const struct sl_stackset_frame *frames, uint32_t n)
{
    uint64_t h = n;

    for (uint32_t i = 0; i < n; i++) {
        h = (h ^ frames[i].ret) * 0x9e3779b97f4a7c15u;
        h = (h ^ h >> 29 ^ frames[i].below) * 0xbf58476d1ce4e5b9u;
    }
    return (uint32_t)(h >> 32);
}

static void insert_slot(struct sl_stackset *s, uint32_t set)
{
    uint32_t i = s->sets[set].hash & (s->n_slots - 1);

    while (s->slots[i])
        i = (i + 1) & (s->n_slots - 1);
    s->slots[i] = set + 1;
}

static int grow_slots(struct sl_stackset *s)
{
    if (sl_vector_grow_slots(&s->slots, &s->n_slots) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->n_sets; i++)
        insert_slot(s, i);
    return 0;
}

/* The set of these sorted frames, which may lie in the scratch but not in frames. */
static int intern(struct sl_stackset *s, const struct sl_stackset_frame *frames, uint32_t n,
                  uint32_t *ret_set)
{
    uint32_t hash = hash_frames(frames, n), depth = 0;
    int r = 0;

    for (uint32_t i = hash & (s->n_slots - 1); s->slots[i]; i = (i + 1) & (s->n_slots - 1)) {
        const struct sl_stackset_entry *entry = &s->sets[s->slots[i] - 1];

        if (entry->hash == hash && entry->n == n &&
            memcmp(s->frames + entry->frame, frames, n * sizeof(*frames)) == 0) {
            *ret_set = s->slots[i] - 1;
            return 0;
        }
    }
    if (s->n_frames + n > SL_STACKSET_FRAMES_MAX)
        return -E2BIG;
    if (s->n_sets + 1 > s->n_slots / 2)
        r = grow_slots(s);
    if (r < 0 || sl_vector_grow(&s->frames, &s->frames_cap, s->n_frames, n) < 0 ||
        sl_vector_grow(&s->sets, &s->sets_cap, s->n_sets, 1) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t d = frames[i].ret == SL_STACKSET_NONE ? 0 : 1 + s->sets[frames[i].below].depth;

        depth = d > depth ? d : depth;
    }
    memcpy(s->frames + s->n_frames, frames, n * sizeof(*frames));
    s->sets[s->n_sets] = (struct sl_stackset_entry){s->n_frames, n, hash, depth};
    s->n_frames += n;
    insert_slot(s, s->n_sets);
    *ret_set = s->n_sets++;
    return 0;
}

int sl_stackset_init(struct sl_stackset *s)
{
    const struct sl_stackset_frame empty = {SL_STACKSET_NONE, SL_STACKSET_NONE};
    uint32_t bottom;

    s->work_max = UINT64_MAX;
    s->memo = calloc(MEMO_SLOTS, sizeof(*s->memo));
    if (!s->memo || grow_slots(s) < 0)
        return -ENOMEM;
    return intern(s, &empty, 1, &bottom);
}

void sl_stackset_done(struct sl_stackset *s)
{
    free(s->frames);
    free(s->sets);
    free(s->slots);
    free(s->memo);
    free(s->scratch);
}

const struct sl_stackset_frame *sl_stackset_frames(const struct sl_stackset *s, uint32_t set,
                                                   uint32_t *ret_n)
{
    *ret_n = s->sets[set].n;
    return s->frames + s->sets[set].frame;
}

uint32_t sl_stackset_depth(const struct sl_stackset *s, uint32_t set)
{
    return s->sets[set].depth;
}

int sl_stackset_push(struct sl_stackset *s, uint32_t set, uint32_t ret, uint32_t *ret_set)
{
    const struct sl_stackset_frame frame = {ret, set};

    return intern(s, &frame, 1, ret_set);
}

static int unite(struct sl_stackset *s, uint32_t a, uint32_t b, uint32_t *ret_set);

/* Append to the scratch the frames of both, those with the same top united. */
static int merge(struct sl_stackset *s, uint32_t a, uint32_t b)
{
    uint32_t i = s->sets[a].frame, i_end = i + s->sets[a].n;
    uint32_t j = s->sets[b].frame, j_end = j + s->sets[b].n;

    while (i < i_end || j < j_end) {
        bool take_a = i < i_end && (j == j_end || s->frames[i].ret <= s->frames[j].ret);
        bool take_b = j < j_end && (i == i_end || s->frames[j].ret <= s->frames[i].ret);
        struct sl_stackset_frame frame = s->frames[take_a ? i : j];

        if (++s->work > s->work_max)
            return -E2BIG;
        if (take_a && take_b && frame.ret != SL_STACKSET_NONE) {
            int r = unite(s, frame.below, s->frames[j].below, &frame.below);

            if (r < 0)
                return r;
        }
        if (sl_vector_grow(&s->scratch, &s->scratch_cap, s->n_scratch, 1) < 0)
            return -ENOMEM;
        s->scratch[s->n_scratch++] = frame;
        i += take_a;
        j += take_b;
    }
    return 0;
}

static int unite(struct sl_stackset *s, uint32_t a, uint32_t b, uint32_t *ret_set)
{
    const uint32_t start = s->n_scratch;
    struct sl_stackset_memo *memo;
    int r;

    if (a == b) {
        *ret_set = a;
        return 0;
    }
    if (a > b) {
        uint32_t t = a;

        a = b;
        b = t;
    }
    memo = &s->memo[(a * 0x9e3779b1u ^ b * 0x85ebca6bu) >> 16 & (MEMO_SLOTS - 1)];
    if (memo->a == a && memo->b == b) { /* never so in an empty slot, a < b */
        *ret_set = memo->both;
        return 0;
    }
    r = merge(s, a, b);
    if (r == 0)
        r = intern(s, s->scratch + start, s->n_scratch - start, ret_set);
    s->n_scratch = start;
    if (r == 0)
        *memo = (struct sl_stackset_memo){a, b, *ret_set};
    return r;
}

static int by_ret(const void *pa, const void *pb)
{
    const struct sl_stackset_frame *a = pa, *b = pb;

    return (a->ret > b->ret) - (a->ret < b->ret);
}

int sl_stackset_union(struct sl_stackset *s, const uint32_t *sets, uint32_t n, uint32_t *ret_set)
{
    const uint32_t start = s->n_scratch;
    uint32_t n_out = start;
    int r = 0;

    if (n <= 2)
        return unite(s, sets[0], sets[n - 1], ret_set);
    for (uint32_t i = 0; i < n; i++) {
        const struct sl_stackset_entry *entry = &s->sets[sets[i]];

        s->work += entry->n;
        if (s->work > s->work_max)
            r = -E2BIG;
        else if (sl_vector_grow(&s->scratch, &s->scratch_cap, s->n_scratch, entry->n) < 0)
            r = -ENOMEM;
        if (r < 0)
            goto done;
        memcpy(s->scratch + s->n_scratch, s->frames + entry->frame,
               entry->n * sizeof(*s->scratch));
        s->n_scratch += entry->n;
    }
    qsort(s->scratch + start, s->n_scratch - start, sizeof(*s->scratch), by_ret);
    for (uint32_t i = start; i < s->n_scratch && r == 0; i++) {
        struct sl_stackset_frame frame = s->scratch[i];

        if (n_out == start || s->scratch[n_out - 1].ret != frame.ret) {
            s->scratch[n_out++] = frame;
        } else if (frame.ret != SL_STACKSET_NONE) {
            r = unite(s, s->scratch[n_out - 1].below, frame.below, &frame.below);
            s->scratch[n_out - 1] = frame;
        }
    }
    if (r == 0)
        r = intern(s, s->scratch + start, n_out - start, ret_set);
done:
    s->n_scratch = start;
    return r;
}

/* Number the sets of s that are in keep or lie beneath them, from 1 in their order, 0 for the
 * others; and count their frames. */
static uint32_t number_sets(const struct sl_stackset *s, const uint32_t *keep, uint32_t n,
                            uint32_t *number, uint32_t *ret_n_frames)
{
    uint32_t n_sets = 0, n_frames = 0;

    number[SL_STACKSET_BOTTOM] = 1;
    for (uint32_t i = 0; i < n; i++)
        number[keep[i]] = 1;
    for (uint32_t set = s->n_sets; set-- > 1;)
        for (uint32_t i = 0; i < s->sets[set].n && number[set]; i++)
            if (s->frames[s->sets[set].frame + i].ret != SL_STACKSET_NONE)
                number[s->frames[s->sets[set].frame + i].below] = 1;
    for (uint32_t set = 0; set < s->n_sets; set++) {
        if (!number[set])
            continue;
        number[set] = ++n_sets;
        n_frames += s->sets[set].n;
    }
    *ret_n_frames = n_frames;
    return n_sets;
}

static int reserve(struct sl_stackset *s, uint32_t n_sets, uint32_t n_frames)
{
    if (sl_vector_grow(&s->frames, &s->frames_cap, 0, n_frames) < 0 ||
        sl_vector_grow(&s->sets, &s->sets_cap, 0, n_sets) < 0)
        return -ENOMEM;
    while (s->n_slots / 2 < n_sets)
        if (grow_slots(s) < 0)
            return -ENOMEM;
    return 0;
}

int sl_stackset_collect(struct sl_stackset *s, const struct sl_stackset *from, uint32_t *keep,
                        uint32_t n)
{
    const uint32_t n_from = from->n_sets;
    uint32_t *number = calloc(n_from, sizeof(*number));
    uint32_t n_sets, n_frames;
    int r;

    if (!number)
        return -ENOMEM;
    n_sets = number_sets(from, keep, n, number, &n_frames);
    r = reserve(s, n_sets, n_frames);
    if (r < 0) {
        free(number);
        return r;
    }
    s->n_sets = s->n_frames = 0;
    memset(s->slots, 0, s->n_slots * sizeof(*s->slots));
    memset(s->memo, 0, MEMO_SLOTS * sizeof(*s->memo));
    for (uint32_t set = 0; set < n_from; set++) {
        struct sl_stackset_entry entry = from->sets[set];

        if (!number[set])
            continue;
        for (uint32_t i = 0; i < entry.n; i++) {
            struct sl_stackset_frame frame = from->frames[entry.frame + i];

            if (frame.ret != SL_STACKSET_NONE)
                frame.below = number[frame.below] - 1;
            s->frames[s->n_frames + i] = frame;
        }
        entry.frame = s->n_frames;
        entry.hash = hash_frames(s->frames + entry.frame, entry.n);
        s->n_frames += entry.n;
        s->sets[s->n_sets] = entry;
        insert_slot(s, s->n_sets++);
    }
    for (uint32_t i = 0; i < n; i++)
        keep[i] = number[keep[i]] - 1;
    free(number);
    return 0;
}
