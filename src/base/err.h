/*
 * Error codes and error texts. Every layer returns 0 or a negative errno; calls
 * that open, parse or configure something also take a struct sl_diag, which
 * receives one line for a person: what, where, expected and found, what to do.
 *
 * The codes, with the one meaning each has in this project:
 *   -EBADMSG    malformed or corrupt data
 *   -ENOTSUP    well-formed, but not supported
 *   -ERANGE     a number out of its allowed range
 *   -E2BIG      a limit of ours was hit
 *   -ENOMEM     no memory, or a plan that does not fit
 *   -EIO        a read or write failed
 *   -ENOBUFS    the caller's buffer is too small
 *   -ECANCELED  stopped on request
 *   -EAGAIN     try later
 *   -EINVAL     the caller's mistake
 *   -ENOENT, -EACCES, -EISDIR ... as the system said
 */
#pragma once

#include <stddef.h>

#define SL_DIAG_BYTES 512

struct sl_diag {
    char text[SL_DIAG_BYTES]; /* one line, clean (below), always terminated */
};

/*
 * Make a text that may quote a file fit for one line of a terminal, in place: control
 * characters (escape sequences begin with one) become blanks, bytes that are not
 * UTF-8 question marks.
 */
void sl_text_clean(char *text);

/*
 * Write a text into diag (NULL is allowed: then nothing is written; a text that
 * is too long is cut at a UTF-8 boundary) and return code, so that a failing
 * function can end in `return sl_diag_set(diag, -EBADMSG, ...)`.
 */
int sl_diag_set(struct sl_diag *diag, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "prefix: " before the text that diag already holds. Returns code. */
int sl_diag_prefix(struct sl_diag *diag, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A short text for one of our codes ("corrupt data"), or strerror's. Not NULL. */
const char *sl_err_text(int code);
