/*
 * Logits depend on a sequence's tokens alone, bit for bit: not on threads, chunks, what
 * else is in the batch, forks or rewinds, and not on the CPU level either. The baseline
 * of each model and KV type is one thread, one call, one sequence. Then a random walk:
 * appends, forks, rewinds and frees of many sequences, each checked against the
 * baseline of its own tokens computed from scratch.
 */
#include <string.h>

#include "common.h"

#define N_TOK 600u
#define N_BEFORE 8u /* tokens that other sequences hold */

struct subject {
    const char *file;
    enum sluice_kv kv;
    enum sluice_cpu cpu;
    struct sluice_model_info info;
    int32_t tokens[N_TOK];
    float *want; /* [N_TOK][n_vocab] */
    float *got;
};

static void compare(const struct subject *su, uint32_t first, uint32_t n, const float *got,
                    const char *what, uint64_t arg)
{
    size_t row = su->info.n_vocab;

    for (uint32_t i = 0; i < n; i++)
        CHECK(memcmp(got + i * row, su->want + (first + i) * row, row * sizeof(float)) == 0,
              "%s, kv %d: logits at position %u differ (%s %llu)", su->file, (int)su->kv,
              first + i, what, (unsigned long long)arg);
}

static struct sluice_session_opts opts_for(const struct subject *su, uint32_t n_chunk)
{
    return (struct sluice_session_opts){ .n_ctx = 2048, .n_seq_max = 8, .n_chunk = n_chunk,
                                         .n_logits = n_chunk, .kv = su->kv };
}

static void check_threads_and_chunks(struct subject *su)
{
    static const uint32_t chunks[] = { 1, 7, 64, 512 };
    size_t bytes = sizeof(float) * N_TOK * su->info.n_vocab;

    for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
        struct sluice_model *model = common_open(su->file, n_threads, su->cpu);

        for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
            /* chunks of one token with every thread count would take most of the time */
            uint32_t n = chunks[i] == 1 ? 300 : N_TOK;
            struct sluice_session_opts opts = opts_for(su, chunks[i]);
            struct sluice_session *session = common_session(model, &opts);

            memset(su->got, 0xFF, bytes);
            common_feed(session, sluice_seq_new(session), su->tokens, n, chunks[i],
                        su->info.n_vocab, su->got);
            compare(su, 0, n, su->got, "threads * 1000 + chunk", n_threads * 1000 + chunks[i]);
            sluice_session_free(session);
        }
        sluice_model_close(model);
    }
}

/* The sequence among others, all growing by uneven pieces in the same calls. */
static void check_beside_others(struct subject *su, uint64_t *rng)
{
    struct sluice_model *model = common_open(su->file, 2, su->cpu);
    struct sluice_session_opts opts = opts_for(su, 64);
    struct sluice_session *session = common_session(model, &opts);
    int32_t noise[64];
    int other[3], seq;
    uint32_t done = 0;

    for (int i = 0; i < 3; i++)
        other[i] = sluice_seq_new(session);
    seq = sluice_seq_new(session);
    while (done < 300) {
        uint32_t n = 1 + (uint32_t)(common_random(rng) % 20), n_batch = 0;
        struct sluice_batch batch[4];
        const float *logits;
        int r;

        n = n < 300 - done ? n : 300 - done;
        for (uint32_t i = 0; i < 64; i++)
            noise[i] = (int32_t)(common_random(rng) % su->info.n_vocab);
        for (int i = 0; i < 3; i++)
            if (common_random(rng) % 2)
                batch[n_batch++] = (struct sluice_batch){
                    .seq = other[i], .n_tokens = 1 + (uint32_t)(common_random(rng) % 9),
                    .tokens = noise + i };
        batch[n_batch] = (struct sluice_batch){ .seq = seq, .n_tokens = n,
                                                .tokens = su->tokens + done, .n_logits = n };
        if (n_batch > 0 && common_random(rng) % 2) { /* not always last */
            struct sluice_batch swap = batch[0];

            batch[0] = batch[n_batch];
            batch[n_batch] = swap;
        }
        r = sluice_decode(session, batch, n_batch + 1, &logits);
        CHECK(r == 0, "decode: %s", sluice_session_error(session));
        compare(su, done, n, logits, "beside others, piece of", n);
        done += n;
    }
    sluice_session_free(session);
    sluice_model_close(model);
}

static void check_fork_and_rewind(struct subject *su, uint64_t *rng)
{
    static const uint32_t back[] = { 1, 2, 5, 31, 32, 33, 64, 100, 255, 256, 257, 300 };
    struct sluice_model *model = common_open(su->file, 2, su->cpu);
    struct sluice_session_opts opts = opts_for(su, 256);
    struct sluice_session *session = common_session(model, &opts);
    int seq = sluice_seq_new(session), fork;
    int32_t noise[40];

    common_feed(session, seq, su->tokens, N_TOK, 256, su->info.n_vocab, su->got);
    for (size_t i = 0; i < sizeof(back) / sizeof(back[0]); i++) {
        uint32_t keep = N_TOK - back[i];
        int r = sluice_seq_rewind(session, seq, keep);

        CHECK(r == 0, "rewind: %s", sluice_session_error(session));
        CHECK(sluice_seq_tokens(session, seq, NULL) == keep, "rewound to the wrong place");
        common_feed(session, seq, su->tokens + keep, back[i], 256, su->info.n_vocab, su->got);
        compare(su, keep, back[i], su->got, "after rewinding by", back[i]);
    }
    for (uint32_t at = 100; at <= 512; at += 103) {
        for (int i = 0; i < 40; i++)
            noise[i] = (int32_t)(common_random(rng) % su->info.n_vocab);
        CHECK(sluice_seq_rewind(session, seq, at) == 0, "rewind");
        fork = sluice_seq_fork(session, seq);
        CHECK(fork >= 0, "fork: %s", sluice_session_error(session));
        common_feed(session, seq, noise, 40, 256, su->info.n_vocab, NULL);
        common_feed(session, fork, su->tokens + at, N_TOK - at, 256, su->info.n_vocab, su->got);
        compare(su, at, N_TOK - at, su->got, "in a fork at", at);
        CHECK(sluice_seq_free(session, seq) == 0, "free");
        seq = fork;
    }
    sluice_session_free(session);
    sluice_model_close(model);
}

/* Sequences of the random walk, and the tokens that each should hold. */
struct walker {
    int seq;
    uint32_t n;
    int32_t tokens[1200];
};

static void check_from_scratch(const struct subject *su, struct sluice_session *scratch,
                               const struct walker *wk, const float *last_row)
{
    int seq = sluice_seq_new(scratch);
    struct sluice_batch batch = { .seq = seq, .n_tokens = wk->n, .tokens = wk->tokens,
                                  .n_logits = 1 };
    const float *logits;

    CHECK(sluice_decode(scratch, &batch, 1, &logits) == 0, "decode: %s",
          sluice_session_error(scratch));
    CHECK(memcmp(logits, last_row, sizeof(float) * su->info.n_vocab) == 0,
          "%s, kv %d: a random walk ended in other logits at %u tokens", su->file, (int)su->kv,
          wk->n);
    CHECK(sluice_seq_free(scratch, seq) == 0, "free");
}

static void random_walk(struct subject *su, uint64_t *rng, uint32_t n_moves)
{
    struct sluice_model *model = common_open(su->file, 2, su->cpu);
    struct sluice_session_opts opts = { .n_ctx = 2048, .n_seq_max = 5, .n_chunk = 96,
                                        .n_logits = 5, .kv = su->kv };
    struct sluice_session *session = common_session(model, &opts);
    struct sluice_session *scratch;
    struct walker *walkers = calloc(5, sizeof(*walkers));
    uint32_t n_walkers = 0;

    CHECK(walkers, "memory");
    opts.n_chunk = 512;
    opts.n_seq_max = 1;
    opts.n_logits = 1;
    scratch = common_session(model, &opts);
    for (uint32_t move = 0; move < n_moves; move++) {
        uint32_t kind = (uint32_t)(common_random(rng) % 8);
        struct walker *wk = n_walkers ? &walkers[common_random(rng) % n_walkers] : NULL;
        int r;

        if (n_walkers == 0 || (kind == 0 && n_walkers < 5)) {
            walkers[n_walkers++] = (struct walker){ .seq = sluice_seq_new(session) };
        } else if (kind == 1 && n_walkers < 5) {
            walkers[n_walkers] = *wk;
            walkers[n_walkers].seq = sluice_seq_fork(session, wk->seq);
            CHECK(walkers[n_walkers].seq >= 0, "fork");
            n_walkers++;
        } else if (kind == 2) {
            CHECK(sluice_seq_free(session, wk->seq) == 0, "free");
            *wk = walkers[--n_walkers];
        } else if (kind == 3) {
            uint32_t keep = (uint32_t)(common_random(rng) % (wk->n + 1));

            r = sluice_seq_rewind(session, wk->seq, keep);
            CHECK(r == 0 || r == -12, "rewind: %s", sluice_session_error(session));
            wk->n = r == 0 ? keep : wk->n;
        } else {
            uint32_t n = 1 + (uint32_t)(common_random(rng) % (common_random(rng) % 3 ? 20 : 280));
            const float *logits;

            if (wk->n + n > 1200)
                continue;
            for (uint32_t i = 0; i < n; i++)
                wk->tokens[wk->n + i] = (int32_t)(common_random(rng) % su->info.n_vocab);
            r = sluice_decode(session, &(struct sluice_batch){ .seq = wk->seq, .n_tokens = n,
                                                               .tokens = wk->tokens + wk->n,
                                                               .n_logits = 1 }, 1, &logits);
            if (r == -12) /* full: nothing was appended */
                continue;
            CHECK(r == 0, "decode: %s", sluice_session_error(session));
            wk->n += n;
            check_from_scratch(su, scratch, wk, logits);
        }
        if (n_walkers)
            CHECK(sluice_seq_tokens(session, walkers[0].seq, NULL) == walkers[0].n, "length");
    }
    free(walkers);
    sluice_session_free(scratch);
    sluice_session_free(session);
    sluice_model_close(model);
}

static void check_levels(struct subject *su)
{
    for (int cpu = SLUICE_CPU_C; cpu <= SLUICE_CPU_AVX512; cpu++) {
        const struct sluice_model_opts model_opts = { .n_threads = 2, .cpu = (enum sluice_cpu)cpu };
        struct sluice_session_opts opts = opts_for(su, 64);
        struct sluice_session *session;
        struct sluice_model *model;

        if (sluice_model_open(&model, common_data(su->file), &model_opts, NULL) < 0) {
            printf("this machine lacks CPU level %d\n", cpu);
            continue;
        }
        session = common_session(model, &opts);
        common_feed(session, sluice_seq_new(session), su->tokens, 96, 64, su->info.n_vocab,
                    su->got);
        compare(su, 0, 96, su->got, "CPU level", (uint64_t)cpu);
        sluice_session_free(session);
        sluice_model_close(model);
    }
}

static void check_model(const char *file, enum sluice_kv kv, enum sluice_cpu cpu, uint64_t *rng,
                        uint32_t n_moves)
{
    struct sluice_model *model = common_open(file, 1, cpu);
    struct subject su = { .file = file, .kv = kv, .cpu = cpu };
    struct sluice_session_opts opts = { .n_ctx = 1024, .n_seq_max = 1, .n_chunk = N_TOK,
                                        .n_logits = N_TOK, .kv = kv };
    struct sluice_session *session = common_session(model, &opts);
    size_t bytes;

    sluice_model_get_info(model, &su.info);
    bytes = sizeof(float) * N_TOK * su.info.n_vocab;
    su.want = malloc(bytes);
    su.got = malloc(bytes);
    CHECK(su.want && su.got, "memory");
    for (uint32_t i = 0; i < N_TOK; i++)
        su.tokens[i] = (int32_t)(common_random(rng) % su.info.n_vocab);
    common_feed(session, sluice_seq_new(session), su.tokens, N_TOK, N_TOK, su.info.n_vocab,
                su.want);
    sluice_session_free(session);
    sluice_model_close(model);

    check_threads_and_chunks(&su);
    check_beside_others(&su, rng);
    check_fork_and_rewind(&su, rng);
    check_levels(&su);
    random_walk(&su, rng, n_moves);
    free(su.want);
    free(su.got);
    printf("ok %s, kv %d\n", file, (int)kv);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char *const types[] = { "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1",
                                         "q4_k_m", "q5_k_m", "q6_k", "q3_k_m", "q2_k", "iq4_nl",
                                         "iq4_xs" };
    /* Under sanitizers, which are slow: one model, and every fifth type, from the seed. */
    bool is_quick = getenv("SL_QUICK") != NULL;
    enum sluice_cpu cpu = common_cpu();
    uint64_t rng = common_seed();
    char file[64];

    if (argc > 1 && strcmp(argv[1], "types") == 0) {
        for (size_t i = is_quick ? rng % 5 : 0; i < sizeof(types) / sizeof(types[0]);
             i += is_quick ? 5 : 1) {
            (void)snprintf(file, sizeof(file), "models/types/types-%s.gguf", types[i]);
            check_model(file, SLUICE_KV_F16, cpu, &rng, 20);
        }
        return 0;
    }
    if (is_quick) {
        check_model("models/random-moe-f32.gguf", (enum sluice_kv)(rng % 3), cpu, &rng, 40);
        return 0;
    }
    for (int kv = SLUICE_KV_F16; kv <= SLUICE_KV_Q8_0; kv++) {
        check_model("models/random-moe-f32.gguf", (enum sluice_kv)kv, cpu, &rng, 100);
        check_model("models/random-dense-f32.gguf", (enum sluice_kv)kv, cpu, &rng, 60);
    }
    check_model("models/tiny-q4_k_m.gguf", SLUICE_KV_F16, cpu, &rng, 40);
    return 0;
}
