/*
 * Who runs. A step is: let in who can be let in, have tokens computed (schedstep), close what
 * is over.
 *
 *     waiting --slot free, room--> running --over--> closed
 *                                   |   ^
 *                       no room left|   |room again
 *                                   v   |
 *                                 set aside (keeps slot and sampler, has no sequence)
 *
 * Room is what the context has for all slots together. It is given in order of coming, and
 * taken back from the youngest: first the prefix cache gives up what it holds, then whoever
 * came last is set aside. The oldest is never, and fits alone, so that every request ends.
 */
#include "server/sched.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/schedstate.h"

bool sl_sched_is_running(const struct sl_schedslot *slot)
{
    return slot->job && slot->seq >= 0;
}

static int alloc_batch(struct sl_schedbatch *batch, uint32_t n)
{
    batch->list = calloc(n, sizeof(*batch->list));
    batch->slots = calloc(n, sizeof(struct sl_schedslot *));
    return batch->list && batch->slots ? 0 : -ENOMEM;
}

static int alloc_slots(struct sl_sched *s)
{
    uint32_t n = s->opts.n_slots;

    s->slots = calloc(n, sizeof(*s->slots));
    s->views = calloc(n, sizeof(*s->views));
    s->rows = calloc(n, sizeof(*s->rows));
    s->queue = calloc(s->opts.n_queue_max + 1, sizeof(struct sl_genjob *));
    if (!s->slots || !s->views || !s->rows || !s->queue || alloc_batch(&s->batch, n) < 0 ||
        alloc_batch(&s->prefill, n) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        int32_t *tokens = calloc((size_t)s->opts.engine->opts.n_ctx + 1, sizeof(*tokens));

        if (!tokens)
            return -ENOMEM;
        s->slots[i] = (struct sl_schedslot){
            .index = i, .engine = s->opts.engine, .sink = &s->opts.sink, .tokens = tokens,
            .seq = -1};
    }
    return 0;
}

int sl_sched_new(struct sl_sched **ret_sched, const struct sl_sched_opts *opts)
{
    const struct sluice_session_opts *session = &opts->engine->opts;
    struct sl_sched *s = calloc(1, sizeof(*s));
    int r;

    assert(opts->n_slots > 0 && opts->n_kept > 0 &&
           session->n_seq_max >= opts->n_slots + opts->n_kept &&
           session->n_marks >= SL_GENJOB_MARKS_MAX);
    if (!s)
        return -ENOMEM;
    s->opts = *opts;
    s->limits = (struct sl_steppick_limits){
        .n_rows = session->n_chunk, .n_logits = session->n_logits,
        .max_ms = SL_SCHEDSTATE_SHARE * opts->max_step_ms};
    s->prefill_rows_max = session->n_chunk;
    r = alloc_slots(s);
    if (r == 0)
        r = sl_seqstore_new(&s->store, opts->engine, opts->n_kept);
    if (r < 0) {
        sl_sched_free(s);
        return r;
    }
    *ret_sched = s;
    return 0;
}

/* The request is over: keep what was computed, and free the rest. */
static void close_slot(struct sl_sched *s, struct sl_schedslot *slot)
{
    struct sl_genjob *job = slot->job;

    s->counters.n_failed += slot->has_failed;
    s->counters.prompt_ms += slot->counts.prompt_ms;
    s->counters.predicted_ms += slot->counts.predicted_ms;
    if (slot->seq >= 0)
        sl_seqstore_put(s->store, slot->seq, SL_SEQSTORE_REPLY, slot->index);
    sl_schedslot_close(slot);
    s->opts.sink.done(s->opts.sink.arg, job);
}

static void close_over(struct sl_sched *s)
{
    for (uint32_t i = 0; i < s->opts.n_slots; i++)
        if (s->slots[i].job && s->slots[i].is_over &&
            !sl_schedstep_is_in_prefill(s, &s->slots[i]))
            close_slot(s, &s->slots[i]);
}

void sl_sched_free(struct sl_sched *s)
{
    if (!s)
        return;
    if (s->prefill.n)
        sl_schedstep_drop_prefill(s);
    for (uint32_t i = 0; s->slots && i < s->opts.n_slots; i++) {
        if (s->slots[i].job)
            close_slot(s, &s->slots[i]);
        free(s->slots[i].tokens);
    }
    for (uint32_t i = 0; i < s->n_queue; i++)
        s->opts.sink.done(s->opts.sink.arg, s->queue[i]);
    sl_seqstore_free(s->store);
    free(s->slots);
    free(s->views);
    free(s->rows);
    free(s->batch.list);
    free(s->batch.slots);
    free(s->prefill.list);
    free(s->prefill.slots);
    free(s->queue);
    free(s);
}

int sl_sched_add(struct sl_sched *s, struct sl_genjob *job)
{
    uint32_t n_ctx = s->opts.engine->opts.n_ctx;
    struct sl_apierror error = {0};

    if (s->n_queue >= s->opts.n_queue_max)
        return -EAGAIN;
    s->counters.n_requests++;
    if (job->n_tokens > n_ctx) {
        (void)sl_apierror_set_context(&error, job->n_tokens, n_ctx); /* it is told, not returned */
        s->counters.n_failed++;
        sl_schedslot_refuse(&s->opts.sink, job, &error);
        s->opts.sink.done(s->opts.sink.arg, job);
        return 0;
    }
    s->queue[s->n_queue++] = job;
    return 0;
}

static struct sl_genjob *leave_queue(struct sl_sched *s, uint32_t i)
{
    struct sl_genjob *job = s->queue[i];

    memmove(&s->queue[i], &s->queue[i + 1], (s->n_queue - i - 1) * sizeof(struct sl_genjob *));
    s->n_queue--;
    return job;
}

/* The prefill has no other slot that somebody waits for. */
static bool is_alone_in_prefill(const struct sl_sched *s, const struct sl_schedslot *slot)
{
    for (uint32_t i = 0; i < s->prefill.n; i++)
        if (s->prefill.slots[i] != slot && !s->prefill.slots[i]->is_over)
            return false;
    return true;
}

static void cancel_slot(struct sl_sched *s, struct sl_schedslot *slot)
{
    slot->is_over = true;
    if (!sl_schedstep_is_in_prefill(s, slot)) {
        close_slot(s, slot);
    } else if (is_alone_in_prefill(s, slot)) {
        sl_schedstep_drop_prefill(s);
        close_over(s);
    } /* else others go on, and it is closed when its tokens are no longer computed */
}

void sl_sched_cancel(struct sl_sched *s, uint64_t id)
{
    for (uint32_t i = 0; i < s->n_queue; i++)
        if (s->queue[i]->id == id) {
            s->counters.n_cancelled++;
            s->opts.sink.done(s->opts.sink.arg, leave_queue(s, i));
            return;
        }
    for (uint32_t i = 0; i < s->opts.n_slots; i++)
        if (s->slots[i].job && s->slots[i].job->id == id) {
            s->counters.n_cancelled++;
            cancel_slot(s, &s->slots[i]);
            return;
        }
}

bool sl_sched_is_busy(const struct sl_sched *s, uint32_t slot)
{
    return slot < s->opts.n_slots && s->slots[slot].job;
}

bool sl_sched_is_idle(const struct sl_sched *s)
{
    for (uint32_t i = 0; i < s->opts.n_slots; i++)
        if (s->slots[i].job)
            return false;
    return s->n_queue == 0;
}

uint32_t sl_sched_erase(struct sl_sched *s, uint32_t slot)
{
    return sl_seqstore_erase(s->store, slot);
}

int sl_sched_save(struct sl_sched *s, uint32_t slot, const char *path,
                  struct sl_sched_file *ret_file, struct sl_diag *diag)
{
    const struct sl_enginefn *engine = s->opts.engine;
    int seq = sl_seqstore_find(s->store, slot), r;

    if (sl_sched_is_busy(s, slot))
        return sl_diag_set(diag, -EBUSY, "slot %u is busy; try again when it is not", slot);
    if (seq < 0)
        return sl_diag_set(diag, seq, "slot %u has nothing to save", slot);
    r = engine->seq_save(engine->arg, seq, path, &ret_file->n_bytes);
    if (r < 0)
        return sl_diag_set(diag, r == -ENOENT ? -EIO : r, "%s", engine->error(engine->arg));
    ret_file->n_tok = (uint32_t)engine->seq_tokens(engine->arg, seq, NULL);
    return 0;
}

int sl_sched_restore(struct sl_sched *s, uint32_t slot, const char *path,
                     struct sl_sched_file *ret_file, struct sl_diag *diag)
{
    const struct sl_enginefn *engine = s->opts.engine;
    int seq;

    do
        seq = engine->seq_load(engine->arg, path, &ret_file->n_bytes);
    while ((seq == -ENOMEM || seq == -E2BIG) && sl_seqstore_evict(s->store));
    if (seq < 0)
        return sl_diag_set(diag, seq, "%s", engine->error(engine->arg));
    ret_file->n_tok = (uint32_t)engine->seq_tokens(engine->arg, seq, NULL);
    sl_seqstore_set_floor(s->store, seq, 0); /* as when it was saved, or nearly so */
    sl_seqstore_put(s->store, seq, SL_SEQSTORE_REPLY, slot);
    return 0;
}

/* Blocks of the context that n_tokens and one more need. What is shared is not taken off. */
static uint64_t blocks(uint32_t n_tokens)
{
    return n_tokens / SL_SEQSTORE_BLOCK_TOK + 1;
}

/* Whether n_tokens fit beside all who run, the prefix cache given up. */
static bool has_room(const struct sl_sched *s, uint32_t n_tokens)
{
    uint64_t n_blocks = blocks(s->opts.engine->opts.n_ctx - 1);
    uint64_t n = 0;

    for (uint32_t i = 0; i < s->opts.n_slots; i++)
        if (sl_sched_is_running(&s->slots[i]))
            n += blocks(s->slots[i].n_tokens);
    return n == 0 || n + blocks(n_tokens) <= n_blocks;
}

void sl_sched_mark(struct sl_sched *s, const struct sl_schedslot *slot)
{
    const struct sl_enginefn *engine = s->opts.engine;

    for (uint32_t i = 0; i < slot->job->n_marks; i++) {
        uint32_t mark = slot->job->marks[i];

        if (mark > slot->n_past) /* so it can be marked */
            (void)engine->seq_mark(engine->arg, slot->seq, mark);
        else
            sl_seqstore_touch(s->store, slot->tokens, mark);
    }
}

/* A sequence for the slot, with as much of its tokens as the prefix cache has. */
static void start(struct sl_sched *s, struct sl_schedslot *slot)
{
    const struct sl_enginefn *engine = s->opts.engine;
    bool is_new = !slot->has_started;
    uint32_t n_cached = 0;
    int seq = -ENOENT;

    if (!(slot->job->req->flags & SL_GENREQ_NO_CACHE))
        seq = sl_seqstore_fork(s->store, slot->tokens, slot->n_tokens, &n_cached);
    if (seq < 0) { /* also if going back in the cached one failed */
        n_cached = 0;
        seq = engine->seq_new(engine->arg);
        assert(seq >= 0); /* there is one for each slot and each kept */
        sl_seqstore_set_floor(s->store, seq, 0);
    }
    slot->seq = seq;
    sl_schedslot_start(slot, n_cached);
    sl_sched_mark(s, slot);
    if (is_new)
        s->counters.n_cached_tok += n_cached;
}

/* Who was set aside and came first, or NULL. */
static struct sl_schedslot *first_aside(struct sl_sched *s)
{
    struct sl_schedslot *first = NULL;

    for (uint32_t i = 0; i < s->opts.n_slots; i++) {
        struct sl_schedslot *slot = &s->slots[i];

        if (slot->job && slot->seq < 0 && (!first || slot->order < first->order))
            first = slot;
    }
    return first;
}

/* The slot that was asked for if it is free, else any free one, or NULL. */
static struct sl_schedslot *free_slot(struct sl_sched *s, int32_t wanted)
{
    if (wanted >= 0 && (uint32_t)wanted < s->opts.n_slots && !s->slots[wanted].job)
        return &s->slots[wanted];
    for (uint32_t i = 0; i < s->opts.n_slots; i++)
        if (!s->slots[i].job)
            return &s->slots[i];
    return NULL;
}

static void let_in(struct sl_sched *s)
{
    for (;;) {
        struct sl_schedslot *slot = first_aside(s);
        struct sl_genjob *job;

        if (slot) {
            if (!has_room(s, slot->n_tokens))
                return;
            start(s, slot);
            continue;
        }
        if (s->n_queue == 0 || !has_room(s, s->queue[0]->n_tokens))
            return;
        slot = free_slot(s, s->queue[0]->req->slot);
        if (!slot)
            return;
        job = leave_queue(s, 0);
        if (sl_schedslot_open(slot, job, s->n_orders++) < 0) {
            s->counters.n_failed++;
            s->opts.sink.done(s->opts.sink.arg, job);
            continue;
        }
        start(s, slot);
        sl_schedslot_flush(slot);
        if (slot->is_over)
            close_slot(s, slot);
    }
}

bool sl_sched_make_room(struct sl_sched *s)
{
    const struct sl_enginefn *engine = s->opts.engine;
    struct sl_schedslot *youngest = NULL;
    uint32_t n_running = 0;

    if (sl_seqstore_evict(s->store))
        return true;
    for (uint32_t i = 0; i < s->opts.n_slots; i++) {
        if (!sl_sched_is_running(&s->slots[i]))
            continue;
        n_running++;
        if (!youngest || s->slots[i].order > youngest->order)
            youngest = &s->slots[i];
    }
    if (n_running < 2)
        return false;
    if (sl_schedstep_is_in_prefill(s, youngest))
        sl_schedstep_drop_prefill(s);
    (void)engine->seq_free(engine->arg, youngest->seq); /* it is the slot's */
    youngest->seq = -1;
    youngest->n_past = 0;
    s->counters.n_set_aside++;
    return true;
}

void sl_sched_step(struct sl_sched *s)
{
    let_in(s);
    s->turn++;
    sl_schedstep_run(s);
    close_over(s);
}

void sl_sched_get_counters(const struct sl_sched *s, struct sl_sched_counters *ret_counters)
{
    *ret_counters = s->counters;
    ret_counters->n_waiting = s->n_queue;
    ret_counters->n_running = 0;
    for (uint32_t i = 0; i < s->opts.n_slots; i++)
        ret_counters->n_running += s->slots[i].job != NULL;
    ret_counters->n_kept = sl_seqstore_n(s->store);
    ret_counters->n_kept_tok = sl_seqstore_n_tok(s->store);
}
