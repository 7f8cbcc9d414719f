#include "common.h"

#include <string.h>
#include <sys/stat.h>
#include <time.h>

const char *common_data(const char *name)
{
    static char path[4096];
    const char *folder = getenv("SL_SHARED");
    struct stat st;

    if (!folder)
        folder = SOURCE_ROOT "/../shared";
    if (stat(folder, &st) != 0) {
        printf("skipped: no test data at %s (set SL_SHARED)\n", folder);
        exit(TEST_SKIP);
    }
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

enum sluice_cpu common_cpu(void)
{
    const char *name = getenv("SLUICE_TEST_CPU");

    if (!name || !name[0])
        return SLUICE_CPU_AUTO;
    if (strcmp(name, "c") == 0)
        return SLUICE_CPU_C;
    if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2"))
        return SLUICE_CPU_AVX2;
    if (strcmp(name, "avx512") == 0 && __builtin_cpu_supports("avx512vnni"))
        return SLUICE_CPU_AVX512;
    printf("skipped: this machine has no %s\n", name);
    exit(TEST_SKIP);
}

uint64_t common_seed(void)
{
    const char *text = getenv("SL_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);

    printf("SL_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

uint64_t common_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

struct sluice_model *common_open(const char *name, uint32_t n_threads, enum sluice_cpu cpu)
{
    const struct sluice_model_opts opts = { .n_threads = n_threads, .cpu = cpu };
    struct sluice_error error;
    struct sluice_model *model;
    int r = sluice_model_open(&model, common_data(name), &opts, &error);

    CHECK(r == 0, "open %s: %s", name, error.text);
    return model;
}

struct sluice_session *common_session(struct sluice_model *model,
                                      const struct sluice_session_opts *opts)
{
    struct sluice_error error;
    struct sluice_session *session;
    int r = sluice_session_new(&session, model, opts, &error);

    CHECK(r == 0, "session: %s", error.text);
    return session;
}

void common_feed(struct sluice_session *session, int seq, const int32_t *tokens, uint32_t n,
                 uint32_t n_call, uint32_t n_vocab, float *rows)
{
    for (uint32_t i = 0; i < n; i += n_call) {
        uint32_t k = n - i < n_call ? n - i : n_call;
        struct sluice_batch batch = { .seq = seq, .n_tokens = k, .tokens = tokens + i,
                                      .n_logits = rows ? k : 0 };
        const float *logits;
        int r = sluice_decode(session, &batch, 1, &logits);

        CHECK(r == 0, "decode: %s", sluice_session_error(session));
        if (rows)
            memcpy(rows + (size_t)i * n_vocab, logits, sizeof(float) * k * n_vocab);
    }
}
