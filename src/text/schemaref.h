/*
 * Places in a schema and references between them: "#/$defs/node". Internal to the schema
 * compiler; places are declared in schemashape.h.
 */
#pragma once

#include "text/schemashape.h"

/*
 * The schema that a "$ref" at place means: "#" and JSON pointers, with ~0, ~1 and %XX.
 * -EBADMSG (no string, nothing there), -ENOTSUP (anything that is not in this document).
 */
int sl_schemaref_resolve(struct sl_schemactx *ctx, const struct sl_json *ref,
                         const struct sl_schemaplace *place, const struct sl_json **ret_node,
                         const struct sl_schemaplace **ret_place);
