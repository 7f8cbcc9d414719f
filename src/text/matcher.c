/*
 * The text read so far may have been read in several ways. Each way stands at a point of
 * the automaton (rtn.h) with a stack of points to return to; ways at the same point are
 * one item with a set of stacks (stackset.h). A state is the sorted list of the items that
 * can read something, and whether the text may end. Equal lists are one state (statetable.h),
 * and the step from a state by a symbol is computed once: as generation goes on a matcher
 * becomes a table. Symbols on the same edges of the automaton are one class.
 *
 * A step:
 *   1. every item goes along the edges that carry the symbol
 *   2. where a rule may end, to the points beneath (return), and so on; the empty stack
 *      means that the text may end
 *   3. where rules are called, into them: by rule, in the automaton's order, in which a
 *      rule is called only by earlier ones, so that each is entered once, with the set of
 *      all stacks of its callers
 * A rule that was just entered is not left in the same step: callers already go past rules
 * that can be empty.
 *
 * Work is bounded: 2 visits every pair of a point and a set of stacks at most once, 3
 * every rule; there is no recursion but that of set unions. The number of states is not
 * bounded by the grammar, so when there are many, begin() forgets all but the present one.
 *
 * In a JSON text a step known from before takes 2 ns, a new one about 0.3 us.
 */
#include "text/matcher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/itemset.h"
#include "text/rtn.h"
#include "text/stackset.h"
#include "text/statetable.h"
#include "text/vector.h"

#define WORK_MAX (1u << 23) /* looks at edges, calls, frames, per call; 10 ns each */
#define NONE UINT32_MAX

_Static_assert(SL_MATCHER_TOKEN == SL_NFA_TOKEN, "same symbols");
_Static_assert(SL_MATCHER_DEAD < SL_STATETABLE_FIRST, "no state of the table");

/* A call of a rule with these stacks. */
struct entry {
    uint32_t set;
    uint32_t next; /* call of the same rule, or NONE */
};

struct sl_matcher {
    const struct sl_grammar *grammar; /* borrowed, as is rtn */
    const struct sl_rtn *rtn;
    uint32_t present; /* state */
    uint64_t generation;
    struct sl_stackset sets;
    struct sl_statetable table;
    /* scratch of a step */
    struct sl_itemset reached; /* 1 and 2 */
    struct sl_item *out;
    uint32_t n_out, out_cap;
    struct entry *entries;
    uint32_t n_entries, entries_cap;
    uint32_t *entered; /* last of the entries, by rule, or NONE */
    uint32_t *heap;    /* rules to enter, least first */
    uint32_t n_heap;
    uint32_t *united; /* sets */
    uint32_t united_cap;
    bool is_done;
};

static int work(struct sl_matcher *m, uint32_t n)
{
    m->sets.work += n;
    return m->sets.work > WORK_MAX ? -E2BIG : 0;
}

static void heap_add(struct sl_matcher *m, uint32_t rule)
{
    uint32_t i = m->n_heap++;

    for (; i > 0 && m->heap[(i - 1) / 2] > rule; i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = rule;
}

static uint32_t heap_take(struct sl_matcher *m)
{
    uint32_t least = m->heap[0], last = m->heap[--m->n_heap], i = 0;

    for (uint32_t c; (c = 2 * i + 1) < m->n_heap; i = c) {
        if (c + 1 < m->n_heap && m->heap[c + 1] < m->heap[c])
            c++;
        if (m->heap[c] >= last)
            break;
        m->heap[i] = m->heap[c];
    }
    m->heap[i] = last;
    return least;
}

static int add_entry(struct sl_matcher *m, uint32_t rule, uint32_t set)
{
    if (sl_vector_grow(&m->entries, &m->entries_cap, m->n_entries, 1) < 0)
        return -ENOMEM;
    m->entries[m->n_entries] = (struct entry){set, m->entered[rule]};
    if (m->entered[rule] == NONE)
        heap_add(m, rule);
    m->entered[rule] = m->n_entries++;
    return 0;
}

/* Note the calls at a point, made with these stacks. */
static int call(struct sl_matcher *m, const struct sl_rtn_point *point, uint32_t set)
{
    int r = work(m, point->n_calls);

    for (uint32_t i = point->call; i < point->call + point->n_calls && r == 0; i++) {
        const struct sl_rtn_call *c = &m->rtn->calls[i];
        uint32_t stacks = set;

        if (c->ret != SL_RTN_TAIL) {
            if (sl_stackset_depth(&m->sets, set) == SL_STACKSET_DEPTH_MAX)
                continue;
            r = sl_stackset_push(&m->sets, set, c->ret, &stacks);
        }
        if (r == 0)
            r = add_entry(m, c->rule, stacks);
    }
    return r;
}

/* What stands at a point and can read something is part of the state. */
static int put_out(struct sl_matcher *m, uint32_t point, uint32_t set)
{
    if (m->rtn->points[point].n_edges == 0)
        return 0;
    if (sl_vector_grow(&m->out, &m->out_cap, m->n_out, 1) < 0)
        return -ENOMEM;
    m->out[m->n_out++] = (struct sl_item){point, set};
    return 0;
}

/* 2: from what was reached to what lies beneath, noting calls. */
static int return_all(struct sl_matcher *m)
{
    int r = 0;

    for (uint32_t i = 0; i < m->reached.n && r == 0; i++) { /* it grows meanwhile */
        struct sl_item item = m->reached.items[i];
        const struct sl_rtn_point *point = &m->rtn->points[item.point];
        const struct sl_stackset_frame *frames;
        uint32_t n;

        r = put_out(m, item.point, item.set);
        if (r == 0 && point->is_final) {
            frames = sl_stackset_frames(&m->sets, item.set, &n);
            r = work(m, n);
            for (uint32_t k = 0; k < n && r == 0; k++) {
                if (frames[k].ret == SL_STACKSET_NONE)
                    m->is_done = true;
                else
                    r = sl_itemset_add(&m->reached,
                                       (struct sl_item){frames[k].ret, frames[k].below});
            }
        }
        if (r == 0)
            r = call(m, point, item.set);
    }
    return r;
}

/* All stacks with which a rule was called. */
static int unite_entries(struct sl_matcher *m, uint32_t rule, uint32_t *ret_set)
{
    uint32_t n = 0;

    for (uint32_t i = m->entered[rule]; i != NONE; i = m->entries[i].next) {
        if (sl_vector_grow(&m->united, &m->united_cap, n, 1) < 0)
            return -ENOMEM;
        m->united[n++] = m->entries[i].set;
    }
    return sl_stackset_union(&m->sets, m->united, n, ret_set);
}

/* 3: into the rules that were called. */
static int enter_all(struct sl_matcher *m)
{
    int r = 0;

    while (m->n_heap > 0) { /* to the end also after a failure, to leave the scratch clean */
        uint32_t rule = heap_take(m), point = m->rtn->entries[rule], set;

        if (r == 0)
            r = unite_entries(m, rule, &set);
        m->entered[rule] = NONE;
        if (r == 0)
            r = put_out(m, point, set);
        if (r == 0)
            r = call(m, &m->rtn->points[point], set);
    }
    m->n_entries = 0;
    return r;
}

static int by_point(const void *pa, const void *pb)
{
    const struct sl_item *a = pa, *b = pb;

    return a->point != b->point ? (a->point > b->point ? 1 : -1)
                                : (a->set > b->set) - (a->set < b->set);
}

/* Sort what was put out; items at the same point become one. */
static int join_out(struct sl_matcher *m)
{
    uint32_t n_out = 0, n;

    if (m->n_out > 1)
        qsort(m->out, m->n_out, sizeof(*m->out), by_point);
    for (uint32_t i = 0; i < m->n_out; i += n) {
        struct sl_item item = m->out[i];
        int r;

        for (n = 0; i + n < m->n_out && m->out[i + n].point == item.point; n++) {
            if (sl_vector_grow(&m->united, &m->united_cap, n, 1) < 0)
                return -ENOMEM;
            m->united[n] = m->out[i + n].set;
        }
        r = sl_stackset_union(&m->sets, m->united, n, &item.set);
        if (r < 0)
            return r;
        m->out[n_out++] = item;
    }
    m->n_out = n_out;
    return 0;
}

/* The number of the state made of what was put out. */
static int64_t intern_state(struct sl_matcher *m)
{
    if (m->n_out == 0 && !m->is_done)
        return SL_MATCHER_DEAD;
    return sl_statetable_intern(&m->table, m->out, m->n_out, m->is_done);
}

/* 1: the items behind a symbol. */
static int follow_edges(struct sl_matcher *m, const struct sl_state *state, uint32_t symbol)
{
    for (uint32_t i = 0; i < state->n; i++) {
        struct sl_item item = m->table.items[state->item + i];
        const struct sl_rtn_point *point = &m->rtn->points[item.point];
        int r = work(m, point->n_edges);

        for (uint32_t e = point->edge; e < point->edge + point->n_edges && r == 0; e++) {
            const struct sl_rtn_edge *edge = &m->rtn->edges[e];

            if (edge->lo <= symbol && symbol <= edge->hi)
                r = sl_itemset_add(&m->reached, (struct sl_item){edge->target, item.set});
        }
        if (r < 0)
            return r;
    }
    return 0;
}

int64_t sl_matcher_step(struct sl_matcher *m, uint32_t state, uint32_t symbol)
{
    const uint32_t class = m->rtn->class_of[symbol];
    const size_t place = (size_t)state * m->rtn->n_classes + class;
    int r, r_enter;
    int64_t next;

    if (state == SL_MATCHER_DEAD || m->table.steps[place])
        return state == SL_MATCHER_DEAD ? SL_MATCHER_DEAD : m->table.steps[place];
    sl_itemset_clear(&m->reached);
    m->n_out = 0;
    m->is_done = false;
    r = follow_edges(m, &m->table.states[state], m->rtn->class_symbol[class]);
    if (r == 0)
        r = return_all(m);
    r_enter = enter_all(m);
    r = r < 0 ? r : r_enter;
    if (r == 0)
        r = join_out(m);
    next = r < 0 ? r : intern_state(m);
    if (next >= 0)
        m->table.steps[place] = (uint32_t)next;
    return next;
}

/* The state at the start of a text: its root was called. */
static int start(struct sl_matcher *m)
{
    int64_t state;
    int r;

    m->is_done = m->rtn->is_root_nullable;
    r = add_entry(m, m->rtn->root, SL_STACKSET_BOTTOM);
    if (r == 0)
        r = enter_all(m);
    if (r == 0)
        r = join_out(m);
    state = r < 0 ? r : intern_state(m);
    if (state >= 0)
        m->present = (uint32_t)state;
    return state < 0 ? (int)state : 0;
}

static int alloc(struct sl_matcher **ret_matcher, const struct sl_grammar *grammar)
{
    struct sl_matcher *m = calloc(1, sizeof(*m));

    *ret_matcher = m;
    if (!m)
        return -ENOMEM;
    m->grammar = grammar;
    m->rtn = sl_grammar_rtn(grammar);
    m->entered = malloc(m->rtn->n_rules * sizeof(*m->entered));
    m->heap = malloc(m->rtn->n_rules * sizeof(*m->heap));
    if (!m->entered || !m->heap || sl_stackset_init(&m->sets) < 0 ||
        sl_statetable_init(&m->table, m->rtn->n_classes) < 0)
        return -ENOMEM;
    m->sets.work_max = WORK_MAX;
    memset(m->entered, 0xFF, m->rtn->n_rules * sizeof(*m->entered));
    return 0;
}

int sl_matcher_new(struct sl_matcher **ret_matcher, const struct sl_grammar *grammar)
{
    struct sl_matcher *m;
    int r = alloc(&m, grammar);

    if (r == 0)
        r = start(m);
    if (r < 0) {
        sl_matcher_free(m);
        return r;
    }
    *ret_matcher = m;
    return 0;
}

void sl_matcher_free(struct sl_matcher *m)
{
    if (!m)
        return;
    sl_stackset_done(&m->sets);
    sl_statetable_done(&m->table);
    sl_itemset_done(&m->reached);
    free(m->out);
    free(m->entries);
    free(m->entered);
    free(m->heap);
    free(m->united);
    free(m);
}

/* Make a state the present one: 1; 0 if it is dead, or the error that it is. */
static int go_to(struct sl_matcher *m, int64_t state)
{
    if (state < 0)
        return (int)state;
    if (state == SL_MATCHER_DEAD)
        return 0;
    m->present = (uint32_t)state;
    return 1;
}

int sl_matcher_accept(struct sl_matcher *m, const char *bytes, size_t n)
{
    int64_t state = sl_matcher_begin(m);

    for (size_t i = 0; i < n && state >= 0 && state != SL_MATCHER_DEAD; i++)
        state = sl_matcher_step(m, (uint32_t)state, (unsigned char)bytes[i]);
    return go_to(m, state);
}

int sl_matcher_accept_token(struct sl_matcher *m, uint32_t i)
{
    int64_t state = sl_matcher_begin(m);

    if (state >= 0)
        state = sl_matcher_step(m, (uint32_t)state, SL_MATCHER_TOKEN + i);
    return go_to(m, state);
}

bool sl_matcher_is_done(const struct sl_matcher *m)
{
    return m->table.states[m->present].is_done;
}

/* Put out a state of from; its sets are from's. */
static int put_state(struct sl_matcher *m, const struct sl_matcher *from, uint32_t i_state)
{
    const struct sl_state *state = &from->table.states[i_state];
    int r = 0;

    m->n_out = 0;
    m->is_done = state->is_done;
    for (uint32_t i = 0; i < state->n && r == 0; i++) {
        const struct sl_item *item = &from->table.items[state->item + i];

        r = put_out(m, item->point, item->set);
    }
    return r;
}

/* Make what was put out of from the present state, and forget all else. */
static int keep_out(struct sl_matcher *m, const struct sl_matcher *from)
{
    uint32_t *sets = malloc((m->n_out + 1) * sizeof(*sets));
    int64_t state;
    int r;

    if (!sets)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_out; i++)
        sets[i] = m->out[i].set;
    r = sl_stackset_collect(&m->sets, &from->sets, sets, m->n_out);
    for (uint32_t i = 0; i < m->n_out && r == 0; i++)
        m->out[i].set = sets[i];
    free(sets);
    if (r < 0)
        return r;
    sl_statetable_clear(&m->table);
    state = intern_state(m); /* where it was before, all has room */
    m->present = (uint32_t)state;
    return state < 0 ? (int)state : 0;
}

int64_t sl_matcher_begin(struct sl_matcher *m)
{
    int r;

    m->sets.work = 0;
    if (sl_statetable_is_crowded(&m->table) || m->sets.n_frames > SL_STACKSET_FRAMES_MAX / 2) {
        r = put_state(m, m, m->present);
        if (r == 0)
            r = keep_out(m, m);
        if (r < 0)
            return r;
        m->generation++;
    }
    return m->present;
}

uint64_t sl_matcher_generation(const struct sl_matcher *m)
{
    return m->generation;
}

int sl_matcher_clone(struct sl_matcher **ret_matcher, const struct sl_matcher *matcher)
{
    struct sl_matcher *m;
    int r = alloc(&m, matcher->grammar);

    if (r == 0)
        r = put_state(m, matcher, matcher->present);
    if (r == 0)
        r = keep_out(m, matcher);
    if (r < 0) {
        sl_matcher_free(m);
        return r;
    }
    *ret_matcher = m;
    return 0;
}

struct sl_matcher_steps sl_matcher_steps(const struct sl_matcher *m)
{
    return (struct sl_matcher_steps){m->table.steps, m->rtn->class_of, m->rtn->class_symbol,
                                     m->rtn->n_classes};
}
