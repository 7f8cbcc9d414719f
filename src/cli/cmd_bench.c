/*
 * sluice bench: two questions. "How fast is my machine?" (MODEL alone, --target, --json,
 * --html) is benchtarget.c's. With llama-bench's options, -m among them, it is llama-bench:
 * a row for each combination of what the options list, in the same order (benchtable.c).
 */
#include <stdlib.h>
#include <string.h>

#include "cli/benchopts.h"
#include "cli/benchtable.h"
#include "cli/benchtarget.h"
#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/modelname.h"
#include "cli/options.h"
#include "cli/report.h"

enum {
    KEY_TARGET = 512,
    KEY_JSON,
    KEY_HTML,
};

struct bench_args {
    struct sl_model_args model;
    struct sl_bench_args bench;
    struct sl_target_opts target;
    bool is_target;
    char *found[SL_BENCH_LIST_MAX]; /* owned: paths of models found by name */
};

static double parse_target(const char *arg, struct argp_state *state)
{
    char *end;
    double value = strtod(arg, &end);

    if (end == arg || *end || !(value >= 0.001 && value <= 1e6))
        argp_error(state, "--target: tokens per second expected, found \"%s\"", arg);
    return value;
}

static void check_target(struct bench_args *args, struct argp_state *state)
{
    struct sl_bench_args *bench = &args->bench;

    if (bench->strict_option)
        argp_error(state, "--target, --json and --html measure decoding by themselves; leave "
                          "out --%s", bench->strict_option);
    if (bench->n_models > 1 || bench->threads.n > 1 || bench->gen.n > 1)
        argp_error(state, "--target, --json and --html take one value each of -m, -n and -t");
    if (bench->gen.n && bench->gen.values[0] == 0)
        argp_error(state, "-n: at least 1");
}

static void check(struct bench_args *args, struct argp_state *state)
{
    struct sl_bench_args *bench = &args->bench;

    if (args->model.path && bench->n_models == SL_BENCH_LIST_MAX)
        argp_error(state, "too many models");
    if (args->model.path)
        bench->models[bench->n_models++] = args->model.path;
    if (bench->n_models == 0)
        argp_error(state, "no model given");
    if (!bench->table_option)
        args->is_target = true;
    if (args->is_target)
        check_target(args, state);
    else
        sl_benchopts_complete(bench, state);
}

/* The models of -m too may be given by name. */
static void find_models(struct bench_args *args, struct argp_state *state)
{
    struct sl_bench_args *bench = &args->bench;

    for (uint32_t i = 0; i < bench->n_models; i++) {
        const char *path = sl_modelname_path(state, bench->models[i], args->model.found,
                                             sizeof(args->model.found));

        if (path == bench->models[i])
            continue;
        args->found[i] = strdup(path);
        if (!args->found[i])
            argp_failure(state, SL_EXIT_FAILED, 0, "not enough memory");
        bench->models[i] = args->found[i];
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct bench_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->bench;
        state->child_inputs[1] = &args->model;
        break;
    case KEY_TARGET: args->target.target = parse_target(arg, state); break;
    case KEY_JSON: args->target.is_json = true; break;
    case KEY_HTML: args->target.html_path = arg; break;
    case ARGP_KEY_END: check(args, state); break;
    case ARGP_KEY_SUCCESS: find_models(args, state); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    if (key == KEY_TARGET || key == KEY_JSON || key == KEY_HTML)
        args->is_target = true;
    return 0;
}

static const struct argp_option options[] = {
    {"target", KEY_TARGET, "TOKENS", 0,
     "What it would take to decode so many tokens per second (112)", 0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {"html", KEY_HTML, "FILE", 0, "Write a page with pictures too", 0},
    {0},
};

static const struct argp_child children[] = {
    {&sl_options_bench, 0, "Tests, as llama-bench has them (lists as 1,2 and 1-8 and 1-16*2):", 1},
    {&sl_options_engine, 0, NULL, 0},
    {0},
};

const struct argp sl_argp_bench = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL",
    .doc = "Measure how fast this machine decodes and how fast its memory would allow; or, with "
           "options of llama-bench, its tests.\v"
           "With MODEL alone, --target, --json or --html the answer is for people: memory's speed "
           "measured in turn with decoding (-n tokens, -r rounds, -t threads). With -m or any "
           "other option of the second group, prompts and decoding are timed as llama-bench does, "
           "and the table is its own. Options of llama-bench that mean nothing on a CPU are taken "
           "and named on stderr. Usage counts of experts are neither used nor kept.",
    .children = children,
};

int sl_cmd_bench(int argc, char **argv)
{
    struct bench_args *args = calloc(1, sizeof(*args));
    int code;

    if (!args)
        return sl_report_error("not enough memory");
    args->bench.out = SL_BENCH_MD;
    args->model.is_path_optional = true; /* -m names models too */
    args->target.target = 112.0;
    args->model.no_profile = true; /* random ids would spoil what real use taught */
    sl_cmdline_parse(&sl_argp_bench, argc, argv, ARGP_LONG_ONLY, args);
    args->model.opts.numa = args->bench.numa;
    if (args->is_target) {
        args->model.path = args->bench.models[0];
        args->model.opts.n_threads = args->bench.threads.n ? args->bench.threads.values[0] : 0;
        args->target.n_tokens = args->bench.gen.n ? args->bench.gen.values[0] : 0;
        args->target.n_rounds = args->bench.n_reps;
        args->target.has_progress = args->bench.has_progress;
        code = sl_benchtarget_run(&args->model, &args->target);
    } else {
        code = sl_benchtable_run(&args->model, &args->bench);
    }
    for (uint32_t i = 0; i < SL_BENCH_LIST_MAX; i++)
        free(args->found[i]);
    free(args);
    return code;
}
