/*
 * What the server tells of itself: written by the engine thread as things happen, read by
 * whoever answers (/health, /slots, /metrics ...), so that no answer waits for a step. Any
 * thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "server/api.h"
#include "server/enginefn.h"
#include "server/sched.h"

struct sl_servestate;

/* What the engine thread says after each step. */
struct sl_servestate_news {
    struct sl_sched_counters sched;
    struct sluice_counters engine;
    uint64_t resident_bytes;
    bool is_sleeping;
    int64_t expires_s;     /* Unix time; 0: never */
    const bool *slot_busy; /* [n_slots], borrowed during the call */
};

/* 0 or -ENOMEM. It says that the model is being loaded until the first news come. */
int sl_servestate_new(struct sl_servestate **ret_state, uint32_t n_slots);
void sl_servestate_free(struct sl_servestate *state); /* NULL is allowed */

void sl_servestate_publish(struct sl_servestate *state, const struct sl_servestate_news *news);

/* Before the first news: whose experts are shown. engine is copied; what its arg shows must
 * last until nobody asks this state any more. */
void sl_servestate_watch(struct sl_servestate *state, const struct sl_enginefn *engine);

/* With the time as it is. */
struct sl_apistate sl_servestate_api(struct sl_servestate *state);

/* Bodies; errors are kept in out. */
void sl_servestate_write_slots(struct sl_servestate *state, uint32_t n_ctx_tok,
                               struct sl_strbuf *out);
void sl_servestate_write_metrics(struct sl_servestate *state, struct sl_strbuf *out);
void sl_servestate_write_experts(struct sl_servestate *state, struct sl_strbuf *out);
