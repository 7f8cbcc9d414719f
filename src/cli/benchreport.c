/* One table of figures; what the target would need is told apart for memory and disk. */
#include "cli/benchreport.h"

#include <stdio.h>

#include "cli/report.h"

#define SMALL_BYTES ((uint64_t)128 << 20) /* may be in caches */

const struct sl_benchreport_figure sl_benchreport_figures[SL_TARGET_FIGURES] = {
    [SL_TARGET_MAPPED] = {"mapped_bytes_per_s", "memory reads, the file", 1e-9, "GB/s", NULL},
    [SL_TARGET_HUGE] = {"huge_bytes_per_s", "memory reads, huge pages", 1e-9, "GB/s", NULL},
    [SL_TARGET_MEMORY] = {"memory_bytes_per_s", NULL, 1e-9, "GB/s", NULL},
    [SL_TARGET_DISK] = {"disk_bytes_per_s", "the disk reads", 1e-9, "GB/s",
                        "1 MiB at random places, directly"},
    [SL_TARGET_USED_BYTES] = {"disk_used_bytes_per_token", "read and used per token", 1e-6, "MB",
                              NULL},
    [SL_TARGET_MEMORY_LIMIT] = {"memory_limit_tokens_per_s", "memory allows", 1.0, "tokens/s",
                                "the better of both / bytes for a token"},
    [SL_TARGET_DISK_LIMIT] = {"disk_limit_tokens_per_s", "the disk allows", 1.0, "tokens/s",
                              "its speed / bytes read and used for a token"},
    [SL_TARGET_LIMIT] = {"limit_tokens_per_s", NULL, 1.0, "tokens/s", NULL},
    [SL_TARGET_REACHED] = {"tokens_per_s", "reached", 1.0, "tokens/s", NULL},
    [SL_TARGET_SHARE] = {"share", "share of what is allowed", 100.0, "%", NULL},
};

static void print_what(const struct sl_target *t)
{
    printf("%s: %s, %.1f MB of weights, %.1f MB of them for a token\n", t->path, t->model_type,
           (double)t->weight_bytes * 1e-6, (double)t->token_bytes * 1e-6);
    printf("%s, %u thread%s, %s, experts %s\n", t->cpu, t->n_threads,
           t->n_threads == 1 ? "" : "s", t->level, t->is_streaming ? "streaming" : "resident");
    printf("%u rounds of %u tokens, median [lowest .. highest]:\n\n", t->n_rounds, t->n_tokens);
}

static void print_figures(const struct sl_target *t)
{
    for (int f = 0; f < SL_TARGET_FIGURES; f++) {
        const struct sl_benchreport_figure *figure = &sl_benchreport_figures[f];
        const struct sl_spread *s = &t->of[f];

        if (figure->label && s->median > 0.0)
            printf("  %-24s %8.1f %-8s [%.1f .. %.1f]%s%s\n", figure->label,
                   s->median * figure->scale, figure->unit, s->low * figure->scale,
                   s->high * figure->scale, figure->remark ? "  " : "",
                   figure->remark ? figure->remark : "");
        else if (f == SL_TARGET_DISK && t->is_streaming)
            printf("  %-24s not known: %s\n", figure->label, t->disk_note);
    }
}

static double share_of(double part, double all)
{
    return all > 0.0 ? 100.0 * part / all : 0.0;
}

static void print_time(const struct sl_target *t)
{
    printf("\n  a token took %.3g ms: %.3g reading weights (%.0f %%), %.3g waiting for the disk "
           "(%.0f %%),\n  %.3g all else (%.0f %%)\n", t->token_s * 1e3, t->weights_s * 1e3,
           share_of(t->weights_s, t->token_s), t->stall_s * 1e3, share_of(t->stall_s, t->token_s),
           t->rest_s * 1e3, share_of(t->rest_s, t->token_s));
}

static void print_bound(const char *name, const struct sl_target_bound *b)
{
    printf("  %-7s %10.4g MB for a token / %.4g GB/s = %.3g ms\n", name, b->per_token * 1e-6,
           b->per_s * 1e-9, b->per_token / b->per_s * 1e3);
}

/* Streaming: which of the two it is that limits, and why. */
static void print_limiter(const struct sl_target *t)
{
    printf("\n");
    print_bound("memory", &t->memory);
    if (t->limiter == SL_TARGET_NOT_KNOWN)
        printf("  %-7s %10.4g MB for a token, at a speed that is not known\n", "disk",
               t->disk.per_token * 1e-6);
    else
        print_bound("disk", &t->disk);
    if (t->limiter != SL_TARGET_NOT_KNOWN)
        printf("  The longer one is what limits: %s.\n",
               t->limiter == SL_TARGET_BY_DISK ? "the disk" : "memory");
}

static void print_target(const struct sl_target *t)
{
    bool is_reading = t->disk.per_token > 0.0;

    printf("\n  %g tokens/s would need %.4g GB/s from memory, %.3g times what it gives here",
           t->target, t->memory.need_per_s * 1e-9, t->memory.times);
    if (is_reading)
        printf(",\n  and %.4g GB/s from the disk", t->disk.need_per_s * 1e-9);
    if (t->disk.times > 0.0)
        printf(", %.3g times what it gives", t->disk.times);
    if (t->limiter == SL_TARGET_BY_MEMORY)
        printf(";\n  at the share reached here, %.4g GB/s%s", t->memory.need_at_share * 1e-9,
               is_reading ? " from memory" : "");
    if (t->limiter == SL_TARGET_BY_DISK)
        printf(";\n  at the share reached here, %.4g GB/s from the disk",
               t->disk.need_at_share * 1e-9);
    printf(".\n");
    if (t->read_bytes < SMALL_BYTES)
        printf("  The weights are so few that caches may hold them: this says little about "
               "memory.\n");
    if (t->n_major_faults)
        printf("  %llu pages were read from the disk while decoding was timed: the file is not "
               "all in memory.\n", (unsigned long long)t->n_major_faults);
}

int sl_benchreport_text(const struct sl_target *t)
{
    print_what(t);
    print_figures(t);
    print_time(t);
    if (t->disk.per_token > 0.0)
        print_limiter(t);
    print_target(t);
    return sl_report_flush();
}

static void write_figure(struct sl_jsonwriter *w, const char *key, const struct sl_spread *s)
{
    if (s->median <= 0.0) {
        sl_jsonwriter_key(w, key);
        sl_jsonwriter_null(w);
        return;
    }
    sl_jsonwriter_member_object(w, key);
    sl_jsonwriter_member_f64(w, "low", s->low);
    sl_jsonwriter_member_f64(w, "median", s->median);
    sl_jsonwriter_member_f64(w, "high", s->high);
    sl_jsonwriter_end_object(w);
}

static void write_model(struct sl_jsonwriter *w, const struct sl_target *t)
{
    sl_jsonwriter_member_string(w, "path", t->path);
    sl_jsonwriter_member_string(w, "model_type", t->model_type);
    sl_jsonwriter_member_u64(w, "weight_bytes", t->weight_bytes);
    sl_jsonwriter_member_u64(w, "token_bytes", t->token_bytes);
    sl_jsonwriter_member_string(w, "cpu", t->cpu);
    sl_jsonwriter_member_string(w, "level", t->level);
    sl_jsonwriter_member_u64(w, "threads", t->n_threads);
    sl_jsonwriter_member_string(w, "experts", t->is_streaming ? "streaming" : "resident");
    sl_jsonwriter_member_u64(w, "rounds", t->n_rounds);
    sl_jsonwriter_member_u64(w, "tokens_per_round", t->n_tokens);
    sl_jsonwriter_member_u64(w, "read_bytes_per_pass", t->read_bytes);
}

static void write_target(struct sl_jsonwriter *w, const struct sl_target *t)
{
    static const char *const names[] = {
        [SL_TARGET_BY_MEMORY] = "memory",
        [SL_TARGET_BY_DISK] = "disk",
    };

    sl_jsonwriter_key(w, "limited_by");
    if (t->limiter == SL_TARGET_NOT_KNOWN)
        sl_jsonwriter_null(w);
    else
        sl_jsonwriter_string(w, names[t->limiter]);
    sl_jsonwriter_member_f64(w, "target_tokens_per_s", t->target);
    sl_jsonwriter_member_f64(w, "target_memory_bytes_per_s", t->memory.need_per_s);
    sl_jsonwriter_member_known(w, "target_memory_bytes_per_s_at_share",
                               t->memory.need_at_share);
    sl_jsonwriter_member_f64(w, "target_times_memory", t->memory.times);
    sl_jsonwriter_member_known(w, "target_disk_bytes_per_s", t->disk.need_per_s);
    sl_jsonwriter_member_known(w, "target_disk_bytes_per_s_at_share", t->disk.need_at_share);
    sl_jsonwriter_member_known(w, "target_times_disk", t->disk.times);
}

int sl_benchreport_json(const struct sl_target *t)
{
    struct sl_jsonwriter w;

    sl_report_begin_json(&w);
    write_model(&w, t);
    for (int f = 0; f < SL_TARGET_FIGURES; f++)
        write_figure(&w, sl_benchreport_figures[f].key, &t->of[f]);
    sl_jsonwriter_member_object(&w, "seconds_per_token");
    sl_jsonwriter_member_f64(&w, "all", t->token_s);
    sl_jsonwriter_member_f64(&w, "weights", t->weights_s);
    sl_jsonwriter_member_f64(&w, "stall", t->stall_s);
    sl_jsonwriter_member_f64(&w, "rest", t->rest_s);
    sl_jsonwriter_end_object(&w);
    write_target(&w, t);
    sl_jsonwriter_member_u64(&w, "major_faults", t->n_major_faults);
    return sl_report_end_json(&w);
}
