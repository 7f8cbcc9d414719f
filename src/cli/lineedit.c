/*
 * Line editing through libedit, the only file that knows of it.
 *
 * Pasting: the terminal is asked to bracket pastes (ESC [200~ .. ESC [201~). The opening
 * bracket is bound to a function that takes everything up to the closing one, so a
 * pasted line end does not send the line. libedit shows it as ^J.
 *
 * Ctrl-C: while a line is edited the terminal sends it as a character, bound to a
 * function that ends the line and leaves a mark.
 */
#include "cli/lineedit.h"

#include <errno.h>
#include <histedit.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/strbuf.h"

#define HISTORY_LINES 1000
#define PASTE_END "\033[201~"

struct sl_lineedit {
    EditLine *edit;
    History *history;
    char *history_path; /* owned, or NULL */
    const char *prompt; /* borrowed while a line is read */
    bool is_interrupted;
};

static struct sl_lineedit *self(EditLine *edit)
{
    void *data = NULL;

    (void)el_get(edit, EL_CLIENTDATA, &data); /* set below, always there */
    return data;
}

static char *show_prompt(EditLine *edit)
{
    return (char *)(uintptr_t)self(edit)->prompt; /* libedit does not write to it */
}

static unsigned char on_paste(EditLine *edit, wint_t key)
{
    struct sl_strbuf text = {0};
    size_t end_len = strlen(PASTE_END);
    char c;

    while (el_getc(edit, &c) == 1) {
        if (c == '\r')
            c = '\n';
        sl_strbuf_add(&text, &c, 1);
        if (text.error)
            break;
        if (text.len >= end_len && !memcmp(text.ptr + text.len - end_len, PASTE_END, end_len)) {
            sl_strbuf_cut(&text, text.len - end_len);
            break;
        }
    }
    while (text.len && text.ptr[text.len - 1] == '\n')
        sl_strbuf_cut(&text, text.len - 1);
    if (text.len)
        (void)el_insertstr(edit, text.ptr); /* too long for libedit: nothing is inserted */
    sl_strbuf_done(&text);
    return CC_REFRESH;
}

static unsigned char on_interrupt(EditLine *edit, wint_t key)
{
    self(edit)->is_interrupted = true;
    return CC_NEWLINE;
}

static void bind_keys(EditLine *edit)
{
    (void)el_set(edit, EL_EDITOR, "emacs");
    (void)el_source(edit, NULL); /* the user's ~/.editrc, if there is one */
    /* the narrow form would copy the names and never free them */
    (void)el_wset(edit, EL_ADDFN, L"sluice-paste", L"Take a paste", on_paste);
    (void)el_wset(edit, EL_ADDFN, L"sluice-interrupt", L"Give up the line", on_interrupt);
    (void)el_set(edit, EL_BIND, "\033[200~", "sluice-paste", NULL);
    (void)el_set(edit, EL_BIND, "^C", "sluice-interrupt", NULL);
    (void)el_set(edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)el_set(edit, EL_SETTY, "-d", "-isig", NULL);
}

int sl_lineedit_open(struct sl_lineedit **ret_edit, const char *history_path)
{
    struct sl_lineedit *e = calloc(1, sizeof(*e));
    HistEvent event;

    if (!e)
        return -ENOMEM;
    e->prompt = "";
    e->edit = el_init("sluice", stdin, stdout, stderr);
    e->history = history_init();
    e->history_path = history_path ? strdup(history_path) : NULL;
    if (!e->edit || !e->history || (history_path && !e->history_path)) {
        sl_lineedit_close(e);
        return -ENOMEM;
    }
    (void)history(e->history, &event, H_SETSIZE, HISTORY_LINES);
    (void)history(e->history, &event, H_SETUNIQUE, 1);
    if (e->history_path)
        (void)history(e->history, &event, H_LOAD, e->history_path); /* absent the first time */
    (void)el_set(e->edit, EL_CLIENTDATA, e);
    (void)el_set(e->edit, EL_PROMPT_ESC, show_prompt, '\1');
    (void)el_set(e->edit, EL_SIGNAL, 0);
    (void)el_set(e->edit, EL_HIST, history, e->history);
    bind_keys(e->edit);
    *ret_edit = e;
    return 0;
}

void sl_lineedit_close(struct sl_lineedit *e)
{
    if (!e)
        return;
    if (e->edit)
        el_end(e->edit);
    if (e->history)
        history_end(e->history);
    free(e->history_path);
    free(e);
}

static void remember(struct sl_lineedit *e, const char *line)
{
    HistEvent event;

    if (line[0] == '\0')
        return;
    (void)history(e->history, &event, H_ENTER, line);
    if (e->history_path)
        (void)history(e->history, &event, H_SAVE, e->history_path); /* a comfort only */
}

int sl_lineedit_read(struct sl_lineedit *e, const char *prompt, char **ret_line)
{
    const char *text;
    char *line;
    int len = 0;

    e->prompt = prompt;
    e->is_interrupted = false;
    fputs("\033[?2004h", stdout); /* bracket pastes */
    (void)fflush(stdout);
    text = el_gets(e->edit, &len);
    fputs(e->is_interrupted ? "\033[?2004l\n" : "\033[?2004l", stdout);
    (void)fflush(stdout);
    e->prompt = "";
    if (e->is_interrupted)
        return -EINTR;
    if (!text || len <= 0)
        return 0;
    if (text[len - 1] == '\n')
        len--;
    line = strndup(text, (size_t)len);
    if (!line)
        return -ENOMEM;
    remember(e, line);
    *ret_line = line;
    return 1;
}
