/*
 * Settings are the outer loops, in llama-bench's order, so that a model is opened once for
 * all tests that can share it. After Ctrl-C or an error what was printed is ended as a whole
 * table is, as far as its format needs that to be read.
 */
#include "cli/benchtable.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/benchrun.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/readspeed.h"
#include "cli/report.h"
#include "cli/spread.h"
#include "cli/units.h"

#define N_READS 3 /* passes over memory before a test, and after it */
#define READER_LEFT (-1) /* beside exit codes: nobody reads stdout any more, which is no failure */

struct setting {
    const char *path;
    uint32_t n_batch, n_ubatch, n_threads, kv;
};

struct table {
    const struct sl_model_args *model;
    const struct sl_bench_args *args;
    struct sl_benchprint out, err;
    uint32_t i_test, n_tests; /* for progress */
    uint64_t *samples_ns;     /* [n_reps] */
    /* of the setting */
    struct sl_opened opened;
    struct sl_benchrun run;
    struct sl_readspeed reads; /* with --extended */
    struct sl_bench_row row;
    char model_type[SL_BENCHRUN_TYPE_BYTES];
};

/* The greatest number of positions that a test needs. */
static uint32_t longest(const struct sl_bench_args *bench)
{
    uint32_t most = 1, depth = 0;

    for (uint32_t i = 0; i < bench->prompt.n; i++)
        most = bench->prompt.values[i] > most ? bench->prompt.values[i] : most;
    for (uint32_t i = 0; i < bench->gen.n; i++)
        most = bench->gen.values[i] > most ? bench->gen.values[i] : most;
    for (uint32_t i = 0; i < bench->pg_prompt.n; i++)
        if (bench->pg_prompt.values[i] + bench->pg_gen.values[i] > most)
            most = bench->pg_prompt.values[i] + bench->pg_gen.values[i];
    for (uint32_t i = 0; i < bench->depth.n; i++)
        depth = bench->depth.values[i] > depth ? bench->depth.values[i] : depth;
    return most + depth;
}

static void say(const struct table *t, const char *what, uint32_t i, uint32_t n)
{
    if (!t->args->has_progress)
        return;
    fprintf(stderr, "sluice bench: benchmark %u/%u: %s", t->i_test, t->n_tests, what);
    if (n)
        fprintf(stderr, " %u/%u", i, n);
    fputc('\n', stderr);
}

static void read_memory(struct table *t, double *rates)
{
    for (int i = 0; i < N_READS; i++) {
        double mapped = sl_readspeed_mapped(&t->reads), huge = sl_readspeed_huge(&t->reads);

        rates[i] = mapped > huge ? mapped : huge;
    }
}

static int flush(void)
{
    int r = sl_report_flush();

    return r == -EPIPE ? READER_LEFT : r < 0 ? SL_EXIT_FAILED : SL_EXIT_OK;
}

/* Ctrl-C is the same to it as the end of the wait. */
static void wait_seconds(uint32_t seconds)
{
    if (seconds)
        (void)poll(NULL, 0, (int)seconds * 1000);
}

/* 0, or the errors of sluice_decode. */
static int time_test(struct table *t, uint32_t n_prompt, uint32_t n_gen, uint32_t depth)
{
    const struct sl_bench_args *bench = t->args;
    uint64_t ignored;
    int r = 0;

    if (!bench->has_no_warmup) {
        say(t, "warm-up run", 0, 0);
        r = sl_benchrun_set_depth(&t->run, depth);
        if (r == 0)
            r = sl_benchrun_pass(&t->run, n_prompt, n_gen > 0, &ignored);
    }
    for (uint32_t i = 0; i < bench->n_reps && r == 0; i++) {
        if (depth)
            say(t, "depth run", i + 1, bench->n_reps);
        r = sl_benchrun_set_depth(&t->run, depth);
        say(t, "timed run", i + 1, bench->n_reps);
        if (r == 0)
            r = sl_benchrun_pass(&t->run, n_prompt, n_gen, &t->samples_ns[i]);
        if (r == 0 && sl_interrupt_is_set())
            r = -ECANCELED;
    }
    return r;
}

/* An exit code, or READER_LEFT. */
static int run_test(struct table *t, uint32_t n_prompt, uint32_t n_gen, uint32_t depth)
{
    double rates[2 * N_READS];
    int r;

    t->i_test++;
    say(t, "starting", 0, 0);
    wait_seconds(t->args->delay_s);
    sl_units_now(t->row.time);
    t->row.n_prompt = n_prompt;
    t->row.n_gen = n_gen;
    t->row.n_depth = depth;
    if (t->reads.bytes)
        read_memory(t, rates);
    r = sl_interrupt_is_set() ? -ECANCELED : time_test(t, n_prompt, n_gen, depth);
    if (r < 0)
        return sl_opened_step_code(&t->opened, r);
    if (t->reads.bytes) {
        read_memory(t, rates + N_READS);
        t->row.read_bytes_per_s = sl_spread_of(rates, 2 * N_READS).median;
    }
    sl_benchprint_row(&t->out, &t->row);
    sl_benchprint_row(&t->err, &t->row);
    (void)fflush(stderr);
    return flush();
}

static int run_tests(struct table *t)
{
    const struct sl_bench_args *bench = t->args;
    int code = SL_EXIT_OK;

    for (uint32_t d = 0; d < bench->depth.n; d++) {
        uint32_t depth = bench->depth.values[d];

        for (uint32_t i = 0; i < bench->prompt.n && code == 0; i++)
            if (bench->prompt.values[i])
                code = run_test(t, bench->prompt.values[i], 0, depth);
        for (uint32_t i = 0; i < bench->gen.n && code == 0; i++)
            if (bench->gen.values[i])
                code = run_test(t, 0, bench->gen.values[i], depth);
        for (uint32_t i = 0; i < bench->pg_prompt.n && code == 0; i++)
            if (bench->pg_prompt.values[i] + bench->pg_gen.values[i])
                code = run_test(t, bench->pg_prompt.values[i], bench->pg_gen.values[i], depth);
    }
    return code;
}

static void set_row(struct table *t, const struct setting *setting)
{
    const struct sluice_model_info *info = &t->opened.info;

    sl_benchrun_model_type(t->model_type, t->opened.model);
    t->row = (struct sl_bench_row){
        .model_path = setting->path,
        .model_type = t->model_type,
        .kv = sl_benchopts_kv_name(setting->kv),
        .model_bytes = info->weight_bytes,
        .n_params = sl_benchrun_n_params(t->opened.model),
        .n_batch = setting->n_batch,
        .n_ubatch = setting->n_ubatch,
        .n_threads = info->n_threads,
        .samples_ns = t->samples_ns,
        .n_samples = t->args->n_reps,
        .token_bytes = info->token_bytes,
    };
}

static int run_opened(struct table *t, const struct setting *setting, size_t n_read)
{
    int code;

    if (sl_benchrun_init(&t->run, &t->opened, setting->n_batch) < 0)
        return sl_report_error("not enough memory");
    if (n_read && sl_readspeed_init_model(&t->reads, t->opened.model, n_read) < 0)
        return sl_report_error("not enough memory to measure memory with");
    set_row(t, setting);
    sl_interrupt_set_session(t->opened.session);
    sl_readspeed_touch(&t->reads);
    code = run_tests(t);
    sl_interrupt_set_session(NULL);
    return code;
}

static int run_setting(struct table *t, const struct setting *setting)
{
    uint32_t n_ctx = longest(t->args);
    uint32_t n_chunk = setting->n_ubatch < setting->n_batch ? setting->n_ubatch
                                                            : setting->n_batch;
    struct sluice_session_opts opts = {.n_ctx = n_ctx, .n_seq_max = 1, .n_logits = 1,
                                       .n_chunk = n_chunk < n_ctx ? n_chunk : n_ctx,
                                       .kv = (enum sluice_kv)setting->kv};
    struct sl_model_args model = *t->model;
    size_t n_read = 0;
    int code;

    model.path = setting->path;
    model.opts.n_threads = setting->n_threads;
    if (t->args->is_extended)
        n_read = sl_readspeed_bytes(&model.opts.ram_bytes);
    code = sl_opened_open(&t->opened, &model, &opts);
    if (code == SL_EXIT_OK)
        code = run_opened(t, setting, n_read);
    else if (code == SL_EXIT_FAILED)
        sl_readspeed_explain(n_read, model.opts.ram_bytes);
    sl_readspeed_done(&t->reads);
    sl_benchrun_done(&t->run);
    return sl_opened_close(&t->opened, code);
}

static int run_settings(struct table *t)
{
    const struct sl_bench_args *a = t->args;
    int code = SL_EXIT_OK;

    for (uint32_t m = 0; m < a->n_models; m++)
        for (uint32_t i = 0; i < a->batch.n; i++)
            for (uint32_t u = 0; u < a->ubatch.n; u++)
                for (uint32_t k = 0; k < a->kv.n; k++)
                    for (uint32_t n = 0; n < a->threads.n && code == 0; n++) {
                        const struct setting setting = {
                            .path = a->models[m],
                            .n_batch = a->batch.values[i],
                            .n_ubatch = a->ubatch.values[u],
                            .n_threads = a->threads.values[n],
                            .kv = a->kv.values[k],
                        };

                        code = run_setting(t, &setting);
                    }
    return code;
}

static uint32_t count_nonzero(const struct sl_bench_list *list, const struct sl_bench_list *plus)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < list->n; i++)
        n += list->values[i] || (plus && plus->values[i]);
    return n;
}

static uint32_t count_tests(const struct sl_bench_args *a)
{
    uint32_t n = count_nonzero(&a->prompt, NULL) + count_nonzero(&a->gen, NULL) +
                 count_nonzero(&a->pg_prompt, &a->pg_gen);

    return n * a->depth.n * a->n_models * a->batch.n * a->ubatch.n * a->kv.n * a->threads.n;
}

static void print_notes(const struct sl_bench_args *a)
{
    if (a->kv.n < a->kv_k.n * a->kv_v.n)
        sl_report_note("keys and values have the same type here; other pairs of -ctk and -ctv "
                       "are left out");
    if (a->ignored[0])
        sl_report_note("these options change nothing on a CPU: %s", a->ignored);
}

static bool differs(const struct sl_bench_list *list, uint32_t usual)
{
    return list->n > 1 || list->values[0] != usual;
}

static void set_printer(struct sl_benchprint *p, const struct sl_bench_args *a, FILE *file,
                        enum sl_bench_format format)
{
    *p = (struct sl_benchprint){.file = file, .format = format, .is_extended = a->is_extended};
    memcpy(p->given, a->given, sizeof(p->given));
    for (int i = 0; i < SL_BENCH_FIELDS; i++)
        p->is_shown[i] = a->given[i] && strcmp(a->given[i], sl_benchprint_usual(
                                                                (enum sl_bench_field)i)) != 0;
    p->is_shown[SL_BENCH_N_GPU_LAYERS] = false; /* nor does llama-bench on a CPU */
    p->is_shown[SL_BENCH_N_THREADS] = true;
    p->is_shown[SL_BENCH_N_BATCH] = differs(&a->batch, 2048);
    p->is_shown[SL_BENCH_N_UBATCH] = differs(&a->ubatch, 512);
    p->is_shown[SL_BENCH_TYPE_K] = differs(&a->kv_k, SLUICE_KV_F16);
    p->is_shown[SL_BENCH_TYPE_V] = differs(&a->kv_v, SLUICE_KV_F16);
    sl_benchprint_cpu(p->cpu, sizeof(p->cpu));
    sl_benchprint_begin(p);
}

int sl_benchtable_run(const struct sl_model_args *model, const struct sl_bench_args *bench)
{
    struct table t = {.model = model, .args = bench, .n_tests = count_tests(bench)};
    int code;

    t.samples_ns = calloc(bench->n_reps, sizeof(*t.samples_ns));
    if (!t.samples_ns)
        return sl_report_error("not enough memory");
    print_notes(bench);
    set_printer(&t.out, bench, stdout, bench->out);
    set_printer(&t.err, bench, stderr, bench->err);
    code = flush();
    if (code == SL_EXIT_OK)
        code = run_settings(&t);
    if (code != READER_LEFT)
        sl_benchprint_end(&t.out, code == SL_EXIT_OK);
    sl_benchprint_end(&t.err, code == SL_EXIT_OK || code == READER_LEFT);
    free(t.samples_ns);
    return code == READER_LEFT ? SL_EXIT_OK : code;
}
