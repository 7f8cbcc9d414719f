/*
 * One table of fields, one list of texts per row, and a function per format. JSON and SQL
 * are written by hand because layout and spaces count here; strings in JSON are the JSON
 * writer's.
 */
#include "cli/benchprint.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/jsonwriter.h"
#include "sluice.h"

#define NUMBER_BYTES 48

enum kind {
    TEXT = 0,
    INT,
    BOOL,
    REAL,
};

struct field {
    const char *name;
    enum kind kind;
    const char *usual; /* NULL: a test's own */
    const char *label; /* md: heading, NULL: the name; and width, negative: to the left */
    int width;         /* 0: the name's, at least 10 */
};

static const struct field fields[SL_BENCH_FIELDS] = {
    [SL_BENCH_BUILD_COMMIT] = {.name = "build_commit"},
    [SL_BENCH_BUILD_NUMBER] = {.name = "build_number", .kind = INT},
    [SL_BENCH_CPU_INFO] = {.name = "cpu_info"},
    [SL_BENCH_GPU_INFO] = {.name = "gpu_info", .usual = ""},
    [SL_BENCH_BACKENDS] = {.name = "backends", .usual = "CPU"},
    [SL_BENCH_MODEL_FILENAME] = {.name = "model_filename"},
    [SL_BENCH_MODEL_TYPE] = {.name = "model_type"},
    [SL_BENCH_MODEL_SIZE] = {.name = "model_size", .kind = INT},
    [SL_BENCH_MODEL_N_PARAMS] = {.name = "model_n_params", .kind = INT},
    [SL_BENCH_N_BATCH] = {.name = "n_batch", .kind = INT, .width = 7},
    [SL_BENCH_N_UBATCH] = {.name = "n_ubatch", .kind = INT, .width = 8},
    [SL_BENCH_N_THREADS] = {.name = "n_threads", .kind = INT, .label = "threads", .width = 7},
    [SL_BENCH_CPU_MASK] = {.name = "cpu_mask", .usual = "0x0"},
    [SL_BENCH_CPU_STRICT] = {.name = "cpu_strict", .kind = BOOL, .usual = "0"},
    [SL_BENCH_POLL] = {.name = "poll", .kind = INT, .usual = "50"},
    [SL_BENCH_TYPE_K] = {.name = "type_k", .width = 6},
    [SL_BENCH_TYPE_V] = {.name = "type_v", .width = 6},
    [SL_BENCH_N_GPU_LAYERS] = {.name = "n_gpu_layers", .kind = INT, .usual = "-1"},
    [SL_BENCH_N_CPU_MOE] = {.name = "n_cpu_moe", .kind = INT, .usual = "0"},
    [SL_BENCH_SPLIT_MODE] = {.name = "split_mode", .usual = "layer", .label = "sm", .width = 6},
    [SL_BENCH_MAIN_GPU] = {.name = "main_gpu", .kind = INT, .usual = "0"},
    [SL_BENCH_NO_KV_OFFLOAD] = {.name = "no_kv_offload", .kind = BOOL, .usual = "0",
                                .label = "nkvo"},
    [SL_BENCH_FLASH_ATTN] = {.name = "flash_attn", .kind = INT, .usual = "-1", .label = "fa",
                             .width = 3},
    [SL_BENCH_DEVICES] = {.name = "devices", .usual = "auto", .label = "dev", .width = -12},
    [SL_BENCH_TENSOR_SPLIT] = {.name = "tensor_split", .usual = "0.00", .label = "ts"},
    [SL_BENCH_TENSOR_BUFT_OVERRIDES] = {.name = "tensor_buft_overrides", .usual = "none",
                                        .label = "ot"},
    [SL_BENCH_LOAD_MODE] = {.name = "load_mode", .usual = "auto", .label = "lm", .width = 10},
    [SL_BENCH_LAZY_MODE] = {.name = "lazy_mode", .usual = "auto"},
    [SL_BENCH_EMBEDDINGS] = {.name = "embeddings", .kind = BOOL, .usual = "0", .label = "embd"},
    [SL_BENCH_NO_OP_OFFLOAD] = {.name = "no_op_offload", .kind = INT, .usual = "0",
                                .label = "nopo", .width = 4},
    [SL_BENCH_NO_HOST] = {.name = "no_host", .kind = BOOL, .usual = "0", .label = "noh",
                          .width = 4},
    [SL_BENCH_FIT_TARGET] = {.name = "fit_target", .kind = INT, .usual = "0", .label = "fitt"},
    [SL_BENCH_FIT_MIN_CTX] = {.name = "fit_min_ctx", .kind = INT, .usual = "0", .label = "fitc"},
    [SL_BENCH_N_PROMPT] = {.name = "n_prompt", .kind = INT},
    [SL_BENCH_N_GEN] = {.name = "n_gen", .kind = INT},
    [SL_BENCH_N_DEPTH] = {.name = "n_depth", .kind = INT},
    [SL_BENCH_TEST_TIME] = {.name = "test_time"},
    [SL_BENCH_AVG_NS] = {.name = "avg_ns", .kind = INT},
    [SL_BENCH_STDDEV_NS] = {.name = "stddev_ns", .kind = INT},
    [SL_BENCH_AVG_TS] = {.name = "avg_ts", .kind = REAL},
    [SL_BENCH_STDDEV_TS] = {.name = "stddev_ts", .kind = REAL},
    [SL_BENCH_BYTES_PER_TOKEN] = {.name = "bytes_per_token", .kind = INT},
    [SL_BENCH_READ_BANDWIDTH] = {.name = "read_bandwidth", .kind = REAL},
    [SL_BENCH_LIMIT_SHARE] = {.name = "limit_share", .kind = REAL},
};

/* Where optional columns of md stand. */
static const enum sl_bench_field md_order[] = {
    SL_BENCH_N_CPU_MOE,    SL_BENCH_N_THREADS,   SL_BENCH_CPU_MASK,      SL_BENCH_CPU_STRICT,
    SL_BENCH_POLL,         SL_BENCH_N_BATCH,     SL_BENCH_N_UBATCH,      SL_BENCH_TYPE_K,
    SL_BENCH_TYPE_V,       SL_BENCH_MAIN_GPU,    SL_BENCH_SPLIT_MODE,    SL_BENCH_NO_KV_OFFLOAD,
    SL_BENCH_FLASH_ATTN,   SL_BENCH_DEVICES,     SL_BENCH_TENSOR_SPLIT,
    SL_BENCH_TENSOR_BUFT_OVERRIDES,              SL_BENCH_LOAD_MODE,     SL_BENCH_LAZY_MODE,
    SL_BENCH_EMBEDDINGS,   SL_BENCH_NO_OP_OFFLOAD, SL_BENCH_NO_HOST,     SL_BENCH_FIT_TARGET,
    SL_BENCH_FIT_MIN_CTX,
};
#define N_MD_ORDER (sizeof(md_order) / sizeof(md_order[0]))

/* A row as texts. */
struct texts {
    const char *of[SL_BENCH_FIELDS]; /* NULL: not known */
    char numbers[SL_BENCH_FIELDS][NUMBER_BYTES];
    double avg_ts, stddev_ts, share;
};

int sl_benchprint_format(const char *name)
{
    static const char *const names[] = {"none", "md", "csv", "json", "jsonl", "sql"};

    for (int i = 0; i < 6; i++)
        if (!strcmp(name, names[i]))
            return i;
    return -1;
}

const char *sl_benchprint_usual(enum sl_bench_field field)
{
    return fields[field].usual;
}

void sl_benchprint_cpu(char *ret_name, size_t size)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];

    (void)snprintf(ret_name, size, "CPU");
    while (file && fgets(line, sizeof(line), file)) {
        const char *colon = strchr(line, ':');

        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        line[strcspn(line, "\n")] = '\0';
        (void)snprintf(ret_name, size, "%s", colon + 1 + strspn(colon + 1, " "));
        sl_text_clean(ret_name);
        break;
    }
    if (file)
        (void)fclose(file); /* read only */
}

static double tokens_per_s(const struct sl_bench_row *row, uint32_t i)
{
    return 1e9 * (double)(row->n_prompt + row->n_gen) / (double)row->samples_ns[i];
}

/* Mean, and the standard deviation of a sample. */
static void spread(const struct sl_bench_row *row, bool is_rate, double *ret_mean, double *ret_dev)
{
    double sum = 0.0, squares = 0.0, n = row->n_samples;

    for (uint32_t i = 0; i < row->n_samples; i++)
        sum += is_rate ? tokens_per_s(row, i) : (double)row->samples_ns[i];
    *ret_mean = n > 0.0 ? sum / n : 0.0;
    for (uint32_t i = 0; i < row->n_samples; i++) {
        double x = is_rate ? tokens_per_s(row, i) : (double)row->samples_ns[i];

        squares += (x - *ret_mean) * (x - *ret_mean);
    }
    *ret_dev = n > 1.0 ? sqrt(squares / (n - 1.0)) : 0.0;
}

static void set_u64(struct texts *t, enum sl_bench_field field, uint64_t value)
{
    (void)snprintf(t->numbers[field], NUMBER_BYTES, "%" PRIu64, value);
    t->of[field] = t->numbers[field];
}

static void set_f64(struct texts *t, enum sl_bench_field field, double value)
{
    (void)snprintf(t->numbers[field], NUMBER_BYTES, "%f", value);
    t->of[field] = t->numbers[field];
}

/* "0.12.3" is 1203: later versions have greater numbers. */
static uint64_t version_number(void)
{
    unsigned major = 0, minor = 0, patch = 0;

    (void)sscanf(sluice_version(), "%u.%u.%u", &major, &minor, &patch); /* 0 for what lacks */
    return major * 10000u + minor * 100u + patch;
}

static void set_results(struct texts *t, const struct sl_bench_row *row)
{
    double mean_ns, dev_ns;

    spread(row, false, &mean_ns, &dev_ns);
    spread(row, true, &t->avg_ts, &t->stddev_ts);
    set_u64(t, SL_BENCH_AVG_NS, (uint64_t)mean_ns);
    set_u64(t, SL_BENCH_STDDEV_NS, (uint64_t)dev_ns);
    set_f64(t, SL_BENCH_AVG_TS, t->avg_ts);
    set_f64(t, SL_BENCH_STDDEV_TS, t->stddev_ts);
    set_u64(t, SL_BENCH_BYTES_PER_TOKEN, row->token_bytes);
    if (row->read_bytes_per_s > 0.0)
        set_f64(t, SL_BENCH_READ_BANDWIDTH, row->read_bytes_per_s);
    if (row->read_bytes_per_s > 0.0 && row->n_prompt == 0) {
        t->share = t->avg_ts * (double)row->token_bytes / row->read_bytes_per_s;
        set_f64(t, SL_BENCH_LIMIT_SHARE, t->share);
    }
}

static void set_texts(struct texts *t, const struct sl_benchprint *p,
                      const struct sl_bench_row *row)
{
    memset(t, 0, sizeof(*t));
    for (int i = 0; i < SL_BENCH_FIELDS; i++)
        t->of[i] = p->given[i] ? p->given[i] : fields[i].usual;
    t->of[SL_BENCH_BUILD_COMMIT] = sluice_version();
    t->of[SL_BENCH_CPU_INFO] = p->cpu;
    t->of[SL_BENCH_MODEL_FILENAME] = row->model_path;
    t->of[SL_BENCH_MODEL_TYPE] = row->model_type;
    t->of[SL_BENCH_TYPE_K] = t->of[SL_BENCH_TYPE_V] = row->kv;
    t->of[SL_BENCH_TEST_TIME] = row->time;
    set_u64(t, SL_BENCH_BUILD_NUMBER, version_number());
    set_u64(t, SL_BENCH_MODEL_SIZE, row->model_bytes);
    set_u64(t, SL_BENCH_MODEL_N_PARAMS, row->n_params);
    set_u64(t, SL_BENCH_N_BATCH, row->n_batch);
    set_u64(t, SL_BENCH_N_UBATCH, row->n_ubatch);
    set_u64(t, SL_BENCH_N_THREADS, row->n_threads);
    set_u64(t, SL_BENCH_N_PROMPT, row->n_prompt);
    set_u64(t, SL_BENCH_N_GEN, row->n_gen);
    set_u64(t, SL_BENCH_N_DEPTH, row->n_depth);
    set_results(t, row);
}

static int n_fields(const struct sl_benchprint *p)
{
    return p->is_extended ? SL_BENCH_FIELDS : SL_BENCH_FIELDS_THEIRS;
}

static void csv_row(const struct sl_benchprint *p, const struct texts *t)
{
    for (int i = 0; i < n_fields(p); i++) {
        fputs(i ? ",\"" : "\"", p->file);
        for (const char *c = t->of[i] ? t->of[i] : ""; *c; c++) {
            if (*c == '"')
                fputc('"', p->file);
            fputc(*c, p->file);
        }
        fputc('"', p->file);
    }
    fputc('\n', p->file);
}

static void json_value(FILE *file, enum kind kind, const char *text)
{
    struct sl_jsonwriter w;

    if (!text) {
        fputs("null", file);
    } else if (kind == BOOL) {
        fputs(strcmp(text, "0") != 0 ? "true" : "false", file);
    } else if (kind != TEXT) {
        fputs(text, file);
    } else {
        sl_jsonwriter_init(&w, file, 0);
        sl_jsonwriter_string(&w, text);
        (void)sl_jsonwriter_done(&w); /* the caller asks the file */
    }
}

static void json_row(struct sl_benchprint *p, const struct sl_bench_row *row,
                     const struct texts *t)
{
    bool is_lines = p->format == SL_BENCH_JSONL;

    fputs(is_lines ? "{" : p->has_rows ? ",\n  {\n" : "  {\n", p->file);
    for (int i = 0; i < n_fields(p); i++) {
        fprintf(p->file, is_lines ? "\"%s\": " : "    \"%s\": ", fields[i].name);
        json_value(p->file, fields[i].kind, t->of[i]);
        fputs(is_lines ? ", " : ",\n", p->file);
    }
    fputs(is_lines ? "\"samples_ns\": [ " : "    \"samples_ns\": [ ", p->file);
    for (uint32_t i = 0; i < row->n_samples; i++)
        fprintf(p->file, "%s%" PRIu64, i ? ", " : "", row->samples_ns[i]);
    fputs(is_lines ? " ],\"samples_ts\": [ " : " ],\n    \"samples_ts\": [ ", p->file);
    for (uint32_t i = 0; i < row->n_samples; i++)
        fprintf(p->file, "%s%g", i ? ", " : "", tokens_per_s(row, i));
    fputs(is_lines ? " ]}\n" : " ]\n  }", p->file);
}

static void sql_names(const struct sl_benchprint *p)
{
    for (int i = 0; i < n_fields(p); i++)
        fprintf(p->file, "%s%s", i ? ", " : "", fields[i].name);
}

static void sql_row(const struct sl_benchprint *p, const struct texts *t)
{
    fputs("INSERT INTO llama_bench (", p->file);
    sql_names(p);
    fputs(") VALUES (", p->file);
    for (int i = 0; i < n_fields(p); i++) {
        fputs(i ? ", " : "", p->file);
        if (!t->of[i]) {
            fputs("NULL", p->file);
            continue;
        }
        fputc('\'', p->file);
        for (const char *c = t->of[i]; *c; c++) {
            if (*c == '\'')
                fputc('\'', p->file);
            fputc(*c, p->file);
        }
        fputc('\'', p->file);
    }
    fputs(");\n", p->file);
}

static void sql_begin(const struct sl_benchprint *p)
{
    static const char *const types[] = {"TEXT", "INTEGER", "INTEGER", "REAL"};
    int n = n_fields(p);

    fputs("CREATE TABLE IF NOT EXISTS llama_bench (\n", p->file);
    for (int i = 0; i < n; i++)
        fprintf(p->file, "  %s %s%s\n", fields[i].name, types[fields[i].kind],
                i + 1 < n ? "," : "");
    fputs(");\n\n", p->file);
}

/* A column of md: its heading, or a value. */
static void md_cell(FILE *file, int width, const char *text)
{
    fprintf(file, " %*s |", width, text);
}

static void md_rule(FILE *file, int width)
{
    fputc(' ', file);
    for (int i = 1; i < abs(width); i++)
        fputc('-', file);
    fputs(width > 0 ? ": |" : "- |", file);
}

struct column {
    const char *heading;
    int width;
};

static const struct column md_left[] = {
    {"model", -30}, {"size", 10}, {"params", 10}, {"backend", -10},
};
static const struct column md_right[] = {
    {"test", 15}, {"t/s", 20}, /* and with --extended: */
    {"MB/token", 10}, {"GB/s read", 10}, {"share", 7},
};
#define N_MD_RIGHT_THEIRS 2
#define N_MD_RIGHT 5

static struct column md_column(enum sl_bench_field field)
{
    const struct field *f = &fields[field];
    int len = (int)strlen(f->name), width = f->width;

    if (width == 0)
        width = len > 10 ? len : 10;
    if (f->width == 0 && f->kind == TEXT)
        width = -width;
    return (struct column){f->label ? f->label : f->name, width};
}

static void md_line(const struct sl_benchprint *p, void (*cell)(FILE *, struct column))
{
    int n_right = p->is_extended ? N_MD_RIGHT : N_MD_RIGHT_THEIRS;

    fputc('|', p->file);
    for (int i = 0; i < 4; i++)
        cell(p->file, md_left[i]);
    for (size_t i = 0; i < N_MD_ORDER; i++)
        if (p->is_shown[md_order[i]])
            cell(p->file, md_column(md_order[i]));
    for (int i = 0; i < n_right; i++)
        cell(p->file, md_right[i]);
    fputc('\n', p->file);
}

static void heading_cell(FILE *file, struct column column)
{
    md_cell(file, column.width, column.heading);
}

static void rule_cell(FILE *file, struct column column)
{
    md_rule(file, column.width);
}

static void md_test(char *out, size_t size, const struct sl_bench_row *row)
{
    char depth[32] = "";

    if (row->n_depth)
        (void)snprintf(depth, sizeof(depth), " @ d%" PRIu32, row->n_depth);
    if (row->n_gen == 0)
        (void)snprintf(out, size, "pp%" PRIu32 "%s", row->n_prompt, depth);
    else if (row->n_prompt == 0)
        (void)snprintf(out, size, "tg%" PRIu32 "%s", row->n_gen, depth);
    else
        (void)snprintf(out, size, "pp%" PRIu32 "+tg%" PRIu32 "%s", row->n_prompt, row->n_gen,
                       depth);
}

static void md_extended(const struct sl_benchprint *p, const struct sl_bench_row *row,
                        const struct texts *t)
{
    char text[NUMBER_BYTES];

    (void)snprintf(text, sizeof(text), "%.2f", (double)row->token_bytes * 1e-6);
    md_cell(p->file, md_right[2].width, text);
    (void)snprintf(text, sizeof(text), "%.2f", row->read_bytes_per_s * 1e-9);
    md_cell(p->file, md_right[3].width, t->of[SL_BENCH_READ_BANDWIDTH] ? text : "");
    (void)snprintf(text, sizeof(text), "%.1f %%", t->share * 100.0);
    md_cell(p->file, md_right[4].width, t->of[SL_BENCH_LIMIT_SHARE] ? text : "");
}

static void md_row(const struct sl_benchprint *p, const struct sl_bench_row *row,
                   const struct texts *t)
{
    bool is_gib = row->model_bytes >= (uint64_t)1 << 30, is_billion = row->n_params >= 1000000000;
    char text[96];

    fputc('|', p->file);
    md_cell(p->file, md_left[0].width, row->model_type);
    (void)snprintf(text, sizeof(text), "%.2f %s", (double)row->model_bytes / (is_gib ? 0x1p30
                   : 0x1p20), is_gib ? "GiB" : "MiB");
    md_cell(p->file, md_left[1].width, text);
    (void)snprintf(text, sizeof(text), "%.2f %s", (double)row->n_params / (is_billion ? 1e9 : 1e6),
                   is_billion ? "B" : "M");
    md_cell(p->file, md_left[2].width, text);
    md_cell(p->file, md_left[3].width, t->of[SL_BENCH_BACKENDS]);
    for (size_t i = 0; i < N_MD_ORDER; i++)
        if (p->is_shown[md_order[i]])
            md_cell(p->file, md_column(md_order[i]).width, t->of[md_order[i]]);
    md_test(text, sizeof(text), row);
    md_cell(p->file, md_right[0].width, text);
    (void)snprintf(text, sizeof(text), "%.2f \u00b1 %.2f", t->avg_ts, t->stddev_ts);
    md_cell(p->file, md_right[1].width + 1, text); /* two bytes, one column */
    if (p->is_extended)
        md_extended(p, row, t);
    fputc('\n', p->file);
}

void sl_benchprint_begin(struct sl_benchprint *p)
{
    switch (p->format) {
    case SL_BENCH_MD:
        md_line(p, heading_cell);
        md_line(p, rule_cell);
        break;
    case SL_BENCH_CSV:
        for (int i = 0; i < n_fields(p); i++)
            fprintf(p->file, "%s%s", i ? "," : "", fields[i].name);
        fputc('\n', p->file);
        break;
    case SL_BENCH_JSON: fputs("[\n", p->file); break;
    case SL_BENCH_SQL: sql_begin(p); break;
    case SL_BENCH_JSONL:
    case SL_BENCH_NONE: break;
    }
}

void sl_benchprint_row(struct sl_benchprint *p, const struct sl_bench_row *row)
{
    struct texts t;

    if (p->format == SL_BENCH_NONE)
        return;
    set_texts(&t, p, row);
    switch (p->format) {
    case SL_BENCH_MD: md_row(p, row, &t); break;
    case SL_BENCH_CSV: csv_row(p, &t); break;
    case SL_BENCH_JSON:
    case SL_BENCH_JSONL: json_row(p, row, &t); break;
    case SL_BENCH_SQL: sql_row(p, &t); break;
    case SL_BENCH_NONE: break;
    }
    p->has_rows = true;
}

void sl_benchprint_end(struct sl_benchprint *p, bool is_whole)
{
    if (p->format == SL_BENCH_MD && is_whole)
        fprintf(p->file, "\nbuild: %s (%" PRIu64 ")\n", sluice_version(), version_number());
    if (p->format == SL_BENCH_JSON)
        fputs("\n]\n", p->file);
}
