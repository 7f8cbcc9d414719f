/*
 * A trace taken apart into what each step did in each layer: which experts were asked
 * for, what was observed and guessed, and how long computing took apart from waiting.
 * Arrays grow by doubling and hold indexes, not pointers, while they grow.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/sim_run.h"

enum { CAP_STEPS, CAP_EXPERTS, CAP_RANKS, CAP_GUESSES, CAP_POLLS };

/* Times of the layer at hand, seconds. */
struct clock {
    double asked, last_call, released, waited;
};

static int room(void *memory, uint64_t *cap, uint64_t n_want, size_t bytes)
{
    void **at = memory, *more;
    uint64_t n = *cap ? *cap : 4096;

    while (n < n_want)
        n *= 2;
    if (n == *cap)
        return 0;
    more = realloc(*at, n * bytes);
    if (!more)
        return -ENOMEM;
    *at = more;
    *cap = n;
    return 0;
}

static int add_experts(struct sim_script *s, const struct sl_cache_event *event, uint64_t *ret_at)
{
    int r = room(&s->experts, &s->cap[CAP_EXPERTS], s->n_experts + event->n, sizeof(*s->experts));

    if (r < 0)
        return r;
    *ret_at = s->n_experts;
    if (event->n)
        memcpy(s->experts + s->n_experts, event->experts, sizeof(*s->experts) * event->n);
    s->n_experts += event->n;
    return 0;
}

static void end_layer(struct sim_script *s, const struct clock *c, double now)
{
    struct sim_layer_step *step = &s->steps[s->n_steps - 1];
    double moe = c->released - c->asked - c->waited;

    step->moe_s = moe > 0 ? moe : 0;
    step->rest_s = now > c->released ? now - c->released : 0;
}

static int on_ask(struct sim_script *s, const struct sl_cache_event *event, struct clock *c,
                  double now)
{
    struct sim_layer_step *step;
    uint64_t at;
    int r = room(&s->steps, &s->cap[CAP_STEPS], s->n_steps + 1, sizeof(*s->steps));

    if (r == 0)
        r = add_experts(s, event, &at);
    if (r < 0)
        return r;
    if (s->n_steps)
        end_layer(s, c, now);
    step = &s->steps[s->n_steps++];
    *step = (struct sim_layer_step){ .layer = event->layer, .n = event->n, .experts = at,
                                     .observed = s->n_experts, .ranks = s->n_ranks,
                                     .guesses = s->n_guesses, .polls = s->n_polls };
    *c = (struct clock){ now, now, now, 0 };
    return 0;
}

/* A token's choice; of steps with several tokens all lie one behind the other. */
static int on_observe(struct sim_script *s, const struct sl_cache_event *event)
{
    struct sim_layer_step *step = &s->steps[s->n_steps - 1];
    uint32_t n = s->info->n_experts;
    uint64_t at;
    int r = room(&s->ranks, &s->cap[CAP_RANKS], s->n_ranks + n, sizeof(*s->ranks));

    if (r < 0 || event->n != s->info->n_used)
        return r;
    r = add_experts(s, event, &at);
    if (r < 0)
        return r;
    step->n_observed++;
    step->has_ranks = event->ranks != NULL;
    if (event->ranks)
        memcpy(s->ranks + s->n_ranks, event->ranks, n);
    else
        memset(s->ranks + s->n_ranks, 0, n);
    s->n_ranks += n;
    return 0;
}

static int on_hint(struct sim_script *s, const struct sl_cache_event *event)
{
    struct sim_layer_step *step = &s->steps[s->n_steps - 1];
    int r = room(&s->guesses, &s->cap[CAP_GUESSES], s->n_guesses + event->n, sizeof(*s->guesses));

    if (r < 0)
        return r;
    if (event->n)
        memcpy(s->guesses + s->n_guesses, event->guesses, sizeof(*s->guesses) * event->n);
    s->n_guesses += event->n;
    step->n_guesses += event->n;
    return 0;
}

static int on_poll(struct sim_script *s, const struct clock *c, double now)
{
    struct sim_layer_step *step = &s->steps[s->n_steps - 1];
    int r = room(&s->polls, &s->cap[CAP_POLLS], s->n_polls + 1, sizeof(*s->polls));

    if (r < 0)
        return r;
    s->polls[s->n_polls++] = now - c->released;
    step->n_polls++;
    return 0;
}

static int on_event(struct sim_script *s, const struct sl_cache_event *event, struct clock *c,
                    double now)
{
    if (event->kind == SL_CACHE_EVENT_ASK)
        return on_ask(s, event, c, now);
    s->is_filled |= event->kind == SL_CACHE_EVENT_FILL;
    if (s->n_steps == 0)
        return 0;
    switch (event->kind) {
    case SL_CACHE_EVENT_OBSERVE:
        return on_observe(s, event);
    case SL_CACHE_EVENT_HINT:
        return on_hint(s, event);
    case SL_CACHE_EVENT_POLL:
        return on_poll(s, c, now);
    case SL_CACHE_EVENT_RELEASE:
        c->released = now;
        s->n_polls -= s->steps[s->n_steps - 1].n_polls; /* those before count with the experts */
        s->steps[s->n_steps - 1].n_polls = 0;
        return 0;
    case SL_CACHE_EVENT_WAITED:
        c->waited += (double)event->value * 1e-9;
        return 0;
    default:
        return 0;
    }
}

int sim_script_read(struct sim_script *ret_script, struct sl_trace *trace, struct sl_diag *diag)
{
    struct sim_script s = { .info = sl_trace_get_info(trace) };
    struct sl_cache_event event;
    struct clock c = { 0 };
    uint64_t ns;
    int r;

    while ((r = sl_trace_next(trace, &event, &ns, diag)) > 0) {
        r = on_event(&s, &event, &c, (double)ns * 1e-9);
        if (r < 0) {
            sl_diag_set(diag, r, "not enough memory for the trace");
            break;
        }
    }
    if (r < 0) {
        sim_script_done(&s);
        return r;
    }
    if (s.n_steps)
        end_layer(&s, &c, c.released);
    for (uint64_t i = 0; i < s.n_steps; i++)
        s.n_tokens += i == 0 || s.steps[i].layer <= s.steps[i - 1].layer;
    *ret_script = s;
    return 0;
}

void sim_script_done(struct sim_script *s)
{
    free(s->steps);
    free(s->experts);
    free(s->ranks);
    free(s->guesses);
    free(s->polls);
    *s = (struct sim_script){ 0 };
}
