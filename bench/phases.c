/*
 * Decoding and prefill of one model in a budget of memory, in phases that the caller
 * names, so that it can measure the disk in between. bench/streaming.py is that caller.
 *
 *     phases MODEL [--ram SIZE|min] [--residency R] [--io B] [--predict P] ... < COMMANDS
 *
 * Commands, one a line on stdin; each is answered by one line of JSON on stdout, after a
 * first line about the opened model:
 *
 *     decode N     append N random ids to the sequence, one by one
 *     prefill N    N random ids at once, in a sequence of their own that is then freed
 *     warm N       as decode, with other ids in a sequence of their own that is then freed
 *     restart      forget the sequence; the random ids go on
 *
 * Ids are drawn from the whole vocabulary, from a seed: the same commands compute the
 * same tokens. Time is that of the decoding calls alone. Counters and page faults are
 * the difference over the phase; logits_hash is over all logits in order, so that runs
 * with other budgets can be held against each other.
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

#define N_TOKENS_MAX 65536u

struct args {
    const char *model;
    struct sluice_model_opts opts;
    struct sluice_session_opts session;
    uint64_t seed;
};

struct phases {
    struct sluice_model *model;
    struct sluice_session *session;
    struct sluice_model_info info;
    int seq;
    uint64_t random, warm_random; /* states of the ids' generators */
    int32_t ids[N_TOKENS_MAX];
    uint64_t token_ns[N_TOKENS_MAX];
};

/* A moment of a run; two of them bound a phase. */
struct moment {
    struct sluice_counters counters;
    struct rusage usage;
};

static const char *const residency_names[] = { "auto", "resident", "stream", NULL };
static const char *const io_names[] = { "auto", "uring", "pread", "buffered", NULL };
static const char *const predict_names[] = { "on", "off", NULL };
static const char *const policy_names[] = { "default", "lru", "lfu", NULL };
static const char *const kv_names[] = { "f16", "f32", "q8_0", NULL };
static const char *const cpu_names[] = { "auto", "c", "avx2", "avx512", NULL };

static int parse_name(struct argp_state *state, const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    argp_error(state, "no such choice: %s", name);
    return 0;
}

/* "8G", "700M", "123456789", "min" */
static uint64_t parse_size(struct argp_state *state, const char *text)
{
    static const char units[] = "KMG";
    char *end;
    double value;
    const char *unit;

    if (strcmp(text, "min") == 0)
        return SLUICE_RAM_MIN;
    value = strtod(text, &end);
    unit = *end ? strchr(units, *end) : NULL;
    if (end == text || value <= 0 || (*end && (!unit || end[1])))
        argp_error(state, "%s is no size", text);
    for (const char *u = units; unit && u <= unit; u++)
        value *= 1024;
    return (uint64_t)value;
}

static uint32_t parse_count(struct argp_state *state, const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || value > UINT32_MAX)
        argp_error(state, "%s is no number", text);
    return (uint32_t)value;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;

    switch (key) {
    case 'm':
        args->opts.ram_bytes = parse_size(state, arg);
        return 0;
    case 'r':
        args->opts.residency = (enum sluice_residency)parse_name(state, residency_names, arg);
        return 0;
    case 'i':
        args->opts.io = (enum sluice_io)parse_name(state, io_names, arg);
        return 0;
    case 'p':
        args->opts.predict = (enum sluice_predict)parse_name(state, predict_names, arg);
        return 0;
    case 'e':
        args->opts.policy = (enum sluice_policy)parse_name(state, policy_names, arg);
        return 0;
    case 'k':
        args->session.kv = (enum sluice_kv)parse_name(state, kv_names, arg);
        return 0;
    case 'c':
        args->opts.cpu = (enum sluice_cpu)parse_name(state, cpu_names, arg);
        return 0;
    case 'R':
        args->opts.replay_path = arg;
        return 0;
    case 'T':
        args->opts.trace_path = arg;
        return 0;
    case 't':
        args->opts.n_threads = parse_count(state, arg);
        return 0;
    case 'x':
        args->session.n_ctx = parse_count(state, arg);
        return 0;
    case 'n':
        args->session.n_chunk = parse_count(state, arg);
        return 0;
    case 's':
        args->seed = parse_count(state, arg);
        return 0;
    case ARGP_KEY_ARG:
        if (args->model)
            argp_usage(state);
        args->model = arg;
        return 0;
    case ARGP_KEY_END:
        if (!args->model)
            argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u; /* splitmix64 */

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static uint64_t hash_row(uint64_t hash, const float *row, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, &row[i], sizeof(bits));
        hash = (hash ^ bits) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 32;
    }
    return hash;
}

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

static void print_opened(const struct phases *st, double seconds)
{
    const struct sluice_model_info *info = &st->info;
    struct sluice_counters counters;

    sluice_session_get_counters(st->session, &counters);
    printf("{\"phase\": \"open\", \"seconds\": %.4f, \"cpu\": \"%s\", \"n_threads\": %u, "
           "\"n_vocab\": %u, \"file_bytes\": %" PRIu64 ", \"weight_bytes\": %" PRIu64
           ", \"token_bytes\": %" PRIu64 ", \"is_streaming\": %s, \"ram_bytes\": %" PRIu64
           ", \"pinned_bytes\": %" PRIu64 ", \"locked_bytes\": %" PRIu64
           ", \"kv_bytes\": %" PRIu64 ", \"scratch_bytes\": %" PRIu64
           ", \"slot_bytes\": %" PRIu64 ", \"io\": ",
           seconds, info->cpu, info->n_threads, info->n_vocab, info->file_bytes,
           info->weight_bytes, info->token_bytes, info->is_streaming ? "true" : "false",
           info->ram_bytes, info->pinned_bytes, info->locked_bytes, counters.kv_bytes,
           counters.scratch_bytes, counters.experts.slot_bytes);
    print_string(info->io ? info->io : "");
    printf(", \"notes\": ");
    print_string(info->notes ? info->notes : "");
    printf("}\n");
    fflush(stdout);
}

static void take(const struct phases *st, struct moment *ret_moment)
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

static void print_phase(const struct phases *st, const char *name, uint32_t n_tokens,
                        uint32_t n_calls, const struct moment *a, uint64_t hash)
{
    struct moment b;
    double seconds = 0;

    take(st, &b);
    for (uint32_t i = 0; i < n_calls; i++)
        seconds += (double)st->token_ns[i] * 1e-9;
    printf("{\"phase\": \"%s\", \"n_tokens\": %u, \"seconds\": %.6f, \"tok_per_s\": %.4f, "
           "\"user_s\": %.4f, \"system_s\": %.4f, \"major_faults\": %ld, "
           "\"minor_faults\": %ld, \"peak_bytes\": %" PRIu64 ", \"logits_hash\": \"%016" PRIx64
           "\", ",
           name, n_tokens, seconds, n_tokens / seconds,
           seconds_of(b.usage.ru_utime) - seconds_of(a->usage.ru_utime),
           seconds_of(b.usage.ru_stime) - seconds_of(a->usage.ru_stime),
           b.usage.ru_majflt - a->usage.ru_majflt, b.usage.ru_minflt - a->usage.ru_minflt,
           (uint64_t)b.usage.ru_maxrss * 1024, hash);
    print_experts(&a->counters.experts, &b.counters.experts);
    printf(", \"call_ms\": [");
    for (uint32_t i = 0; i < n_calls; i++)
        printf("%s%.3f", i ? ", " : "", (double)st->token_ns[i] * 1e-6);
    printf("]}\n");
    fflush(stdout);
}

/* n random ids in calls of n_each. */
static int phase(struct phases *st, int seq, const char *name, uint64_t *random, uint32_t n,
                 uint32_t n_each)
{
    struct moment began;
    uint32_t n_calls = 0;
    uint64_t hash = 0;

    for (uint32_t i = 0; i < n; i++)
        st->ids[i] = (int32_t)(next_random(random) % st->info.n_vocab);
    take(st, &began);
    for (uint32_t i = 0; i < n; i += n_each) {
        struct sluice_batch batch = { .seq = seq, .n_tokens = n_each, .tokens = st->ids + i,
                                      .n_logits = 1 };
        const float *logits;
        uint64_t start = sl_clock_ns();
        int r = sluice_decode(st->session, &batch, 1, &logits);

        st->token_ns[n_calls++] = sl_clock_ns() - start;
        if (r < 0)
            return r;
        hash = hash_row(hash, logits, st->info.n_vocab);
    }
    print_phase(st, name, n, n_calls, &began, hash);
    return 0;
}

static int obey(struct phases *st, const char *line, struct sluice_error *error)
{
    uint32_t n = 0;
    int r = 0;

    if (strncmp(line, "restart", 7) == 0) {
        r = sluice_seq_free(st->session, st->seq);
        st->seq = r < 0 ? r : sluice_seq_new(st->session);
        if (st->seq >= 0)
            printf("{\"phase\": \"restart\"}\n");
        fflush(stdout);
        return st->seq < 0 ? st->seq : 0;
    }
    if (sscanf(line, "decode %u", &n) == 1 && n >= 1 && n <= N_TOKENS_MAX) {
        r = phase(st, st->seq, "decode", &st->random, n, 1);
    } else if ((sscanf(line, "prefill %u", &n) == 1 || sscanf(line, "warm %u", &n) == 1) &&
               n >= 1 && n <= N_TOKENS_MAX) {
        int seq = sluice_seq_new(st->session);

        if (seq < 0)
            r = seq;
        else if (*line == 'p')
            r = phase(st, seq, "prefill", &st->random, n, n);
        else
            r = phase(st, seq, "warm", &st->warm_random, n, 1);
        if (seq >= 0)
            (void)sluice_seq_free(st->session, seq); /* it is ours: cannot fail */
    } else {
        snprintf(error->text, sizeof(error->text), "no such command: %s", line);
        return -EINVAL;
    }
    if (r < 0)
        snprintf(error->text, sizeof(error->text), "%s", sluice_session_error(st->session));
    return r;
}

static int run(struct phases *st, struct args *args, struct sluice_error *error)
{
    uint64_t began = sl_clock_ns();
    char line[128];
    int r;

    args->opts.session = &args->session;
    r = sluice_model_open(&st->model, args->model, &args->opts, error);
    if (r >= 0)
        r = sluice_session_new(&st->session, st->model, &args->session, error);
    if (r < 0)
        return r;
    sluice_model_get_info(st->model, &st->info);
    st->random = args->seed;
    st->warm_random = ~args->seed;
    st->seq = sluice_seq_new(st->session);
    if (st->seq < 0)
        return st->seq;
    print_opened(st, (double)(sl_clock_ns() - began) * 1e-9);
    while (r >= 0 && fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        r = obey(st, line, error);
    }
    return r;
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "ram", 'm', "SIZE", 0, "memory of the whole process: 8G, min (what there is)", 0 },
        { "residency", 'r', "R", 0, "auto, resident, stream", 0 },
        { "io", 'i', "BACKEND", 0, "auto, uring, pread, buffered", 0 },
        { "predict", 'p', "P", 0, "on, off", 0 },
        { "policy", 'e', "POLICY", 0, "default, lru, lfu", 0 },
        { "replay", 'R', "TRACE", 0, "guesses from a trace", 0 },
        { "trace", 'T', "FILE", 0, "write a trace", 0 },
        { "threads", 't', "N", 0, "threads (0: one per core)", 0 },
        { "cpu", 'c', "LEVEL", 0, "auto, c, avx2, avx512", 0 },
        { "kv", 'k', "TYPE", 0, "f16, f32, q8_0", 0 },
        { "ctx", 'x', "N", 0, "positions (4096)", 0 },
        { "chunk", 'n', "N", 0, "tokens of a prefill step (512)", 0 },
        { "seed", 's', "N", 0, "of the random ids (1)", 0 },
        { 0 }
    };
    static const struct argp argp = { options, parse_option, "MODEL",
                                      "Decode and prefill as the lines on stdin say.", NULL, NULL,
                                      NULL };
    struct args args = { .session = { .n_ctx = 4096, .n_seq_max = 2, .n_chunk = 512,
                                      .n_logits = 1 },
                         .seed = 1 };
    struct sluice_error error = { "" };
    struct phases *st;
    int r;

    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    st = calloc(1, sizeof(*st));
    if (!st)
        return 1;
    r = run(st, &args, &error);
    if (r < 0)
        fprintf(stderr, "phases: %s\n", error.text[0] ? error.text : strerror(-r));
    sluice_session_free(st->session);
    sluice_model_close(st->model);
    free(st);
    return r < 0;
}
