/*
 * Runs of the expert cache over a recorded trace: the recorded run itself, to the digit,
 * and others with another budget, policy, prediction or disk, in virtual time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "experts/trace.h"

/* ---- the recorded run ---- */

struct sim_exact {
    struct sl_cache_counters counters, recorded;
    bool has_end;     /* the trace has counters to compare with */
    bool is_same;     /* counters and everything that happened */
    bool has_diverged;
};

/* Run the trace's calls again. -EBADMSG, -ENOMEM. */
int sim_run_exact(struct sl_trace *trace, struct sim_exact *ret_exact, struct sl_diag *diag);

/* Give a cache what the recorded one began with. */
void sim_seed(struct sl_cache *cache, const struct sl_trace_info *info);

/* ---- other runs ---- */

enum sim_predict { SIM_PREDICT_RECORDED = 0, SIM_PREDICT_OFF, SIM_PREDICT_PERFECT };

/* What a step did in one layer. */
struct sim_layer_step {
    uint32_t layer, n, n_observed, n_guesses, n_polls;
    uint64_t experts, observed, ranks, guesses, polls; /* indexes into the script's arrays */
    double moe_s;  /* computing experts */
    double rest_s; /* from there to the next layer's experts */
    bool has_ranks;
};

/* A trace taken apart. Arrays grow while it is read. */
struct sim_script {
    const struct sl_trace_info *info; /* the trace's */
    struct sim_layer_step *steps;
    uint32_t *experts;
    int8_t *ranks;
    struct sl_guess *guesses;
    double *polls; /* seconds of computing after the layer's experts */
    uint64_t n_steps, n_experts, n_ranks, n_guesses, n_polls;
    uint64_t cap[5];
    uint64_t n_tokens; /* steps */
    bool is_filled;    /* free slots were filled from the start */
};

/* Reads the trace to its end; it must stay open. -EBADMSG, -ENOMEM. */
int sim_script_read(struct sim_script *ret_script, struct sl_trace *trace, struct sl_diag *diag);
void sim_script_done(struct sim_script *script);

struct sim_opts {
    uint64_t budget;
    enum sl_evict_policy policy;
    enum sim_predict predict;
    double bandwidth; /* bytes per second */
};

struct sim_result {
    struct sl_cache_counters counters;
    double seconds, stall_s; /* virtual */
};

/* -ENOMEM: also when the budget is too small. */
int sim_run(const struct sim_script *script, const struct sim_opts *opts,
            struct sim_result *ret_result, struct sl_diag *diag);

/*
 * What a cache of this budget that knows the future would hit, and its misses' bytes,
 * reading on demand only (Belady): counters requests, hits, misses, demand_bytes.
 */
int sim_belady(const struct sim_script *script, uint64_t budget, struct sim_result *ret_result,
               struct sl_diag *diag);
