/*
 * sluice serve: a model behind the APIs that people's tools speak. It listens before the
 * model is loaded, and says so; the main thread loads it and then computes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/opened.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/serveenv.h"
#include "server/genjob.h"
#include "server/sdnotify.h"
#include "server/serve.h"

enum {
    KEY_HOST = 512,
    KEY_PORT,
    KEY_UNIX,
    KEY_API_KEY,
    KEY_API_KEY_FILE,
    KEY_ALIAS,
    KEY_ALLOW_HOST,
    KEY_ALLOW_ORIGIN,
    KEY_CONNECTIONS,
    KEY_QUEUE,
    KEY_KEEP,
    KEY_MAX_STEP_MS,
    KEY_IDLE,
    KEY_SLOT_SAVE_PATH,
    KEY_DRAIN,
    KEY_NO_METRICS,
    KEY_NO_SLOTS,
    KEY_NO_PAGE,
    KEY_ON, /* what other servers want to be told to do, and this one does anyway */
};

#define DEFAULT_PORT 8080
#define DEFAULT_SLOTS 4
#define DEFAULT_QUEUE 128
#define DEFAULT_KEEP 16
#define DEFAULT_DRAIN_S 30
#define MAX_STEP_MS_RESIDENT 500
#define MAX_STEP_MS_STREAMING 2000
#define IDLE_S_MAX 1000000
#define NAMES_MAX 16

struct serve_args {
    struct sl_model_args model;
    struct sl_session_args session;
    struct sl_sampling_args sampling;
    const char *host, *unix_path, *slot_folder;
    uint16_t port;
    bool has_host, has_port, no_metrics, no_slots, no_page;
    const char *names[SL_SERVEENV_NAMES_MAX], *hosts[NAMES_MAX], *origins[NAMES_MAX];
    size_t n_names, n_hosts, n_origins;
    struct sl_auth *auth;
    uint32_t n_slots, n_conns, n_queue, n_keep, max_step_ms, idle_s, drain_s;
};

struct serving {
    struct serve_args *args;
    struct sl_listen sockets;
    struct sluice_model *text;
    struct sl_serveenv env;
    struct sl_serve *serve;
    struct sl_opened opened;
    struct sl_enginefn_sluice engine;
    struct sl_progress progress;
    const char *notify; /* NOTIFY_SOCKET */
};

static void add_name(const char **list, size_t *n, const char *name, const char *option,
                     struct argp_state *state)
{
    if (*n == NAMES_MAX)
        argp_error(state, "%s: at most %d of them", option, NAMES_MAX);
    else
        list[(*n)++] = name;
}

static void add_key(struct serve_args *args, const char *key, struct argp_state *state)
{
    struct sl_diag diag = {""};

    if (sl_auth_add_key(args->auth, key, strlen(key), &diag) < 0)
        argp_error(state, "--api-key: %s", diag.text);
}

static void add_key_file(struct serve_args *args, const char *path, struct argp_state *state)
{
    struct sl_diag diag = {""};
    bool is_open = false;

    if (sl_auth_add_file(args->auth, path, &is_open, &diag) < 0)
        argp_error(state, "--api-key-file: %s", diag.text);
    if (is_open)
        sl_report_note("%s: others can read the keys in it", path);
}

/* The folder must be there: a file can be missed, but not where all of them are. */
static void set_slot_folder(struct serve_args *args, const char *path, struct argp_state *state)
{
    struct stat st;

    if (stat(path, &st) < 0)
        argp_error(state, "--slot-save-path: %s: %s", path, sl_err_text(-errno));
    else if (!S_ISDIR(st.st_mode))
        argp_error(state, "--slot-save-path: %s is no folder", path);
    args->slot_folder = path;
}

static uint32_t number(struct argp_state *state, const char *name, const char *arg, uint32_t min,
                       uint32_t max)
{
    return (uint32_t)sl_options_uint(state, name, arg, min, max);
}

static error_t parse_address(struct serve_args *args, int key, char *arg,
                             struct argp_state *state)
{
    switch (key) {
    case KEY_HOST:
        args->host = arg;
        args->has_host = true;
        break;
    case KEY_PORT:
        args->port = (uint16_t)number(state, "--port", arg, 0, UINT16_MAX);
        args->has_port = true;
        break;
    case KEY_UNIX: args->unix_path = arg; break;
    case KEY_API_KEY: add_key(args, arg, state); break;
    case KEY_API_KEY_FILE: add_key_file(args, arg, state); break;
    case KEY_ALLOW_HOST:
        add_name(args->hosts, &args->n_hosts, arg, "--allow-host", state);
        break;
    case KEY_ALLOW_ORIGIN:
        add_name(args->origins, &args->n_origins, arg, "--allow-origin", state);
        break;
    case KEY_CONNECTIONS:
        args->n_conns = number(state, "--connections", arg, 1, SL_HTTP_CONNS_MAX);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct serve_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->sampling;
        state->child_inputs[1] = &args->session;
        state->child_inputs[2] = &args->model;
        break;
    case KEY_ALIAS: add_name(args->names, &args->n_names, arg, "--alias", state); break;
    case 'p': args->n_slots = number(state, "--parallel", arg, 1, 128); break;
    case KEY_QUEUE: args->n_queue = number(state, "--queue", arg, 0, 4096); break;
    case KEY_KEEP: args->n_keep = number(state, "--keep", arg, 1, 128); break;
    case KEY_MAX_STEP_MS:
        args->max_step_ms = number(state, "--max-step-ms", arg, 1, 600000);
        break;
    case KEY_SLOT_SAVE_PATH: set_slot_folder(args, arg, state); break;
    case KEY_IDLE: args->idle_s = number(state, "--idle", arg, 0, IDLE_S_MAX); break;
    case KEY_DRAIN: args->drain_s = number(state, "--drain", arg, 0, 86400); break;
    case KEY_NO_METRICS: args->no_metrics = true; break;
    case KEY_NO_SLOTS: args->no_slots = true; break;
    case KEY_NO_PAGE: args->no_page = true; break;
    case KEY_ON: break;
    case ARGP_KEY_END:
        if (args->sampling.grammar_path || args->sampling.n_bias || args->sampling.ignore_eos ||
            args->sampling.special)
            argp_error(state, "--grammar-file, --logit-bias, --ignore-eos and --special are for "
                              "requests to ask");
        if (args->session.opts.n_chunk && args->session.opts.n_chunk < args->n_slots)
            argp_error(state, "--chunk: at least as many as --parallel, %" PRIu32,
                       args->n_slots);
        break;
    default: return parse_address(args, key, arg, state);
    }
    return 0;
}

static const struct argp_option options[] = {
    {"host", KEY_HOST, "ADDRESS", 0, "Listen on ADDRESS (127.0.0.1)", 0},
    {"port", KEY_PORT, "N", 0, "... and port N (8080; 0: any, which is printed)", 0},
    {"unix", KEY_UNIX, "PATH", 0, "Listen at PATH, a Unix socket, instead; with --host too", 0},
    {"api-key", KEY_API_KEY, "KEY", 0, "Ask for KEY; may be repeated. Others see it in the list "
                                       "of processes", 0},
    {"api-key-file", KEY_API_KEY_FILE, "FILE", 0, "Ask for one of the keys in FILE, one a line",
     0},
    {"allow-host", KEY_ALLOW_HOST, "NAME", 0, "Serve requests to this name, too; may be repeated",
     0},
    {"allow-origin", KEY_ALLOW_ORIGIN, "SITE", 0,
     "Let pages of SITE (https://name:port) use the server; may be repeated", 0},
    {"connections", KEY_CONNECTIONS, "N", 0, "At most N connections (256); more wait", 0},
    {"alias", KEY_ALIAS, "NAME", 0, "Serve the model under NAME (MODEL or the file's); may be "
                                    "repeated",
     0},
    {"parallel", 'p', "N", 0, "Compute N requests at once (4); more wait", 0},
    {"queue", KEY_QUEUE, "N", 0, "Let N requests wait (128); more are refused", 0},
    {"keep", KEY_KEEP, "N", 0, "Keep N beginnings of chats, to be used again (16)", 0},
    {"max-step-ms", KEY_MAX_STEP_MS, "N", 0,
     "While a prompt is read, others get a token every N ms (500; 2000 if experts stream)", 0},
    {"idle", KEY_IDLE, "SECONDS", 0,
     "Without a request for so long, give back the memory of experts that stream (0: never)", 0},
    {"sleep-idle-seconds", 0, NULL, OPTION_ALIAS | OPTION_HIDDEN, NULL, 0},
    {"slot-save-path", KEY_SLOT_SAVE_PATH, "FOLDER", 0,
     "Let requests save slots to files in FOLDER, and restore them", 0},
    {"drain", KEY_DRAIN, "SECONDS", 0, "Time for open requests when asked to end (30)", 0},
    {"no-metrics", KEY_NO_METRICS, NULL, 0, "No /metrics", 0},
    {"no-slots", KEY_NO_SLOTS, NULL, 0, "No /slots", 0},
    {"no-page", KEY_NO_PAGE, NULL, 0, "No page for browsers at /", 0},
    {"no-ui", 0, NULL, OPTION_ALIAS | OPTION_HIDDEN, NULL, 0},
    {"no-webui", 0, NULL, OPTION_ALIAS | OPTION_HIDDEN, NULL, 0},
    {"metrics", KEY_ON, NULL, OPTION_HIDDEN, NULL, 0},
    {"slots", KEY_ON, NULL, OPTION_HIDDEN, NULL, 0},
    {0},
};

static const struct argp_child children[] = {
    {&sl_options_sampling, 0, "Where a request says nothing:", 1},
    {&sl_options_session, 0, "Session:", 2},
    {&sl_options_engine, 0, NULL, 0},
    {0},
};

const struct argp sl_argp_serve = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL",
    .doc = "Serve the model in the GGUF file MODEL by HTTP: the APIs of OpenAI, Anthropic, Ollama "
           "and llama.cpp.\v"
           "The context (--ctx) is shared by all requests; one alone may use all of it. SIGINT and "
           "SIGTERM let open requests end; a second one ends them. Exit codes: 0 ended as asked, "
           "1 failed, or requests were cut off at the end, 2 bad arguments.",
    .children = children,
};

/* Sockets that systemd has opened come first; then those asked for. */
static int open_sockets(struct serving *s)
{
    const struct serve_args *args = s->args;
    struct sl_diag diag = {""};
    int n = sl_sdnotify_inherited(getenv("LISTEN_PID"), getenv("LISTEN_FDS"), &diag);
    bool wants_tcp = args->has_host || args->has_port || (n == 0 && !args->unix_path);
    int r = n;

    for (int i = 0; i < n && r >= 0; i++)
        r = sl_listen_add_fd(&s->sockets, SL_SDNOTIFY_FD_FIRST + i, &diag);
    if (r >= 0 && args->unix_path)
        r = sl_listen_add_unix(&s->sockets, args->unix_path, &diag);
    if (r >= 0 && wants_tcp)
        r = sl_listen_add_tcp(&s->sockets, args->host, args->port, &diag);
    return r < 0 ? sl_report_error("%s", diag.text) : 0;
}

static int open_text(struct serving *s)
{
    struct sluice_model_opts opts = {.n_threads = 1, .flags = SLUICE_MODEL_TEXT};
    struct serve_args *args = s->args;
    struct sluice_error error = {""};

    if (sluice_model_open(&s->text, args->model.path, &opts, &error) < 0)
        return sl_report_failure(error.text);
    if (args->n_names == 0 && args->model.path != args->model.name)
        args->names[args->n_names++] = args->model.name; /* found by it */
    if (sl_serveenv_init(&s->env, s->text, args->names, args->n_names, &args->sampling) < 0)
        return sl_report_error("not enough memory");
    s->env.env.n_slots = args->n_slots;
    s->env.env.has_metrics = !args->no_metrics;
    s->env.env.has_slots = !args->no_slots;
    s->env.env.has_page = !args->no_page;
    return 0;
}

static void on_log(void *arg, const char *line)
{
    sl_report_note("%s", line);
}

static int start_serving(struct serving *s)
{
    const struct serve_args *args = s->args;
    struct sl_serve_opts opts = {
        .http = sl_http_opts_default(),
        .env = &s->env.env,
        .text = s->text,
        .n_slots = args->n_slots,
        .n_queue_max = args->n_queue,
        .n_kept = args->n_keep,
        .drain_ms = args->drain_s * 1000,
        .slot_folder = args->slot_folder,
    };
    struct sl_diag diag = {""};
    int r;

    opts.http.auth = args->auth;
    opts.http.hosts = args->hosts;
    opts.http.n_hosts = args->n_hosts;
    opts.http.origins = args->origins;
    opts.http.n_origins = args->n_origins;
    opts.http.n_conns_max = args->n_conns;
    opts.http.log = on_log;
    r = sl_serve_open(&s->serve, &opts, &diag);
    if (r == 0)
        r = sl_serve_start(s->serve, &s->sockets, &diag);
    return r < 0 ? sl_report_error("%s", diag.text) : 0;
}

static int on_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
    struct serving *s = arg;

    return sl_serve_is_ending(s->serve) ||
           sl_progress_update(&s->progress, done_bytes, total_bytes);
}

static int load(struct serving *s)
{
    struct serve_args *args = s->args;
    struct sluice_session_opts *session = &args->session.opts;
    int r;

    session->n_seq_max = args->n_slots + args->n_keep;
    session->n_logits = session->n_beside = args->n_slots;
    session->n_marks = SL_GENJOB_MARKS_MAX;
    args->model.opts.progress = on_progress;
    args->model.opts.progress_arg = s;
    r = sl_opened_open(&s->opened, &args->model, session);
    sl_progress_end(&s->progress);
    return r;
}

static void say_ready(void *arg)
{
    const struct serving *s = arg;
    const struct serve_args *args = s->args;
    struct sl_diag diag = {""};

    if (sl_listen_port(&s->sockets))
        printf("listening on http://%s:%u\n", args->host, sl_listen_port(&s->sockets));
    if (args->unix_path)
        printf("listening on unix:%s\n", args->unix_path);
    if (fflush(stdout) != 0)
        sl_report_note("cannot write to standard output");
    if (sl_sdnotify_send(s->notify, "READY=1", &diag) < 0)
        sl_report_note("%s", diag.text);
}

static int serve(struct serving *s)
{
    const struct sluice_model_info *info = &s->opened.info;
    uint32_t default_ms = info->is_streaming ? MAX_STEP_MS_STREAMING : MAX_STEP_MS_RESIDENT;
    struct sl_enginefn fn;
    struct sl_serve_run_opts opts = {
        .engine = &fn,
        .max_step_ms = s->args->max_step_ms ? s->args->max_step_ms : default_ms,
        .ready = say_ready,
        .ready_arg = s,
        .idle_ms = s->args->idle_s * 1000,
        .fixed_bytes = info->is_streaming ? info->pinned_bytes : info->weight_bytes,
    };

    s->engine = (struct sl_enginefn_sluice){s->opened.model, s->opened.session};
    sl_enginefn_init(&fn, &s->engine);
    s->env.env.n_ctx_tok = fn.opts.n_ctx;
    if (sl_serve_run(s->serve, &opts) < 0)
        return sl_report_error("not enough memory for the server");
    return 0;
}

static int run_all(struct serving *s)
{
    int r = open_sockets(s);

    if (r == 0)
        r = open_text(s);
    if (r == 0)
        r = start_serving(s);
    if (r == 0)
        r = load(s);
    if (r && s->serve && sl_serve_is_ending(s->serve))
        return SL_EXIT_OK; /* asked to end while loading */
    return r ? r : serve(s);
}

int sl_cmd_serve(int argc, char **argv)
{
    struct serve_args args = {
        .host = "127.0.0.1",
        .port = DEFAULT_PORT,
        .n_slots = DEFAULT_SLOTS,
        .n_conns = 256,
        .n_queue = DEFAULT_QUEUE,
        .n_keep = DEFAULT_KEEP,
        .drain_s = DEFAULT_DRAIN_S,
    };
    struct serving s = {.args = &args, .notify = getenv("NOTIFY_SOCKET")};
    int code;

    if (sl_auth_new(&args.auth) < 0)
        return sl_report_error("not enough memory");
    sl_cmdline_parse(&sl_argp_serve, argc, argv, 0, &args);
    code = run_all(&s);
    (void)sl_sdnotify_send(s.notify, "STOPPING=1", NULL); /* READY said what is wrong with it */
    if (sl_serve_close(s.serve) < 0 && code == SL_EXIT_OK)
        code = sl_report_error("requests were cut off: they did not end in time");
    code = sl_opened_close(&s.opened, code);
    sl_serveenv_done(&s.env);
    sluice_model_close(s.text);
    sl_listen_done(&s.sockets);
    sl_auth_free(args.auth);
    return code;
}
