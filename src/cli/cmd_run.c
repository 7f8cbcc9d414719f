/*
 * sluice run: one prompt, one answer. A model with a chat template answers the prompt as
 * a user's message; --raw continues the text instead. stdout gets the answer alone;
 * statistics go to stderr.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/draft.h"
#include "cli/infile.h"
#include "cli/interrupt.h"
#include "cli/message.h"
#include "cli/opened.h"
#include "cli/options.h"
#include "cli/report.h"
#include "cli/stats.h"

enum {
    KEY_RAW = 512,
    KEY_SYSTEM,
    KEY_STATS,
    KEY_NO_STATS,
    KEY_JSON,
};

struct run_args {
    struct sl_model_args model;
    struct sl_session_args session;
    struct sl_sampling_args sampling;
    struct sl_draft_args draft;
    const char *prompt, *file, *system;
    bool raw, no_stats, json;
};

struct run {
    struct run_args *args;
    struct sl_opened opened;
    struct sluice_logit_bias *bias;
    struct sluice_sampler_opts sampling;
    struct sl_speculate *speculate; /* NULL: no drafts */
    char *prompt, *text; /* as given; rendered */
    int32_t *ids;
    size_t n_ids;
    bool is_terminal;
    struct sl_strbuf answer;  /* --json */
    struct sl_strbuf answer_ids;
    bool at_line_start;
    int output_error;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct run_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->sampling;
        state->child_inputs[1] = &args->session;
        state->child_inputs[2] = &args->model;
        state->child_inputs[3] = &args->draft;
        break;
    case 'f': args->file = arg; break;
    case KEY_RAW: args->raw = true; break;
    case KEY_SYSTEM: args->system = arg; break;
    case KEY_STATS: args->no_stats = false; break;
    case KEY_NO_STATS: args->no_stats = true; break;
    case KEY_JSON: args->json = true; break;
    case ARGP_KEY_ARG:
        if (!args->model.path)
            return ARGP_ERR_UNKNOWN;
        if (args->prompt)
            argp_error(state, "more than one prompt; put it in quotes");
        args->prompt = arg;
        break;
    case ARGP_KEY_END:
        if (args->prompt && args->file)
            argp_error(state, "a prompt and -f FILE exclude each other");
        if (args->system && args->raw)
            argp_error(state, "--system and --raw exclude each other");
        if (!args->prompt && !args->file && isatty(STDIN_FILENO))
            argp_error(state, "no prompt: give it as an argument, with -f FILE or on standard "
                              "input; sluice chat is for talking");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"file", 'f', "FILE", 0, "Read the prompt from FILE (one line end at its end is dropped)", 0},
    {"raw", KEY_RAW, NULL, 0, "Continue the prompt as it is, without the chat template", 0},
    {"system", KEY_SYSTEM, "TEXT", 0, "System prompt", 0},
    {"stats", KEY_STATS, NULL, 0, "Print statistics to stderr (the default)", 0},
    {"no-stats", KEY_NO_STATS, NULL, 0, "Print no statistics", 0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object with the answer and the statistics", 0},
    {0},
};

static const struct argp_child children[] = {
    {&sl_options_sampling, 0, "Sampling (defaults by model):", 1},
    {&sl_options_session, 0, "Session:", 2},
    {&sl_options_engine, 0, NULL, 0},
    {&sl_draft_argp, 0, NULL, 0},
    {0},
};

const struct argp sl_argp_run = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL [PROMPT]",
    .doc = "Answer PROMPT (or FILE, or standard input) with the model in the GGUF file MODEL.\v"
           "The prompt is put to the model as a chat message, unless --raw is given or the file "
           "has no chat template. Exit codes: 0 answered, 1 failed, 2 bad arguments, 130 "
           "interrupted.",
    .children = children,
};

static int load_prompt(struct run *run)
{
    const char *path = run->args->file ? run->args->file : "-";
    struct sl_diag diag;
    size_t len;
    int r;

    if (run->args->prompt && strcmp(run->args->prompt, "-") != 0) {
        run->prompt = strdup(run->args->prompt);
        if (!run->prompt)
            return sl_report_error("not enough memory");
    } else {
        r = sl_infile_load(path, &run->prompt, &len);
        if (r)
            return r;
        if (strlen(run->prompt) != len)
            return sl_report_error("%s: the prompt holds a NUL byte", sl_infile_name(path));
        if (len && run->prompt[len - 1] == '\n')
            run->prompt[len - 1] = '\0';
    }
    if (!run->prompt[0] && !run->args->raw)
        return sl_report_error("the prompt is empty");
    r = sl_message_check_utf8("the prompt", run->prompt, &diag);
    if (r == 0 && run->args->system)
        r = sl_message_check_utf8("the system prompt", run->args->system, &diag);
    return r < 0 ? sl_report_error("%s", diag.text) : 0;
}

/* The text that is tokenised: the prompt, or the conversation it opens. */
static int render(struct run *run)
{
    struct sl_messages messages = {0};
    struct sluice_error error;
    int r;

    if (run->args->raw) {
        run->text = strdup(run->prompt);
        return run->text ? 0 : sl_report_error("not enough memory");
    }
    r = run->args->system ? sl_message_add(&messages, "system", run->args->system) : 0;
    if (r == 0)
        r = sl_message_add(&messages, "user", run->prompt);
    if (r == 0)
        r = sl_message_render(&messages, run->opened.model, &run->text, &error);
    else
        (void)snprintf(error.text, sizeof(error.text), "not enough memory");
    sl_message_done(&messages);
    return r < 0 ? sl_report_error("%s", error.text) : 0;
}

static int tokenize(struct run *run)
{
    uint32_t flags = run->args->raw ? SLUICE_TOKENIZE_BOS : SLUICE_TOKENIZE_SPECIAL;
    int r;

    if (run->args->raw && run->args->sampling.special)
        flags |= SLUICE_TOKENIZE_SPECIAL;
    r = sl_message_tokenize(run->opened.model, run->text, flags, &run->ids, &run->n_ids);
    if (r < 0)
        return sl_report_error("the prompt cannot be tokenised: %s",
                               sl_report_tokenize_text(r));
    if (run->n_ids == 0)
        return sl_report_error("the prompt is empty");
    return 0;
}

static int emit(void *arg, const char *text, size_t len)
{
    struct run *run = arg;

    if (run->args->json) {
        sl_strbuf_add(&run->answer, text, len);
        return run->answer.error;
    }
    run->output_error = sl_message_show(text, len, run->is_terminal);
    run->at_line_start = text[len - 1] == '\n';
    return run->output_error;
}

static int on_token(void *arg, int32_t id)
{
    struct run *run = arg;

    if (run->args->json)
        sl_strbuf_add(&run->answer_ids, (const char *)&id, sizeof(id));
    return run->answer_ids.error;
}

static int print_json(struct run *run, const struct sl_generate_stats *stats)
{
    struct sl_jsonwriter w;

    sl_report_begin_json(&w);
    sl_jsonwriter_key(&w, "text");
    sl_jsonwriter_string_len(&w, run->answer.ptr ? run->answer.ptr : "", run->answer.len);
    sl_jsonwriter_member_array(&w, "ids");
    for (size_t i = 0; i < run->answer_ids.len; i += sizeof(int32_t)) {
        int32_t id;

        memcpy(&id, run->answer_ids.ptr + i, sizeof(id));
        sl_jsonwriter_i64(&w, id);
    }
    sl_jsonwriter_end_array(&w);
    sl_stats_write(&w, stats, &run->opened.info, run->sampling.seed);
    return sl_report_end_json(&w);
}

static int answer(struct run *run)
{
    struct sl_generate_opts opts = {
        .sampling = run->sampling,
        .n_max = run->args->sampling.n_max,
        .grammar_path = run->args->sampling.grammar_path,
        .special = run->args->sampling.special,
        .speculate = run->speculate,
        .emit = emit,
        .on_token = on_token,
        .arg = run,
    };
    struct sl_generate_stats stats;
    struct sluice_error error = {""};
    int seq, r, out = 0;

    seq = sluice_seq_new(run->opened.session);
    if (seq < 0)
        return sl_report_error("%s", sl_err_text(seq));
    if (run->args->raw && run->is_terminal && !run->args->json)
        out = sl_message_show(run->prompt, strlen(run->prompt), true);
    r = sl_generate(run->opened.model, run->opened.session, seq, run->ids, run->n_ids, &opts,
                    &stats, &error);
    if (run->args->json && r == 0)
        out = print_json(run, &stats);
    else if (!run->at_line_start && stats.n_answer && run->output_error == 0)
        out = sl_report_write("\n", 1);
    if (out == 0 && run->output_error == 0)
        out = sl_report_flush();
    if (!run->args->no_stats && stats.n_answer)
        sl_stats_print(&stats, &run->opened.info, run->sampling.seed);
    if (r < 0)
        return sl_report_error("%s", error.text);
    if (stats.stop == SL_STOP_INTERRUPTED)
        return SL_EXIT_INTERRUPTED;
    return sl_report_code(out ? out : run->output_error);
}

static int run_all(struct run *run)
{
    const struct sluice_model *model;
    int r;

    r = load_prompt(run);
    if (r)
        return r;
    run->args->session.opts.n_seq_max = 1;
    sl_draft_set_rows(&run->args->draft, &run->args->session.opts);
    r = sl_opened_open(&run->opened, &run->args->model, &run->args->session.opts);
    if (r)
        return r;
    model = run->opened.model;
    if (!run->args->raw && !run->args->system && !sl_message_has_template(model)) {
        sl_report_note("the file has no chat template; continuing the text as it is");
        run->args->raw = true;
    }
    if (!run->args->raw)
        sl_message_note_template(model);
    if (sl_options_sampler(&run->args->sampling, model, &run->sampling, &run->bias) < 0)
        return SL_EXIT_FAILED;
    r = render(run);
    if (r == 0)
        r = tokenize(run);
    if (r == 0)
        r = sl_draft_new(&run->args->draft, run->opened.session, &run->speculate);
    return r ? r : answer(run);
}

int sl_cmd_run(int argc, char **argv)
{
    struct run_args args = {0};
    struct run run = {.args = &args, .is_terminal = isatty(STDOUT_FILENO), .at_line_start = true};
    int code;

    sl_cmdline_parse(&sl_argp_run, argc, argv, 0, &args);
    code = sl_opened_close(&run.opened, run_all(&run));
    sl_speculate_free(run.speculate);
    sl_strbuf_done(&run.answer);
    sl_strbuf_done(&run.answer_ids);
    free(run.bias);
    free(run.ids);
    free(run.prompt);
    free(run.text);
    return code;
}
