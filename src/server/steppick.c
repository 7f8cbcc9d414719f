/*
 * Even sharing is done by rounds: each prompt that wants more is given an equal part of what
 * is left, until nobody wants more or nothing is left.
 */
#include "server/steppick.h"

#include <assert.h>

struct pick {
    const struct sl_steppick_slot *slots;
    uint32_t n, turn;
    uint32_t *rows;
    uint32_t n_logits; /* left */
};

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Slot i of the order in which they are served. */
static uint32_t in_turn(const struct pick *p, uint32_t i)
{
    return (p->turn % p->n + i) % p->n;
}

/* One row for each that decodes, at most n_most. Returns how many there were. */
static uint32_t pick_decoding(struct pick *p, uint32_t n_most)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t slot = in_turn(p, i);

        if (p->slots[slot].n_pending != 1 || n == n_most || p->n_logits == 0)
            continue;
        p->rows[slot] = 1;
        p->n_logits--;
        n++;
    }
    return n;
}

/* How many rows more a slot's prompt can use in this step. */
static uint32_t wants(const struct pick *p, uint32_t slot)
{
    uint32_t most = p->slots[slot].n_pending;

    if (most < 2)
        return 0;
    if (p->n_logits == 0)
        most--; /* its last token waits for a row of logits */
    return most > p->rows[slot] ? most - p->rows[slot] : 0;
}

static uint32_t count_wanting(const struct pick *p)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n; i++)
        n += wants(p, i) > 0;
    return n;
}

static uint32_t pick_prompts(struct pick *p, uint32_t room)
{
    uint32_t left = room;

    for (uint32_t n = count_wanting(p); n && left; n = count_wanting(p)) {
        uint32_t share = left / n ? left / n : 1;

        for (uint32_t i = 0; i < p->n && left; i++) {
            uint32_t slot = in_turn(p, i);
            uint32_t rows = min_u32(min_u32(wants(p, slot), share), left);

            if (rows == 0)
                continue;
            p->rows[slot] += rows;
            left -= rows;
            if (p->rows[slot] == p->slots[slot].n_pending)
                p->n_logits--;
        }
    }
    return room - left;
}

/* More slots than rows: whoever's turn it is. */
static uint32_t pick_one(struct pick *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t slot = in_turn(p, i);

        if (p->slots[slot].n_pending == 0)
            continue;
        p->rows[slot] = 1;
        return p->slots[slot].n_pending == 1;
    }
    return 0;
}

struct sl_steppick sl_steppick(const struct sl_steppick_slot *slots, uint32_t n, uint32_t turn,
                               const struct sl_steppick_limits *limits,
                               const struct sl_stepcost *cost, uint32_t *ret_rows)
{
    struct pick p = {.slots = slots, .n = n, .turn = turn, .rows = ret_rows,
                     .n_logits = limits->n_logits};
    struct sl_steppick pick = {0};
    uint32_t room, most;
    bool has_prompts;

    assert(limits->n_rows > 0 && limits->n_logits > 0);
    for (uint32_t i = 0; i < n; i++)
        ret_rows[i] = 0;
    has_prompts = n && count_wanting(&p) > 0;
    if (n && limits->n_rows == 1) {
        pick.n_decoding = pick_one(&p);
        for (uint32_t i = 0; i < n; i++)
            pick.n_rows += ret_rows[i];
        return pick;
    }
    pick.n_rows = pick.n_decoding =
        n ? pick_decoding(&p, limits->n_rows - (has_prompts ? 1 : 0)) : 0;
    if (has_prompts) {
        room = most = limits->n_rows - pick.n_rows;
        if (pick.n_decoding) {
            double alone_ms = 2 * sl_stepcost_guess(cost, pick.n_decoding);
            /* slow as decoding may be, reading prompts may take as long once more */
            double ms = alone_ms > limits->max_ms ? alone_ms : limits->max_ms;

            room = sl_stepcost_room(cost, pick.n_decoding, room, ms);
            room = room ? room : 1;
        }
        pick.n_rows += pick_prompts(&p, room);
        pick.is_short = room < most && count_wanting(&p) > 0;
    }
    pick.is_over = pick.n_decoding && pick.n_rows > pick.n_decoding &&
                   sl_stepcost_guess(cost, pick.n_rows) > limits->max_ms;
    return pick;
}
