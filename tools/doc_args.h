/* What stands for an argument in completions: a model, a file, one of some words. Pure. */
#pragma once

#include <stddef.h>

#include "base/strbuf.h"
#include "cli/optable.h"

enum doc_kind {
    DOC_ANY = 0, /* nothing can be offered */
    DOC_WORDS,   /* sl_choices_find says which */
    DOC_MODEL,
    DOC_COMMAND,
    DOC_FILE,
    DOC_FOLDER,
};

struct doc_arg {
    char name[32]; /* without brackets */
    enum doc_kind kind;
};

#define DOC_ARGS_MAX 4

/* Arguments of a command by its args_doc ("MODEL [PROMPT]"), options in it left out. At most
 * DOC_ARGS_MAX; returns how many. */
size_t doc_args_list(const char *args_doc, struct doc_arg *ret_args);

/* Of an option that takes an argument. */
enum doc_kind doc_args_kind(const struct sl_option *option);

/* Append a word that an option takes, up to its colon if it has one. */
void doc_args_add_choice(struct sl_strbuf *out, const char *word);

/* Append what an option does, in a few words, without the characters of avoid. */
void doc_args_add_brief(struct sl_strbuf *out, const char *doc, const char *avoid);
