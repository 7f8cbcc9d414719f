/*
 * Between the first token and the last nothing is allocated: no allocation, mapping,
 * open or thread start in our code or, for malloc and friends, in any library.
 */
#include <malloc.h>
#include <string.h>

#include "common.h"
#include "tests/fault/faults.h"

static void generate(struct sluice_session *session, int seq, struct sluice_sampler *sampler,
                     const struct sluice_model *model, int32_t token, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct sluice_batch batch = { .seq = seq, .n_tokens = 1, .tokens = &token,
                                      .n_logits = 1 };
        const float *logits;
        const char *piece;

        CHECK(sluice_decode(session, &batch, 1, &logits) == 0, "decode: %s",
              sluice_session_error(session));
        token = sluice_sampler_sample(sampler, logits);
        sluice_sampler_accept(sampler, token);
        CHECK(sluice_token_piece(model, token, true, &piece) >= 0, "piece");
    }
}

int main(void)
{
    const struct sluice_session_opts opts = { .n_ctx = 1536 };
    struct sluice_model *model = common_open("models/tiny-q4_k_m.gguf", 2, common_cpu());
    struct sluice_session *session = common_session(model, &opts);
    struct sluice_sampler_opts sampler_opts;
    struct sluice_sampler *sampler;
    int seq = sluice_seq_new(session), fork;
    struct mallinfo2 heap, heap_after;
    uint64_t n_calls;

    sluice_sampler_opts_default(model, &sampler_opts);
    sampler_opts.temperature = 1;
    sampler_opts.top_k = 40;
    sampler_opts.top_p = 0.9f;
    sampler_opts.frequency_penalty = 0.1f;
    CHECK(sluice_sampler_new(&sampler, model, &sampler_opts, NULL) == 0, "sampler");
    generate(session, seq, sampler, model, 1, 1);

    n_calls = faults_calls(FAULTS_ALL);
    CHECK(n_calls > 0, "the counter counts nothing");
    heap = mallinfo2();
    generate(session, seq, sampler, model, 300, 600);
    CHECK(sluice_seq_rewind(session, seq, 200) == 0, "rewind");
    fork = sluice_seq_fork(session, seq);
    generate(session, fork, sampler, model, 301, 100);
    heap_after = mallinfo2();
    CHECK(faults_calls(FAULTS_ALL) == n_calls, "%llu calls between first and last token",
          (unsigned long long)(faults_calls(FAULTS_ALL) - n_calls));
    CHECK(heap.uordblks == heap_after.uordblks && heap.hblks == heap_after.hblks,
          "the heap has grown");
    printf("ok: 0 allocations in 700 tokens\n");

    sluice_sampler_free(sampler);
    sluice_session_free(session);
    sluice_model_close(model);
    return 0;
}
