/*
 * Ids come from a generator that is seeded alike each time. Going back to a depth is the
 * timeline's rewinding, so that a deep cache is computed once for all runs of a test.
 */
#include "cli/benchrun.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "model/engine.h"

int sl_benchrun_init(struct sl_benchrun *run, const struct sl_opened *opened, uint32_t n_batch)
{
    *run = (struct sl_benchrun){
        .session = opened->session,
        .ids = calloc(n_batch, sizeof(*run->ids)),
        .n_batch = n_batch,
        .n_vocab = opened->info.n_vocab,
        .bos = sl_vocab_add_bos(opened->model->vocab) ? opened->info.bos : -1,
        .seq = -1,
        .random = 0x9E3779B97F4A7C15u,
    };
    return run->ids ? 0 : -ENOMEM;
}

void sl_benchrun_done(struct sl_benchrun *run)
{
    free(run->ids);
    *run = (struct sl_benchrun){.seq = -1};
}

/* xorshift64: any ids will do, as long as they spread over the vocabulary. */
static int32_t random_id(struct sl_benchrun *run)
{
    run->random ^= run->random << 13;
    run->random ^= run->random >> 7;
    run->random ^= run->random << 17;
    return (int32_t)((run->random >> 32) % run->n_vocab);
}

static int compute(struct sl_benchrun *run, uint32_t n)
{
    struct sluice_batch batch = {.seq = run->seq, .tokens = run->ids, .n_logits = 1};
    const float *logits;
    int r = 0;

    for (uint32_t done = 0; done < n && r == 0; done += batch.n_tokens) {
        batch.n_tokens = n - done < run->n_batch ? n - done : run->n_batch;
        for (uint32_t i = 0; i < batch.n_tokens; i++)
            run->ids[i] = random_id(run);
        if (done == 0 && run->bos >= 0)
            run->ids[0] = run->bos;
        r = sluice_decode(run->session, &batch, 1, &logits);
    }
    return r;
}

int sl_benchrun_set_depth(struct sl_benchrun *run, uint32_t depth)
{
    const int32_t *tokens;
    int64_t n;
    int r;

    if (run->seq >= 0 && depth == 0) {
        r = sluice_seq_free(run->session, run->seq);
        run->seq = -1;
        if (r < 0)
            return r;
    }
    if (run->seq < 0) {
        r = sluice_seq_new(run->session);
        if (r < 0)
            return r;
        run->seq = r;
    }
    n = sluice_seq_tokens(run->session, run->seq, &tokens);
    if (n > depth)
        return sluice_seq_rewind(run->session, run->seq, depth);
    return n < 0 ? (int)n : compute(run, depth - (uint32_t)n);
}

int sl_benchrun_pass(struct sl_benchrun *run, uint32_t n_prompt, uint32_t n_gen, uint64_t *ret_ns)
{
    struct sluice_batch batch = {.seq = run->seq, .n_tokens = 1, .n_logits = 1};
    int32_t id = run->bos >= 0 ? run->bos : random_id(run);
    uint64_t began = sl_clock_ns();
    const float *logits;
    int r = compute(run, n_prompt);

    batch.tokens = &id;
    for (uint32_t i = 0; i < n_gen && r == 0; i++) {
        r = sluice_decode(run->session, &batch, 1, &logits);
        id = random_id(run);
    }
    *ret_ns = sl_clock_ns() - began;
    return r;
}

/* Numbers of general.file_type. Source: llama.cpp's include/llama.h. */
static const char *file_type_name(uint64_t number)
{
    static const char *const names[] = {
        [0] = "all F32", [1] = "F16", [2] = "Q4_0", [3] = "Q4_1", [7] = "Q8_0", [8] = "Q5_0",
        [9] = "Q5_1", [10] = "Q2_K - Medium", [11] = "Q3_K - Small", [12] = "Q3_K - Medium",
        [13] = "Q3_K - Large", [14] = "Q4_K - Small", [15] = "Q4_K - Medium",
        [16] = "Q5_K - Small", [17] = "Q5_K - Medium", [18] = "Q6_K", [21] = "Q2_K - Small",
        [25] = "IQ4_NL - 4.5 bpw", [30] = "IQ4_XS - 4.25 bpw", [32] = "BF16",
    };

    return number < sizeof(names) / sizeof(names[0]) ? names[number] : NULL;
}

/* Where the file does not say: as if it were the commonest of those with such matrices. */
static uint64_t guess_file_type(enum sl_dtype dtype)
{
    static const uint8_t numbers[SL_DTYPE_LIMIT] = {
        [SL_DTYPE_F32] = 0, [SL_DTYPE_F16] = 1, [SL_DTYPE_BF16] = 32, [SL_DTYPE_Q8_0] = 7,
        [SL_DTYPE_Q4_0] = 2, [SL_DTYPE_Q4_1] = 3, [SL_DTYPE_Q5_0] = 8, [SL_DTYPE_Q5_1] = 9,
        [SL_DTYPE_Q2_K] = 10, [SL_DTYPE_Q3_K] = 12, [SL_DTYPE_Q4_K] = 15, [SL_DTYPE_Q5_K] = 17,
        [SL_DTYPE_Q6_K] = 18, [SL_DTYPE_IQ4_NL] = 25, [SL_DTYPE_IQ4_XS] = 30,
    };

    return numbers[dtype];
}

/* llama.cpp tells dense sizes by the width of the FFN, the others by their layers. */
static const char *size_name(const struct sluice_model *model)
{
    if (model->hp.is_moe)
        return model->hp.n_layers == 24 ? "8B.A1B" : model->hp.n_layers == 40 ? "24B.A2B" : "?B";
    switch (model->weights.ff_max) {
    case 2560: return "230M";
    case 4608: return "350M";
    case 6912: return "700M";
    case 8192: return "1.2B";
    case 10752: return "2.6B";
    default: return "?B";
    }
}

void sl_benchrun_model_type(char *ret_text, const struct sluice_model *model)
{
    const struct sl_gguf_kv *kv = sl_gguf_kv_find(model->gguf, "general.file_type");
    const struct sl_layer *last = &model->weights.layers[model->hp.n_layers - 1];
    const char *type = NULL;
    uint64_t number;

    if (sl_gguf_kv_u64(kv, 0, &number))
        type = file_type_name(number);
    (void)snprintf(ret_text, SL_BENCHRUN_TYPE_BYTES, "%s %s %s%s",
                   model->hp.is_moe ? "lfm2moe" : "lfm2", size_name(model),
                   type ? "" : "(guessed) ",
                   type ? type : file_type_name(guess_file_type(last->gate.dtype)));
}

uint64_t sl_benchrun_n_params(const struct sluice_model *model)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < sl_gguf_n_tensors(model->gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(model->gguf, i);
        uint64_t n = 1;

        for (uint32_t d = 0; d < SL_GGUF_DIMS_MAX; d++)
            n *= t->ne[d];
        total += n;
    }
    return total;
}
