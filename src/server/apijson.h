/*
 * Members of replies, written with their keys, and finished texts handed over as a body, an
 * event or a line. For the writers of the APIs. One thread at a time per writer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/jsonwriter.h"
#include "base/strbuf.h"

enum sl_apijson_as {
    SL_APIJSON_BODY = 0,
    SL_APIJSON_EVENT, /* of SSE */
    SL_APIJSON_LINE,
};

/* text NULL: null. */
void sl_apijson_text(struct sl_jsonwriter *w, const char *key, const char *text);
void sl_apijson_text_len(struct sl_jsonwriter *w, const char *key, const char *text, size_t len);
void sl_apijson_i64(struct sl_jsonwriter *w, const char *key, int64_t value);
void sl_apijson_f64(struct sl_jsonwriter *w, const char *key, double value);
void sl_apijson_bool(struct sl_jsonwriter *w, const char *key, bool value);
void sl_apijson_null(struct sl_jsonwriter *w, const char *key);
void sl_apijson_object(struct sl_jsonwriter *w, const char *key); /* begins one */
void sl_apijson_array(struct sl_jsonwriter *w, const char *key);  /* begins one */
/* JSON text; NULL: null. */
void sl_apijson_raw(struct sl_jsonwriter *w, const char *key, const char *json);

/* Append what w holds to out; name is an event's, or NULL. w is empty afterwards, and can be
 * used again; its error becomes out's. */
void sl_apijson_hand_over(struct sl_jsonwriter *w, struct sl_strbuf *out, enum sl_apijson_as as,
                          const char *name);
