/*
 * The recorded run again: the trace's calls are made of a real cache, whose reader gives
 * back what the trace says each reap returned. Whatever follows is then the same, and
 * is compared by counters and by a digest of all that happened.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/sim_reader.h"
#include "tools/sim_run.h"

struct exact {
    struct sl_trace *trace;
    struct sl_diag *diag;
    struct sl_cache *cache;
    struct sl_ticket *tickets;
    uint32_t n_tickets;
    uint64_t digest;
    int error;         /* of the trace, met inside a reap */
    bool has_diverged; /* a record came that the run has no place for */
};

static void on_event(void *arg, const struct sl_cache_event *event)
{
    struct exact *x = arg;

    x->digest = sl_trace_digest(x->digest, event);
}

static int next_reap(void *arg, struct sl_read_done *ret_done, uint32_t cap)
{
    struct exact *x = arg;
    struct sl_cache_event event;
    uint64_t ns, n;

    if (x->error)
        return -1;
    x->error = sl_trace_next(x->trace, &event, &ns, x->diag);
    if (x->error <= 0)
        return -1;
    x->error = 0;
    if (event.kind != SL_CACHE_EVENT_REAP || event.value > cap)
        return -1;
    n = event.value;
    for (uint64_t i = 0; i < n; i++) {
        int r = sl_trace_next(x->trace, &event, &ns, x->diag);

        if (r <= 0 || event.kind != SL_CACHE_EVENT_REAPED)
            return -1;
        ret_done[i] = (struct sl_read_done){ event.value, event.n ? -EIO : 0 };
    }
    return (int)n;
}

static int release(struct exact *x, const struct sl_cache_event *event)
{
    for (uint32_t i = 0; i < x->n_tickets; i++) {
        struct sl_ticket *t = &x->tickets[i];

        if (t->is_open && t->layer == event->layer && t->expert == event->expert) {
            sl_cache_release(x->cache, t);
            return 0;
        }
    }
    return sl_diag_set(x->diag, -EBADMSG, "the trace gives back an expert that it did not take");
}

static int ask(struct exact *x, const struct sl_cache_event *event)
{
    for (uint32_t i = 0; i < x->n_tickets; i++)
        if (x->tickets[i].is_open)
            return sl_diag_set(x->diag, -EBADMSG, "the trace asks twice at once");
    x->n_tickets = event->n;
    sl_cache_request(x->cache, event->layer, event->experts, event->n, x->tickets);
    return 0;
}

static int call(struct exact *x, const struct sl_cache_event *event)
{
    switch (event->kind) {
    case SL_CACHE_EVENT_BUDGET:
        for (uint32_t i = 0; i < x->n_tickets; i++)
            if (x->tickets[i].is_open)
                return sl_diag_set(x->diag, -EBADMSG, "the trace changes the budget in a step");
        (void)sl_cache_set_budget(x->cache, event->value); /* refused then as now */
        return 0;
    case SL_CACHE_EVENT_FILL:
        sl_cache_fill(x->cache);
        return 0;
    case SL_CACHE_EVENT_ASK:
        return ask(x, event);
    case SL_CACHE_EVENT_WAIT:
        (void)sl_cache_wait(x->cache); /* errors are in the tickets */
        return 0;
    case SL_CACHE_EVENT_POLL:
        sl_cache_poll(x->cache);
        return 0;
    case SL_CACHE_EVENT_RELEASE:
        return release(x, event);
    case SL_CACHE_EVENT_OBSERVE:
        sl_cache_observe(x->cache, event->layer, event->experts, event->n, event->ranks);
        return 0;
    case SL_CACHE_EVENT_HINT:
        sl_cache_hint(x->cache, event->guesses, event->n);
        return 0;
    case SL_CACHE_EVENT_WAITED:
        return 0;
    default: /* more was reaped than this run reaps */
        x->has_diverged = true;
        return 0;
    }
}

/* Counters that do not depend on a clock. */
static bool is_equal(struct sl_cache_counters a, struct sl_cache_counters b)
{
    a.stall_ns = b.stall_ns = a.read_ns = b.read_ns = 0;
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static void compare(struct exact *x, struct sim_exact *ret)
{
    uint64_t digest;

    sl_cache_get_counters(x->cache, &ret->counters);
    ret->has_diverged = x->has_diverged;
    ret->has_end = sl_trace_get_end(x->trace, &ret->recorded, &digest);
    ret->is_same = ret->has_end && !ret->has_diverged && digest == x->digest &&
                   is_equal(ret->counters, ret->recorded);
}

static int run_calls(struct exact *x, const struct sl_reader *reader)
{
    struct sl_cache_event event;
    uint64_t ns;
    int r;

    while ((r = sl_trace_next(x->trace, &event, &ns, x->diag)) > 0) {
        r = call(x, &event);
        x->has_diverged |= sim_reader_has_diverged(reader);
        if (r == 0)
            r = x->error;
        if (r < 0 || x->has_diverged)
            return r;
    }
    return r;
}

void sim_seed(struct sl_cache *cache, const struct sl_trace_info *info)
{
    uint32_t n = info->seeds ? info->n_layers * info->n_experts : 0;

    for (uint32_t i = 0; i < n; i++)
        if (info->seeds[i] >= 0)
            sl_evict_seed(sl_cache_evict(cache), i / info->n_experts, i % info->n_experts,
                          info->seeds[i]);
}

int sim_run_exact(struct sl_trace *trace, struct sim_exact *ret_exact, struct sl_diag *diag)
{
    const struct sl_trace_info *info = sl_trace_get_info(trace);
    struct exact x = { .trace = trace, .diag = diag };
    struct sim_reader_opts reader_opts = { .alignment = info->alignment, .depth = info->depth,
                                           .script = next_reap, .arg = &x };
    struct sl_reader *reader = sim_reader_new(&reader_opts);
    struct sl_cache_opts opts = { .reader = reader, .policy = info->policy,
                                  .n_used = info->n_used, .guess = info->guess };
    int r = -ENOMEM;

    *ret_exact = (struct sim_exact){ 0 };
    x.tickets = calloc(info->n_experts, sizeof(*x.tickets));
    if (reader && x.tickets)
        r = sl_cache_new_streaming(&x.cache, info->layers, info->n_layers, &opts);
    if (r == 0)
        r = sl_cache_set_budget(x.cache, info->budget);
    if (r < 0) {
        sl_diag_set(diag, r, "not enough memory for the trace's cache");
        goto out;
    }
    sim_seed(x.cache, info);
    sl_cache_set_event_fn(x.cache, on_event, &x);
    r = run_calls(&x, reader);
    sl_cache_set_event_fn(x.cache, NULL, NULL);
    if (r == 0)
        compare(&x, ret_exact);
    sim_reader_end_script(reader);
    for (uint32_t i = 0; i < x.n_tickets; i++)
        if (x.tickets[i].is_open)
            sl_cache_release(x.cache, &x.tickets[i]);

out:
    sl_cache_free(x.cache);
    sim_reader_free(reader);
    free(x.tickets);
    return r;
}
