#include "server/apislots.h"

#include "server/apijson.h"

void sl_apislots_write(const struct sl_apislot *slots, size_t n, struct sl_strbuf *out)
{
    struct sl_jsonwriter w;

    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_begin_array(&w);
    for (size_t i = 0; i < n; i++) {
        sl_jsonwriter_begin_object(&w);
        sl_apijson_i64(&w, "id", slots[i].id);
        sl_apijson_i64(&w, "n_ctx", slots[i].n_ctx_tok);
        sl_apijson_bool(&w, "speculative", false);
        sl_apijson_bool(&w, "is_processing", slots[i].is_processing);
        sl_jsonwriter_end_object(&w);
    }
    sl_jsonwriter_end_array(&w);
    sl_apijson_hand_over(&w, out, SL_APIJSON_BODY, NULL);
}

/* Both actions on files, which differ in the names of their members. */
static void write_file(const struct sl_apislot_file *file, const char *n_tok, const char *n_bytes,
                       const char *ms, struct sl_strbuf *out)
{
    struct sl_jsonwriter w;

    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_begin_object(&w);
    sl_apijson_i64(&w, "id_slot", file->id);
    sl_apijson_text(&w, "filename", file->filename);
    sl_apijson_i64(&w, n_tok, (int64_t)file->n_tok);
    sl_apijson_i64(&w, n_bytes, (int64_t)file->n_bytes);
    sl_apijson_object(&w, "timings");
    sl_apijson_f64(&w, ms, file->ms);
    sl_jsonwriter_end_object(&w);
    sl_jsonwriter_end_object(&w);
    sl_apijson_hand_over(&w, out, SL_APIJSON_BODY, NULL);
}

void sl_apislots_write_saved(const struct sl_apislot_file *file, struct sl_strbuf *out)
{
    write_file(file, "n_saved", "n_written", "save_ms", out);
}

void sl_apislots_write_restored(const struct sl_apislot_file *file, struct sl_strbuf *out)
{
    write_file(file, "n_restored", "n_read", "restore_ms", out);
}

void sl_apislots_write_erased(uint32_t id, uint64_t n_tok, struct sl_strbuf *out)
{
    struct sl_jsonwriter w;

    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_begin_object(&w);
    sl_apijson_i64(&w, "id_slot", id);
    sl_apijson_i64(&w, "n_erased", (int64_t)n_tok);
    sl_jsonwriter_end_object(&w);
    sl_apijson_hand_over(&w, out, SL_APIJSON_BODY, NULL);
}
