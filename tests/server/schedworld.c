#include "schedworld.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

/* Time passes when the engine computes, and at no other time. */
static const struct fakeengine *clock_of;
int __wrap_clock_gettime(clockid_t id, struct timespec *ret_time);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret_time)
{
    uint64_t ns = 1000000000u + (clock_of ? clock_of->clock_ns : 0);

    *ret_time = (struct timespec){.tv_sec = (time_t)(ns / 1000000000u),
                                  .tv_nsec = (long)(ns % 1000000000u)};
    return 0;
}

static const char *const finishes[] = {"eos", "word", "length", "context", "cancelled"};

/* Join a piece to the last line if that is of the same kind. */
static void add_text(struct sl_strbuf *log, const char *kind, const char *text, size_t len)
{
    const char *last = log->ptr ? strrchr(log->ptr, '\n') : NULL;
    size_t kind_len = strlen(kind);

    last = last ? last + 1 : log->ptr;
    if (!last || strncmp(last, kind, kind_len) != 0)
        sl_strbuf_add_fmt(log, "%s%s ", log->len ? "\n" : "", kind);
    sl_strbuf_add(log, text, len);
}

static int on_event(void *arg, struct sl_genjob *genjob, const struct sl_genevent *event)
{
    struct schedworld_job *job = genjob->owner;
    struct sl_strbuf *log = &job->log;
    const char *line = log->len ? "\n" : "";

    assert_int_equal(job->n_done, 0);
    assert_true(job->n_events == 0 || (job->last != SL_GENEVENT_FINISH &&
                                       job->last != SL_GENEVENT_ERROR));
    if (++job->n_events == job->refuse_at)
        return -ECANCELED;
    job->last = event->kind;
    job->counts = event->counts;
    switch (event->kind) {
    case SL_GENEVENT_START:
        sl_strbuf_add_fmt(log, "START cached=%u", event->counts.n_cached_tok);
        break;
    case SL_GENEVENT_PROGRESS:
        sl_strbuf_add_fmt(log, "%sPROGRESS %u/%u", line, event->progress.processed,
                          event->progress.total);
        break;
    case SL_GENEVENT_TOKEN:
        sl_strbuf_add_fmt(log, "%sTOKEN %d", line, event->token.chosen.token);
        for (uint32_t i = 0; i < event->token.n_top; i++)
            sl_strbuf_add_fmt(log, " %d%s", event->token.top[i].token,
                              event->token.top[i].token == event->token.chosen.token &&
                                      event->token.top[i].logprob == event->token.chosen.logprob
                                  ? "*" : "");
        break;
    case SL_GENEVENT_TEXT: add_text(log, "TEXT", event->text.ptr, event->text.len); break;
    case SL_GENEVENT_REASONING:
        add_text(log, "REASONING", event->text.ptr, event->text.len);
        break;
    case SL_GENEVENT_CALL_BEGIN:
        sl_strbuf_add_fmt(log, "%sCALL %s ", line, event->call.name);
        break;
    case SL_GENEVENT_CALL_ARGUMENTS: sl_strbuf_add(log, event->text.ptr, event->text.len); break;
    case SL_GENEVENT_CALL_END: break;
    case SL_GENEVENT_FINISH:
        sl_strbuf_add_fmt(log, "%sFINISH %s%s%s", line, finishes[event->finish.reason],
                          event->finish.word ? " " : "",
                          event->finish.word ? event->finish.word : "");
        break;
    case SL_GENEVENT_ERROR:
        sl_strbuf_add_fmt(log, "%sERROR %d %s", line, event->error->status,
                          event->error->message.text);
        break;
    }
    return log->error;
}

static int on_flush(void *arg, struct sl_genjob *genjob)
{
    return 0;
}

static void on_turn(void *arg, struct sl_genjob *genjob, uint32_t n_calls, const char *text,
                    size_t len)
{
    ((struct schedworld *)arg)->n_turns++;
    assert_true(n_calls > 0 && len > 0);
}

static void on_done(void *arg, struct sl_genjob *genjob)
{
    ((struct schedworld_job *)genjob->owner)->n_done++;
}

void schedworld_defaults(struct schedworld *world)
{
    memset(world, 0, sizeof(*world));
    world->session = (struct sluice_session_opts){
        .n_ctx = 2048, .n_seq_max = 12, .n_chunk = 64, .n_logits = 4, .n_marks = 2};
    world->opts = (struct sl_sched_opts){
        .n_slots = 4, .n_queue_max = 64, .n_kept = 8, .max_step_ms = 1e9};
}

void schedworld_init(struct schedworld *world)
{
    clock_of = &world->fake;
    fakeengine_init(&world->fake, &world->fn, &world->session);
    world->opts.engine = &world->fn;
    world->opts.sink = (struct sl_sched_sink){.arg = world, .event = on_event,
                                              .flush = on_flush, .turn = on_turn,
                                              .done = on_done};
    assert_int_equal(sl_sched_new(&world->sched, &world->opts), 0);
}

void schedworld_done(struct schedworld *world)
{
    struct sl_sched_counters counters;

    sl_sched_get_counters(world->sched, &counters);
    assert_true(sl_sched_is_idle(world->sched));
    assert_int_equal(fakeengine_n_seqs(&world->fake), counters.n_kept);
    sl_sched_free(world->sched);
    assert_int_equal(fakeengine_n_seqs(&world->fake), 0);
    fakeengine_done(&world->fake);
}

struct schedworld_job *schedworld_job(const int32_t *tokens, uint32_t n)
{
    static uint64_t n_jobs;
    struct schedworld_job *job = calloc(1, sizeof(*job));

    assert_non_null(job);
    job->req = (struct sl_genreq){.n_predict_max = -1, .slot = -1};
    job->job = (struct sl_genjob){.id = ++n_jobs, .req = &job->req, .came_ns = sl_clock_ns(),
                                  .n_tokens = n, .owner = job};
    job->job.tokens = malloc(n * sizeof(*tokens));
    assert_non_null(job->job.tokens);
    memcpy(job->job.tokens, tokens, n * sizeof(*tokens));
    return job;
}

void schedworld_free(struct schedworld_job *job)
{
    assert_int_equal(job->n_done, 1);
    free(job->job.tokens);
    sl_strbuf_done(&job->log);
    free(job);
}

struct schedworld_job *schedworld_scripted(const int32_t *reply, uint32_t n)
{
    int32_t tokens[1024];

    assert_true(n < 1024);
    memcpy(tokens, reply, n * sizeof(*tokens));
    tokens[n] = FAKE_SCRIPT;
    return schedworld_job(tokens, n + 1);
}

struct schedworld_job *schedworld_saying(const char *reply)
{
    int32_t tokens[1024];
    uint32_t n = 0;

    for (; reply[n]; n++)
        tokens[n] = (unsigned char)reply[n];
    return schedworld_scripted(tokens, n);
}

struct schedworld_job *schedworld_letters(uint64_t seed, uint32_t n)
{
    static int32_t tokens[FAKE_CTX_MAX];

    for (uint32_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (int32_t)('A' + (seed >> 33) % 26);
    }
    return schedworld_job(tokens, n);
}

void schedworld_add(struct schedworld *world, struct schedworld_job *job)
{
    assert_int_equal(sl_sched_add(world->sched, &job->job), 0);
}

void schedworld_run(struct schedworld *world)
{
    uint32_t n = 0;

    while (!sl_sched_is_idle(world->sched)) {
        sl_sched_step(world->sched);
        assert_true(++n < 1000000); /* it goes on */
    }
}

const char *schedworld_said(const struct schedworld_job *job)
{
    const char *line = job->log.ptr ? strchr(job->log.ptr, '\n') : NULL;

    return line ? line + 1 : "";
}
