/*
 * Lines are wrapped at the width that a terminal usually has, but for commands, which stay on
 * a line of their own to be copied. Names of files are other people's: what could move a
 * terminal's cursor is made harmless.
 */
#include "cli/doctorprint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/escape.h"
#include "cli/report.h"

#define COLUMNS 100u
#define LABEL_COLUMNS 27u /* state and title */
#define MORE_COLUMNS 7u   /* "costs  " */

uint32_t sl_doctorprint_count(const struct sl_findings *findings, enum sl_finding_state state)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < findings->n; i++)
        n += findings->list[i].state == state;
    return n;
}

/* Words of a text behind what stands on the line already, wrapped and indented alike. */
static void add_wrapped(struct sl_strbuf *out, const char *text, uint32_t indent)
{
    uint32_t column = indent;

    while (*text) {
        size_t len = strcspn(text, " ");

        if (column > indent && column + 1 + len > COLUMNS) {
            sl_strbuf_add_fmt(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            sl_strbuf_add_str(out, " ");
            column++;
        }
        sl_strbuf_add(out, text, len);
        column += (uint32_t)len;
        text += len + strspn(text + len, " ");
    }
    sl_strbuf_add_str(out, "\n");
}

/* A text of a finding with a word before it; nothing if it is empty. */
static void add_more(struct sl_strbuf *out, const char *word, const struct sl_strbuf *text,
                     bool is_command)
{
    char *line = text->len ? strdup(text->ptr) : NULL;

    if (!line) {
        if (text->len)
            out->error = -ENOMEM;
        return;
    }
    sl_text_clean(line);
    sl_strbuf_add_fmt(out, "%*s%-*s", (int)LABEL_COLUMNS, "", (int)MORE_COLUMNS, word);
    if (is_command)
        sl_strbuf_add_fmt(out, "%s\n", line);
    else
        add_wrapped(out, line, LABEL_COLUMNS + MORE_COLUMNS);
    free(line);
}

/* The file that a finding is about is named where it has not just been. */
static void add_finding(struct sl_strbuf *out, const struct sl_finding *f, const char *before)
{
    char *found = f->found.ptr ? strdup(f->found.ptr) : NULL;

    if (found)
        sl_text_clean(found);
    else if (f->found.len)
        out->error = -ENOMEM;
    sl_strbuf_add_fmt(out, "%-7s  %-*s", sl_finding_state_key(f->state), (int)LABEL_COLUMNS - 9,
                      f->title);
    add_wrapped(out, found ? found : "", LABEL_COLUMNS);
    free(found);
    if (f->place && (!before || strcmp(before, f->place) != 0)) {
        sl_strbuf_add_fmt(out, "%*s%-*s", (int)LABEL_COLUMNS, "", (int)MORE_COLUMNS, "file");
        sl_escape_add(out, f->place);
        sl_strbuf_add_str(out, "\n");
    }
    if (f->state == SL_FINDING_OK)
        return;
    add_more(out, "costs", &f->costs, false);
    add_more(out, "mend", &f->command, true);
    add_more(out, f->command.len ? "" : "mend", &f->advice, false);
}

int sl_doctorprint_text(const struct sl_findings *findings)
{
    uint32_t n_bad = sl_doctorprint_count(findings, SL_FINDING_BAD);
    uint32_t n_warn = sl_doctorprint_count(findings, SL_FINDING_WARN);
    uint32_t n_unknown = sl_doctorprint_count(findings, SL_FINDING_UNKNOWN);
    struct sl_strbuf out = {0};
    int r;

    for (uint32_t i = 0; i < findings->n; i++)
        add_finding(&out, &findings->list[i], i ? findings->list[i - 1].place : NULL);
    sl_strbuf_add_fmt(&out, "\n%" PRIu32 " bad, %" PRIu32 " to be better, %" PRIu32
                      " not known, of %" PRIu32 " checks.\n", n_bad, n_warn, n_unknown,
                      findings->n);
    r = out.error ? out.error : sl_report_write(out.ptr, out.len);
    if (out.error)
        (void)sl_report_error("not enough memory for the report");
    sl_strbuf_done(&out);
    return r == 0 ? sl_report_flush() : r;
}

static void write_text(struct sl_jsonwriter *w, const char *key, const struct sl_strbuf *text)
{
    sl_jsonwriter_key(w, key);
    if (text->len)
        sl_jsonwriter_string(w, text->ptr);
    else
        sl_jsonwriter_null(w);
}

static void write_finding(struct sl_jsonwriter *w, const struct sl_finding *f)
{
    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_member_string(w, "key", f->key);
    sl_jsonwriter_member_string(w, "state", sl_finding_state_key(f->state));
    write_text(w, "found", &f->found);
    sl_jsonwriter_key(w, "file");
    if (f->place)
        sl_jsonwriter_string(w, f->place);
    else
        sl_jsonwriter_null(w);
    write_text(w, "costs", &f->costs);
    write_text(w, "command", &f->command);
    write_text(w, "advice", &f->advice);
    sl_jsonwriter_member_known(w, "value", f->value);
    sl_jsonwriter_key(w, "unit");
    if (f->unit)
        sl_jsonwriter_string(w, f->unit);
    else
        sl_jsonwriter_null(w);
    sl_jsonwriter_end_object(w);
}

int sl_doctorprint_json(const struct sl_findings *findings)
{
    struct sl_jsonwriter w;

    sl_report_begin_json(&w);
    sl_jsonwriter_member_array(&w, "checks");
    for (uint32_t i = 0; i < findings->n; i++)
        write_finding(&w, &findings->list[i]);
    sl_jsonwriter_end_array(&w);
    for (int state = SL_FINDING_OK; state <= SL_FINDING_BAD; state++)
        sl_jsonwriter_member_u64(&w, sl_finding_state_key((enum sl_finding_state)state),
                                 sl_doctorprint_count(findings, (enum sl_finding_state)state));
    return sl_report_end_json(&w);
}
