/*
 * Between two steps all news are taken: new requests, clients that went. Without anything to
 * compute the thread sleeps in the queue until there are some, or until it is time to give
 * memory back: after some time, or at once if the last request said so.
 */
#include "server/enginework.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "server/slotwork.h"
#include "server/textwork.h"

struct running {
    const struct sl_enginework *work;
    struct sl_sched *sched;
    bool *slot_busy;  /* [n_slots] */
    uint64_t idle_ns; /* since when; 0: it is not */
    bool is_asleep;   /* memory was given back */
    bool releases;    /* the last request wants it to be, as soon as nobody needs it */
};

static int on_event(void *arg, struct sl_genjob *job, const struct sl_genevent *event)
{
    return sl_workitem_event(job->owner, event);
}

static int on_flush(void *arg, struct sl_genjob *job)
{
    return sl_workitem_flush(job->owner);
}

static void on_turn(void *arg, struct sl_genjob *job, uint32_t n_calls, const char *text,
                    size_t len)
{
    struct running *run = arg;

    sl_recall_put(run->work->recall, &job->genid, n_calls, text, len);
}

static void on_done(void *arg, struct sl_genjob *job)
{
    struct running *run = arg;

    sl_workqueue_drop(run->work->queue, job->owner);
}

/* A full queue of the scheduler is what clients meet when too many want too much. */
static void refuse(struct running *run, struct sl_workitem *item)
{
    struct sl_apierror error = {0};

    (void)sl_apierror_set(&error, -EAGAIN, 503, NULL,
                          "the server is busy: %u requests are waiting; try again later",
                          run->work->sched.n_queue_max);
    sl_workitem_error(item, &error);
    sl_workqueue_drop(run->work->queue, item);
}

static void act_on_slot(struct running *run, struct sl_workitem *item)
{
    struct sl_apireply reply = {200, "application/json; charset=utf-8"};
    struct sl_apierror error = {0};
    struct sl_strbuf out = {0};
    int r = sl_slotwork_do(item->call, run->sched, run->work->slot_folder, &out, &error);

    if (r == 0 && out.error)
        r = sl_apierror_set(&error, out.error, 503, NULL, "not enough memory for the answer");
    if (r < 0)
        sl_workitem_error(item, &error);
    else
        sl_workitem_reply(item, &reply, out.ptr, out.len);
    sl_strbuf_done(&out);
    sl_workqueue_drop(run->work->queue, item);
}

static void take_new(struct running *run, struct sl_workitem *item)
{
    const struct sl_enginework *work = run->work;

    switch (item->call->work) {
    case SL_APIWORK_SLOT_SAVE:
    case SL_APIWORK_SLOT_RESTORE:
    case SL_APIWORK_SLOT_ERASE: act_on_slot(run, item); return;
    case SL_APIWORK_STATE: /* it came this far because it releases */
        run->releases = true;
        sl_textwork_answer(item, work->env, work->state, NULL);
        sl_workqueue_drop(work->queue, item);
        return;
    default:
        run->releases = item->call->releases;
        if (sl_sched_add(run->sched, item->job) < 0)
            refuse(run, item);
    }
}

/* In how many milliseconds memory is to be given back, if nobody comes; -1: it is not. */
static int64_t rests_in(const struct running *run)
{
    const struct sl_enginework *work = run->work;
    int64_t left;

    if (!work->engine->give_back || run->is_asleep || !run->idle_ns)
        return -1;
    if (run->releases)
        return 0;
    if (work->idle_ms == 0)
        return -1;
    left = (int64_t)work->idle_ms - (int64_t)((sl_clock_ns() - run->idle_ns) / 1000000);
    return left > 0 ? left : 0;
}

static void publish(struct running *run)
{
    const struct sl_enginework *work = run->work;
    struct sl_servestate_news news = {.slot_busy = run->slot_busy, .is_sleeping = run->is_asleep};

    for (uint32_t i = 0; i < work->sched.n_slots; i++)
        run->slot_busy[i] = sl_sched_is_busy(run->sched, i);
    sl_sched_get_counters(run->sched, &news.sched);
    work->engine->counters(work->engine->arg, &news.engine);
    news.resident_bytes = work->fixed_bytes + news.engine.experts.slot_bytes;
    if (rests_in(run) >= 0)
        news.expires_s = (int64_t)time(NULL) + rests_in(run) / 1000;
    sl_servestate_publish(work->state, &news);
}

/* Returns false when the queue is closed. */
static bool take_news(struct running *run)
{
    struct sl_workitem *item = NULL;
    int64_t wait_ms = run->idle_ns ? rests_in(run) : 0;

    for (;;) {
        switch (sl_workqueue_next(run->work->queue, wait_ms, &item)) {
        case SL_WORKQUEUE_CLOSED: return false;
        case SL_WORKQUEUE_NEW: take_new(run, item); break;
        case SL_WORKQUEUE_GONE: sl_sched_cancel(run->sched, item->id); break;
        case SL_WORKQUEUE_NONE: return true;
        }
        wait_ms = 0;
    }
}

/* A step, or rest. */
static void do_one(struct running *run)
{
    const struct sl_enginework *work = run->work;

    if (!sl_sched_is_idle(run->sched)) {
        run->is_asleep = false;
        run->idle_ns = 0;
        sl_sched_step(run->sched);
    } else if (rests_in(run) == 0) {
        work->engine->give_back(work->engine->arg);
        run->is_asleep = true;
    }
    if (run->idle_ns == 0 && sl_sched_is_idle(run->sched))
        run->idle_ns = sl_clock_ns();
}

int sl_enginework_run(const struct sl_enginework *work)
{
    struct running run = {.work = work};
    struct sl_sched_opts opts = work->sched;
    int r;

    opts.engine = work->engine;
    opts.sink = (struct sl_sched_sink){.arg = &run, .event = on_event, .flush = on_flush,
                                       .turn = on_turn, .done = on_done};
    run.slot_busy = calloc(opts.n_slots, sizeof(*run.slot_busy));
    r = run.slot_busy ? sl_sched_new(&run.sched, &opts) : -ENOMEM;
    if (r == 0) {
        sl_servestate_watch(work->state, work->engine);
        publish(&run);
        if (work->ready)
            work->ready(work->ready_arg);
        do {
            do_one(&run);
            publish(&run);
        } while (take_news(&run));
        sl_sched_free(run.sched);
    }
    free(run.slot_busy);
    return r;
}
