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
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/outfile.h"
#include "cli/benchprint.h"
#include "cli/benchreport.h"
#include "cli/benchrun.h"
#include "cli/command.h"
#include "cli/interrupt.h"
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

struct measure {
    const struct sl_target_opts *opts;
    struct sl_opened opened;
    struct sl_benchrun run;
    struct sl_readspeed reads;
    struct sl_target t;
    double *values[SL_TARGET_FIGURES]; /* of each round; NAN: not known. In one block */
    uint64_t ns, stall_ns; /* of all rounds */
};

static uint64_t major_faults(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_majflt : 0;
}

/* Bytes per second, NAN if it cannot be known. */
static double read_disk(struct measure *m)
{
    struct sl_mapping *map = sl_readspeed_file(m->opened.model);
    double rate = NAN;
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

/* What follows from the figures that were measured. fmax and fmin pass over what is not
 * known. */
static void find_limits(const struct measure *m, double *of)
{
    of[SL_TARGET_MEMORY] = fmax(of[SL_TARGET_MAPPED], of[SL_TARGET_HUGE]);
    of[SL_TARGET_MEMORY_LIMIT] = of[SL_TARGET_MEMORY] / (double)m->t.token_bytes;
    of[SL_TARGET_DISK_LIMIT] = NAN;
    if (of[SL_TARGET_USED_BYTES] > 0.0)
        of[SL_TARGET_DISK_LIMIT] = of[SL_TARGET_DISK] / of[SL_TARGET_USED_BYTES];
    of[SL_TARGET_LIMIT] = fmin(of[SL_TARGET_MEMORY_LIMIT], of[SL_TARGET_DISK_LIMIT]);
    of[SL_TARGET_SHARE] = of[SL_TARGET_REACHED] / of[SL_TARGET_LIMIT];
}

static int run_round(struct measure *m, uint32_t i)
{
    struct sluice_expert_counters used;
    double of[SL_TARGET_FIGURES], mapped = sl_readspeed_mapped(&m->reads);
    uint64_t ns = 1, faults;
    int r;

    of[SL_TARGET_MAPPED] = mapped > 0.0 ? mapped : NAN;
    of[SL_TARGET_HUGE] = sl_readspeed_huge(&m->reads);
    of[SL_TARGET_DISK] = m->t.is_streaming ? read_disk(m) : NAN;
    faults = major_faults();
    r = decode(m, m->t.n_tokens, &ns, &used);
    m->t.n_major_faults += major_faults() - faults;
    of[SL_TARGET_USED_BYTES] = (double)used.used_bytes / m->t.n_tokens;
    of[SL_TARGET_REACHED] = m->t.n_tokens / ((double)ns * 1e-9);
    find_limits(m, of);
    for (int f = 0; f < SL_TARGET_FIGURES; f++)
        m->values[f][i] = of[f];
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
        r = run_round(m, 0);
    m->ns = m->stall_ns = m->t.n_major_faults = 0;
    for (uint32_t i = 0; i < m->t.n_rounds && r == 0; i++) {
        say(m, "round", i + 1);
        r = run_round(m, i);
    }
    return r;
}

/* Of the values that are known; puts them in order. */
static struct sl_spread spread_of_known(double *values, uint32_t n)
{
    uint32_t n_known = 0;

    for (uint32_t i = 0; i < n; i++)
        if (!isnan(values[i]))
            values[n_known++] = values[i];
    return n_known ? sl_spread_of(values, n_known) : (struct sl_spread){0};
}

static struct sl_target_bound bound(const struct sl_target *t, double per_s, double per_token)
{
    double need_per_s = t->target * per_token;

    return (struct sl_target_bound){
        .per_s = per_s,
        .per_token = per_token,
        .need_per_s = need_per_s,
        .times = per_s > 0.0 ? need_per_s / per_s : 0.0,
    };
}

/* Needs all spreads. The share says how much of its limiter decoding gets out, and nothing of
 * the other one. */
static void find_bounds(struct sl_target *t)
{
    struct sl_target_bound *memory = &t->memory, *disk = &t->disk;
    double share = t->of[SL_TARGET_SHARE].median;

    *memory = bound(t, t->of[SL_TARGET_MEMORY].median, (double)t->token_bytes);
    *disk = bound(t, t->of[SL_TARGET_DISK].median, t->of[SL_TARGET_USED_BYTES].median);
    if (disk->per_token > 0.0 && disk->per_s <= 0.0) {
        t->limiter = SL_TARGET_NOT_KNOWN;
    } else if (disk->times > memory->times) {
        t->limiter = SL_TARGET_BY_DISK;
        disk->need_at_share = disk->need_per_s / share;
    } else {
        t->limiter = SL_TARGET_BY_MEMORY;
        memory->need_at_share = memory->need_per_s / share;
    }
}

static void summarise(struct measure *m)
{
    struct sl_target *t = &m->t;
    double n = (double)t->n_rounds * t->n_tokens;

    for (int f = 0; f < SL_TARGET_FIGURES; f++)
        t->of[f] = spread_of_known(m->values[f], t->n_rounds);
    find_bounds(t);
    t->token_s = (double)m->ns * 1e-9 / n;
    t->stall_s = fmin((double)m->stall_ns * 1e-9 / n, t->token_s);
    t->weights_s = fmin(t->memory.per_token / t->memory.per_s, /* or faster than the loop */
                        t->token_s - t->stall_s);
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

static int measure_all(struct measure *m)
{
    double *block = calloc((size_t)SL_TARGET_FIGURES * m->t.n_rounds, sizeof(*block));
    int r;

    if (!block)
        return sl_report_error("not enough memory");
    for (int f = 0; f < SL_TARGET_FIGURES; f++)
        m->values[f] = block + (size_t)f * m->t.n_rounds;
    sl_interrupt_set_session(m->opened.session);
    r = run_rounds(m);
    sl_interrupt_set_session(NULL);
    if (r == 0)
        summarise(m);
    free(block);
    return sl_opened_step_code(&m->opened, r);
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
    r = sl_readspeed_init_model(&m->reads, m->opened.model, n_read);
    m->t.read_bytes = m->reads.bytes;
    if (r < 0)
        code = sl_report_error("not enough memory to measure memory with");
    else
        code = measure_all(m);
    if (code == SL_EXIT_OK)
        code = write_html(html, &m->t);
    if (code == SL_EXIT_OK)
        code = sl_report_code(m->opts->is_json ? sl_benchreport_json(&m->t)
                                               : sl_benchreport_text(&m->t));
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
