/*
 * The public functions with arguments that make no sense: a code and a text, and
 * nothing changed. What the header allows (NULL to be freed, no options) works.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "common.h"

#define REFUSED(code, call)                                                    \
    do {                                                                       \
        int64_t r_ = (call);                                                   \
        CHECK(r_ == (code), "%s: %d, not %d", #call, (int)r_, (int)(code));    \
    } while (0)

static void check_model(void)
{
    const struct sluice_model_opts bad_flags = { .flags = 1u << 31 };
    const struct sluice_model_opts bad_cpu = { .cpu = (enum sluice_cpu)77 };
    const struct sluice_model_opts many = { .n_threads = UINT32_MAX };
    struct sluice_model *model = NULL;
    const char *path = common_data("models/random-moe-f32.gguf");
    struct sluice_error error;

    REFUSED(-EINVAL, sluice_model_open(NULL, path, NULL, NULL));
    REFUSED(-EINVAL, sluice_model_open(&model, NULL, NULL, &error));
    REFUSED(-EINVAL, sluice_model_open(&model, path, &bad_flags, &error));
    REFUSED(-EINVAL, sluice_model_open(&model, path, &bad_cpu, &error));
    CHECK(sluice_model_open(&model, path, &many, &error) < 0 && error.text[0], "too many threads");
    CHECK(!model, "the model was set on failure");
    sluice_model_close(NULL);
    sluice_session_free(NULL);
    sluice_sampler_free(NULL);
}

static void check_session_opts(struct sluice_model *model)
{
    static const struct sluice_session_opts bad[] = {
        { .n_ctx = UINT32_MAX }, { .n_seq_max = 257 },   { .n_seq_max = UINT32_MAX },
        { .n_chunk = 2049 },     { .n_chunk = UINT32_MAX }, { .n_logits = 513 },
        { .n_chunk = 1, .n_logits = 2 }, { .n_logits = UINT32_MAX }, { .kv = (enum sluice_kv)9 },
    };
    struct sluice_session *session = NULL;
    struct sluice_error error;

    REFUSED(-EINVAL, sluice_session_new(NULL, model, NULL, &error));
    REFUSED(-EINVAL, sluice_session_new(&session, NULL, NULL, &error));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        error.text[0] = '\0';
        CHECK(sluice_session_new(&session, model, &bad[i], &error) < 0, "options %zu", i);
        CHECK(error.text[0] && !session, "options %zu: text or session", i);
        CHECK(sluice_session_new(&session, model, &bad[i], NULL) < 0, "options %zu", i);
    }
    REFUSED(0, sluice_session_new(&session, model, NULL, NULL));
    sluice_session_free(session);
}

static void check_batches(struct sluice_session *s, int seq)
{
    static const int32_t good[] = { 1, 2, 3 }, low[] = { 1, -1 }, high[] = { 1, INT32_MAX };
    const struct sluice_batch twice[] = { { seq, 1, good, 0 }, { seq, 1, good, 0 } };
    const float *logits;

#define BATCH(...) (&(struct sluice_batch){ __VA_ARGS__ })
    REFUSED(0, sluice_decode(s, NULL, 0, NULL));
    REFUSED(-EINVAL, sluice_decode(s, NULL, 1, &logits));
    REFUSED(-EINVAL, sluice_decode(s, BATCH(-1, 1, good, 1), 1, &logits));
    REFUSED(-EINVAL, sluice_decode(s, BATCH(INT_MAX, 1, good, 1), 1, &logits));
    REFUSED(-EINVAL, sluice_decode(s, BATCH(seq + 1, 1, good, 1), 1, &logits)); /* not in use */
    REFUSED(-EINVAL, sluice_decode(s, BATCH(seq, 0, good, 0), 1, &logits));
    REFUSED(-EINVAL, sluice_decode(s, BATCH(seq, 3, NULL, 0), 1, &logits));
    REFUSED(-EINVAL, sluice_decode(s, BATCH(seq, 2, good, 3), 1, &logits));
    REFUSED(-EINVAL, sluice_decode(s, BATCH(seq, 3, good, 3), 1, &logits)); /* two rows */
    REFUSED(-EINVAL, sluice_decode(s, BATCH(seq, 1, good, 1), 1, NULL));
    REFUSED(-EINVAL, sluice_decode(s, twice, 2, NULL));
    REFUSED(-ERANGE, sluice_decode(s, BATCH(seq, 2, low, 0), 1, NULL));
    REFUSED(-ERANGE, sluice_decode(s, BATCH(seq, 2, high, 0), 1, NULL));
    /* the tokens are not looked at when there is no room for so many */
    REFUSED(-ENOMEM, sluice_decode(s, BATCH(seq, UINT32_MAX, good, 0), 1, NULL));
    CHECK(sluice_session_error(s)[0], "no text");
    REFUSED(0, sluice_seq_tokens(s, seq, NULL));
    REFUSED(0, sluice_decode(s, BATCH(seq, 3, good, 2), 1, &logits));
    REFUSED(3, sluice_seq_tokens(s, seq, NULL));
#undef BATCH
}

static void check_sequences(struct sluice_session *s, int seq)
{
    static const int none[] = { -1, INT_MIN, INT_MAX, 2, 1 };

    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        REFUSED(-EINVAL, sluice_seq_free(s, none[i]));
        REFUSED(-EINVAL, sluice_seq_fork(s, none[i]));
        REFUSED(-EINVAL, sluice_seq_tokens(s, none[i], NULL));
        REFUSED(-EINVAL, sluice_seq_rewind(s, none[i], 0));
    }
    REFUSED(-ERANGE, sluice_seq_rewind(s, seq, -1));
    REFUSED(-ERANGE, sluice_seq_rewind(s, seq, 4));
    REFUSED(-ERANGE, sluice_seq_rewind(s, seq, INT64_MAX));
    CHECK(sluice_seq_fork(s, seq) == 1, "fork");
    REFUSED(-E2BIG, sluice_seq_new(s));
    REFUSED(-E2BIG, sluice_seq_fork(s, seq));
    REFUSED(0, sluice_seq_free(s, 1));
    REFUSED(-EINVAL, sluice_seq_free(s, 1));
    REFUSED(0, sluice_seq_rewind(s, seq, 0));
}

static void check_text(struct sluice_model *model)
{
    struct sluice_error error;
    const char *piece;
    char *text = NULL;
    int32_t id;

    REFUSED(-EINVAL, sluice_tokenize(model, NULL, 1, 0, &id, 1));
    REFUSED(-EINVAL, sluice_tokenize(model, "a", 1, 0, NULL, 1));
    REFUSED(-EINVAL, sluice_tokenize(model, "a", 1, 1u << 31, &id, 1));
    REFUSED(0, sluice_tokenize(model, NULL, 0, 0, NULL, 0));
    REFUSED(-ERANGE, sluice_token_piece(model, -1, true, &piece));
    REFUSED(-ERANGE, sluice_token_piece(model, INT32_MAX, true, &piece));
    CHECK(!sluice_token_is_eog(model, -1) && !sluice_token_is_eog(model, INT32_MAX), "eog");
    REFUSED(-EINVAL, sluice_chat_render(model, NULL, NULL, true, &text, &error));
    REFUSED(-EINVAL, sluice_chat_render(model, "[]", NULL, true, NULL, &error));
    REFUSED(-EBADMSG, sluice_chat_render(model, "", NULL, true, &text, NULL));
    REFUSED(-EBADMSG, sluice_chat_render(model, "[{\"role\":1}]", NULL, true, &text, NULL));
    CHECK(!text, "a text on failure");
}

static void check_sampler(struct sluice_model *model)
{
    const struct sluice_logit_bias far = { .token = INT32_MAX };
    struct sluice_sampler_opts good, opts[6];
    struct sluice_sampler *sampler = NULL;
    struct sluice_error error;

    sluice_sampler_opts_default(model, &good);
    for (size_t i = 0; i < 6; i++)
        opts[i] = good;
    opts[0].temperature = NAN;
    opts[1].top_p = -1;
    opts[2].repeat_penalty = 0;
    opts[3].penalty_last_n = UINT32_MAX;
    opts[4].n_bias = 1;
    opts[5].n_bias = 1;
    opts[5].bias = &far;
    for (size_t i = 0; i < 6; i++) {
        error.text[0] = '\0';
        CHECK(sluice_sampler_new(&sampler, model, &opts[i], &error) < 0, "sampler %zu", i);
        CHECK(error.text[0] && !sampler, "sampler %zu: text or sampler", i);
    }
    REFUSED(-EINVAL, sluice_sampler_new(&sampler, model, NULL, &error));
    REFUSED(-EINVAL, sluice_sampler_new(NULL, model, &good, &error));
    REFUSED(0, sluice_sampler_new(&sampler, model, &good, NULL));
    sluice_sampler_accept(sampler, -1);
    sluice_sampler_accept(sampler, INT32_MAX);
    sluice_sampler_free(sampler);
}

int main(void)
{
    const struct sluice_session_opts opts = { .n_ctx = 256, .n_seq_max = 2, .n_chunk = 16 };
    struct sluice_session *session;
    struct sluice_model *model;
    int seq;

    check_model();
    model = common_open("models/random-moe-f32.gguf", 2, common_cpu());
    check_session_opts(model);
    session = common_session(model, &opts);
    seq = sluice_seq_new(session);
    check_batches(session, seq);
    check_sequences(session, seq);
    sluice_session_free(session);
    check_text(model);
    check_sampler(model);
    sluice_model_close(model);
    printf("ok\n");
    return 0;
}
