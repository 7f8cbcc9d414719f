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

/* Draw until something stops it; which is returned, with r < 0 for SL_STOP_ERROR. */
static int draw(const struct sluice_model *model, struct sluice_session *session, int seq,
                struct sluice_sampler *sampler, const float *logits,
                const struct sl_generate_opts *opts, struct sl_generate_stats *stats,
                struct times *times, struct sluice_error *error)
{
    struct sl_utf8_stream stream = {.n_held = 0};
    char rest[9];
    size_t n;
    int r = 0;

    stats->stop = SL_STOP_END;
    for (;;) {
        int32_t id = sluice_sampler_sample(sampler, logits);
        struct sluice_batch batch = {.seq = seq, .n_tokens = 1, .tokens = &id, .n_logits = 1};
        bool is_end = sluice_token_is_eog(model, id);
        const char *piece;
        int len;

        if (id < 0) {
            stats->stop = SL_STOP_ERROR;
            return set_error(error, id, id == -E2BIG ? "the grammar is too ambiguous to go on"
                                                     : "no token goes on as the grammar wants");
        }
        len = sluice_token_piece(model, id, opts->special, &piece);
        stats->n_answer++;
        sluice_sampler_accept(sampler, id);
        if ((opts->on_token && opts->on_token(opts->arg, id) != 0) ||
            (len > 0 && emit_piece(opts, &stream, piece, (size_t)len) != 0)) {
            stats->stop = SL_STOP_OUTPUT;
            return 0;
        }
        if (is_end)
            break;
        if (opts->n_max && stats->n_answer >= opts->n_max) {
            stats->stop = SL_STOP_LENGTH;
            break;
        }
        r = sl_interrupt_is_set() ? -ECANCELED : sluice_decode(session, &batch, 1, &logits);
        if (r < 0) {
            stats->stop = r == -ECANCELED ? SL_STOP_INTERRUPTED : SL_STOP_ERROR;
            (void)set_error(error, r, sluice_session_error(session));
            break;
        }
        times_add(times, session);
    }
    n = sl_utf8_stream_end(&stream, rest);
    if (n && opts->emit(opts->arg, rest, n) != 0)
        stats->stop = SL_STOP_OUTPUT;
    return r == -ECANCELED ? 0 : r;
}

static void fill_stats(struct sl_generate_stats *stats, const struct sluice_model *model,
                       const struct sluice_counters *start, const struct sluice_counters *before,
                       struct times *times)
{
    const struct sluice_counters *after = &times->last;
    struct sluice_model_info info;

    stats->n_answer_steps = after->n_tokens - before->n_tokens;
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
    struct sluice_counters first, before;
    struct times times = {.n = 0};
    struct sluice_sampler *sampler = NULL;
    const float *logits;
    uint64_t start;
    int r;

    *ret_stats = (struct sl_generate_stats){.stop = SL_STOP_ERROR};
    r = sluice_sampler_new(&sampler, model, &opts->sampling, error);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n_ids; i++)
        sluice_sampler_accept(sampler, ids[i]);
    r = set_grammar(sampler, opts->grammar_path, error);
    if (r < 0) {
        sluice_sampler_free(sampler);
        return r;
    }

    sluice_session_get_counters(session, &first);
    sl_interrupt_set_session(session);
    r = decode_prompt(session, seq, ids, n_ids, ret_stats, &logits, error);
    if (r < 0)
        goto done;
    sluice_session_get_counters(session, &before);
    times.last = before;
    start = sl_clock_ns();
    r = draw(model, session, seq, sampler, logits, opts, ret_stats, &times, error);
    ret_stats->answer_ns = sl_clock_ns() - start;
    sluice_session_get_counters(session, &times.last);
    fill_stats(ret_stats, model, &first, &before, &times);

done:
    free(times.stall_ns);
    free(times.compute_ns);
    sl_interrupt_set_session(NULL);
    sluice_sampler_free(sampler);
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
