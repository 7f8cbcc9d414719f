/*
 * Speculation changes nothing: every token is drawn from the very bits that computing one
 * token at a time gives, wherever drafts begin and end, right or wrong, across block
 * boundaries, for every KV type, resident and streaming; and the sequence stands as after
 * plain decoding.
 */
#include <string.h>

#include "common.h"
#include "text/speculate.h"

#define N_PROMPT 200u
#define N_TOK 560u /* crosses two block boundaries */
#define N_AFTER 40u

struct subject {
    const char *file;
    struct sluice_model *model;
    struct sluice_session *session;
    uint32_t n_vocab;
    int32_t tokens[N_TOK + N_AFTER];
    float *want; /* [N_TOK + N_AFTER][n_vocab] */
};

/* Guesses of a chosen quality, in place of looking back. */
struct imposed {
    const struct subject *su;
    uint32_t at;      /* index of the next token */
    uint32_t percent; /* right */
    uint32_t salt;
};

static uint32_t guess(void *arg, uint32_t n, int32_t *ids, uint32_t *ret_match)
{
    const struct imposed *im = arg;
    uint32_t i;

    for (i = 0; i < n && im->at + i < N_TOK; i++) {
        uint64_t h = (uint64_t)(im->at + i) * 1000 + im->salt;

        ids[i] = im->su->tokens[im->at + i];
        if (common_random(&h) % 100 >= im->percent)
            ids[i] = (int32_t)(((uint32_t)ids[i] + 1) % im->su->n_vocab);
    }
    *ret_match = SL_SPECULATE_DRAFT_MAX;
    return i;
}

static void check_row(const struct subject *su, uint32_t at, const float *row, uint32_t n_fixed,
                      const char *what)
{
    CHECK(memcmp(row, su->want + (size_t)at * su->n_vocab, sizeof(float) * su->n_vocab) == 0,
          "%s: logits after token %u differ (drafts of %u, %s)", su->file, at, n_fixed, what);
}

/* What draws, rows and the sequence's end look like when the tokens are imposed. */
static uint64_t speculate(struct subject *su, uint32_t n_fixed, int percent, uint32_t salt)
{
    struct imposed im = { .su = su, .at = N_PROMPT, .percent = (uint32_t)percent, .salt = salt };
    const struct sl_speculate_opts opts = { .n_window = N_TOK, .n_fixed = n_fixed,
                                            .guess = percent >= 0 ? guess : NULL,
                                            .guess_arg = &im };
    struct sluice_batch batch = { .seq = sluice_seq_new(su->session), .n_tokens = N_PROMPT,
                                  .tokens = su->tokens };
    const char *what = percent >= 0 ? "imposed" : "looked up";
    struct sl_speculate_stats stats;
    struct sl_speculate *s;
    uint32_t row = 0, n_wrong;
    const float *rows = NULL;

    CHECK(sl_speculate_new(&s, &opts) == 0, "memory");
    CHECK(sluice_decode(su->session, &batch, 1, NULL) == 0, "prompt");
    sl_speculate_begin(s, su->tokens, N_PROMPT);
    for (uint32_t n = N_PROMPT; n + 1 < N_TOK; n++) {
        im.at = n + 1;
        if (!sl_speculate_draw(s, su->tokens[n], &row)) {
            int64_t n_past = sluice_seq_tokens(su->session, batch.seq, NULL);

            batch.n_tokens = sl_speculate_plan(s, N_TOK - n - 1, &batch.tokens, &n_wrong);
            batch.n_logits = batch.n_tokens;
            CHECK(sluice_seq_rewind(su->session, batch.seq, n_past - n_wrong) == 0, "rewind");
            CHECK(sluice_decode(su->session, &batch, 1, &rows) == 0, "decode: %s",
                  sluice_session_error(su->session));
            sl_speculate_computed(s, 1000 + 50 * batch.n_tokens, 0, 0); /* drafts pay */
            row = 0;
        }
        check_row(su, n, rows + (size_t)row * su->n_vocab, n_fixed, what);
    }
    sl_speculate_get_stats(s, &stats);
    n_wrong = sl_speculate_end(s);
    sl_speculate_free(s);
    /* as after plain decoding: the last token is not there, and others can follow */
    CHECK(sluice_seq_rewind(su->session, batch.seq,
                            sluice_seq_tokens(su->session, batch.seq, NULL) - n_wrong) == 0,
          "rewind");
    CHECK(sluice_seq_tokens(su->session, batch.seq, NULL) == N_TOK - 1, "the sequence's end");
    batch.tokens = su->tokens + N_TOK - 1;
    batch.n_tokens = batch.n_logits = 1 + N_AFTER;
    CHECK(sluice_decode(su->session, &batch, 1, &rows) == 0, "decode: %s",
          sluice_session_error(su->session));
    for (uint32_t i = 0; i <= N_AFTER; i++)
        check_row(su, N_TOK - 1 + i, rows + (size_t)i * su->n_vocab, n_fixed, "afterwards");
    CHECK(sluice_seq_free(su->session, batch.seq) == 0, "free");
    CHECK(stats.n_accepted <= stats.n_drafted &&
              stats.n_steps + stats.n_accepted == N_TOK - 1 - N_PROMPT, "the books");
    return stats.n_drafted;
}

/* Tokens that quote themselves, in pieces. */
static void make_tokens(struct subject *su, uint64_t *rng)
{
    uint32_t n = 0;

    while (n < N_TOK + N_AFTER) {
        uint32_t n_piece = 5 + (uint32_t)(common_random(rng) % 40), from;

        from = n > 60 && common_random(rng) % 4 ? (uint32_t)(common_random(rng) % (n - 50)) : n;
        for (uint32_t i = 0; i < n_piece && n < N_TOK + N_AFTER; i++, n++)
            su->tokens[n] = from + i < n ? su->tokens[from + i]
                                         : (int32_t)(common_random(rng) % su->n_vocab);
    }
}

static void check_model(const char *file, enum sluice_kv kv, enum sluice_residency residency,
                        uint64_t *rng)
{
    const struct sluice_session_opts opts = { .n_ctx = 1024, .n_seq_max = 1, .n_chunk = 96,
                                              .n_logits = 96, .kv = kv };
    const struct sluice_model_opts model_opts = {
        .n_threads = 2, .cpu = common_cpu(), .residency = residency, .session = &opts,
        .ram_bytes = residency == SLUICE_RESIDENCY_STREAM ? SLUICE_RAM_MIN : 0 };
    static const uint32_t lengths[] = { 0, 31, 1, 6 };
    const size_t n_lengths = getenv("SL_QUICK") ? 2 : sizeof(lengths) / sizeof(lengths[0]);
    struct sluice_model_info info;
    struct sluice_error error;
    struct subject su = { .file = file };
    uint64_t n_drafted = 0;
    int seq;

    CHECK(sluice_model_open(&su.model, common_data(file), &model_opts, &error) == 0, "open %s: %s",
          file, error.text);
    sluice_model_get_info(su.model, &info);
    su.n_vocab = info.n_vocab;
    su.session = common_session(su.model, &opts);
    su.want = malloc(sizeof(float) * (N_TOK + N_AFTER) * su.n_vocab);
    CHECK(su.want, "memory");
    make_tokens(&su, rng);
    seq = sluice_seq_new(su.session);
    common_feed(su.session, seq, su.tokens, N_TOK + N_AFTER, 1, su.n_vocab, su.want);
    CHECK(sluice_seq_free(su.session, seq) == 0, "free");
    for (size_t i = 0; i < n_lengths; i++) {
        static const int percents[] = { -1, 0, 50, 90, 100 };
        int percent = percents[common_random(rng) % 5];

        n_drafted += speculate(&su, lengths[i], -1, 0);
        n_drafted += speculate(&su, lengths[i], percent, (uint32_t)common_random(rng));
    }
    CHECK(n_drafted > 500, "%s: hardly anything was drafted", file);
    sluice_session_free(su.session);
    sluice_model_close(su.model);
    free(su.want);
}

int main(void)
{
    uint64_t rng = common_seed();

    check_model("models/random-moe-f32.gguf", SLUICE_KV_F32, SLUICE_RESIDENCY_RESIDENT, &rng);
    check_model("models/random-dense-f32.gguf", SLUICE_KV_F16, SLUICE_RESIDENCY_RESIDENT, &rng);
    check_model("models/tiny-q4_k_m.gguf", SLUICE_KV_Q8_0, SLUICE_RESIDENCY_RESIDENT, &rng);
    check_model("models/tiny-q4_k_m.gguf", SLUICE_KV_F16, SLUICE_RESIDENCY_STREAM, &rng);
    printf("ok\n");
    return 0;
}
