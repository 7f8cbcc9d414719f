/*
 * The engine thread's work: takes requests from the queue, has the scheduler compute them
 * step by step, sends what comes of it, and says how things stand.
 */
#pragma once

#include "server/enginefn.h"
#include "server/recall.h"
#include "server/sched.h"
#include "server/servestate.h"
#include "server/workqueue.h"

/* All pointers are borrowed. */
struct sl_enginework {
    struct sl_workqueue *queue;
    struct sl_servestate *state;
    struct sl_recall *recall;
    const struct sl_apienv *env;
    const struct sl_enginefn *engine;
    struct sl_sched_opts sched; /* but for engine and sink */
    const char *slot_folder;    /* of saved slots; NULL: none are */
    uint64_t fixed_bytes;       /* of memory for the model that does not change */
    void (*ready)(void *arg);   /* called once, when requests are taken; may be NULL */
    void *ready_arg;
    uint32_t idle_ms;           /* without a request, before memory is given back; 0: never */
};

/* Until the queue is closed. 0 or -ENOMEM. */
int sl_enginework_run(const struct sl_enginework *work);
