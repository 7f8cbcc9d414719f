/*
 * A prefill in pieces: the session's step, run a layer at a time, while sluice_decode
 * computes in the one beside it. Between layers a step holds nothing of the pool and no
 * ticket of the expert cache, only its own scratch and the blocks that its sequences were
 * extended by, so steps of other sequences may come in between; that changes what the
 * expert cache holds, never a result.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "model/session.h"

int sluice_prefill_begin(struct sluice_session *s, const struct sluice_batch *batch,
                         uint32_t n_batch)
{
    struct sl_step *st = &s->step;
    uint64_t n_tok = 0;
    int r;

    if (s->opts.n_beside == 0)
        return sl_diag_set(&s->error, -EINVAL,
                           "the session was made without room beside a prefill (n_beside)");
    if (s->is_prefilling)
        return sl_diag_set(&s->error, -EBUSY, "a prefill is under way");
    r = sl_engine_check_mappings(s->model, &s->error);
    if (r == 0)
        r = sl_session_check_batch(s, st, batch, n_batch);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < n_batch; i++)
        n_tok += batch[i].n_tokens;
    if (n_tok == 0 || n_tok > st->n_chunk)
        return sl_diag_set(&s->error, n_tok ? -E2BIG : -EINVAL, "a prefill of %" PRIu64
                           " tokens, a step has 1 to %" PRIu32, n_tok, st->n_chunk);
    sl_session_clear_step(st);
    for (uint32_t i = 0; i < n_batch; i++)
        sl_session_push_run(s, st, (uint32_t)batch[i].seq, batch[i].tokens, batch[i].n_tokens,
                            batch[i].n_logits);
    s->is_prefilling = true;
    sl_layerpace_begin(&s->pace, (uint32_t)n_tok);
    return 0;
}

/* What layers of a kind have in common is about their time; the last one has the logits too. */
static uint32_t kind_of(const struct sl_hparams *hp, uint32_t layer)
{
    if (layer + 1 == hp->n_layers)
        return 4;
    return (layer < hp->n_dense ? 2 : 0) + (hp->n_heads_kv[layer] ? 1 : 0);
}

/* Whether the next layer will be done within the time that is left, as far as one can tell. */
static bool fits(const struct sluice_session *s, uint64_t left_ns)
{
    uint64_t ns = sl_layerpace_guess(&s->pace, kind_of(&s->model->hp, s->step.layer));

    return ns != SL_LAYERPACE_UNKNOWN && ns <= left_ns;
}

int sluice_prefill_advance(struct sluice_session *s, uint64_t max_ns, const float **ret_logits)
{
    struct sl_step *st = &s->step;
    uint32_t n_layers = s->model->hp.n_layers;
    uint64_t start = sl_clock_ns(), now = start;
    int r;

    if (!s->is_prefilling)
        return sl_diag_set(&s->error, -EINVAL, "no prefill is under way");
    do {
        uint32_t kind = kind_of(&s->model->hp, st->layer);
        uint64_t before = now;

        r = sl_session_run_layers(s, st, st->layer + 1);
        now = sl_clock_ns();
        sl_layerpace_add(&s->pace, kind, now - before);
    } while (r == 0 && st->layer < n_layers && now - start < max_ns &&
             fits(s, max_ns - (now - start)));

    if (atomic_exchange(&s->is_cancelled, false) && r == 0 && st->layer < n_layers) {
        sl_session_undo_step(s, st);
        r = sl_diag_set(&s->error, -ECANCELED, "cancelled");
    }
    s->is_prefilling = r == 0 && st->layer < n_layers;
    if (r < 0 || s->is_prefilling)
        return r < 0 ? r : 1;
    r = sl_session_finish_step(s, st);
    if (r == 0 && ret_logits)
        *ret_logits = st->logits;
    return r;
}

void sluice_prefill_drop(struct sluice_session *s)
{
    if (s->is_prefilling)
        sl_session_undo_step(s, &s->step);
    s->is_prefilling = false;
}
