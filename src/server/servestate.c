#include "server/servestate.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "server/apiexperts.h"
#include "server/apislots.h"
#include "server/servemetrics.h"

struct sl_servestate {
    /* set once, then read only */
    uint32_t n_slots;
    pthread_mutex_t lock;

    /* guarded by lock */
    bool is_loaded;
    struct sl_servestate_news news;
    bool *slot_busy; /* [n_slots] */
    struct sl_enginefn engine; /* all zeroes before sl_servestate_watch */
};

int sl_servestate_new(struct sl_servestate **ret_state, uint32_t n_slots)
{
    struct sl_servestate *state = calloc(1, sizeof(*state));

    if (!state)
        return -ENOMEM;
    state->n_slots = n_slots;
    state->slot_busy = calloc(n_slots, sizeof(*state->slot_busy));
    if (!state->slot_busy) {
        free(state);
        return -ENOMEM;
    }
    (void)pthread_mutex_init(&state->lock, NULL); /* cannot fail without attributes */
    *ret_state = state;
    return 0;
}

void sl_servestate_free(struct sl_servestate *state)
{
    if (!state)
        return;
    (void)pthread_mutex_destroy(&state->lock);
    free(state->slot_busy);
    free(state);
}

void sl_servestate_publish(struct sl_servestate *state, const struct sl_servestate_news *news)
{
    pthread_mutex_lock(&state->lock);
    state->is_loaded = true;
    state->news = *news;
    state->news.slot_busy = NULL;
    memcpy(state->slot_busy, news->slot_busy, state->n_slots * sizeof(*state->slot_busy));
    pthread_mutex_unlock(&state->lock);
}

void sl_servestate_watch(struct sl_servestate *state, const struct sl_enginefn *engine)
{
    pthread_mutex_lock(&state->lock);
    state->engine = *engine;
    pthread_mutex_unlock(&state->lock);
}

struct sl_apistate sl_servestate_api(struct sl_servestate *state)
{
    struct sl_apistate api = {.now_s = (int64_t)time(NULL)};

    pthread_mutex_lock(&state->lock);
    api.is_loading = !state->is_loaded;
    api.is_sleeping = state->news.is_sleeping;
    api.resident_bytes = state->news.resident_bytes;
    api.expires_s = state->news.expires_s;
    pthread_mutex_unlock(&state->lock);
    return api;
}

void sl_servestate_write_slots(struct sl_servestate *state, uint32_t n_ctx_tok,
                               struct sl_strbuf *out)
{
    struct sl_apislot *slots = calloc(state->n_slots, sizeof(*slots));

    if (!slots) {
        out->error = -ENOMEM;
        return;
    }
    pthread_mutex_lock(&state->lock);
    for (uint32_t i = 0; i < state->n_slots; i++)
        slots[i] = (struct sl_apislot){
            .id = i, .n_ctx_tok = n_ctx_tok, .is_processing = state->slot_busy[i]};
    pthread_mutex_unlock(&state->lock);
    sl_apislots_write(slots, state->n_slots, out);
    free(slots);
}

void sl_servestate_write_metrics(struct sl_servestate *state, struct sl_strbuf *out)
{
    struct sl_servestate_news news;

    pthread_mutex_lock(&state->lock);
    news = state->news;
    pthread_mutex_unlock(&state->lock);
    sl_servemetrics_write(&news.sched, &news.engine, out);
}

void sl_servestate_write_experts(struct sl_servestate *state, struct sl_strbuf *out)
{
    struct sl_apiexperts view = {.now_ns = sl_clock_ns()};
    struct sluice_expert *experts = NULL;
    struct sl_enginefn engine;
    size_t n = 0;

    pthread_mutex_lock(&state->lock);
    engine = state->engine;
    view.engine = state->news.engine;
    view.n_running = state->news.sched.n_running;
    view.n_waiting = state->news.sched.n_waiting;
    pthread_mutex_unlock(&state->lock);
    if (engine.experts) {
        view.is_streaming = engine.is_streaming;
        view.n_layers = engine.n_moe_layers;
        view.first_layer = engine.first_moe_layer;
        view.n_experts = engine.n_experts;
        view.n_used = engine.n_experts_used;
        n = (size_t)view.n_layers * view.n_experts;
    }
    experts = calloc(n ? n : 1, sizeof(*experts));
    if (!experts) {
        out->error = -ENOMEM;
        return;
    }
    if (n)
        (void)engine.experts(engine.arg, experts, n); /* as many as it said */
    view.experts = experts;
    sl_apiexperts_write(&view, out);
    free(experts);
}
