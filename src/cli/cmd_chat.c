/*
 * sluice chat: a conversation. Each answer renders the whole conversation and computes
 * what the sequence does not hold already, so /undo, /regen and /load need nothing of
 * their own. Ctrl-C stops an answer, not the program.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/outfile.h"
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
#include "cli/typed.h"

enum {
    KEY_SYSTEM = 512,
    KEY_NO_COLOR,
    KEY_NO_HISTORY,
    KEY_STATS,
    KEY_LOAD,
};

struct chat_args {
    struct sl_model_args model;
    struct sl_session_args session;
    struct sl_sampling_args sampling;
    struct sl_draft_args draft;
    const char *system, *load;
    bool no_color, no_history, stats;
};

struct chat {
    struct chat_args *args;
    struct sl_opened opened;
    int seq;
    struct sluice_logit_bias *bias;
    struct sluice_sampler_opts sampling;
    struct sl_speculate *speculate; /* NULL: no drafts */
    struct sl_messages messages;
    struct sl_typed typed;
    struct sl_generate_stats stats; /* of the last answer */
    uint64_t n_answers;
    struct sl_strbuf answer;
    bool is_terminal; /* stdout */
    int output_error;
    int code;  /* what the program will exit with */
    bool ends; /* leave the loop */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct chat_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->sampling;
        state->child_inputs[1] = &args->session;
        state->child_inputs[2] = &args->model;
        state->child_inputs[3] = &args->draft;
        break;
    case KEY_SYSTEM: args->system = arg; break;
    case KEY_NO_COLOR: args->no_color = true; break;
    case KEY_NO_HISTORY: args->no_history = true; break;
    case KEY_STATS: args->stats = true; break;
    case KEY_LOAD: args->load = arg; break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"system", KEY_SYSTEM, "TEXT", 0, "System prompt", 0},
    {"load", KEY_LOAD, "FILE", 0, "Go on with a conversation that /save wrote", 0},
    {"no-color", KEY_NO_COLOR, NULL, 0, "No colours (also: NO_COLOR in the environment)", 0},
    {"no-history", KEY_NO_HISTORY, NULL, 0, "Do not keep what is typed for the next time", 0},
    {"stats", KEY_STATS, NULL, 0, "Print statistics to stderr after each answer", 0},
    {0},
};

static const struct argp_child children[] = {
    {&sl_options_sampling, 0, "Sampling (defaults by model):", 1},
    {&sl_options_session, 0, "Session:", 2},
    {&sl_options_engine, 0, NULL, 0},
    {&sl_draft_argp, 0, NULL, 0},
    {0},
};

const struct argp sl_argp_chat = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL",
    .doc = "Talk with the model in the GGUF file MODEL. /help lists what can be typed.",
    .children = children,
};

static int emit(void *arg, const char *text, size_t len)
{
    struct chat *chat = arg;

    sl_strbuf_add(&chat->answer, text, len);
    chat->output_error = sl_message_show(text, len, chat->is_terminal);
    return chat->output_error ? chat->output_error : chat->answer.error;
}

/* Report an error of an answer. At a terminal the conversation goes on. */
static int failed(struct chat *chat, const char *text)
{
    (void)sl_report_error("%s", text);
    if (!chat->typed.is_terminal) {
        chat->code = SL_EXIT_FAILED;
        chat->ends = true;
    }
    return -1;
}

static int generate(struct chat *chat)
{
    struct sl_generate_opts opts = {
        .sampling = chat->sampling,
        .n_max = chat->args->sampling.n_max,
        .grammar_path = chat->args->sampling.grammar_path,
        .special = chat->args->sampling.special,
        .speculate = chat->speculate,
        .emit = emit,
        .arg = chat,
    };
    struct sluice_error error = {""};
    int32_t *ids = NULL;
    char *text = NULL;
    size_t n_ids;
    int r;

    r = sl_message_render(&chat->messages, chat->opened.model, &text, &error);
    if (r < 0)
        return failed(chat, error.text);
    r = sl_message_tokenize(chat->opened.model, text, SLUICE_TOKENIZE_SPECIAL, &ids, &n_ids);
    free(text);
    if (r < 0)
        return failed(chat, sl_report_tokenize_text(r));
    opts.sampling.seed += chat->n_answers++; /* another answer for /regen */
    sl_strbuf_cut(&chat->answer, 0);
    r = sl_generate(chat->opened.model, chat->opened.session, chat->seq, ids, n_ids, &opts,
                    &chat->stats, &error);
    free(ids);
    if (chat->output_error == 0)
        chat->output_error = sl_message_show("\n", 1, chat->is_terminal);
    if (chat->args->stats)
        sl_stats_print(&chat->stats, &chat->opened.info, opts.sampling.seed);
    return r < 0 ? failed(chat, error.text) : 0;
}

/* Have the last user message answered. What was said before an error or Ctrl-C is kept;
 * if nothing was, the question is taken back. */
static void answer(struct chat *chat)
{
    int r = generate(chat);

    if (chat->output_error) {
        chat->code = sl_report_code(chat->output_error);
        chat->ends = true;
    }
    if (chat->answer.len && sl_message_add(&chat->messages, "assistant", chat->answer.ptr) < 0)
        (void)failed(chat, "not enough memory");
    else if (chat->answer.len == 0 && (r < 0 || chat->stats.stop == SL_STOP_INTERRUPTED))
        sl_message_drop_last(&chat->messages);
    if (chat->stats.stop == SL_STOP_INTERRUPTED && !chat->typed.is_terminal) {
        chat->code = SL_EXIT_INTERRUPTED;
        chat->ends = true;
    }
}

static void cmd_help(struct chat *chat, const char *arg)
{
    fputs("/help           this list\n"
          "/system [TEXT]  show or set the system prompt; \"/system -\" takes it away\n"
          "/regen          another answer to the last message\n"
          "/undo           forget the last message and its answer\n"
          "/save FILE      write the conversation as JSON\n"
          "/load FILE      go on with a saved one\n"
          "/stats          speed of the last answer, and room in the context\n"
          "/exit           leave (also Ctrl-D)\n"
          "A backslash at the end of a line, or lines of \"\"\" round a text, make a message of\n"
          "many lines; pasting does too. // at the beginning is a slash.\n"
          "Ctrl-C stops an answer.\n", stdout);
}

static void cmd_system(struct chat *chat, const char *arg)
{
    const char *now = sl_message_get_system(&chat->messages);

    if (!*arg)
        printf("%s\n", now ? now : "(no system prompt)");
    else if (sl_message_set_system(&chat->messages, strcmp(arg, "-") ? arg : NULL) < 0)
        (void)failed(chat, "not enough memory");
}

static void cmd_undo(struct chat *chat, const char *arg)
{
    if (!sl_message_ends_in(&chat->messages, "assistant") &&
        !sl_message_ends_in(&chat->messages, "user")) {
        printf("(nothing to undo)\n");
        return;
    }
    if (sl_message_ends_in(&chat->messages, "assistant"))
        sl_message_drop_last(&chat->messages);
    if (sl_message_ends_in(&chat->messages, "user"))
        sl_message_drop_last(&chat->messages);
}

static void cmd_regen(struct chat *chat, const char *arg)
{
    if (sl_message_ends_in(&chat->messages, "assistant"))
        sl_message_drop_last(&chat->messages);
    if (sl_message_ends_in(&chat->messages, "user"))
        answer(chat);
    else
        printf("(no message to answer)\n");
}

static void cmd_save(struct chat *chat, const char *arg)
{
    struct sl_outfile out;
    struct sl_jsonwriter w;
    struct sl_diag diag;
    int r;

    if (!*arg) {
        printf("/save FILE\n");
        return;
    }
    r = sl_outfile_open(&out, arg, &diag);
    if (r == 0) {
        sl_jsonwriter_init(&w, out.file, SL_JSONWRITER_PRETTY);
        sl_jsonwriter_begin_object(&w);
        sl_jsonwriter_member_string(&w, "model", chat->args->model.path);
        sl_jsonwriter_key(&w, "messages");
        sl_message_write(&w, &chat->messages);
        sl_jsonwriter_end_object(&w);
        if (sl_jsonwriter_done(&w) == -ENOMEM) {
            sl_outfile_done(&out);
            (void)failed(chat, "not enough memory");
            return;
        }
        (void)fputc('\n', out.file); /* a failed write shows in commit */
        r = sl_outfile_commit(&out, &diag);
    }
    if (r < 0)
        (void)failed(chat, diag.text);
    else
        printf("(%zu messages written)\n", chat->messages.n);
}

static int load(struct chat *chat, const char *path)
{
    struct sl_diag diag;
    char *text;
    size_t len;
    int r;

    r = sl_infile_read(path, &text, &len, &diag);
    if (r < 0)
        return failed(chat, diag.text);
    r = sl_message_parse(&chat->messages, text, len, &diag);
    free(text);
    if (r < 0) {
        (void)sl_diag_prefix(&diag, r, "%s", path);
        return failed(chat, diag.text);
    }
    return 0;
}

static void cmd_load(struct chat *chat, const char *arg)
{
    if (!*arg)
        printf("/load FILE\n");
    else if (load(chat, arg) == 0)
        printf("(%zu messages read)\n", chat->messages.n);
}

static void cmd_stats(struct chat *chat, const char *arg)
{
    struct sluice_session_opts opts;
    const int32_t *tokens;

    sluice_session_get_opts(chat->opened.session, &opts);
    if (chat->n_answers)
        sl_stats_print(&chat->stats, &chat->opened.info,
                       chat->sampling.seed + chat->n_answers - 1);
    printf("context: %lld of %u tokens\n",
           (long long)sluice_seq_tokens(chat->opened.session, chat->seq, &tokens), opts.n_ctx);
}

static void cmd_exit(struct chat *chat, const char *arg)
{
    chat->ends = true;
}

static void run_slash(struct chat *chat, const char *text)
{
    static const struct {
        const char *name;
        void (*run)(struct chat *chat, const char *arg);
    } slashes[] = {
        {"help", cmd_help}, {"?", cmd_help},       {"system", cmd_system}, {"regen", cmd_regen},
        {"undo", cmd_undo}, {"save", cmd_save},    {"load", cmd_load},     {"stats", cmd_stats},
        {"exit", cmd_exit}, {"quit", cmd_exit},    {"bye", cmd_exit},
    };
    size_t len = strcspn(text + 1, " \t");
    const char *arg = text + 1 + len;

    arg += strspn(arg, " \t");
    for (size_t i = 0; i < sizeof(slashes) / sizeof(slashes[0]); i++)
        if (strlen(slashes[i].name) == len && !memcmp(slashes[i].name, text + 1, len)) {
            slashes[i].run(chat, arg);
            return;
        }
    printf("(no such command: %.*s; /help lists them)\n", (int)len + 1, text);
}

static void take(struct chat *chat, const char *text)
{
    struct sl_diag diag;

    if (text[0] == '/' && text[1] != '/' && !strchr(text, '\n')) {
        run_slash(chat, text);
        (void)fflush(stdout); /* a failure shows at the next answer or at the end */
        return;
    }
    if (text[strspn(text, " \t\r\n")] == '\0')
        return;
    if (sl_message_check_utf8("the message", text, &diag) < 0)
        (void)failed(chat, diag.text);
    else if (sl_message_add(&chat->messages, "user", text + (text[0] == '/')) < 0)
        (void)failed(chat, "not enough memory");
    else
        answer(chat);
}

static int loop(struct chat *chat)
{
    char *text;
    int r;

    if (chat->typed.is_terminal)
        printf("%s. /help lists what can be typed.\n", chat->args->model.name);
    while (!chat->ends) {
        sl_interrupt_clear();
        r = sl_typed_read(&chat->typed, &text);
        if (r == -EINTR && chat->typed.is_terminal) {
            printf("(Ctrl-D or /exit leaves)\n");
            continue;
        }
        if (r == -EINTR)
            return SL_EXIT_INTERRUPTED;
        if (r < 0)
            return sl_report_error("%s", sl_err_text(r));
        if (r == 0)
            break;
        take(chat, text);
        free(text);
    }
    if (chat->typed.is_terminal && !chat->ends)
        printf("\n");
    return chat->code;
}

static int open_all(struct chat *chat)
{
    const struct sluice_model *model;
    struct sl_diag diag;
    int r;

    if (chat->args->system &&
        sl_message_check_utf8("the system prompt", chat->args->system, &diag) < 0)
        return sl_report_error("%s", diag.text);
    if (chat->args->load && load(chat, chat->args->load) < 0)
        return SL_EXIT_FAILED;
    if (chat->args->system && sl_message_set_system(&chat->messages, chat->args->system) < 0)
        return sl_report_error("not enough memory");
    chat->args->session.opts.n_seq_max = 1;
    sl_draft_set_rows(&chat->args->draft, &chat->args->session.opts);
    r = sl_opened_open(&chat->opened, &chat->args->model, &chat->args->session.opts);
    if (r)
        return r;
    model = chat->opened.model;
    sl_message_note_template(model);
    if (sl_options_sampler(&chat->args->sampling, model, &chat->sampling, &chat->bias) < 0)
        return SL_EXIT_FAILED;
    chat->seq = sluice_seq_new(chat->opened.session);
    if (chat->seq < 0)
        return sl_report_error("%s", sl_err_text(chat->seq));
    return sl_draft_new(&chat->args->draft, chat->opened.session, &chat->speculate);
}

int sl_cmd_chat(int argc, char **argv)
{
    struct chat_args args = {.model.advice = "sluice run answers a prompt"};
    struct chat chat = {.args = &args, .is_terminal = isatty(STDOUT_FILENO)};
    const char *no_color = getenv("NO_COLOR");
    int code;

    sl_cmdline_parse(&sl_argp_chat, argc, argv, 0, &args);
    sl_interrupt_set_patience(3); /* a slow step, an impatient person: keep the conversation */
    code = open_all(&chat);
    if (code == 0) {
        sl_typed_init(&chat.typed, !args.no_color && !(no_color && *no_color), !args.no_history);
        code = loop(&chat);
        sl_typed_done(&chat.typed);
    }
    sl_message_done(&chat.messages);
    sl_speculate_free(chat.speculate);
    sl_strbuf_done(&chat.answer);
    code = sl_opened_close(&chat.opened, code);
    free(chat.bias);
    return code;
}
