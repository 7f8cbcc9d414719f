/* Text for mdoc pages. Pure. Any thread. */
#pragma once

#include "base/strbuf.h"

/*
 * Append plain text as filled lines, a sentence beginning on a line of its own, and a line end.
 * Nothing in it is taken for a macro or an escape. Empty text adds nothing.
 */
void doc_text_add(struct sl_strbuf *out, const char *text);

/* Append a word as an argument of a macro. */
void doc_text_add_word(struct sl_strbuf *out, const char *word, size_t len);

/* Append the arguments of a command ("MODEL [PROMPT]", "MODEL -f FILE") as macros, one a line. */
void doc_text_add_synopsis(struct sl_strbuf *out, const char *arguments);
