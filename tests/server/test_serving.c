/*
 * What a server does before and after requests: while the model is loaded every endpoint but
 * the static ones says so, a signal ends it then too, and after some time without a request
 * memory is given back, once.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "server/enginework.h"
#include "server/serve.h"
#include "tests/server/fakeengine.h"

static const struct sl_apienv env = {
    .model = "demo", .version = "0.1.0", .fingerprint = "b1", .path = "", .digest = "",
    .architecture = "", .quantization = "", .chat_template = "", .bos = "", .eos = "",
    .model_info_json = "{}", .n_predict_max = -1, .has_slots = true, .has_metrics = true,
};

/* The answer, up to size - 1 bytes. */
static void ask(uint16_t port, const char *text, char *answer, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t len = 0;
    ssize_t n;

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    while (len < size - 1 && (n = recv(fd, answer + len, size - 1 - len, 0)) > 0)
        len += (size_t)n;
    answer[len] = '\0';
    close(fd);
}

static void test_while_loading(void **state)
{
    static const struct {
        const char *request, *status, *word;
    } cases[] = {
        {"GET /health", "503", "Loading model"},
        {"GET /slots", "503", "Loading model"},
        {"GET /metrics", "503", "Loading model"},
        {"GET /v1/models", "503", "Loading model"},
        {"POST /v1/chat/completions", "503", "Loading model"},
        {"GET /api/version", "200", "version"},
        {"GET /nowhere", "404", "error"},
    };
    struct sl_serve_opts opts = {.http = sl_http_opts_default(), .env = &env, .n_slots = 1,
                                 .n_queue_max = 1, .n_kept = 1, .drain_ms = 1000};
    struct sluice_model_opts text = {.n_threads = 1, .flags = SLUICE_MODEL_TEXT};
    struct sl_listen sockets = {0};
    struct sl_serve *serve;
    struct sl_diag diag = {""};
    char request[256], answer[2048];

    assert_int_equal(sluice_model_open(&opts.text, SOURCE_ROOT "/models/demo.gguf", &text,
                                       (struct sluice_error *)&diag), 0);
    assert_int_equal(sl_listen_add_tcp(&sockets, "127.0.0.1", 0, &diag), 0);
    assert_int_equal(sl_serve_open(&serve, &opts, &diag), 0);
    assert_int_equal(sl_serve_start(serve, &sockets, &diag), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)snprintf(request, sizeof(request),
                       "%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                       "Content-Length: 0\r\n\r\n", cases[i].request);
        ask(sl_listen_port(&sockets), request, answer, sizeof(answer));
        assert_memory_equal(answer + strlen("HTTP/1.1 "), cases[i].status, 3);
        assert_non_null(strstr(answer, cases[i].word));
    }
    assert_false(sl_serve_is_ending(serve));
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    while (!sl_serve_is_ending(serve)) /* as a model that is being loaded asks */
        (void)sched_yield();
    assert_int_equal(sl_serve_close(serve), 0);
    sluice_model_close(opts.text);
    sl_listen_done(&sockets);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int n_given_back;

static void give_back(void *arg)
{
    pthread_mutex_lock(&lock);
    n_given_back++;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void *run_engine(void *work)
{
    assert_int_equal(sl_enginework_run(work), 0);
    return NULL;
}

static void test_memory_is_given_back_once(void **state)
{
    static struct fakeengine fake;
    const struct sluice_session_opts session = {
        .n_ctx = 512, .n_seq_max = 2, .n_chunk = 16, .n_logits = 1, .n_marks = 2};
    struct sl_enginefn fn;
    struct sl_enginework work = {
        .engine = &fn,
        .idle_ms = 1,
        .sched = {.n_slots = 1, .n_queue_max = 1, .n_kept = 1, .max_step_ms = 100},
    };
    struct sl_apistate now;
    pthread_t thread;

    fakeengine_init(&fake, &fn, &session);
    fn.give_back = give_back;
    assert_int_equal(sl_workqueue_new(&work.queue, 4), 0);
    assert_int_equal(sl_servestate_new(&work.state, 1), 0);
    assert_true(sl_servestate_api(work.state).is_loading);
    assert_int_equal(pthread_create(&thread, NULL, run_engine, &work), 0);
    pthread_mutex_lock(&lock);
    while (n_given_back == 0)
        (void)pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    do
        now = sl_servestate_api(work.state);
    while (!now.is_sleeping); /* it is said after the fact */
    assert_false(now.is_loading);
    sl_workqueue_close(work.queue);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(n_given_back, 1);
    sl_workqueue_free(work.queue);
    sl_servestate_free(work.state);
    fakeengine_done(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_while_loading),
        cmocka_unit_test(test_memory_is_given_back_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
