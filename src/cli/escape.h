/* Names of files for a terminal. */
#pragma once

#include "base/strbuf.h"

/*
 * Append a name as one line that a terminal takes as text: control characters, and bytes that
 * are not UTF-8, as \xHH, a backslash as two. All else as it is.
 */
void sl_escape_add(struct sl_strbuf *buf, const char *name);

/* Columns that such a text takes on a terminal, as far as its locale knows. */
int sl_escape_columns(const char *escaped);
