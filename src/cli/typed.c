/* Input for chat. The history lies in the state folder. */
#include "cli/typed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "cli/interrupt.h"
#include "cli/lineedit.h"
#include "cli/statedir.h"

/* Heap path of the history file, its folder made; NULL if there is no place for it. */
static char *history_path(void)
{
    char *path = sl_statedir_path("history");

    if (path && !sl_statedir_make_folders(path)) {
        free(path);
        return NULL;
    }
    return path;
}

void sl_typed_init(struct sl_typed *typed, bool has_color, bool with_history)
{
    const char *term = getenv("TERM");
    char *path = NULL;

    *typed = (struct sl_typed){
        .is_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO),
        .has_color = has_color,
    };
    if (!typed->is_terminal || !term || !strcmp(term, "dumb"))
        return;
    if (with_history)
        path = history_path();
    if (sl_lineedit_open(&typed->edit, path) < 0)
        typed->edit = NULL; /* plain lines will do */
    free(path);
}

void sl_typed_done(struct sl_typed *typed)
{
    sl_lineedit_close(typed->edit);
    typed->edit = NULL;
}

static int read_plain(struct sl_typed *typed, const char *prompt, char **ret_line)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;

    if (typed->is_terminal) {
        fputs(prompt, stdout);
        (void)fflush(stdout);
    }
    errno = 0;
    len = getline(&line, &cap, stdin);
    if (len < 0) {
        int r = errno == EINTR || sl_interrupt_is_set() ? -EINTR : errno == ENOMEM ? -ENOMEM : 0;

        free(line);
        clearerr(stdin);
        if (r == -EINTR && typed->is_terminal)
            fputs("\n", stdout);
        return r;
    }
    if (len && line[len - 1] == '\n')
        line[len - 1] = '\0';
    *ret_line = line;
    return 1;
}

static int read_line(struct sl_typed *typed, bool is_first, char **ret_line)
{
    int r;

    if (!typed->edit)
        return read_plain(typed, is_first ? ">>> " : "... ", ret_line);
    /* \1 encloses what takes no room on the screen */
    if (typed->has_color)
        r = sl_lineedit_read(typed->edit, is_first ? "\1\033[1;32m\1>>>\1\033[0m\1 "
                                                   : "\1\033[32m\1...\1\033[0m\1 ", ret_line);
    else
        r = sl_lineedit_read(typed->edit, is_first ? ">>> " : "... ", ret_line);
    return r == 0 && sl_interrupt_is_set() ? -EINTR : r;
}

static bool ends_in(const char *line, const char *end)
{
    size_t len = strlen(line), end_len = strlen(end);

    return len >= end_len && !strcmp(line + len - end_len, end);
}

int sl_typed_read(struct sl_typed *typed, char **ret_text)
{
    struct sl_strbuf text = {0};
    bool is_block = false, is_first = true, more = true;
    int r = 0;

    while (more) {
        char *line = NULL;
        const char *part;

        r = read_line(typed, is_first, &line);
        if (r <= 0)
            break;
        part = line;
        if (is_first && !strncmp(line, "\"\"\"", 3)) {
            is_block = true;
            part += 3;
        }
        if (is_block) {
            more = !ends_in(part, "\"\"\"");
            sl_strbuf_add(&text, part, strlen(part) - (more ? 0 : 3));
            /* the line of the opening quotes counts only if it holds more */
            if (more && !(is_first && !*part))
                sl_strbuf_add(&text, "\n", 1);
        } else {
            more = ends_in(part, "\\");
            sl_strbuf_add(&text, part, strlen(part) - (more ? 1 : 0));
            if (more)
                sl_strbuf_add(&text, "\n", 1);
        }
        is_first = false;
        free(line);
    }
    if (r < 0 || (r == 0 && is_first)) {
        sl_strbuf_done(&text);
        return r;
    }
    while (is_block && text.len && text.ptr[text.len - 1] == '\n')
        sl_strbuf_cut(&text, text.len - 1);
    r = sl_strbuf_take(&text, ret_text, NULL); /* input that ends inside a block is taken */
    return r < 0 ? r : 1;
}
