/*
 * Documents made from the table of commands and their options: man pages, and completions for
 * shells. One thread. What could not be added shows in out->error.
 */
#pragma once

#include "base/err.h"
#include "base/strbuf.h"
#include "cli/command.h"

struct doc_page {
    const char *parts; /* folder of doc_part.h's files */
    const char *date;  /* "November 23, 2026" */
};

/* sluice-NAME(1), or with command NULL sluice(1). 0, or why a part cannot be read. */
int doc_man_add(struct sl_strbuf *out, const struct doc_page *page,
                const struct sl_command *command, struct sl_diag *diag);

/* 0 or -ENOMEM. */
int doc_bash_add(struct sl_strbuf *out);
int doc_zsh_add(struct sl_strbuf *out);
int doc_fish_add(struct sl_strbuf *out);
