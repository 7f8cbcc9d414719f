/*
 * Options on worker threads: the value of --cpus, and what sluice tune found.
 * Main thread.
 */
#pragma once

#include "cli/options.h"

/* The list of --cpus; otherwise argp_error. */
void sl_workeropts_parse_cpus(struct sl_model_args *args, const char *arg,
                              struct argp_state *state);

/*
 * Before a model is opened: fill args->opts with the workers asked for, or else with those
 * that were tuned for this model and machine. What was kept but cannot be used is noted on
 * stderr. Returns 0 or an exit code; args must outlive what is opened with it.
 */
int sl_workeropts_apply(struct sl_model_args *args);
