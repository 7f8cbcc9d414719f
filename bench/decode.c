/*
 * Prefill and decode speed of Sluice through its public API.
 *
 *     decode MODEL --ids FILE [--prefill N] [--decode N] [--repeat N] [-t N] [--cpu LEVEL]
 *
 * A first pass of everything is not timed, apart from the time from the start of the
 * program to the logits of a prompt of 16 ids. Each further pass computes N ids of the
 * file at once from position 0 (prefill), then N one by one from position 0 (decode).
 * Ids beyond the vocabulary wrap around, so a file of random numbers serves any model.
 * One line of JSON on stdout, the same fields as bench/peers/llamacpp.py speed.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "sluice.h"

#define N_FIRST 16
#define N_IDS_MAX 65536
#define N_REPEAT_MAX 100

struct args {
    const char *model, *ids;
    uint32_t n_prefill, n_decode, n_repeat;
    struct sluice_model_opts model_opts;
    enum sluice_kv kv;
};

struct bench {
    struct sluice_model *model;
    struct sluice_session *session;
    int32_t ids[N_IDS_MAX];
    uint32_t n_ids;
    double prefill[N_REPEAT_MAX], decode[N_REPEAT_MAX]; /* tokens/s of each pass */
};

static const char *const cpu_names[] = {"auto", "c", "avx2", "avx512"};
static const char *const kv_names[] = {"f16", "f32", "q8_0"};

static int find_name(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

static uint32_t parse_count(struct argp_state *state, const char *text, uint32_t max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || value > max)
        argp_error(state, "%s is no number from 0 to %u", text, max);
    return (uint32_t)value;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;
    int name;

    switch (key) {
    case 'i':
        args->ids = arg;
        return 0;
    case 'p':
        args->n_prefill = parse_count(state, arg, N_IDS_MAX);
        return 0;
    case 'd':
        args->n_decode = parse_count(state, arg, N_IDS_MAX);
        return 0;
    case 'r':
        args->n_repeat = parse_count(state, arg, N_REPEAT_MAX);
        return 0;
    case 't':
        args->model_opts.n_threads = parse_count(state, arg, 1024);
        return 0;
    case 'c':
        name = find_name(cpu_names, 4, arg);
        if (name < 0)
            argp_error(state, "no such CPU level: %s", arg);
        args->model_opts.cpu = (enum sluice_cpu)name;
        return 0;
    case 'k':
        name = find_name(kv_names, 3, arg);
        if (name < 0)
            argp_error(state, "no such KV type: %s", arg);
        args->kv = (enum sluice_kv)name;
        return 0;
    case ARGP_KEY_ARG:
        if (args->model)
            argp_usage(state);
        args->model = arg;
        return 0;
    case ARGP_KEY_END:
        if (!args->model || !args->ids)
            argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Ids separated by anything that is no digit. */
static int read_ids(struct bench *bench, const char *path)
{
    FILE *file = fopen(path, "re");
    int byte;
    bool in_number = false;

    if (!file)
        return -errno;
    while ((byte = fgetc(file)) != EOF) {
        if (byte < '0' || byte > '9') {
            in_number = false;
            continue;
        }
        if (!in_number && bench->n_ids == N_IDS_MAX)
            break;
        if (!in_number)
            bench->ids[bench->n_ids++] = 0;
        in_number = true;
        if (bench->ids[bench->n_ids - 1] < 100000000)
            bench->ids[bench->n_ids - 1] = bench->ids[bench->n_ids - 1] * 10 + (byte - '0');
    }
    fclose(file);
    return 0;
}

/* The first n ids from position 0, in calls of n_each ids; ret_s is the time. */
static int pass(struct bench *bench, uint32_t n, uint32_t n_each, double *ret_s)
{
    const float *logits;
    uint64_t began = sl_clock_ns();
    int seq = sluice_seq_new(bench->session);
    int r = 0;

    if (seq < 0)
        return seq;
    for (uint32_t i = 0; i < n && r >= 0; i += n_each) {
        struct sluice_batch batch = {.seq = seq, .n_tokens = n - i < n_each ? n - i : n_each,
                                     .tokens = bench->ids + i, .n_logits = 1};
        r = sluice_decode(bench->session, &batch, 1, &logits);
    }
    *ret_s = (double)(sl_clock_ns() - began) * 1e-9;
    sluice_seq_free(bench->session, seq);
    return r;
}

static int measure(struct bench *bench, const struct args *args)
{
    double s = 0;
    int r = 0;

    for (uint32_t turn = 0; turn <= args->n_repeat && r >= 0; turn++) {
        uint32_t slot = turn ? turn - 1 : 0;
        if (args->n_prefill)
            r = pass(bench, args->n_prefill, args->n_prefill, &s);
        bench->prefill[slot] = args->n_prefill / s;
        if (args->n_decode && r >= 0)
            r = pass(bench, args->n_decode, 1, &s);
        bench->decode[slot] = args->n_decode / s;
    }
    return r;
}

static void print_list(const char *name, const double *values, uint32_t n)
{
    printf(", \"%s\": [", name);
    for (uint32_t i = 0; i < n; i++)
        printf("%s%.4f", i ? ", " : "", values[i]);
    printf("]");
}

static void report(const struct bench *bench, const struct args *args, double load_s,
                   double first_s)
{
    struct sluice_model_info info;
    struct rusage usage;

    sluice_model_get_info(bench->model, &info);
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"program\": \"sluice\", \"cpu\": \"%s\", \"n_threads\": %u, "
           "\"token_bytes\": %" PRIu64 ", \"load_s\": %.4f, \"first_token_s\": %.4f, "
           "\"peak_bytes\": %" PRIu64,
           info.cpu, info.n_threads, info.token_bytes, load_s, first_s,
           (uint64_t)usage.ru_maxrss * 1024);
    print_list("prefill_tok_per_s", bench->prefill, args->n_prefill ? args->n_repeat : 0);
    print_list("decode_tok_per_s", bench->decode, args->n_decode ? args->n_repeat : 0);
    printf("}\n");
}

static int run(struct bench *bench, const struct args *args, struct sluice_error *error)
{
    uint32_t n_most = args->n_prefill > args->n_decode ? args->n_prefill : args->n_decode;
    struct sluice_session_opts opts = {.n_ctx = n_most + N_FIRST, .n_seq_max = 1,
                                       .kv = args->kv};
    struct sluice_model_info info;
    uint64_t began = sl_clock_ns();
    double load_s, first_s, s;
    int r;

    r = read_ids(bench, args->ids);
    if (r < 0 || bench->n_ids < n_most || bench->n_ids < N_FIRST) {
        snprintf(error->text, sizeof(error->text), "%s: %u ids, %u needed", args->ids,
                 bench->n_ids, n_most > N_FIRST ? n_most : N_FIRST);
        return -EINVAL;
    }
    r = sluice_model_open(&bench->model, args->model, &args->model_opts, error);
    if (r < 0)
        return r;
    r = sluice_session_new(&bench->session, bench->model, &opts, error);
    if (r < 0)
        return r;
    sluice_model_get_info(bench->model, &info);
    for (uint32_t i = 0; i < bench->n_ids; i++)
        bench->ids[i] %= (int32_t)info.n_vocab;
    load_s = (double)(sl_clock_ns() - began) * 1e-9;
    r = pass(bench, N_FIRST, N_FIRST, &s);
    first_s = (double)(sl_clock_ns() - began) * 1e-9;
    if (r >= 0)
        r = measure(bench, args);
    if (r < 0) {
        snprintf(error->text, sizeof(error->text), "%s", sluice_session_error(bench->session));
        return r;
    }
    report(bench, args, load_s, first_s);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"ids", 'i', "FILE", 0, "token ids, in decimal", 0},
        {"prefill", 'p', "N", 0, "ids computed at once (512; 0: none)", 0},
        {"decode", 'd', "N", 0, "ids computed one by one (64; 0: none)", 0},
        {"repeat", 'r', "N", 0, "timed passes (1)", 0},
        {"threads", 't', "N", 0, "threads (0: one per core)", 0},
        {"cpu", 'c', "LEVEL", 0, "auto, c, avx2, avx512", 0},
        {"kv", 'k', "TYPE", 0, "f16, f32, q8_0 (f32)", 0},
        {0}};
    static const struct argp argp = {options, parse_option, "MODEL",
                                     "Measure prefill and decode speed.", NULL, NULL, NULL};
    struct args args = {.n_prefill = 512, .n_decode = 64, .n_repeat = 1, .kv = SLUICE_KV_F32};
    struct sluice_error error = {""};
    struct bench *bench;
    int r;

    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    bench = calloc(1, sizeof(*bench));
    if (!bench)
        return 1;
    r = run(bench, &args, &error);
    if (r < 0)
        fprintf(stderr, "decode: %s\n", error.text);
    sluice_session_free(bench->session);
    sluice_model_close(bench->model);
    free(bench);
    return r < 0;
}
