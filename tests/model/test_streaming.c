/*
 * Where experts are never changes a logit: streaming gives the bits of resident mode for
 * budgets from the smallest to everything, guesses on, off and replayed, every reader,
 * policy, chunk and number of threads, among other sequences, after rewinds, and while
 * memory is given back under pressure and taken again. The combinations of a budget are
 * drawn from the seed.
 *
 * Pressure, the memory that is left and the clock are wrapped (ld --wrap), so that the
 * cache shrinks and grows when the test says so.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/pressure.h"
#include "common.h"

#define N_TOK 100u
#define N_BUDGETS 6u
#define MEMORY_BYTES (1ull << 40) /* of the machine, unless the test says that it is used up */
#define CALM_S 11 /* longer than the engine waits before it takes memory again */

struct subject {
    const char *file;
    struct sluice_model_info info; /* resident */
    uint64_t min_bytes, all_bytes;
    int32_t tokens[N_TOK];
    float *want; /* [N_TOK][n_vocab] */
    float *got;
};

struct variant {
    uint64_t ram_bytes;
    enum sluice_io io;
    enum sluice_predict predict;
    enum sluice_policy policy;
    uint32_t n_threads, n_chunk;
    const char *trace_path, *replay_path;
};

static atomic_bool is_pressed, is_used_up;
static _Atomic int64_t skipped_s; /* the clock is so far ahead */

uint64_t __wrap_sl_memory_available(const char *root);
bool __wrap_sl_pressure_poll(struct sl_pressure *pressure);
int __real_clock_gettime(clockid_t clock, struct timespec *ret_time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time);

uint64_t __wrap_sl_memory_available(const char *root)
{
    return atomic_load(&is_used_up) ? 0 : MEMORY_BYTES;
}

bool __wrap_sl_pressure_poll(struct sl_pressure *pressure)
{
    return atomic_exchange(&is_pressed, false);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    int r = __real_clock_gettime(clock, ret_time);

    ret_time->tv_sec += atomic_load(&skipped_s);
    return r;
}

static int try_open(const struct subject *su, const struct variant *v,
                    const struct sluice_session_opts *session, struct sluice_model **ret_model,
                    struct sluice_error *error)
{
    const struct sluice_model_opts opts = {
        .n_threads = v->n_threads, .cpu = common_cpu(), .ram_bytes = v->ram_bytes,
        .residency = SLUICE_RESIDENCY_STREAM, .io = v->io, .predict = v->predict,
        .policy = v->policy, .session = session, .trace_path = v->trace_path,
        .replay_path = v->replay_path,
    };

    return sluice_model_open(ret_model, common_data(su->file), &opts, error);
}

static struct sluice_session_opts session_opts(uint32_t n_chunk)
{
    return (struct sluice_session_opts){ .n_ctx = 1024, .n_seq_max = 4, .n_chunk = n_chunk,
                                         .n_logits = n_chunk };
}

static void describe(const struct variant *v, char *text, size_t room)
{
    (void)snprintf(text, room, "ram %llu, io %d, predict %d%s, policy %d, %u threads, chunk %u",
                   (unsigned long long)v->ram_bytes, (int)v->io, (int)v->predict,
                   v->replay_path ? " replayed" : "", (int)v->policy, v->n_threads, v->n_chunk);
}

static void compare(const struct subject *su, const struct variant *v, uint32_t first, uint32_t n,
                    const float *got, const char *what)
{
    size_t row = su->info.n_vocab;
    char text[160];

    describe(v, text, sizeof(text));
    for (uint32_t i = 0; i < n; i++)
        CHECK(memcmp(got + i * row, su->want + (first + i) * row, row * sizeof(float)) == 0,
              "%s, %s: logits at position %u differ from resident ones (%s)", su->file, text,
              first + i, what);
}

/* Opened and with a session, or false where the machine lacks the reader. */
static bool begin(const struct subject *su, const struct variant *v,
                  struct sluice_model **ret_model, struct sluice_session **ret_session)
{
    struct sluice_session_opts opts = session_opts(v->n_chunk);
    struct sluice_model_info info;
    struct sluice_error error;
    char text[160];
    int r = try_open(su, v, &opts, ret_model, &error);

    describe(v, text, sizeof(text));
    if (r == -ENOTSUP && v->io == SLUICE_IO_URING)
        return false;
    CHECK(r == 0, "%s, %s: %s", su->file, text, error.text);
    sluice_model_get_info(*ret_model, &info);
    CHECK(info.is_streaming, "%s does not stream", su->file);
    CHECK(v->ram_bytes <= SLUICE_RAM_MIN || info.ram_bytes <= v->ram_bytes,
          "%s, %s: %llu bytes planned", su->file, text, (unsigned long long)info.ram_bytes);
    r = sluice_session_new(ret_session, *ret_model, &opts, &error);
    CHECK(r == 0, "%s, %s: the session that was planned for: %s", su->file, text, error.text);
    return true;
}

static void check_counters(const struct subject *su, struct sluice_session *session,
                           const struct variant *v)
{
    struct sluice_counters counters;
    const struct sluice_expert_counters *e = &counters.experts;

    sluice_session_get_counters(session, &counters);
    CHECK(e->requests > 0 && e->requests == e->hits + e->covered + e->covered_late + e->misses,
          "%s: %llu requests are not the sum of their kinds", su->file,
          (unsigned long long)e->requests);
    CHECK(e->misses + e->covered + e->covered_late > 0, "nothing was ever read");
    CHECK(e->n_failed == 0, "%llu experts failed", (unsigned long long)e->n_failed);
    CHECK(v->predict == SLUICE_PREDICT_ON || e->guesses + e->covered == 0,
          "guesses without prediction");
    CHECK(v->ram_bytes == SLUICE_RAM_MIN || e->slot_bytes < v->ram_bytes,
          "slots beyond the budget");
}

/* The whole sequence, then a rewind and a fork, beside another sequence. */
static bool run(struct subject *su, const struct variant *v, uint64_t *rng)
{
    struct sluice_model *model;
    struct sluice_session *session;
    uint32_t keep = 10 + (uint32_t)(common_random(rng) % (N_TOK - 10));
    struct sluice_batch batch[2];
    const float *logits;
    int seq, other;

    if (!begin(su, v, &model, &session))
        return false;
    seq = sluice_seq_new(session);
    memset(su->got, 0xFF, sizeof(float) * N_TOK * su->info.n_vocab);
    common_feed(session, seq, su->tokens, N_TOK, v->n_chunk, su->info.n_vocab, su->got);
    compare(su, v, 0, N_TOK, su->got, "in order");

    CHECK(sluice_seq_rewind(session, seq, keep) == 0, "rewind");
    other = sluice_seq_fork(session, seq);
    CHECK(other >= 0, "fork");
    batch[0] = (struct sluice_batch){ .seq = other, .n_tokens = 3, .tokens = su->tokens };
    batch[1] = (struct sluice_batch){ .seq = seq, .n_tokens = 1, .tokens = su->tokens + keep,
                                      .n_logits = 1 };
    CHECK(sluice_decode(session, batch, 2, &logits) == 0, "decode: %s",
          sluice_session_error(session));
    compare(su, v, keep, 1, logits, "beside another sequence");
    check_counters(su, session, v);
    sluice_session_free(session);
    sluice_model_close(model);
    return true;
}

static uint64_t slot_bytes(const struct sluice_session *session)
{
    struct sluice_counters counters;

    sluice_session_get_counters(session, &counters);
    return counters.experts.slot_bytes;
}

/* A model at rest has the smallest cache, and the next step all of it again; unless the
 * system has no memory left, then later. */
static void check_rest(struct subject *su)
{
    struct variant v = { .ram_bytes = su->all_bytes, .n_threads = 2, .n_chunk = 4 };
    struct sluice_session *session;
    struct sluice_model *model;
    uint64_t all, rest;
    int seq;

    (void)begin(su, &v, &model, &session);
    seq = sluice_seq_new(session);
    all = slot_bytes(session);
    for (uint32_t i = 0; i < N_TOK; i += v.n_chunk) {
        bool is_short = i % 40 == 20;

        if (i % 20 == 0)
            sluice_model_rest(model);
        rest = slot_bytes(session);
        CHECK(i % 20 != 0 || rest <= all / 2, "%llu of %llu bytes of slots are kept at rest",
              (unsigned long long)rest, (unsigned long long)all);
        atomic_store(&is_used_up, is_short);
        common_feed(session, seq, su->tokens + i, v.n_chunk, v.n_chunk, su->info.n_vocab,
                    su->got + (size_t)i * su->info.n_vocab);
        CHECK(i % 40 >= 20 || slot_bytes(session) >= all - all / 16,
              "%llu of %llu bytes of slots came back",
              (unsigned long long)slot_bytes(session), (unsigned long long)all);
        CHECK(!is_short || slot_bytes(session) == rest, "memory was taken that is not there");
        atomic_store(&is_used_up, false);
    }
    compare(su, &v, 0, N_TOK, su->got, "after rests");
    sluice_session_free(session);
    sluice_model_close(model);
}

/* Where little is left, pressure takes memory, and calm gives it back, in the middle of a
 * sequence. Where enough is left, it takes nothing. */
static void check_pressure(struct subject *su, uint64_t *rng)
{
    struct variant v = { .ram_bytes = su->all_bytes, .n_threads = 2, .n_chunk = 4 };
    uint64_t least = UINT64_MAX, most = 0, before = 0;
    uint32_t n_given_back = 0;
    struct sluice_counters counters;
    struct sluice_session *session;
    struct sluice_model *model;
    int seq;

    (void)begin(su, &v, &model, &session);
    seq = sluice_seq_new(session);
    for (uint32_t i = 0; i < N_TOK; i += v.n_chunk) {
        bool is_certain = i >= 40 && i < 60; /* that little is left, for some steps */

        atomic_store(&is_used_up, is_certain || common_random(rng) % 2 == 0);
        if (is_certain || common_random(rng) % 3 == 0) {
            atomic_fetch_add(&skipped_s, 2);
            atomic_store(&is_pressed, true);
        } else if (common_random(rng) % 3 == 0) {
            atomic_fetch_add(&skipped_s, CALM_S);
        }
        common_feed(session, seq, su->tokens + i, v.n_chunk, v.n_chunk, su->info.n_vocab,
                    su->got + (size_t)i * su->info.n_vocab);
        sluice_session_get_counters(session, &counters);
        CHECK(atomic_load(&is_used_up) || counters.experts.slot_bytes >= before,
              "memory was given back although enough is left");
        before = counters.experts.slot_bytes;
        n_given_back += before < most;
        least = counters.experts.slot_bytes < least ? counters.experts.slot_bytes : least;
        most = counters.experts.slot_bytes > most ? counters.experts.slot_bytes : most;
    }
    atomic_store(&is_used_up, false);
    compare(su, &v, 0, N_TOK, su->got, "under pressure");
    CHECK(n_given_back > 0 && least < most, "nothing was given back: %llu to %llu bytes of slots",
          (unsigned long long)least, (unsigned long long)most);
    sluice_session_free(session);
    sluice_model_close(model);
}

/* A second session takes memory from the cache, and gives it back. */
static void check_sessions(struct subject *su)
{
    struct variant v = { .ram_bytes = su->min_bytes + (su->all_bytes - su->min_bytes) / 2,
                         .n_threads = 2, .n_chunk = 16 };
    struct sluice_session_opts opts = session_opts(8);
    struct sluice_session *session, *second;
    struct sluice_error error;
    struct sluice_model *model;
    int seq;

    (void)begin(su, &v, &model, &session);
    seq = sluice_seq_new(session);
    common_feed(session, seq, su->tokens, 32, 16, su->info.n_vocab, su->got);
    if (sluice_session_new(&second, model, &opts, &error) == 0) {
        common_feed(second, sluice_seq_new(second), su->tokens, 32, 8, su->info.n_vocab, su->got);
        compare(su, &v, 0, 32, su->got, "in a second session");
        sluice_session_free(second);
    } else {
        CHECK(strstr(error.text, "--ram"), "no way out named: %s", error.text);
    }
    common_feed(session, seq, su->tokens + 32, N_TOK - 32, 16, su->info.n_vocab, su->got);
    compare(su, &v, 32, N_TOK - 32, su->got, "after a second session");
    sluice_session_free(session);
    sluice_model_close(model);
}

static void check_replay(struct subject *su, uint64_t *rng)
{
    char path[64];
    struct variant v = { .ram_bytes = su->min_bytes + (su->all_bytes - su->min_bytes) / 3,
                         .predict = SLUICE_PREDICT_OFF, .n_threads = 2, .n_chunk = 1,
                         .trace_path = path };

    (void)snprintf(path, sizeof(path), "streaming-%d.trace", (int)getpid());
    (void)run(su, &v, rng);
    if (access(path, F_OK) != 0) {
        printf("%s: this build writes no traces: replay is not checked\n", su->file);
        return;
    }
    v.trace_path = NULL;
    v.replay_path = path;
    for (uint32_t n_threads = 1; n_threads <= 2; n_threads++) {
        v.n_threads = n_threads;
        v.predict = SLUICE_PREDICT_ON;
        (void)run(su, &v, rng); /* of other chunks and rewinds, so that it also goes astray */
    }
    CHECK(unlink(path) == 0, "unlink");
}

static void find_budgets(struct subject *su)
{
    struct variant v = { .ram_bytes = SLUICE_RAM_MIN, .n_threads = 3, .n_chunk = N_TOK };
    struct sluice_session_opts opts = session_opts(N_TOK); /* the largest of all variants */
    struct sluice_model_info info;
    struct sluice_error error;
    struct sluice_model *model;
    unsigned long long n_mib;
    const char *last;
    int r;

    r = try_open(su, &v, &opts, &model, &error);
    CHECK(r == 0, "%s: the smallest budget: %s", su->file, error.text);
    sluice_model_get_info(model, &info);
    su->min_bytes = info.ram_bytes;
    sluice_model_close(model);
    CHECK(su->min_bytes > 1 << 20, "the smallest budget is %llu",
          (unsigned long long)su->min_bytes);

    v.ram_bytes = su->min_bytes / 2;
    r = try_open(su, &v, &opts, &model, &error);
    CHECK(r == -ENOMEM, "%s opened with half of the smallest budget: %d", su->file, r);
    last = strstr(error.text, "smallest that works: --ram ");
    CHECK(last && sscanf(last, "smallest that works: --ram %lluM", &n_mib) == 1 &&
              n_mib == (su->min_bytes + (1 << 20) - 1) >> 20,
          "%s: the text does not end in the smallest budget, %llu bytes: %s", su->file,
          (unsigned long long)su->min_bytes, error.text);
    v.ram_bytes = n_mib << 20;
    r = try_open(su, &v, &opts, &model, &error);
    CHECK(r == 0, "%s: what was said to work does not: %s", su->file, error.text);
    sluice_model_close(model);
    su->all_bytes = su->min_bytes + su->info.weight_bytes + su->info.weight_bytes / 4;
}

static void compute_want(struct subject *su, uint64_t *rng)
{
    const struct sluice_model_opts opts = { .n_threads = 1, .cpu = common_cpu(),
                                            .residency = SLUICE_RESIDENCY_RESIDENT };
    struct sluice_session_opts session_opts = { .n_ctx = 512, .n_seq_max = 1, .n_chunk = N_TOK,
                                                .n_logits = N_TOK };
    struct sluice_session *session;
    struct sluice_error error;
    struct sluice_model *model;
    size_t bytes;

    CHECK(sluice_model_open(&model, common_data(su->file), &opts, &error) == 0, "%s", error.text);
    sluice_model_get_info(model, &su->info);
    CHECK(!su->info.is_streaming, "resident mode streams");
    session = common_session(model, &session_opts);
    bytes = sizeof(float) * N_TOK * su->info.n_vocab;
    su->want = malloc(bytes);
    su->got = malloc(bytes);
    CHECK(su->want && su->got, "memory");
    for (uint32_t i = 0; i < N_TOK; i++)
        su->tokens[i] = (int32_t)(common_random(rng) % su->info.n_vocab);
    common_feed(session, sluice_seq_new(session), su->tokens, N_TOK, N_TOK, su->info.n_vocab,
                su->want);
    sluice_session_free(session);
    sluice_model_close(model);
}

static void check_model(const char *file, uint64_t *rng, uint32_t n_each, bool all_parts)
{
    static const uint32_t chunks[] = { 1, 1, 5, 16, 64, N_TOK };
    struct subject su = { .file = file };
    uint32_t n_runs = 0;

    compute_want(&su, rng);
    find_budgets(&su);
    for (uint32_t b = 0; b < N_BUDGETS; b++) {
        for (uint32_t i = 0; i < n_each; i++) {
            struct variant v = {
                .io = (enum sluice_io)(common_random(rng) % 4),
                .predict = (enum sluice_predict)((b + i) % 2),
                .policy = (enum sluice_policy)(common_random(rng) % 3),
                .n_threads = 1 + (uint32_t)(common_random(rng) % 3),
                .n_chunk = chunks[common_random(rng) % 6],
            };

            v.ram_bytes = su.min_bytes + (su.all_bytes - su.min_bytes) * b * b / 25;
            v.ram_bytes = b == 0 ? SLUICE_RAM_MIN : v.ram_bytes;
            n_runs += run(&su, &v, rng);
        }
    }
    if (all_parts) {
        check_rest(&su);
        check_pressure(&su, rng);
        check_sessions(&su);
        check_replay(&su, rng);
    }
    free(su.want);
    free(su.got);
    printf("ok %s: %u runs, smallest budget %.1f MiB\n", file, n_runs,
           (double)su.min_bytes / (1 << 20));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char *const types[] = { "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1",
                                         "q4_k_m", "q5_k_m", "q6_k", "q3_k_m", "q2_k", "iq4_nl",
                                         "iq4_xs" };
    bool is_quick = getenv("SL_QUICK") != NULL;
    uint64_t rng = common_seed();
    char file[64];

    if (argc > 1 && strcmp(argv[1], "types") == 0) {
        for (size_t i = is_quick ? rng % 5 : 0; i < sizeof(types) / sizeof(types[0]);
             i += is_quick ? 5 : 1) {
            (void)snprintf(file, sizeof(file), "models/types/types-%s.gguf", types[i]);
            check_model(file, &rng, 1, false);
        }
        return 0;
    }
    check_model("models/random-moe-f32.gguf", &rng, is_quick ? 1 : 3, true);
    if (!is_quick) {
        check_model("models/tiny-q4_k_m.gguf", &rng, 2, true);
        check_model("models/tiny-bf16.gguf", &rng, 1, false);
    }
    return 0;
}
