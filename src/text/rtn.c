/*
 * From an NFA with empty moves to points without: a recursive transition network.
 *
 * Points are the nodes where matching can stand still: a rule's entry, what follows a
 * symbol, what follows a call. Each gets the symbols and calls that can be reached by
 * empty moves, and "final" if the rule's end can. A call of a rule that can be empty
 * counts as an empty move too, besides being a call. So an entered rule need never end
 * before it has read something, which is what matcher.c relies on (the idea is Aycock and
 * Horspool's for Earley parsers).
 *
 * A rule that can call itself before anything is read (left recursion) would be entered
 * without end and is refused. Without such cycles the rules can be numbered so that calls
 * at an entry go to greater numbers.
 *
 * A call with nothing behind it (ret TAIL) needs no place on the stack, so right
 * recursion runs in constant space.
 */
#include "text/rtn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/vector.h"

#define NONE UINT32_MAX
#define SEARCHED_MAX (1u << 23) /* nodes met in all searches together; some 0.1 s */

struct builder {
    struct sl_rtn *rtn;
    const struct sl_nfa *nfa;
    const bool *nullable;
    uint32_t points_cap, edges_cap, calls_cap, node_of_cap, todo_cap;
    uint32_t *point_of; /* of each node, or NONE */
    uint32_t *node_of;  /* of each point */
    uint32_t *seen;     /* of each node: 1 + the last point whose search met it */
    uint32_t *todo;     /* nodes to search */
    uint32_t n_todo, n_searched;
    uint32_t *rank;     /* of each rule of the NFA; NONE if nothing calls it */
    uint32_t *reached;  /* rules of the NFA that are called */
    uint32_t n_reached;
};

/* The point of a node, perhaps a new one. */
static int get_point(struct builder *b, uint32_t node, uint32_t *ret_point)
{
    struct sl_rtn *rtn = b->rtn;

    if (b->point_of[node] == NONE) {
        if (rtn->n_points == SL_RTN_POINTS_MAX)
            return -E2BIG;
        if (sl_vector_grow(&rtn->points, &b->points_cap, rtn->n_points, 1) < 0 ||
            sl_vector_grow(&b->node_of, &b->node_of_cap, rtn->n_points, 1) < 0)
            return -ENOMEM;
        b->node_of[rtn->n_points] = node;
        b->point_of[node] = rtn->n_points++;
    }
    *ret_point = b->point_of[node];
    return 0;
}

/* Note that a rule is called. */
static int reach(struct builder *b, uint32_t rule)
{
    uint32_t point;

    if (b->rank[rule] != NONE)
        return 0;
    b->rank[rule] = 0;
    b->reached[b->n_reached++] = rule;
    return get_point(b, b->nfa->rules[rule].entry, &point);
}

static int push(struct builder *b, uint32_t node, uint32_t point)
{
    if (b->seen[node] == point + 1)
        return 0;
    b->seen[node] = point + 1;
    if (++b->n_searched > SEARCHED_MAX)
        return -E2BIG;
    if (sl_vector_grow(&b->todo, &b->todo_cap, b->n_todo, 1) < 0)
        return -ENOMEM;
    b->todo[b->n_todo++] = node;
    return 0;
}

static int add_edge(struct builder *b, const struct sl_nfa_node *node)
{
    struct sl_rtn *rtn = b->rtn;
    uint32_t target;
    int r = get_point(b, node->next, &target);

    if (r < 0)
        return r;
    if (rtn->n_edges + rtn->n_calls == SL_RTN_STEPS_MAX)
        return -E2BIG;
    if (sl_vector_grow(&rtn->edges, &b->edges_cap, rtn->n_edges, 1) < 0)
        return -ENOMEM;
    rtn->edges[rtn->n_edges++] = (struct sl_rtn_edge){node->lo, node->hi, target};
    return 0;
}

static int add_call(struct builder *b, const struct sl_nfa_node *node)
{
    struct sl_rtn *rtn = b->rtn;
    uint32_t ret;
    int r = get_point(b, node->next, &ret);

    if (r == 0)
        r = reach(b, node->other);
    if (r < 0)
        return r;
    if (rtn->n_edges + rtn->n_calls == SL_RTN_STEPS_MAX)
        return -E2BIG;
    if (sl_vector_grow(&rtn->calls, &b->calls_cap, rtn->n_calls, 1) < 0)
        return -ENOMEM;
    rtn->calls[rtn->n_calls++] = (struct sl_rtn_call){node->other, ret};
    return 0;
}

/* All that can be done at a point. New points are made on the way. */
static int fill_point(struct builder *b, uint32_t i_point)
{
    struct sl_rtn_point point = {.edge = b->rtn->n_edges, .call = b->rtn->n_calls};
    int r = push(b, b->node_of[i_point], i_point);

    while (b->n_todo > 0 && r == 0) {
        const struct sl_nfa_node *node = &b->nfa->nodes[b->todo[--b->n_todo]];

        switch ((enum sl_nfa_kind)node->kind) {
        case SL_NFA_END: point.is_final = true; break;
        case SL_NFA_SYMBOL: r = add_edge(b, node); break;
        case SL_NFA_CALL:
            r = add_call(b, node);
            if (r == 0 && b->nullable[node->other])
                r = push(b, node->next, i_point);
            break;
        case SL_NFA_SPLIT:
            r = push(b, node->other, i_point);
            if (r == 0)
                r = push(b, node->next, i_point);
            break;
        }
    }
    point.n_edges = b->rtn->n_edges - point.edge;
    point.n_calls = b->rtn->n_calls - point.call;
    b->rtn->points[i_point] = point;
    return r;
}

static const struct sl_rtn_point *entry_of(const struct builder *b, uint32_t rule)
{
    return &b->rtn->points[b->point_of[b->nfa->rules[rule].entry]];
}

/*
 * Number the rules so that calls at an entry go to later ones: depth first from the root
 * of each tree, numbered from the last on as they are left. path: the rules entered and
 * not left; i_call: of each rule, the calls at its entry that were followed, or NONE while
 * it was not entered. -EBADMSG if a call leads back into the path.
 */
static int rank_rules(struct builder *b, uint32_t *path, uint32_t *i_call, uint32_t *ret_cycle)
{
    uint32_t rank = b->n_reached;

    for (uint32_t i = 0; i < b->n_reached; i++)
        i_call[b->reached[i]] = NONE;
    for (uint32_t i = 0; i < b->n_reached; i++) {
        uint32_t n_path = 0;

        if (i_call[b->reached[i]] == NONE)
            path[n_path++] = b->reached[i];
        while (n_path > 0) {
            uint32_t rule = path[n_path - 1], called;
            const struct sl_rtn_point *entry = entry_of(b, rule);

            if (i_call[rule] == NONE) {
                i_call[rule] = 0;
                b->rank[rule] = NONE; /* not left */
            }
            if (i_call[rule] == entry->n_calls) {
                b->rank[rule] = --rank;
                n_path--;
                continue;
            }
            called = b->rtn->calls[entry->call + i_call[rule]++].rule;
            if (i_call[called] == NONE) {
                path[n_path++] = called;
            } else if (b->rank[called] == NONE) {
                *ret_cycle = called;
                return -EBADMSG;
            }
        }
    }
    return 0;
}

static void find_classes(struct sl_rtn *rtn)
{
    bool starts[SL_RTN_SYMBOLS + 1] = {true};

    for (uint32_t i = 0; i < rtn->n_edges; i++) {
        starts[rtn->edges[i].lo] = true;
        starts[rtn->edges[i].hi + 1] = true;
    }
    for (uint32_t symbol = 0; symbol < SL_RTN_SYMBOLS; symbol++) {
        if (starts[symbol])
            rtn->class_symbol[rtn->n_classes++] = (uint16_t)symbol;
        rtn->class_of[symbol] = (uint16_t)(rtn->n_classes - 1);
    }
}

/* Replace the NFA's rule numbers by ranks, and mark the calls with nothing behind them. */
static int finish(struct builder *b, uint32_t root)
{
    struct sl_rtn *rtn = b->rtn;

    rtn->entries = malloc(b->n_reached * sizeof(*rtn->entries));
    if (!rtn->entries)
        return -ENOMEM;
    rtn->n_rules = b->n_reached;
    for (uint32_t i = 0; i < b->n_reached; i++)
        rtn->entries[b->rank[b->reached[i]]] = b->point_of[b->nfa->rules[b->reached[i]].entry];
    rtn->root = b->rank[root];
    rtn->is_root_nullable = b->nullable[root];
    for (uint32_t i = 0; i < rtn->n_calls; i++) {
        const struct sl_rtn_point *ret = &rtn->points[rtn->calls[i].ret];

        rtn->calls[i].rule = b->rank[rtn->calls[i].rule];
        if (ret->is_final && ret->n_edges == 0 && ret->n_calls == 0)
            rtn->calls[i].ret = SL_RTN_TAIL;
    }
    find_classes(rtn);
    return 0;
}

static int build(struct builder *b, uint32_t root, uint32_t *ret_cycle)
{
    const uint32_t n_nodes = b->nfa->n_nodes, n_rules = b->nfa->n_rules;
    uint32_t *path = malloc((size_t)n_rules * 2 * sizeof(*path));
    int r;

    b->point_of = malloc((size_t)n_nodes * sizeof(*b->point_of));
    b->seen = calloc(n_nodes, sizeof(*b->seen));
    b->rank = malloc((size_t)n_rules * sizeof(*b->rank));
    b->reached = malloc((size_t)n_rules * sizeof(*b->reached));
    r = path && b->point_of && b->seen && b->rank && b->reached ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < n_nodes && r == 0; i++)
        b->point_of[i] = NONE;
    for (uint32_t i = 0; i < n_rules && r == 0; i++)
        b->rank[i] = NONE;
    if (r == 0)
        r = reach(b, root);
    for (uint32_t i = 0; i < b->rtn->n_points && r == 0; i++) /* it grows meanwhile */
        r = fill_point(b, i);
    if (r == 0)
        r = rank_rules(b, path, path + n_rules, ret_cycle);
    if (r == 0)
        r = finish(b, root);
    free(path);
    return r;
}

int sl_rtn_build(struct sl_rtn *ret_rtn, const struct sl_nfa *nfa, uint32_t root,
                 const bool *nullable, uint32_t *ret_cycle)
{
    struct sl_rtn rtn = {.points = NULL};
    struct builder b = {.rtn = &rtn, .nfa = nfa, .nullable = nullable};
    int r = build(&b, root, ret_cycle);

    free(b.point_of);
    free(b.node_of);
    free(b.seen);
    free(b.todo);
    free(b.rank);
    free(b.reached);
    if (r < 0) {
        sl_rtn_done(&rtn);
        return r;
    }
    *ret_rtn = rtn;
    return 0;
}

void sl_rtn_done(struct sl_rtn *rtn)
{
    free(rtn->points);
    free(rtn->edges);
    free(rtn->calls);
    free(rtn->entries);
}
