/*
 * JSON Schema to GBNF: a grammar whose texts are JSON that satisfies the schema. Called
 * where a request asks for structured output. Any thread.
 *
 * What is written. Members in the order of the schema's "properties", optional ones may
 * be missing; then required ones without a property, then others. Blanks as in
 * ebnfjson.h. Texts with a pattern or a format, and enumerated values, have one spelling;
 * other strings any. Members that the schema does not name have no characters in
 * their names that need an escape, and their names may repeat.
 *
 * What is enforced: $ref within the document (recursion too), type, enum, const,
 * properties, required, additionalProperties, minProperties, maxProperties,
 * propertyNames and patternProperties (where no property is named), items, prefixItems
 * (and items as a list with additionalItems), minItems, maxItems, minLength, maxLength
 * (in code points), pattern (schemaregex.h), format (schemaformat.h), minimum, maximum,
 * exclusiveMinimum, exclusiveMaximum (also draft 4's), multipleOf for some integers
 * (schemanumber.h), anyOf, allOf (by merging), oneOf where no value can satisfy two
 * branches: other types, other constants, or a required member that tells them apart.
 *
 * Everything else that constrains is refused with its path: not, if, dependent...,
 * contains, uniqueItems, unevaluated... and what the files named above exclude. A keyword
 * that speaks of one type only is refused where that type is possible. true and {} are
 * any value; what nothing can satisfy is left out where it is optional, and refused
 * otherwise. Keywords that the standard does not define are remarks, as it says.
 *
 * A schema without type whose keywords speak of one type means that type: by the standard
 * values of other types would be right too, but nobody wants them.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "base/strbuf.h"

#define SL_SCHEMA_TEXT_MAX   ((size_t)1 << 20) /* bytes of GBNF */
#define SL_SCHEMA_STEPS_MAX  100000u           /* schemas looked at, references followed */
#define SL_SCHEMA_COMPARED_MAX (1u << 24)      /* values compared with constants */

enum {
    /* Objects with properties but without additionalProperties have no other members:
     * what OpenAI's strict mode asks schemas to say. The standard allows others. */
    SL_SCHEMA_CLOSED = 1,
};

/*
 * Append the grammar of a schema to out. flags: SL_SCHEMA_*. The schema is not needed
 * afterwards. On failure out is as it was, and diag says what, behind the JSON pointer of
 * the place ("#/properties/a/not: not supported").
 *
 * -ENOTSUP (cannot be enforced, or nothing satisfies it), -EBADMSG (no schema), -ERANGE,
 * -E2BIG (a limit above), -ENOMEM, -EINVAL (unknown flags).
 */
int sl_schema_compile(const struct sl_json *schema, uint32_t flags, struct sl_strbuf *out,
                      struct sl_diag *diag);

/* Append the grammar of any JSON object. 0 or -ENOMEM. */
int sl_schema_any_object(struct sl_strbuf *out);
