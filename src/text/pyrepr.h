/*
 * JSON values as Python's str() shows them, which is what a chat template's `| string`
 * gives: True, None, ['x', 1], {'k': 2.5}. Pure; any thread.
 */
#pragma once

#include "base/json.h"
#include "base/strbuf.h"

/* Append str(value): a string as it is, anything else as repr(). */
void sl_pyrepr_add_str(struct sl_strbuf *buf, const struct sl_json *value);

/* Append repr(value). */
void sl_pyrepr_add(struct sl_strbuf *buf, const struct sl_json *value);
