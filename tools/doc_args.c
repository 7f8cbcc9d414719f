/* The names that --help has for arguments tell what they are. */
#include "tools/doc_args.h"

#include <stdio.h>
#include <string.h>

#include "cli/choices.h"

static enum doc_kind kind_of(const char *name)
{
    if (!strcmp(name, "MODEL") || !strncmp(name, "IN.", 3))
        return DOC_MODEL;
    if (!strcmp(name, "COMMAND"))
        return DOC_COMMAND;
    if (!strcmp(name, "FILE") || !strcmp(name, "PATH") || !strncmp(name, "OUT", 3))
        return DOC_FILE;
    return !strcmp(name, "FOLDER") || !strcmp(name, "DIR") ? DOC_FOLDER : DOC_ANY;
}

size_t doc_args_list(const char *args_doc, struct doc_arg *ret_args)
{
    size_t n = 0;

    for (const char *word = args_doc; *word && n < DOC_ARGS_MAX; ) {
        size_t len = strcspn(word, " ");
        const char *inner = word + (*word == '[');
        size_t inner_len = strcspn(inner, " ].");

        if (!strncmp(inner, "IN.", 3) || !strncmp(inner, "OUT.", 4))
            inner_len = strcspn(inner, " ]");
        if (*inner == '-') { /* an option, and its argument */
            word += len + (word[len] == ' ');
            len = strcspn(word, " ");
        } else if (inner_len) {
            (void)snprintf(ret_args[n].name, sizeof(ret_args[n].name), "%.*s", (int)inner_len,
                           inner); /* cut is fine */
            ret_args[n].kind = kind_of(ret_args[n].name);
            n++;
        }
        word += len + strspn(word + len, " ");
    }
    return n;
}

enum doc_kind doc_args_kind(const struct sl_option *option)
{
    if (option->name && sl_choices_find(option->name))
        return DOC_WORDS;
    return option->arg ? kind_of(option->arg) : DOC_ANY;
}

void doc_args_add_choice(struct sl_strbuf *out, const char *word)
{
    size_t len = strcspn(word, ":");

    sl_strbuf_add(out, word, len + (word[len] == ':'));
}

void doc_args_add_brief(struct sl_strbuf *out, const char *doc, const char *avoid)
{
    const char *end = strstr(doc, "; ");
    size_t len = end ? (size_t)(end - doc) : strlen(doc);

    for (size_t i = 0; i < len; i++)
        if (!strchr(avoid, doc[i]))
            sl_strbuf_add(out, doc + i, 1);
}
