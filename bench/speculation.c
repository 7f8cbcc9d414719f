/*
 * What drafts cost and bring: a text from a file is imposed, token by token, with guesses of
 * a chosen quality, and held against computing it one token at a time.
 *
 *     speculation MODEL --ids FILE [--prompt N] [--tokens N] [--guess LIST] [--fixed N]
 *                 [--repeat N] [--ram SIZE] [--threads N] [--kv TYPE] [--cpu LEVEL]
 *
 * The first N ids of the file are the prompt, the following ones are what is "drawn",
 * whatever the sampler says; it is asked all the same, for its time. Ids beyond the
 * vocabulary wrap around. LIST holds numbers, the percentage of guesses that are right (a
 * guess for a position is always right or always wrong), and the word lookup, for guesses as
 * sluice makes them.
 *
 * A round has for each of LIST a pass without drafts and then one with them, all from the same
 * prompt; a first round is not timed. A line of JSON on stdout for each of these pairs; gain
 * is the time of the first divided by that of the second. hash is over all logits that a token
 * was drawn from: if they differ within a pair, the program fails.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sluice.h"
#include "text/speculate.h"

#define N_IDS_MAX 65536u
#define N_GUESSES_MAX 16u
#define PERCENT_PLAIN (-1)
#define PERCENT_LOOKUP (-2)
#define MATCH 32u /* the imposed guesses' one class */

struct args {
    const char *model, *ids;
    uint32_t n_prompt, n_tokens, n_fixed, n_repeat;
    int guesses[N_GUESSES_MAX]; /* percent, or PERCENT_* */
    uint32_t n_guesses;
    struct sluice_model_opts model_opts;
    enum sluice_kv kv;
};

struct bench {
    struct args *args;
    struct sluice_model *model;
    struct sluice_session *session;
    struct sluice_sampler *sampler;
    uint32_t n_vocab;
    int prompt_seq;
    int32_t ids[N_IDS_MAX];
    uint32_t n_ids;
};

/* A text as it is imposed. */
struct pass {
    struct bench *bench;
    int percent, seq;
    struct sl_speculate *speculate; /* NULL: plain */
    uint32_t at;                    /* index of the token drawn last */
    uint64_t hash, ns;
    uint64_t n_requests, n_hits;
};

static const char *const kv_names[] = {"f16", "f32", "q8_0", NULL};
static const char *const cpu_names[] = {"auto", "c", "avx2", "avx512", NULL};

static int parse_name(struct argp_state *state, const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    argp_error(state, "no such choice: %s", name);
    return 0;
}

static uint32_t parse_count(struct argp_state *state, const char *text, uint32_t max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || value > max)
        argp_error(state, "%s is no number from 0 to %u", text, max);
    return (uint32_t)value;
}

/* "8G", "700M", "123456789", "min" */
static uint64_t parse_size(struct argp_state *state, const char *text)
{
    static const char units[] = "KMG";
    const char *unit;
    char *end;
    double value;

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

static void parse_guesses(struct args *args, struct argp_state *state, char *list)
{
    char *rest = list, *item;

    args->n_guesses = 0;
    while ((item = strsep(&rest, ",")) != NULL) {
        if (args->n_guesses == N_GUESSES_MAX)
            argp_error(state, "at most %u kinds of guesses", N_GUESSES_MAX);
        args->guesses[args->n_guesses++] =
            strcmp(item, "lookup") == 0 ? PERCENT_LOOKUP : (int)parse_count(state, item, 100);
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;

    switch (key) {
    case 'i': args->ids = arg; break;
    case 'p': args->n_prompt = parse_count(state, arg, N_IDS_MAX); break;
    case 'n': args->n_tokens = parse_count(state, arg, N_IDS_MAX); break;
    case 'g': parse_guesses(args, state, arg); break;
    case 'f': args->n_fixed = parse_count(state, arg, SL_SPECULATE_DRAFT_MAX); break;
    case 'r': args->n_repeat = parse_count(state, arg, 100); break;
    case 'm': args->model_opts.ram_bytes = parse_size(state, arg); break;
    case 'k': args->kv = (enum sluice_kv)parse_name(state, kv_names, arg); break;
    case 'c': args->model_opts.cpu = (enum sluice_cpu)parse_name(state, cpu_names, arg); break;
    case 't': args->model_opts.n_threads = parse_count(state, arg, 1024); break;
    case ARGP_KEY_ARG:
        if (args->model)
            argp_usage(state);
        args->model = arg;
        break;
    case ARGP_KEY_END:
        if (!args->model || !args->ids || args->n_prompt == 0 || args->n_tokens == 0)
            argp_usage(state);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int fail(struct sluice_error *error, int r, const char *text)
{
    (void)snprintf(error->text, sizeof(error->text), "%s", text);
    return r;
}

/* Ids separated by anything that is no digit. */
static int read_ids(struct bench *b, struct sluice_error *error)
{
    FILE *file = fopen(b->args->ids, "re");
    uint32_t n_needed = b->args->n_prompt + b->args->n_tokens;
    unsigned id;

    if (!file)
        return fail(error, -errno, strerror(errno));
    while (b->n_ids < N_IDS_MAX && (fscanf(file, "%*[^0-9]"), fscanf(file, "%9u", &id)) == 1)
        b->ids[b->n_ids++] = (int32_t)(id % b->n_vocab);
    (void)fclose(file); /* read only */
    if (b->n_ids >= n_needed)
        return 0;
    (void)snprintf(error->text, sizeof(error->text), "%s: %u ids, %u needed", b->args->ids,
                   b->n_ids, n_needed);
    return -EINVAL;
}

/* Whether the guess for a position is right: the same in every round. */
static bool is_right(const struct pass *p, uint32_t at)
{
    uint64_t h = (at + 1) * 0x9e3779b97f4a7c15u;

    h = (h ^ h >> 31) * 0xbf58476d1ce4e5b9u;
    return (int)((h ^ h >> 29) % 100) < p->percent;
}

static uint32_t guess(void *arg, uint32_t n, int32_t *ids, uint32_t *ret_match)
{
    const struct pass *p = arg;
    const struct bench *b = p->bench;
    uint32_t i;

    for (i = 0; i < n && p->at + 1 + i < b->n_ids; i++) {
        int32_t id = b->ids[p->at + 1 + i];

        ids[i] = is_right(p, p->at + 1 + i) ? id : (int32_t)((uint32_t)(id + 1) % b->n_vocab);
    }
    *ret_match = MATCH;
    return i;
}

static void add_to_hash(struct pass *p, const float *logits)
{
    uint32_t bits;

    for (uint32_t i = 0; i < p->bench->n_vocab; i++) {
        memcpy(&bits, logits + i, sizeof(bits));
        p->hash = (p->hash ^ bits) * 0x100000001b3u;
    }
}

/* A step from the token drawn last on; ret_logits are the rows. */
static int compute(struct pass *p, uint32_t n_left, const float **ret_logits)
{
    struct sluice_session *session = p->bench->session;
    const int32_t *id = &p->bench->ids[p->at];
    struct sluice_batch batch = {.seq = p->seq, .n_tokens = 1, .tokens = id};
    struct sluice_counters before, after;
    uint64_t start = sl_clock_ns();
    uint32_t n_wrong = 0;
    int r = 0;

    sluice_session_get_counters(session, &before);
    if (p->speculate)
        batch.n_tokens = sl_speculate_plan(p->speculate, n_left - 1, &batch.tokens, &n_wrong);
    batch.n_logits = batch.n_tokens;
    if (n_wrong)
        r = sluice_seq_rewind(session, p->seq,
                              sluice_seq_tokens(session, p->seq, NULL) - n_wrong);
    if (r == 0)
        r = sluice_decode(session, &batch, 1, ret_logits);
    if (r < 0)
        return r;
    sluice_session_get_counters(session, &after);
    p->n_requests += after.experts.requests - before.experts.requests;
    p->n_hits += after.experts.hits - before.experts.hits;
    if (p->speculate)
        sl_speculate_computed(p->speculate, sl_clock_ns() - start,
                              after.experts.requests - before.experts.requests,
                              after.experts.hits - before.experts.hits);
    return 0;
}

/* Impose the text; the time of hashing is left out. */
static int impose(struct pass *p)
{
    struct bench *b = p->bench;
    uint32_t end = b->args->n_prompt + b->args->n_tokens, row = 0;
    const float *rows = NULL, *logits;
    uint64_t start = sl_clock_ns(), hash_start;
    int r = 0;

    for (p->at = b->args->n_prompt; p->at < end; p->at++) {
        if (!p->speculate || !sl_speculate_draw(p->speculate, b->ids[p->at], &row)) {
            r = compute(p, end - p->at, &rows);
            if (r < 0)
                return r;
            row = 0;
        }
        sluice_sampler_accept(b->sampler, b->ids[p->at]);
        logits = rows + (size_t)row * b->n_vocab;
        if (sluice_sampler_sample(b->sampler, logits) < 0)
            return -EINVAL;
        hash_start = sl_clock_ns();
        add_to_hash(p, logits);
        start += sl_clock_ns() - hash_start;
    }
    p->ns = sl_clock_ns() - start;
    return 0;
}

static void print_drafts(const struct pass *p)
{
    struct sl_speculate_stats stats;
    const char *comma = "";

    sl_speculate_get_stats(p->speculate, &stats);
    printf(", \"steps\": %" PRIu64 ", \"drafted\": %" PRIu64 ", \"accepted\": %" PRIu64
           ", \"net_steps_saved\": %.2f, \"not_paying\": %" PRIu64
           ", \"short_of_experts\": %" PRIu64 ", \"costs\": {",
           stats.n_steps, stats.n_drafted, stats.n_accepted, stats.saved, stats.n_unpaid,
           stats.n_unread);
    for (uint32_t n = 2; n <= SL_SPECULATE_ROWS_MAX; n++) {
        double cost = sl_draftlen_cost(sl_speculate_draftlen(p->speculate), n);

        if (cost <= 0)
            continue;
        printf("%s\"%u\": %.3f", comma, n, cost);
        comma = ", ";
    }
    printf("}");
}

static void print_pair(const struct pass *plain, const struct pass *p, uint32_t round)
{
    uint32_t n = p->bench->args->n_tokens;

    printf("{\"round\": %u, \"guess\": ", round);
    if (p->percent >= 0)
        printf("%d", p->percent);
    else
        printf("\"lookup\"");
    printf(", \"tokens\": %u, \"plain_tokens_per_s\": %.4f, \"tokens_per_s\": %.4f, "
           "\"gain\": %.4f, \"hash\": \"%016" PRIx64 "\"", n, n / ((double)plain->ns * 1e-9),
           n / ((double)p->ns * 1e-9), (double)plain->ns / (double)p->ns, p->hash);
    if (p->n_requests)
        printf(", \"hit_share\": %.4f", (double)p->n_hits / (double)p->n_requests);
    print_drafts(p);
    printf("}\n");
    (void)fflush(stdout);
}

/* The text once, with drafts or, for PERCENT_PLAIN, without; the caller frees speculate. */
static int run_pass(struct bench *b, int percent, struct pass *p)
{
    struct sl_speculate_opts opts = {.n_window = N_IDS_MAX, .n_fixed = b->args->n_fixed,
                                     .guess = percent >= 0 ? guess : NULL, .guess_arg = p};
    int r = 0;

    *p = (struct pass){.bench = b, .percent = percent, .hash = 0xcbf29ce484222325u,
                       .at = b->args->n_prompt - 1};
    p->seq = sluice_seq_fork(b->session, b->prompt_seq);
    if (p->seq < 0)
        return p->seq;
    if (percent != PERCENT_PLAIN)
        r = sl_speculate_new(&p->speculate, &opts);
    if (p->speculate)
        sl_speculate_begin(p->speculate, b->ids, b->args->n_prompt);
    if (r == 0)
        r = impose(p);
    (void)sluice_seq_free(b->session, p->seq);
    return r;
}

static int run_pair(struct bench *b, int percent, uint32_t round, struct sluice_error *error)
{
    struct pass plain, drafted = {.speculate = NULL};
    int r = run_pass(b, PERCENT_PLAIN, &plain);

    if (r == 0)
        r = run_pass(b, percent, &drafted);
    if (r < 0)
        (void)fail(error, r, sluice_session_error(b->session));
    else if (drafted.hash != plain.hash)
        r = fail(error, -EBADMSG, "drafts have changed the logits");
    else if (round > 0)
        print_pair(&plain, &drafted, round);
    sl_speculate_free(drafted.speculate);
    return r;
}

static int run_rounds(struct bench *b, struct sluice_error *error)
{
    int r = 0;

    for (uint32_t round = 0; round <= b->args->n_repeat; round++)
        for (uint32_t i = 0; i < b->args->n_guesses && r == 0; i++)
            r = run_pair(b, b->args->guesses[i], round, error);
    return r;
}

static int run(struct bench *b, struct sluice_error *error)
{
    struct sluice_session_opts opts = {
        .n_ctx = b->args->n_prompt + b->args->n_tokens + 2 * 256, .n_seq_max = 2,
        .n_logits = SL_SPECULATE_ROWS_MAX, .kv = b->args->kv};
    struct sluice_sampler_opts sampler_opts;
    struct sluice_model_info info;
    struct sluice_batch prompt = {.tokens = b->ids, .n_tokens = b->args->n_prompt};
    int r;

    b->args->model_opts.session = &opts;
    r = sluice_model_open(&b->model, b->args->model, &b->args->model_opts, error);
    if (r < 0)
        return r;
    sluice_model_get_info(b->model, &info);
    b->n_vocab = info.n_vocab;
    sluice_sampler_opts_default(b->model, &sampler_opts);
    r = read_ids(b, error);
    if (r == 0)
        r = sluice_sampler_new(&b->sampler, b->model, &sampler_opts, error);
    if (r == 0)
        r = sluice_session_new(&b->session, b->model, &opts, error);
    if (r < 0)
        return r;
    b->prompt_seq = prompt.seq = sluice_seq_new(b->session);
    r = sluice_decode(b->session, &prompt, 1, NULL);
    return r < 0 ? fail(error, r, sluice_session_error(b->session)) : run_rounds(b, error);
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"ids", 'i', "FILE", 0, "token ids, in decimal", 0},
        {"prompt", 'p', "N", 0, "of these, the prompt (256)", 0},
        {"tokens", 'n', "N", 0, "tokens imposed after it (256)", 0},
        {"guess", 'g', "LIST", 0, "percentages right, and lookup (0,80,95,100,lookup)", 0},
        {"fixed", 'f', "N", 0, "drafts of always N tokens (0: as many as pay)", 0},
        {"repeat", 'r', "N", 0, "timed rounds (3)", 0},
        {"ram", 'm', "SIZE", 0, "memory for everything, or min", 0},
        {"threads", 't', "N", 0, "threads (0: one per core)", 0},
        {"kv", 'k', "TYPE", 0, "f16, f32, q8_0 (f16)", 0},
        {"cpu", 'c', "LEVEL", 0, "auto, c, avx2, avx512", 0},
        {0}};
    static const struct argp argp = {options, parse_option, "MODEL",
                                     "Measure what drafts cost and bring.", NULL, NULL, NULL};
    struct args args = {.n_prompt = 256, .n_tokens = 256, .n_repeat = 3,
                        .guesses = {0, 80, 95, 100, PERCENT_LOOKUP}, .n_guesses = 5};
    struct sluice_error error = {""};
    struct bench *b;
    int r;

    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    b = calloc(1, sizeof(*b));
    if (!b)
        return 1;
    b->args = &args;
    r = run(b, &error);
    if (r < 0)
        fprintf(stderr, "speculation: %s\n", error.text);
    sluice_sampler_free(b->sampler);
    sluice_session_free(b->session);
    sluice_model_close(b->model);
    free(b);
    return r < 0;
}
