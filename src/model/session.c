/*
 * A session: one arena with everything its sequences and steps need, planned before it
 * is allocated; nothing is allocated afterwards.
 *
 * sluice_decode cuts the batch into steps of at most n_chunk tokens, in order of the
 * batch; a step may hold the end of one sequence's tokens and the beginning of the
 * next's. Blocks are checked for the whole call before the first step, so a call either
 * fits or changes nothing.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "model/forward.h"
#include "model/measure.h"
#include "model/session.h"

#define MIB (1024.0 * 1024.0)

static struct sl_step empty_step(struct sluice_session *s)
{
    const struct sluice_model *m = s->model;

    return (struct sl_step){
        .hp = &m->hp,
        .weights = &m->weights,
        .of_worker = m->copies.of_worker,
        .kernels = &m->kernels,
        .pool = m->pool,
        .cache = m->cache,
        .is_streaming = m->is_streaming,
        .predict = m->stream.predict,
        .ahead = &m->stream.ahead,
        .replay = m->stream.replay,
        .timeline = &s->timeline,
    };
}

/* Both passes of the arena: measuring, then taking. */
static void layout(struct sluice_session *s)
{
    s->step = s->beside = empty_step(s);
    s->kv_bytes = sl_session_layout(&s->step, &s->beside, &s->opts,
                                    sl_pool_n_workers(s->model->pool), &s->arena);
}

static int allocate(struct sluice_session *s, struct sl_diag *diag)
{
    uint64_t have = sl_memory_available("");
    uint64_t weights = s->model->weight_bytes;
    int r;

    layout(s);
    if (s->model->is_streaming) {
        r = sl_stream_reserve(s->model, s->arena.used, diag);
        if (r < 0)
            return r;
        s->reserved_bytes = s->arena.used;
    }
    /* The weights are in the page cache, which counts as available: they must fit too. */
    else if (s->arena.used + weights > have)
        return sl_diag_set(diag, -ENOMEM,
                           "not enough memory: the weights take %.0f MiB, a context of %" PRIu32
                           " takes %.0f MiB and computing %.0f MiB, but only %.0f MiB are "
                           "available; try a smaller context",
                           (double)weights / MIB, s->opts.n_ctx, (double)s->kv_bytes / MIB,
                           (double)(s->arena.used - s->kv_bytes) / MIB, (double)have / MIB);
    r = sl_arena_map(&s->arena);
    if (r < 0)
        return sl_diag_set(diag, r, "the system refused %.0f MiB of memory; try a smaller context",
                           (double)s->arena.used / MIB);
    layout(s);
    sl_timeline_reset(&s->timeline);
    return 0;
}

int sluice_session_new(struct sluice_session **ret_session, struct sluice_model *model,
                       const struct sluice_session_opts *opts, struct sluice_error *error)
{
    struct sl_diag *diag = (struct sl_diag *)error;
    struct sluice_session *s;
    int r;

    if (!ret_session || !model)
        return sl_diag_set(diag, -EINVAL, "no model given");
    if (model->is_text_only)
        return sl_diag_set(diag, -EINVAL, "the model was opened for its text alone");
    s = calloc(1, sizeof(*s));
    if (!s)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for a session");
    s->model = model;
    if (opts)
        s->opts = *opts;
    if (s->opts.n_ctx == 0)
        s->opts.n_ctx = model->plan.session.n_ctx;
    if (s->opts.n_chunk == 0 && model->is_streaming)
        s->opts.n_chunk = model->plan.session.n_chunk < s->opts.n_ctx
                              ? model->plan.session.n_chunk : s->opts.n_ctx;
    r = sl_session_fill_opts(&s->opts, &model->hp, diag);
    if (r < 0)
        goto fail;
    r = allocate(s, diag);
    if (r < 0)
        goto fail;
    for (uint32_t i = 0; i < model->hp.head_dim / 2; i++)
        s->step.rope_freq[i] = pow(model->hp.rope_theta, -2.0 * i / model->hp.head_dim);
    s->counters.kv_bytes = s->kv_bytes;
    s->counters.scratch_bytes = s->arena.used - s->kv_bytes;
    *ret_session = s;
    return 0;

fail:
    sluice_session_free(s);
    return r;
}

void sluice_session_free(struct sluice_session *s)
{
    if (!s)
        return;
    if (s->reserved_bytes)
        sl_stream_unreserve(s->model, s->reserved_bytes);
    sl_arena_done(&s->arena);
    free(s);
}

void sluice_session_get_opts(const struct sluice_session *s, struct sluice_session_opts *ret_opts)
{
    *ret_opts = s->opts;
}

static bool is_seq(const struct sluice_session *s, int seq)
{
    return seq >= 0 && (uint32_t)seq < s->opts.n_seq_max && s->timeline.seqs[seq].is_used;
}

int sl_session_check_seq(struct sluice_session *s, int seq)
{
    if (!is_seq(s, seq))
        return sl_diag_set(&s->error, -EINVAL, "no sequence %d", seq);
    for (uint32_t i = 0; i < s->step.n_runs && s->is_prefilling; i++)
        if (s->step.runs[i].seq == (uint32_t)seq)
            return sl_diag_set(&s->error, -EBUSY, "a prefill of sequence %d is under way", seq);
    return 0;
}

int sluice_seq_new(struct sluice_session *s)
{
    int r = sl_timeline_new_seq(&s->timeline);

    return r < 0 ? sl_diag_set(&s->error, r, "all %" PRIu32 " sequences are in use",
                               s->opts.n_seq_max) : r;
}

int sluice_seq_free(struct sluice_session *s, int seq)
{
    int r = sl_session_check_seq(s, seq);

    if (r == 0)
        sl_timeline_free_seq(&s->timeline, (uint32_t)seq);
    return r;
}

int sluice_seq_fork(struct sluice_session *s, int seq)
{
    int r = sl_session_check_seq(s, seq);

    if (r < 0)
        return r;
    r = sl_timeline_fork(&s->timeline, (uint32_t)seq);
    return r < 0 ? sl_diag_set(&s->error, r, "all %" PRIu32 " sequences are in use",
                               s->opts.n_seq_max) : r;
}

int sluice_seq_mark(struct sluice_session *s, int seq, int64_t pos)
{
    int r = sl_session_check_seq(s, seq);

    if (r < 0)
        return r;
    if (s->opts.n_marks == 0)
        return sl_diag_set(&s->error, -EINVAL, "the session was made without marks (n_marks)");
    if (pos <= s->timeline.seqs[seq].n_tok || pos > s->opts.n_ctx)
        return sl_diag_set(&s->error, -ERANGE, "cannot mark position %" PRId64 " of sequence %d: "
                           "from %" PRIu32 " to %" PRIu32 " are to come", pos, seq,
                           s->timeline.seqs[seq].n_tok + 1, s->opts.n_ctx);
    sl_timeline_mark(&s->timeline, (uint32_t)seq, (uint32_t)pos);
    return 0;
}

int64_t sluice_seq_tokens(const struct sluice_session *s, int seq, const int32_t **ret_tokens)
{
    if (!is_seq(s, seq))
        return -EINVAL;
    if (ret_tokens)
        *ret_tokens = s->timeline.seqs[seq].tokens;
    return s->timeline.seqs[seq].n_tok;
}

const char *sluice_session_error(const struct sluice_session *s)
{
    return s->error.text;
}

void sluice_session_cancel(struct sluice_session *s)
{
    atomic_store(&s->is_cancelled, true); /* lock-free: async-signal-safe */
}

void sluice_session_set_route_fn(struct sluice_session *s, sluice_route_fn fn, void *arg)
{
    s->route_fn = fn;
    s->route_arg = arg;
}

void sluice_session_get_counters(const struct sluice_session *s,
                                 struct sluice_counters *ret_counters)
{
    struct sl_cache_counters c;

    *ret_counters = s->counters;
    if (!s->model->is_streaming)
        return;
    sl_cache_get_counters(s->model->cache, &c);
    ret_counters->experts = (struct sluice_expert_counters){
        .requests = c.requests, .hits = c.hits, .covered = c.covered,
        .covered_late = c.covered_late, .misses = c.misses,
        .guesses = c.guesses, .guesses_used = c.guesses_used,
        .guesses_expired = c.guesses_expired,
        .demand_bytes = c.demand_bytes, .guess_bytes = c.guess_bytes,
        .fill_bytes = c.fill_bytes, .used_bytes = c.used_bytes,
        .wasted_bytes = c.wasted_bytes, .evictions = c.evictions, .stall_ns = c.stall_ns,
        .read_ns = c.read_ns,
        .n_failed = c.n_failed, .slot_bytes = c.slot_bytes, .n_slots = c.n_slots,
        .n_ready = c.n_ready, .n_loading = c.n_loading, .n_regions = c.n_regions,
        .regions_given_back = c.regions_given_back,
    };
}

static void report_routes(const struct sluice_session *s, const struct sl_step *st)
{
    uint32_t k = s->model->hp.n_experts_used;

    if (!s->route_fn)
        return;
    for (uint32_t t = 0; t < st->n_tok; t++)
        for (uint32_t i = 0; i < s->model->hp.n_layers - s->model->hp.n_dense; i++) {
            size_t row = (size_t)i * st->n_chunk + t;

            s->route_fn(s->route_arg, (int)st->runs[st->run_of[t]].seq, st->pos[t],
                        s->model->hp.n_dense + i, st->routes + row * k,
                        st->route_weights + row * k, k, st->route_margin[row]);
        }
}

void sl_session_clear_step(struct sl_step *st)
{
    st->n_tok = st->n_runs = st->n_out = 0;
    st->layer = 0;
}

void sl_session_push_run(struct sluice_session *s, struct sl_step *st, uint32_t seq,
                         const int32_t *tokens, uint32_t n, uint32_t n_out)
{
    uint32_t pos0 = s->timeline.seqs[seq].n_tok;

    sl_timeline_extend(&s->timeline, seq, n);
    st->runs[st->n_runs] = (struct sl_run){ .seq = seq, .tok0 = st->n_tok, .n_tok = n,
                                            .pos0 = pos0 };
    for (uint32_t i = 0; i < n; i++) {
        uint32_t t = st->n_tok++;

        st->tokens[t] = tokens[i];
        st->pos[t] = pos0 + i;
        st->run_of[t] = st->n_runs;
        if (i >= n - n_out)
            st->out_tok[st->n_out++] = t;
    }
    st->n_runs++;
}

void sl_session_undo_step(struct sluice_session *s, struct sl_step *st)
{
    for (uint32_t i = 0; i < st->n_runs; i++) {
        const struct sl_run *run = &st->runs[i];

        sl_timeline_commit(&s->timeline, run->seq, st->tokens + run->tok0, run->n_tok);
        (void)sl_timeline_rewind(&s->timeline, run->seq, run->pos0);
    }
    sl_session_clear_step(st);
}

/* Why the step failed, for people. */
static int step_error(struct sluice_session *s, const struct sl_step *st, int error)
{
    const struct sl_ticket *t = &st->moe.tickets[0];
    uint32_t layer = t->layer, expert = t->expert;

    for (uint32_t a = 0; a < st->moe.n_active; a++)
        if (st->moe.tickets[a].error)
            expert = st->moe.tickets[a].expert;
    return sl_diag_set(&s->error, error, "%s: cannot read expert %" PRIu32 " of layer %" PRIu32
                       ": %s", s->model->path, expert, layer,
                       error == -EBADMSG ? "its checksum does not match, the file is damaged"
                                         : sl_err_text(error));
}

int sl_session_run_layers(struct sluice_session *s, struct sl_step *st, uint32_t layer_end)
{
    uint64_t start = sl_clock_ns();
    int r;

    if (s->model->is_streaming && st->layer == 0) {
        st->n_steps_before = s->model->stream.n_steps;
        sl_stream_before_step(s->model);
    }
    r = sl_forward_run(st, layer_end);
    s->counters.step_ns += sl_clock_ns() - start;
    if (r < 0) {
        r = step_error(s, st, r);
        sl_session_undo_step(s, st);
    }
    return r;
}

int sl_session_finish_step(struct sluice_session *s, struct sl_step *st)
{
    int r;

    s->counters.n_steps++;
    s->counters.n_tokens += st->n_tok;
    s->model->stream.n_tokens += st->n_tok;
    s->counters.weight_bytes += st->weight_bytes + s->model->weights.shared_bytes;
    if (st->n_out)
        s->counters.weight_bytes += sl_tensor_mat_bytes(&s->model->weights.output);
    r = sl_engine_check_mappings(s->model, &s->error);
    if (r < 0) {
        sl_session_undo_step(s, st);
        return r;
    }
    for (uint32_t i = 0; i < st->n_runs; i++)
        sl_timeline_commit(&s->timeline, st->runs[i].seq, st->tokens + st->runs[i].tok0,
                           st->runs[i].n_tok);
    report_routes(s, st);
    sl_session_clear_step(st);
    return 0;
}

/* Compute the step that has been put together. Rows of logits before it are kept. */
static int run_step(struct sluice_session *s, struct sl_step *st, uint32_t n_rows_before)
{
    float *logits = st->logits;
    int r;

    st->logits += (size_t)n_rows_before * s->model->weights.n_vocab;
    r = sl_session_run_layers(s, st, s->model->hp.n_layers);
    st->logits = logits;
    return r < 0 ? r : sl_session_finish_step(s, st);
}

static int check_tokens(struct sluice_session *s, const struct sluice_batch *b)
{
    for (uint32_t i = 0; i < b->n_tokens; i++)
        if (b->tokens[i] < 0 || (uint32_t)b->tokens[i] >= s->model->weights.n_vocab)
            return sl_diag_set(&s->error, -ERANGE, "token %" PRId32 " at index %" PRIu32
                               " is outside the vocabulary of %" PRIu32, b->tokens[i], i,
                               s->model->weights.n_vocab);
    return 0;
}

int sl_session_check_batch(struct sluice_session *s, const struct sl_step *st,
                           const struct sluice_batch *batch, uint32_t n_batch)
{
    bool seen[SL_SEQS_MAX] = { false };
    uint64_t n_blocks = 0, n_rows = 0;

    if (n_batch > 0 && !batch)
        return sl_diag_set(&s->error, -EINVAL, "no batch given");
    for (uint32_t i = 0; i < n_batch; i++) {
        const struct sluice_batch *b = &batch[i];
        const struct sl_seq *seq;
        int r = sl_session_check_seq(s, b->seq);

        if (r < 0)
            return r;
        if (seen[b->seq])
            return sl_diag_set(&s->error, -EINVAL, "sequence %d is in the batch twice", b->seq);
        if (b->n_tokens == 0 || !b->tokens || b->n_logits > b->n_tokens)
            return sl_diag_set(&s->error, -EINVAL, "sequence %d: %" PRIu32 " tokens and %" PRIu32
                               " rows of logits asked for", b->seq, b->n_tokens, b->n_logits);
        seen[b->seq] = true;
        seq = &s->timeline.seqs[b->seq];
        if ((uint64_t)seq->n_tok + b->n_tokens > s->opts.n_ctx)
            return sl_diag_set(&s->error, -ENOMEM, "the context is full: %" PRIu64
                               " positions needed, %" PRIu32 " there are",
                               (uint64_t)seq->n_tok + b->n_tokens, s->opts.n_ctx);
        r = check_tokens(s, b);
        if (r < 0)
            return r;
        n_rows += b->n_logits;
        n_blocks += sl_timeline_blocks_needed(&s->timeline, (uint32_t)b->seq, b->n_tokens);
    }
    if (n_rows > st->n_logits)
        return sl_diag_set(&s->error, -EINVAL, "%" PRIu64 " rows of logits asked for, a step "
                           "has room for %" PRIu32, n_rows, st->n_logits);
    if (n_blocks > s->timeline.n_free)
        return sl_diag_set(&s->error, -ENOMEM, "the context is full: %" PRIu64 " blocks of %d "
                           "positions needed, %" PRIu32 " of %" PRIu32 " are free", n_blocks,
                           SL_KV_BLOCK_TOK, s->timeline.n_free, s->timeline.n_blocks);
    return 0;
}

/* How many of the tokens [done, done + n) of a batch entry want logits. */
static uint32_t rows_in(const struct sluice_batch *b, uint32_t done, uint32_t n)
{
    uint32_t first_row = b->n_tokens - b->n_logits;

    if (done + n <= first_row)
        return 0;
    return done + n - first_row < n ? done + n - first_row : n;
}

static int decode_batch(struct sluice_session *s, struct sl_step *st,
                        const struct sluice_batch *batch, uint32_t n_batch)
{
    uint32_t n_rows = 0; /* of the steps that are done */
    int r;

    sl_session_clear_step(st);
    for (uint32_t i = 0; i < n_batch; i++) {
        const struct sluice_batch *b = &batch[i];

        for (uint32_t done = 0; done < b->n_tokens;) {
            uint32_t room = st->n_chunk - st->n_tok;
            uint32_t n = b->n_tokens - done < room ? b->n_tokens - done : room;
            bool is_last = i + 1 == n_batch && done + n == b->n_tokens;
            uint32_t n_out;

            sl_session_push_run(s, st, (uint32_t)b->seq, b->tokens + done, n,
                                rows_in(b, done, n));
            done += n;
            if (st->n_tok < st->n_chunk && !is_last)
                continue;
            n_out = st->n_out;
            r = run_step(s, st, n_rows);
            if (r < 0)
                return r;
            n_rows += n_out;
            if (atomic_exchange(&s->is_cancelled, false) && !is_last)
                return sl_diag_set(&s->error, -ECANCELED, "cancelled");
        }
    }
    return 0;
}

/* The step that is free: that of a prefill is not. */
static struct sl_step *free_step(struct sluice_session *s)
{
    return s->is_prefilling ? &s->beside : &s->step;
}

static bool wants_logits(const struct sluice_batch *batch, uint32_t n_batch)
{
    for (uint32_t i = 0; i < n_batch; i++)
        if (batch[i].n_logits)
            return true;
    return false;
}

int sluice_decode(struct sluice_session *s, const struct sluice_batch *batch, uint32_t n_batch,
                  const float **ret_logits)
{
    struct sl_step *st = free_step(s);
    int r;

    r = sl_engine_check_mappings(s->model, &s->error);
    if (r < 0)
        return r;
    r = sl_session_check_batch(s, st, batch, n_batch);
    if (r < 0)
        return r;
    if (!ret_logits && wants_logits(batch, n_batch))
        return sl_diag_set(&s->error, -EINVAL, "rows of logits asked for, and no place for them");
    r = decode_batch(s, st, batch, n_batch);
    if (r < 0)
        return r;
    if (ret_logits)
        *ret_logits = st->logits;
    return 0;
}

int sluice_seq_rewind(struct sluice_session *s, int seq, int64_t n_keep)
{
    struct sluice_batch again = { .seq = seq };
    uint32_t n_tok, at;
    int r = sl_session_check_seq(s, seq);

    if (r < 0)
        return r;
    n_tok = s->timeline.seqs[seq].n_tok;
    if (n_keep < 0 || n_keep > n_tok)
        return sl_diag_set(&s->error, -ERANGE, "cannot rewind sequence %d to %" PRId64
                           ": it has %" PRIu32 " tokens", seq, n_keep, n_tok);
    if (!sl_timeline_can_rewind(&s->timeline, (uint32_t)seq, (uint32_t)n_keep))
        return sl_diag_set(&s->error, -ENOMEM, "the context is full: rewinding sequence %d to "
                           "%" PRId64 " needs a free block", seq, n_keep);
    at = sl_timeline_rewind(&s->timeline, (uint32_t)seq, (uint32_t)n_keep);
    again.n_tokens = (uint32_t)n_keep - at;
    again.tokens = s->timeline.seqs[seq].tokens + at;
    return again.n_tokens ? decode_batch(s, free_step(s), &again, 1) : 0;
}
