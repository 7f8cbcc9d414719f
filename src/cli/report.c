/* One line per message, whatever a path in it holds. */
#include "cli/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/interrupt.h"

static void print_line(const char *prefix, const char *fmt, va_list args)
{
    char text[4096 + SL_DIAG_BYTES];

    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut is fine */
    sl_text_clean(text);
    fprintf(stderr, "%s: %s\n", prefix, text);
    if (!strcmp(prefix, "sluice"))
        sl_cmdline_explain(text);
}

int sl_report_error(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    print_line("sluice", fmt, args);
    va_end(args);
    return SL_EXIT_FAILED;
}

int sl_report_failure(const char *text)
{
    const char *way = strstr(text, "; smallest that works: ");

    if (!way)
        return sl_report_error("%s", text);
    (void)sl_report_error("%.*s", (int)(way - text), text);
    fprintf(stderr, "%s\n", way + 2);
    return SL_EXIT_FAILED;
}

void sl_report_note(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    print_line("note", fmt, args);
    va_end(args);
}

static int failed(void)
{
    int code = errno;

    if (code != EPIPE)
        (void)sl_report_error("cannot write to standard output: %s", strerror(code));
    return code ? -code : -EIO;
}

/* errno is kept. */
static void end_writing(void)
{
    int code = errno;

    sl_interrupt_set_restart(false);
    errno = code;
}

int sl_report_write(const char *text, size_t len)
{
    bool is_written;

    sl_interrupt_set_restart(true);
    is_written = !len || fwrite(text, 1, len, stdout) == len;
    end_writing();
    return is_written ? 0 : failed();
}

int sl_report_flush(void)
{
    bool is_written;

    sl_interrupt_set_restart(true);
    is_written = fflush(stdout) == 0 && !ferror(stdout);
    end_writing();
    return is_written ? 0 : failed();
}

void sl_report_begin_json(struct sl_jsonwriter *w)
{
    sl_jsonwriter_init(w, stdout, SL_JSONWRITER_PRETTY);
    sl_jsonwriter_begin_object(w);
}

int sl_report_end_json(struct sl_jsonwriter *w)
{
    int r;

    sl_jsonwriter_end_object(w);
    r = sl_jsonwriter_done(w);
    if (r == -EIO)
        return sl_report_flush(); /* which says why */
    if (r < 0) {
        (void)sl_report_error("%s", sl_err_text(r));
        return r;
    }
    r = sl_report_write("\n", 1);
    return r < 0 ? r : sl_report_flush();
}

int sl_report_code(int r)
{
    return r == 0 || r == -EPIPE ? SL_EXIT_OK : SL_EXIT_FAILED;
}

const char *sl_report_tokenize_text(int code)
{
    return code == -E2BIG ? "the text is longer than 64 MiB" : sl_err_text(code);
}
