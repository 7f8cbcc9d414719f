/*
 * What a person types in chat: messages of one or many lines, from a terminal with
 * editing, a terminal without, or a pipe. One thread.
 */
#pragma once

#include <stdbool.h>

struct sl_lineedit;

struct sl_typed {
    struct sl_lineedit *edit; /* NULL: plain lines */
    bool is_terminal;         /* prompts are shown */
    bool has_color;
};

/* Set up for stdin; keeps a history file if with_history. */
void sl_typed_init(struct sl_typed *typed, bool has_color, bool with_history);
void sl_typed_done(struct sl_typed *typed);

/*
 * The next message: a line; lines joined by a backslash at the end of each but the last;
 * all between two lines of """; or a paste. Heap text. 1; 0 at the end of input; -EINTR
 * after Ctrl-C; -ENOMEM.
 */
int sl_typed_read(struct sl_typed *typed, char **ret_text);
