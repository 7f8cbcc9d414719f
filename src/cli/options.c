/* Shared options. Ranges are checked here, so that a slip ends as a usage error. */
#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/choices.h"
#include "cli/modelname.h"
#include "cli/report.h"
#include "cli/workeropts.h"

enum {
    KEY_CPU = 256,
    KEY_CTX,
    KEY_KV,
    KEY_CHUNK,
    KEY_TEMP,
    KEY_TOP_K,
    KEY_TOP_P,
    KEY_MIN_P,
    KEY_REPEAT,
    KEY_PRESENCE,
    KEY_FREQUENCY,
    KEY_LAST_N,
    KEY_BIAS,
    KEY_SEED,
    KEY_IGNORE_EOS,
    KEY_SPECIAL,
    KEY_GRAMMAR,
    KEY_CPUS,
    KEY_NUMA,
    KEY_NO_TUNED,
};

uint64_t sl_options_uint(struct argp_state *state, const char *name, const char *arg,
                         uint64_t min, uint64_t max)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(arg, &end, 10);
    if (errno || end == arg || *end || arg[0] < '0' || arg[0] > '9' || value < min || value > max)
        argp_error(state, "%s: a whole number from %llu to %llu expected, found \"%s\"", name,
                   (unsigned long long)min, (unsigned long long)max, arg);
    return value;
}

static float option_float(struct argp_state *state, const char *name, const char *arg, double min,
                          double max)
{
    char *end;
    double value = strtod(arg, &end);

    if (end == arg || *end || !(value >= min && value <= max))
        argp_error(state, "%s: a number from %g to %g expected, found \"%s\"", name, min, max, arg);
    return (float)value;
}

static error_t parse_model(int key, char *arg, struct argp_state *state)
{
    struct sl_model_args *args = state->input;

    switch (key) {
    case 't':
        args->opts.n_threads = (uint32_t)sl_options_uint(state, "--threads", arg, 1, 256);
        break;
    case KEY_CPU: args->opts.cpu = (enum sluice_cpu)sl_choices_parse(state, "cpu", arg); break;
    case KEY_CPUS: sl_workeropts_parse_cpus(args, arg, state); break;
    case KEY_NUMA: args->opts.numa = (enum sluice_numa)sl_choices_parse(state, "numa", arg); break;
    case KEY_NO_TUNED: args->no_tuned = true; break;
    case 'h': argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP); break;
    case ARGP_KEY_ARG:
        if (args->path)
            argp_error(state, "too many arguments%s%s", args->advice ? "; " : "",
                       args->advice ? args->advice : "");
        args->path = args->name = arg;
        break;
    case ARGP_KEY_END:
        if (!args->path && !args->is_path_optional)
            argp_error(state, "no model given");
        break;
    case ARGP_KEY_SUCCESS:
        if (args->path && !args->is_path_optional)
            args->path = sl_modelname_path(state, args->path, args->found, sizeof(args->found));
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option model_options[] = {
    {"threads", 't', "N", 0, "Worker threads (as tuned, or one per physical core)", 0},
    {"cpus", KEY_CPUS, "LIST", 0, "Exactly these logical CPUs, one thread on each: 0-7,16", 0},
    {"numa", KEY_NUMA, "KIND", 0,
     "Memory of machines with several nodes: split over them (the default), or off", 0},
    {"no-tuned", KEY_NO_TUNED, NULL, 0, "Do not use what sluice tune has found", 0},
    {"cpu", KEY_CPU, "LEVEL", 0, "Use at most c, avx2 or avx512 (what this machine has)", 0},
    {NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0},
    {0},
};
const struct argp sl_options_model = {.options = model_options, .parser = parse_model};

static error_t parse_engine(int key, char *arg, struct argp_state *state)
{
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->child_inputs[1] = state->input;
    return 0;
}

#define GROUP_MEMORY 8 /* of help: after those of any command */

static const struct argp_child engine_children[] = {
    {&sl_options_memory, 0, "Memory:", GROUP_MEMORY},
    {&sl_options_model, 0, "Machine:", GROUP_MEMORY + 1},
    {0},
};
const struct argp sl_options_engine = {.parser = parse_engine, .children = engine_children};

static error_t parse_session(int key, char *arg, struct argp_state *state)
{
    struct sl_session_args *args = state->input;

    switch (key) {
    case KEY_CTX:
    case 'c':
        args->opts.n_ctx = (uint32_t)sl_options_uint(state, "--ctx", arg, 1, 1u << 24);
        break;
    case KEY_CHUNK:
        args->opts.n_chunk = (uint32_t)sl_options_uint(state, "--chunk", arg, 1, 2048);
        break;
    case KEY_KV: args->opts.kv = (enum sluice_kv)sl_choices_parse(state, "kv", arg); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option session_options[] = {
    {"ctx", 'c', "N", 0, "Context in tokens (the file's, at most 32768)", 0},
    {"kv", KEY_KV, "TYPE", 0, "Type of the KV cache: f16, f32 or q8_0", 0},
    {"chunk", KEY_CHUNK, "N", 0, "Prompt tokens per step, 1 to 2048; results are the same", 0},
    {0},
};
const struct argp sl_options_session = {.options = session_options, .parser = parse_session};

/* ID=B, B a number or "-inf". */
static void parse_bias(struct sl_sampling_args *args, char *arg, struct argp_state *state)
{
    char *end, *value = strchr(arg, '=');
    long id;
    float bias;

    errno = 0;
    id = strtol(arg, &end, 10);
    if (!value || end != value || end == arg || errno || id < 0 || id > INT32_MAX) {
        argp_error(state, "--logit-bias: ID=BIAS expected, found \"%s\"", arg);
        return;
    }
    bias = strtof(value + 1, &end);
    if (end == value + 1 || *end || isnan(bias) || bias == INFINITY)
        argp_error(state, "--logit-bias: a number or -inf expected, found \"%s\"", value + 1);
    if (args->n_bias == SL_OPTIONS_BIAS_MAX)
        argp_error(state, "--logit-bias: at most %d", SL_OPTIONS_BIAS_MAX);
    args->bias[args->n_bias++] = (struct sluice_logit_bias){.token = (int32_t)id, .bias = bias};
}

/* The settings of the sampler that have a default by model. */
static bool parse_setting(struct sl_sampling_args *args, int key, char *arg,
                          struct argp_state *state)
{
    struct sluice_sampler_opts *o = &args->opts;

    switch (key) {
    case KEY_TEMP: o->temperature = option_float(state, "--temp", arg, 0, 100); break;
    case KEY_TOP_K: o->top_k = (uint32_t)sl_options_uint(state, "--top-k", arg, 0, 1u << 20); break;
    case KEY_TOP_P: o->top_p = option_float(state, "--top-p", arg, 0, 1); break;
    case KEY_MIN_P: o->min_p = option_float(state, "--min-p", arg, 0, 1); break;
    case KEY_REPEAT:
        o->repeat_penalty = option_float(state, "--repeat-penalty", arg, 0.01, 100);
        break;
    case KEY_PRESENCE:
        o->presence_penalty = option_float(state, "--presence-penalty", arg, -100, 100);
        break;
    case KEY_FREQUENCY:
        o->frequency_penalty = option_float(state, "--frequency-penalty", arg, -100, 100);
        break;
    case KEY_LAST_N:
        o->penalty_last_n = (uint32_t)sl_options_uint(state, "--repeat-last-n", arg, 0, 65536);
        break;
    default: return false;
    }
    args->given |= 1u << (key - KEY_TEMP);
    return true;
}

static error_t parse_sampling(int key, char *arg, struct argp_state *state)
{
    struct sl_sampling_args *args = state->input;

    if (parse_setting(args, key, arg, state))
        return 0;
    switch (key) {
    case 'n': args->n_max = (uint32_t)sl_options_uint(state, "-n", arg, 0, UINT32_MAX); break;
    case KEY_BIAS: parse_bias(args, arg, state); break;
    case 's':
    case KEY_SEED:
        args->opts.seed = sl_options_uint(state, "--seed", arg, 0, UINT64_MAX);
        args->has_seed = true;
        break;
    case KEY_IGNORE_EOS: args->ignore_eos = true; break;
    case KEY_SPECIAL: args->special = true; break;
    case KEY_GRAMMAR: args->grammar_path = arg; break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option sampling_options[] = {
    {"n-predict", 'n', "N", 0, "At most N tokens of answer; 0: until its end or the context's", 0},
    {"temp", KEY_TEMP, "T", 0, "Temperature; 0: always the likeliest token", 0},
    {"top-k", KEY_TOP_K, "K", 0, "Among the K likeliest; 0: off", 0},
    {"top-p", KEY_TOP_P, "P", 0, "Among the likeliest that make up P; 1: off", 0},
    {"min-p", KEY_MIN_P, "P", 0, "At least P times as likely as the likeliest; 0: off", 0},
    {"repeat-penalty", KEY_REPEAT, "R", 0, "Divide by R what was said lately; 1: off", 0},
    {"presence-penalty", KEY_PRESENCE, "P", 0, "Subtract P from what was said lately; 0: off", 0},
    {"frequency-penalty", KEY_FREQUENCY, "P", 0, "... for each time it was said; 0: off", 0},
    {"repeat-last-n", KEY_LAST_N, "N", 0, "How many tokens back is lately", 0},
    {"logit-bias", KEY_BIAS, "ID=B", 0, "Add B, or -inf, to a token's logit; may be repeated", 0},
    {"seed", KEY_SEED, "N", 0, "Seed of the draws; the same seed gives the same text (random)", 0},
    {"grammar-file", KEY_GRAMMAR, "FILE", 0,
     "Answer as the grammar (GBNF) in FILE wants; also --grammar", 0},
    {"grammar", KEY_GRAMMAR, "FILE", OPTION_ALIAS | OPTION_HIDDEN, NULL, 0},
    {"ignore-eos", KEY_IGNORE_EOS, NULL, 0, "Never end an answer", 0},
    {"special", KEY_SPECIAL, NULL, 0, "Show special tokens", 0},
    {0},
};
const struct argp sl_options_sampling = {.options = sampling_options, .parser = parse_sampling};

static void apply_given(const struct sl_sampling_args *args, struct sluice_sampler_opts *o)
{
    const struct sluice_sampler_opts *from = &args->opts;

#define GIVEN(key, field) \
    if (args->given & 1u << ((key) - KEY_TEMP)) \
        o->field = from->field
    GIVEN(KEY_TEMP, temperature);
    GIVEN(KEY_TOP_K, top_k);
    GIVEN(KEY_TOP_P, top_p);
    GIVEN(KEY_MIN_P, min_p);
    GIVEN(KEY_REPEAT, repeat_penalty);
    GIVEN(KEY_PRESENCE, presence_penalty);
    GIVEN(KEY_FREQUENCY, frequency_penalty);
    GIVEN(KEY_LAST_N, penalty_last_n);
#undef GIVEN
}

static uint64_t random_seed(void)
{
    uint32_t seed;

    /* 32 bits: short enough to be typed again */
    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        seed = (uint32_t)sl_clock_ns();
    return seed;
}

int sl_options_sampler(const struct sl_sampling_args *args, const struct sluice_model *model,
                       struct sluice_sampler_opts *ret_opts, struct sluice_logit_bias **ret_bias)
{
    struct sluice_logit_bias *bias = NULL;
    struct sluice_model_info info;
    uint32_t n = 0;

    sluice_model_get_info(model, &info);
    for (uint32_t id = 0; args->ignore_eos && id < info.n_vocab; id++)
        n += sluice_token_is_eog(model, (int32_t)id);
    if (n + args->n_bias) {
        bias = calloc(n + args->n_bias, sizeof(*bias));
        if (!bias) {
            (void)sl_report_error("not enough memory");
            return -ENOMEM;
        }
        memcpy(bias, args->bias, args->n_bias * sizeof(*bias));
        n = args->n_bias;
        for (uint32_t id = 0; args->ignore_eos && id < info.n_vocab; id++)
            if (sluice_token_is_eog(model, (int32_t)id))
                bias[n++] = (struct sluice_logit_bias){.token = (int32_t)id, .bias = -INFINITY};
    }
    sluice_sampler_opts_default(model, ret_opts);
    apply_given(args, ret_opts);
    ret_opts->seed = args->has_seed ? args->opts.seed : random_seed();
    ret_opts->bias = bias;
    ret_opts->n_bias = n;
    *ret_bias = bias;
    return 0;
}
