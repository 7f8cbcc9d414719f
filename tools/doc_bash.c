/*
 * Completion for bash. Lists by command are made here; what is done with them is bash_code.
 * It stands alone: words that bash cut at : and = are put together again, since names of
 * models have colons and options may have their value behind an equals sign.
 */
#include <string.h>

#include "cli/choices.h"
#include "tools/doc.h"
#include "tools/doc_args.h"

static const char bash_code[] =
    "# COMP_WORDS up to the cursor, not cut at : and =\n"
    "_sluice_words()\n"
    "{\n"
    "    local line=$COMP_LINE word blank i\n"
    "    words=()\n"
    "    for ((i = 0; i <= COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        blank=${line%%[![:space:]]*}\n"
    "        line=${line#\"$blank\"}\n"
    "        if ((i > 0)) && [[ -z $blank ]]; then\n"
    "            words[-1]+=$word\n"
    "        else\n"
    "            words+=(\"$word\")\n"
    "        fi\n"
    "        line=${line#\"$word\"}\n"
    "    done\n"
    "}\n"
    "\n"
    "# Offer the arguments that go on with $cur; $before of them is not repeated.\n"
    "_sluice_offer()\n"
    "{\n"
    "    local word breaks strip=\n"
    "    for breaks in : =; do\n"
    "        if [[ $COMP_WORDBREAKS == *$breaks* && $cur == *$breaks* ]]; then\n"
    "            word=${cur%\"${cur##*$breaks}\"}\n"
    "            ((${#word} <= ${#strip})) || strip=$word\n"
    "        fi\n"
    "    done\n"
    "    for word; do\n"
    "        [[ $before$word != \"$cur\"* ]] || COMPREPLY+=(\"${before:${#strip}}${word:$((\n"
    "            ${#strip} > ${#before} ? ${#strip} - ${#before} : 0))}\")\n"
    "        [[ $word != *: ]] || compopt -o nospace 2>/dev/null\n"
    "    done\n"
    "}\n"
    "\n"
    "_sluice_files()\n"
    "{\n"
    "    local value=${cur#\"$before\"}\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    mapfile -t COMPREPLY < <(compgen \"$1\" -- \"$value\")\n"
    "}\n"
    "\n"
    "_sluice_value() # KIND [WORD...]\n"
    "{\n"
    "    local names\n"
    "    case $1 in\n"
    "        words) shift; _sluice_offer \"$@\" ;;\n"
    "        file) _sluice_files -f ;;\n"
    "        folder) _sluice_files -d ;;\n"
    "        command) _sluice_offer $_sluice_commands ;;\n"
    "        model)\n"
    "            if [[ $cur != [./~]* ]]; then\n"
    "                mapfile -t names < <(\"${words[0]}\" ls --names 2>/dev/null)\n"
    "                _sluice_offer \"${names[@]}\"\n"
    "            fi\n"
    "            if [[ ${#COMPREPLY[@]} == 0 ]]; then\n"
    "                _sluice_files -f\n"
    "            fi ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "_sluice()\n"
    "{\n"
    "    local words cur before= name args=() kind options i n\n"
    "    COMPREPLY=()\n"
    "    _sluice_words\n"
    "    n=${#words[@]}\n"
    "    cur=${words[n - 1]}\n"
    "    if ((n == 2)); then\n"
    "        _sluice_offer $_sluice_commands help --help --version\n"
    "        return\n"
    "    elif [[ ${words[1]} == help ]]; then\n"
    "        ((n > 3)) || _sluice_value command\n"
    "        return\n"
    "    fi\n"
    "    _sluice_table \"${words[1]}\" || return 0\n"
    "    if [[ $cur == --*=* ]]; then\n"
    "        before=${cur%%=*}=\n"
    "        _sluice_option \"${words[1]}\" \"${cur%%=*}\" && _sluice_value $kind\n"
    "        return 0\n"
    "    fi\n"
    "    if _sluice_option \"${words[1]}\" \"${words[n - 2]}\" && [[ -n $kind ]]; then\n"
    "        _sluice_value $kind\n"
    "        return 0\n"
    "    fi\n"
    "    if [[ $cur == -* ]]; then\n"
    "        _sluice_offer $options\n"
    "        return 0\n"
    "    fi\n"
    "    # which argument it is: those before it that are no options, nor their values\n"
    "    name=0\n"
    "    for ((i = 2; i < n - 1; i++)); do\n"
    "        if [[ ${words[i]} == -- ]]; then\n"
    "            ((name += n - 2 - i))\n"
    "            break\n"
    "        elif [[ ${words[i]} != -* ]]; then\n"
    "            ((name += 1))\n"
    "        elif [[ ${words[i]} != *=* ]] && _sluice_option \"${words[1]}\" \"${words[i]}\" &&\n"
    "            [[ -n $kind ]]; then\n"
    "            ((i += 1))\n"
    "        fi\n"
    "    done\n"
    "    [[ -z ${args[name]-} ]] || _sluice_value \"${args[name]}\"\n"
    "}\n"
    "\n"
    "complete -F _sluice sluice\n";

static const char *const kinds[] = {
    [DOC_ANY] = "any",   [DOC_WORDS] = "words", [DOC_MODEL] = "model",
    [DOC_COMMAND] = "command", [DOC_FILE] = "file", [DOC_FOLDER] = "folder",
};

static void add_commands(struct sl_strbuf *out)
{
    sl_strbuf_add_str(out, "_sluice_commands='");
    for (const struct sl_command *c = sl_commands; c->name; c++)
        sl_strbuf_add_fmt(out, "%s%s", c->name, c[1].name ? " " : "'\n\n");
}

/* options: all of a command; args: what its arguments are. */
static void add_table_row(struct sl_strbuf *out, const struct sl_command *command,
                          const struct sl_optable *table)
{
    const struct argp *argp = command->argp;
    struct doc_arg args[DOC_ARGS_MAX];
    size_t n = doc_args_list(argp && argp->args_doc ? argp->args_doc : "", args);

    sl_strbuf_add_fmt(out, "        %s)\n            options='", command->name);
    for (size_t i = 0; i < table->n; i++)
        if (table->options[i].name)
            sl_strbuf_add_fmt(out, "--%s ", table->options[i].name);
    sl_strbuf_add_str(out, "--help'\n            args=(");
    for (size_t i = 0; i < n; i++)
        sl_strbuf_add_fmt(out, "%s%s", i ? " " : "", kinds[args[i].kind]);
    sl_strbuf_add_str(out, ") ;;\n");
}

/* The kind of value that each option of a command takes. */
static void add_option_rows(struct sl_strbuf *out, const struct sl_command *command,
                            const struct sl_optable *table)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct sl_option *o = &table->options[i];
        const char *const *words = o->name ? sl_choices_find(o->name) : NULL;
        const char *between = "";

        if (!o->arg || o->is_arg_optional)
            continue;
        sl_strbuf_add_str(out, "        ");
        if (o->name) {
            sl_strbuf_add_fmt(out, "%s:--%s", command->name, o->name);
            between = " | ";
        }
        if (o->letter)
            sl_strbuf_add_fmt(out, "%s%s:-%c", between, command->name, o->letter);
        sl_strbuf_add_fmt(out, ") kind='%s", kinds[doc_args_kind(o)]);
        for (; words && *words; words++) {
            sl_strbuf_add_str(out, " ");
            doc_args_add_choice(out, *words);
        }
        sl_strbuf_add_str(out, "' ;;\n");
    }
}

int doc_bash_add(struct sl_strbuf *out)
{
    struct sl_strbuf rows = {0};
    int r = 0;

    sl_strbuf_add_str(out, "# Completion of sluice for bash, made from its table of options.\n\n");
    add_commands(out);
    sl_strbuf_add_str(out, "_sluice_table() # COMMAND: sets options, args\n{\n    case $1 in\n");
    for (const struct sl_command *c = sl_commands; c->name && r == 0; c++) {
        struct sl_optable table = {0};

        r = sl_optable_read(&table, c->argp);
        add_table_row(out, c, &table);
        add_option_rows(&rows, c, &table);
        sl_optable_done(&table);
    }
    sl_strbuf_add_str(out, "        *) return 1 ;;\n    esac\n}\n\n"
                           "_sluice_option() # COMMAND OPTION: sets kind, empty for a flag\n{\n"
                           "    kind=\n    case $1:$2 in\n");
    sl_strbuf_add(out, rows.ptr ? rows.ptr : "", rows.len);
    sl_strbuf_add_str(out, "    esac\n}\n\n");
    sl_strbuf_add_str(out, bash_code);
    r = r == 0 ? rows.error : r;
    sl_strbuf_done(&rows);
    return r;
}
