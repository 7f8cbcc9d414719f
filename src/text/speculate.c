/*
 * tokens[0] is the token that the step at hand began with, the draft follows it, and n_true
 * of the draft have been drawn since. So logits' row n_true belongs to the next draw. A guess
 * for that draw is made in any case, and held against it, even when nothing is drafted: that
 * is how the worth of guesses is known before one is tried.
 */
#include "text/speculate.h"

#include <errno.h>
#include <stdlib.h>

#include "text/lookup.h"

struct sl_speculate {
    /* set once */
    struct sl_speculate_opts opts;
    struct sl_lookup *lookup;
    struct sl_draftlen draftlen;
    struct sl_speculate_stats stats;
    int32_t last; /* token drawn last */
    /* the step at hand; n_tok 0: none yet, or it was settled */
    struct sl_draftlen_step step;
    int32_t tokens[SL_SPECULATE_ROWS_MAX];
    uint32_t n_true;
    /* what is guessed for the next draw; n_guessed 0: nothing */
    int32_t guess;
    uint32_t n_guessed, match;
};

int sl_speculate_new(struct sl_speculate **ret_speculate, const struct sl_speculate_opts *opts)
{
    struct sl_speculate *s;

    if (opts->n_fixed > SL_SPECULATE_DRAFT_MAX)
        return -EINVAL;
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->opts = *opts;
    sl_draftlen_init(&s->draftlen);
    if (sl_lookup_new(&s->lookup, opts->n_window) < 0) {
        free(s);
        return -ENOMEM;
    }
    *ret_speculate = s;
    return 0;
}

void sl_speculate_free(struct sl_speculate *s)
{
    if (!s)
        return;
    sl_lookup_free(s->lookup);
    free(s);
}

static uint32_t guess(const struct sl_speculate *s, uint32_t n, int32_t *ids,
                      uint32_t *ret_match)
{
    return s->opts.guess ? s->opts.guess(s->opts.guess_arg, n, ids, ret_match)
                         : sl_lookup_guess(s->lookup, n, ids, ret_match);
}

void sl_speculate_begin(struct sl_speculate *s, const int32_t *ids, size_t n)
{
    sl_lookup_reset(s->lookup);
    for (size_t i = n > SL_LOOKUP_WINDOW_MAX ? n - SL_LOOKUP_WINDOW_MAX : 0; i < n; i++)
        sl_lookup_add(s->lookup, ids[i]);
    s->step.n_tok = 0;
    s->n_true = 0;
    s->n_guessed = guess(s, 1, &s->guess, &s->match);
}

/* Tokens of the step's draft that did not come true. */
static uint32_t n_wrong(const struct sl_speculate *s)
{
    return s->step.n_tok ? s->step.n_tok - 1 - s->n_true : 0;
}

bool sl_speculate_draw(struct sl_speculate *s, int32_t id, uint32_t *ret_row)
{
    bool is_drafted = n_wrong(s) > 0 && s->tokens[1 + s->n_true] == id;

    if (s->n_guessed)
        sl_draftlen_learn(&s->draftlen, s->match, s->guess == id);
    sl_lookup_add(s->lookup, id);
    s->last = id;
    s->n_guessed = guess(s, 1, &s->guess, &s->match);
    if (!is_drafted)
        return false;
    s->n_true++;
    s->stats.n_accepted++;
    *ret_row = s->n_true;
    return true;
}

static uint32_t settle(struct sl_speculate *s)
{
    uint32_t n = n_wrong(s);

    if (s->step.n_tok > 1)
        s->stats.saved += sl_draftlen_settle(&s->draftlen, 1 + s->n_true);
    s->step.n_tok = 0;
    s->n_true = 0;
    return n;
}

/* Length of the draft that follows the token drawn last, and the draft. */
static uint32_t draft(struct sl_speculate *s, uint32_t n_max, int32_t *ids)
{
    enum sl_draftlen_reason reason;
    uint32_t n = s->opts.n_fixed < n_max ? s->opts.n_fixed : n_max;
    uint32_t match;

    if (s->n_guessed == 0 || n_max == 0)
        return 0;
    if (s->opts.n_fixed == 0) {
        n = sl_draftlen_choose(&s->draftlen, s->match, n_max, &reason);
        s->stats.n_unpaid += reason == SL_DRAFTLEN_COST;
        s->stats.n_unread += reason == SL_DRAFTLEN_READING;
    }
    return n ? guess(s, n, ids, &match) : 0;
}

uint32_t sl_speculate_plan(struct sl_speculate *s, uint32_t n_draft_max,
                           const int32_t **ret_tokens, uint32_t *ret_n_wrong)
{
    uint32_t n_max = n_draft_max < SL_SPECULATE_DRAFT_MAX ? n_draft_max : SL_SPECULATE_DRAFT_MAX;
    uint32_t n;

    *ret_n_wrong = settle(s);
    n = draft(s, n_max, s->tokens + 1);
    s->tokens[0] = s->last;
    s->step = (struct sl_draftlen_step){ .n_tok = 1 + n };
    s->stats.n_steps++;
    s->stats.n_drafts += n > 0;
    s->stats.n_drafted += n;
    *ret_tokens = s->tokens;
    return 1 + n;
}

void sl_speculate_computed(struct sl_speculate *s, uint64_t ns, uint64_t n_requests,
                           uint64_t n_hits)
{
    s->step.ns = ns;
    s->step.n_requests = n_requests;
    s->step.n_hits = n_hits;
    sl_draftlen_measure(&s->draftlen, &s->step);
}

uint32_t sl_speculate_end(struct sl_speculate *s)
{
    return settle(s);
}

void sl_speculate_get_stats(const struct sl_speculate *s, struct sl_speculate_stats *ret_stats)
{
    *ret_stats = s->stats;
}

const struct sl_draftlen *sl_speculate_draftlen(const struct sl_speculate *s)
{
    return &s->draftlen;
}
