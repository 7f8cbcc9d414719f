/*
 * Going back to a marked position computes nothing and changes nothing: what follows has the
 * logits of a sequence that never went further, bit for bit, wherever marks and steps lie, in
 * forks too, and with prefills that were dropped on the way. SL_QUICK: fewer of them.
 */
#include <errno.h>
#include <string.h>

#include "common.h"

#define N_TOK 700u
#define N_MORE 4u
#define N_MARKS 2u
#define N_CHUNK 128u

struct subject {
    struct sluice_session *session, *plain;
    uint32_t n_vocab;
    int32_t tokens[N_TOK + N_MORE];
    uint64_t rng;
};

static uint32_t below(struct subject *su, uint32_t n)
{
    return (uint32_t)(common_random(&su->rng) % n);
}

static uint64_t n_computed(const struct subject *su)
{
    struct sluice_counters counters;

    sluice_session_get_counters(su->session, &counters);
    return counters.n_tokens;
}

/* The next tokens of the sequence, at most n: in one call, or in pieces, or given up first. */
static void feed(struct subject *su, int seq, uint32_t n)
{
    struct sluice_session *s = su->session;
    uint32_t done = (uint32_t)sluice_seq_tokens(s, seq, NULL);
    struct sluice_batch batch = { .seq = seq, .n_tokens = n, .tokens = su->tokens + done };
    uint32_t how = below(su, 3);
    int r = 1;

    if (how == 0) {
        CHECK(sluice_decode(s, &batch, 1, NULL) == 0, "%s", sluice_session_error(s));
        return;
    }
    CHECK(sluice_prefill_begin(s, &batch, 1) == 0, "%s", sluice_session_error(s));
    CHECK(sluice_seq_mark(s, seq, N_TOK) == -EBUSY, "marked on the way");
    for (uint32_t i = 0; r == 1 && (how == 1 || i < 2); i++)
        r = sluice_prefill_advance(s, 0, NULL);
    CHECK(r >= 0, "%s", sluice_session_error(s));
    if (r == 1)
        sluice_prefill_drop(s); /* and it is up to 255 tokens shorter */
}

/* The logits of some tokens behind n of the sequence's. */
static void compare(struct subject *su, int seq, uint32_t n)
{
    struct sluice_batch batch = { seq, N_MORE, su->tokens + N_TOK, N_MORE };
    struct sluice_batch all = { sluice_seq_new(su->plain), n, su->tokens, 0 };
    struct sluice_batch more = { all.seq, N_MORE, su->tokens + N_TOK, N_MORE };
    const float *got, *want;

    CHECK(sluice_decode(su->session, &batch, 1, &got) == 0, "%s",
          sluice_session_error(su->session));
    CHECK(sluice_decode(su->plain, &all, 1, NULL) == 0 &&
          sluice_decode(su->plain, &more, 1, &want) == 0, "%s", sluice_session_error(su->plain));
    CHECK(memcmp(got, want, sizeof(float) * N_MORE * su->n_vocab) == 0,
          "logits behind %u tokens differ", n);
    sluice_seq_free(su->plain, all.seq);
}

static void run_one(struct subject *su)
{
    struct sluice_session *s = su->session;
    uint32_t n = 2 + below(su, N_TOK - 2), marks[N_MARKS], done = 0;
    int seq = sluice_seq_new(s);

    for (uint32_t i = 0; i < N_MARKS; i++) {
        marks[i] = 1 + below(su, n - 1);
        CHECK(sluice_seq_mark(s, seq, N_TOK - 9) == 0, "a mark to be forgotten");
        CHECK(sluice_seq_mark(s, seq, marks[i]) == 0, "%s", sluice_session_error(s));
    }
    CHECK(sluice_seq_mark(s, seq, marks[0]) == 0 && sluice_seq_mark(s, seq, marks[1]) == 0,
          "marked again");
    while (done < n) {
        uint32_t most = n - done < N_CHUNK ? n - done : N_CHUNK;

        feed(su, seq, 1 + below(su, most));
        done = (uint32_t)sluice_seq_tokens(s, seq, NULL);
    }
    CHECK(sluice_seq_mark(s, seq, done) == -ERANGE && sluice_seq_mark(s, seq, 0) == -ERANGE &&
          sluice_seq_mark(s, seq, 5000) == -ERANGE, "marked what is not to come");
    for (uint32_t i = 0; i < 2 * N_MARKS; i++) {
        uint32_t at = marks[i % N_MARKS];
        int fork = sluice_seq_fork(s, seq);
        uint64_t n_before = n_computed(su);

        if (i == 3) { /* the other one is still there when the higher is gone back to */
            at = marks[0] < marks[1] ? marks[1] : marks[0];
            CHECK(sluice_seq_rewind(s, fork, at) == 0, "%s", sluice_session_error(s));
            at = marks[0] + marks[1] - at;
        }
        CHECK(sluice_seq_rewind(s, fork, at) == 0, "%s", sluice_session_error(s));
        CHECK(n_computed(su) == n_before, "going back to %u of %u computed something", at, n);
        compare(su, fork, at);
        sluice_seq_free(s, fork);
    }
    compare(su, seq, n); /* which the forks did not change */
    sluice_seq_free(s, seq);
}

static void check(const char *file, bool is_streaming, uint64_t seed)
{
    const struct sluice_session_opts plain = { .n_ctx = 1024, .n_logits = N_MORE };
    struct sluice_session_opts opts = { .n_ctx = 2048, .n_chunk = N_CHUNK, .n_logits = N_MORE,
                                        .n_beside = 1, .n_marks = N_MARKS };
    struct sluice_model_opts model_opts = { .n_threads = 2, .cpu = common_cpu(),
                                            .session = &opts };
    struct subject su = { .rng = seed };
    struct sluice_model_info info;
    struct sluice_model *model, *resident = common_open(file, 2, common_cpu());
    struct sluice_error error;

    if (is_streaming) {
        model_opts.ram_bytes = SLUICE_RAM_MIN;
        model_opts.residency = SLUICE_RESIDENCY_STREAM;
    }
    CHECK(sluice_model_open(&model, common_data(file), &model_opts, &error) == 0, "%s",
          error.text);
    sluice_model_get_info(model, &info);
    su.n_vocab = info.n_vocab;
    for (uint32_t i = 0; i < N_TOK + N_MORE; i++)
        su.tokens[i] = (int32_t)below(&su, su.n_vocab);
    su.session = common_session(model, &opts);
    su.plain = common_session(resident, &plain);
    CHECK(sluice_seq_mark(su.plain, sluice_seq_new(su.plain), 1) == -EINVAL, "no room for marks");
    for (int i = 0; i < (is_streaming || getenv("SL_QUICK") ? 1 : 4); i++)
        run_one(&su);
    opts.n_marks = 17;
    sluice_session_free(su.plain);
    sluice_session_free(su.session);
    CHECK(sluice_session_new(&su.session, model, &opts, &error) == -ERANGE, "17 marks");
    sluice_model_close(model);
    sluice_model_close(resident);
}

int main(void)
{
    uint64_t seed = common_seed();

    check("models/random-moe-f32.gguf", false, seed);
    check("models/tiny-q4_k_m.gguf", true, seed);
    check("models/random-dense-f32.gguf", false, seed);
    return 0;
}
