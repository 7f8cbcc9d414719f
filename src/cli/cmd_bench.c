/*
 * sluice bench: two questions. "How fast is my machine?" (MODEL alone, --target, --json,
 * --html) is benchtarget.c's. With llama-bench's options, -m among them, it is llama-bench:
 * a row for each combination of what the options list, in the same order.
 *
 * A setting is what a model and a session are made for; the tests of a setting (depths,
 * prompts, answers) share both.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/benchopts.h"
#include "cli/benchprint.h"
#include "cli/benchrun.h"
#include "cli/benchtarget.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/readspeed.h"
#include "cli/report.h"
#include "model/engine.h"

enum {
    KEY_TARGET = 512,
    KEY_JSON,
    KEY_HTML,
};

#define N_READS 3 /* passes over memory before a test, and after it */
#define READER_LEFT (-1) /* beside exit codes: nobody reads stdout any more, which is no failure */

struct bench_args {
    struct sl_model_args model;
    struct sl_bench_args bench;
    struct sl_target_opts target;
    bool is_target;
};

struct setting {
    const char *path;
    uint32_t n_batch, n_ubatch, n_threads, kv;
};

struct bench {
    struct bench_args *args;
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

static double parse_target(const char *arg, struct argp_state *state)
{
    char *end;
    double value = strtod(arg, &end);

    if (end == arg || *end || !(value >= 0.001 && value <= 1e6))
        argp_error(state, "--target: tokens per second expected, found \"%s\"", arg);
    return value;
}

static void set_default(struct sl_bench_list *list, uint32_t value)
{
    if (list->n == 0)
        list->values[list->n++] = value;
}

static void check_target(struct bench_args *args, struct argp_state *state)
{
    struct sl_bench_args *bench = &args->bench;

    if (bench->strict_option)
        argp_error(state, "--target, --json and --html measure decoding by themselves; leave "
                          "out --%s", bench->strict_option);
    if (bench->n_models > 1 || bench->threads.n > 1 || bench->gen.n > 1)
        argp_error(state, "--target, --json and --html take one value each of -m, -n and -t");
    if (bench->gen.n && bench->gen.values[0] == 0)
        argp_error(state, "-n: at least 1");
}

static void check_types(struct bench_args *args, struct argp_state *state)
{
    struct sl_bench_args *bench = &args->bench;

    set_default(&bench->kv_k, SLUICE_KV_F16);
    set_default(&bench->kv_v, SLUICE_KV_F16);
    for (uint32_t i = 0; i < bench->kv_k.n * bench->kv_v.n; i++)
        if (bench->kv_k.values[i / bench->kv_v.n] == bench->kv_v.values[i % bench->kv_v.n])
            return;
    argp_error(state, "-ctk, -ctv: keys and values have the same type here; give both");
}

static void check(struct bench_args *args, struct argp_state *state)
{
    struct sl_bench_args *bench = &args->bench;

    if (args->model.path && bench->n_models == SL_BENCH_LIST_MAX)
        argp_error(state, "too many models");
    if (args->model.path)
        bench->models[bench->n_models++] = args->model.path;
    if (bench->n_models == 0)
        argp_error(state, "no model given");
    if (!bench->table_option)
        args->is_target = true;
    if (args->is_target)
        check_target(args, state);
    else
        check_types(args, state);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct bench_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->bench;
        state->child_inputs[1] = &args->model;
        break;
    case KEY_TARGET: args->target.target = parse_target(arg, state); break;
    case KEY_JSON: args->target.is_json = true; break;
    case KEY_HTML: args->target.html_path = arg; break;
    case ARGP_KEY_END: check(args, state); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    if (key == KEY_TARGET || key == KEY_JSON || key == KEY_HTML)
        args->is_target = true;
    return 0;
}

static const struct argp_option options[] = {
    {"target", KEY_TARGET, "TOKENS", 0,
     "What it would take to decode so many tokens per second (112)", 0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {"html", KEY_HTML, "FILE", 0, "Write a page with pictures too", 0},
    {0},
};

static const struct argp_child children[] = {
    {&sl_options_bench, 0, "Tests, as llama-bench has them (lists as 1,2 and 1-8 and 1-16*2):", 1},
    {&sl_options_engine, 0, NULL, 0},
    {0},
};

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL",
    .doc = "Measure how fast this machine decodes and how fast its memory would allow; or, with "
           "options of llama-bench, its tests.\v"
           "With MODEL alone, --target, --json or --html the answer is for people: memory's speed "
           "measured in turn with decoding (-n tokens, -r rounds, -t threads). With -m or any "
           "other option of the second group, prompts and decoding are timed as llama-bench does, "
           "and the table is its own. Options of llama-bench that mean nothing on a CPU are taken "
           "and named on stderr. Usage counts of experts are neither used nor kept.",
    .children = children,
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

static void set_time(char *out, size_t size)
{
    time_t now = time(NULL);
    struct tm tm;

    out[0] = '\0';
    if (gmtime_r(&now, &tm))
        (void)strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void say(const struct bench *b, const char *what, uint32_t i, uint32_t n)
{
    if (!b->args->bench.has_progress)
        return;
    fprintf(stderr, "sluice bench: benchmark %u/%u: %s", b->i_test, b->n_tests, what);
    if (n)
        fprintf(stderr, " %u/%u", i, n);
    fputc('\n', stderr);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void read_memory(struct bench *b, double *rates)
{
    for (int i = 0; i < N_READS; i++) {
        double mapped = sl_readspeed_mapped(&b->reads), huge = sl_readspeed_huge(&b->reads);

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
static int time_test(struct bench *b, uint32_t n_prompt, uint32_t n_gen, uint32_t depth)
{
    const struct sl_bench_args *bench = &b->args->bench;
    uint64_t ignored;
    int r = 0;

    if (!bench->has_no_warmup) {
        say(b, "warm-up run", 0, 0);
        r = sl_benchrun_set_depth(&b->run, depth);
        if (r == 0)
            r = sl_benchrun_pass(&b->run, n_prompt, n_gen > 0, &ignored);
    }
    for (uint32_t i = 0; i < bench->n_reps && r == 0; i++) {
        if (depth)
            say(b, "depth run", i + 1, bench->n_reps);
        r = sl_benchrun_set_depth(&b->run, depth);
        say(b, "timed run", i + 1, bench->n_reps);
        if (r == 0)
            r = sl_benchrun_pass(&b->run, n_prompt, n_gen, &b->samples_ns[i]);
        if (r == 0 && sl_interrupt_is_set())
            r = -ECANCELED;
    }
    return r;
}

/* An exit code, or READER_LEFT. */
static int run_test(struct bench *b, uint32_t n_prompt, uint32_t n_gen, uint32_t depth)
{
    double rates[2 * N_READS];
    int r;

    b->i_test++;
    say(b, "starting", 0, 0);
    wait_seconds(b->args->bench.delay_s);
    set_time(b->row.time, sizeof(b->row.time));
    b->row.n_prompt = n_prompt;
    b->row.n_gen = n_gen;
    b->row.n_depth = depth;
    if (b->reads.bytes)
        read_memory(b, rates);
    r = sl_interrupt_is_set() ? -ECANCELED : time_test(b, n_prompt, n_gen, depth);
    if (r < 0)
        return sl_opened_step_code(&b->opened, r);
    if (b->reads.bytes) {
        read_memory(b, rates + N_READS);
        qsort(rates, 2 * N_READS, sizeof(rates[0]), compare_doubles);
        b->row.read_bytes_per_s = (rates[N_READS - 1] + rates[N_READS]) / 2.0;
    }
    sl_benchprint_row(&b->out, &b->row);
    sl_benchprint_row(&b->err, &b->row);
    (void)fflush(stderr);
    return flush();
}

static int run_tests(struct bench *b)
{
    const struct sl_bench_args *bench = &b->args->bench;
    int code = SL_EXIT_OK;

    for (uint32_t d = 0; d < bench->depth.n; d++) {
        uint32_t depth = bench->depth.values[d];

        for (uint32_t i = 0; i < bench->prompt.n && code == 0; i++)
            if (bench->prompt.values[i])
                code = run_test(b, bench->prompt.values[i], 0, depth);
        for (uint32_t i = 0; i < bench->gen.n && code == 0; i++)
            if (bench->gen.values[i])
                code = run_test(b, 0, bench->gen.values[i], depth);
        for (uint32_t i = 0; i < bench->pg_prompt.n && code == 0; i++)
            if (bench->pg_prompt.values[i] + bench->pg_gen.values[i])
                code = run_test(b, bench->pg_prompt.values[i], bench->pg_gen.values[i], depth);
    }
    return code;
}

static void set_row(struct bench *b, const struct setting *setting)
{
    const struct sluice_model_info *info = &b->opened.info;

    sl_benchrun_model_type(b->model_type, b->opened.model);
    b->row = (struct sl_bench_row){
        .model_path = setting->path,
        .model_type = b->model_type,
        .kv = sl_benchopts_kv_name(setting->kv),
        .model_bytes = info->weight_bytes,
        .n_params = sl_benchrun_n_params(b->opened.model),
        .n_batch = setting->n_batch,
        .n_ubatch = setting->n_ubatch,
        .n_threads = info->n_threads,
        .samples_ns = b->samples_ns,
        .n_samples = b->args->bench.n_reps,
        .token_bytes = info->token_bytes,
    };
}

static int run_setting(struct bench *b, const struct setting *setting)
{
    uint32_t n_ctx = longest(&b->args->bench);
    uint32_t n_chunk = setting->n_ubatch < setting->n_batch ? setting->n_ubatch
                                                            : setting->n_batch;
    struct sluice_session_opts opts = {.n_ctx = n_ctx, .n_seq_max = 1, .n_logits = 1,
                                       .n_chunk = n_chunk < n_ctx ? n_chunk : n_ctx,
                                       .kv = (enum sluice_kv)setting->kv};
    struct sl_model_args model = b->args->model;
    size_t n_read = 0;
    int r;

    model.path = setting->path;
    model.opts.n_threads = setting->n_threads;
    if (b->args->bench.is_extended)
        n_read = sl_readspeed_bytes(&model.opts.ram_bytes);
    r = sl_opened_open(&b->opened, &model, &opts);
    if (r == SL_EXIT_FAILED)
        sl_readspeed_explain(n_read, model.opts.ram_bytes);
    if (r) {
        ; /* it was reported */
    } else if (sl_benchrun_init(&b->run, &b->opened, setting->n_batch) < 0) {
        r = sl_report_error("not enough memory");
    } else if (n_read && sl_readspeed_init(&b->reads, b->opened.model, n_read) < 0) {
        r = sl_report_error("not enough memory to measure memory with");
    } else {
        set_row(b, setting);
        sl_interrupt_set_session(b->opened.session);
        sl_readspeed_touch(&b->reads);
        r = run_tests(b);
        sl_interrupt_set_session(NULL);
    }
    sl_readspeed_done(&b->reads);
    sl_benchrun_done(&b->run);
    return sl_opened_close(&b->opened, r);
}

static int run_settings(struct bench *b)
{
    const struct sl_bench_args *a = &b->args->bench;
    int code = SL_EXIT_OK;

    for (uint32_t m = 0; m < a->n_models; m++)
        for (uint32_t i = 0; i < a->batch.n; i++)
            for (uint32_t u = 0; u < a->ubatch.n; u++)
                for (uint32_t k = 0; k < a->kv_k.n * a->kv_v.n; k++)
                    for (uint32_t t = 0; t < a->threads.n && code == 0; t++) {
                        const struct setting setting = {
                            .path = a->models[m],
                            .n_batch = a->batch.values[i],
                            .n_ubatch = a->ubatch.values[u],
                            .n_threads = a->threads.values[t],
                            .kv = a->kv_k.values[k / a->kv_v.n],
                        };

                        if (setting.kv == a->kv_v.values[k % a->kv_v.n])
                            code = run_setting(b, &setting);
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

/* Fill in what was not given, and count. */
static void plan(struct bench *b)
{
    struct sl_bench_args *a = &b->args->bench;
    uint32_t n_types = 0;

    set_default(&a->prompt, 512);
    set_default(&a->gen, 128);
    set_default(&a->depth, 0);
    set_default(&a->batch, 2048);
    set_default(&a->ubatch, 512);
    set_default(&a->threads, 0);
    a->n_reps = a->n_reps ? a->n_reps : 5;
    for (uint32_t k = 0; k < a->kv_k.n * a->kv_v.n; k++)
        n_types += a->kv_k.values[k / a->kv_v.n] == a->kv_v.values[k % a->kv_v.n];
    if (n_types < a->kv_k.n * a->kv_v.n)
        sl_report_note("keys and values have the same type here; other pairs of -ctk and -ctv "
                       "are left out");
    if (a->ignored[0])
        sl_report_note("these options change nothing on a CPU: %s", a->ignored);
    b->n_tests = (count_nonzero(&a->prompt, NULL) + count_nonzero(&a->gen, NULL) +
                  count_nonzero(&a->pg_prompt, &a->pg_gen)) *
                 a->depth.n * a->n_models * a->batch.n * a->ubatch.n * n_types * a->threads.n;
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

static int run_table(struct bench_args *args)
{
    struct bench b = {.args = args};
    int code;

    plan(&b);
    b.samples_ns = calloc(args->bench.n_reps, sizeof(*b.samples_ns));
    if (!b.samples_ns)
        return sl_report_error("not enough memory");
    set_printer(&b.out, &args->bench, stdout, args->bench.out);
    set_printer(&b.err, &args->bench, stderr, args->bench.err);
    code = flush();
    if (code == SL_EXIT_OK)
        code = run_settings(&b);
    if (code == SL_EXIT_OK) {
        sl_benchprint_end(&b.out);
        sl_benchprint_end(&b.err);
    }
    free(b.samples_ns);
    return code == READER_LEFT ? SL_EXIT_OK : code;
}

int sl_cmd_bench(int argc, char **argv)
{
    struct bench_args *args = calloc(1, sizeof(*args));
    int code;

    if (!args)
        return sl_report_error("not enough memory");
    args->bench.out = SL_BENCH_MD;
    args->model.is_path_optional = true; /* -m names models too */
    args->target.target = 112.0;
    args->model.no_profile = true; /* random ids would spoil what real use taught */
    argp_parse(&argp, argc, argv, ARGP_LONG_ONLY, NULL, args);
    if (args->is_target) {
        args->model.path = args->bench.models[0];
        args->model.opts.n_threads = args->bench.threads.n ? args->bench.threads.values[0] : 0;
        args->target.n_tokens = args->bench.gen.n ? args->bench.gen.values[0] : 0;
        args->target.n_rounds = args->bench.n_reps;
        args->target.has_progress = args->bench.has_progress;
        code = sl_benchtarget_run(&args->model, &args->target);
    } else {
        code = run_table(args);
    }
    free(args);
    return code;
}
