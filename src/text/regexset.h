/*
 * Sets of code points in patterns: one character, an escape, ".", or a class in brackets.
 * Called by schemaregex.c only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "text/ebnf.h"
#include "text/ebnfjson.h"

struct sl_regexset {
    const struct sl_ebnfjson_range *ranges; /* ascending and apart; static or of an sl_ebnf */
    size_t n;
};

/* All code points but the surrogates. */
struct sl_regexset sl_regexset_all(void);

/*
 * Parse the set at *pos < len of UTF-8 text and move pos behind it. -EBADMSG or -ENOTSUP
 * with a static text that says why; else the error of e.
 */
int sl_regexset_parse(struct sl_ebnf *e, const char *text, size_t len, size_t *pos,
                      struct sl_regexset *ret_set, const char **ret_what);

/* Append the only character of a set; false if it has none or several. */
bool sl_regexset_print_single(const struct sl_regexset *set, struct sl_strbuf *out);
