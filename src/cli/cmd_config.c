/*
 * sluice config: what is set in the file and the environment, for which commands it holds, and
 * where it comes from; with COMMAND, every option of it that can be set.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"
#include "cli/command.h"
#include "cli/escape.h"
#include "cli/report.h"
#include "cli/settable.h"
#include "cli/settings.h"

enum {
    KEY_JSON = 512,
    KEY_PATH,
};

#define N_COLUMNS 4
#define COLUMN_MAX 40 /* longer texts push the rest of their line */

struct config_args {
    const struct sl_command *command; /* NULL: all */
    bool json, path;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct config_args *args = state->input;

    switch (key) {
    case KEY_JSON: args->json = true; break;
    case KEY_PATH: args->path = true; break;
    case 'h': argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP); break;
    case ARGP_KEY_ARG:
        if (args->command)
            argp_error(state, "too many arguments");
        args->command = sl_command_find(arg);
        if (!args->command)
            argp_error(state, "no such command: %.100s", arg);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"path", KEY_PATH, NULL, 0, "Print the path of the file alone, whether it is there or not", 0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0},
    {0},
};

const struct argp sl_argp_config = {
    .options = options,
    .parser = parse,
    .args_doc = "[COMMAND]",
    .doc = "Print what is set in the file of settings and in variables, and where; with COMMAND, "
           "every option of it that can be set.\v"
           "The file is $XDG_CONFIG_HOME/sluice/config, or ~/.config/sluice/config. Lines NAME = "
           "VALUE before its first section are for all commands that have an option --NAME, those "
           "behind a line [COMMAND] for that one. A variable SLUICE_NAME is stronger than the "
           "file, and what is typed is stronger than both.",
};

/* A row of a table that is printed when all of it is known. */
struct row {
    struct sl_strbuf cells[N_COLUMNS];
};

struct table {
    struct row *rows; /* owned */
    size_t n, cap;
    int error;
};

static void add_row(struct table *t, const char *const *cells)
{
    if (t->n == t->cap && t->error == 0) {
        size_t cap = t->cap ? 2 * t->cap : 32;
        struct row *more = realloc(t->rows, cap * sizeof(*more));

        t->error = more ? 0 : -ENOMEM;
        t->rows = more ? more : t->rows;
        t->cap = more ? cap : t->cap;
    }
    if (t->error)
        return;
    t->rows[t->n] = (struct row){0};
    for (int i = 0; i < N_COLUMNS && cells[i]; i++) {
        sl_escape_add(&t->rows[t->n].cells[i], cells[i]);
        t->error = t->error ? t->error : t->rows[t->n].cells[i].error;
    }
    t->n++;
}

static const char *text_of(const struct sl_strbuf *cell)
{
    return cell->ptr ? cell->ptr : "";
}

/* The last cell of a row is not padded. */
static void add_lines(struct sl_strbuf *out, const struct table *t)
{
    int widths[N_COLUMNS] = {0};

    for (size_t i = 0; i < t->n; i++)
        for (int k = 0; k < N_COLUMNS; k++) {
            int columns = sl_escape_columns(text_of(&t->rows[i].cells[k]));

            if (columns > widths[k] && columns <= COLUMN_MAX)
                widths[k] = columns;
        }
    for (size_t i = 0; i < t->n; i++) {
        for (int k = 0; k < N_COLUMNS && t->rows[i].cells[k].len; k++) {
            const char *text = text_of(&t->rows[i].cells[k]);
            bool is_last = k + 1 == N_COLUMNS || !t->rows[i].cells[k + 1].len;
            int gap = widths[k] - sl_escape_columns(text);

            sl_strbuf_add_str(out, text);
            if (!is_last)
                sl_strbuf_add_fmt(out, "%*s", (gap > 0 ? gap : 0) + 2, "");
        }
        sl_strbuf_add_str(out, "\n");
    }
}

static void table_done(struct table *t)
{
    for (size_t i = 0; i < t->n; i++)
        for (int k = 0; k < N_COLUMNS; k++)
            sl_strbuf_done(&t->rows[i].cells[k]);
    free(t->rows);
}

static const char *value_of(const struct sl_setting *setting)
{
    return sl_settable_is_secret(setting->name) ? "(not shown)" : setting->value;
}

/* The commands for which a setting holds, n_all being those that have the option; names NULL:
 * not wanted. */
static int list_commands(const struct sl_settings *s, const struct sl_setting *setting,
                         struct sl_strbuf *names, size_t *ret_n, size_t *ret_n_all)
{
    int r = 0;

    *ret_n = *ret_n_all = 0;
    for (const struct sl_command *c = sl_commands; c->name && r == 0; c++) {
        struct sl_optable table = {0};
        const struct sl_option *o;

        r = sl_optable_read(&table, c->argp);
        o = sl_optable_find(&table, setting->name);
        if (o && sl_settings_applies(setting, c, o))
            ++*ret_n_all;
        if (o && sl_settings_holds(s, setting, c, o)) {
            sl_strbuf_add_fmt(names, "%s%s", *ret_n ? " " : "", c->name);
            ++*ret_n;
        }
        sl_optable_done(&table);
    }
    return r ? r : names->error;
}

static void add_setting(struct table *t, const struct sl_settings *s,
                        const struct sl_setting *setting)
{
    struct sl_strbuf names = {0};
    size_t n, n_all;
    int r = list_commands(s, setting, &names, &n, &n_all);
    const char *where = n == 0 ? "none, others are stronger"
                        : n == n_all && !setting->command ? "all that can have it" : names.ptr;
    const char *const cells[N_COLUMNS] = {setting->name, value_of(setting), where,
                                          setting->origin};

    t->error = t->error ? t->error : r;
    if (r == 0)
        add_row(t, cells);
    sl_strbuf_done(&names);
}

/* What an option's text says of its default: "(4); more wait", "(as tuned)" at its end. Heap;
 * NULL if it says nothing, or no memory. */
static char *default_of(const struct sl_option *o)
{
    const char *open = o->arg ? strrchr(o->doc, '(') : NULL;
    const char *close = open ? strchr(open, ')') : NULL;
    size_t len;

    if (!o->arg)
        return strdup("no");
    if (!close || (close[1] && close[1] != ';') || !strncmp(open, "(the default)", 13))
        return NULL;
    len = strcspn(open + 1, ";)");
    return strndup(open + 1, len);
}

static void add_option(struct table *t, const struct sl_settings *s,
                       const struct sl_command *command, const struct sl_option *o)
{
    bool is_set = false;

    for (size_t i = 0; i < s->n; i++)
        if (sl_settings_holds(s, &s->list[i], command, o)) {
            add_row(t, (const char *[]){o->name, value_of(&s->list[i]), s->list[i].origin, NULL});
            is_set = true;
        }
    if (!is_set) {
        char *known = default_of(o);

        add_row(t, (const char *[]){o->name, known ? known : "-", "default", NULL});
        free(known);
    }
}

static int fill(struct table *t, const struct sl_settings *s, const struct sl_command *command)
{
    struct sl_optable table = {0};

    if (!command && s->n)
        add_row(t, (const char *[]){"NAME", "VALUE", "HOLDS FOR", "SET BY"});
    for (size_t i = 0; !command && i < s->n; i++)
        add_setting(t, s, &s->list[i]);
    if (command && sl_optable_read(&table, command->argp) < 0)
        t->error = -ENOMEM;
    if (command)
        add_row(t, (const char *[]){"NAME", "VALUE", "SET BY", NULL});
    for (size_t i = 0; i < table.n; i++)
        if (sl_settable_is(command, &table.options[i]))
            add_option(t, s, command, &table.options[i]);
    sl_optable_done(&table);
    return t->error;
}

static int print_text(const struct sl_settings *s, const struct sl_command *command)
{
    struct sl_strbuf out = {0};
    struct table t = {0};
    int r = fill(&t, s, command);

    sl_strbuf_add_str(&out, "file: ");
    sl_escape_add(&out, s->path ? s->path : "none: neither XDG_CONFIG_HOME nor HOME is an "
                                            "absolute path");
    sl_strbuf_add_str(&out, s->path && !s->is_there ? " (not there)\n" : "\n");
    if (t.n)
        sl_strbuf_add_str(&out, "\n");
    else
        sl_strbuf_add_str(&out, "Nothing is set.\n");
    add_lines(&out, &t);
    r = r ? r : out.error;
    if (r < 0)
        (void)sl_report_error("not enough memory for the list of settings");
    else
        r = sl_report_write(out.ptr, out.len);
    table_done(&t);
    sl_strbuf_done(&out);
    return r == 0 ? sl_report_flush() : r;
}

static void write_origin(struct sl_jsonwriter *w, const struct sl_settings *s,
                         const struct sl_setting *setting)
{
    sl_jsonwriter_member_string(w, "from", !setting ? "default"
                                           : setting->line ? "file" : "environment");
    if (setting && setting->line) {
        sl_jsonwriter_member_string(w, "file", s->path);
        sl_jsonwriter_member_u64(w, "line", setting->line);
    } else if (setting) {
        sl_jsonwriter_member_string(w, "variable", setting->origin);
    }
}

static void write_value(struct sl_jsonwriter *w, const char *name,
                        const struct sl_setting *setting)
{
    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_member_string(w, "name", name);
    sl_jsonwriter_key(w, "value");
    if (setting && !sl_settable_is_secret(name))
        sl_jsonwriter_string(w, setting->value);
    else
        sl_jsonwriter_null(w);
}

static int write_setting(struct sl_jsonwriter *w, const struct sl_settings *s,
                         const struct sl_setting *setting)
{
    struct sl_strbuf names = {0};
    char *rest = NULL;
    size_t n, n_all;
    int r = list_commands(s, setting, &names, &n, &n_all);

    write_value(w, setting->name, setting);
    write_origin(w, s, setting);
    sl_jsonwriter_member_array(w, "holds_for");
    for (char *name = strtok_r(names.ptr ? names.ptr : (char[]){""}, " ", &rest); name;
         name = strtok_r(NULL, " ", &rest))
        sl_jsonwriter_string(w, name);
    sl_jsonwriter_end_array(w);
    sl_jsonwriter_end_object(w);
    sl_strbuf_done(&names);
    return r;
}

static void write_option(struct sl_jsonwriter *w, const struct sl_settings *s,
                         const struct sl_command *command, const struct sl_option *o)
{
    bool is_set = false;

    for (size_t i = 0; i < s->n; i++)
        if (sl_settings_holds(s, &s->list[i], command, o)) {
            write_value(w, o->name, &s->list[i]);
            write_origin(w, s, &s->list[i]);
            sl_jsonwriter_end_object(w);
            is_set = true;
        }
    if (is_set)
        return;
    write_value(w, o->name, NULL);
    write_origin(w, s, NULL);
    sl_jsonwriter_end_object(w);
}

static int print_json(const struct sl_settings *s, const struct sl_command *command)
{
    struct sl_optable table = {0};
    struct sl_jsonwriter w;
    int r = command ? sl_optable_read(&table, command->argp) : 0;

    sl_report_begin_json(&w);
    sl_jsonwriter_key(&w, "path");
    if (s->path)
        sl_jsonwriter_string(&w, s->path);
    else
        sl_jsonwriter_null(&w);
    sl_jsonwriter_member_bool(&w, "is_there", s->is_there);
    if (command)
        sl_jsonwriter_member_string(&w, "command", command->name);
    sl_jsonwriter_member_array(&w, command ? "options" : "settings");
    for (size_t i = 0; !command && i < s->n && r == 0; i++)
        r = write_setting(&w, s, &s->list[i]);
    for (size_t i = 0; i < table.n; i++)
        if (sl_settable_is(command, &table.options[i]))
            write_option(&w, s, command, &table.options[i]);
    sl_jsonwriter_end_array(&w);
    sl_optable_done(&table);
    if (r < 0)
        (void)sl_report_error("not enough memory for the list of settings");
    return r < 0 ? r : sl_report_end_json(&w);
}

static int print_path(const struct sl_settings *s)
{
    struct sl_strbuf out = {0};
    int r;

    if (!s->path) {
        (void)sl_report_error("neither XDG_CONFIG_HOME nor HOME is an absolute path");
        return -ENOENT;
    }
    sl_strbuf_add_fmt(&out, "%s\n", s->path);
    r = sl_report_write(text_of(&out), out.len);
    sl_strbuf_done(&out);
    return r == 0 ? sl_report_flush() : r;
}

int sl_cmd_config(int argc, char **argv)
{
    struct config_args args = {0};
    struct sl_settings settings = {0};
    struct sl_diag diag = {""};
    int r;

    argp_parse(&sl_argp_config, argc, argv, 0, NULL, &args);
    r = sl_settings_load(&settings, &diag);
    if (args.path) {
        r = sl_report_code(print_path(&settings));
    } else if (r < 0) {
        (void)sl_report_error("%s", diag.text);
        r = r == -EBADMSG ? SL_EXIT_USAGE : SL_EXIT_FAILED;
    } else {
        r = sl_report_code(args.json ? print_json(&settings, args.command)
                                     : print_text(&settings, args.command));
    }
    sl_settings_done(&settings);
    return r;
}
