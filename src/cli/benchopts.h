/*
 * The options of sluice bench that are llama-bench's, as an argp child: its names, lists
 * and ranges ("1,2", "1-8", "1-8+2", "1-16*2"), repeated options adding to the list. A bad
 * value ends the program with exit code 2.
 *
 * Options for what a CPU or this program does not have are taken, shown in the results as
 * given, and noted on stderr; those that would make another measurement are refused.
 */
#pragma once

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/benchprint.h"
#include "sluice.h"

#define SL_BENCH_LIST_MAX 256u

struct sl_bench_list {
    uint32_t values[SL_BENCH_LIST_MAX];
    uint32_t n; /* 0: not given */
};

struct sl_bench_args {
    const char *models[SL_BENCH_LIST_MAX]; /* of -m; borrowed from argv */
    uint32_t n_models;
    struct sl_bench_list prompt, gen, depth, batch, ubatch, threads;
    struct sl_bench_list pg_prompt, pg_gen; /* pairs */
    struct sl_bench_list kv_k, kv_v;        /* enum sluice_kv */
    struct sl_bench_list kv;                /* of all pairs of these, those that are alike */
    uint32_t n_reps;                        /* 0: not given */
    uint32_t delay_s;
    enum sl_bench_format out, err;
    bool has_progress, has_no_warmup, is_extended;
    const char *given[SL_BENCH_FIELDS];     /* as in struct sl_benchprint */
    enum sluice_numa numa;                  /* --numa off or split is ours; others are ignored */
    char ignored[256];                      /* names of options that change nothing */
    const char *table_option;               /* one that asks for llama-bench's table, or NULL */
    const char *strict_option;              /* the same, but for -m, -n and -r */
};
extern const struct argp sl_options_bench;

/* Fill in what was not given as llama-bench has it, and kv. A usage error if no types of keys
 * and values are alike. */
void sl_benchopts_complete(struct sl_bench_args *args, struct argp_state *state);

/* "f16", "f32", "q8_0" */
const char *sl_benchopts_kv_name(uint32_t kv);
