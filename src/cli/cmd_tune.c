/*
 * sluice tune: which workers are best for a model on this machine. What is tried is in
 * tunesettings.c, how the best is found in tunesearch.c, a single run in tunerun.c; what
 * was found is kept by tuned.c, and used by every command that opens a model.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/jsonwriter.h"
#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/fingerprint.h"
#include "cli/interrupt.h"
#include "cli/opened.h"
#include "cli/options.h"
#include "cli/report.h"
#include "cli/tuned.h"
#include "cli/tunerun.h"
#include "cli/tunesearch.h"
#include "cli/tunesettings.h"
#include "cli/units.h"
#include "experts/cpulist.h"
#include "model/engine.h"

enum {
    KEY_SECONDS = 512,
    KEY_FOR,
    KEY_JSON,
};

#define SECONDS_DEFAULT 60u
#define SECONDS_MAX 86400u
#define ROUNDS_WANTED 6u /* as many fit into the time, if all settings are alike */
#define RUN_NS_MIN 20000000u /* shorter runs say little */
#define BAR_CHARS 24
#define LIST_BYTES 64

struct tune_args {
    struct sl_model_args model;
    uint32_t seconds;
    enum sl_tune_purpose purpose;
    bool json;
};

struct tune {
    const struct tune_args *args;
    struct sl_opened opened;
    struct sl_tune_setting settings[SL_TUNE_SETTINGS_MAX];
    uint32_t n_settings;
    struct sl_tunerun run;
    struct sl_tune_result results[SL_TUNE_SETTINGS_MAX];
    uint32_t best;
    uint64_t start_ns, end_ns;
    bool has_bar;
    struct sl_tuned_key key;
    struct sl_tuned tuned;
    char *path; /* owned; NULL: there is no place to keep it */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct tune_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &args->model; break;
    case KEY_SECONDS:
        args->seconds = (uint32_t)sl_options_uint(state, "--seconds", arg, 1, SECONDS_MAX);
        break;
    case KEY_FOR:
        for (int p = 0; p < SL_TUNE_PURPOSES; p++)
            if (!strcmp(arg, sl_tuned_purpose_name((enum sl_tune_purpose)p))) {
                args->purpose = (enum sl_tune_purpose)p;
                return 0;
            }
        argp_error(state, "--for: decode or prefill expected, found \"%s\"", arg);
        break;
    case KEY_JSON: args->json = true; break;
    case ARGP_KEY_END:
        if (args->model.opts.n_threads || args->model.n_cpus)
            argp_error(state, "-t and --cpus: they are what is looked for; taskset -c 0-7 sluice "
                              "tune ... tries no other CPUs");
        return ARGP_ERR_UNKNOWN; /* the model's parser looks for MODEL */
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"seconds", KEY_SECONDS, "N", 0, "Take about so long (60)", 0},
    {"for", KEY_FOR, "WHAT", 0,
     "Be fast at decode, one token after the other (the default), or at prefill, long prompts", 0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {0},
};

static const struct argp_child children[] = {
    {&sl_options_engine, 0, NULL, 0},
    {0},
};

const struct argp sl_argp_tune = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL",
    .doc = "Measure how many threads on which CPUs are best for MODEL here, and keep the answer "
           "for later runs.\v"
           "Numbers of threads and places for them take turns, round by round; those that are "
           "clearly slower are given up. The same threads decode and read prompts: of settings "
           "that are alike at what was asked for, the one that is better at the other is taken. "
           "Later runs of models of this shape use it unless -t, --cpus or --no-tuned is given. "
           "Answers are the same with all of them, bit for bit.",
    .children = children,
};

static uint64_t clock_ns(void *arg)
{
    (void)arg;
    return sl_clock_ns();
}

static void draw_bar(struct tune *t, const struct sl_tune_setting *setting)
{
    uint64_t now = sl_clock_ns();
    double all = (double)(t->end_ns - t->start_ns), done = (double)(now - t->start_ns);
    char bar[BAR_CHARS + 1];

    if (!isatty(STDERR_FILENO))
        return;
    for (int i = 0; i < BAR_CHARS; i++)
        bar[i] = i < done / all * BAR_CHARS ? '#' : '-';
    bar[BAR_CHARS] = '\0';
    fprintf(stderr, "\rtuning [%s] %.0f of %.0f s, %s\033[K", bar, done * 1e-9, all * 1e-9,
            setting->name);
    t->has_bar = true;
}

static void remove_bar(struct tune *t)
{
    if (t->has_bar)
        fputs("\r\033[K", stderr);
    t->has_bar = false;
}

static int run_setting(void *arg, uint32_t i, double ret_rates[SL_TUNE_PURPOSES])
{
    struct tune *t = arg;

    draw_bar(t, &t->settings[i]);
    return sl_tunerun_time(&t->run, &t->settings[i], ret_rates);
}

static int explain(struct tune *t, int r)
{
    uint32_t n = 0;

    if (sl_interrupt_is_set())
        return SL_EXIT_INTERRUPTED;
    if (r != -EAGAIN)
        return sl_report_error("%s", t->run.error.text);
    for (uint32_t i = 0; i < t->n_settings; i++)
        n += t->results[i].n_rounds;
    return sl_report_error("%" PRIu32 " s are too short to compare %" PRIu32 " settings: %" PRIu32
                           " of at least %" PRIu32 " runs were made; give more with --seconds",
                           t->args->seconds, t->n_settings, n, SL_TUNE_ROUNDS_MIN * t->n_settings);
}

/* The time for sizing the runs counts too. 0 or an exit code. */
static int search(struct tune *t)
{
    struct sl_tune_search s = {.n_settings = t->n_settings, .purpose = t->args->purpose,
                               .clock_ns = clock_ns, .run = run_setting, .arg = t};
    uint64_t ns = (uint64_t)t->args->seconds * 1000000000u;
    uint64_t run_ns = ns / (t->n_settings * ROUNDS_WANTED);
    int r;

    t->start_ns = sl_clock_ns();
    t->end_ns = s.end_ns = t->start_ns + ns;
    t->run.opened = &t->opened;
    draw_bar(t, &t->settings[0]);
    r = sl_tunerun_size(&t->run, run_ns > RUN_NS_MIN ? run_ns : RUN_NS_MIN);
    if (r == 0)
        r = sl_tunesearch_run(&s, t->results, &t->best);
    remove_bar(t);
    return r < 0 ? explain(t, r) : 0;
}

/* 0, or an exit code if it could not be kept. */
static int keep(struct tune *t)
{
    const struct sl_tune_setting *best = &t->settings[t->best];
    struct sl_diag diag;

    sl_fingerprint_machine(&t->key);
    sl_fingerprint_model(&t->key, t->opened.model->gguf, &t->opened.model->hp);
    t->tuned = (struct sl_tuned){.purpose = t->args->purpose, .n = best->n};
    memcpy(t->tuned.cpus, best->cpus, best->n * sizeof(best->cpus[0]));
    for (int p = 0; p < SL_TUNE_PURPOSES; p++)
        t->tuned.rates[p] = t->results[t->best].spread[p].median;
    sl_units_now(t->tuned.date);
    t->path = sl_tuned_path(&t->key);
    if (!t->path)
        return sl_report_error("there is no place to keep the result: neither XDG_STATE_HOME nor "
                               "HOME is an absolute path");
    if (sl_tuned_save(t->path, &t->key, &t->tuned, &diag) == 0)
        return 0;
    free(t->path);
    t->path = NULL;
    return sl_report_error("%s", diag.text);
}

static void print_spread(const struct sl_spread *s)
{
    char range[40];

    (void)snprintf(range, sizeof(range), "[%.1f .. %.1f]", s->low, s->high);
    printf(" %8.1f %-19s", s->median, range);
}

static double gain(const struct tune *t, enum sl_tune_purpose purpose)
{
    return 100.0 * (t->results[t->best].spread[purpose].median /
                        t->results[0].spread[purpose].median - 1.0);
}

static int print_text(const struct tune *t)
{
    const struct sl_tune_setting *best = &t->settings[t->best];
    char list[LIST_BYTES];

    printf("%s, prompts in pieces of %" PRIu32 " tokens; tokens/s, median [lowest .. highest]"
           "\n\n", t->opened.info.path, t->run.n_prompt);
    printf("  %-28s %7s %8s %-19s %8s %-19s %s\n", "setting", "threads", "decode", "", "prefill",
           "", "rounds");
    for (uint32_t i = 0; i < t->n_settings; i++) {
        const struct sl_tune_result *result = &t->results[i];

        printf("%c %-28s %7" PRIu32, i == t->best ? '*' : ' ', t->settings[i].name,
               t->settings[i].n);
        for (int p = 0; p < SL_TUNE_PURPOSES; p++)
            print_spread(&result->spread[p]);
        printf(" %" PRIu32 "%s\n", result->n_rounds, result->is_out ? ", given up" : "");
    }
    printf("\nBest for %s: %s, %" PRIu32 " thread%s on CPU%s %s",
           sl_tuned_purpose_name(t->args->purpose), best->name, best->n, best->n == 1 ? "" : "s",
           best->n == 1 ? "" : "s", sl_cpulist_print(list, sizeof(list), best->cpus, best->n));
    if (t->best == 0)
        printf(", as without tuning.\n");
    else
        printf(": decode %+.1f %%, prefill %+.1f %%\nbeside %s.\n", gain(t, SL_TUNE_DECODE),
               gain(t, SL_TUNE_PREFILL), t->settings[0].name);
    if (t->path)
        printf("Kept in %s\n", t->path);
    return sl_report_flush();
}

static void write_result(struct sl_jsonwriter *w, const struct tune *t, uint32_t i)
{
    const struct sl_tune_setting *setting = &t->settings[i];
    const struct sl_tune_result *result = &t->results[i];

    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_member_string(w, "name", setting->name);
    sl_jsonwriter_member_u64(w, "threads", setting->n);
    sl_jsonwriter_member_array(w, "cpus");
    for (uint32_t k = 0; k < setting->n; k++)
        sl_jsonwriter_i64(w, setting->cpus[k]);
    sl_jsonwriter_end_array(w);
    sl_jsonwriter_member_u64(w, "rounds", result->n_rounds);
    sl_jsonwriter_member_bool(w, "given_up", result->is_out);
    for (int p = 0; p < SL_TUNE_PURPOSES; p++) {
        sl_jsonwriter_member_object(w, p == SL_TUNE_DECODE ? "decode_tokens_per_s"
                                                           : "prefill_tokens_per_s");
        sl_jsonwriter_member_f64(w, "low", result->spread[p].low);
        sl_jsonwriter_member_f64(w, "median", result->spread[p].median);
        sl_jsonwriter_member_f64(w, "high", result->spread[p].high);
        sl_jsonwriter_end_object(w);
    }
    sl_jsonwriter_end_object(w);
}

static int print_json(const struct tune *t)
{
    struct sl_jsonwriter w;

    sl_report_begin_json(&w);
    sl_jsonwriter_member_string(&w, "path", t->opened.info.path);
    sl_jsonwriter_member_string(&w, "machine", t->key.machine);
    sl_jsonwriter_member_string(&w, "model", t->key.model);
    sl_jsonwriter_member_string(&w, "experts",
                                t->opened.info.is_streaming ? "streaming" : "resident");
    sl_jsonwriter_member_string(&w, "for", sl_tuned_purpose_name(t->args->purpose));
    sl_jsonwriter_member_u64(&w, "prompt_tokens", t->run.n_prompt);
    sl_jsonwriter_member_u64(&w, "best", t->best);
    sl_jsonwriter_member_array(&w, "settings");
    for (uint32_t i = 0; i < t->n_settings; i++)
        write_result(&w, t, i);
    sl_jsonwriter_end_array(&w);
    sl_jsonwriter_member_string(&w, "date", t->tuned.date);
    sl_jsonwriter_key(&w, "kept_in");
    if (t->path)
        sl_jsonwriter_string(&w, t->path);
    else
        sl_jsonwriter_null(&w);
    return sl_report_end_json(&w);
}

/* What is to be tried on this machine. 0 or an exit code. */
static int list_settings(struct tune *t)
{
    struct sl_topology *topo;
    struct sl_diag diag;
    int n, r = sl_topology_open(&topo, &diag);

    if (r < 0)
        return sl_report_error("%s", diag.text);
    n = sl_tunesettings_list(t->settings, topo);
    sl_topology_close(topo);
    if (n < 0)
        return sl_report_error("not enough memory");
    t->n_settings = (uint32_t)n;
    return 0;
}

static int run_tune(struct tune *t, struct sl_model_args *model)
{
    int code = list_settings(t), kept;

    if (code)
        return code;
    /* memory is planned for the most workers that are tried */
    for (uint32_t i = 0; i < t->n_settings; i++)
        if (t->settings[i].n > model->opts.n_threads)
            model->opts.n_threads = t->settings[i].n;
    model->no_profile = true; /* random ids would spoil what real use taught */
    model->no_tuned = true;
    code = sl_opened_open(&t->opened, model, NULL);
    if (code == 0)
        code = search(t);
    if (code)
        return code;
    kept = keep(t);
    code = sl_report_code(t->args->json ? print_json(t) : print_text(t));
    return kept ? kept : code;
}

int sl_cmd_tune(int argc, char **argv)
{
    struct tune_args args = {.seconds = SECONDS_DEFAULT};
    struct tune *t;
    int code;

    sl_cmdline_parse(&sl_argp_tune, argc, argv, 0, &args);
    t = calloc(1, sizeof(*t));
    if (!t)
        return sl_report_error("not enough memory");
    t->args = &args;
    code = run_tune(t, &args.model);
    code = sl_opened_close(&t->opened, code);
    free(t->path);
    free(t);
    return code;
}
