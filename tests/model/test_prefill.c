/*
 * A prefill in pieces gives the logits of one in one piece, and so do the sequences that
 * are computed between its pieces: bit for bit, resident and streaming, for any cutting,
 * with prefills that are dropped or cancelled on the way. And what is refused meanwhile.
 * SL_QUICK: fewer of them.
 */
#include <errno.h>
#include <string.h>

#include "common.h"

#define N_TOK 400u
#define N_CHUNK 128u
#define N_BESIDE 4u

struct subject {
    struct sluice_model *model;
    struct sluice_session *session;
    struct sluice_model_info info;
    int32_t tokens[2][N_TOK]; /* of the sequence in pieces, of the one between them */
    float *want[2];           /* [N_TOK][n_vocab] */
    uint64_t rng;
};

static void open_subject(struct subject *su, const char *file, bool is_streaming, uint64_t seed)
{
    const struct sluice_session_opts plain = { .n_ctx = 2048, .n_chunk = N_CHUNK,
                                               .n_logits = N_CHUNK };
    struct sluice_session_opts opts = plain;
    struct sluice_model_opts model_opts = { .n_threads = 2, .cpu = common_cpu() };
    struct sluice_session *session;
    struct sluice_error error;

    *su = (struct subject){ .rng = seed };
    opts.n_beside = N_BESIDE;
    model_opts.session = &opts;
    if (is_streaming) {
        model_opts.ram_bytes = SLUICE_RAM_MIN;
        model_opts.residency = SLUICE_RESIDENCY_STREAM;
    }
    CHECK(sluice_model_open(&su->model, common_data(file), &model_opts, &error) == 0, "%s",
          error.text);
    sluice_model_get_info(su->model, &su->info);
    for (int k = 0; k < 2; k++) {
        su->want[k] = malloc(sizeof(float) * N_TOK * su->info.n_vocab);
        CHECK(su->want[k], "memory");
        for (uint32_t i = 0; i < N_TOK; i++)
            su->tokens[k][i] = (int32_t)(common_random(&su->rng) % su->info.n_vocab);
        session = common_session(su->model, &plain);
        common_feed(session, sluice_seq_new(session), su->tokens[k], N_TOK, N_CHUNK,
                    su->info.n_vocab, su->want[k]);
        sluice_session_free(session);
    }
    su->session = common_session(su->model, &opts);
}

static void close_subject(struct subject *su)
{
    sluice_session_free(su->session);
    sluice_model_close(su->model);
    free(su->want[0]);
    free(su->want[1]);
}

static void compare(const struct subject *su, int which, uint32_t first, uint32_t n,
                    const float *got)
{
    size_t row = su->info.n_vocab;

    for (uint32_t i = 0; i < n; i++)
        CHECK(memcmp(got + i * row, su->want[which] + (first + i) * row, row * sizeof(float)) == 0,
              "sequence %d: logits at position %u differ", which, first + i);
}

/* Some tokens of the other sequence; from its beginning again at its end. */
static void decode_beside(struct subject *su, int seq)
{
    uint32_t done = (uint32_t)sluice_seq_tokens(su->session, seq, NULL);
    struct sluice_batch batch = { .seq = seq, .tokens = su->tokens[1] + done };
    const float *logits;

    if (done == N_TOK) {
        CHECK(sluice_seq_rewind(su->session, seq, common_random(&su->rng) % N_TOK) == 0, "%s",
              sluice_session_error(su->session));
        return;
    }
    batch.n_tokens = 1 + (uint32_t)(common_random(&su->rng) % N_BESIDE);
    batch.n_tokens = batch.n_tokens < N_TOK - done ? batch.n_tokens : N_TOK - done;
    batch.n_logits = batch.n_tokens;
    CHECK(sluice_decode(su->session, &batch, 1, &logits) == 0, "%s",
          sluice_session_error(su->session));
    compare(su, 1, done, batch.n_tokens, logits);
}

static void check_refusals(struct subject *su, int seq)
{
    struct sluice_session *s = su->session;
    struct sluice_batch batch = { .seq = seq, .n_tokens = 1, .tokens = su->tokens[0] };

    CHECK(sluice_prefill_begin(s, &batch, 1) == -EBUSY, "a second prefill began");
    CHECK(sluice_decode(s, &batch, 1, NULL) == -EBUSY, "decoded beside itself");
    CHECK(sluice_seq_free(s, seq) == -EBUSY, "freed on the way");
    CHECK(sluice_seq_fork(s, seq) == -EBUSY, "forked on the way");
    CHECK(sluice_seq_rewind(s, seq, 0) == -EBUSY, "rewound on the way");
    CHECK(strlen(sluice_session_error(s)) > 10, "no text");
}

static void check_idle(struct subject *su, int seq)
{
    struct sluice_session *s = su->session;
    struct sluice_batch batch = { .seq = seq, .n_tokens = N_CHUNK + 1, .tokens = su->tokens[0] };

    CHECK(sluice_prefill_advance(s, 0, NULL) == -EINVAL, "advanced without a prefill");
    sluice_prefill_drop(s);
    CHECK(sluice_prefill_begin(s, &batch, 1) == -E2BIG, "more tokens than a step has");
    batch.n_tokens = 0;
    CHECK(sluice_prefill_begin(s, &batch, 1) == -EINVAL, "a prefill of nothing");
    CHECK(sluice_prefill_begin(s, NULL, 0) == -EINVAL, "a prefill of nobody");
}

/* One prefill, to its end, or dropped or cancelled somewhere. */
static void prefill(struct subject *su, int seq, int other)
{
    static const uint64_t budgets[] = { 0, 0, 200000, 2000000, UINT64_MAX / 2 };
    struct sluice_session *s = su->session;
    uint32_t done = (uint32_t)sluice_seq_tokens(s, seq, NULL);
    uint32_t n = 1 + (uint32_t)(common_random(&su->rng) % N_CHUNK);
    struct sluice_batch batch = { .seq = seq, .tokens = su->tokens[0] + done };
    const float *logits = NULL;
    bool is_cancelled = false;
    int r = 0;

    batch.n_tokens = batch.n_logits = n < N_TOK - done ? n : N_TOK - done;
    check_idle(su, seq);
    CHECK(sluice_prefill_begin(s, &batch, 1) == 0, "%s", sluice_session_error(s));
    for (;;) {
        uint64_t fate = common_random(&su->rng) % 100;

        check_refusals(su, seq);
        if (fate == 0)
            sluice_prefill_drop(s);
        if (fate == 0)
            break;
        if (fate == 1)
            sluice_session_cancel(s);
        is_cancelled |= fate == 1;
        r = sluice_prefill_advance(s, budgets[common_random(&su->rng) % 5], &logits);
        if (r != 1)
            break;
        for (uint64_t i = common_random(&su->rng) % 3; i > 0; i--)
            decode_beside(su, other);
    }
    if (logits) {
        compare(su, 0, done, batch.n_tokens, logits);
        CHECK(sluice_seq_tokens(s, seq, NULL) == done + batch.n_tokens, "not appended");
    } else {
        CHECK(!is_cancelled || r == -ECANCELED, "%s", sluice_session_error(s));
        CHECK(sluice_seq_tokens(s, seq, NULL) <= done, "tokens of a dropped prefill were kept");
    }
}

static void check(const char *file, bool is_streaming, uint64_t seed)
{
    struct subject *su = malloc(sizeof(*su));
    int seq, other;

    CHECK(su, "memory");
    open_subject(su, file, is_streaming, seed);
    seq = sluice_seq_new(su->session);
    other = sluice_seq_new(su->session);
    for (int round = 0; round < (getenv("SL_QUICK") ? 2 : 12); round++) {
        while (sluice_seq_tokens(su->session, seq, NULL) < N_TOK)
            prefill(su, seq, other);
        CHECK(sluice_seq_rewind(su->session, seq, common_random(&su->rng) % N_TOK) == 0, "%s",
              sluice_session_error(su->session));
    }
    close_subject(su);
    free(su);
    printf("%s, %s: equal\n", file, is_streaming ? "streaming" : "resident");
}

int main(void)
{
    uint64_t seed = common_seed();

    for (int i = 0; i < 2; i++) {
        check("models/random-moe-f32.gguf", i, seed);
        check("models/tiny-q4_k_m.gguf", i, seed);
    }
    return 0;
}
