/*
 * Rates. Tokens per second of an answer count the tokens computed after the prompt, in
 * the time from the first draw to the last; GB/s are the weights multiplied for them.
 */
#include "cli/stats.h"

#include <stdio.h>
#include <string.h>

#include "cli/draft.h"
#include "cli/workerinfo.h"

uint64_t sl_stats_peak_bytes(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    unsigned long long kib = 0;
    char line[256];

    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
            break;
    (void)fclose(file); /* read only */
    return (uint64_t)kib * 1024;
}

static double per_second(double amount, uint64_t ns)
{
    return ns ? amount / ((double)ns * 1e-9) : 0.0;
}

static uint32_t n_computed(const struct sl_generate_stats *s)
{
    return s->n_prompt - s->n_reused;
}

static double percent(uint64_t part, uint64_t all)
{
    return all ? 100.0 * (double)part / (double)all : 0.0;
}

static uint64_t n_covered(const struct sluice_expert_counters *c)
{
    return c->covered + c->covered_late;
}

static uint64_t read_bytes(const struct sluice_expert_counters *c)
{
    return c->demand_bytes + c->guess_bytes + c->fill_bytes;
}

static double per_token(uint64_t bytes, const struct sl_generate_stats *s)
{
    return s->n_answer_steps ? (double)bytes / (double)s->n_answer_steps : 0.0;
}

/* "7.40 GB", "12.3 MB" */
static const char *amount(char *buf, size_t size, double bytes)
{
    if (bytes >= 1e9)
        (void)snprintf(buf, size, "%.2f GB", bytes * 1e-9);
    else
        (void)snprintf(buf, size, "%.1f MB", bytes * 1e-6);
    return buf;
}

static void print_experts(const struct sl_generate_stats *s)
{
    const struct sluice_expert_counters *c = &s->answer_experts;
    char text[32];

    fprintf(stderr, "[experts %.1f %% in memory, guesses covered %.0f %% of the others",
            percent(c->hits, c->requests), percent(n_covered(c), n_covered(c) + c->misses));
    fprintf(stderr, " | read %.1f MB per token at %.2f GB/s", per_token(read_bytes(c), s) * 1e-6,
            per_second((double)read_bytes(c) * 1e-9, c->read_ns));
    if (s->disk_bytes_per_s > 0.0)
        fprintf(stderr, " (disk %.2f)", s->disk_bytes_per_s * 1e-9);
    fprintf(stderr, " | per %s %.1f ms stalled, %.1f ms computing",
            s->drafts.count.n_drafts ? "step" : "token", (double)s->stall_ns.median * 1e-6,
            (double)s->compute_ns.median * 1e-6);
    fprintf(stderr, " (1 in 100: %.1f, %.1f)]\n", (double)s->stall_ns.p99 * 1e-6,
            (double)s->compute_ns.p99 * 1e-6);

    fprintf(stderr, "[guesses %llu begun, %llu used, %llu given up",
            (unsigned long long)c->guesses, (unsigned long long)c->guesses_used,
            (unsigned long long)c->guesses_expired);
    fprintf(stderr, " | cache %s, %llu of %llu slots filled",
            amount(text, sizeof(text), (double)c->slot_bytes), (unsigned long long)c->n_ready,
            (unsigned long long)c->n_slots);
    if (c->regions_given_back)
        fprintf(stderr, ", %llu regions given back", (unsigned long long)c->regions_given_back);
    if (c->n_failed)
        fprintf(stderr, ", %llu reads failed", (unsigned long long)c->n_failed);
    fprintf(stderr, " | prompt read %s]\n",
            amount(text, sizeof(text), (double)read_bytes(&s->prompt_experts)));
}

void sl_stats_print(const struct sl_generate_stats *s, const struct sluice_model_info *info,
                    uint64_t seed)
{
    char threads[SL_WORKERINFO_BYTES], copies[SL_WORKERINFO_BYTES];

    fprintf(stderr, "[prompt %u tokens", s->n_prompt);
    if (s->n_reused)
        fprintf(stderr, " (%u kept)", s->n_reused);
    fprintf(stderr, ", %.1f tokens/s", per_second(n_computed(s), s->prompt_ns));
    fprintf(stderr, " | answer %u tokens, %.1f tokens/s, %.1f GB/s of weights", s->n_answer,
            per_second((double)s->n_answer_steps, s->answer_ns),
            per_second((double)s->weight_bytes * 1e-9, s->answer_ns));
    fprintf(stderr, " | peak memory %.2f GB | %s | seed %llu",
            (double)sl_stats_peak_bytes() * 1e-9, sl_workerinfo_text(threads, info),
            (unsigned long long)seed);
    if (sl_workerinfo_copies_text(copies, info)[0])
        fprintf(stderr, " | %s", copies);
    if (s->stop != SL_STOP_END)
        fprintf(stderr, " | stopped: %s", sl_generate_stop_name(s->stop));
    fputs("]\n", stderr);
    sl_draft_print(s);
    if (s->is_streaming)
        print_experts(s);
}

static void write_spread(struct sl_jsonwriter *w, const char *key, struct sl_generate_spread ns)
{
    sl_jsonwriter_member_object(w, key);
    sl_jsonwriter_member_f64(w, "median", (double)ns.median * 1e-9);
    sl_jsonwriter_member_f64(w, "p99", (double)ns.p99 * 1e-9);
    sl_jsonwriter_end_object(w);
}

static void write_experts(struct sl_jsonwriter *w, const char *key,
                          const struct sluice_expert_counters *c)
{
    sl_jsonwriter_member_object(w, key);
    sl_jsonwriter_member_u64(w, "requests", c->requests);
    sl_jsonwriter_member_u64(w, "hits", c->hits);
    sl_jsonwriter_member_u64(w, "covered", c->covered);
    sl_jsonwriter_member_u64(w, "covered_late", c->covered_late);
    sl_jsonwriter_member_u64(w, "misses", c->misses);
    sl_jsonwriter_member_u64(w, "guesses", c->guesses);
    sl_jsonwriter_member_u64(w, "guesses_used", c->guesses_used);
    sl_jsonwriter_member_u64(w, "guesses_expired", c->guesses_expired);
    sl_jsonwriter_member_u64(w, "demand_bytes", c->demand_bytes);
    sl_jsonwriter_member_u64(w, "guess_bytes", c->guess_bytes);
    sl_jsonwriter_member_u64(w, "fill_bytes", c->fill_bytes);
    sl_jsonwriter_member_u64(w, "used_bytes", c->used_bytes);
    sl_jsonwriter_member_u64(w, "wasted_bytes", c->wasted_bytes);
    sl_jsonwriter_member_u64(w, "evictions", c->evictions);
    sl_jsonwriter_member_u64(w, "failed", c->n_failed);
    sl_jsonwriter_member_f64(w, "stall_seconds", (double)c->stall_ns * 1e-9);
    sl_jsonwriter_member_f64(w, "read_seconds", (double)c->read_ns * 1e-9);
    sl_jsonwriter_member_f64(w, "hit_share", percent(c->hits, c->requests) * 0.01);
    sl_jsonwriter_member_f64(w, "covered_share",
                             percent(n_covered(c), n_covered(c) + c->misses) * 0.01);
    sl_jsonwriter_member_f64(w, "read_bytes_per_s", per_second((double)read_bytes(c), c->read_ns));
    sl_jsonwriter_end_object(w);
}

static void write_cache(struct sl_jsonwriter *w, const struct sl_generate_stats *s)
{
    const struct sluice_expert_counters *c = &s->answer_experts;

    sl_jsonwriter_member_object(w, "experts");
    write_experts(w, "prompt", &s->prompt_experts);
    write_experts(w, "answer", c);
    sl_jsonwriter_member_f64(w, "read_bytes_per_token", per_token(read_bytes(c), s));
    sl_jsonwriter_member_f64(w, "used_bytes_per_token", per_token(c->used_bytes, s));
    sl_jsonwriter_member_known(w, "disk_bytes_per_s", s->disk_bytes_per_s);
    sl_jsonwriter_member_object(w, "cache");
    sl_jsonwriter_member_u64(w, "bytes", c->slot_bytes);
    sl_jsonwriter_member_u64(w, "slots", c->n_slots);
    sl_jsonwriter_member_u64(w, "ready", c->n_ready);
    sl_jsonwriter_member_u64(w, "regions", c->n_regions);
    sl_jsonwriter_member_u64(w, "regions_given_back", c->regions_given_back);
    sl_jsonwriter_end_object(w);
    sl_jsonwriter_end_object(w);
}

void sl_stats_write(struct sl_jsonwriter *w, const struct sl_generate_stats *s,
                    const struct sluice_model_info *info, uint64_t seed)
{
    sl_jsonwriter_member_string(w, "stop", sl_generate_stop_name(s->stop));
    sl_jsonwriter_member_u64(w, "prompt_tokens", s->n_prompt);
    sl_jsonwriter_member_u64(w, "prompt_tokens_reused", s->n_reused);
    sl_jsonwriter_member_f64(w, "prompt_seconds", (double)s->prompt_ns * 1e-9);
    sl_jsonwriter_member_f64(w, "prompt_tokens_per_s", per_second(n_computed(s), s->prompt_ns));
    sl_jsonwriter_member_u64(w, "answer_tokens", s->n_answer);
    sl_jsonwriter_member_f64(w, "answer_seconds", (double)s->answer_ns * 1e-9);
    sl_jsonwriter_member_f64(w, "answer_tokens_per_s",
                             per_second((double)s->n_answer_steps, s->answer_ns));
    sl_jsonwriter_member_f64(w, "weight_bytes_per_s",
                             per_second((double)s->weight_bytes, s->answer_ns));
    write_spread(w, "answer_stall_seconds", s->stall_ns);
    write_spread(w, "answer_compute_seconds", s->compute_ns);
    if (s->is_streaming)
        write_cache(w, s);
    sl_draft_write(w, s);
    sl_jsonwriter_member_u64(w, "peak_memory_bytes", sl_stats_peak_bytes());
    sl_workerinfo_write(w, info);
    sl_jsonwriter_member_u64(w, "seed", seed);
}
