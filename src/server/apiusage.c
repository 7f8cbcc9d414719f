/*
 * The rates of prediction leave out the first token: reading the prompt has made it.
 */
#include "server/apiusage.h"

#include "server/apijson.h"

void sl_apiusage_write(const struct sl_gencounts *counts, struct sl_jsonwriter *w)
{
    sl_apijson_object(w, "usage");
    sl_apijson_i64(w, "completion_tokens", counts->n_predicted_tok);
    sl_apijson_i64(w, "prompt_tokens", counts->n_prompt_tok);
    sl_apijson_i64(w, "total_tokens", (int64_t)counts->n_prompt_tok + counts->n_predicted_tok);
    sl_apijson_object(w, "prompt_tokens_details");
    sl_apijson_i64(w, "cached_tokens", counts->n_cached_tok);
    sl_jsonwriter_end_object(w);
    if (counts->n_reasoning_tok) {
        sl_apijson_object(w, "completion_tokens_details");
        sl_apijson_i64(w, "reasoning_tokens", counts->n_reasoning_tok);
        sl_jsonwriter_end_object(w);
    }
    sl_jsonwriter_end_object(w);
}

static double ratio(double a, double b)
{
    return b > 0.0 ? a / b : 0.0;
}

void sl_apiusage_write_timings(const struct sl_gencounts *counts, struct sl_jsonwriter *w)
{
    double n_read = (double)counts->n_prompt_tok - counts->n_cached_tok;
    double n_timed = counts->n_predicted_tok ? counts->n_predicted_tok - 1.0 : 0.0;

    sl_apijson_object(w, "timings");
    sl_apijson_i64(w, "cache_n", counts->n_cached_tok);
    sl_apijson_i64(w, "prompt_n", (int64_t)counts->n_prompt_tok - counts->n_cached_tok);
    sl_apijson_f64(w, "prompt_ms", counts->prompt_ms);
    sl_apijson_f64(w, "prompt_per_token_ms", ratio(counts->prompt_ms, n_read));
    sl_apijson_f64(w, "prompt_per_second", ratio(1e3, counts->prompt_ms) * n_read);
    sl_apijson_i64(w, "predicted_n", counts->n_predicted_tok);
    sl_apijson_f64(w, "predicted_ms", counts->predicted_ms);
    sl_apijson_f64(w, "predicted_per_token_ms", ratio(counts->predicted_ms, n_timed));
    sl_apijson_f64(w, "predicted_per_second", ratio(1e3, counts->predicted_ms) * n_timed);
    sl_jsonwriter_end_object(w);
}

void sl_apiusage_write_progress(const struct sl_genevent *event, struct sl_jsonwriter *w)
{
    sl_apijson_object(w, "prompt_progress");
    sl_apijson_i64(w, "total", event->progress.total);
    sl_apijson_i64(w, "cache", event->progress.cached);
    sl_apijson_i64(w, "processed", event->progress.processed);
    sl_apijson_i64(w, "time_ms", (int64_t)event->progress.ms);
    sl_jsonwriter_end_object(w);
}
