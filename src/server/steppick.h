/*
 * Which tokens of which slots the next step computes. A pure function of the slots' states,
 * so that it can be tested alone.
 *
 * - Slots with one token to compute (they decode) come first, one row each.
 * - Prompts share the rest of the step evenly, what one does not need going to the others.
 * - While anybody decodes, prompts get as many rows as keep the step within max_ms by what
 *   steps took before (stepcost.h), but at least one. Without, they get all there is.
 * - Where there are more slots than rows, they take turns.
 *
 * Rows are all that is cut here. Where experts are streamed, few rows ask for most of them
 * already, so that a bound below the time it takes to read them is not held by small steps:
 * is_over tells. A step that is cut between layers holds it (schedstep.c).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "server/stepcost.h"

struct sl_steppick_slot {
    uint32_t n_pending; /* tokens to compute, the last of which gives logits; 0: none */
};

struct sl_steppick_limits {
    uint32_t n_rows;   /* of a step, at least 1 */
    uint32_t n_logits; /* rows of logits of a step, at least 1 */
    double max_ms;     /* of a step while others decode */
};

struct sl_steppick {
    uint32_t n_rows;
    uint32_t n_decoding; /* slots that decode in this step */
    bool is_short;       /* prompts get less than they could use, for the time it would take */
    bool is_over;        /* it will probably take longer than max_ms while others decode */
};

/*
 * Choose ret_rows[i] of the n slots' tokens; turn is the slot that comes first where there is
 * not enough for all, to be moved on by the caller from step to step. Of a slot whose pending
 * tokens are all chosen, one row of logits is counted.
 */
struct sl_steppick sl_steppick(const struct sl_steppick_slot *slots, uint32_t n, uint32_t turn,
                               const struct sl_steppick_limits *limits,
                               const struct sl_stepcost *cost, uint32_t *ret_rows);
