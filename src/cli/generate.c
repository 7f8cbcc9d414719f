/*
 * Prompt, then token by token. The last prompt token is always computed anew, since its
 * logits are needed and are not kept.
 */
#include "cli/generate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "cli/infile.h"
#include "cli/interrupt.h"
#include "cli/machine.h"
#include "text/tokenizer.h"

/* A piece is fed to the stream in parts of this size. */
#define PART_BYTES 256

/* What each token took. */
struct times {
    uint64_t *stall_ns, *compute_ns; /* owned */
    size_t n, cap;
    struct sluice_counters last;
};

/* Note the step since the last one. Without memory the rest is left out. */
static void times_add(struct times *t, const struct sluice_session *session)
{
    struct sluice_counters before = t->last;
    uint64_t stall;

    sluice_session_get_counters(session, &t->last);
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 256;
        uint64_t *stalls = realloc(t->stall_ns, cap * sizeof(*stalls));
        uint64_t *computes;

        if (!stalls)
            return;
        t->stall_ns = stalls;
        computes = realloc(t->compute_ns, cap * sizeof(*computes));
        if (!computes)
            return;
        t->compute_ns = computes;
        t->cap = cap;
    }
    stall = t->last.experts.stall_ns - before.experts.stall_ns;
    t->stall_ns[t->n] = stall;
    t->compute_ns[t->n++] = t->last.step_ns - before.step_ns - stall;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Sorts them. */
static struct sl_generate_spread spread(uint64_t *values, size_t n)
{
    if (n == 0)
        return (struct sl_generate_spread){0};
    qsort(values, n, sizeof(*values), compare_u64);
    return (struct sl_generate_spread){values[n / 2], values[(n * 99 - 1) / 100]};
}

/* What was counted between two snapshots; of the present, the later one. */
static struct sluice_expert_counters counters_between(const struct sluice_expert_counters *from,
                                                      const struct sluice_expert_counters *to)
{
    struct sluice_expert_counters c = *to;

#define LESS(field) c.field -= from->field
    LESS(requests);
    LESS(hits);
    LESS(covered);
    LESS(covered_late);
    LESS(misses);
    LESS(guesses);
    LESS(guesses_used);
    LESS(guesses_expired);
    LESS(demand_bytes);
    LESS(guess_bytes);
    LESS(fill_bytes);
    LESS(used_bytes);
    LESS(wasted_bytes);
    LESS(evictions);
    LESS(stall_ns);
    LESS(read_ns);
    LESS(n_failed);
    LESS(regions_given_back);
#undef LESS
    return c;
}

static int set_error(struct sluice_error *error, int r, const char *text)
{
    (void)snprintf(error->text, sizeof(error->text), "%s", text && *text ? text : sl_err_text(r));
    return r;
}

static int emit_piece(const struct sl_generate_opts *opts, struct sl_utf8_stream *stream,
                      const char *piece, size_t len)
{
    char out[3 * PART_BYTES + 9];
    int r = 0;

    while (len && r == 0) {
        size_t part = len < PART_BYTES ? len : PART_BYTES;
        size_t n = sl_utf8_stream_feed(stream, piece, part, out);

        r = n ? opts->emit(opts->arg, out, n) : 0;
        piece += part;
        len -= part;
    }
    return r;
}

static size_t common_prefix(const struct sluice_session *session, int seq, const int32_t *ids,
                            size_t n_ids)
{
    const int32_t *past = NULL;
    int64_t n_past = sluice_seq_tokens(session, seq, &past);
    size_t n = 0;

    while (n < n_ids - 1 && (int64_t)n < n_past && past[n] == ids[n])
        n++;
    return n;
}

static int set_grammar(struct sluice_sampler *sampler, const char *path,
                       struct sluice_error *error)
{
    struct sl_diag diag = {""};
    char *text;
    size_t len;
    int r;

    if (!path)
        return 0;
    r = sl_infile_read(path, &text, &len, &diag);
    if (r < 0)
        return set_error(error, r, diag.text);
    r = sluice_sampler_set_grammar(sampler, text, len, (struct sluice_error *)&diag);
    free(text);
    if (r < 0)
        (void)snprintf(error->text, sizeof(error->text), "%s: %s", path, diag.text);
    return r;
}

static int decode_prompt(struct sluice_session *session, int seq, const int32_t *ids, size_t n_ids,
                         struct sl_generate_stats *stats, const float **ret_logits,
                         struct sluice_error *error)
{
    uint64_t start = sl_clock_ns();
    int r;

    stats->n_prompt = (uint32_t)n_ids;
    do {
        size_t n_keep = common_prefix(session, seq, ids, n_ids);
        struct sluice_batch batch = {.seq = seq, .tokens = ids + n_keep, .n_logits = 1};

        batch.n_tokens = (uint32_t)(n_ids - n_keep);
        stats->n_reused = (uint32_t)n_keep;
        r = sluice_seq_rewind(session, seq, (int64_t)n_keep);
        if (r == 0)
            r = sluice_decode(session, &batch, 1, ret_logits);
        /* again if it was stopped by a Ctrl-C that ended the answer before this one */
    } while (r == -ECANCELED && !sl_interrupt_is_set());
    stats->prompt_ns = sl_clock_ns() - start;
    return r < 0 ? set_error(error, r, sluice_session_error(session)) : 0;
}

/* An answer while it is drawn. All borrowed. */
struct drawing {
    const struct sluice_model *model;
    struct sluice_session *session;
    int seq;
    struct sluice_sampler *sampler;
    const struct sl_generate_opts *opts;
    struct sl_generate_stats *stats;
    struct times times;
    const float *rows; /* logits of the last step: [1 + draft][n_vocab] */
    uint32_t n_vocab;
    uint32_t n_rows_max; /* rows that a step may have */
    uint32_t n_ctx;
};

/* How many tokens may be drafted: as many as could still be drawn after the next one, as the
 * context has room for, and as the session has rows of logits for. */
static uint32_t draft_room(const struct drawing *d, int64_t n_past)
{
    uint32_t most = d->n_rows_max - 1;
    uint32_t n_left = d->opts->n_max ? d->opts->n_max - d->stats->n_answer - 1 : UINT32_MAX;
    uint32_t n_free = n_past + 1 < d->n_ctx ? d->n_ctx - 1 - (uint32_t)n_past : 0;

    most = most < n_left ? most : n_left;
    return most < n_free ? most : n_free;
}

/* Compute id and a draft behind it. */
static int compute_drafted(struct drawing *d)
{
    struct sl_speculate *speculate = d->opts->speculate;
    struct sluice_expert_counters before = d->times.last.experts;
    struct sluice_batch batch = {.seq = d->seq};
    int64_t n_past = sluice_seq_tokens(d->session, d->seq, NULL);
    uint64_t start;
    uint32_t n_wrong;
    int r;

    batch.n_tokens = sl_speculate_plan(speculate, draft_room(d, n_past), &batch.tokens, &n_wrong);
    batch.n_logits = batch.n_tokens;
    start = sl_clock_ns();
    r = sluice_seq_rewind(d->session, d->seq, n_past - n_wrong);
    if (r == 0)
        r = sluice_decode(d->session, &batch, 1, &d->rows);
    if (r < 0)
        return r;
    times_add(&d->times, d->session);
    sl_speculate_computed(speculate, sl_clock_ns() - start,
                          d->times.last.experts.requests - before.requests,
                          d->times.last.experts.hits - before.hits);
    return 0;
}

/* Logits of what follows id: at hand if id was drafted, else computed. */
static int advance(struct drawing *d, int32_t id, const float **ret_logits)
{
    struct sluice_batch batch = {.seq = d->seq, .n_tokens = 1, .tokens = &id, .n_logits = 1};
    bool is_drafted = false;
    uint32_t row = 0;
    int r = 0;

    if (sl_interrupt_is_set())
        return -ECANCELED;
    if (d->opts->speculate)
        is_drafted = sl_speculate_draw(d->opts->speculate, id, &row);
    if (d->opts->speculate && !is_drafted) {
        r = compute_drafted(d);
    } else if (!is_drafted) {
        r = sluice_decode(d->session, &batch, 1, &d->rows);
        if (r == 0)
            times_add(&d->times, d->session);
    }
    *ret_logits = d->rows + (size_t)row * d->n_vocab;
    return r;
}

/* Hand a token on. Nonzero: it could not be. */
static int show(const struct drawing *d, int32_t id, struct sl_utf8_stream *stream)
{
    const char *piece;
    int len = sluice_token_piece(d->model, id, d->opts->special, &piece);

    if (d->opts->on_token && d->opts->on_token(d->opts->arg, id) != 0)
        return -1;
    return len > 0 ? emit_piece(d->opts, stream, piece, (size_t)len) : 0;
}

/* Draw until something stops it, which is noted. */
static int draw_all(struct drawing *d, struct sl_utf8_stream *stream, struct sluice_error *error)
{
    struct sl_generate_stats *stats = d->stats;
    const float *logits = d->rows;
    int r;

    for (;;) {
        int32_t id = sluice_sampler_sample(d->sampler, logits);

        if (id < 0) {
            stats->stop = SL_STOP_ERROR;
            return set_error(error, id, id == -E2BIG ? "the grammar is too ambiguous to go on"
                                                     : "no token goes on as the grammar wants");
        }
        stats->n_answer++;
        sluice_sampler_accept(d->sampler, id);
        if (show(d, id, stream) != 0)
            stats->stop = SL_STOP_OUTPUT;
        else if (sluice_token_is_eog(d->model, id))
            stats->stop = SL_STOP_END;
        else if (d->opts->n_max && stats->n_answer >= d->opts->n_max)
            stats->stop = SL_STOP_LENGTH;
        else {
            r = advance(d, id, &logits);
            if (r == 0)
                continue;
            stats->stop = r == -ECANCELED ? SL_STOP_INTERRUPTED : SL_STOP_ERROR;
            return set_error(error, r, sluice_session_error(d->session));
        }
        return 0;
    }
}

/* Take back what was computed beyond the answer, and count what drafts did for it. */
static int end_drafts(struct drawing *d, const struct sl_speculate_stats *before)
{
    struct sl_speculate *speculate = d->opts->speculate;
    struct sl_generate_drafts *drafts = &d->stats->drafts;
    struct sl_speculate_stats *count = &drafts->count;
    int r = 0;

    if (!speculate)
        return 0;
    if (d->stats->stop != SL_STOP_ERROR) {
        int64_t n_past = sluice_seq_tokens(d->session, d->seq, NULL);

        r = sluice_seq_rewind(d->session, d->seq, n_past - sl_speculate_end(speculate));
    }
    drafts->is_on = true;
    drafts->learned = *sl_speculate_draftlen(speculate);
    sl_speculate_get_stats(speculate, count);
    count->n_steps -= before->n_steps;
    count->n_drafts -= before->n_drafts;
    count->n_drafted -= before->n_drafted;
    count->n_accepted -= before->n_accepted;
    count->n_unpaid -= before->n_unpaid;
    count->n_unread -= before->n_unread;
    count->saved -= before->saved;
    return r;
}

static void begin_drafts(struct drawing *d, const int32_t *ids, size_t n_ids,
                         struct sl_speculate_stats *ret_before)
{
    struct sluice_session_opts opts;
    struct sluice_model_info info;

    if (!d->opts->speculate)
        return;
    sluice_session_get_opts(d->session, &opts);
    sluice_model_get_info(d->model, &info);
    d->n_vocab = info.n_vocab;
    d->n_ctx = opts.n_ctx;
    d->n_rows_max = opts.n_logits < opts.n_chunk ? opts.n_logits : opts.n_chunk;
    sl_speculate_begin(d->opts->speculate, ids, n_ids);
    sl_speculate_get_stats(d->opts->speculate, ret_before);
}

/* Draw an answer to the prompt ids; what stopped it is in the stats, with r < 0 for
 * SL_STOP_ERROR. */
static int draw(struct drawing *d, const int32_t *ids, size_t n_ids, struct sluice_error *error)
{
    struct sl_speculate_stats before = {0};
    struct sl_utf8_stream stream = {.n_held = 0};
    char rest[9];
    size_t n;
    int r, end;

    begin_drafts(d, ids, n_ids, &before);
    r = draw_all(d, &stream, error);
    end = end_drafts(d, &before);
    if (end < 0 && r == 0) {
        d->stats->stop = SL_STOP_ERROR;
        r = set_error(error, end, sluice_session_error(d->session));
    }
    if (d->stats->stop == SL_STOP_OUTPUT)
        return 0;
    n = sl_utf8_stream_end(&stream, rest);
    if (n && d->opts->emit(d->opts->arg, rest, n) != 0)
        d->stats->stop = SL_STOP_OUTPUT;
    return r == -ECANCELED ? 0 : r;
}

static void fill_stats(struct sl_generate_stats *stats, const struct sluice_model *model,
                       const struct sluice_counters *start, const struct sluice_counters *before,
                       struct times *times)
{
    const struct sl_speculate_stats *drafts = &stats->drafts.count;
    const struct sluice_counters *after = &times->last;
    struct sluice_model_info info;

    stats->n_answer_steps = after->n_tokens - before->n_tokens -
                            (drafts->n_drafted - drafts->n_accepted);
    stats->weight_bytes = after->weight_bytes - before->weight_bytes;
    stats->stall_ns = spread(times->stall_ns, times->n);
    stats->compute_ns = spread(times->compute_ns, times->n);
    sluice_model_get_info(model, &info);
    stats->is_streaming = info.is_streaming;
    if (!info.is_streaming)
        return;
    stats->prompt_experts = counters_between(&start->experts, &before->experts);
    stats->answer_experts = counters_between(&before->experts, &after->experts);
    stats->disk_bytes_per_s = sl_machine_disk(info.path);
}

int sl_generate(const struct sluice_model *model, struct sluice_session *session, int seq,
                const int32_t *ids, size_t n_ids, const struct sl_generate_opts *opts,
                struct sl_generate_stats *ret_stats, struct sluice_error *error)
{
    struct drawing d = {.model = model, .session = session, .seq = seq, .opts = opts,
                        .stats = ret_stats};
    struct sluice_counters first, before;
    uint64_t start;
    int r;

    *ret_stats = (struct sl_generate_stats){.stop = SL_STOP_ERROR};
    r = sluice_sampler_new(&d.sampler, model, &opts->sampling, error);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n_ids; i++)
        sluice_sampler_accept(d.sampler, ids[i]);
    r = set_grammar(d.sampler, opts->grammar_path, error);
    if (r < 0) {
        sluice_sampler_free(d.sampler);
        return r;
    }

    sluice_session_get_counters(session, &first);
    sl_interrupt_set_session(session);
    r = decode_prompt(session, seq, ids, n_ids, ret_stats, &d.rows, error);
    if (r < 0)
        goto done;
    sluice_session_get_counters(session, &before);
    d.times.last = before;
    start = sl_clock_ns();
    r = draw(&d, ids, n_ids, error);
    ret_stats->answer_ns = sl_clock_ns() - start;
    sluice_session_get_counters(session, &d.times.last);
    fill_stats(ret_stats, model, &first, &before, &d.times);

done:
    free(d.times.stall_ns);
    free(d.times.compute_ns);
    sl_interrupt_set_session(NULL);
    sluice_sampler_free(d.sampler);
    if (r == -ECANCELED) {
        ret_stats->stop = SL_STOP_INTERRUPTED;
        r = 0;
    }
    return r;
}

const char *sl_generate_stop_name(enum sl_stop stop)
{
    static const char *const names[] = {
        [SL_STOP_END] = "end",
        [SL_STOP_LENGTH] = "length",
        [SL_STOP_INTERRUPTED] = "interrupted",
        [SL_STOP_OUTPUT] = "output",
        [SL_STOP_ERROR] = "error",
    };

    return names[stop];
}
