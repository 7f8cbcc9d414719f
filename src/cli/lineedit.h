/*
 * Lines typed at a terminal, with editing, history and pasting of many lines. One
 * thread. Built from lineedit.c (libedit) or lineedit_none.c.
 */
#pragma once

struct sl_lineedit;

/* history_path: loaded now and kept up to date; NULL: none is kept. -ENOTSUP when built
 * without libedit or the terminal cannot do it; -ENOMEM. */
int sl_lineedit_open(struct sl_lineedit **ret_edit, const char *history_path);
void sl_lineedit_close(struct sl_lineedit *edit); /* NULL is allowed */

/* A line without its end, with line ends inside if it was pasted; heap text. 1, 0 at the
 * end of input (Ctrl-D), -EINTR after Ctrl-C, -ENOMEM. */
int sl_lineedit_read(struct sl_lineedit *edit, const char *prompt, char **ret_line);
