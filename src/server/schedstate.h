/*
 * The inside of the scheduler, which sched.c (who runs) and schedstep.c (what a step computes)
 * share. Engine thread.
 */
#pragma once

#include "server/sched.h"
#include "server/schedslot.h"
#include "server/seqstore.h"
#include "server/steppick.h"

/* Of the bound on a step's time, what is aimed at. Pieces of a prefill use all of it, as they
 * are ended by what layers took before; where others compute on the same machine, or a host
 * takes processors away, the last layer and the next token take twice as long. */
#define SL_SCHEDSTATE_SHARE 0.5

/* What is computed at once. [n_slots] each, the first n in use. */
struct sl_schedbatch {
    struct sluice_batch *list;
    struct sl_schedslot **slots;
    uint32_t n;
};

struct sl_sched {
    /* set once */
    struct sl_sched_opts opts;
    struct sl_steppick_limits limits;
    /* the rest is the engine thread's as well */
    struct sl_seqstore *store;
    struct sl_schedslot *slots; /* [n_slots] */
    struct sl_genjob **queue;   /* [n_queue_max], the first to come first */
    uint32_t n_queue;
    uint64_t n_orders;
    uint32_t turn;
    struct sl_stepcost cost;
    struct sl_sched_counters counters;
    struct sl_schedbatch batch;   /* of the step at hand */
    struct sl_schedbatch prefill; /* of one that is cut between layers; n 0: there is none */
    double prefill_ms;            /* that it took so far */
    double prefill_longest_ms;    /* of its steps, with what was decoded beside it */
    uint32_t prefill_rows_max;    /* so that a layer of it is done within the bound, as learned
                                   * from those before */
    /* for picking, [n_slots] each */
    struct sl_steppick_slot *views;
    uint32_t *rows;
};

/* sched.c: whether the slot has a request whose tokens can be computed. */
bool sl_sched_is_running(const struct sl_schedslot *slot);

/* sched.c: have the slot's sequence keep the ends of messages that are still to be read. */
void sl_sched_mark(struct sl_sched *s, const struct sl_schedslot *slot);

/* sched.c: the context is full. Returns whether something was given up. */
bool sl_sched_make_room(struct sl_sched *s);

/* schedstep.c */
void sl_schedstep_run(struct sl_sched *s);
bool sl_schedstep_is_in_prefill(const struct sl_sched *s, const struct sl_schedslot *slot);
/* Give the prefill up; what of it was computed is lost. */
void sl_schedstep_drop_prefill(struct sl_sched *s);
