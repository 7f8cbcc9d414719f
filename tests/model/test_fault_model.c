/*
 * The n-th call of the system that can fail does fail, for every n, while a model is
 * opened, a session made, text tokenised and a token computed: each time a clean error
 * and nothing leaked (address sanitizer), until a run meets no failure.
 */
#include <errno.h>
#include <string.h>

#include "common.h"
#include "tests/fault/faults.h"

/* 0, or the first error. */
static int run_all(const char *path, enum sluice_cpu cpu)
{
    const struct sluice_model_opts opts = { .n_threads = 2, .cpu = cpu };
    const struct sluice_session_opts session_opts = { .n_ctx = 256 };
    struct sluice_error error = { "" };
    struct sluice_session *session = NULL;
    struct sluice_model *model = NULL;
    struct sluice_sampler *sampler = NULL;
    struct sluice_sampler_opts sampler_opts;
    char *text = NULL;
    int32_t ids[64];
    const float *logits;
    int64_t n;
    int r;

    r = sluice_model_open(&model, path, &opts, &error);
    if (r < 0) {
        CHECK(!model, "the model was set on failure");
        CHECK(error.text[0], "no text for error %d", r);
        CHECK(r != -ENOMEM || strstr(error.text, "memory"), "no memory, but: %s", error.text);
        return r;
    }
    r = sluice_session_new(&session, model, &session_opts, &error);
    if (r < 0)
        goto done;
    sluice_sampler_opts_default(model, &sampler_opts);
    r = sluice_sampler_new(&sampler, model, &sampler_opts, &error);
    if (r < 0)
        goto done;
    r = sluice_chat_render(model, "[{\"role\":\"user\",\"content\":\"hi\"}]", NULL, true, &text,
                           &error);
    if (r < 0)
        goto done;
    n = sluice_tokenize(model, text, strlen(text), SLUICE_TOKENIZE_SPECIAL, ids, 64);
    r = (int)(n < 0 ? n : 0);
    if (r < 0)
        goto done;
    r = sluice_decode(session, &(struct sluice_batch){ .seq = sluice_seq_new(session),
                                                       .n_tokens = (uint32_t)n, .tokens = ids,
                                                       .n_logits = 1 }, 1, &logits);
done:
    free(text);
    sluice_sampler_free(sampler);
    sluice_session_free(session);
    sluice_model_close(model);
    return r;
}

int main(void)
{
    enum sluice_cpu cpu = common_cpu();
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s", common_data("models/random-moe-f32.gguf"));
    for (uint64_t n = 1;; n++) {
        int r;

        CHECK(n < 100000, "no end");
        faults_arm(FAULTS_ALL, n);
        r = run_all(path, cpu);
        faults_disarm();
        if (!faults_hit()) {
            CHECK(r == 0, "failed without a fault: %d", r);
            printf("ok: %llu faults survived\n", (unsigned long long)(n - 1));
            return 0;
        }
        /* A failed call may have a fallback (huge pages, hwloc, quota): success is fine. */
        CHECK(r == 0 || r == -ENOMEM || r == -EMFILE || r == -EIO || r == -EAGAIN,
              "fault %llu: unexpected error %d", (unsigned long long)n, r);
    }
}
