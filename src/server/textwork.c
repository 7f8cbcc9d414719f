/*
 * What is left after this thread of a request is small: its body goes as soon as it is parsed,
 * and with it what was made of it in between.
 */
#include "server/textwork.h"

#include <errno.h>
#include <stdlib.h>

#include "base/trim.h"
#include "server/promptjob.h"
#include "server/servemetrics.h"

static int parse(const struct sl_textwork *work, struct sl_workitem *item)
{
    struct sl_apierror error = {0};
    int r = sl_api_parse(&item->call, work->env, item->method, item->path, item->query,
                         item->body, item->body_len, &error);

    free(item->body);
    item->body = NULL;
    item->body_len = 0;
    if (r < 0)
        sl_workitem_error(item, &error);
    return r;
}

void sl_textwork_answer(struct sl_workitem *item, const struct sl_apienv *env,
                        struct sl_servestate *state, const struct sl_apitext *text)
{
    struct sl_apistate now = sl_servestate_api(state);
    struct sl_apireply reply = {200, "application/json; charset=utf-8"};
    struct sl_apierror error = {0};
    struct sl_strbuf out = {0};
    int r = 0;

    if (now.is_loading && item->call->work != SL_APIWORK_STATE) {
        r = sl_apierror_set(&error, -EAGAIN, 503, NULL, "Loading model");
    } else if (item->call->work == SL_APIWORK_SLOTS) {
        sl_servestate_write_slots(state, env->n_ctx_tok, &out);
    } else if (item->call->work == SL_APIWORK_METRICS) {
        reply.type = SL_SERVEMETRICS_TYPE;
        sl_servestate_write_metrics(state, &out);
    } else if (item->call->work == SL_APIWORK_EXPERTS) {
        sl_servestate_write_experts(state, &out);
    } else {
        r = sl_api_answer(item->call, env, &now, text, &out, &reply, &error);
    }
    if (r == 0 && out.error)
        r = sl_apierror_set(&error, out.error, 503, NULL, "not enough memory for the answer");
    if (r < 0)
        sl_workitem_error(item, &error);
    else
        sl_workitem_reply(item, &reply, out.ptr, out.len);
    sl_strbuf_done(&out);
}

/* Returns whether the request goes on to the engine. */
static bool make_ready(const struct sl_textwork *work, struct sl_workitem *item)
{
    struct sl_genchat_recall recall = sl_recall_finder(work->recall);
    struct sl_apierror error = {0};
    int r = sl_promptjob_make(&item->job, &item->call->gen, work->env, work->text, &recall,
                              &error);

    if (r == 0) {
        item->job->id = item->id;
        item->job->came_ns = item->came_ns;
        item->job->owner = item;
        r = sl_workitem_begin(item, work->env);
        if (r < 0)
            (void)sl_apierror_set(&error, r, 503, NULL, "not enough memory for a reply");
    }
    if (r < 0)
        sl_workitem_error(item, &error);
    return r == 0;
}

static void do_one(const struct sl_textwork *work, struct sl_workitem *item)
{
    struct sl_apierror error = {0};
    bool goes_on = false;

    if (parse(work, item) == 0)
        switch (item->call->work) {
        case SL_APIWORK_GENERATE: goes_on = make_ready(work, item); break;
        case SL_APIWORK_SLOT_ERASE: goes_on = true; break;
        case SL_APIWORK_STATE:
            goes_on = item->call->releases; /* the engine has the memory, and answers */
            if (!goes_on)
                sl_textwork_answer(item, work->env, work->state, &work->text->fn);
            break;
        case SL_APIWORK_SLOT_SAVE:
        case SL_APIWORK_SLOT_RESTORE:
            goes_on = work->has_slot_files;
            if (goes_on)
                break;
            (void)sl_apierror_set(&error, -ENOTSUP, 501, NULL,
                                  "This server does not support slots action. Start it with "
                                  "`--slot-save-path`");
            sl_workitem_error(item, &error);
            break;
        default: sl_textwork_answer(item, work->env, work->state, &work->text->fn); break;
        }
    if (goes_on)
        sl_workqueue_pass(work->queue, item);
    else
        sl_workqueue_drop(work->queue, item);
}

void sl_textwork_run(const struct sl_textwork *work)
{
    struct sl_workitem *item;

    while ((item = sl_workqueue_take_text(work->queue)) != NULL) {
        bool is_large = item->body_len >= SL_HTTP_LARGE_BYTES;

        do_one(work, item);
        if (is_large)
            sl_trim();
    }
}
