/*
 * sluice pull: a model from Hugging Face, or a hub of its kind, into the cache that its tools
 * and llama.cpp share. What is said goes to stderr, the path of the file to stdout.
 */
#include <stdlib.h>

#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/pullrun.h"
#include "cli/pullshow.h"
#include "cli/report.h"
#include "loader/mapping.h"

enum {
    KEY_LIST = 512,
    KEY_JSON,
    KEY_STALL,
    KEY_TRIES,
    KEY_WAIT,
    KEY_NO_MEASURE,
};

struct pull_args {
    struct sl_pullrun *run;
    const char *name;
    bool list, json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct pull_args *args = state->input;
    struct sl_pullrun *run = args->run;
    struct sl_diag diag;

    switch (key) {
    case 'y': run->is_yes = true; break;
    case 'j':
        run->opts.n_connections =
            (uint32_t)sl_options_uint(state, "--connections", arg, 1, SL_DOWNLOAD_CONNECTIONS_MAX);
        break;
    case KEY_LIST: args->list = true; break;
    case KEY_JSON: args->json = true; break;
    case KEY_STALL:
        run->stall_s = (uint32_t)sl_options_uint(state, "--stall", arg, 1, 3600);
        break;
    case KEY_TRIES:
        run->opts.retry.n_tries = (uint32_t)sl_options_uint(state, "--tries", arg, 1, 1000);
        break;
    case KEY_WAIT:
        run->opts.retry.first_ms = (uint32_t)sl_options_uint(state, "--wait", arg, 1, 30000);
        break;
    case KEY_NO_MEASURE: run->mode = SL_MACHINE_NEVER; break;
    case 'h': argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP); break;
    case ARGP_KEY_ARG:
        if (args->name)
            argp_error(state, "too many arguments");
        args->name = arg;
        break;
    case ARGP_KEY_SUCCESS:
        if (!args->name)
            argp_error(state, "no model given");
        if (sl_hubname_parse(&run->name, args->name, &diag) < 0)
            argp_error(state, "%s", diag.text);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"list", KEY_LIST, NULL, 0, "List the repo's models, download nothing", 0},
    {"yes", 'y', NULL, 0, "Download it even if it would not run here", 0},
    {"connections", 'j', "N", 0, "Ranges at once (4)", 0},
    {"tries", KEY_TRIES, "N", 0, "Give up after so many in a row that bring nothing (8)", 0},
    {"wait", KEY_WAIT, "MS", 0, "Before the second try, doubled each time (500)", 0},
    {"stall", KEY_STALL, "SECONDS", 0, "A silent connection is given up after that (30)", 0},
    {"no-measure", KEY_NO_MEASURE, NULL, 0, "Measure nothing, plan with what was measured before",
     0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0},
    {0},
};

const struct argp sl_argp_pull = {
    .options = options,
    .parser = parse,
    .args_doc = "user/repo[@REVISION][:TYPE|:FILE]",
    .doc = "Download a model from Hugging Face into the cache that its tools and llama.cpp use, "
           "say before how it would run here, and print its path.\v"
           "TYPE is as Q4_K_M, which is also taken if none is given. An interrupted download goes "
           "on where it was; its SHA-256 is checked, and only what is whole and right gets its "
           "name. The environment is that of other tools: HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE, "
           "HF_HOME, LLAMA_CACHE, http_proxy, https_proxy, no_proxy. Where a model would not run, "
           "a terminal is asked, and others need --yes.",
};

int sl_cmd_pull(int argc, char **argv)
{
    struct sl_pullrun *run = calloc(1, sizeof(*run));
    struct pull_args args = {.run = run};
    int code;

    if (!run)
        return sl_report_error("not enough memory");
    run->opts = (struct sl_download_opts){.n_connections = 4,
                                          .retry = {.n_tries = 8, .first_ms = 500}};
    run->stall_s = 30;
    sl_cmdline_parse(&sl_argp_pull, argc, argv, 0, &args);
    (void)sl_mapping_install_sigbus(); /* without it, a head cut meanwhile ends the program */
    code = sl_pullrun_open(run);
    if (code == 0)
        code = sl_pullrun_list(run);
    if (code == 0 && args.list) {
        code = sl_report_code(sl_pullshow_list(run, args.json));
    } else if (code == 0) {
        code = sl_pullrun_get(run);
        if (code == 0)
            code = sl_report_code(sl_pullshow_end(run, args.json));
    }
    sl_pullrun_close(run);
    free(run);
    return code;
}
