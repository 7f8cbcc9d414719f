/* Names and help of the first group are llama.cpp's, to the byte; n_tokens_max is a counter
 * there. Seconds and bytes are the units, as Prometheus wants them. */
#include "server/servemetrics.h"

#include <math.h>

static void write_one(struct sl_strbuf *out, const char *type, const char *name, const char *help,
                      double value)
{
    sl_strbuf_add_fmt(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
    if (value < 1e15 && value == floor(value))
        sl_strbuf_add_fmt(out, "%s %.0f\n", name, value);
    else
        sl_strbuf_add_fmt(out, "%s %.9g\n", name, value);
}

static void write_counter(struct sl_strbuf *out, const char *name, const char *help, double value)
{
    write_one(out, "counter", name, help, value);
}

static void write_gauge(struct sl_strbuf *out, const char *name, const char *help, double value)
{
    write_one(out, "gauge", name, help, value);
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static void write_llamacpp(const struct sl_sched_counters *c, struct sl_strbuf *out)
{
    write_counter(out, "llamacpp:prompt_tokens_total",
                  "Number of prompt tokens processed, excluding cached tokens",
                  (double)c->n_prompt_tok);
    write_counter(out, "llamacpp:prompt_tokens_cached_total",
                  "Number of prompt tokens reused from the cache", (double)c->n_cached_tok);
    write_counter(out, "llamacpp:prompt_seconds_total", "Total time spent processing prompts",
                  c->prompt_ms / 1e3);
    write_counter(out, "llamacpp:tokens_predicted_total",
                  "Number of generation tokens processed", (double)c->n_predicted_tok);
    write_counter(out, "llamacpp:tokens_predicted_seconds_total",
                  "Total time spent generating tokens", c->predicted_ms / 1e3);
    write_counter(out, "llamacpp:n_decode_total",
                  "Total number of llama_decode() calls, excluding speculative decoding and "
                  "multimodal decoding", (double)c->n_steps);
    write_counter(out, "llamacpp:n_tokens_max",
                  "Largest observed sequence length (prompt + generation)", (double)c->n_tok_max);
    write_counter(out, "llamacpp:spec_decode_num_draft_tokens_total",
                  "Speculative: Total draft tokens generated", 0);
    write_counter(out, "llamacpp:spec_decode_num_accepted_tokens_total",
                  "Speculative: Total draft tokens accepted by the target model", 0);
    write_counter(out, "llamacpp:spec_decode_num_drafts_total",
                  "Speculative: Total speculative decoding verification steps", 0);
    write_gauge(out, "llamacpp:prompt_tokens_seconds", "Average prompt throughput in tokens/s",
                ratio((double)c->n_prompt_tok, c->prompt_ms / 1e3));
    write_gauge(out, "llamacpp:predicted_tokens_seconds",
                "Average generation throughput in tokens/s",
                ratio((double)c->n_predicted_tok, c->predicted_ms / 1e3));
    write_gauge(out, "llamacpp:requests_processing", "Number of requests processing",
                c->n_running);
    write_gauge(out, "llamacpp:requests_deferred", "Number of requests deferred", c->n_waiting);
    write_gauge(out, "llamacpp:n_busy_slots_per_decode",
                "Average number of busy slots per llama_decode() call",
                ratio((double)c->n_slot_steps, (double)c->n_steps));
}

static void write_sched(const struct sl_sched_counters *c, struct sl_strbuf *out)
{
    write_counter(out, "sluice_requests_total", "Requests to generate that came in",
                  (double)c->n_requests);
    write_counter(out, "sluice_requests_cancelled_total", "Of these, whose clients went away",
                  (double)c->n_cancelled);
    write_counter(out, "sluice_requests_failed_total", "Of these, that ended in an error",
                  (double)c->n_failed);
    write_counter(out, "sluice_late_steps_total",
                  "Steps over the time bound while somebody waited for a token",
                  (double)c->n_late_steps);
    write_counter(out, "sluice_set_aside_total",
                  "Times that a request had to wait for room in the context",
                  (double)c->n_set_aside);
    write_gauge(out, "sluice_tokens_max", "Largest sequence so far (prompt and reply)",
                (double)c->n_tok_max);
    write_gauge(out, "sluice_prefix_cache_sequences", "Sequences kept for later prompts",
                c->n_kept);
    write_gauge(out, "sluice_prefix_cache_tokens",
                "Tokens of them, what they share counted each time", (double)c->n_kept_tok);
}

static void write_engine(const struct sluice_counters *c, struct sl_strbuf *out)
{
    write_counter(out, "sluice_steps_total", "Steps computed", (double)c->n_steps);
    write_counter(out, "sluice_step_tokens_total", "Tokens computed", (double)c->n_tokens);
    write_counter(out, "sluice_step_seconds_total", "Time in steps", (double)c->step_ns / 1e9);
    write_counter(out, "sluice_weight_bytes_total", "Weights multiplied",
                  (double)c->weight_bytes);
    write_gauge(out, "sluice_context_bytes", "Memory reserved for sequences",
                (double)c->kv_bytes);
    write_gauge(out, "sluice_scratch_bytes", "Memory to compute in", (double)c->scratch_bytes);
}

static void write_experts(const struct sluice_expert_counters *c, struct sl_strbuf *out)
{
    write_counter(out, "sluice_expert_requests_total", "Experts that steps asked for",
                  (double)c->requests);
    write_counter(out, "sluice_expert_hits_total", "Of these, in memory", (double)c->hits);
    write_counter(out, "sluice_expert_covered_total", "Of these, read ahead by a guess",
                  (double)c->covered);
    write_counter(out, "sluice_expert_covered_late_total", "Of these, not yet whole",
                  (double)c->covered_late);
    write_counter(out, "sluice_expert_misses_total", "Of these, to be read",
                  (double)c->misses);
    write_counter(out, "sluice_expert_guesses_total", "Experts guessed", (double)c->guesses);
    write_counter(out, "sluice_expert_guesses_used_total", "Of these, that came true",
                  (double)c->guesses_used);
    write_counter(out, "sluice_expert_guesses_expired_total", "Of these, dropped",
                  (double)c->guesses_expired);
    write_counter(out, "sluice_expert_demand_bytes_total", "Read because it was asked for",
                  (double)c->demand_bytes);
    write_counter(out, "sluice_expert_guess_bytes_total", "Read because it was guessed",
                  (double)c->guess_bytes);
    write_counter(out, "sluice_expert_fill_bytes_total", "Read because the disk was idle",
                  (double)c->fill_bytes);
    write_counter(out, "sluice_expert_wasted_bytes_total", "Read, given up and never used",
                  (double)c->wasted_bytes);
    write_counter(out, "sluice_expert_evictions_total", "Experts given up",
                  (double)c->evictions);
    write_counter(out, "sluice_expert_failed_total", "Experts that could not be read",
                  (double)c->n_failed);
    write_counter(out, "sluice_expert_stall_seconds_total", "Time that steps waited for reads",
                  (double)c->stall_ns / 1e9);
    write_counter(out, "sluice_expert_read_seconds_total", "Time with reads in flight",
                  (double)c->read_ns / 1e9);
    write_gauge(out, "sluice_expert_cache_bytes", "Memory for experts", (double)c->slot_bytes);
    write_gauge(out, "sluice_expert_cache_slots", "Experts that it has room for",
                (double)c->n_slots);
    write_gauge(out, "sluice_expert_cache_ready", "Experts in it", (double)c->n_ready);
}

void sl_servemetrics_write(const struct sl_sched_counters *sched,
                           const struct sluice_counters *engine, struct sl_strbuf *out)
{
    write_llamacpp(sched, out);
    write_sched(sched, out);
    write_engine(engine, out);
    write_experts(&engine->experts, out);
}
