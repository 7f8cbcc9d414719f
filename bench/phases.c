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
 *     fill N       append N random ids to the sequence, all at once
 *     batch B N    N steps of B new sequences together, one random id of each in a step
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bench/ph.h"

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
    case 'q':
        args->session.n_seq_max = args->session.n_logits = parse_count(state, arg);
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

/* n random ids in calls of n_each. */
static int phase(struct phases *st, int seq, const char *name, uint64_t *random, uint32_t n,
                 uint32_t n_each)
{
    struct moment began;
    uint32_t n_calls = 0;
    uint64_t hash = 0;

    for (uint32_t i = 0; i < n; i++)
        st->ids[i] = (int32_t)(next_random(random) % st->info.n_vocab);
    st->n_chosen = 0;
    ph_take(st, &began);
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
    ph_print_phase(st, &(struct ph_result){ .name = name, .n_tokens = n, .n_calls = n_calls,
                                            .n_batch = 1, .hash = hash }, &began);
    return 0;
}

static void note_route(void *arg, int seq, int64_t pos, uint32_t layer, const uint32_t *experts,
                       const float *weights, uint32_t n_used, float margin)
{
    struct phases *st = arg;

    for (uint32_t i = 0; i < n_used && layer < N_LAYERS_MAX; i++)
        if (experts[i] < N_EXPERTS_MAX)
            st->chosen[layer][experts[i] / 64] |= (uint64_t)1 << experts[i] % 64;
}

/* The step is over: add what it chose, and forget it. */
static void count_chosen(struct phases *st)
{
    for (uint32_t layer = 0; layer < st->info.n_layers && layer < N_LAYERS_MAX; layer++)
        for (uint32_t i = 0; i < N_EXPERTS_MAX / 64; i++) {
            st->n_chosen += (uint64_t)__builtin_popcountll(st->chosen[layer][i]);
            st->chosen[layer][i] = 0;
        }
}

/* n_steps steps of one random id for each of the sequences; ids of a step lie together. */
static int batch_steps(struct phases *st, const int *seqs, uint32_t n_seqs, uint32_t n_steps,
                       uint64_t *hash)
{
    struct sluice_batch batch[N_BATCH_MAX];

    for (uint32_t step = 0; step < n_steps; step++) {
        const float *logits;
        uint64_t start;
        int r;

        for (uint32_t i = 0; i < n_seqs; i++) {
            int32_t *id = &st->ids[step * n_seqs + i];

            *id = (int32_t)(next_random(&st->random) % st->info.n_vocab);
            batch[i] = (struct sluice_batch){ .seq = seqs[i], .n_tokens = 1, .tokens = id,
                                              .n_logits = 1 };
        }
        start = sl_clock_ns();
        r = sluice_decode(st->session, batch, n_seqs, &logits);
        st->token_ns[step] = sl_clock_ns() - start;
        if (r < 0)
            return r;
        count_chosen(st);
        for (uint32_t i = 0; i < n_seqs; i++)
            *hash = hash_row(*hash, logits + (size_t)i * st->info.n_vocab, st->info.n_vocab);
    }
    return 0;
}

/* New sequences, a step that is not timed, and n_steps that are. */
static int batch(struct phases *st, uint32_t n_seqs, uint32_t n_steps)
{
    int seqs[N_BATCH_MAX];
    struct moment began;
    uint64_t hash = 0;
    uint32_t n = 0;
    int r = 0;

    for (; n < n_seqs && r >= 0; n++)
        r = seqs[n] = sluice_seq_new(st->session);
    sluice_session_set_route_fn(st->session, note_route, st);
    if (r >= 0)
        r = batch_steps(st, seqs, n, 1, &hash);
    hash = st->n_chosen = 0;
    ph_take(st, &began);
    if (r >= 0)
        r = batch_steps(st, seqs, n, n_steps, &hash);
    if (r >= 0)
        ph_print_phase(st, &(struct ph_result){ .name = "batch", .n_tokens = n_steps * n,
                                                .n_calls = n_steps, .n_batch = n,
                                                .hash = hash }, &began);
    sluice_session_set_route_fn(st->session, NULL, NULL);
    for (uint32_t i = 0; i < n; i++)
        if (seqs[i] >= 0)
            (void)sluice_seq_free(st->session, seqs[i]); /* it is ours: cannot fail */
    return r;
}

static int obey(struct phases *st, const char *line, struct sluice_error *error)
{
    uint32_t n = 0, n_seqs = 0;
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
    } else if (sscanf(line, "fill %u", &n) == 1 && n >= 1 && n <= N_TOKENS_MAX) {
        r = phase(st, st->seq, "fill", &st->random, n, n);
    } else if (sscanf(line, "batch %u %u", &n_seqs, &n) == 2 && n >= 1 && n_seqs >= 1 &&
               n_seqs <= N_BATCH_MAX && n <= N_TOKENS_MAX / n_seqs) {
        r = batch(st, n_seqs, n);
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
    ph_print_opened(st, args, (double)(sl_clock_ns() - began) * 1e-9);
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
        { "seqs", 'q', "N", 0, "sequences at once (2)", 0 },
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
