/* Messages to stderr, one line each, and results to stdout. */
#pragma once

#include <stddef.h>

#include "base/jsonwriter.h"

/* "sluice: ..." to stderr. Returns SL_EXIT_FAILED, so that a command can end in it. */
int sl_report_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The same for a text of the engine: where it names the smallest budget, that stands on a
 * line of its own. */
int sl_report_failure(const char *text);

/* "note: ..." to stderr. */
void sl_report_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Write all of text to stdout. Returns 0; -EPIPE when nobody reads any more, which is
 * no error of ours; else the negative errno, and the failure has been reported.
 */
int sl_report_write(const char *text, size_t len);

/* Flush stdout, with the same results. */
int sl_report_flush(void);

/* One JSON object on stdout: begin it, write its members, end it and flush, with the same
 * results. */
void sl_report_begin_json(struct sl_jsonwriter *w);
int sl_report_end_json(struct sl_jsonwriter *w);

/* The exit code for these results: a reader that left is no failure. */
int sl_report_code(int r);

/* Why sluice_tokenize failed. */
const char *sl_report_tokenize_text(int code);
