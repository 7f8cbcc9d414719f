/*
 * JSON strings that are none of some keys, as a grammar expression: the names of members
 * that a schema does not name. Used by the schema compiler only.
 */
#pragma once

#include <stddef.h>

#include "text/ebnf.h"

#define SL_KEYSET_KEY_BYTES_MAX 1000u

/*
 * A quoted string which is none of the n keys, terminated UTF-8; n > 0. They are sorted
 * here. Each character has ebnfjson.h's one spelling. Errors stay in e: -E2BIG for a key
 * that is too long.
 */
struct sl_ebnf_expr *sl_keyset_others(struct sl_ebnf *e, const char **keys, size_t n);
