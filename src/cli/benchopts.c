/* One table of options that change nothing, and a parser for the rest. */
#include "cli/benchopts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "sluice.h"

#define VALUE_MAX (1u << 24)
#define REPS_MAX 10000u
#define DELAY_MAX_SECONDS 86400u

enum {
    KEY_PG = 1024,
    KEY_UBATCH,
    KEY_TYPE_K,
    KEY_TYPE_V,
    KEY_OUTPUT_ERR,
    KEY_DELAY,
    KEY_PROGRESS,
    KEY_NO_WARMUP,
    KEY_EXTENDED,
    KEY_NUMA,
    KEY_PRIO,
    KEY_EMBEDDINGS,
    KEY_HF,
    KEY_RPC,
    KEY_LIST_DEVICES,
    KEY_MMAP,
    KEY_IGNORED = 1100, /* + enum sl_bench_field */
};

enum shape {
    ANY = 0,
    NUMBER,
    SWITCH, /* 0 or 1 */
    FLASH,  /* on, off, auto: 1, 0, -1 */
};

/* By field. */
static const enum shape shapes[SL_BENCH_FIELDS] = {
    [SL_BENCH_CPU_STRICT] = SWITCH,   [SL_BENCH_POLL] = NUMBER,
    [SL_BENCH_N_GPU_LAYERS] = NUMBER, [SL_BENCH_N_CPU_MOE] = NUMBER,
    [SL_BENCH_MAIN_GPU] = NUMBER,     [SL_BENCH_NO_KV_OFFLOAD] = SWITCH,
    [SL_BENCH_FLASH_ATTN] = FLASH,    [SL_BENCH_NO_OP_OFFLOAD] = SWITCH,
    [SL_BENCH_NO_HOST] = SWITCH,      [SL_BENCH_FIT_TARGET] = NUMBER,
    [SL_BENCH_FIT_MIN_CTX] = NUMBER,
};

const char *sl_benchopts_kv_name(uint32_t kv)
{
    return kv == SLUICE_KV_F32 ? "f32" : kv == SLUICE_KV_Q8_0 ? "q8_0" : "f16";
}

static bool read_number(const char **text, uint64_t *ret_value)
{
    char *end;

    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    *ret_value = strtoull(*text, &end, 10);
    *text = end;
    return errno == 0 && *ret_value <= VALUE_MAX;
}

/* first, first-last, first-last+step or first-last*step. */
static bool read_range(const char **text, uint64_t *ret_first, uint64_t *ret_last, char *ret_op,
                       uint64_t *ret_step)
{
    *ret_op = '+';
    *ret_step = 1;
    if (!read_number(text, ret_first))
        return false;
    *ret_last = *ret_first;
    if (**text != '-')
        return true;
    ++*text;
    if (!read_number(text, ret_last) || *ret_last < *ret_first)
        return false;
    if (**text != '+' && **text != '*')
        return true;
    *ret_op = *(*text)++;
    if (!read_number(text, ret_step))
        return false;
    return *ret_op == '+' ? *ret_step > 0 : *ret_step > 1 && *ret_first > 0;
}

static void add(struct sl_bench_list *list, const char *name, uint32_t value,
                struct argp_state *state)
{
    if (list->n == SL_BENCH_LIST_MAX)
        argp_error(state, "%s: more than %u values", name, SL_BENCH_LIST_MAX);
    list->values[list->n++] = value;
}

static void parse_list(struct sl_bench_list *list, const char *name, const char *arg, uint32_t min,
                       uint32_t max, struct argp_state *state)
{
    const char *at = arg;
    uint64_t first, last, step;
    char op;

    for (;;) {
        if (!read_range(&at, &first, &last, &op, &step) || (*at && *at != ',')) {
            argp_error(state, "%s: numbers as 512, 1,2,4, 1-8, 1-8+2 or 1-16*2 expected, found "
                              "\"%s\"", name, arg);
            return;
        }
        if (first < min || last > max) {
            argp_error(state, "%s: from %u to %u expected, found \"%s\"", name, min, max, arg);
            return;
        }
        for (uint64_t i = first; i <= last; i = op == '+' ? i + step : i * step)
            add(list, name, (uint32_t)i, state);
        if (!*at++)
            return;
    }
}

static void parse_pair(struct sl_bench_args *args, const char *arg, struct argp_state *state)
{
    const char *at = arg;
    uint64_t prompt = 0, gen = 0;
    bool is_good = read_number(&at, &prompt) && *at == ',';

    if (is_good) {
        at++;
        is_good = read_number(&at, &gen) && !*at;
    }
    if (!is_good)
        argp_error(state, "-pg: two numbers as 512,128 expected, found \"%s\"", arg);
    add(&args->pg_prompt, "-pg", (uint32_t)prompt, state);
    add(&args->pg_gen, "-pg", (uint32_t)gen, state);
}

static void parse_types(struct sl_bench_list *list, const char *name, char *arg,
                        struct argp_state *state)
{
    for (const char *at = arg;;) {
        size_t len = strcspn(at, ",");
        uint32_t kv = 0;

        for (; kv <= SLUICE_KV_Q8_0; kv++)
            if (strlen(sl_benchopts_kv_name(kv)) == len &&
                !strncmp(at, sl_benchopts_kv_name(kv), len))
                break;
        if (kv > SLUICE_KV_Q8_0)
            argp_error(state, "%s: f16, q8_0 or f32 expected, found \"%s\"", name, arg);
        add(list, name, kv, state);
        if (!at[len])
            return;
        at += len + 1;
    }
}

static void parse_models(struct sl_bench_args *args, char *arg, struct argp_state *state)
{
    char *rest = arg;

    for (char *one; (one = strsep(&rest, ",")) != NULL;) {
        if (!*one)
            argp_error(state, "-m: a file name is empty");
        if (args->n_models == SL_BENCH_LIST_MAX)
            argp_error(state, "-m: more than %u files", SL_BENCH_LIST_MAX);
        args->models[args->n_models++] = one;
    }
}

static enum sl_bench_format parse_format(const char *name, const char *arg,
                                         struct argp_state *state)
{
    int format = sl_benchprint_format(arg);

    if (format < 0)
        argp_error(state, "%s: md, csv, json, jsonl, sql or none expected, found \"%s\"", name,
                   arg);
    return (enum sl_bench_format)format;
}

static void note_ignored(struct sl_bench_args *args, const char *name)
{
    size_t len = strlen(args->ignored);

    if (strstr(args->ignored, name) || len + strlen(name) + 3 > sizeof(args->ignored))
        return; /* one of so many */
    (void)strcat(args->ignored, len ? ", " : "");
    (void)strcat(args->ignored, name);
}

/* The option of a field, as in the table below. */
static const char *name_of(enum sl_bench_field field);

static void parse_ignored(struct sl_bench_args *args, enum sl_bench_field field, const char *arg,
                          struct argp_state *state)
{
    const char *name = name_of(field);
    const char *digits = arg + (field == SL_BENCH_N_GPU_LAYERS && *arg == '-');
    bool is_number = *digits && strspn(digits, "0123456789") == strlen(digits) &&
                     (digits[0] != '0' || !digits[1]); /* as JSON has it */

    switch (shapes[field]) {
    case SWITCH:
        if (strcmp(arg, "0") != 0 && strcmp(arg, "1") != 0)
            argp_error(state, "-%s: 0 or 1 expected, found \"%s\"", name, arg);
        break;
    case NUMBER:
        if (!is_number || strlen(digits) > 9)
            argp_error(state, "-%s: one number expected, found \"%s\"", name, arg);
        break;
    case FLASH:
        if (!strcmp(arg, "on") || !strcmp(arg, "1"))
            arg = "1";
        else if (!strcmp(arg, "off") || !strcmp(arg, "0"))
            arg = "0";
        else if (!strcmp(arg, "auto") || !strcmp(arg, "-1"))
            arg = "-1";
        else
            argp_error(state, "-%s: on, off or auto expected, found \"%s\"", name, arg);
        break;
    case ANY:
        if (strchr(arg, ','))
            argp_error(state, "-%s: it changes nothing here, so one value is enough", name);
        break;
    }
    args->given[field] = arg;
    note_ignored(args, name);
}

/* What would be another measurement, or another program. */
static bool refuse(int key, const char *arg, struct argp_state *state)
{
    switch (key) {
    case 'C': argp_error(state, "-C: threads are bound to cores by sluice; taskset bounds them");
        break;
    case KEY_PRIO:
        if (strcmp(arg, "0") != 0)
            argp_error(state, "--prio: start sluice with nice or chrt instead");
        break;
    case KEY_EMBEDDINGS:
        if (strcmp(arg, "0") != 0)
            argp_error(state, "-embd: embeddings are not computed here");
        break;
    case KEY_HF: argp_error(state, "nothing is downloaded; -m FILE names a model that is here");
        break;
    case KEY_RPC: argp_error(state, "-rpc: there are no remote devices here"); break;
    case KEY_LIST_DEVICES: argp_error(state, "there is no device but the CPU: sluice info MODEL");
        break;
    default: return false;
    }
    return true;
}

static bool parse_lists(struct sl_bench_args *args, int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case 'p': parse_list(&args->prompt, "-p", arg, 0, VALUE_MAX, state); break;
    case 'n': parse_list(&args->gen, "-n", arg, 0, VALUE_MAX, state); break;
    case 'd': parse_list(&args->depth, "-d", arg, 0, VALUE_MAX, state); break;
    case 'b': parse_list(&args->batch, "-b", arg, 1, 65536, state); break;
    case 't': parse_list(&args->threads, "-t", arg, 1, 256, state); break;
    case KEY_UBATCH: parse_list(&args->ubatch, "-ub", arg, 1, 2048, state); break;
    case KEY_PG: parse_pair(args, arg, state); break;
    case KEY_TYPE_K: parse_types(&args->kv_k, "-ctk", arg, state); break;
    case KEY_TYPE_V: parse_types(&args->kv_v, "-ctv", arg, state); break;
    case 'm': parse_models(args, arg, state); break;
    default: return false;
    }
    return true;
}

static void set_table_option(struct sl_bench_args *args, int key, const char *name)
{
    if (key == 't' || key == KEY_PROGRESS || key == 'v')
        return;
    if (!args->table_option)
        args->table_option = name;
    if (key != 'm' && key != 'n' && key != 'r' && !args->strict_option)
        args->strict_option = name;
}

static const char *name_of_key(int key);

/* The words that other commands have for --numa too. */
static bool take_numa(struct sl_bench_args *args, const char *arg)
{
    bool is_off = !strcmp(arg, "off");

    if (!is_off && strcmp(arg, "split") != 0)
        return false;
    args->numa = is_off ? SLUICE_NUMA_OFF : SLUICE_NUMA_SPLIT;
    return true;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct sl_bench_args *args = state->input;

    if (key >= KEY_IGNORED && key < KEY_IGNORED + SL_BENCH_FIELDS) {
        parse_ignored(args, (enum sl_bench_field)(key - KEY_IGNORED), arg, state);
    } else if (!refuse(key, arg, state) && !parse_lists(args, key, arg, state)) {
        switch (key) {
        case 'r': args->n_reps = (uint32_t)sl_options_uint(state, "-r", arg, 1, REPS_MAX); break;
        case 'o': args->out = parse_format("-o", arg, state); break;
        case KEY_OUTPUT_ERR: args->err = parse_format("-oe", arg, state); break;
        case KEY_DELAY:
            args->delay_s = (uint32_t)sl_options_uint(state, "--delay", arg, 0, DELAY_MAX_SECONDS);
            break;
        case KEY_PROGRESS: args->has_progress = true; break;
        case KEY_NO_WARMUP: args->has_no_warmup = true; break;
        case KEY_EXTENDED: args->is_extended = true; break;
        case KEY_NUMA:
            if (take_numa(args, arg))
                return 0; /* of any kind of bench */
            note_ignored(args, "numa");
            break;
        case KEY_MMAP: note_ignored(args, "mmap"); break;
        case 'v': break; /* there is nothing more to say */
        default: return ARGP_ERR_UNKNOWN;
        }
    }
    set_table_option(args, key, name_of_key(key));
    return 0;
}

static void set_default(struct sl_bench_list *list, uint32_t value)
{
    if (list->n == 0)
        list->values[list->n++] = value;
}

void sl_benchopts_complete(struct sl_bench_args *args, struct argp_state *state)
{
    set_default(&args->prompt, 512);
    set_default(&args->gen, 128);
    set_default(&args->depth, 0);
    set_default(&args->batch, 2048);
    set_default(&args->ubatch, 512);
    set_default(&args->threads, 0);
    set_default(&args->kv_k, SLUICE_KV_F16);
    set_default(&args->kv_v, SLUICE_KV_F16);
    args->n_reps = args->n_reps ? args->n_reps : 5;
    for (uint32_t k = 0; k < args->kv_k.n; k++)
        for (uint32_t v = 0; v < args->kv_v.n; v++)
            if (args->kv_k.values[k] == args->kv_v.values[v])
                add(&args->kv, "-ctk, -ctv", args->kv_k.values[k], state);
    if (args->kv.n == 0)
        argp_error(state, "-ctk, -ctv: keys and values have the same type here; give both");
}

/* Where a field's option has a long name of its own, that is an alias of the short one. */
#define IGNORED(name, field, arg) \
    {name, KEY_IGNORED + (field), arg, OPTION_HIDDEN, NULL, 0}
#define ALIAS(name) {name, 0, NULL, OPTION_ALIAS | OPTION_HIDDEN, NULL, 0}

static const struct argp_option options[] = {
    {"model", 'm', "FILE", 0, "Models, separated by commas", 0},
    {"n-prompt", 'p', "N", 0, "Test prompts of N tokens (512); 0: none", 0},
    {"n-gen", 'n', "N", 0, "Test decoding of N tokens (128); 0: none", 0},
    {"pg", KEY_PG, "P,N", 0, "Test a prompt of P tokens and decoding of N together", 0},
    {"n-depth", 'd', "N", 0, "Tokens in the KV cache before the test, not timed (0)", 0},
    {"batch-size", 'b', "N", 0, "Prompt tokens for each call (2048)", 0},
    {"ubatch-size", KEY_UBATCH, "N", 0, "Prompt tokens for each step (512); also -ub", 0},
    ALIAS("ub"),
    {"cache-type-k", KEY_TYPE_K, "TYPE", 0,
     "KV cache: f16, q8_0 or f32 (f16), the same for keys and values; also -ctk", 0},
    ALIAS("ctk"),
    {"cache-type-v", KEY_TYPE_V, "TYPE", 0, "Also -ctv", 0},
    ALIAS("ctv"),
    {"threads", 't', "N", OPTION_HIDDEN, NULL, 0}, /* a list; --help has the one of the machine */
    {"repetitions", 'r', "N", 0, "Timed runs of each test (5)", 0},
    {"output", 'o', "FORMAT", 0, "md, csv, json, jsonl, sql or none to stdout (md)", 0},
    {"output-err", KEY_OUTPUT_ERR, "FORMAT", 0, "The same to stderr (none); also -oe", 0},
    ALIAS("oe"),
    {"extended", KEY_EXTENDED, NULL, 0,
     "Columns of our own at the end: bytes per token, read bandwidth, share of what it allows", 0},
    {"delay", KEY_DELAY, "SECONDS", 0, "Wait before each test (0)", 0},
    {"no-warmup", KEY_NO_WARMUP, NULL, 0, "No run before the timed ones", 0},
    {"progress", KEY_PROGRESS, NULL, 0, "Say on stderr what is being run", 0},
    {"verbose", 'v', NULL, OPTION_HIDDEN, NULL, 0},
    {"numa", KEY_NUMA, "KIND", OPTION_HIDDEN, NULL, 0},
    {"mmp", KEY_MMAP, "N", OPTION_HIDDEN, NULL, 0},
    ALIAS("mmap"), ALIAS("dio"), ALIAS("direct-io"),
    {"prio", KEY_PRIO, "N", OPTION_HIDDEN, NULL, 0},
    {"cpu-mask", 'C', "MASK", OPTION_HIDDEN, NULL, 0},
    {"embd", KEY_EMBEDDINGS, "N", OPTION_HIDDEN, NULL, 0},
    ALIAS("embeddings"),
    {"hf", KEY_HF, "REPO", OPTION_HIDDEN, NULL, 0},
    ALIAS("hfr"), ALIAS("hf-repo"), ALIAS("hff"), ALIAS("hf-file"), ALIAS("hft"),
    ALIAS("hf-token"),
    {"rpc", KEY_RPC, "LIST", OPTION_HIDDEN, NULL, 0},
    {"list-devices", KEY_LIST_DEVICES, NULL, OPTION_HIDDEN, NULL, 0},
    IGNORED("ngl", SL_BENCH_N_GPU_LAYERS, "N"), ALIAS("n-gpu-layers"),
    IGNORED("ncmoe", SL_BENCH_N_CPU_MOE, "N"), ALIAS("n-cpu-moe"),
    IGNORED("cpu-strict", SL_BENCH_CPU_STRICT, "N"),
    IGNORED("poll", SL_BENCH_POLL, "N"),
    IGNORED("sm", SL_BENCH_SPLIT_MODE, "MODE"), ALIAS("split-mode"),
    IGNORED("mg", SL_BENCH_MAIN_GPU, "N"), ALIAS("main-gpu"),
    IGNORED("nkvo", SL_BENCH_NO_KV_OFFLOAD, "N"), ALIAS("no-kv-offload"),
    IGNORED("fa", SL_BENCH_FLASH_ATTN, "KIND"), ALIAS("flash-attn"),
    IGNORED("dev", SL_BENCH_DEVICES, "LIST"), ALIAS("device"),
    IGNORED("ts", SL_BENCH_TENSOR_SPLIT, "LIST"), ALIAS("tensor-split"),
    IGNORED("ot", SL_BENCH_TENSOR_BUFT_OVERRIDES, "LIST"), ALIAS("override-tensor"),
    IGNORED("lm", SL_BENCH_LOAD_MODE, "MODE"), ALIAS("load-mode"),
    IGNORED("lzm", SL_BENCH_LAZY_MODE, "MODE"), ALIAS("lazy-mode"),
    IGNORED("nopo", SL_BENCH_NO_OP_OFFLOAD, "N"), ALIAS("no-op-offload"),
    IGNORED("no-host", SL_BENCH_NO_HOST, "N"),
    IGNORED("fitt", SL_BENCH_FIT_TARGET, "N"), ALIAS("fit-target"),
    IGNORED("fitc", SL_BENCH_FIT_MIN_CTX, "N"), ALIAS("fit-ctx"),
    {0},
};
const struct argp sl_options_bench = {.options = options, .parser = parse};

static const char *name_of_key(int key)
{
    for (size_t i = 0; options[i].name; i++)
        if (options[i].key == key)
            return options[i].name;
    return "";
}

static const char *name_of(enum sl_bench_field field)
{
    return name_of_key(KEY_IGNORED + (int)field);
}
