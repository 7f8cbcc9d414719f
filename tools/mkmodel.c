/*
 * mkmodel: random models of the LFM2 family, of any shape and type, for tests and
 * measurements. What they are made of: mk_plan.c.
 */
#include <argp.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/mk_check.h"
#include "tools/mk_plan.h"
#include "tools/mk_shape.h"
#include "tools/mk_types.h"
#include "tools/mk_write.h"

#define N_OMIT_MAX 15
#define EXIT_USAGE 2
#define EXIT_INTERRUPTED 130

enum {
    KEY_TYPE = 256, KEY_ROUTING, KEY_GAIN, KEY_SEED, KEY_THREADS, KEY_LAYERS, KEY_ATTN, KEY_WIDTH,
    KEY_HEADS, KEY_KV_HEADS, KEY_HEAD_DIM, KEY_FF, KEY_EXPERT_FF, KEY_EXPERTS, KEY_USED,
    KEY_DENSE, KEY_VOCAB, KEY_L_CACHE, KEY_THETA, KEY_CTX, KEY_ARCH, KEY_SPLIT, KEY_FUSE_QKV,
    KEY_NORM_NAME, KEY_KV_ARRAY, KEY_FF_KEY, KEY_OMIT, KEY_GGUF_VERSION, KEY_ALIGNMENT,
    KEY_CHECK, KEY_TOKENS, KEY_BLOCKS, KEY_DRY_RUN,
};

static const struct argp_option options[] = {
    { "type", KEY_TYPE, "TYPE", 0, "File type, default q4_k_m: q4_k_m, q4_k_s, q5_k_m, q6_k, "
      "q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, q3_k_m, iq4_nl, iq4_xs, f16, bf16, f32", 1 },
    { "routing", KEY_ROUTING, "KIND", 0, "Experts chosen by the token alone (uniform, the "
      "default) or also by what came before (local)", 1 },
    { "gain", KEY_GAIN, "G", 0, "Size of a block's output, as a share of the residual stream's; "
      "default 0.17", 1 },
    { "seed", KEY_SEED, "N", 0, "Seed of all weights, default 1", 1 },
    { "threads", KEY_THREADS, "N", 0, "Threads, default 2; the file does not depend on it", 1 },
    { "dry-run", KEY_DRY_RUN, NULL, 0, "Write nothing, only say how large it would be", 1 },
    { NULL, 0, NULL, 0, "Shape, in place of the preset's:", 2 },
    { "arch", KEY_ARCH, "NAME", 0, "lfm2 (dense) or lfm2moe", 2 },
    { "layers", KEY_LAYERS, "N", 0, "Layers", 2 },
    { "attn", KEY_ATTN, "LIST", 0, "Which of them have attention, as 2,5,8 or none; the others "
      "have short convolutions", 2 },
    { "width", KEY_WIDTH, "N", 0, "Width of the residual stream", 2 },
    { "heads", KEY_HEADS, "N", 0, "Query heads", 2 },
    { "kv-heads", KEY_KV_HEADS, "N", 0, "Key and value heads", 2 },
    { "head-dim", KEY_HEAD_DIM, "N", 0, "Width of a head", 2 },
    { "ff", KEY_FF, "N", 0, "Width of dense feed-forward layers", 2 },
    { "expert-ff", KEY_EXPERT_FF, "N", 0, "Width of an expert", 2 },
    { "experts", KEY_EXPERTS, "N", 0, "Experts per layer", 2 },
    { "used", KEY_USED, "N", 0, "Experts chosen per token", 2 },
    { "dense", KEY_DENSE, "N", 0, "Leading layers without experts", 2 },
    { "vocab", KEY_VOCAB, "N", 0, "Tokens", 2 },
    { "l-cache", KEY_L_CACHE, "N", 0, "Taps of the short convolution", 2 },
    { "theta", KEY_THETA, "X", 0, "Base of the rotary positions", 2 },
    { "ctx", KEY_CTX, "N", 0, "Context length", 2 },
    { NULL, 0, NULL, 0, "Form of the file:", 3 },
    { "split", KEY_SPLIT, "N", 0, "Write N files OUT-00001-of-0000N.gguf", 3 },
    { "fuse-qkv", KEY_FUSE_QKV, NULL, 0, "One tensor attn_qkv for queries, keys and values", 3 },
    { "norm-name", KEY_NORM_NAME, "NAME", 0, "Name of the final norm: token_embd_norm (default) "
      "or output_norm", 3 },
    { "kv-array", KEY_KV_ARRAY, "TYPE", 0, "Type of the head counts: i32 (default) or u32", 3 },
    { "ff-key", KEY_FF_KEY, "N", 0, "A wrong feed_forward_length", 3 },
    { "omit", KEY_OMIT, "KEY", 0, "Leave a metadata key out; may be given several times", 3 },
    { "gguf-version", KEY_GGUF_VERSION, "N", 0, "2 or 3 (default)", 3 },
    { "alignment", KEY_ALIGNMENT, "N", 0, "Of tensor data, default 32", 3 },
    { NULL, 0, NULL, 0, "Measuring in place of writing:", 4 },
    { "check", KEY_CHECK, "FILE", 0, "Run random ids through a model (any LFM2) and print how "
      "often experts are chosen again, how well the next layer's router is guessed from this "
      "layer's state, and the logit error when one block is removed", 4 },
    { "tokens", KEY_TOKENS, "N", 0, "Random ids for reuse and recall, default 192", 4 },
    { "blocks", KEY_BLOCKS, "N", 0, "Blocks to remove, default all", 4 },
    { 0 },
};

struct args {
    const char *out;
    struct mk_plan_opts plan;
    struct mk_write_opts write;
    const char *omit[N_OMIT_MAX + 1];
    uint32_t n_omit;
    bool dry_run;
    const char *check; /* the file to measure, or NULL: write */
    struct mk_check_opts check_opts;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    (void)sig;
    interrupted = 1;
}

/* A whole number, with an error that names the option. */
static uint32_t number(struct argp_state *state, const char *name, const char *text)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value > UINT32_MAX)
        argp_error(state, "--%s: %s is not a number", name, text);
    return (uint32_t)value;
}

static double real(struct argp_state *state, const char *name, const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !isfinite(value))
        argp_error(state, "--%s: %s is not a number", name, text);
    return value;
}

/* One of two words; true for the second. */
static bool choice(struct argp_state *state, const char *name, const char *text,
                   const char *first, const char *second)
{
    if (strcmp(text, first) != 0 && strcmp(text, second) != 0)
        argp_error(state, "--%s: %s or %s, not %s", name, first, second, text);
    return strcmp(text, second) == 0;
}

/* The options whose value is a count in the shape, or NULL. */
static uint32_t *shape_field(struct mk_shape *s, int key)
{
    switch (key) {
    case KEY_LAYERS:
        return &s->n_layers;
    case KEY_WIDTH:
        return &s->width;
    case KEY_HEADS:
        return &s->n_heads;
    case KEY_KV_HEADS:
        return &s->n_kv_heads;
    case KEY_HEAD_DIM:
        return &s->head_dim;
    case KEY_FF:
        return &s->ff;
    case KEY_EXPERT_FF:
        return &s->expert_ff;
    case KEY_EXPERTS:
        return &s->n_experts;
    case KEY_USED:
        return &s->n_used;
    case KEY_DENSE:
        return &s->n_dense;
    case KEY_VOCAB:
        return &s->n_vocab;
    case KEY_L_CACHE:
        return &s->l_cache;
    case KEY_CTX:
        return &s->ctx;
    default:
        return NULL;
    }
}

static const char *option_name(int key)
{
    for (const struct argp_option *o = options; o->name || o->doc; o++)
        if (o->name && o->key == key)
            return o->name;
    return "?";
}

static error_t parse_shape(int key, char *arg, struct argp_state *state)
{
    struct args *a = state->input;
    struct mk_shape *shape = &a->plan.shape;
    uint32_t *field = shape_field(shape, key);

    if (field) {
        *field = number(state, option_name(key), arg);
        return 0;
    }
    switch (key) {
    case KEY_ATTN:
        if (mk_shape_set_attn(shape, arg) < 0)
            argp_error(state, "--attn: %s is not a list of layers", arg);
        return 0;
    case KEY_THETA:
        shape->theta = real(state, "theta", arg);
        return 0;
    case KEY_ARCH:
        shape->moe = choice(state, "arch", arg, "lfm2", "lfm2moe");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_check(int key, char *arg, struct argp_state *state)
{
    struct args *a = state->input;

    switch (key) {
    case KEY_CHECK:
        a->check = arg;
        return 0;
    case KEY_TOKENS:
        a->check_opts.n_tokens = number(state, "tokens", arg);
        if (a->check_opts.n_tokens < 2 || a->check_opts.n_tokens > MK_CHECK_TOKENS_MAX)
            argp_error(state, "--tokens must lie between 2 and %d", MK_CHECK_TOKENS_MAX);
        return 0;
    case KEY_BLOCKS:
        a->check_opts.n_blocks = number(state, "blocks", arg);
        return 0;
    default:
        return parse_shape(key, arg, state);
    }
}

static error_t parse_form(int key, char *arg, struct argp_state *state)
{
    struct args *a = state->input;

    switch (key) {
    case KEY_SPLIT:
        a->write.n_splits = number(state, "split", arg);
        return 0;
    case KEY_FUSE_QKV:
        a->plan.fuse_qkv = true;
        return 0;
    case KEY_NORM_NAME:
        (void)choice(state, "norm-name", arg, "token_embd_norm", "output_norm");
        a->plan.norm_name = arg;
        return 0;
    case KEY_KV_ARRAY:
        a->write.kv_array_u32 = choice(state, "kv-array", arg, "i32", "u32");
        return 0;
    case KEY_FF_KEY:
        a->write.ff_key = number(state, "ff-key", arg);
        return 0;
    case KEY_OMIT:
        if (a->n_omit == N_OMIT_MAX)
            argp_error(state, "--omit: at most %d times", N_OMIT_MAX);
        a->omit[a->n_omit++] = arg;
        return 0;
    case KEY_GGUF_VERSION:
        a->write.version = number(state, "gguf-version", arg);
        return 0;
    case KEY_ALIGNMENT:
        a->write.alignment = number(state, "alignment", arg);
        return 0;
    default:
        return parse_check(key, arg, state);
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct args *a = state->input;
    struct mk_shape named;

    switch (key) {
    case KEY_DRY_RUN:
        a->dry_run = true;
        return 0;
    case KEY_TYPE:
        a->plan.ftype = mk_types_find(arg);
        if (!a->plan.ftype)
            argp_error(state, "--type: %s is none of %s", arg, mk_types_names());
        return 0;
    case KEY_ROUTING:
        a->plan.routing = choice(state, "routing", arg, "uniform", "local") ? MK_ROUTING_LOCAL
                                                                            : MK_ROUTING_UNIFORM;
        return 0;
    case KEY_GAIN:
        a->plan.gain = real(state, "gain", arg);
        if (a->plan.gain <= 0 || a->plan.gain > MK_PLAN_GAIN_MAX)
            argp_error(state, "--gain must lie between 0 and %g", MK_PLAN_GAIN_MAX);
        return 0;
    case KEY_SEED:
        a->plan.seed = number(state, "seed", arg);
        return 0;
    case KEY_THREADS:
        a->write.n_threads = number(state, "threads", arg);
        if (a->write.n_threads < 1 || a->write.n_threads > 64)
            argp_error(state, "--threads must lie between 1 and 64");
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0 && mk_shape_preset(&named, arg) < 0)
            argp_error(state, "%s is none of %s", arg, mk_shape_preset_names());
        if (state->arg_num == 1)
            a->out = arg;
        return state->arg_num < 2 ? 0 : ARGP_ERR_UNKNOWN;
    case ARGP_KEY_END:
        if (state->arg_num != (a->check ? 0 : 2))
            argp_error(state, "a preset (%s) and a file name are wanted, or --check alone",
                       mk_shape_preset_names());
        return 0;
    default:
        return parse_form(key, arg, state);
    }
}

/* The preset is found before the options are parsed, wherever it stands, since they
 * change what it says. */
static void find_preset(int argc, char **argv, struct mk_shape *shape)
{
    for (int i = 1; i < argc; i++)
        if (mk_shape_preset(shape, argv[i]) == 0)
            return;
}

static int show_progress(void *arg, uint64_t done, uint64_t total)
{
    const uint64_t *start_ns = arg;
    double seconds = (double)(sl_clock_ns() - *start_ns) / 1e9;
    int filled = total ? (int)(done * 40 / total) : 40;

    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r[%.*s%*s] %5.2f of %.2f GB, %.2f GB/s ", filled,
                "########################################", 40 - filled, "", (double)done / 1e9,
                (double)total / 1e9, (double)done / 1e9 / (seconds + 1e-9));
    return interrupted;
}

static int write_model(struct args *a)
{
    uint64_t start_ns = sl_clock_ns();
    struct sl_diag diag = { "" };
    struct mk_plan *plan = NULL;
    uint64_t bytes = 0;
    int r = mk_shape_check(&a->plan.shape, a->plan.routing, &diag);

    if (r == 0)
        r = mk_plan_new(&plan, &a->plan, &diag);
    for (uint32_t i = 0; plan && i < plan->n_tensors; i++)
        bytes += plan->tensors[i].n_rows * plan->tensors[i].row_bytes;
    if (r == 0 && !a->dry_run) {
        a->write.path = a->out;
        a->write.omit = a->omit;
        a->write.progress = show_progress;
        a->write.arg = &start_ns;
        r = mk_write_file(plan, &a->write, &diag);
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\r%78s\r", "");
    }
    if (r == 0)
        printf("%s: %u tensors, %llu bytes of weights, %s, %.1f s\n", a->out, plan->n_tensors,
               (unsigned long long)bytes, a->plan.ftype->name,
               (double)(sl_clock_ns() - start_ns) / 1e9);
    else if (!interrupted)
        fprintf(stderr, "mkmodel: %s\n", diag.text);
    mk_plan_free(plan);
    return r == 0 ? EXIT_SUCCESS : interrupted ? EXIT_INTERRUPTED : EXIT_FAILURE;
}

static int show_layers(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\rlayer %llu of %llu ", (unsigned long long)done,
                (unsigned long long)total);
    return interrupted;
}

static void print_check(const struct mk_check_result *c)
{
    if (c->n_moe_layers) {
        printf("routing: %u of %u experts in %u layers\n", c->n_used, c->n_experts,
               c->n_moe_layers);
        printf("reuse: %.1f %% of the previous token's experts (2, 8, 32 before: %.1f, %.1f, "
               "%.1f %%)\n", 100 * c->reuse[0], 100 * c->reuse[1], 100 * c->reuse[2],
               100 * c->reuse[3]);
        printf("recall: %.3f of the next layer's experts from this layer's state\n", c->recall);
        printf("popularity: largest %.2f, smallest %.2f of the mean, spread beyond chance "
               "%.1f %%\n", c->popularity[1], c->popularity[0], 100 * c->spread);
    }
    printf("logits: standard deviation %.2f, stream grows by %.2f, noise by %.1f (squared)\n",
           c->logit_std, c->stream_growth, c->noise);
    if (c->n_blocks)
        printf("removal: logit error at least %.2e (layer %u, %s), median %.2e, %u blocks\n",
               c->removed_min, c->min_layer, c->min_is_ffn ? "ffn" : "operator",
               c->removed_median, c->n_blocks);
}

static int check_model(struct args *a)
{
    struct mk_check_result result;
    struct sl_diag diag = { "" };
    int r;

    a->check_opts.n_threads = a->write.n_threads;
    a->check_opts.seed = a->plan.seed;
    a->check_opts.progress = show_layers;
    r = mk_check_file(a->check, &a->check_opts, &result, &diag);
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%30s\r", "");
    if (r == 0)
        print_check(&result);
    else if (!interrupted)
        fprintf(stderr, "mkmodel: %s\n", diag.text);
    return r == 0 ? EXIT_SUCCESS : interrupted ? EXIT_INTERRUPTED : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "PRESET OUT.gguf\n--check FILE",
        .doc = "Write a random model of the LFM2 family, or measure one."
               "\vPresets: 24b, 8b-a1b, 2.6b, 1.2b, 700m, 350m, tiny. The same options and seed "
               "give the same file. Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted.",
    };
    struct args args = {
        .plan = { .ftype = mk_types_find("q4_k_m"), .gain = MK_PLAN_GAIN, .seed = 1,
                  .norm_name = "token_embd_norm" },
        .check_opts = { .n_tokens = MK_CHECK_TOKENS, .n_blocks = UINT32_MAX },
        .write = { .n_threads = 2, .n_splits = 1, .version = 3, .alignment = 32 },
    };
    struct sigaction action = { .sa_handler = on_signal };

    argp_err_exit_status = EXIT_USAGE;
    find_preset(argc, argv, &args.plan.shape);
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    (void)sigaction(SIGINT, &action, NULL); /* without it the temporary file stays */
    (void)sigaction(SIGTERM, &action, NULL);
    return args.check ? check_model(&args) : write_model(&args);
}
