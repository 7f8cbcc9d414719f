/* Completion for fish: a line for each option of each command. */
#include <string.h>

#include "cli/choices.h"
#include "tools/doc.h"
#include "tools/doc_args.h"

#define WHEN "complete -c sluice -n '__fish_seen_subcommand_from %s'"

static void add_option(struct sl_strbuf *out, const char *command, const struct sl_option *o)
{
    enum doc_kind kind = doc_args_kind(o);
    const char *const *words = kind == DOC_WORDS ? sl_choices_find(o->name) : NULL;

    sl_strbuf_add_fmt(out, WHEN, command);
    if (o->letter)
        sl_strbuf_add_fmt(out, " -s %c", o->letter);
    if (o->name)
        sl_strbuf_add_fmt(out, " -l %s", o->name);
    if (o->arg && !o->is_arg_optional)
        sl_strbuf_add_str(out, kind == DOC_FILE || kind == DOC_FOLDER ? " -r -F" : " -x");
    if (words)
        sl_strbuf_add_str(out, " -a '");
    for (; words && *words; words++) {
        doc_args_add_choice(out, *words);
        sl_strbuf_add_str(out, words[1] ? " " : "'");
    }
    sl_strbuf_add_str(out, " -d '");
    doc_args_add_brief(out, o->doc, "'\\");
    sl_strbuf_add_str(out, "'\n");
}

/* The names of all commands. */
static void add_names(struct sl_strbuf *out)
{
    for (const struct sl_command *c = sl_commands; c->name; c++)
        sl_strbuf_add_fmt(out, "%s ", c->name);
    sl_strbuf_add_str(out, "help");
}

static void add_command(struct sl_strbuf *out, const struct sl_command *command,
                        const struct sl_optable *table)
{
    struct doc_arg args[DOC_ARGS_MAX];
    const struct argp *argp = command->argp;
    size_t n = doc_args_list(argp && argp->args_doc ? argp->args_doc : "", args);

    sl_strbuf_add_str(out, "\ncomplete -c sluice -f -n 'not __fish_seen_subcommand_from ");
    add_names(out);
    sl_strbuf_add_fmt(out, "' -a %s -d '", command->name);
    doc_args_add_brief(out, command->summary, "'\\");
    sl_strbuf_add_str(out, "'\n");
    for (size_t i = 0; i < table->n; i++)
        add_option(out, command->name, &table->options[i]);
    if (n == 0 || args[0].kind == DOC_ANY || args[0].kind == DOC_COMMAND)
        sl_strbuf_add_fmt(out, WHEN " -f\n", command->name);
    if (n > 0 && args[0].kind == DOC_MODEL)
        sl_strbuf_add_fmt(out, WHEN " -a '(sluice ls --names 2>/dev/null)' -d model\n",
                          command->name);
    if (n > 0 && args[0].kind == DOC_COMMAND) {
        sl_strbuf_add_fmt(out, WHEN " -a '", command->name);
        add_names(out);
        sl_strbuf_add_str(out, "'\n");
    }
}

int doc_fish_add(struct sl_strbuf *out)
{
    int r = 0;

    sl_strbuf_add_str(out, "# Completion of sluice for fish, made from its table of options.\n");
    for (const struct sl_command *c = sl_commands; c->name && r == 0; c++) {
        struct sl_optable table = {0};

        r = sl_optable_read(&table, c->argp);
        add_command(out, c, &table);
        sl_optable_done(&table);
    }
    sl_strbuf_add_str(out, "\ncomplete -c sluice -f -n '__fish_seen_subcommand_from help' -a '");
    add_names(out);
    sl_strbuf_add_str(out, "'\ncomplete -c sluice -l help -d 'List options'\n"
                           "complete -c sluice -n 'not __fish_seen_subcommand_from ");
    add_names(out);
    sl_strbuf_add_str(out, "' -l version -d 'Print the version'\n");
    return r;
}
