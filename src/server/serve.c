/*
 * Handlers run on the loop: what a GET asks for is known without computing and answered
 * there, so that /health and /metrics wait for nobody; everything else is copied and put in
 * the queue.
 *
 * Ending goes one way: a signal has the HTTP server drained; when its loop has ended, its
 * thread closes the queue; and when they see that, the text thread and the engine thread end.
 */
#include "server/serve.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "server/enginework.h"
#include "server/page.h"
#include "server/recall.h"
#include "server/servestate.h"
#include "server/textmodel.h"
#include "server/textwork.h"
#include "server/workqueue.h"

#define RECALL_BYTES ((size_t)32 << 20)
#define RETRY_S 1
#define LARGE_BYTES (1 << 20)

struct sl_serve {
    /* set once, then read only */
    struct sl_serve_opts opts;
    struct sl_http *http;
    struct sl_workqueue *queue;
    struct sl_servestate *state;
    struct sl_recall *recall;
    struct sl_page page;
    struct sl_textmodel text; /* the text thread's, once it runs */
    struct sl_textwork textwork;

    /* owned by the thread that opened it */
    pthread_t loop_thread, text_thread, signal_thread;
    bool has_loop, has_text, has_signals;
    int result;

    /* atomic */
    atomic_bool is_over; /* the signal thread is to end */
};

static void on_gone(void *arg, sl_http_id id)
{
    struct sl_serve *serve = arg;

    sl_workqueue_gone(serve->queue, id);
}

static void on_error_body(void *arg, const char *path, int status, const char *message,
                          struct sl_strbuf *out, const char **ret_type)
{
    struct sl_apierror error = {0};

    (void)sl_apierror_set(&error, -EINVAL, status, NULL, "%s", message); /* for its text */
    *ret_type = "application/json; charset=utf-8";
    sl_apierror_write(&error, path ? sl_api_form(path) : SL_APIFORM_LLAMACPP, out);
}

/* Answer a GET on the loop. Returns false if it is not for the loop. */
static bool answer_here(struct sl_serve *serve, struct sl_workitem *item)
{
    struct sl_apierror error = {0};

    if (sl_api_parse(&item->call, serve->opts.env, item->method, item->path, item->query, "", 0,
                     &error) < 0) {
        sl_workitem_error(item, &error);
        return true;
    }
    switch (item->call->work) {
    case SL_APIWORK_STATE:
    case SL_APIWORK_SLOTS:
    case SL_APIWORK_METRICS:
    case SL_APIWORK_EXPERTS:
        sl_textwork_answer(item, serve->opts.env, serve->state, NULL);
        return true;
    default:
        sl_apicall_free(item->call);
        item->call = NULL;
        return false;
    }
}

static void on_request(void *arg, const struct sl_http_request *request)
{
    enum sl_http_method method = sl_http_request_method(request);
    bool is_get = method == SL_HTTP_GET || method == SL_HTTP_HEAD;
    sl_http_id id = sl_http_request_id(request);
    struct sl_serve *serve = arg;
    struct sl_workitem *item;

    if (!is_get && sl_servestate_api(serve->state).is_loading) {
        (void)sl_http_error(serve->http, id, 503, "Loading model", RETRY_S);
        return;
    }
    item = sl_workitem_new(serve->http, request);
    if (!item) {
        (void)sl_http_error(serve->http, id, 503, "not enough memory for the request", RETRY_S);
        return;
    }
    if (is_get && answer_here(serve, item)) {
        sl_workitem_free(item);
        return;
    }
    if (sl_workqueue_put(serve->queue, item) < 0) {
        (void)sl_http_error(serve->http, id, 503, "the server is busy; try again later", RETRY_S);
        sl_workitem_free(item);
    }
}

static int add_routes(struct sl_serve *serve)
{
    if (serve->opts.env->has_page) {
        int r;

        serve->page = (struct sl_page){serve->http, on_request, serve};
        r = sl_page_add_routes(&serve->page);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < sl_api_n_routes(); i++) {
        struct sl_apiroute route = sl_api_route(i);
        int r = sl_http_route(serve->http, route.method, route.pattern,
                              route.is_public ? SL_HTTP_PUBLIC : 0, on_request, serve);

        if (r < 0)
            return r;
    }
    return 0;
}

int sl_serve_open(struct sl_serve **ret_serve, const struct sl_serve_opts *opts,
                  struct sl_diag *diag)
{
    struct sl_serve *serve = calloc(1, sizeof(*serve));
    int r;

    if (!serve)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the server");
    serve->opts = *opts;
    serve->opts.http.arg = serve;
    serve->opts.http.gone = on_gone;
    serve->opts.http.error_body = on_error_body;
    r = sl_http_open(&serve->http, &serve->opts.http, diag);
    if (r < 0)
        goto fail;
    r = add_routes(serve);
    if (r == 0)
        r = sl_workqueue_new(&serve->queue, serve->opts.http.n_conns_max);
    if (r == 0)
        r = sl_servestate_new(&serve->state, opts->n_slots);
    if (r == 0)
        r = sl_recall_new(&serve->recall, RECALL_BYTES);
    if (r == 0)
        r = sl_textmodel_init(&serve->text, opts->text);
    if (r < 0) {
        (void)sl_diag_set(diag, r, "not enough memory for the server");
        goto fail;
    }
    serve->textwork = (struct sl_textwork){.queue = serve->queue, .env = opts->env,
                                           .text = &serve->text, .recall = serve->recall,
                                           .state = serve->state,
                                           .has_slot_files = opts->slot_folder != NULL};
    *ret_serve = serve;
    return 0;

fail:
    (void)sl_serve_close(serve); /* nothing runs */
    return r;
}

static void *run_loop(void *arg)
{
    struct sl_serve *serve = arg;

    serve->result = sl_http_run(serve->http);
    sl_workqueue_close(serve->queue);
    return NULL;
}

static void *run_text(void *arg)
{
    struct sl_serve *serve = arg;

    sl_textwork_run(&serve->textwork);
    return NULL;
}

static void signals_to_end(sigset_t *ret_set)
{
    (void)sigemptyset(ret_set); /* these three take what they are given */
    (void)sigaddset(ret_set, SIGINT);
    (void)sigaddset(ret_set, SIGTERM);
}

static void *run_signals(void *arg)
{
    struct sl_serve *serve = arg;
    sigset_t set;
    int number;

    signals_to_end(&set);
    while (sigwait(&set, &number) == 0) {
        /* pairs with the release in sl_serve_close */
        if (atomic_load_explicit(&serve->is_over, memory_order_acquire))
            break;
        sl_http_drain(serve->http, serve->opts.drain_ms);
    }
    return NULL;
}

int sl_serve_start(struct sl_serve *serve, const struct sl_listen *sockets,
                   struct sl_diag *diag)
{
    sigset_t set;
    int r = sl_http_listen(serve->http, sockets, diag);

    if (r < 0)
        return r;
    /* Large bodies are given back when they are freed: by itself malloc raises this at the
     * first one, and then keeps what many clients have sent at once. */
    (void)mallopt(M_MMAP_THRESHOLD, LARGE_BYTES); /* or memory is only larger */
    signals_to_end(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL); /* takes what it is given */
    serve->has_signals = pthread_create(&serve->signal_thread, NULL, run_signals, serve) == 0;
    serve->has_text =
        serve->has_signals && pthread_create(&serve->text_thread, NULL, run_text, serve) == 0;
    serve->has_loop =
        serve->has_text && pthread_create(&serve->loop_thread, NULL, run_loop, serve) == 0;
    return serve->has_loop ? 0 : sl_diag_set(diag, -EAGAIN, "cannot start the server's threads");
}

bool sl_serve_is_ending(struct sl_serve *serve)
{
    return sl_workqueue_is_closed(serve->queue);
}

int sl_serve_run(struct sl_serve *serve, const struct sl_serve_run_opts *opts)
{
    struct sl_enginework work = {
        .queue = serve->queue,
        .state = serve->state,
        .recall = serve->recall,
        .env = serve->opts.env,
        .engine = opts->engine,
        .sched = {.n_slots = serve->opts.n_slots,
                  .n_queue_max = serve->opts.n_queue_max,
                  .n_kept = serve->opts.n_kept,
                  .max_step_ms = opts->max_step_ms},
        .slot_folder = serve->opts.slot_folder,
        .ready = opts->ready,
        .ready_arg = opts->ready_arg,
        .fixed_bytes = opts->fixed_bytes,
        .idle_ms = opts->idle_ms,
    };

    return sl_enginework_run(&work);
}

int sl_serve_close(struct sl_serve *serve)
{
    int r;

    if (!serve)
        return 0;
    if (serve->has_loop && !sl_serve_is_ending(serve)) { /* the engine failed: at once */
        sl_http_drain(serve->http, 0);
        sl_http_drain(serve->http, 0);
    }
    if (serve->has_loop)
        (void)pthread_join(serve->loop_thread, NULL); /* these three run */
    else if (serve->queue)
        sl_workqueue_close(serve->queue);
    if (serve->has_text)
        (void)pthread_join(serve->text_thread, NULL);
    if (serve->has_signals) {
        /* pairs with the acquire in run_signals */
        atomic_store_explicit(&serve->is_over, true, memory_order_release);
        (void)pthread_kill(serve->signal_thread, SIGTERM);
        (void)pthread_join(serve->signal_thread, NULL);
    }
    r = serve->result;
    sl_workqueue_free(serve->queue); /* items may still want to answer: before the server */
    sl_http_close(serve->http);
    sl_servestate_free(serve->state);
    sl_recall_free(serve->recall);
    sl_textmodel_done(&serve->text);
    free(serve);
    return r;
}
