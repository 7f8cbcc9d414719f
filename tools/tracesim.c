/*
 * tracesim: a recorded run of the expert cache again, to the digit, and what other
 * budgets, policies and predictions would have made of it. How it is done: sim_exact.c,
 * sim_script.c, sim_run.c.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/sim_run.h"
#include "tools/sim_svg.h"

#define N_BUDGETS_MAX 64u
#define MB 1e6

enum { KEY_RAM = 256, KEY_CACHE, KEY_POLICY, KEY_PREDICT, KEY_BANDWIDTH, KEY_JSON, KEY_SVG };

enum { POLICY_BELADY = SL_EVICT_LFU + 1, N_POLICIES };
static const char *const policy_names[N_POLICIES] = { "ours", "lru", "lfu", "belady" };
static const char *const predict_names[] = { "recorded", "off", "perfect" };

struct args {
    const char *path, *svg;
    uint64_t budgets[N_BUDGETS_MAX];
    uint32_t n_budgets, policies; /* policies: a bit each */
    bool is_ram, is_json;
    enum sim_predict predict;
    double bandwidth;
};

static const struct argp_option options[] = {
    { "ram", KEY_RAM, "LIST", 0, "Memory of the whole process, as 6G,8G,512M: needs a trace that "
      "knows what the rest takes", 1 },
    { "cache", KEY_CACHE, "LIST", 0, "Memory for experts alone (default: a row of shares of all "
      "experts, and the recorded one)", 1 },
    { "policy", KEY_POLICY, "LIST", 0, "ours, lru, lfu, belady (default: all)", 1 },
    { "predict", KEY_PREDICT, "WHICH", 0, "Guesses: off, recorded (default) or perfect: what "
      "the next three layers choose; belady never guesses", 1 },
    { "bandwidth", KEY_BANDWIDTH, "MB/S", 0, "Of the disk (default: the trace's)", 1 },
    { "json", KEY_JSON, 0, 0, "Print JSON", 2 },
    { "svg", KEY_SVG, "FILE", 0, "Draw hit rate and tokens/s against memory", 2 },
    { 0 },
};

/* 6G, 512M, 10K or bytes. False: no size. */
static bool parse_size(const char *text, char **ret_end, uint64_t *ret_bytes)
{
    double value = strtod(text, ret_end), factor = 1;

    switch (**ret_end) {
    case 'K': case 'k': factor = 1024; break;
    case 'M': case 'm': factor = 1024.0 * 1024; break;
    case 'G': case 'g': factor = 1024.0 * 1024 * 1024; break;
    default: break;
    }
    *ret_end += factor > 1;
    if (*ret_end == text || !(value > 0) || value * factor > 1e15)
        return false;
    *ret_bytes = (uint64_t)(value * factor);
    return true;
}

static void parse_budgets(struct args *args, const char *list, struct argp_state *state)
{
    char *end;

    args->n_budgets = 0;
    for (const char *at = list;; at = end + 1) {
        if (args->n_budgets == N_BUDGETS_MAX)
            argp_error(state, "more than %u sizes", N_BUDGETS_MAX);
        if (!parse_size(at, &end, &args->budgets[args->n_budgets]) || (*end != ',' && *end))
            argp_error(state, "not a list of sizes: %s", list);
        args->n_budgets++;
        if (!*end)
            return;
    }
}

static uint32_t find_name(const char *const *names, uint32_t n, const char *text, size_t len)
{
    uint32_t i = 0;

    while (i < n && (strlen(names[i]) != len || strncmp(names[i], text, len) != 0))
        i++;
    return i;
}

static void parse_policies(struct args *args, const char *list, struct argp_state *state)
{
    const char *at = list;

    args->policies = 0;
    for (;;) {
        size_t len = strcspn(at, ",");
        uint32_t i = find_name(policy_names, N_POLICIES, at, len);

        if (i == N_POLICIES)
            argp_error(state, "no such policy: %s (ours, lru, lfu, belady)", list);
        args->policies |= 1u << i;
        if (!at[len])
            return;
        at += len + 1;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;
    char *end;

    switch (key) {
    case KEY_RAM:
    case KEY_CACHE:
        args->is_ram = key == KEY_RAM;
        parse_budgets(args, arg, state);
        break;
    case KEY_POLICY: parse_policies(args, arg, state); break;
    case KEY_PREDICT: {
        uint32_t i = find_name(predict_names, 3, arg, strlen(arg));

        if (i == 3)
            argp_error(state, "--predict is off, recorded or perfect");
        args->predict = (enum sim_predict)i;
        break;
    }
    case KEY_BANDWIDTH:
        args->bandwidth = strtod(arg, &end) * MB;
        if (*end || !(args->bandwidth > 0))
            argp_error(state, "--bandwidth is a number of MB/s");
        break;
    case KEY_JSON: args->is_json = true; break;
    case KEY_SVG: args->svg = arg; break;
    case ARGP_KEY_ARG:
        if (args->path)
            argp_error(state, "too many arguments");
        args->path = arg;
        break;
    case ARGP_KEY_END:
        if (!args->path)
            argp_error(state, "no trace given");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "TRACE",
    .doc = "Run a trace of the expert cache again and under other conditions. The first lines "
           "compare with the recorded run; the exit status is 1 if it is not repeated to the "
           "digit.",
};

static int fail(const char *path, const struct sl_diag *diag)
{
    fprintf(stderr, "tracesim: %s: %s\n", path, diag->text);
    return 1;
}

static int open_trace(const char *path, int *ret_fd, struct sl_trace **ret_trace,
                      struct sl_diag *diag)
{
    *ret_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*ret_fd < 0)
        return sl_diag_set(diag, -errno, "%s", strerror(errno));
    return sl_trace_open_read(ret_trace, *ret_fd, diag);
}

static void close_trace(int fd, struct sl_trace *trace)
{
    sl_trace_close(trace);
    if (fd >= 0)
        close(fd);
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void print_exact(const struct args *args, const struct sim_exact *x)
{
    const struct sl_cache_counters *n = &x->counters;

    if (args->is_json) {
        printf("{\"recorded\": {\"repeated\": %s, \"complete\": %s, \"requests\": %" PRIu64
               ", \"hits\": %" PRIu64 ", \"covered\": %" PRIu64 ", \"covered_late\": %" PRIu64
               ", \"misses\": %" PRIu64 ", \"demand_bytes\": %" PRIu64
               ", \"guess_bytes\": %" PRIu64 ", \"fill_bytes\": %" PRIu64
               ", \"used_bytes\": %" PRIu64 "},\n",
               x->is_same ? "true" : "false", x->has_end ? "true" : "false", n->requests,
               n->hits, n->covered, n->covered_late, n->misses, n->demand_bytes, n->guess_bytes,
               n->fill_bytes, n->used_bytes);
        return;
    }
    printf("recorded  %" PRIu64 " requests: %" PRIu64 " hits, %" PRIu64 " covered, %" PRIu64
           " late, %" PRIu64 " misses; %.1f MB read on demand, %.1f MB guessed\n",
           n->requests, n->hits, n->covered, n->covered_late, n->misses,
           (double)n->demand_bytes / MB, (double)n->guess_bytes / MB);
    printf("repeated  %s\n", x->is_same       ? "to the digit"
                             : x->has_diverged ? "NOT: this cache does something else, which "
                                                 "the rest of this shows"
                             : !x->has_end     ? "as far as it goes: the trace was cut off"
                                               : "DIFFERENTLY");
}

/* The recorded run, and the bandwidth it had if the trace does not say. */
static int repeat(struct args *args, bool *ret_is_same)
{
    struct sl_trace *trace = NULL;
    struct sim_exact exact;
    struct sl_diag diag;
    int fd, r = open_trace(args->path, &fd, &trace, &diag);

    if (r == 0)
        r = sim_run_exact(trace, &exact, &diag);
    if (r == 0) {
        const struct sl_cache_counters *n = &exact.recorded;
        uint64_t bytes = n->demand_bytes + n->guess_bytes + n->fill_bytes;

        print_exact(args, &exact);
        *ret_is_same = exact.is_same || (!exact.has_end && !exact.has_diverged);
        if (args->bandwidth <= 0)
            args->bandwidth = (double)sl_trace_get_info(trace)->bandwidth;
        if (args->bandwidth <= 0 && n->read_ns)
            args->bandwidth = (double)bytes / (double)n->read_ns * 1e9;
        if (args->bandwidth <= 0)
            args->bandwidth = 1e9;
    }
    close_trace(fd, trace);
    return r < 0 ? fail(args->path, &diag) : 0;
}

/* Bytes of all experts as slots hold them, about. */
static uint64_t all_bytes(const struct sl_trace_info *info)
{
    uint64_t bytes = 0;

    for (uint32_t l = 0; l < info->n_layers; l++)
        for (uint32_t p = 0; p < SL_PART_COUNT; p++)
            bytes += (uint64_t)info->layers[l].mats[0].n_mats *
                     (sl_tensor_mat_bytes(&info->layers[l].mats[p]) + 2 * info->alignment);
    return bytes;
}

static int choose_budgets(struct args *args, const struct sl_trace_info *info)
{
    static const double shares[] = { .02, .04, .08, .12, .18, .25, .35, .5, .65, .8, .9 };
    uint64_t all = all_bytes(info);

    if (args->is_ram && !info->fixed_bytes) {
        fprintf(stderr, "tracesim: %s: the trace does not say what the process takes without "
                "experts; use --cache\n", args->path);
        return 1;
    }
    for (uint32_t i = 0; args->is_ram && i < args->n_budgets; i++)
        args->budgets[i] -= args->budgets[i] > info->fixed_bytes ? info->fixed_bytes
                                                                 : args->budgets[i];
    if (args->n_budgets)
        return 0;
    for (uint32_t i = 0; i < sizeof(shares) / sizeof(*shares); i++)
        args->budgets[args->n_budgets++] = (uint64_t)(shares[i] * (double)all);
    args->budgets[args->n_budgets++] = info->budget;
    return 0;
}

static int run_one(const struct args *args, const struct sim_script *script, uint64_t budget,
                   uint32_t policy, struct sim_result *ret, struct sl_diag *diag)
{
    struct sim_opts opts = { .budget = budget, .policy = (enum sl_evict_policy)policy,
                             .predict = args->predict, .bandwidth = args->bandwidth };
    int r;

    *ret = (struct sim_result){ 0 };
    if (policy != POLICY_BELADY)
        return sim_run(script, &opts, ret, diag);
    r = sim_belady(script, budget, ret, diag);
    ret->stall_s = (double)ret->counters.demand_bytes / args->bandwidth;
    ret->seconds += ret->stall_s; /* nothing is hidden */
    return r;
}

static void print_run(const struct args *args, const struct sim_script *script, uint64_t budget,
                      uint32_t policy, const struct sim_result *run, bool is_first)
{
    const struct sl_cache_counters *n = &run->counters;
    double tokens = script->n_tokens ? (double)script->n_tokens : 1;
    double bytes = (double)(n->demand_bytes + n->guess_bytes + n->fill_bytes);
    double hits = percent(n->hits, n->requests);
    double found = percent(n->hits + n->covered, n->requests);

    if (args->is_json)
        printf("%s  {\"cache_bytes\": %" PRIu64 ", \"policy\": \"%s\", \"requests\": %" PRIu64
               ", \"hits\": %" PRIu64 ", \"covered\": %" PRIu64 ", \"misses\": %" PRIu64
               ", \"bytes_per_token\": %.0f, \"stall_ms_per_token\": %.3f"
               ", \"tokens_per_second\": %.4f}",
               is_first ? "" : ",\n", budget, policy_names[policy], n->requests, n->hits,
               n->covered, n->misses, bytes / tokens, run->stall_s / tokens * 1e3,
               tokens / run->seconds);
    else
        printf("%9.1f  %-7s %7.2f %8.2f %10.2f %10.2f %10.2f\n", (double)budget / MB,
               policy_names[policy], hits, found, bytes / tokens / MB,
               run->stall_s / tokens * 1e3, tokens / run->seconds);
}

static int run_all(const struct args *args, const struct sim_script *script)
{
    struct sim_svg_point *points = calloc((size_t)args->n_budgets * N_POLICIES, sizeof(*points));
    uint32_t n = 0;
    int r = 0;

    if (!points)
        return 1;
    if (args->is_json)
        printf("\"bandwidth\": %.0f, \"predict\": \"%s\", \"steps\": %" PRIu64 ", \"runs\": [\n",
               args->bandwidth, predict_names[args->predict], script->n_tokens);
    else
        printf("disk      %.0f MB/s; guesses: %s; %" PRIu64 " steps\n\n cache MB  policy   hits %%"
               "  +guess %%   MB/token   stall ms   tokens/s\n",
               args->bandwidth / MB, predict_names[args->predict], script->n_tokens);
    for (uint32_t b = 0; b < args->n_budgets; b++)
        for (uint32_t p = 0; p < N_POLICIES; p++) {
            struct sim_result run;
            struct sl_diag diag;

            if (!(args->policies & 1u << p))
                continue;
            if (run_one(args, script, args->budgets[b], p, &run, &diag) < 0) {
                if (!args->is_json)
                    printf("%9.1f  %-7s %s\n", (double)args->budgets[b] / MB, policy_names[p],
                           diag.text);
                continue;
            }
            print_run(args, script, args->budgets[b], p, &run, n == 0);
            points[n++] = (struct sim_svg_point){
                .series = policy_names[p],
                .bytes = (double)args->budgets[b],
                .hits = percent(run.counters.hits + run.counters.covered, run.counters.requests),
                .speed = (double)script->n_tokens / run.seconds,
            };
        }
    if (args->is_json)
        printf("\n]}\n");
    if (args->svg && sim_svg_write(args->svg, points, n, args->predict != SIM_PREDICT_OFF) < 0) {
        fprintf(stderr, "tracesim: %s: %s\n", args->svg, strerror(errno));
        r = 1;
    }
    free(points);
    return r;
}

int main(int argc, char **argv)
{
    struct args args = { .policies = (1u << N_POLICIES) - 1 };
    struct sim_script script = { 0 };
    struct sl_trace *trace = NULL;
    struct sl_diag diag;
    bool is_same = true;
    int fd, r;

    argp_err_exit_status = 2;
    if (argp_parse(&argp, argc, argv, 0, NULL, &args))
        return 2;
    if (repeat(&args, &is_same))
        return 1;
    r = open_trace(args.path, &fd, &trace, &diag);
    if (r == 0)
        r = sim_script_read(&script, trace, &diag);
    if (r < 0) {
        close_trace(fd, trace);
        return fail(args.path, &diag);
    }
    r = choose_budgets(&args, sl_trace_get_info(trace));
    if (r == 0)
        r = run_all(&args, &script);
    sim_script_done(&script);
    close_trace(fd, trace);
    return r || !is_same;
}
