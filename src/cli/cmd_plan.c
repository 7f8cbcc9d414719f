/*
 * sluice plan: where the memory would go for a row of budgets, and how fast each would be.
 * Reads the head of a file alone, so a file cut after its tensor table will do.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"
#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/forecast.h"
#include "cli/machine.h"
#include "cli/options.h"
#include "cli/planshape.h"
#include "cli/report.h"
#include "cli/units.h"
#include "cli/workeropts.h"
#include "experts/evict.h"
#include "model/profile.h"

#define MIB ((uint64_t)1 << 20)
#define BUDGETS_MAX 24u
#define CTX_STEP 1024u

enum {
    KEY_JSON = 512,
    KEY_RAM,
    KEY_MEASURE,
    KEY_NO_MEASURE,
    KEY_DISK,
    KEY_MEMORY,
};

struct plan_args {
    struct sl_model_args model;
    struct sl_session_args session;
    uint64_t budgets[BUDGETS_MAX];
    uint32_t n_budgets;
    enum sl_machine_mode mode;
    double disk, memory; /* given, bytes per second; 0: not */
    bool json;
};

struct plan_cmd {
    struct plan_args *args;
    struct sl_planshape shape;
    struct sl_forecast_in forecast;
    struct sl_machine machine;
    struct sl_diag disk_diag; /* why the disk was not measured, or "" */
    struct sl_forecast here;  /* with --ram auto */
    int here_error;
    struct sl_diag here_diag;
    struct sl_plan bounds;    /* min_bytes and resident_bytes */
    double *hits;             /* owned; of the profile, if there is one */
    uint64_t profile_tokens;
    uint64_t free_bytes;      /* from here on streaming costs nothing */
    uint64_t kv_step_bytes;   /* of CTX_STEP more positions */
};

/* Sizes and the words auto and min, separated by commas. */
static void parse_budgets(struct plan_args *args, const char *list, struct argp_state *state)
{
    args->n_budgets = 0;
    for (const char *from = list; ; ) {
        size_t len = strcspn(from, ",");
        uint64_t bytes = 0;

        if (len == 3 && !strncmp(from, "min", len))
            bytes = SLUICE_RAM_MIN;
        else if (len != 4 || strncmp(from, "auto", len) != 0)
            if (!sl_options_parse_size(from, len, &bytes) || bytes < MIB)
                argp_error(state, "--ram: sizes as 4G,7.5G,900M expected, auto or min too, "
                                  "found \"%s\"", list);
        if (args->n_budgets == BUDGETS_MAX)
            argp_error(state, "--ram: at most %u sizes", BUDGETS_MAX);
        args->budgets[args->n_budgets++] = bytes;
        if (!from[len])
            break;
        from += len + 1;
    }
}

static double parse_rate(const char *name, const char *arg, struct argp_state *state)
{
    char *end;
    double value = strtod(arg, &end);

    if (end == arg || *end || !(value >= 0.001 && value <= 1e5))
        argp_error(state, "%s: GB/s expected, found \"%s\"", name, arg);
    return value * 1e9;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct plan_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->session;
        state->child_inputs[1] = &args->model;
        break;
    case KEY_JSON: args->json = true; break;
    case KEY_RAM: parse_budgets(args, arg, state); break;
    case KEY_MEASURE: args->mode = SL_MACHINE_ANEW; break;
    case KEY_NO_MEASURE: args->mode = SL_MACHINE_NEVER; break;
    case KEY_DISK: args->disk = parse_rate("--disk", arg, state); break;
    case KEY_MEMORY: args->memory = parse_rate("--memory", arg, state); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"ram", KEY_RAM, "LIST", 0, "Budgets: sizes as 4G,7.5G,900M, also min and auto", 0},
    {"measure", KEY_MEASURE, NULL, 0, "Measure memory and disk anew", 0},
    {"no-measure", KEY_NO_MEASURE, NULL, 0, "Measure nothing, use what was measured before", 0},
    {"disk", KEY_DISK, "GB/S", 0, "Take this for the speed of the disk", 0},
    {"memory", KEY_MEMORY, "GB/S", 0, "Take this for the speed of memory", 0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {0},
};

static const struct argp_child children[] = {
    {&sl_options_session, 0, "Session:", 1},
    {&sl_options_model, 0, "Machine:", 2},
    {0},
};

const struct argp sl_argp_plan = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL",
    .doc = "Print where memory would go for budgets of --ram, and how fast each would be.\v"
           "MODEL is a GGUF file, or the first megabytes of one (with its tensor table), as "
           "curl -r 0-8388607 gives them. Memory and disk are measured once, in about three "
           "seconds, and kept for 30 days.",
    .children = children,
};

static int read_shape(struct plan_cmd *cmd, struct sl_diag *diag)
{
    int r = sl_planshape_open(&cmd->shape, cmd->args->model.path, diag);

    if (r < 0)
        return r;
    cmd->shape.in.session = cmd->args->session.opts;
    cmd->shape.in.session.n_seq_max = 1; /* as run and chat have it */
    return sl_planshape_count_threads(&cmd->shape.in, &cmd->args->model.opts, diag);
}

static int measure(struct plan_cmd *cmd, struct sl_diag *diag)
{
    struct plan_args *args = cmd->args;
    int r;

    if (args->disk > 0.0 && args->memory > 0.0 && args->mode == SL_MACHINE_KEPT)
        args->mode = SL_MACHINE_NEVER;
    r = sl_machine_get(&cmd->machine, args->model.path, cmd->shape.in.n_workers, args->mode,
                       &cmd->disk_diag);
    if (r < 0)
        return sl_diag_set(diag, r, "%s", cmd->disk_diag.text);
    cmd->forecast = (struct sl_forecast_in){
        .plan = &cmd->shape.in,
        .memory_bytes_per_s = args->memory > 0.0 ? args->memory : cmd->machine.memory_bytes_per_s,
        .stored_bytes = cmd->shape.stored_bytes,
        .disk_bytes_per_s = args->disk > 0.0 ? args->disk : cmd->machine.disk_bytes_per_s,
    };
    return 0;
}

static int compare_downwards(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x < y) - (x > y);
}

/* What earlier runs used: sums of the experts' shares, the likeliest first. */
static void sum_shares(struct plan_cmd *cmd, const struct sl_evict *evict)
{
    uint32_t n_experts = cmd->shape.hp.n_experts, n = 0;
    double sum = 0.0;

    for (uint32_t i = cmd->shape.hp.n_dense; i < cmd->shape.hp.n_layers; i++)
        for (uint32_t e = 0; e < n_experts; e++)
            cmd->hits[++n] = (double)sl_evict_seeded(evict, i, e);
    qsort(cmd->hits + 1, n, sizeof(*cmd->hits), compare_downwards);
    for (uint32_t i = 1; i <= n; i++)
        sum += cmd->hits[i];
    if (sum <= 0.0) {
        cmd->profile_tokens = 0;
        return;
    }
    for (uint32_t i = 1; i <= n; i++)
        cmd->hits[i] = cmd->hits[i - 1] + cmd->hits[i] / sum;
    cmd->forecast.hits = cmd->hits;
    cmd->forecast.n_experts = n;
}

/* Without a profile, or memory for it, experts are taken to be equally likely. */
static void load_profile(struct plan_cmd *cmd)
{
    const struct sl_hparams *hp = &cmd->shape.hp;
    char *path = sl_options_profile_path(cmd->args->model.path);
    struct sl_evict *evict = NULL;
    size_t n = (size_t)(hp->n_layers - hp->n_dense) * hp->n_experts;
    int64_t n_tokens = 0;

    cmd->hits = calloc(n + 1, sizeof(*cmd->hits));
    if (path && cmd->hits && n &&
        sl_evict_new(&evict, SL_EVICT_DEFAULT, hp->n_layers, hp->n_experts,
                     hp->n_experts_used) == 0)
        n_tokens = sl_profile_load(path, evict, hp->n_layers, hp->n_experts);
    if (n_tokens > 0) {
        cmd->profile_tokens = (uint64_t)n_tokens;
        sum_shares(cmd, evict);
    }
    sl_evict_free(evict);
    free(path);
}

/* What does not depend on a budget. */
static int find_bounds(struct plan_cmd *cmd, struct sl_diag *diag)
{
    struct sl_plan_in in = cmd->shape.in;
    struct sl_plan longer;
    uint64_t kv;
    int r;

    cmd->here_error = sl_forecast_make(&cmd->here, &cmd->forecast, 0, SLUICE_RESIDENCY_AUTO,
                                       &cmd->here_diag);
    /* what the model needs is not a question of what this machine has */
    cmd->shape.in.available_bytes = in.available_bytes = UINT64_MAX;
    in.ram_bytes = SLUICE_RAM_MIN;
    r = sl_plan_make(&cmd->bounds, &in, diag);
    if (r < 0)
        return r;
    cmd->free_bytes = sl_forecast_free(&cmd->forecast);
    kv = cmd->bounds.kv_bytes;
    in.session.n_ctx = cmd->bounds.session.n_ctx + CTX_STEP;
    if (sl_plan_make(&longer, &in, NULL) < 0) { /* that is the longest: count downwards */
        if (cmd->bounds.session.n_ctx <= CTX_STEP)
            return 0;
        in.session.n_ctx = cmd->bounds.session.n_ctx - CTX_STEP;
        r = sl_plan_make(&longer, &in, diag);
        kv = longer.kv_bytes;
        longer.kv_bytes = cmd->bounds.kv_bytes;
    }
    cmd->kv_step_bytes = longer.kv_bytes - kv;
    return r;
}

static void print_head(const struct plan_cmd *cmd)
{
    const struct sl_hparams *hp = &cmd->shape.hp;
    const struct sl_plan *b = &cmd->bounds;
    char a[SL_UNITS_BYTES], c[SL_UNITS_BYTES];

    printf("model      %s%s\n", cmd->args->model.path,
           cmd->shape.is_head_only ? " (its head alone is here)" : "");
    printf("weights    %s", sl_units_size(a, cmd->shape.in.weight_bytes));
    if (b->expert_bytes)
        printf(": %s of experts (%" PRIu32 " in each of %" PRIu32 " layers, %" PRIu32
               " used), %s for every token",
               sl_units_size(a, b->expert_bytes), hp->n_experts, hp->n_layers - hp->n_dense,
               hp->n_experts_used, sl_units_size(c, b->shared_bytes));
    printf("\ncontext    %" PRIu32 " tokens take %s", b->session.n_ctx,
           sl_units_size(a, b->kv_bytes));
    if (cmd->kv_step_bytes)
        printf("; every %u more take %s", CTX_STEP, sl_units_size(a, cmd->kv_step_bytes));
    printf("\nmemory     ");
    if (cmd->forecast.memory_bytes_per_s > 0.0)
        printf("%.1f GB/s with %" PRIu32 " threads", cmd->forecast.memory_bytes_per_s * 1e-9,
               cmd->shape.in.n_workers);
    else
        printf("speed not measured");
    printf("%s\ndisk       ", cmd->args->memory > 0.0 ? " (given)" : "");
    if (cmd->args->disk > 0.0)
        printf("%.2f GB/s (given)\n", cmd->args->disk * 1e-9);
    else if (cmd->machine.disk_bytes_per_s > 0.0)
        printf("%.2f GB/s, direct, device %s, measured %.10s\n",
               cmd->machine.disk_bytes_per_s * 1e-9, cmd->machine.device, cmd->machine.date);
    else
        printf("not measured%s%s; --disk GB/S says it\n", cmd->disk_diag.text[0] ? ": " : "",
               cmd->disk_diag.text);
}

static void print_row(const struct plan_cmd *cmd, uint64_t budget, const struct sl_forecast *f)
{
    const struct sl_plan *p = &f->plan;
    uint64_t weight_bytes = p->copy_bytes +
                            (p->is_streaming ? p->shared_bytes : cmd->shape.in.weight_bytes);
    char a[SL_UNITS_BYTES], b[SL_UNITS_BYTES], c[SL_UNITS_BYTES];

    printf("%8s  %-9s ", budget ? sl_units_ram(a, p->ram_bytes) : "auto",
           p->is_streaming ? "streaming" : "resident");
    printf("%10s %10s %10s ", sl_units_size(a, weight_bytes), sl_units_size(b, p->kv_bytes),
           sl_units_size(c, p->scratch_bytes + p->overhead_bytes));
    if (p->is_streaming)
        printf("%10s %6.1f %% %10s", sl_units_size(a, p->cache_bytes), 100.0 * f->hit_share,
               sl_units_size(b, (uint64_t)f->read_bytes));
    else
        printf("%10s %8s %10s", "", "", "");
    if (f->seconds > 0.0)
        printf(" %9.*f", f->seconds > 0.1 ? 2 : 1, 1.0 / f->seconds);
    else
        printf(" %9s", "?");
    printf("\n");
}

static void print_table(const struct plan_cmd *cmd, const uint64_t *budgets, uint32_t n)
{
    struct sl_forecast f;
    char text[SL_UNITS_BYTES];

    printf("\n%8s  %-9s %10s %10s %10s %10s %8s %10s %9s\n", "--ram", "experts", "weights", "KV",
           "computing", "cache", "hits", "read", "tokens/s");
    for (uint32_t i = 0; i < n; i++) {
        if (budgets[i] == 0 && cmd->here_error == 0)
            print_row(cmd, 0, &cmd->here);
        else if (budgets[i] == 0)
            printf("%8s  too little memory is free\n", "auto");
        else if (sl_forecast_make(&f, &cmd->forecast, budgets[i], SLUICE_RESIDENCY_AUTO, NULL) == 0)
            print_row(cmd, budgets[i], &f);
        else
            printf("%8s  too small\n", sl_units_ram(text, budgets[i]));
    }
}

static void print_tail(const struct plan_cmd *cmd)
{
    const struct sl_plan *b = &cmd->bounds;
    char a[SL_UNITS_BYTES];

    printf("\n");
    if (b->min_bytes)
        printf("From --ram %s on it works", sl_units_ram(a, b->min_bytes));
    else
        printf("A model without experts is resident or does not run: --ram %s",
               sl_units_ram(a, b->resident_bytes));
    if (b->min_bytes && cmd->free_bytes && cmd->free_bytes < b->resident_bytes)
        printf(", from %s on waiting for the disk costs nothing", sl_units_ram(a, cmd->free_bytes));
    if (b->min_bytes)
        printf(", from %s on everything is resident", sl_units_ram(a, b->resident_bytes));
    printf(".\n");
    if (cmd->here_error)
        printf("Here, without --ram: %s.\n", cmd->here_diag.text);
    else if (cmd->here.plan.is_streaming)
        printf("Here, without --ram: streaming, bounded by %s.\n",
               sl_units_ram(a, cmd->here.plan.ram_bytes / MIB * MIB));
    else
        printf("Here, without --ram: resident.\n");
    if (cmd->shape.in.n_nodes > 1)
        printf("Weights: where more memory is left over, with a copy of those for every token on "
               "each of\n%" PRIu32 " NUMA nodes.\n", cmd->shape.in.n_nodes);
    if (b->min_bytes && cmd->profile_tokens)
        printf("Hits: experts are needed as often as in the last %" PRIu64 " tokens or so of "
               "earlier runs, the\nlikeliest are in memory.\n", cmd->profile_tokens);
    else if (b->min_bytes)
        printf("Hits: every expert is needed equally often, the worst case; there is no profile "
               "of this\nmodel yet, which runs that stream leave behind.\n");
    if (b->min_bytes)
        printf("Token time: shared weights at memory speed, plus the longer of experts at memory "
               "speed\nand missing experts at disk speed.\n");
}

static void write_forecast(struct sl_jsonwriter *w, const struct sl_forecast *f)
{
    const struct sl_plan *p = &f->plan;

    sl_jsonwriter_member_string(w, "experts", p->is_streaming ? "streaming" : "resident");
    sl_jsonwriter_member_u64(w, "ram_bytes", p->ram_bytes);
    sl_jsonwriter_member_u64(w, "pinned_bytes", p->is_streaming ? p->shared_bytes : 0);
    sl_jsonwriter_member_u64(w, "resident_weight_bytes",
                             p->is_streaming ? p->shared_bytes : p->shared_bytes + p->expert_bytes);
    sl_jsonwriter_member_u64(w, "node_copies", p->n_copies);
    sl_jsonwriter_member_u64(w, "copy_bytes", p->copy_bytes);
    sl_jsonwriter_member_u64(w, "kv_bytes", p->kv_bytes);
    sl_jsonwriter_member_u64(w, "scratch_bytes", p->scratch_bytes);
    sl_jsonwriter_member_u64(w, "overhead_bytes", p->overhead_bytes);
    sl_jsonwriter_member_u64(w, "cache_bytes", p->cache_bytes);
    sl_jsonwriter_member_u64(w, "streamed_bytes",
                             (uint64_t)((1.0 - f->hit_share) * (double)p->expert_bytes));
    sl_jsonwriter_member_u64(w, "ctx", p->session.n_ctx);
    sl_jsonwriter_member_u64(w, "chunk", p->session.n_chunk);
    sl_jsonwriter_member_f64(w, "hit_share", f->hit_share);
    sl_jsonwriter_member_f64(w, "read_bytes_per_token", f->read_bytes);
    sl_jsonwriter_member_known(w, "tokens_per_s", f->seconds > 0.0 ? 1.0 / f->seconds : 0.0);
}

static void write_machine(struct sl_jsonwriter *w, const struct plan_cmd *cmd)
{
    const struct sl_machine *m = &cmd->machine;

    sl_jsonwriter_member_object(w, "machine");
    sl_jsonwriter_member_u64(w, "threads", cmd->shape.in.n_workers);
    sl_jsonwriter_member_known(w, "memory_bytes_per_s", cmd->forecast.memory_bytes_per_s);
    sl_jsonwriter_member_known(w, "disk_bytes_per_s", cmd->forecast.disk_bytes_per_s);
    sl_jsonwriter_member_u64(w, "disk_read_bytes", m->disk_read_bytes);
    sl_jsonwriter_member_u64(w, "disk_depth", m->disk_depth);
    sl_jsonwriter_member_string(w, "device", m->device);
    sl_jsonwriter_member_string(w, "date", m->date);
    sl_jsonwriter_member_bool(w, "measured_now", m->is_measured);
    sl_jsonwriter_member_string(w, "disk_note", cmd->disk_diag.text);
    sl_jsonwriter_end_object(w);
}

static int write_json(const struct plan_cmd *cmd, const uint64_t *budgets, uint32_t n)
{
    const struct sl_plan *b = &cmd->bounds;
    struct sl_jsonwriter w;

    sl_report_begin_json(&w);
    sl_jsonwriter_member_string(&w, "path", cmd->args->model.path);
    sl_jsonwriter_member_bool(&w, "head_only", cmd->shape.is_head_only);
    sl_jsonwriter_member_u64(&w, "weight_bytes", cmd->shape.in.weight_bytes);
    sl_jsonwriter_member_u64(&w, "expert_bytes", b->expert_bytes);
    sl_jsonwriter_member_u64(&w, "shared_bytes", b->shared_bytes);
    sl_jsonwriter_member_u64(&w, "token_bytes", cmd->shape.weights.token_bytes);
    sl_jsonwriter_member_u64(&w, "slot_bytes_max", b->slot_bytes_max);
    sl_jsonwriter_member_u64(&w, "min_bytes", b->min_bytes);
    sl_jsonwriter_member_u64(&w, "resident_bytes", b->resident_bytes);
    sl_jsonwriter_key(&w, "free_bytes");
    if (cmd->free_bytes)
        sl_jsonwriter_u64(&w, cmd->free_bytes);
    else
        sl_jsonwriter_null(&w);
    sl_jsonwriter_member_u64(&w, "kv_bytes_per_1024_tokens", cmd->kv_step_bytes);
    sl_jsonwriter_member_string(&w, "assumption", cmd->profile_tokens ? "profile" : "uniform");
    sl_jsonwriter_member_u64(&w, "profile_tokens", cmd->profile_tokens);
    write_machine(&w, cmd);
    sl_jsonwriter_member_object(&w, "here");
    if (cmd->here_error)
        sl_jsonwriter_member_string(&w, "error", cmd->here_diag.text);
    else
        write_forecast(&w, &cmd->here);
    sl_jsonwriter_end_object(&w);
    sl_jsonwriter_member_array(&w, "budgets");
    for (uint32_t i = 0; i < n; i++) {
        struct sl_forecast f = cmd->here;
        struct sl_diag diag = cmd->here_diag;
        int r = cmd->here_error;

        if (budgets[i])
            r = sl_forecast_make(&f, &cmd->forecast, budgets[i], SLUICE_RESIDENCY_AUTO, &diag);
        sl_jsonwriter_begin_object(&w);
        sl_jsonwriter_member_u64(&w, "budget",
                                 budgets[i] == SLUICE_RAM_MIN ? b->min_bytes : budgets[i]);
        if (r < 0)
            sl_jsonwriter_member_string(&w, "error", diag.text);
        else
            write_forecast(&w, &f);
        sl_jsonwriter_end_object(&w);
    }
    sl_jsonwriter_end_array(&w);
    return sl_report_end_json(&w);
}

static int run(struct plan_cmd *cmd)
{
    uint64_t budgets[BUDGETS_MAX];
    uint32_t n = cmd->args->n_budgets;
    struct sl_diag diag = {""};
    int r;

    r = read_shape(cmd, &diag);
    if (r == 0)
        r = measure(cmd, &diag);
    if (r == 0) {
        load_profile(cmd);
        r = find_bounds(cmd, &diag);
    }
    if (r < 0)
        return sl_report_error("%s", diag.text[0] ? diag.text : sl_err_text(r));
    memcpy(budgets, cmd->args->budgets, n * sizeof(*budgets));
    if (n == 0)
        n = sl_forecast_budgets(&cmd->bounds, budgets, BUDGETS_MAX);
    if (cmd->args->json) {
        r = write_json(cmd, budgets, n);
    } else {
        print_head(cmd);
        print_table(cmd, budgets, n);
        print_tail(cmd);
        r = sl_report_flush();
    }
    return sl_report_code(r);
}

int sl_cmd_plan(int argc, char **argv)
{
    struct plan_args args = {.mode = SL_MACHINE_KEPT};
    struct plan_cmd *cmd;
    int code;

    sl_cmdline_parse(&sl_argp_plan, argc, argv, 0, &args);
    cmd = calloc(1, sizeof(*cmd));
    if (!cmd)
        return sl_report_error("not enough memory");
    cmd->args = &args;
    code = sl_workeropts_apply(&args.model);
    if (code == 0)
        code = run(cmd);
    free(cmd->hits);
    sl_planshape_done(&cmd->shape);
    free(cmd);
    return code;
}
