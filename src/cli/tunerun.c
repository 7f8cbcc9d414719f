/*
 * A run goes on until its time is over, so that slow settings take no longer than fast ones:
 * a prompt is read in pieces of the same size, then tokens are decoded one by one. Each run
 * has a session of its own, since a session is made for the workers that there are. A few
 * tokens go before the timed ones: they wake the workers and touch the memory.
 */
#include "cli/tunerun.h"

#include <errno.h>

#include "base/clock.h"
#include "cli/interrupt.h"
#include "model/workers.h"

#define FIRST_TOKENS 4u /* not timed */
#define FIRST_PROMPT 64u /* of the run that says how large pieces shall be */
#define PIECES_WANTED 4.0 /* in the time of a run */
#define PIECE_MIN 32u
#define PIECE_MAX 512u /* as many as a step takes by default */
#define PROMPT_MAX 2048u /* in a run */
#define GEN_MAX 256u

/* The ids of a run, any that spread over the vocabulary: xorshift64. */
static int32_t random_id(struct sl_tunerun *run)
{
    run->random ^= run->random << 13;
    run->random ^= run->random >> 7;
    run->random ^= run->random << 17;
    return (int32_t)((run->random >> 32) % run->opened->info.n_vocab);
}

/* A new sequence, to which n_call tokens are appended again and again until ns or n_max is
 * reached: tokens per second. */
static int time_calls(struct sl_tunerun *run, uint32_t n_call, uint32_t n_max, uint64_t ns,
                      double *ret_rate)
{
    struct sluice_session *session = run->opened->session;
    int32_t ids[PIECE_MAX];
    struct sluice_batch batch = {.n_tokens = n_call, .tokens = ids, .n_logits = 1};
    uint64_t all_ns = 0;
    const float *logits;
    uint32_t n = 0;
    int r = 0;

    batch.seq = sluice_seq_new(session);
    if (batch.seq < 0)
        return batch.seq;
    do {
        uint64_t start;

        for (uint32_t i = 0; i < n_call; i++)
            ids[i] = random_id(run);
        start = sl_clock_ns();
        r = sluice_decode(session, &batch, 1, &logits);
        all_ns += sl_clock_ns() - start;
        n += n_call;
        if (r == 0 && sl_interrupt_is_set())
            r = -ECANCELED;
    } while (r == 0 && all_ns < ns && n + n_call <= n_max);
    (void)sluice_seq_free(session, batch.seq); /* ours: cannot fail */
    *ret_rate = 1e9 * n / (double)(all_ns ? all_ns : 1);
    return r;
}

static int time_both(struct sl_tunerun *run, double *ret_rates)
{
    double ignored;
    int r = time_calls(run, FIRST_TOKENS, FIRST_TOKENS, 0, &ignored);

    if (r == 0)
        r = time_calls(run, 1, FIRST_TOKENS, UINT64_MAX, &ignored);
    if (r == 0)
        r = time_calls(run, run->n_prompt, run->n_ctx, run->ns / 2, &ret_rates[SL_TUNE_PREFILL]);
    if (r == 0)
        r = time_calls(run, 1, run->n_ctx < GEN_MAX ? run->n_ctx : GEN_MAX, run->ns / 2,
                       &ret_rates[SL_TUNE_DECODE]);
    return r;
}

static int run_once(struct sl_tunerun *run, double *ret_rates)
{
    const struct sluice_session_opts opts = {.n_ctx = run->n_ctx, .n_seq_max = 1, .n_logits = 1};
    struct sl_opened *opened = run->opened;
    int r = sluice_session_new(&opened->session, opened->model, &opts,
                               (struct sluice_error *)&run->error);

    if (r < 0)
        return r;
    sl_interrupt_set_session(opened->session);
    r = time_both(run, ret_rates);
    sl_interrupt_set_session(NULL);
    if (r < 0)
        (void)sl_diag_set(&run->error, r, "%s", sluice_session_error(opened->session));
    sluice_session_free(opened->session);
    opened->session = NULL;
    return r;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

int sl_tunerun_size(struct sl_tunerun *run, uint64_t ns)
{
    double rates[SL_TUNE_PURPOSES] = {0}, tokens;
    int r;

    run->random = 0x9E3779B97F4A7C15u;
    run->n_ctx = least(PROMPT_MAX, run->opened->info.n_ctx_train);
    run->ns = 0; /* one pass of each */
    run->n_prompt = least(FIRST_PROMPT, run->n_ctx);
    r = run_once(run, rates);
    if (r < 0)
        return r;
    run->ns = ns;
    tokens = rates[SL_TUNE_PREFILL] * (double)ns * 0.5e-9 / PIECES_WANTED;
    run->n_prompt = tokens < PIECE_MIN   ? PIECE_MIN
                    : tokens > PIECE_MAX ? PIECE_MAX
                                         : (uint32_t)tokens;
    run->n_prompt = least(run->n_prompt, run->n_ctx);
    return 0;
}

int sl_tunerun_time(struct sl_tunerun *run, const struct sl_tune_setting *setting,
                    double ret_rates[SL_TUNE_PURPOSES])
{
    int r = sl_workers_replace(run->opened->model, setting->cpus, setting->n, &run->error);

    return r < 0 ? r : run_once(run, ret_rates);
}
