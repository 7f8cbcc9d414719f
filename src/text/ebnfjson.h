/*
 * The pieces of JSON as grammar rules: blanks, strings, numbers, any value, and one given
 * value. Used by the schema compiler only.
 *
 * Blanks are bounded, for a model that has begun to write them may not find an end: one
 * blank, or a line end and at most 32 blanks or tabs, after an opening bracket, after a
 * comma and before a closing bracket; at most one blank after a colon; none elsewhere.
 * Numbers are bounded: 20 digits, 20 more after the point, exponents that no double
 * overflows at. Strings are Unicode: half of a surrogate pair is not written alone.
 */
#pragma once

#include "base/json.h"
#include "text/ebnf.h"

#define SL_EBNFJSON_DIGITS_MAX 20

struct sl_ebnfjson {
    uint32_t ws, colon, comma; /* colon and comma with their blanks */
    uint32_t character;        /* of a string, in any of its spellings */
    uint32_t string, number, integer, boolean;
    uint32_t nonneg; /* a number without a sign */
    uint32_t value, object, array;
};

/* A range of code points, both ends in it. */
struct sl_ebnfjson_range {
    uint32_t first, last;
};

void sl_ebnfjson_init(struct sl_ebnfjson *j, struct sl_ebnf *e);

/*
 * Each code point has one spelling here: itself, or a short escape, or for the other
 * control characters \u00xx in lower case.
 */
/* UTF-8 as the text of a JSON string, without and with the quotes. */
struct sl_ebnf_expr *sl_ebnfjson_text(struct sl_ebnf *e, const char *text, size_t len);
struct sl_ebnf_expr *sl_ebnfjson_quoted(struct sl_ebnf *e, const char *text, size_t len);
/* One character out of n ranges, ascending and apart; of none: matches nothing. */
struct sl_ebnf_expr *sl_ebnfjson_class(struct sl_ebnf *e, const struct sl_ebnfjson_range *ranges,
                                       size_t n);
/* This value, its members in order, with blanks where j has them. */
struct sl_ebnf_expr *sl_ebnfjson_const(const struct sl_ebnfjson *j, struct sl_ebnf *e,
                                       const struct sl_json *value);

/* open, items with commas between them (may be NULL: none), close, and blanks. */
struct sl_ebnf_expr *sl_ebnfjson_wrap(const struct sl_ebnfjson *j, struct sl_ebnf *e,
                                      const char *open, struct sl_ebnf_expr *items,
                                      const char *close);
