/*
 * What would have happened: the steps of a trace through a real cache in virtual time.
 * In each layer what is in memory is computed first, a third of an expert's time for
 * each of its matrices, and the step waits only when nothing is left to compute. Time
 * for computing is the recorded time without its waits. Guesses are given when the
 * first expert has been computed, as the engine does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "experts/slots.h"
#include "tools/sim_reader.h"
#include "tools/sim_run.h"

/* Layers that perfect guesses reach ahead. */
#define PERFECT_AHEAD 3u

struct run {
    const struct sim_script *script;
    const struct sim_opts *opts;
    struct sl_cache *cache;
    struct sl_reader *reader;
    struct sl_ticket *tickets;
    struct sl_guess *guesses; /* [PERFECT_AHEAD][n_experts] */
    double stall_s;
};

static void guess(struct run *run, uint64_t at)
{
    const struct sim_script *s = run->script;
    const struct sim_layer_step *step = &s->steps[at];
    uint32_t n = 0;

    if (run->opts->predict == SIM_PREDICT_RECORDED && step->n_guesses)
        sl_cache_hint(run->cache, s->guesses + step->guesses, step->n_guesses);
    if (run->opts->predict != SIM_PREDICT_PERFECT)
        return;
    for (uint64_t i = at + 1; i <= at + PERFECT_AHEAD && i < s->n_steps; i++) {
        if (s->steps[i].layer <= s->steps[i - 1].layer)
            break; /* the next token is not known yet */
        for (uint32_t k = 0; k < s->steps[i].n; k++)
            run->guesses[n++] = (struct sl_guess){ .layer = s->steps[i].layer,
                                                   .expert = s->experts[s->steps[i].experts + k],
                                                   .p = 1 };
    }
    if (n)
        sl_cache_hint(run->cache, run->guesses, n);
}

/* Compute the step's experts as they are there. */
static void compute(struct run *run, uint64_t at)
{
    const struct sim_layer_step *step = &run->script->steps[at];
    double part_s = step->n ? step->moe_s / step->n / SL_PART_COUNT : 0;
    uint32_t n_done = 0;
    bool has_guessed = false;

    while (n_done < step->n) {
        bool is_idle = true;

        for (uint32_t i = 0; i < step->n; i++) {
            struct sl_ticket *t = &run->tickets[i];

            if (!t->is_open || t->parts != SL_PARTS_ALL)
                continue;
            /* gate and up, if they were there alone before, were computed in the wait */
            sim_reader_advance(run->reader, part_s * SL_PART_COUNT);
            sl_cache_release(run->cache, t);
            n_done++;
            is_idle = false;
        }
        if (!has_guessed)
            guess(run, at);
        has_guessed = true;
        if (is_idle) {
            double from = sim_reader_now(run->reader);

            if (sl_cache_wait(run->cache) < 0 || sl_reader_n_flying(run->reader) == 0)
                for (uint32_t i = 0; i < step->n; i++) /* cannot come: no slot for it */
                    if (run->tickets[i].is_open && run->tickets[i].parts != SL_PARTS_ALL &&
                        sl_reader_n_flying(run->reader) == 0) {
                        sl_cache_release(run->cache, &run->tickets[i]);
                        n_done++;
                    }
            run->stall_s += sim_reader_now(run->reader) - from;
        } else {
            sl_cache_poll(run->cache);
        }
    }
}

static void run_step(struct run *run, uint64_t at)
{
    const struct sim_script *s = run->script;
    const struct sim_layer_step *step = &s->steps[at];
    uint32_t n_used = s->info->n_used;
    double passed = 0;

    sl_cache_request(run->cache, step->layer, s->experts + step->experts, step->n, run->tickets);
    for (uint32_t i = 0; i < step->n_observed; i++)
        sl_cache_observe(run->cache, step->layer,
                         s->experts + step->observed + (uint64_t)i * n_used, n_used,
                         step->has_ranks
                             ? s->ranks + step->ranks + (uint64_t)i * s->info->n_experts
                             : NULL);
    compute(run, at);
    for (uint32_t i = 0; i < step->n_polls; i++) {
        double until = s->polls[step->polls + i];

        until = until < step->rest_s ? until : step->rest_s;
        if (until > passed)
            sim_reader_advance(run->reader, until - passed);
        passed = until > passed ? until : passed;
        sl_cache_poll(run->cache);
    }
    sim_reader_advance(run->reader, step->rest_s - passed);
}

int sim_run(const struct sim_script *script, const struct sim_opts *opts,
            struct sim_result *ret_result, struct sl_diag *diag)
{
    const struct sl_trace_info *info = script->info;
    struct run run = { .script = script, .opts = opts };
    struct sim_reader_opts reader_opts = { .alignment = info->alignment, .depth = info->depth,
                                           .bandwidth = opts->bandwidth };
    struct sl_cache_opts cache_opts = { .policy = opts->policy, .n_used = info->n_used,
                                        .guess = opts->predict != SIM_PREDICT_OFF };
    int r = -ENOMEM;

    run.reader = cache_opts.reader = sim_reader_new(&reader_opts);
    run.tickets = calloc(info->n_experts, sizeof(*run.tickets));
    run.guesses = calloc((size_t)PERFECT_AHEAD * info->n_experts, sizeof(*run.guesses));
    if (run.reader && run.tickets && run.guesses)
        r = sl_cache_new_streaming(&run.cache, info->layers, info->n_layers, &cache_opts);
    if (r == 0)
        r = sl_cache_set_budget(run.cache, opts->budget);
    if (r < 0) {
        sl_diag_set(diag, r, "no cache of %llu bytes can be made",
                    (unsigned long long)opts->budget);
        goto out;
    }
    sim_seed(run.cache, info);
    if (script->is_filled)
        sl_cache_fill(run.cache);
    for (uint64_t i = 0; i < script->n_steps; i++)
        run_step(&run, i);
    sl_cache_get_counters(run.cache, &ret_result->counters);
    ret_result->seconds = sim_reader_now(run.reader);
    ret_result->stall_s = run.stall_s;
    sim_reader_end_script(run.reader);

out:
    sl_cache_free(run.cache);
    sim_reader_free(run.reader);
    free(run.tickets);
    free(run.guesses);
    return r;
}

/* ---- Belady ---- */

struct belady {
    const struct sim_script *script;
    uint64_t *next;  /* per request: when its expert is asked for next, or UINT64_MAX */
    uint64_t *until; /* per expert: when it is wanted next, 0: not in memory */
    uint64_t *bytes; /* per layer, of an expert */
    uint32_t n_free[SL_SLOT_KINDS_MAX];
    uint32_t *kind;  /* per layer */
};

/* Give up what is wanted last; what this step asks for is wanted at once. */
static void give_up(struct belady *b, uint32_t kind, const struct sim_layer_step *step)
{
    const struct sl_trace_info *info = b->script->info;
    uint64_t *victim = NULL;

    for (uint32_t l = 0; l < info->n_layers; l++) {
        uint64_t *row = b->until + (uint64_t)l * info->n_experts;

        if (b->kind[l] != kind)
            continue;
        for (uint32_t e = 0; e < info->layers[l].mats[0].n_mats; e++) {
            bool is_pinned = false;

            if (!row[e] || (victim && row[e] <= *victim))
                continue;
            for (uint32_t i = 0; l == step->layer && i < step->n; i++)
                is_pinned |= b->script->experts[step->experts + i] == e;
            if (!is_pinned)
                victim = &row[e];
        }
    }
    if (!victim)
        return; /* more are asked for than there are slots: they take turns */
    *victim = 0;
    b->n_free[kind]++;
}

static void belady_run(struct belady *b, struct sim_result *ret)
{
    const struct sim_script *s = b->script;

    for (uint64_t i = 0; i < s->n_steps; i++) {
        const struct sim_layer_step *step = &s->steps[i];
        uint64_t *row = b->until + (uint64_t)step->layer * s->info->n_experts;
        double bytes = 0;

        for (uint32_t k = 0; k < step->n; k++) {
            uint64_t at = step->experts + k;
            uint64_t *until = &row[s->experts[at]];
            uint32_t kind = b->kind[step->layer];

            ret->counters.requests++;
            if (*until) {
                ret->counters.hits++;
                *until = b->next[at];
                continue;
            }
            ret->counters.misses++;
            bytes += (double)b->bytes[step->layer];
            if (b->n_free[kind] == 0)
                give_up(b, kind, step);
            if (b->n_free[kind] == 0)
                continue;
            b->n_free[kind]--;
            *until = b->next[at];
        }
        ret->counters.demand_bytes += (uint64_t)bytes;
        ret->seconds += step->moe_s + step->rest_s;
    }
}

static int belady_prepare(struct belady *b, uint64_t budget, struct sl_reader *reader)
{
    const struct sim_script *s = b->script;
    const struct sl_trace_info *info = s->info;
    uint64_t n = (uint64_t)info->n_layers * info->n_experts;
    struct sl_slots slots;
    bool is_one_kind;
    int r = sl_slots_init(&slots, info->layers, info->n_layers, info->n_used, reader);

    if (r < 0)
        return r;
    slots.is_one_kind = false;
    if (!sl_slots_divide(&slots, budget, &is_one_kind, b->n_free))
        r = -ENOMEM;
    slots.is_one_kind = is_one_kind;
    for (uint32_t l = 0; l < info->n_layers; l++) {
        b->kind[l] = sl_slots_kind(&slots, l);
        for (uint32_t p = 0; p < SL_PART_COUNT && info->layers[l].parts; p++)
            b->bytes[l] += info->layers[l].parts[p].bytes;
    }
    sl_slots_done(&slots);
    for (uint64_t i = 0; i < n; i++)
        b->until[i] = UINT64_MAX;
    for (uint64_t i = s->n_steps; i-- > 0;)
        for (uint32_t k = 0; k < s->steps[i].n; k++) {
            uint64_t at = s->steps[i].experts + k;
            uint64_t *until = b->until + (uint64_t)s->steps[i].layer * info->n_experts;

            b->next[at] = until[s->experts[at]];
            until[s->experts[at]] = i + 1;
        }
    memset(b->until, 0, n * sizeof(*b->until));
    return r;
}

int sim_belady(const struct sim_script *script, uint64_t budget, struct sim_result *ret_result,
               struct sl_diag *diag)
{
    const struct sl_trace_info *info = script->info;
    struct sim_reader_opts opts = { .alignment = info->alignment, .depth = info->depth };
    struct sl_reader *reader = sim_reader_new(&opts);
    struct belady b = { .script = script };
    int r = -ENOMEM;

    *ret_result = (struct sim_result){ 0 };
    b.next = calloc(script->n_experts + 1, sizeof(*b.next));
    b.until = calloc((size_t)info->n_layers * info->n_experts, sizeof(*b.until));
    b.kind = calloc(info->n_layers, sizeof(*b.kind));
    b.bytes = calloc(info->n_layers, sizeof(*b.bytes));
    if (reader && b.next && b.until && b.kind && b.bytes)
        r = belady_prepare(&b, budget, reader);
    if (r == 0)
        belady_run(&b, ret_result);
    else
        sl_diag_set(diag, r, "no cache of %llu bytes can be made", (unsigned long long)budget);
    free(b.next);
    free(b.until);
    free(b.kind);
    free(b.bytes);
    sim_reader_free(reader);
    return r;
}
