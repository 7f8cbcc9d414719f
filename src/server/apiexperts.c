/* A letter for each expert's state and two hex digits for its share: a reply for the 24B
 * model, 38 layers of 64, takes 8 kB. */
#include "server/apiexperts.h"

#include "server/apijson.h"

static char letter_of(uint8_t state)
{
    static const char letters[] = {
        [SLUICE_EXPERT_DISK] = 'd',    [SLUICE_EXPERT_MEMORY] = 'm',
        [SLUICE_EXPERT_PINNED] = 'p',  [SLUICE_EXPERT_READING] = 'r',
        [SLUICE_EXPERT_AHEAD] = 'a',
    };

    return letters[state];
}

static void write_layers(const struct sl_apiexperts *e, struct sl_jsonwriter *w)
{
    struct sl_strbuf row = {0};

    sl_apijson_array(w, "states");
    for (uint32_t i = 0; i < e->n_layers; i++) {
        sl_strbuf_cut(&row, 0);
        for (uint32_t k = 0; k < e->n_experts; k++)
            sl_strbuf_add_fmt(&row, "%c", letter_of(e->experts[i * e->n_experts + k].state));
        sl_jsonwriter_string(w, row.len ? row.ptr : "");
    }
    sl_jsonwriter_end_array(w);
    sl_apijson_array(w, "shares");
    for (uint32_t i = 0; i < e->n_layers; i++) {
        sl_strbuf_cut(&row, 0);
        for (uint32_t k = 0; k < e->n_experts; k++)
            sl_strbuf_add_fmt(&row, "%02x", e->experts[i * e->n_experts + k].share);
        sl_jsonwriter_string(w, row.len ? row.ptr : "");
    }
    sl_jsonwriter_end_array(w);
    if (row.error)
        w->buf.error = row.error;
    sl_strbuf_done(&row);
}

/* Names as those of /metrics, without what says sluice and total. */
static void write_counters(const struct sluice_counters *engine, struct sl_jsonwriter *w)
{
    const struct sluice_expert_counters *c = &engine->experts;

    sl_apijson_object(w, "counters");
    sl_apijson_i64(w, "steps", (int64_t)engine->n_steps);
    sl_apijson_i64(w, "step_tokens", (int64_t)engine->n_tokens);
    sl_apijson_f64(w, "step_seconds", (double)engine->step_ns / 1e9);
    sl_apijson_i64(w, "requests", (int64_t)c->requests);
    sl_apijson_i64(w, "hits", (int64_t)c->hits);
    sl_apijson_i64(w, "covered", (int64_t)c->covered);
    sl_apijson_i64(w, "covered_late", (int64_t)c->covered_late);
    sl_apijson_i64(w, "misses", (int64_t)c->misses);
    sl_apijson_i64(w, "demand_bytes", (int64_t)c->demand_bytes);
    sl_apijson_i64(w, "guess_bytes", (int64_t)c->guess_bytes);
    sl_apijson_i64(w, "fill_bytes", (int64_t)c->fill_bytes);
    sl_apijson_i64(w, "evictions", (int64_t)c->evictions);
    sl_apijson_f64(w, "stall_seconds", (double)c->stall_ns / 1e9);
    sl_apijson_f64(w, "read_seconds", (double)c->read_ns / 1e9);
    sl_apijson_i64(w, "cache_bytes", (int64_t)c->slot_bytes);
    sl_apijson_i64(w, "cache_slots", (int64_t)c->n_slots);
    sl_apijson_i64(w, "cache_ready", (int64_t)c->n_ready);
    sl_jsonwriter_end_object(w);
}

void sl_apiexperts_write(const struct sl_apiexperts *e, struct sl_strbuf *out)
{
    struct sl_jsonwriter w;

    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_begin_object(&w);
    sl_apijson_bool(&w, "is_streaming", e->is_streaming);
    sl_apijson_i64(&w, "n_layers", e->n_layers);
    sl_apijson_i64(&w, "first_layer", e->first_layer);
    sl_apijson_i64(&w, "n_experts", e->n_experts);
    sl_apijson_i64(&w, "n_experts_used", e->n_used);
    write_layers(e, &w);
    sl_apijson_f64(&w, "seconds", (double)(e->now_ns / 1000000) / 1e3);
    sl_apijson_i64(&w, "requests_running", e->n_running);
    sl_apijson_i64(&w, "requests_waiting", e->n_waiting);
    write_counters(&e->engine, &w);
    sl_jsonwriter_end_object(&w);
    sl_apijson_hand_over(&w, out, SL_APIJSON_BODY, NULL);
}

static const struct sl_apiendpoint endpoints[] = {
    {
        .method = SL_HTTP_GET,
        .pattern = "/experts",
        .form = SL_APIFORM_LLAMACPP,
        .work = SL_APIWORK_EXPERTS,
    },
};

struct sl_apilist sl_apiexperts_list(void)
{
    return (struct sl_apilist){endpoints, sizeof(endpoints) / sizeof(endpoints[0])};
}
