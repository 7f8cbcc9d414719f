/*
 * sluice bench as llama-bench: a row for each test of each setting. A setting is what a model
 * and a session are made for; the tests of a setting (depths, prompts, answers) share both.
 * Main thread.
 */
#pragma once

#include "cli/benchopts.h"
#include "cli/options.h"

/* Measure and print, rows as they come. model: for all settings; bench: completed. An exit
 * code, after reporting what went wrong. */
int sl_benchtable_run(const struct sl_model_args *model, const struct sl_bench_args *bench);
