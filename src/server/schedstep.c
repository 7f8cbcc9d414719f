/*
 * What a step computes: tokens are picked (steppick), computed, each slot gets its logits, and
 * copies of sequences are kept for later prompts.
 *
 * Where prompts would have to be read in small parts because others decode, and the engine can
 * cut a step between layers, they are read at full size in a prefill instead: between its
 * pieces, each within the time bound, the others decode. It holds the bound also where few
 * rows cost as much as many, and reads the weights once for many rows.
 *
 * A step that failed says nothing of whose fault it was: its slots are then computed one by
 * one, and who fails alone, and again, is told so.
 *
 * Invariants: a slot is in at most one of batch and prefill; between steps batch is void; a
 * slot in the prefill keeps its sequence until the prefill ends or is dropped.
 */
#include <assert.h>
#include <errno.h>

#include "base/clock.h"
#include "server/schedstate.h"

/* A layer may take so many times what they take on average. */
#define LAYER_SPREAD 1.5
/* What is left of the bound for the prefill, whatever decoding took; one layer at least. */
#define PIECE_MS_MIN 1.0
/* Fewer rows take hardly less time for a layer: its weights have to be read. */
#define PREFILL_ROWS_MIN 16u
/* A prefill whose steps took at most so many times what was aimed at may be followed by a larger
 * one. Less than 1 / SL_SCHEDSTATE_SHARE, what rows were cut for: else they would swing. */
#define GROW_SPREAD 1.2
/* Of what is aimed at, the most that a joint step with prompts is guessed to take: it cannot be
 * ended early, and few rows, or those at the end of a long prompt, are dearer than is guessed. */
#define JOINT_SHARE 0.5

enum which { ALL, DECODING, PROMPTS };

bool sl_schedstep_is_in_prefill(const struct sl_sched *s, const struct sl_schedslot *slot)
{
    for (uint32_t i = 0; i < s->prefill.n; i++)
        if (s->prefill.slots[i] == slot)
            return true;
    return false;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static struct sl_schedslot *first_suspect(struct sl_sched *s)
{
    for (uint32_t i = 0; i < s->opts.n_slots; i++)
        if (sl_sched_is_running(&s->slots[i]) && s->slots[i].is_suspect)
            return &s->slots[i];
    return NULL;
}

/* Choose what to compute, of those who are not in the prefill. */
static struct sl_steppick plan(struct sl_sched *s, enum which which, uint32_t n_rows,
                               struct sl_schedbatch *batch)
{
    const struct sl_schedslot *alone = first_suspect(s);
    struct sl_steppick_limits limits = s->limits;
    struct sl_steppick pick;

    limits.n_rows = n_rows;
    for (uint32_t i = 0; i < s->opts.n_slots; i++) {
        const struct sl_schedslot *slot = &s->slots[i];
        uint32_t n_pending = slot->n_tokens - slot->n_past;

        s->views[i] = (struct sl_steppick_slot){0};
        if (!sl_sched_is_running(slot) || (alone && slot != alone) ||
            sl_schedstep_is_in_prefill(s, slot))
            continue;
        if ((which == DECODING && n_pending > 1) || (which == PROMPTS && n_pending == 1))
            continue;
        s->views[i].n_pending = n_pending;
    }
    pick = sl_steppick(s->views, s->opts.n_slots, s->turn, &limits, &s->cost, s->rows);
    batch->n = 0;
    for (uint32_t i = 0; i < s->opts.n_slots; i++) {
        struct sl_schedslot *slot = &s->slots[i];

        if (s->rows[i] == 0)
            continue;
        batch->slots[batch->n] = slot;
        batch->list[batch->n++] = (struct sluice_batch){
            .seq = slot->seq,
            .n_tokens = s->rows[i],
            .tokens = slot->tokens + slot->n_past,
            .n_logits = s->rows[i] == s->views[i].n_pending,
        };
    }
    return pick;
}

static uint32_t count_rows(const struct sl_schedbatch *batch)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < batch->n; i++)
        n += batch->list[i].n_tokens;
    return n;
}

/* Tokens as far as the engine has them: after a failure they may be fewer than before. */
static void look_again(struct sl_sched *s, const struct sl_schedbatch *batch)
{
    const struct sl_enginefn *engine = s->opts.engine;

    for (uint32_t i = 0; i < batch->n; i++) {
        int64_t n = engine->seq_tokens(engine->arg, batch->list[i].seq, NULL);

        batch->slots[i]->n_past = n > 0 ? (uint32_t)n : 0;
        sl_seqstore_set_floor(s->store, batch->list[i].seq, batch->slots[i]->n_past);
        sl_sched_mark(s, batch->slots[i]);
    }
}

void sl_schedstep_drop_prefill(struct sl_sched *s)
{
    s->opts.engine->prefill_drop(s->opts.engine->arg);
    look_again(s, &s->prefill);
    s->prefill.n = 0;
}

static void step_failed(struct sl_sched *s, struct sl_schedbatch *batch, int code)
{
    bool is_alone = batch->n == 1;

    look_again(s, batch);
    if (is_alone && (batch->slots[0]->is_suspect || code == -ENOMEM))
        sl_schedslot_fail(batch->slots[0], code, s->opts.engine->error(s->opts.engine->arg));
    for (uint32_t i = 0; i < batch->n; i++)
        batch->slots[i]->is_suspect = true;
    batch->n = 0;
}

/* What a step brought its slots: logits, or a longer beginning of their prompts. */
static void take_results(struct sl_sched *s, struct sl_schedbatch *batch, const float *logits)
{
    for (uint32_t i = 0; i < batch->n; i++) {
        const struct sluice_batch *b = &batch->list[i];
        struct sl_schedslot *slot = batch->slots[i];
        uint32_t n_before = slot->counts.n_predicted_tok;
        const float *row = logits;

        logits += b->n_logits ? s->opts.engine->n_vocab : 0;
        slot->n_past += b->n_tokens;
        slot->is_suspect = false;
        if (slot->n_past > s->counters.n_tok_max)
            s->counters.n_tok_max = slot->n_past;
        if (n_before == 0)
            s->counters.n_prompt_tok += b->n_tokens;
        if (slot->is_over)
            continue;
        if (b->n_logits)
            sl_schedslot_speak(slot, row);
        else
            sl_schedslot_progress(slot);
        sl_schedslot_flush(slot);
        s->counters.n_predicted_tok += slot->counts.n_predicted_tok - n_before;
    }
}

/* Copies of sequences up to where another prompt may go on. The logits are void then. */
static void keep_copies(struct sl_sched *s, const struct sl_schedbatch *batch)
{
    for (uint32_t i = 0; i < batch->n; i++) {
        const struct sl_schedslot *slot = batch->slots[i];
        const struct sl_genjob *job = slot->job;
        uint32_t n_before = slot->n_past - batch->list[i].n_tokens;

        for (uint32_t m = 0; m < job->n_marks; m++)
            if (job->marks[m] > n_before && job->marks[m] <= slot->n_past)
                sl_seqstore_copy(s->store, slot->seq, job->marks[m],
                                 m ? SL_SEQSTORE_MESSAGE : SL_SEQSTORE_FIRST, slot->index);
        if (slot->n_past == job->n_tokens && !slot->is_over)
            sl_seqstore_copy(s->store, slot->seq, slot->n_past, SL_SEQSTORE_PROMPT, slot->index);
    }
}

/* A batch was computed in so much time. */
static void take(struct sl_sched *s, struct sl_schedbatch *batch, const float *logits, double ms)
{
    sl_stepcost_add(&s->cost, count_rows(batch), ms);
    s->counters.n_steps++;
    s->counters.n_slot_steps += batch->n;
    take_results(s, batch, logits);
    keep_copies(s, batch);
    batch->n = 0;
}

static double ms_since(uint64_t start_ns)
{
    return (double)(sl_clock_ns() - start_ns) * 1e-6;
}

/* One whole step of those slots. Returns whether any decoded. */
static bool decode(struct sl_sched *s, enum which which, uint32_t n_rows)
{
    const struct sl_enginefn *engine = s->opts.engine;
    const float *logits = NULL;
    struct sl_steppick pick;
    uint64_t start_ns;
    int r;

    do {
        pick = plan(s, which, n_rows, &s->batch);
        if (s->batch.n == 0)
            return false;
        start_ns = sl_clock_ns();
        r = engine->decode(engine->arg, s->batch.list, s->batch.n, &logits);
    } while (r == -ENOMEM && sl_sched_make_room(s));
    if (r < 0)
        step_failed(s, &s->batch, r);
    else
        take(s, &s->batch, logits, ms_since(start_ns));
    return pick.n_decoding > 0;
}

/* How many rows a prefill may have so that a layer of it, beside those who decode, is done
 * within the bound: before the first one, as if time grew with the rows from the largest step
 * that is known, which is too few rather than too many. */
static uint32_t prefill_rows(const struct sl_sched *s, uint32_t n_decoding)
{
    double decode_ms = n_decoding ? sl_stepcost_guess(&s->cost, n_decoding) : 0;
    double layer_ms = (s->limits.max_ms - decode_ms) / LAYER_SPREAD;
    uint32_t n_rows = sl_stepcost_room(&s->cost, 0, s->prefill_rows_max,
                                       layer_ms * s->opts.engine->n_layers);

    return n_rows > PREFILL_ROWS_MIN ? n_rows : min_u32(PREFILL_ROWS_MIN, s->limits.n_rows);
}

/* Begin a prefill of the prompts, as large as it can be beside so many who decode. */
static void begin_prefill(struct sl_sched *s, uint32_t n_decoding)
{
    const struct sl_enginefn *engine = s->opts.engine;
    struct sl_schedbatch begun;
    int r;

    do {
        /* what matters is in the batch */
        (void)plan(s, PROMPTS, prefill_rows(s, n_decoding), &s->batch);
        if (s->batch.n == 0)
            return;
        r = engine->prefill_begin(engine->arg, s->batch.list, s->batch.n);
    } while (r == -ENOMEM && sl_sched_make_room(s));
    if (r < 0) {
        step_failed(s, &s->batch, r);
        return;
    }
    begun = s->batch;
    s->batch = s->prefill;
    s->prefill = begun;
    s->prefill_ms = s->prefill_longest_ms = 0;
}

/* A prefill is done. If one of its layers, which cannot be cut, took longer than it may, the
 * next has fewer rows. That may have been the machine: if all goes well again, more. */
static void learn_rows(struct sl_sched *s)
{
    uint32_t n_rows = count_rows(&s->prefill);
    double share = s->opts.max_step_ms / s->prefill_longest_ms;

    if (share < 1)
        s->prefill_rows_max = (uint32_t)(n_rows * share);
    else if (s->prefill_longest_ms < GROW_SPREAD * s->limits.max_ms)
        s->prefill_rows_max *= 2;
    if (s->prefill_rows_max < PREFILL_ROWS_MIN)
        s->prefill_rows_max = PREFILL_ROWS_MIN;
    if (s->prefill_rows_max > s->limits.n_rows)
        s->prefill_rows_max = s->limits.n_rows;
}

/* A token for those who decode, and then a piece of the prefill. Returns whether any did. */
static bool step_beside(struct sl_sched *s, uint64_t start_ns)
{
    const struct sl_enginefn *engine = s->opts.engine;
    bool has_decoded = decode(s, DECODING, engine->opts.n_beside);
    double left_ms = s->limits.max_ms - ms_since(start_ns);
    uint64_t piece_ns = sl_clock_ns();
    const float *logits = NULL;
    int r;

    if (s->prefill.n == 0) /* it was given up for want of room */
        return has_decoded;
    left_ms = left_ms > PIECE_MS_MIN ? left_ms : PIECE_MS_MIN;
    r = engine->prefill_advance(engine->arg, (uint64_t)(left_ms * 1e6), &logits);
    s->prefill_ms += ms_since(piece_ns);
    if (has_decoded && ms_since(start_ns) > s->prefill_longest_ms)
        s->prefill_longest_ms = ms_since(start_ns);
    if (r < 0) {
        step_failed(s, &s->prefill, r);
    } else if (r == 0) {
        learn_rows(s);
        take(s, &s->prefill, logits, s->prefill_ms);
    }
    return has_decoded;
}

/* Whether prompts are better read in a prefill than in the joint step that was picked. */
static bool is_cut_better(const struct sl_sched *s, const struct sl_steppick *pick)
{
    return pick->is_short ||
           sl_stepcost_guess(&s->cost, pick->n_rows) > JOINT_SHARE * s->limits.max_ms;
}

/* Have prompts read in a prefill, if that is better, beside those who decode. */
static void consider_prefill(struct sl_sched *s)
{
    struct sl_steppick pick;

    if (s->opts.engine->opts.n_beside == 0 || first_suspect(s))
        return;
    pick = plan(s, ALL, s->limits.n_rows, &s->batch);
    if (pick.n_decoding > 0 && pick.n_rows > pick.n_decoding &&
        pick.n_decoding <= s->opts.engine->opts.n_beside && is_cut_better(s, &pick))
        begin_prefill(s, pick.n_decoding);
}

void sl_schedstep_run(struct sl_sched *s)
{
    uint64_t start_ns = sl_clock_ns();
    bool has_decoded;

    if (s->prefill.n == 0)
        consider_prefill(s);
    has_decoded =
        s->prefill.n ? step_beside(s, start_ns) : decode(s, ALL, s->limits.n_rows);
    s->counters.n_late_steps += has_decoded && ms_since(start_ns) > s->opts.max_step_ms;
}
