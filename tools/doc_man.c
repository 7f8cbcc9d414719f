/*
 * A page for each command, in mdoc, which man and mandoc both read. Names, options and what
 * they mean are argp's; examples and the like come from parts (doc_part.h). Sections stand in
 * mdoc's order; lists (ENVIRONMENT, FILES, EXIT STATUS) begin with what all commands share.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cli/optable.h"
#include "cli/settable.h"
#include "tools/doc.h"
#include "tools/doc_part.h"
#include "tools/doc_text.h"

#define SEE_MAX 32u

/* Sections that have a place of their own; others follow DESCRIPTION. */
static const char *const fixed[] = {"ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES",
                                    "DIAGNOSTICS", "SEE ALSO", "CAVEATS"};

static bool is_fixed(const struct doc_section *s)
{
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        if (s->title_len == strlen(fixed[i]) && !strncmp(s->title, fixed[i], s->title_len))
            return true;
    return false;
}

static void add_head(struct sl_strbuf *out, const struct doc_page *page, const char *name,
                     const char *summary)
{
    sl_strbuf_add_fmt(out, ".\\\" Made from the table of options; see doc/man.\n.Dd %s\n.Dt ",
                      page->date);
    for (const char *c = name; *c; c++)
        sl_strbuf_add_fmt(out, "%c", toupper((unsigned char)*c));
    sl_strbuf_add_fmt(out, " 1\n.Os\n.Sh NAME\n.Nm %s\n.Nd %s\n", name, summary);
}

static void add_option_name(struct sl_strbuf *out, const struct sl_option *o)
{
    const char *before = o->is_arg_optional ? "Ns Op = Ns Ar " : "Ns = Ns Ar ";

    sl_strbuf_add_str(out, ".It");
    if (o->letter) {
        sl_strbuf_add_fmt(out, " Fl %c", o->letter);
        if (o->arg) {
            sl_strbuf_add_str(out, " Ar ");
            doc_text_add_word(out, o->arg, strlen(o->arg));
        }
        sl_strbuf_add_str(out, o->name ? " ," : "");
    }
    if (o->name)
        sl_strbuf_add_fmt(out, " Fl -%s", o->name);
    if (o->name && o->arg) {
        sl_strbuf_add_fmt(out, " %s", before);
        doc_text_add_word(out, o->arg, strlen(o->arg));
    }
    sl_strbuf_add_str(out, "\n");
}

static bool is_same_heading(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

/* A heading without the colon that --help has at its end. */
static void add_heading(struct sl_strbuf *out, const char *heading)
{
    size_t len = strlen(heading);

    sl_strbuf_add_str(out, ".Ss ");
    doc_text_add_word(out, heading, len > 0 && heading[len - 1] == ':' ? len - 1 : len);
    sl_strbuf_add_str(out, "\n");
}

static void add_options(struct sl_strbuf *out, const struct sl_optable *table)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct sl_option *o = &table->options[i], *before = i ? o - 1 : NULL;

        if (!before || !is_same_heading(before->heading, o->heading)) {
            sl_strbuf_add_str(out, before ? ".El\n" : "");
            add_heading(out, o->heading ? o->heading : "Options");
            sl_strbuf_add_str(out, ".Bl -tag -width Ds\n");
        }
        add_option_name(out, o);
        doc_text_add(out, o->doc);
    }
    sl_strbuf_add_str(out, table->n ? ".El\n" : "");
    sl_strbuf_add_str(out, ".Ss Help\n.Bl -tag -width Ds\n"
                           ".It Fl h , Fl -help\nPrint what the command takes.\n"
                           ".It Fl -usage\nPrint it in brief.\n"
                           ".It Fl V , Fl -version\nPrint the version of Sluice.\n.El\n");
}

static void add_body(struct sl_strbuf *out, const struct doc_part *part, const char *title)
{
    struct doc_section s;

    if (doc_part_find(part, title, &s))
        sl_strbuf_add(out, s.body, s.body_len);
}

/* A section that is a list: its shared beginning, then the part's items. */
static void add_list(struct sl_strbuf *out, const struct doc_part *part, const char *title,
                     const char *shared)
{
    struct doc_section s;

    if (!*shared && !doc_part_find(part, title, &s))
        return;
    sl_strbuf_add_fmt(out, ".Sh %s\n.Bl -tag -width Ds\n%s", title, shared);
    add_body(out, part, title);
    sl_strbuf_add_str(out, ".El\n");
}

static void add_text(struct sl_strbuf *out, const struct doc_part *part, const char *title)
{
    struct doc_section s;

    if (doc_part_find(part, title, &s) && s.body_len) {
        sl_strbuf_add_fmt(out, ".Sh %s\n", title);
        sl_strbuf_add(out, s.body, s.body_len);
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The part names other pages of section 1; sluice(1) is always one, but on its own page. */
static void add_see_also(struct sl_strbuf *out, const struct doc_part *part, bool is_main)
{
    char list[512] = "", *names[SEE_MAX], *rest = NULL;
    struct doc_section s;
    size_t n = 0;

    if (doc_part_find(part, "SEE ALSO", &s) && s.body_len < sizeof(list))
        memcpy(list, s.body, s.body_len);
    if (!is_main)
        names[n++] = "sluice";
    for (char *name = strtok_r(list, " \n", &rest); name && n < SEE_MAX;
         name = strtok_r(NULL, " \n", &rest))
        names[n++] = name;
    qsort(names, n, sizeof(names[0]), compare_names);
    sl_strbuf_add_str(out, n ? ".Sh SEE ALSO\n" : "");
    for (size_t i = 0; i < n; i++)
        sl_strbuf_add_fmt(out, ".Xr %s 1%s\n", names[i], i + 1 < n ? " ," : "");
}

/* The options that can be set, for a page of a command that has some. */
static void add_settable(struct sl_strbuf *out, const struct sl_command *command,
                         const struct sl_optable *table)
{
    const char *before = ".It Ev SLUICE_ Ns Ar NAME\nThe value of an option\n.Fl -name\n"
                         "that is not given, in capitals and with _ for \\-; stronger than the "
                         "file of\nsettings.\nThere is one for\n";

    for (size_t i = 0; i < table->n; i++) {
        if (!sl_settable_is(command, &table->options[i]))
            continue;
        sl_strbuf_add_fmt(out, "%s.Fl -%s", before, table->options[i].name);
        before = " ,\n";
    }
    if (before[1] == ',')
        sl_strbuf_add_str(out, " .\n.It Ev XDG_CONFIG_HOME\nWhere the file of settings is, in\n"
                               ".Pa sluice/config ;\nif it is not set,\n"
                               ".Pa ~/.config/sluice/config .\n");
}

static void add_tail(struct sl_strbuf *out, const struct doc_part *part,
                     const struct sl_command *command, const struct sl_optable *table)
{
    struct sl_strbuf settable = {0};
    bool has_settings;

    if (command)
        add_settable(&settable, command, table);
    has_settings = !command || settable.len;
    sl_strbuf_add_str(&settable,
                      ".It Ev XDG_STATE_HOME\n"
                      "Where Sluice keeps what it learns of models and the machine, in\n"
                      ".Pa sluice/ ;\nif it is not set,\n.Pa ~/.local/state/sluice/ .\n");
    add_list(out, part, "ENVIRONMENT", settable.ptr ? settable.ptr : "");
    out->error = out->error ? out->error : settable.error;
    sl_strbuf_done(&settable);
    add_list(out, part, "FILES",
             has_settings ? ".It Pa ~/.config/sluice/config\n"
                            "Settings; see\n.Xr sluice-config 1 .\n" : "");
    add_list(out, part, "EXIT STATUS",
             ".It 0\nAll went well.\n"
             ".It 1\nIt failed; a line on standard error says why.\n"
             ".It 2\nThe arguments or settings are wrong.\n"
             ".It 130\nIt was interrupted.\n");
    add_text(out, part, "EXAMPLES");
    add_text(out, part, "DIAGNOSTICS");
    add_see_also(out, part, !command);
    add_text(out, part, "CAVEATS");
}

/* What the part says beyond the sections that have their place. */
static void add_rest(struct sl_strbuf *out, const struct doc_part *part)
{
    struct doc_section s;

    for (size_t i = 1; doc_part_at(part, i, &s); i++)
        if (!is_fixed(&s)) {
            sl_strbuf_add_fmt(out, ".Sh %.*s\n", (int)s.title_len, s.title);
            sl_strbuf_add(out, s.body, s.body_len);
        }
}

static void add_lead(struct sl_strbuf *out, const struct doc_part *part)
{
    struct doc_section s;

    if (doc_part_at(part, 0, &s))
        sl_strbuf_add(out, s.body, s.body_len);
}

static void add_main(struct sl_strbuf *out, const struct doc_page *page,
                     const struct doc_part *part)
{
    add_head(out, page, "sluice", "run LFM2 and LFM2-MoE language models from GGUF files");
    sl_strbuf_add_str(out, ".Sh SYNOPSIS\n.Nm\n.Ar COMMAND\n.Op Ar ARGUMENT ...\n"
                           ".Nm\n.Cm help\n.Op Ar COMMAND\n.Nm\n.Fl -version\n"
                           ".Sh DESCRIPTION\n");
    add_lead(out, part);
    sl_strbuf_add_str(out, ".Ss Commands\n.Bl -tag -width Ds\n");
    for (const struct sl_command *c = sl_commands; c->name; c++)
        sl_strbuf_add_fmt(out, ".It Xr sluice-%s 1\n%c%s.\n", c->name,
                          toupper((unsigned char)c->summary[0]), c->summary + 1);
    sl_strbuf_add_str(out, ".El\n");
    add_rest(out, part);
    add_tail(out, part, NULL, NULL);
}

static void add_command(struct sl_strbuf *out, const struct doc_page *page,
                        const struct doc_part *part, const struct sl_command *command,
                        const struct sl_optable *table)
{
    const struct argp *argp = command->argp;
    const char *doc = argp && argp->doc ? argp->doc : "", *more = strchr(doc, '\v');
    char *lead = more ? strndup(doc, (size_t)(more - doc)) : strdup(doc);
    char name[64];

    (void)snprintf(name, sizeof(name), "sluice-%s", command->name); /* names are short */
    add_head(out, page, name, command->summary);
    sl_strbuf_add_fmt(out, ".Sh SYNOPSIS\n.Nm sluice\n.Cm %s\n.Op Ar OPTION ...\n",
                      command->name);
    doc_text_add_synopsis(out, argp && argp->args_doc ? argp->args_doc : "");
    sl_strbuf_add_str(out, ".Sh DESCRIPTION\n");
    doc_text_add(out, lead ? lead : "");
    if (more && more[1]) {
        sl_strbuf_add_str(out, ".Pp\n");
        doc_text_add(out, more + 1);
    }
    add_lead(out, part);
    add_options(out, table);
    add_rest(out, part);
    add_tail(out, part, command, table);
    free(lead);
}

int doc_man_add(struct sl_strbuf *out, const struct doc_page *page,
                const struct sl_command *command, struct sl_diag *diag)
{
    struct doc_part part = {0};
    struct sl_optable table = {0};
    int r = doc_part_read(&part, page->parts, command ? command->name : "sluice", diag);

    if (r == 0 && command)
        r = sl_optable_read(&table, command->argp);
    if (r == 0 && command)
        add_command(out, page, &part, command, &table);
    else if (r == 0)
        add_main(out, page, &part);
    sl_optable_done(&table);
    doc_part_done(&part);
    return r;
}
