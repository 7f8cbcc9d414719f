/*
 * Options that several commands share, as argp children: a command's parser hands each
 * child its struct on ARGP_KEY_INIT (state->child_inputs). A bad value ends the program
 * with exit code 2, as argp does for unknown options; a MODEL that is not there, with 1.
 */
#pragma once

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"
#include "sluice.h"

/* The argument MODEL, -t, --cpus, --numa, --no-tuned, --cpu; -h for --help. A command's own
 * parser sees arguments first and leaves MODEL, the first of them, by returning
 * ARGP_ERR_UNKNOWN. */
struct sl_model_args {
    const char *path;      /* of MODEL; after parsing */
    const char *name;      /* MODEL as it was given */
    char found[4096];      /* path, where MODEL was found by name */
    bool is_path_optional; /* the command may get models in another way too */
    const char *advice;    /* to who gives too many arguments, or NULL */
    struct sluice_model_opts opts;
    bool no_profile, no_tuned;
    char profile[4096]; /* opts.profile_path, by sl_opened_open */
    uint32_t n_cpus;    /* of --cpus; 0: not given */
    int32_t cpus[SL_POOL_WORKERS_MAX]; /* these, or those tuned: opts.cpus, by sl_opened_open */
    char why[64];       /* opts.threads_why, likewise */
};
extern const struct argp sl_options_model;

/* --ram, --residency ...; also a struct sl_model_args. */
extern const struct argp sl_options_memory;

/* Both of these, under headings of their own, after the options of a command and those of
 * other children. A struct sl_model_args; neither heading nor group is needed in the child. */
extern const struct argp sl_options_engine;

/* --ctx, --kv, --chunk. */
struct sl_session_args {
    struct sluice_session_opts opts;
};
extern const struct argp sl_options_session;

#define SL_OPTIONS_BIAS_MAX 256

/* -n, --temp ..., --seed, --grammar, --ignore-eos, --special. */
struct sl_sampling_args {
    uint32_t given; /* a bit for each of the fields of opts that was given */
    struct sluice_sampler_opts opts;
    struct sluice_logit_bias bias[SL_OPTIONS_BIAS_MAX];
    uint32_t n_bias;
    uint32_t n_max; /* tokens of an answer; 0: no limit but the context */
    bool has_seed, ignore_eos, special;
    const char *grammar_path; /* NULL: none */
};
extern const struct argp sl_options_sampling;

/* A decimal in min..max; otherwise argp_error with the option's name. */
uint64_t sl_options_uint(struct argp_state *state, const char *name, const char *arg,
                         uint64_t min, uint64_t max);

/* A size: digits, perhaps a point and digits, perhaps K, M, G or T, powers of 1024. */
bool sl_options_parse_size(const char *text, size_t len, uint64_t *ret_bytes);

/* Heap path of the file with what earlier runs learned of a model, which may not be there
 * yet, nor its folder; NULL if there is no place for one or no model. */
char *sl_options_profile_path(const char *model_path);

/* The model's defaults, then what was given; a random seed if none was. bias: heap that
 * the caller frees after making its samplers, NULL if there is none. 0 or -ENOMEM,
 * reported. */
int sl_options_sampler(const struct sl_sampling_args *args, const struct sluice_model *model,
                       struct sluice_sampler_opts *ret_opts,
                       struct sluice_logit_bias **ret_bias);
