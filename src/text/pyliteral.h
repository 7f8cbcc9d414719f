/*
 * Values in Python's spelling, read into JSON: what ast.literal_eval takes, as far as
 * JSON can say it, and the names true, false, null besides. Called by toolcall.c, which
 * reads the calls around the values with the same reader. One thread at a time.
 *
 * Strings and numbers: pyscalar.h. Tuples become arrays; a value in parentheses without
 * a comma, sets, bytes, f-strings, sums and comments are refused. Keys of a dict are
 * strings or integers (which become strings, as in json.dumps); of equal keys the last
 * value counts.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/jsonwriter.h"
#include "base/strbuf.h"
#include "text/pydict.h"

/* Lists, tuples and dicts in each other; as an argument one less than base/json takes. */
#define SL_PYLITERAL_DEPTH_MAX (SL_JSON_DEPTH_MAX - 1)

struct sl_pyliteral {
    const char *text; /* borrowed; valid UTF-8 */
    size_t len, pos;
    uint32_t depth;
    struct sl_strbuf scratch;     /* the string or number at hand */
    struct sl_pydict_stack dicts; /* open ones */
};

/* text is valid UTF-8. */
void sl_pyliteral_init(struct sl_pyliteral *p, const char *text, size_t len);
void sl_pyliteral_done(struct sl_pyliteral *p);

/* The next byte after blanks and line ends, which are skipped; '\0' at the end. */
char sl_pyliteral_peek(struct sl_pyliteral *p);

/* Skip blanks, and take c if it is next. */
bool sl_pyliteral_take(struct sl_pyliteral *p, char c);

/*
 * Skip blanks and take a name: letters, digits, "_" and "-", the first no digit and no
 * "-". Letters are ASCII's and those of the scripts in pyliteral.c. Its length, 0 if
 * there is none; ret_name points into the text.
 */
size_t sl_pyliteral_take_name(struct sl_pyliteral *p, const char **ret_name);

/*
 * Take one value and write it. 0, -EBADMSG (no such value; the writer's text is then of
 * no use), -E2BIG (too deep), -ENOMEM.
 */
int sl_pyliteral_value(struct sl_pyliteral *p, struct sl_jsonwriter *w);

/* The members of a dict, from behind its brace to behind its end, into the open dict. */
int sl_pyliteral_members(struct sl_pyliteral *p, struct sl_jsonwriter *w,
                         const struct sl_pydict *dict);
