/*
 * A round reads memory, then the disk, then decodes: this order, because machines change
 * from second to second and only what stands side by side may be divided. Memory is the
 * better of the file's mapping and huge pages, so that the share is never flattered.
 *
 * Where a token's time went: weights is the time that its bytes take at memory's speed,
 * stall what steps waited for the disk, rest all else (attention, routers, barriers, rows
 * that came slower than the loop).
 */
#include "cli/benchtarget.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/jsonwriter.h"
#include "cli/benchprint.h"
#include "cli/benchrun.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/outfile.h"
#include "cli/readspeed.h"
#include "cli/report.h"
#include "cli/roofline.h"
#include "loader/diskspeed.h"
#include "model/engine.h"

#define ROUNDS_DEFAULT 5u
#define TOKENS_MIN 8u
#define TOKENS_MAX 256u /* by default */
#define FIRST_TOKENS 16u
#define DISK_READ_BYTES (1u << 20) /* as the expert cache reads */
#define DISK_DEPTH 8u
#define DISK_SECONDS 0.5
#define DISK_FILE_BYTES_MIN ((uint64_t)8 << 20) /* fewer say nothing */
#define SMALL_BYTES ((uint64_t)128 << 20)       /* may be in caches */

struct round {
    double mapped, huge, disk, used_bytes, tokens_per_s;
};

struct measure {
    const struct sl_target_opts *opts;
    struct sl_opened opened;
    struct sl_benchrun run;
    struct sl_readspeed reads;
    struct sl_target t;
    struct round *rounds; /* owned */
    uint64_t ns, stall_ns; /* of all rounds */
};

static uint64_t major_faults(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_majflt : 0;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The three of them; values are put in order. */
static struct sl_target_spread spread_of(double *values, uint32_t n)
{
    qsort(values, n, sizeof(*values), compare_doubles);
    return (struct sl_target_spread){
        .low = values[0],
        .median = (values[(n - 1) / 2] + values[n / 2]) / 2.0,
        .high = values[n - 1],
    };
}

static double read_disk(struct measure *m)
{
    struct sl_mapping *map = sl_readspeed_file(m->opened.model);
    double rate = 0.0;
    struct sl_diag diag;

    if (sl_mapping_bytes(map) < DISK_FILE_BYTES_MIN)
        (void)snprintf(m->t.disk_note, sizeof(m->t.disk_note), "the file is too small");
    else if (sl_diskspeed_measure(sl_mapping_fd(map), sl_mapping_bytes(map), DISK_READ_BYTES,
                                  DISK_DEPTH, DISK_SECONDS, &rate, &diag) < 0)
        (void)snprintf(m->t.disk_note, sizeof(m->t.disk_note), "%.127s", diag.text);
    return rate;
}

static int decode(struct measure *m, uint32_t n, uint64_t *ret_ns,
                  struct sluice_expert_counters *ret_used)
{
    struct sluice_counters before, after;
    int r = sl_benchrun_set_depth(&m->run, 0);

    sluice_session_get_counters(m->run.session, &before);
    if (r == 0)
        r = sl_benchrun_pass(&m->run, 0, n, ret_ns);
    sluice_session_get_counters(m->run.session, &after);
    *ret_used = (struct sluice_expert_counters){
        .stall_ns = after.experts.stall_ns - before.experts.stall_ns,
        .used_bytes = after.experts.used_bytes - before.experts.used_bytes,
    };
    return r == 0 && sl_interrupt_is_set() ? -ECANCELED : r;
}

static int run_round(struct measure *m, struct round *round)
{
    struct sluice_expert_counters used;
    uint64_t ns = 1, faults;
    int r;

    round->mapped = sl_readspeed_mapped(&m->reads);
    round->huge = sl_readspeed_huge(&m->reads);
    round->disk = m->t.is_streaming ? read_disk(m) : 0.0;
    faults = major_faults();
    r = decode(m, m->t.n_tokens, &ns, &used);
    m->t.n_major_faults += major_faults() - faults;
    round->tokens_per_s = m->t.n_tokens / ((double)ns * 1e-9);
    round->used_bytes = (double)used.used_bytes / m->t.n_tokens;
    m->ns += ns;
    m->stall_ns += used.stall_ns;
    return r;
}

static void say(const struct measure *m, const char *what, uint32_t i)
{
    if (m->opts->has_progress && i)
        fprintf(stderr, "sluice bench: %s %u/%u\n", what, i, m->t.n_rounds);
    else if (m->opts->has_progress)
        fprintf(stderr, "sluice bench: %s\n", what);
}

/* A first look that says how many tokens make a round, a round that does not count, and
 * those that do. */
static int run_rounds(struct measure *m)
{
    struct sluice_expert_counters used;
    uint64_t ns = 1;
    double per_s;
    int r;

    say(m, "warm-up", 0);
    sl_readspeed_touch(&m->reads);
    r = decode(m, m->t.n_tokens < FIRST_TOKENS ? m->t.n_tokens : FIRST_TOKENS, &ns, &used);
    if (r == 0 && m->opts->n_tokens == 0) {
        r = decode(m, TOKENS_MIN, &ns, &used);
        per_s = TOKENS_MIN / ((double)ns * 1e-9);
        m->t.n_tokens = per_s < TOKENS_MIN ? TOKENS_MIN
                        : per_s > TOKENS_MAX ? TOKENS_MAX : (uint32_t)per_s;
    }
    if (r == 0)
        r = run_round(m, &m->rounds[0]);
    m->ns = m->stall_ns = m->t.n_major_faults = 0;
    for (uint32_t i = 0; i < m->t.n_rounds && r == 0; i++) {
        say(m, "round", i + 1);
        r = run_round(m, &m->rounds[i]);
    }
    return r;
}

static double better(const struct round *round)
{
    return round->mapped > round->huge ? round->mapped : round->huge;
}

/* Tokens per second that the disk allows in a round; 0: not known, or nothing was read. */
static double disk_limit(const struct round *round)
{
    return round->disk > 0.0 && round->used_bytes > 0.0 ? round->disk / round->used_bytes : 0.0;
}

static double limit(const struct measure *m, const struct round *round)
{
    double memory = better(round) / (double)m->t.token_bytes, disk = disk_limit(round);

    return disk > 0.0 && disk < memory ? disk : memory;
}

/* All spreads: one value of each round at a time, through `values`. */
static void summarise(struct measure *m, double *values)
{
    struct sl_target *t = &m->t;
    uint32_t n = t->n_rounds, n_known = 0;

#define SPREAD(field, value) \
    for (uint32_t i = 0; i < n; i++) { \
        const struct round *round = &m->rounds[i]; \
        values[i] = (value); \
    } \
    t->field = spread_of(values, n)
    SPREAD(mapped, round->mapped);
    SPREAD(huge, round->huge);
    SPREAD(memory, better(round));
    SPREAD(memory_limit, better(round) / (double)t->token_bytes);
    SPREAD(used_bytes, round->used_bytes);
    SPREAD(limit, limit(m, round));
    SPREAD(reached, round->tokens_per_s);
    SPREAD(share, round->tokens_per_s / limit(m, round));
#undef SPREAD
    for (uint32_t i = 0; i < n; i++) /* a round in which the disk failed says nothing of it */
        if (m->rounds[i].disk > 0.0)
            values[n_known++] = m->rounds[i].disk;
    if (n_known)
        t->disk = spread_of(values, n_known);
    n_known = 0;
    for (uint32_t i = 0; i < n; i++)
        if (disk_limit(&m->rounds[i]) > 0.0)
            values[n_known++] = disk_limit(&m->rounds[i]);
    if (n_known)
        t->disk_limit = spread_of(values, n_known);

    t->token_s = (double)m->ns * 1e-9 / ((double)n * t->n_tokens);
    t->stall_s = (double)m->stall_ns * 1e-9 / ((double)n * t->n_tokens);
    t->stall_s = t->stall_s < t->token_s ? t->stall_s : t->token_s;
    t->weights_s = (double)t->token_bytes / t->memory.median;
    if (t->weights_s > t->token_s - t->stall_s)
        t->weights_s = t->token_s - t->stall_s; /* faster than the loop */
    t->rest_s = t->token_s - t->stall_s - t->weights_s;
}

static void set_model(struct measure *m)
{
    const struct sluice_model_info *info = &m->opened.info;

    m->t.path = info->path;
    m->t.level = info->cpu;
    m->t.is_streaming = info->is_streaming;
    m->t.n_threads = info->n_threads;
    m->t.weight_bytes = info->weight_bytes;
    m->t.token_bytes = info->token_bytes;
    m->t.target = m->opts->target;
    sl_benchprint_cpu(m->t.cpu, sizeof(m->t.cpu));
    sl_benchrun_model_type(m->t.model_type, m->opened.model);
}

static void print_spread(const char *label, const struct sl_target_spread *s, double scale,
                         const char *unit, const char *remark)
{
    printf("  %-24s %8.1f %-8s [%.1f .. %.1f]%s%s\n", label, s->median * scale, unit,
           s->low * scale, s->high * scale, *remark ? "  " : "", remark);
}

static void print_what(const struct sl_target *t)
{
    printf("%s: %s, %.1f MB of weights, %.1f MB of them for a token\n", t->path, t->model_type,
           (double)t->weight_bytes * 1e-6, (double)t->token_bytes * 1e-6);
    printf("%s, %u thread%s, %s, experts %s\n", t->cpu, t->n_threads,
           t->n_threads == 1 ? "" : "s", t->level, t->is_streaming ? "streaming" : "resident");
    printf("%u rounds of %u tokens, median [lowest .. highest]:\n\n", t->n_rounds, t->n_tokens);
}

static void print_limits(const struct sl_target *t)
{
    if (t->mapped.median > 0.0)
        print_spread("memory reads, the file", &t->mapped, 1e-9, "GB/s", "");
    print_spread("memory reads, huge pages", &t->huge, 1e-9, "GB/s", "");
    if (t->disk.median > 0.0)
        print_spread("the disk reads", &t->disk, 1e-9, "GB/s", "1 MiB at random places, directly");
    else if (t->is_streaming)
        printf("  %-24s not known: %s\n", "the disk reads", t->disk_note);
    print_spread("memory allows", &t->memory_limit, 1.0, "tokens/s",
                 "the better of both / bytes for a token");
    if (t->disk_limit.median > 0.0)
        print_spread("the disk allows", &t->disk_limit, 1.0, "tokens/s",
                     "its speed / bytes read and used for a token");
    print_spread("reached", &t->reached, 1.0, "tokens/s", "");
    print_spread("share of what is allowed", &t->share, 100.0, "%", "");
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

static void print_target(const struct sl_target *t)
{
    double need = t->target * (double)t->token_bytes;

    printf("\n  %g tokens/s would need %.4g GB/s from memory, %.3g times what it gives here;\n"
           "  at the share reached here, %.4g GB/s.\n", t->target, need * 1e-9,
           need / t->memory.median, need * 1e-9 / t->share.median);
    if (t->is_streaming && t->used_bytes.median > 0.0)
        printf("  Streaming as here it would need %.3g GB/s from the disk.\n",
               t->target * t->used_bytes.median * 1e-9);
    if (t->read_bytes < SMALL_BYTES)
        printf("  The weights are so few that caches may hold them: this says little about "
               "memory.\n");
    if (t->n_major_faults)
        printf("  %llu pages were read from the disk while decoding was timed: the file is not "
               "all in memory.\n", (unsigned long long)t->n_major_faults);
}

/* null if it is not known. */
static void write_spread(struct sl_jsonwriter *w, const char *key,
                         const struct sl_target_spread *s)
{
    sl_jsonwriter_key(w, key);
    if (s->median <= 0.0) {
        sl_jsonwriter_null(w);
        return;
    }
    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_member_f64(w, "low", s->low);
    sl_jsonwriter_member_f64(w, "median", s->median);
    sl_jsonwriter_member_f64(w, "high", s->high);
    sl_jsonwriter_end_object(w);
}

static int print_json(const struct sl_target *t)
{
    struct sl_jsonwriter w;
    double need = t->target * (double)t->token_bytes;

    sl_report_begin_json(&w);
    sl_jsonwriter_member_string(&w, "path", t->path);
    sl_jsonwriter_member_string(&w, "model_type", t->model_type);
    sl_jsonwriter_member_u64(&w, "weight_bytes", t->weight_bytes);
    sl_jsonwriter_member_u64(&w, "token_bytes", t->token_bytes);
    sl_jsonwriter_member_string(&w, "cpu", t->cpu);
    sl_jsonwriter_member_string(&w, "level", t->level);
    sl_jsonwriter_member_u64(&w, "threads", t->n_threads);
    sl_jsonwriter_member_string(&w, "experts", t->is_streaming ? "streaming" : "resident");
    sl_jsonwriter_member_u64(&w, "rounds", t->n_rounds);
    sl_jsonwriter_member_u64(&w, "tokens_per_round", t->n_tokens);
    sl_jsonwriter_member_u64(&w, "read_bytes_per_pass", t->read_bytes);
    write_spread(&w, "mapped_bytes_per_s", &t->mapped);
    write_spread(&w, "huge_bytes_per_s", &t->huge);
    write_spread(&w, "memory_bytes_per_s", &t->memory);
    write_spread(&w, "disk_bytes_per_s", &t->disk);
    write_spread(&w, "disk_used_bytes_per_token", &t->used_bytes);
    write_spread(&w, "memory_limit_tokens_per_s", &t->memory_limit);
    write_spread(&w, "disk_limit_tokens_per_s", &t->disk_limit);
    write_spread(&w, "limit_tokens_per_s", &t->limit);
    write_spread(&w, "tokens_per_s", &t->reached);
    write_spread(&w, "share", &t->share);
    sl_jsonwriter_member_object(&w, "seconds_per_token");
    sl_jsonwriter_member_f64(&w, "all", t->token_s);
    sl_jsonwriter_member_f64(&w, "weights", t->weights_s);
    sl_jsonwriter_member_f64(&w, "stall", t->stall_s);
    sl_jsonwriter_member_f64(&w, "rest", t->rest_s);
    sl_jsonwriter_end_object(&w);
    sl_jsonwriter_member_f64(&w, "target_tokens_per_s", t->target);
    sl_jsonwriter_member_f64(&w, "target_memory_bytes_per_s", need);
    sl_jsonwriter_member_f64(&w, "target_memory_bytes_per_s_at_share", need / t->share.median);
    sl_jsonwriter_member_f64(&w, "target_times_memory", need / t->memory.median);
    sl_jsonwriter_member_u64(&w, "major_faults", t->n_major_faults);
    return sl_report_end_json(&w);
}

static int print_text(const struct sl_target *t)
{
    print_what(t);
    print_limits(t);
    print_time(t);
    print_target(t);
    return sl_report_flush();
}

static int measure_all(struct measure *m)
{
    double *values = NULL;
    int r, code = SL_EXIT_OK;

    m->rounds = calloc(m->t.n_rounds, sizeof(*m->rounds));
    values = calloc(m->t.n_rounds, sizeof(*values));
    sl_interrupt_set_session(m->opened.session);
    r = m->rounds && values ? run_rounds(m) : -ENOMEM;
    sl_interrupt_set_session(NULL);
    if (!m->rounds || !values)
        code = sl_report_error("not enough memory");
    else if (r < 0)
        code = sl_opened_step_code(&m->opened, r);
    else
        summarise(m, values);
    free(values);
    free(m->rounds);
    return code;
}

static int write_html(struct sl_outfile *html, const struct sl_target *t)
{
    struct sl_diag diag;

    if (!html->file)
        return SL_EXIT_OK;
    sl_roofline_write(html->file, t);
    return sl_outfile_commit(html, &diag) < 0 ? sl_report_error("%s", diag.text) : SL_EXIT_OK;
}

static int run_opened(struct measure *m, size_t n_read, struct sl_outfile *html)
{
    int code, r = sl_benchrun_init(&m->run, &m->opened, 1);

    if (r < 0)
        return sl_report_error("not enough memory");
    set_model(m);
    r = sl_readspeed_init(&m->reads, m->opened.model, n_read);
    m->t.read_bytes = m->reads.bytes;
    if (r < 0)
        code = sl_report_error("not enough memory to measure memory with");
    else
        code = measure_all(m);
    if (code == SL_EXIT_OK)
        code = write_html(html, &m->t);
    if (code == SL_EXIT_OK)
        code = sl_report_code(m->opts->is_json ? print_json(&m->t) : print_text(&m->t));
    sl_readspeed_done(&m->reads);
    sl_benchrun_done(&m->run);
    return code;
}

int sl_benchtarget_run(struct sl_model_args *model, const struct sl_target_opts *opts)
{
    struct measure m = {.opts = opts};
    struct sluice_session_opts session = {.n_seq_max = 1, .n_logits = 1, .n_chunk = 1};
    struct sl_outfile html = {0};
    struct sl_diag diag;
    size_t n_read;
    int code;

    m.t.n_rounds = opts->n_rounds ? opts->n_rounds : ROUNDS_DEFAULT;
    m.t.n_tokens = opts->n_tokens ? opts->n_tokens : TOKENS_MAX;
    session.n_ctx = m.t.n_tokens;
    if (opts->html_path && sl_outfile_open(&html, opts->html_path, &diag) < 0)
        return sl_report_error("%s", diag.text);
    n_read = sl_readspeed_bytes(&model->opts.ram_bytes);
    code = sl_opened_open(&m.opened, model, &session);
    if (code == SL_EXIT_OK)
        code = run_opened(&m, n_read, &html);
    else if (code == SL_EXIT_FAILED)
        sl_readspeed_explain(n_read, model->opts.ram_bytes);
    code = sl_opened_close(&m.opened, code);
    sl_outfile_done(&html);
    return code;
}
