/*
 * Rates. Tokens per second of an answer count the tokens computed after the prompt, in
 * the time from the first draw to the last; GB/s are the weights multiplied for them.
 */
#include "cli/stats.h"

#include <stdio.h>
#include <string.h>

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

void sl_stats_print(const struct sl_generate_stats *s, uint64_t seed)
{
    fprintf(stderr, "[prompt %u tokens", s->n_prompt);
    if (s->n_reused)
        fprintf(stderr, " (%u kept)", s->n_reused);
    fprintf(stderr, ", %.1f tokens/s", per_second(n_computed(s), s->prompt_ns));
    fprintf(stderr, " | answer %u tokens, %.1f tokens/s, %.1f GB/s of weights", s->n_answer,
            per_second((double)s->n_answer_steps, s->answer_ns),
            per_second((double)s->weight_bytes * 1e-9, s->answer_ns));
    fprintf(stderr, " | peak memory %.2f GB | seed %llu", (double)sl_stats_peak_bytes() * 1e-9,
            (unsigned long long)seed);
    if (s->stop != SL_STOP_END)
        fprintf(stderr, " | stopped: %s", sl_generate_stop_name(s->stop));
    fputs("]\n", stderr);
}

void sl_stats_write(struct sl_jsonwriter *w, const struct sl_generate_stats *s, uint64_t seed)
{
    sl_jsonwriter_key(w, "stop");
    sl_jsonwriter_string(w, sl_generate_stop_name(s->stop));
    sl_jsonwriter_key(w, "prompt_tokens");
    sl_jsonwriter_u64(w, s->n_prompt);
    sl_jsonwriter_key(w, "prompt_tokens_reused");
    sl_jsonwriter_u64(w, s->n_reused);
    sl_jsonwriter_key(w, "prompt_seconds");
    sl_jsonwriter_f64(w, (double)s->prompt_ns * 1e-9);
    sl_jsonwriter_key(w, "prompt_tokens_per_s");
    sl_jsonwriter_f64(w, per_second(n_computed(s), s->prompt_ns));
    sl_jsonwriter_key(w, "answer_tokens");
    sl_jsonwriter_u64(w, s->n_answer);
    sl_jsonwriter_key(w, "answer_seconds");
    sl_jsonwriter_f64(w, (double)s->answer_ns * 1e-9);
    sl_jsonwriter_key(w, "answer_tokens_per_s");
    sl_jsonwriter_f64(w, per_second((double)s->n_answer_steps, s->answer_ns));
    sl_jsonwriter_key(w, "weight_bytes_per_s");
    sl_jsonwriter_f64(w, per_second((double)s->weight_bytes, s->answer_ns));
    sl_jsonwriter_key(w, "peak_memory_bytes");
    sl_jsonwriter_u64(w, sl_stats_peak_bytes());
    sl_jsonwriter_key(w, "seed");
    sl_jsonwriter_u64(w, seed);
}
