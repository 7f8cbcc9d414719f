/*
 * Rounds go on until the next one would not fit into the time, SL_TUNE_ROUNDS_MAX at most.
 * From the fourth on a setting is given up that was never as fast as the leader at its
 * slowest and is behind by more than noise, and from the second on one that was never half
 * as fast: the time is better spent on the others. The first setting is never given up,
 * since all are compared with it.
 */
#include "cli/tunesearch.h"

#include <errno.h>

#define NOISE 0.03 /* less says nothing (doc/style.md, benchmarks) */
#define BEHIND 0.05
/* Of two alike settings one is below the other in four rounds of both by chance in 1 of 70
 * cases, in three rounds in 1 of 20. */
#define ROUNDS_SURE 4
#define ROUNDS_FAR 2 /* where it is FAR behind */
#define FAR 0.5

struct state {
    const struct sl_tune_search *search;
    struct sl_tune_result *results;
    uint64_t run_ns[SL_TUNE_SETTINGS_MAX]; /* what the last run of each took */
};

static void summarise(struct sl_tune_result *result)
{
    for (int p = 0; p < SL_TUNE_PURPOSES && result->n_rounds > 0; p++)
        result->spread[p] = sl_spread_of(result->rates[p], result->n_rounds);
}

/* The index of the highest median at a purpose among settings that may be chosen. */
static uint32_t find_leader(const struct state *st, enum sl_tune_purpose purpose,
                            const bool *may_be)
{
    uint32_t best = UINT32_MAX;

    for (uint32_t i = 0; i < st->search->n_settings; i++)
        if (may_be[i] && (best == UINT32_MAX || st->results[i].spread[purpose].median >
                                                    st->results[best].spread[purpose].median))
            best = i;
    return best;
}

/* Leave only those that are as good as the leader at a purpose. */
static void keep_equals(const struct state *st, enum sl_tune_purpose purpose, bool *may_be)
{
    double least = st->results[find_leader(st, purpose, may_be)].spread[purpose].median *
                   (1.0 - NOISE);

    for (uint32_t i = 0; i < st->search->n_settings; i++)
        may_be[i] = may_be[i] && st->results[i].spread[purpose].median >= least;
}

static uint32_t choose(const struct state *st)
{
    enum sl_tune_purpose purpose = st->search->purpose;
    bool may_be[SL_TUNE_SETTINGS_MAX];
    uint32_t i = 0;

    for (uint32_t k = 0; k < st->search->n_settings; k++)
        may_be[k] = !st->results[k].is_out;
    keep_equals(st, purpose, may_be);
    keep_equals(st, purpose == SL_TUNE_DECODE ? SL_TUNE_PREFILL : SL_TUNE_DECODE, may_be);
    while (!may_be[i])
        i++;
    return i;
}

static void give_up_slow_ones(struct state *st, uint32_t n_rounds)
{
    enum sl_tune_purpose purpose = st->search->purpose;
    bool may_be[SL_TUNE_SETTINGS_MAX];
    const struct sl_spread *leader;

    for (uint32_t i = 0; i < st->search->n_settings; i++)
        may_be[i] = !st->results[i].is_out;
    leader = &st->results[find_leader(st, purpose, may_be)].spread[purpose];
    for (uint32_t i = 1; i < st->search->n_settings; i++) {
        const struct sl_spread *own = &st->results[i].spread[purpose];

        if (n_rounds >= ROUNDS_SURE && own->high < leader->low &&
            own->median < leader->median * (1.0 - BEHIND))
            st->results[i].is_out = true;
        if (n_rounds >= ROUNDS_FAR && own->high < leader->low * FAR)
            st->results[i].is_out = true;
    }
}

/* Whether a round is over before the end if each run takes as long as the last time. */
static bool has_time(const struct state *st)
{
    uint64_t need = 0, now = st->search->clock_ns(st->search->arg);

    for (uint32_t i = 0; i < st->search->n_settings; i++)
        need += st->results[i].is_out ? 0 : st->run_ns[i];
    return now < st->search->end_ns && need <= st->search->end_ns - now;
}

/* Every second round runs backwards, and each begins elsewhere. -EAGAIN: no time left. */
static int run_round(struct state *st, uint32_t round)
{
    const struct sl_tune_search *search = st->search;
    uint32_t n = search->n_settings;

    for (uint32_t k = 0; k < n; k++) {
        uint32_t at = (k + round / 2) % n;
        uint32_t i = round % 2 ? n - 1 - at : at;
        struct sl_tune_result *result = &st->results[i];
        double rates[SL_TUNE_PURPOSES] = {0};
        uint64_t start = search->clock_ns(search->arg);
        int r;

        if (result->is_out)
            continue;
        if (start >= search->end_ns)
            return -EAGAIN;
        r = search->run(search->arg, i, rates);
        if (r != 0)
            return r;
        st->run_ns[i] = search->clock_ns(search->arg) - start;
        for (int p = 0; p < SL_TUNE_PURPOSES; p++)
            result->rates[p][result->n_rounds] = rates[p];
        result->n_rounds++;
    }
    return 0;
}

int sl_tunesearch_run(const struct sl_tune_search *search, struct sl_tune_result *results,
                      uint32_t *ret_best)
{
    struct state st = {.search = search, .results = results};
    uint32_t round;
    int r = 0;

    for (uint32_t i = 0; i < search->n_settings; i++)
        results[i] = (struct sl_tune_result){.n_rounds = 0};
    for (round = 0; round < SL_TUNE_ROUNDS_MAX && r == 0; round++) {
        if (!has_time(&st))
            break;
        r = run_round(&st, round);
        for (uint32_t i = 0; i < search->n_settings; i++)
            summarise(&results[i]);
        if (r == 0)
            give_up_slow_ones(&st, round + 1);
        if (r != 0)
            break;
    }
    if (r != 0 && r != -EAGAIN)
        return r;
    if (round < SL_TUNE_ROUNDS_MIN)
        return -EAGAIN;
    *ret_best = choose(&st);
    return 0;
}
