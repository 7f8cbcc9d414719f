/*
 * A server for test_http.py: every kind of answer, from the loop and from another thread.
 * Prints "port N" when it listens, ends by SIGTERM or SIGINT, exit code 1 if clients were cut off.
 */
#include <argp.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/http.h"
#include "server/sdnotify.h"
#include "server/sse.h"

#define IDS_MAX 512

enum list {
    PARKED,  /* to be answered by /release */
    STREAMS, /* begun, to be added to by /tick */
    FLOODED, /* to be written to until they are full */
    WAITERS, /* for as many clients to be gone as their path says */
    N_LISTS,
};

struct ids {
    sl_http_id list[IDS_MAX];
    int wanted[IDS_MAX]; /* of WAITERS */
    int n;
};

static struct sl_http *server;
static struct sl_listen sockets;
static struct sl_http_opts opts;
static unsigned int drain_ms = 2000;
static const char *unix_path, *address = "127.0.0.1";
static const char *hosts[8], *origins[8];
static int is_inheriting;

/* guarded by lock */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct ids lists[N_LISTS];
static int n_gone, n_full, is_busy, is_ending;
static int wish; /* a bit per job: what the other thread is to do next */

enum { RELEASE = 1, TICK = 2, FINISH = 4, ABORT = 8, CHECK = 16, FLOOD = 32, BEGIN = 64 };

static const struct sl_http_reply plain = {.status = 200, .type = "text/plain"};
static const struct sl_http_reply events = {
    .status = 200, .type = SL_SSE_TYPE, .headers = "X-Accel-Buffering: no\r\n"};
static const struct sl_http_reply pinging = {
    .status = 200, .type = SL_SSE_TYPE, .ping_ms = 50, .ping = SL_SSE_PING};

static void add(enum list which, sl_http_id id, int wanted)
{
    struct ids *ids = &lists[which];

    if (ids->n < IDS_MAX) {
        ids->list[ids->n] = id;
        ids->wanted[ids->n++] = wanted;
    }
}

static void ask(int bits)
{
    wish |= bits;
    pthread_cond_signal(&changed);
}

static void park(void *arg, const struct sl_http_request *request)
{
    const char *rest = sl_http_request_rest(request);

    pthread_mutex_lock(&lock);
    add((enum list)(size_t)arg, sl_http_request_id(request), atoi(rest));
    if ((size_t)arg == FLOODED)
        ask(FLOOD);
    else
        ask(CHECK);
    pthread_mutex_unlock(&lock);
}

static void on_stream(void *arg, const struct sl_http_request *request)
{
    sl_http_id id = sl_http_request_id(request);

    pthread_mutex_lock(&lock);
    add(STREAMS, id, 0);
    pthread_mutex_unlock(&lock);
    (void)sl_http_begin(server, id, arg);
}

static void on_now(void *arg, const struct sl_http_request *request)
{
    const char *text = arg ? arg : sl_http_request_rest(request);

    (void)sl_http_reply(server, sl_http_request_id(request), &plain, text, strlen(text));
}

static void on_echo(void *arg, const struct sl_http_request *request)
{
    const char *body;
    size_t len;

    sl_http_request_body(request, &body, &len);
    (void)sl_http_reply(server, sl_http_request_id(request), &plain, body, len);
}

static void on_big(void *arg, const struct sl_http_request *request)
{
    size_t len = strtoul(sl_http_request_rest(request), NULL, 10);
    char *text = malloc(len + 1);

    if (text) {
        memset(text, 'x', len);
        (void)sl_http_reply(server, sl_http_request_id(request), &plain, text, len);
    }
    free(text);
}

/* Have the other thread do something, and say that it was asked. */
static void on_ask(void *arg, const struct sl_http_request *request)
{
    pthread_mutex_lock(&lock);
    ask((int)(size_t)arg);
    pthread_mutex_unlock(&lock);
    (void)sl_http_reply(server, sl_http_request_id(request), &plain, "", 0);
}

static void on_busy(void *arg, const struct sl_http_request *request)
{
    pthread_mutex_lock(&lock);
    is_busy = atoi(sl_http_request_rest(request));
    pthread_mutex_unlock(&lock);
    (void)sl_http_reply(server, sl_http_request_id(request), &plain, "", 0);
}

/* Connections whose pieces leave at once. */
static int count_undelayed(void)
{
    int n = 0;

    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_storage peer;
        socklen_t peer_len = sizeof(peer), on_len = sizeof(int);
        int on = 0;

        if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0 &&
            getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &on_len) == 0)
            n += on != 0;
    }
    return n;
}

static void on_state(void *arg, const struct sl_http_request *request)
{
    char text[160];
    int len;

    pthread_mutex_lock(&lock);
    len = snprintf(text, sizeof(text), "parked %d streams %d gone %d full %d conns %u undelayed %d",
                   lists[PARKED].n, lists[STREAMS].n, n_gone, n_full, sl_http_n_conns(server),
                   count_undelayed());
    pthread_mutex_unlock(&lock);
    (void)sl_http_reply(server, sl_http_request_id(request), &plain, text, (size_t)len);
}

static int on_admit(void *arg, const struct sl_http_request *request, uint32_t *ret_retry_s)
{
    int status;

    if (strncmp(sl_http_request_path(request), "/busy", 5) == 0)
        return 0;
    pthread_mutex_lock(&lock);
    status = is_busy;
    pthread_mutex_unlock(&lock);
    *ret_retry_s = 7;
    return status;
}

static void on_gone(void *arg, sl_http_id id)
{
    pthread_mutex_lock(&lock);
    n_gone++;
    for (int which = 0; which < N_LISTS; which++)
        for (int i = 0; i < lists[which].n; i++)
            if (lists[which].list[i] == id) {
                lists[which].list[i] = lists[which].list[--lists[which].n];
                break;
            }
    ask(CHECK);
    pthread_mutex_unlock(&lock);
}

/* What the other thread was asked for, with copies of the lists, so that no lock is held. */
static void work(int what, struct ids *ids)
{
    static char block[65536];

    for (int i = 0; what & RELEASE && i < ids[PARKED].n; i++)
        (void)sl_http_reply(server, ids[PARKED].list[i], &plain, "released", 8);
    for (int i = 0; what & TICK && i < ids[STREAMS].n; i++) {
        struct sl_strbuf out = {0};

        sl_sse_add(&out, NULL, "tick", 4);
        (void)sl_http_write(server, ids[STREAMS].list[i], out.ptr, out.len);
        sl_strbuf_done(&out);
    }
    for (int i = 0; what & FINISH && i < ids[STREAMS].n; i++)
        (void)sl_http_end(server, ids[STREAMS].list[i]);
    for (int i = 0; what & ABORT && i < ids[STREAMS].n; i++)
        (void)sl_http_abort(server, ids[STREAMS].list[i]);
    for (int i = 0; what & FLOOD && i < ids[FLOODED].n; i++) {
        int r = sl_http_begin(server, ids[FLOODED].list[i], &events);

        memset(block, '.', sizeof(block));
        while (r == 0)
            r = sl_http_write(server, ids[FLOODED].list[i], block, sizeof(block));
        pthread_mutex_lock(&lock);
        n_full += r == -ENOBUFS;
        pthread_mutex_unlock(&lock);
    }
    for (int i = 0; i < ids[WAITERS].n; i++)
        (void)sl_http_reply(server, ids[WAITERS].list[i], &plain, "gone", 4);
}

/* Take from the lists what the jobs are for. */
static int take_locked(struct ids *taken)
{
    int what = wish;

    wish = 0;
    memset(taken, 0, N_LISTS * sizeof(*taken));
    taken[STREAMS] = lists[STREAMS];
    if (what & RELEASE) {
        taken[PARKED] = lists[PARKED];
        lists[PARKED].n = 0;
    }
    if (what & (FINISH | ABORT))
        lists[STREAMS].n = 0;
    if (what & FLOOD) {
        taken[FLOODED] = lists[FLOODED];
        lists[FLOODED].n = 0;
    }
    for (int i = 0; i < lists[WAITERS].n;) {
        struct ids *waiters = &lists[WAITERS];

        if (waiters->wanted[i] > n_gone) {
            i++;
            continue;
        }
        taken[WAITERS].list[taken[WAITERS].n++] = waiters->list[i];
        waiters->list[i] = waiters->list[waiters->n - 1];
        waiters->wanted[i] = waiters->wanted[--waiters->n];
    }
    return what;
}

static void *other_thread(void *arg)
{
    static struct ids taken[N_LISTS];

    for (;;) {
        int what;

        pthread_mutex_lock(&lock);
        while (!wish && !is_ending)
            pthread_cond_wait(&changed, &lock);
        if (is_ending) {
            pthread_mutex_unlock(&lock);
            return NULL;
        }
        what = take_locked(taken);
        pthread_mutex_unlock(&lock);
        work(what, taken);
    }
}

static void on_term(int number)
{
    sl_http_drain(server, drain_ms);
}

static struct sl_auth *auth;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct sl_diag diag = {""};
    unsigned int n = arg ? (unsigned int)strtoul(arg, NULL, 10) : 0;
    bool is_open;

    switch (key) {
    case 'k':
        if (sl_auth_add_key(auth, arg, strlen(arg), &diag) < 0)
            argp_error(state, "%s", diag.text);
        break;
    case 'K':
        if (sl_auth_add_file(auth, arg, &is_open, &diag) < 0)
            argp_error(state, "%s", diag.text);
        break;
    case 'H': hosts[opts.n_hosts++] = arg; break;
    case 'o': origins[opts.n_origins++] = arg; break;
    case 'u': unix_path = arg; break;
    case 'a': address = arg; break;
    case 'f': is_inheriting = 1; break;
    case 'c': opts.n_conns_max = n; break;
    case 1: opts.idle_ms = n; break;
    case 2: opts.head_ms = n; break;
    case 3: opts.body_ms = n; break;
    case 4: opts.stall_ms = n; break;
    case 5: drain_ms = n; break;
    case 6: opts.limits.body_max_bytes = n; break;
    case 7: opts.linger_ms = n; break;
    case 8: opts.out_max_bytes = n; break;
    case 9: opts.in_max_bytes = n; break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"key", 'k', "KEY", 0, "", 0},       {"key-file", 'K', "FILE", 0, "", 0},
    {"host", 'H', "NAME", 0, "", 0},     {"origin", 'o', "ORIGIN", 0, "", 0},
    {"unix", 'u', "PATH", 0, "", 0},     {"address", 'a', "ADDRESS", 0, "", 0},
    {"inherit", 'f', NULL, 0, "", 0},    {"conns", 'c', "N", 0, "", 0},
    {"idle", 1, "MS", 0, "", 0},         {"head", 2, "MS", 0, "", 0},
    {"body", 3, "MS", 0, "", 0},         {"stall", 4, "MS", 0, "", 0},
    {"drain", 5, "MS", 0, "", 0},        {"body-max", 6, "BYTES", 0, "", 0},
    {"linger", 7, "MS", 0, "", 0},       {"out-max", 8, "BYTES", 0, "", 0},
    {"in-max", 9, "BYTES", 0, "", 0},    {0},
};

static void add_routes(void)
{
    static const struct {
        enum sl_http_method method;
        const char *pattern;
        sl_http_handler handler;
        const void *arg;
    } routes[] = {
        {SL_HTTP_GET, "/now", on_now, "now"},
        {SL_HTTP_GET, "/model/*", on_now, NULL},
        {SL_HTTP_POST, "/echo", on_echo, NULL},
        {SL_HTTP_GET, "/big/*", on_big, NULL},
        {SL_HTTP_GET, "/later", park, (void *)PARKED},
        {SL_HTTP_POST, "/later", park, (void *)PARKED},
        {SL_HTTP_GET, "/flood", park, (void *)FLOODED},
        {SL_HTTP_GET, "/gone/*", park, (void *)WAITERS},
        {SL_HTTP_GET, "/stream", on_stream, &events},
        {SL_HTTP_GET, "/ping", on_stream, &pinging},
        {SL_HTTP_GET, "/release", on_ask, (void *)RELEASE},
        {SL_HTTP_GET, "/tick", on_ask, (void *)TICK},
        {SL_HTTP_GET, "/finish", on_ask, (void *)FINISH},
        {SL_HTTP_GET, "/abort", on_ask, (void *)ABORT},
        {SL_HTTP_GET, "/busy/*", on_busy, NULL},
        {SL_HTTP_GET, "/state", on_state, NULL},
    };
    int r = sl_http_route(server, SL_HTTP_GET, "/health", SL_HTTP_PUBLIC, on_now, "ok");

    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
        r |= sl_http_route(server, routes[i].method, routes[i].pattern, 0, routes[i].handler,
                           (void *)routes[i].arg);
    if (r)
        exit(3);
}

static int open_sockets(struct sl_diag *diag)
{
    int r = sl_sdnotify_inherited(getenv("LISTEN_PID"), getenv("LISTEN_FDS"), diag);

    if (r < 0)
        return r;
    if (is_inheriting) {
        for (int i = 0; i < r; i++)
            if (sl_listen_add_fd(&sockets, SL_SDNOTIFY_FD_FIRST + i, diag) < 0)
                return -1;
        return r ? 0 : sl_diag_set(diag, -1, "no socket was handed over");
    }
    if (unix_path)
        return sl_listen_add_unix(&sockets, unix_path, diag);
    return sl_listen_add_tcp(&sockets, address, 0, diag);
}

int main(int argc, char **argv)
{
    const struct argp argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
    struct sigaction action = {.sa_handler = on_term};
    struct sl_diag diag = {""};
    pthread_t thread;
    int r;

    opts = sl_http_opts_default();
    if (sl_auth_new(&auth) < 0)
        return 3;
    opts.auth = auth;
    opts.hosts = hosts;
    opts.origins = origins;
    opts.gone = on_gone;
    opts.admit = on_admit;
    (void)argp_parse(&argp, argc, argv, 0, NULL, NULL);
    r = open_sockets(&diag);
    if (r == 0)
        r = sl_http_open(&server, &opts, &diag);
    if (r == 0)
        r = sl_http_listen(server, &sockets, &diag);
    if (r < 0) {
        fprintf(stderr, "echo_server: %s\n", diag.text);
        return 3;
    }
    add_routes();
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    if (pthread_create(&thread, NULL, other_thread, NULL) || sl_http_start(server) < 0)
        return 3;
    if (sl_sdnotify_send(getenv("NOTIFY_SOCKET"), "READY=1", &diag) < 0)
        fprintf(stderr, "echo_server: %s\n", diag.text);
    printf("port %u\n", sl_listen_port(&sockets));
    fflush(stdout);

    r = sl_http_join(server);
    (void)sl_sdnotify_send(getenv("NOTIFY_SOCKET"), "STOPPING=1", NULL);
    pthread_mutex_lock(&lock);
    is_ending = 1;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
    sl_http_close(server);
    sl_listen_done(&sockets);
    sl_auth_free(auth);
    return r == 0 ? 0 : 1;
}
