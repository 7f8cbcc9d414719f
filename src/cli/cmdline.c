/*
 * Each setting becomes one argument, "--name=value". argp tells errors to a stream of ours
 * (state->err_stream): while it is at an argument that was put in (state->next), the message is
 * about a setting, and its origin takes the place of the command's name and the option's dashes.
 * Of later messages those on options that were set get a note with the origin.
 *
 * Values stay in use after parsing, as argv does; so the settings live as long as the process.
 */
#include "cli/cmdline.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "cli/report.h"
#include "cli/settable.h"
#include "cli/settings.h"

struct given { /* an argument that was put in */
    const struct sl_setting *setting;
    const struct sl_option *option;
    char *arg;
};

static struct {
    struct sl_settings settings;
    struct sl_optable table;
    struct given *given;
    size_t n;
    char **argv;  /* all arguments */
    int argc;
} line; /* the process has one, and it is never given back */

struct parsing {
    const struct argp_state *state;
    void *input;
    bool is_past_settings;
    struct sl_strbuf text; /* of a message that has not ended */
    bool is_told;          /* a message on a setting; advice that follows is on what is typed */
};

static bool wants_help(int argc, char **argv)
{
    static const char *const words[] = {"--help", "--usage", "--version", "-h", "-?", "-V"};

    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++)
            if (!strcmp(argv[i], words[k]))
                return true;
    return false;
}

/* Whether an option was typed, perhaps shortened; "--api-key" is no short --api-key-file. */
static bool is_typed(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        size_t len = strcspn(argv[i], "=");
        char word[64];

        if (len < 3 || len >= sizeof(word) || strncmp(argv[i], "--", 2) != 0 ||
            strncmp(argv[i] + 2, name, len - 2) != 0)
            continue;
        (void)snprintf(word, sizeof(word), "%.*s", (int)len - 2, argv[i] + 2); /* it fits */
        if (!strcmp(word, name) || !sl_optable_find(&line.table, word))
            return true;
    }
    return false;
}

/* Make the argument for a setting that holds; none for a flag that is off. */
static int give(const struct sl_setting *setting, const struct sl_option *option)
{
    struct given *g = &line.given[line.n];
    bool is_on = true;
    int len;

    if (!option->arg && sl_settable_parse_flag(setting->value, &is_on) && !is_on)
        return 0;
    len = option->arg ? asprintf(&g->arg, "--%s=%s", option->name, setting->value)
                      : asprintf(&g->arg, "--%s", option->name);
    if (len < 0)
        return -ENOMEM;
    g->setting = setting;
    g->option = option;
    line.n++;
    return 0;
}

/* What holds for the command, in the order of its options. */
static int give_all(const struct sl_command *command, int argc, char **argv)
{
    const struct sl_settings *s = &line.settings;

    line.given = calloc(s->n + 1, sizeof(*line.given));
    if (!line.given)
        return -ENOMEM;
    for (size_t i = 0; i < line.table.n; i++) {
        const struct sl_option *o = &line.table.options[i];
        const char *rival = o->name ? sl_settable_gives_way_to(o->name) : NULL;

        if ((rival && is_typed(rival, argc, argv)) ||
            (o->name && sl_settable_repeats(o->name) && is_typed(o->name, argc, argv)))
            continue;
        for (size_t k = 0; k < s->n; k++)
            if (sl_settings_holds(s, &s->list[k], command, o) && give(&s->list[k], o) < 0)
                return -ENOMEM;
    }
    return 0;
}

/* argv with what was given behind its first word. */
static int join(int argc, char **argv)
{
    line.argv = calloc((size_t)argc + line.n + 1, sizeof(*line.argv));
    if (!line.argv)
        return -ENOMEM;
    line.argc = argc + (int)line.n;
    line.argv[0] = argv[0];
    for (size_t i = 0; i < line.n; i++)
        line.argv[1 + i] = line.given[i].arg;
    memcpy(line.argv + 1 + line.n, argv + 1, (size_t)(argc - 1) * sizeof(*argv));
    return 0;
}

/* "--ram: what is wrong" of a setting: without the dashes; "-n:" with the option's name. */
static void tell_setting(const struct given *g, const char *text)
{
    const char *colon = strchr(text, ':');

    if (text[0] == '-' && colon)
        (void)sl_report_error("%s: %s%s", g->setting->origin, g->option->name, colon);
    else
        (void)sl_report_error("%s: %s: %s", g->setting->origin, g->option->name, text);
}

static void tell_line(struct parsing *p, const char *text)
{
    int at = p->state->next - 2; /* next is behind the argument, and argv[0] before all */
    const char *name = p->state->name;

    if (p->is_told)
        return;
    if (!p->is_past_settings && at >= 0 && (size_t)at < line.n) {
        size_t len = strlen(name);
        bool is_named = !strncmp(text, name, len) && !strncmp(text + len, ": ", 2);

        tell_setting(&line.given[at], is_named ? text + len + 2 : text);
        p->is_told = true;
    } else {
        fprintf(stderr, "%s\n", text);
        sl_cmdline_explain(text);
    }
}

/* For fopencookie. */
static ssize_t write_errors(void *cookie, const char *buf, size_t size)
{
    struct parsing *p = cookie;
    char *end;

    sl_strbuf_add(&p->text, buf, size);
    if (p->text.error) { /* better said raw than not at all */
        (void)fwrite(buf, 1, size, stderr);
        return (ssize_t)size;
    }
    while ((end = memchr(p->text.ptr, '\n', p->text.len))) {
        size_t len = (size_t)(end - p->text.ptr) + 1;

        *end = '\0';
        tell_line(p, p->text.ptr);
        memmove(p->text.ptr, end + 1, p->text.len - len);
        sl_strbuf_cut(&p->text, p->text.len - len);
    }
    return (ssize_t)size;
}

/* The parser above the command's own. */
static error_t watch(int key, char *arg, struct argp_state *state)
{
    struct parsing *p = state->input;

    if (key == ARGP_KEY_INIT) {
        FILE *errors = fopencookie(p, "w", (cookie_io_functions_t){.write = write_errors});

        state->child_inputs[0] = p->input;
        p->state = state;
        if (errors) { /* else argp's own words must do */
            setvbuf(errors, NULL, _IOLBF, 0);
            state->err_stream = errors;
        }
    } else if (key == ARGP_KEY_FINI) {
        if (state->err_stream != stderr)
            fclose(state->err_stream);
        state->err_stream = stderr;
    } else if (key == ARGP_KEY_ARG || key == ARGP_KEY_NO_ARGS) {
        p->is_past_settings = true;
    }
    return ARGP_ERR_UNKNOWN;
}

static void fail(int code, const char *text)
{
    argp_failure(NULL, code == -EBADMSG ? SL_EXIT_USAGE : SL_EXIT_FAILED, 0, "%s", text);
}

void sl_cmdline_parse(const struct argp *argp, int argc, char **argv, unsigned flags,
                      void *input)
{
    const struct argp_child child[] = {{argp, 0, NULL, 0}, {0}};
    const struct argp root = {.parser = watch, .children = child};
    const struct sl_command *command = sl_commands;
    struct parsing parsing = {.input = input};
    struct sl_diag diag = {"not enough memory for settings"};
    int r;

    while (command->name && command->argp != argp)
        command++;
    if (!command->name || wants_help(argc, argv)) {
        argp_parse(argp, argc, argv, flags, NULL, input);
        return;
    }
    r = sl_settings_load(&line.settings, &diag);
    if (r < 0)
        fail(r, diag.text);
    if (line.settings.n == 0) {
        argp_parse(argp, argc, argv, flags, NULL, input);
        return;
    }
    if (sl_optable_read(&line.table, argp) < 0 || give_all(command, argc, argv) < 0 ||
        join(argc, argv) < 0)
        fail(-ENOMEM, "not enough memory for settings");
    argp_parse(&root, line.argc, line.argv, flags, NULL, &parsing);
    sl_strbuf_done(&parsing.text);
}

/* Whether text has the option as a word: "--ram", or "-t" for a letter. */
static bool speaks_of(const char *text, const struct sl_option *option)
{
    char words[2][72] = {"", ""};

    (void)snprintf(words[0], sizeof(words[0]), "--%s", option->name); /* names are short */
    if (option->letter)
        (void)snprintf(words[1], sizeof(words[1]), "-%c", option->letter);
    for (int i = 0; i < 2 && words[i][0]; i++) {
        size_t len = strlen(words[i]);

        for (const char *at = strstr(text, words[i]); at; at = strstr(at + 1, words[i]))
            if ((at == text || strchr(" (\"", at[-1])) && strchr(" :;,.)=\"", at[len]))
                return true;
    }
    return false;
}

/* Whether it was typed too, behind what was put in, and so is not what was set. */
static bool is_typed_over(const struct sl_option *option)
{
    int n = (int)line.n;

    for (int i = n + 1; option->letter && i < line.argc && strcmp(line.argv[i], "--"); i++)
        if (line.argv[i][0] == '-' && strchr(line.argv[i] + 1, option->letter) &&
            line.argv[i][1] != '-')
            return true;
    return is_typed(option->name, line.argc - n, line.argv + n);
}

void sl_cmdline_explain(const char *message)
{
    for (size_t i = 0; i < line.n; i++)
        if (speaks_of(message, line.given[i].option) && !is_typed_over(line.given[i].option))
            sl_report_note("--%s is set by %s", line.given[i].option->name,
                           line.given[i].setting->origin);
}
