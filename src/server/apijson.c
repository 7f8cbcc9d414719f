#include "server/apijson.h"

#include <assert.h>
#include <string.h>

#include "server/sse.h"

void sl_apijson_text(struct sl_jsonwriter *w, const char *key, const char *text)
{
    if (text)
        sl_apijson_text_len(w, key, text, strlen(text));
    else
        sl_apijson_null(w, key);
}

void sl_apijson_text_len(struct sl_jsonwriter *w, const char *key, const char *text, size_t len)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_string_len(w, text, len);
}

void sl_apijson_i64(struct sl_jsonwriter *w, const char *key, int64_t value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_i64(w, value);
}

void sl_apijson_f64(struct sl_jsonwriter *w, const char *key, double value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_f64(w, value);
}

void sl_apijson_bool(struct sl_jsonwriter *w, const char *key, bool value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_bool(w, value);
}

void sl_apijson_null(struct sl_jsonwriter *w, const char *key)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_null(w);
}

void sl_apijson_object(struct sl_jsonwriter *w, const char *key)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_begin_object(w);
}

void sl_apijson_array(struct sl_jsonwriter *w, const char *key)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_begin_array(w);
}

void sl_apijson_raw(struct sl_jsonwriter *w, const char *key, const char *json)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_raw(w, json ? json : "null", json ? strlen(json) : 4);
}

void sl_apijson_hand_over(struct sl_jsonwriter *w, struct sl_strbuf *out, enum sl_apijson_as as,
                          const char *name)
{
    assert(w->depth == 0);
    if (w->buf.error)
        out->error = out->error ? out->error : w->buf.error;
    else if (as == SL_APIJSON_BODY)
        sl_strbuf_add(out, w->buf.ptr, w->buf.len);
    else if (as == SL_APIJSON_LINE)
        sl_sse_add_json_line(out, w->buf.ptr, w->buf.len);
    else
        sl_sse_add(out, name, w->buf.ptr, w->buf.len);
    sl_strbuf_done(&w->buf);
    sl_jsonwriter_init(w, NULL, 0);
}
