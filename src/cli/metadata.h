/* A file's metadata for people and as JSON. */
#pragma once

#include <stdbool.h>

#include "base/jsonwriter.h"
#include "loader/gguf.h"

/* The value as the next JSON value. is_short: strings are cut and arrays show their first
 * items, as text ("..."); otherwise arrays of more than 64 items become their number of
 * items and type. */
void sl_metadata_write(struct sl_jsonwriter *w, const struct sl_gguf_kv *kv, bool is_short);
