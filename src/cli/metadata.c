/* Metadata values. Files hold vocabularies of 65,536 strings: those are not printed. */
#include "cli/metadata.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/codepoint.h"

#define SHORT_ITEMS 8
#define LONG_ITEMS 64
#define SHORT_BYTES 60

static bool is_float(enum sl_gguf_type type)
{
    return type == SL_GGUF_F32 || type == SL_GGUF_F64;
}

/* A float of 32 bits by its own fewest digits: 1e-05, not 9.999999747378752e-06. */
static double tidy(double value, enum sl_gguf_type type)
{
    char text[32];

    if (type != SL_GGUF_F32 || !isfinite(value))
        return value;
    for (int digits = 6; digits <= 9; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtof(text, NULL) == (float)value)
            break;
    }
    return strtod(text, NULL);
}

static void write_string(struct sl_jsonwriter *w, struct sl_gguf_str str, bool is_short)
{
    struct sl_strbuf cut = {0};
    size_t len = 0;

    if (!is_short || str.len <= SHORT_BYTES) {
        sl_jsonwriter_string_len(w, str.ptr, str.len);
        return;
    }
    while (len < SHORT_BYTES) {
        uint32_t cp;
        size_t n = sl_codepoint_decode(str.ptr + len, str.len - len, &cp);

        len += n ? n : 1;
    }
    sl_strbuf_add(&cut, str.ptr, len);
    sl_strbuf_add_str(&cut, "...");
    sl_jsonwriter_string_len(w, cut.ptr ? cut.ptr : "", cut.len);
    sl_strbuf_done(&cut);
}

static void write_item(struct sl_jsonwriter *w, const struct sl_gguf_kv *kv, uint64_t i,
                       uint64_t *cursor, bool is_short)
{
    struct sl_gguf_str str;
    uint64_t whole;
    double real;

    if (kv->item_type == SL_GGUF_STRING) {
        if (sl_gguf_kv_str(kv, cursor, &str))
            write_string(w, str, is_short);
        else
            sl_jsonwriter_null(w);
    } else if (kv->item_type == SL_GGUF_BOOL && sl_gguf_kv_u64(kv, i, &whole)) {
        sl_jsonwriter_bool(w, whole != 0);
    } else if (!is_float(kv->item_type) && sl_gguf_kv_u64(kv, i, &whole)) {
        sl_jsonwriter_u64(w, whole);
    } else if (sl_gguf_kv_f64(kv, i, &real)) {
        if (is_float(kv->item_type))
            sl_jsonwriter_f64(w, tidy(real, kv->item_type));
        else
            sl_jsonwriter_i64(w, (int64_t)real); /* negative */
    } else {
        sl_jsonwriter_null(w);
    }
}

void sl_metadata_write(struct sl_jsonwriter *w, const struct sl_gguf_kv *kv, bool is_short)
{
    uint64_t most = is_short ? SHORT_ITEMS : LONG_ITEMS;
    uint64_t cursor = 0;

    if (kv->type != SL_GGUF_ARRAY) {
        write_item(w, kv, 0, &cursor, is_short);
        return;
    }
    if (!is_short && kv->n_items > most) {
        sl_jsonwriter_begin_object(w);
        sl_jsonwriter_member_u64(w, "n_items", kv->n_items);
        sl_jsonwriter_member_string(w, "item_type", sl_gguf_type_name(kv->item_type));
        sl_jsonwriter_end_object(w);
        return;
    }
    sl_jsonwriter_begin_array(w);
    for (uint64_t i = 0; i < kv->n_items && i < most; i++)
        write_item(w, kv, i, &cursor, is_short);
    sl_jsonwriter_end_array(w);
}
