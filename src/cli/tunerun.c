/*
 * A run goes on until its time is over, so that slow settings take no longer than fast ones:
 * a prompt is read in pieces of the same size, then tokens are decoded in bursts. Each run
 * has a session of its own, since a session is made for the workers that there are. A few
 * tokens go before the timed ones: they wake the workers and touch the memory.
 */
#include "cli/tunerun.h"

#include <errno.h>

#include "cli/benchrun.h"
#include "cli/interrupt.h"
#include "model/workers.h"

#define FIRST_TOKENS 4u /* not timed */
#define FIRST_PROMPT 64u /* of the run that says how large pieces shall be */
#define PIECES_WANTED 4.0 /* in the time of a run */
#define PIECE_MIN 32u
#define PIECE_MAX 512u /* as many as a step takes by default */
#define PROMPT_MAX 2048u /* in a run */
#define BURST 4u
#define GEN_MAX 256u

/* Do passes of so many tokens until ns or n_max is reached; tokens per second. */
static int time_passes(struct sl_benchrun *bench, uint32_t n_prompt, uint32_t n_gen,
                       uint32_t n_max, uint64_t ns, double *ret_rate)
{
    uint64_t all_ns = 0, pass_ns = 0;
    uint32_t n = 0;
    int r = sl_benchrun_set_depth(bench, 0);

    do {
        if (r == 0)
            r = sl_benchrun_pass(bench, n_prompt, n_gen, &pass_ns);
        if (r == 0 && sl_interrupt_is_set())
            r = -ECANCELED;
        all_ns += pass_ns;
        n += n_prompt + n_gen;
    } while (r == 0 && all_ns < ns && n + n_prompt + n_gen <= n_max);
    *ret_rate = 1e9 * n / (double)(all_ns ? all_ns : 1);
    return r;
}

static int time_both(struct sl_tunerun *run, struct sl_benchrun *bench, double *ret_rates)
{
    double ignored;
    int r = time_passes(bench, FIRST_TOKENS, FIRST_TOKENS, 2 * FIRST_TOKENS, 0, &ignored);

    if (r == 0)
        r = time_passes(bench, run->n_prompt, 0, run->n_ctx, run->ns / 2,
                        &ret_rates[SL_TUNE_PREFILL]);
    if (r == 0)
        r = time_passes(bench, 0, BURST, run->n_ctx < GEN_MAX ? run->n_ctx : GEN_MAX,
                        run->ns / 2, &ret_rates[SL_TUNE_DECODE]);
    return r;
}

static int run_once(struct sl_tunerun *run, double *ret_rates)
{
    const struct sluice_session_opts opts = {.n_ctx = run->n_ctx, .n_seq_max = 1, .n_logits = 1};
    struct sl_opened *opened = run->opened;
    struct sl_benchrun bench = {.n_batch = 0};
    int r = sluice_session_new(&opened->session, opened->model, &opts,
                               (struct sluice_error *)&run->error);

    if (r < 0)
        return r;
    r = sl_benchrun_init(&bench, opened, PIECE_MAX);
    if (r == 0) {
        if (run->random)
            bench.random = run->random;
        sl_interrupt_set_session(opened->session);
        r = time_both(run, &bench, ret_rates);
        sl_interrupt_set_session(NULL);
        run->random = bench.random;
        if (r < 0)
            (void)sl_diag_set(&run->error, r, "%s", sluice_session_error(opened->session));
    } else {
        (void)sl_diag_set(&run->error, r, "not enough memory");
    }
    sl_benchrun_done(&bench);
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
