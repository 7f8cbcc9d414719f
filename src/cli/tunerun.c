/*
 * Each run has a session of its own, since a session is made for the workers that there
 * are. A few tokens go before the timed ones: they wake the workers and touch the memory.
 */
#include "cli/tunerun.h"

#include <errno.h>

#include "cli/benchrun.h"
#include "cli/interrupt.h"
#include "model/workers.h"

#define FIRST_TOKENS 4u /* not timed */
#define SMALL_PROMPT 32u
#define SMALL_GEN 8u
#define PROMPT_MIN 32u
#define PROMPT_MAX 512u
#define GEN_MIN 8u
#define GEN_MAX 256u

static double rate(uint32_t n, uint64_t ns)
{
    return 1e9 * n / (double)(ns ? ns : 1);
}

static int time_both(struct sl_benchrun *bench, uint32_t n_prompt, uint32_t n_gen,
                     double *ret_rates)
{
    uint64_t ns = 1;
    int r = sl_benchrun_set_depth(bench, 0);

    if (r == 0)
        r = sl_benchrun_pass(bench, FIRST_TOKENS, FIRST_TOKENS, &ns);
    if (r == 0)
        r = sl_benchrun_set_depth(bench, 0);
    if (r == 0)
        r = sl_benchrun_pass(bench, n_prompt, 0, &ns);
    ret_rates[SL_TUNE_PREFILL] = rate(n_prompt, ns);
    if (r == 0)
        r = sl_benchrun_pass(bench, 0, n_gen, &ns);
    ret_rates[SL_TUNE_DECODE] = rate(n_gen, ns);
    return r == 0 && sl_interrupt_is_set() ? -ECANCELED : r;
}

static int run_once(struct sl_tunerun *run, uint32_t n_prompt, uint32_t n_gen, double *ret_rates)
{
    struct sl_opened *opened = run->opened;
    struct sl_benchrun bench = {.n_batch = 0};
    int r = sluice_session_new(&opened->session, opened->model, &run->session,
                               (struct sluice_error *)&run->error);

    if (r < 0)
        return r;
    r = sl_benchrun_init(&bench, opened, PROMPT_MAX); /* cut into steps by the session */
    if (r == 0) {
        if (run->random)
            bench.random = run->random;
        sl_interrupt_set_session(opened->session);
        r = time_both(&bench, n_prompt, n_gen, ret_rates);
        sl_interrupt_set_session(NULL);
        run->random = bench.random;
    }
    if (r < 0)
        (void)sl_diag_set(&run->error, r, "%s", r == -ENOMEM ? "not enough memory"
                                                             : sluice_session_error(
                                                                   opened->session));
    sl_benchrun_done(&bench);
    sluice_session_free(opened->session);
    opened->session = NULL;
    return r;
}

static uint32_t clamp(double value, uint32_t min, uint32_t max)
{
    return value < min ? min : value > max ? max : (uint32_t)value;
}

int sl_tunerun_size(struct sl_tunerun *run, uint64_t ns)
{
    double rates[SL_TUNE_PURPOSES] = {0}, half_s = (double)ns * 0.5e-9;
    int r;

    run->session = (struct sluice_session_opts){
        .n_ctx = PROMPT_MAX + GEN_MAX, .n_seq_max = 1, .n_logits = 1};
    r = run_once(run, SMALL_PROMPT, SMALL_GEN, rates);
    if (r < 0)
        return r;
    run->n_prompt = clamp(rates[SL_TUNE_PREFILL] * half_s, PROMPT_MIN, PROMPT_MAX);
    run->n_gen = clamp(rates[SL_TUNE_DECODE] * half_s, GEN_MIN, GEN_MAX);
    return 0;
}

int sl_tunerun_time(struct sl_tunerun *run, const struct sl_tune_setting *setting,
                    double ret_rates[SL_TUNE_PURPOSES])
{
    int r = sl_workers_replace(run->opened->model, setting->cpus, setting->n, &run->error);

    return r < 0 ? r : run_once(run, run->n_prompt, run->n_gen, ret_rates);
}
