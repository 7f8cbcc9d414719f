/* Continue a text: example MODEL.gguf [PROMPT]. Built and run by the tests. */
#include <sluice.h>
#include <stdio.h>
#include <string.h>

#define N_PROMPT_MAX 512
#define N_NEW 40

int main(int argc, char **argv)
{
    const char *prompt = argc > 2 ? argv[2] : "In the beginning", *piece;
    struct sluice_session_opts opts = {.n_ctx = N_PROMPT_MAX + N_NEW, .n_seq_max = 1};
    struct sluice_model *model = NULL;
    struct sluice_session *session = NULL;
    struct sluice_sampler *sampler = NULL;
    struct sluice_sampler_opts sampling;
    struct sluice_error error = {"usage: example MODEL.gguf [PROMPT]"};
    const float *logits;
    int32_t ids[N_PROMPT_MAX], next;
    int64_t n_ids = -1;
    int n_bytes;

    if (argc > 1 && sluice_model_open(&model, argv[1], NULL, &error) == 0 &&
        sluice_session_new(&session, model, &opts, &error) == 0) {
        sluice_sampler_opts_default(model, &sampling);
        sampling.temperature = 0; /* always the likeliest token */
        if (sluice_sampler_new(&sampler, model, &sampling, &error) == 0)
            n_ids = sluice_tokenize(model, prompt, strlen(prompt), SLUICE_TOKENIZE_BOS, ids,
                                    N_PROMPT_MAX);
    }
    if (n_ids < 1 || n_ids > N_PROMPT_MAX)
        return fprintf(stderr, "%s\n", sampler ? "prompt too long" : error.text), 1;

    struct sluice_batch batch = {sluice_seq_new(session), (uint32_t)n_ids, ids, 1};
    for (int i = 0; i < N_NEW && sluice_decode(session, &batch, 1, &logits) >= 0; i++) {
        next = sluice_sampler_sample(sampler, logits);
        if (sluice_token_is_eog(model, next))
            break;
        sluice_sampler_accept(sampler, next);
        n_bytes = sluice_token_piece(model, next, false, &piece);
        printf("%.*s", n_bytes, piece);
        batch.tokens = &next;
        batch.n_tokens = 1;
    }
    printf("\n");
    sluice_sampler_free(sampler);
    sluice_session_free(session);
    sluice_model_close(model);
    return 0;
}
