/*
 * Strings and numbers as Python's source has them, read into what JSON needs: called by
 * pyliteral.c. Any thread.
 *
 * Each reader takes a text and its length, looks at the beginning only, and returns the
 * number of bytes it took, or a negative code: -EBADMSG (Python would refuse it, or JSON
 * cannot say it), -ENOMEM.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/strbuf.h"

/* A string that is being put together; several literals in a row make one. */
struct sl_pystring {
    struct sl_strbuf *out;  /* borrowed: UTF-8 of the value, may contain NUL */
    uint32_t high_surrogate; /* of an escape, waiting for its other half; 0: none */
};

/* Whether a string literal begins at text: a quote, or r, R, u, U and a quote. */
bool sl_pyscalar_is_string(const char *text, size_t len);

/*
 * Append one literal to s->out. All escapes but \N{name} (refused: it needs Unicode's
 * table of names); two escapes that are a surrogate pair make one character. A line end
 * is read as \n, in strings of one quote too, where Python would refuse it: models write
 * programs into them. text is valid UTF-8.
 */
ssize_t sl_pyscalar_string(struct sl_pystring *s, const char *text, size_t len);

/* The value is complete: false when half a surrogate pair is left over. */
bool sl_pyscalar_string_end(const struct sl_pystring *s);

/* Whether a number begins at text: a digit, a sign, or a point before a digit. */
bool sl_pyscalar_is_number(const char *text, size_t len);

/*
 * One number with at most one sign, as JSON text appended to out: integers to the digit
 * (up to 4300, as in Python), floats as the shortest text of the same double. Infinite
 * and imaginary ones are refused. ret_is_int: whether it is an integer.
 */
ssize_t sl_pyscalar_number(struct sl_strbuf *out, const char *text, size_t len, bool *ret_is_int);
