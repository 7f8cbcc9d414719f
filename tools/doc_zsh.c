/* Completion for zsh: what _arguments of its completion system asks for, by command. */
#include <string.h>

#include "cli/choices.h"
#include "tools/doc.h"
#include "tools/doc_args.h"

static const char zsh_code[] =
    "_sluice_models()\n"
    "{\n"
    "    local -a names\n"
    "    names=(${(f)\"$(_call_program models sluice ls --names 2>/dev/null)\"})\n"
    "    _alternative \\\n"
    "        'models:model:compadd -a names' \\\n"
    "        'files:file:_files -g \"*.(gguf|slpack)\"'\n"
    "}\n"
    "\n"
    "_sluice()\n"
    "{\n"
    "    local curcontext=$curcontext state line\n"
    "    _arguments -C \\\n"
    "        '(- *)--help[list the commands]' \\\n"
    "        '(- *)--version[print the version]' \\\n"
    "        '1:command:_sluice_commands' \\\n"
    "        '*::argument:->arguments'\n"
    "    if [[ $state == arguments ]]; then\n"
    "        curcontext=\"${curcontext%:*:*}:sluice-$line[1]:\"\n"
    "        _sluice_command $line[1]\n"
    "    fi\n"
    "}\n"
    "\n"
    "_sluice \"$@\"\n";

/* After the colons of a spec: what is offered. */
static void add_action(struct sl_strbuf *out, enum doc_kind kind, const char *option)
{
    static const char *const actions[] = {
        [DOC_ANY] = " ",     [DOC_WORDS] = "",  [DOC_MODEL] = "_sluice_models",
        [DOC_COMMAND] = "_sluice_commands", [DOC_FILE] = "_files", [DOC_FOLDER] = "_files -/",
    };
    const char *const *words = kind == DOC_WORDS ? sl_choices_find(option) : NULL;

    sl_strbuf_add_str(out, words ? "(" : actions[kind]);
    for (; words && *words; words++) {
        size_t len = strcspn(*words, ":");

        sl_strbuf_add(out, *words, len);
        sl_strbuf_add_str(out, (*words)[len] ? "\\\\:" : "");
        sl_strbuf_add_str(out, words[1] ? " " : ")");
    }
}

static void add_spec(struct sl_strbuf *out, const struct sl_option *o, bool is_long)
{
    bool may_repeat = strstr(o->doc, "may be repeated") != NULL;

    sl_strbuf_add_str(out, "                '");
    if (may_repeat)
        sl_strbuf_add_str(out, "*");
    else if (o->letter && o->name)
        sl_strbuf_add_fmt(out, "(-%c --%s)", o->letter, o->name);
    if (is_long)
        sl_strbuf_add_fmt(out, "--%s%s[", o->name, !o->arg ? "" : o->is_arg_optional ? "=-" : "=");
    else
        sl_strbuf_add_fmt(out, "-%c%s[", o->letter, o->arg ? "+" : "");
    doc_args_add_brief(out, o->doc, "'[]\\`");
    sl_strbuf_add_str(out, "]");
    if (o->arg) {
        sl_strbuf_add_fmt(out, "%s:", o->is_arg_optional ? ":" : "");
        doc_args_add_brief(out, o->arg, "':\\[]");
        sl_strbuf_add_str(out, ":");
        add_action(out, doc_args_kind(o), o->name);
    }
    sl_strbuf_add_str(out, "' \\\n");
}

static void add_command(struct sl_strbuf *out, const struct sl_command *command,
                        const struct sl_optable *table)
{
    struct doc_arg args[DOC_ARGS_MAX];
    const struct argp *argp = command->argp;
    size_t n = doc_args_list(argp && argp->args_doc ? argp->args_doc : "", args);

    sl_strbuf_add_fmt(out, "        %s)\n            _arguments -s \\\n", command->name);
    for (size_t i = 0; i < table->n; i++) {
        if (table->options[i].letter)
            add_spec(out, &table->options[i], false);
        if (table->options[i].name)
            add_spec(out, &table->options[i], true);
    }
    for (size_t i = 0; i < n; i++) {
        sl_strbuf_add_fmt(out, "                '%zu:%s:", i + 1, args[i].name);
        add_action(out, args[i].kind, NULL);
        sl_strbuf_add_str(out, "' \\\n");
    }
    sl_strbuf_add_str(out, "                '(- *)--help[print what the command takes]' ;;\n");
}

int doc_zsh_add(struct sl_strbuf *out)
{
    int r = 0;

    sl_strbuf_add_str(out, "#compdef sluice\n"
                           "# Completion of sluice for zsh, made from its table of options.\n\n"
                           "_sluice_commands()\n{\n    local -a commands\n    commands=(\n");
    for (const struct sl_command *c = sl_commands; c->name; c++) {
        sl_strbuf_add_fmt(out, "        '%s:", c->name);
        doc_args_add_brief(out, c->summary, "':\\[]");
        sl_strbuf_add_str(out, "'\n");
    }
    sl_strbuf_add_str(out, "    )\n    _describe command commands\n}\n\n"
                           "_sluice_command()\n{\n    case $1 in\n"
                           "        help) _arguments '1:command:_sluice_commands' ;;\n");
    for (const struct sl_command *c = sl_commands; c->name && r == 0; c++) {
        struct sl_optable table = {0};

        r = sl_optable_read(&table, c->argp);
        add_command(out, c, &table);
        sl_optable_done(&table);
    }
    sl_strbuf_add_str(out, "    esac\n}\n\n");
    sl_strbuf_add_str(out, zsh_code);
    return r;
}
