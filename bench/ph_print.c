/* The lines that bench/phases answers with. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bench/bn_macs.h"
#include "bench/ph.h"

static void print_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        if (*text == '\n')
            printf("\\n");
        else if ((unsigned char)*text >= ' ')
            putchar(*text);
    }
    putchar('"');
}

void ph_print_opened(const struct phases *st, const struct args *args, double seconds)
{
    const struct sluice_model_info *info = &st->info;
    struct sluice_counters counters;
    struct bn_macs macs = { 0 };

    (void)bn_macs_count(&macs, args->model, info->n_experts_used, NULL); /* not known: zero */
    sluice_session_get_counters(st->session, &counters);
    printf("{\"phase\": \"open\", \"seconds\": %.4f, \"cpu\": \"%s\", \"n_threads\": %u, "
           "\"n_vocab\": %u, \"n_moe_layers\": %u, \"n_experts\": %u, "
           "\"n_experts_used\": %u, \"token_macs\": %" PRIu64 ", \"head_macs\": %" PRIu64 ", "
           "\"file_bytes\": %" PRIu64 ", \"weight_bytes\": %" PRIu64
           ", \"token_bytes\": %" PRIu64 ", \"is_streaming\": %s, \"ram_bytes\": %" PRIu64
           ", \"pinned_bytes\": %" PRIu64 ", \"locked_bytes\": %" PRIu64
           ", \"kv_bytes\": %" PRIu64 ", \"scratch_bytes\": %" PRIu64
           ", \"slot_bytes\": %" PRIu64 ", \"io\": ",
           seconds, info->cpu, info->n_threads, info->n_vocab, info->n_moe_layers, info->n_experts,
           info->n_experts_used, macs.token, macs.head, info->file_bytes,
           info->weight_bytes, info->token_bytes, info->is_streaming ? "true" : "false",
           info->ram_bytes, info->pinned_bytes, info->locked_bytes, counters.kv_bytes,
           counters.scratch_bytes, counters.experts.slot_bytes);
    print_string(info->io ? info->io : "");
    printf(", \"notes\": ");
    print_string(info->notes ? info->notes : "");
    printf("}\n");
    fflush(stdout);
}

void ph_take(const struct phases *st, struct moment *ret_moment)
{
    sluice_session_get_counters(st->session, &ret_moment->counters);
    (void)getrusage(RUSAGE_SELF, &ret_moment->usage); /* cannot fail for oneself */
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

static void print_experts(const struct sluice_expert_counters *a,
                          const struct sluice_expert_counters *b)
{
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        { "requests", b->requests - a->requests },
        { "hits", b->hits - a->hits },
        { "covered", b->covered - a->covered },
        { "covered_late", b->covered_late - a->covered_late },
        { "misses", b->misses - a->misses },
        { "guesses", b->guesses - a->guesses },
        { "guesses_used", b->guesses_used - a->guesses_used },
        { "guesses_expired", b->guesses_expired - a->guesses_expired },
        { "demand_bytes", b->demand_bytes - a->demand_bytes },
        { "guess_bytes", b->guess_bytes - a->guess_bytes },
        { "fill_bytes", b->fill_bytes - a->fill_bytes },
        { "used_bytes", b->used_bytes - a->used_bytes },
        { "wasted_bytes", b->wasted_bytes - a->wasted_bytes },
        { "evictions", b->evictions - a->evictions },
        { "stall_ns", b->stall_ns - a->stall_ns },
        { "n_failed", b->n_failed - a->n_failed },
        { "slot_bytes", b->slot_bytes },
        { "n_slots", b->n_slots },
        { "n_ready", b->n_ready },
        { "regions_given_back", b->regions_given_back },
    };

    printf("\"experts\": {");
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        printf("%s\"%s\": %" PRIu64, i ? ", " : "", fields[i].name, fields[i].value);
    printf("}");
}

void ph_print_phase(const struct phases *st, const struct ph_result *result,
                    const struct moment *a)
{
    struct moment b;
    double seconds = 0;

    ph_take(st, &b);
    for (uint32_t i = 0; i < result->n_calls; i++)
        seconds += (double)st->token_ns[i] * 1e-9;
    printf("{\"phase\": \"%s\", \"n_tokens\": %u, \"n_batch\": %u, \"seconds\": %.6f, "
           "\"tok_per_s\": %.4f, \"weight_bytes\": %" PRIu64 ", \"n_chosen\": %" PRIu64 ", "
           "\"user_s\": %.4f, \"system_s\": %.4f, \"major_faults\": %ld, "
           "\"minor_faults\": %ld, \"peak_bytes\": %" PRIu64 ", \"logits_hash\": \"%016" PRIx64
           "\", ",
           result->name, result->n_tokens, result->n_batch, seconds, result->n_tokens / seconds,
           b.counters.weight_bytes - a->counters.weight_bytes, st->n_chosen,
           seconds_of(b.usage.ru_utime) - seconds_of(a->usage.ru_utime),
           seconds_of(b.usage.ru_stime) - seconds_of(a->usage.ru_stime),
           b.usage.ru_majflt - a->usage.ru_majflt, b.usage.ru_minflt - a->usage.ru_minflt,
           (uint64_t)b.usage.ru_maxrss * 1024, result->hash);
    print_experts(&a->counters.experts, &b.counters.experts);
    printf(", \"call_ms\": [");
    for (uint32_t i = 0; i < result->n_calls; i++)
        printf("%s%.3f", i ? ", " : "", (double)st->token_ns[i] * 1e-6);
    printf("]}\n");
    fflush(stdout);
}
