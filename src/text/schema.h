/*
 * JSON Schema to GBNF: a grammar whose texts are JSON that satisfies the schema. Called
 * where a request asks for structured output. Any thread.
 *
 * What is written. Members in an order: those of "properties" as they stand there,
 * optional ones may be missing; then required ones without a property, then others, whose
 * names may repeat. Where several schemas hold for one object their properties follow
 * each other: a schema's own, its $ref's, its allOf's, and last those of the branches of
 * anyOf and oneOf. Blanks as in ebnfjson.h. Integers have no point and no exponent. Texts
 * with a pattern or a format, enumerated values, and names of others beside named members
 * have one spelling; other strings any.
 *
 * What is never written. Of the values that satisfy a schema all have a text, but for
 *
 *   - values of other types than the one meant: where the schemas that hold for one value
 *     have no type and no enumeration, and their keywords speak of one type only, that
 *     type is meant. By the standard others would be right too, but nobody wants them;
 *   - members whose names do not match, where there is a patternProperties;
 *   - objects that have minProperties only by two or more members that are not named:
 *     as their names may repeat, the first one counts;
 *   - numbers with more digits than ebnfjson.h and schemanumber.h have, and texts with a
 *     format beyond those that schemaformat.h has;
 *   - what SL_SCHEMA_CLOSED rules out.
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
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "base/strbuf.h"

#define SL_SCHEMA_TEXT_MAX ((size_t)1 << 20) /* bytes of GBNF */

/*
 * Work that a schema may cost, in steps of some 2 us: a schema looked at each time that it is,
 * a reference followed, a member written, 32 constants compared ... The largest schemas of
 * real APIs take some thousand; a few kilobytes can be written that would take minutes.
 */
#define SL_SCHEMA_STEPS_MAX 120000u

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

/* The same for one of several schemas that have SL_SCHEMA_STEPS_MAX together: steps, what was
 * taken so far, goes up. */
int sl_schema_compile_one(const struct sl_json *schema, uint32_t flags, uint32_t *steps,
                          struct sl_strbuf *out, struct sl_diag *diag);

/* Append the grammar of any JSON object. 0 or -ENOMEM. */
int sl_schema_any_object(struct sl_strbuf *out);
