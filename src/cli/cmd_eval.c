/*
 * sluice eval: an instrument. The logits of given ids, each after all before it, and
 * which experts were chosen, as files that other programs compare; and the likeliest
 * next tokens on stdout.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"
#include "base/outfile.h"
#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/infile.h"
#include "cli/interrupt.h"
#include "cli/opened.h"
#include "cli/options.h"
#include "cli/report.h"

enum {
    KEY_TOKENS = 512,
    KEY_LOGITS,
    KEY_ROUTES,
};

#define N_IDS_MAX (1u << 24)
#define CHUNK_BOUNDED 32u  /* in a bounded memory */
#define CHUNK_DEFAULT 128u /* its rows of logits: 32 MiB for 65,536 tokens */
#define N_TOP 5

struct eval_args {
    struct sl_model_args model;
    struct sl_session_args session;
    const char *tokens, *logits, *routes;
};

/* Chosen experts of all tokens, by layer. */
struct routes {
    uint32_t n_layers, n_used;
    size_t n_tokens;
    bool *is_moe;      /* [n_layers], set by the first call */
    uint32_t *experts; /* [n_layers][n_tokens][n_used] */
    float *weights;    /* the same */
    float *margin;     /* [n_layers][n_tokens] */
};

struct eval {
    struct eval_args *args;
    struct sl_opened opened;
    char *text; /* of the ids */
    size_t text_len;
    int32_t *ids;
    size_t n_ids;
    struct sl_outfile logits, routes_file;
    struct routes routes;
    int32_t top[N_TOP];
    float top_logits[N_TOP];
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct eval_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->session;
        state->child_inputs[1] = &args->model;
        break;
    case KEY_TOKENS: args->tokens = arg; break;
    case KEY_LOGITS: args->logits = arg; break;
    case KEY_ROUTES: args->routes = arg; break;
    case ARGP_KEY_END:
        if (!args->tokens)
            argp_error(state, "--tokens FILE is needed");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"tokens", KEY_TOKENS, "FILE", 0, "Token ids, separated by commas or blanks; - is stdin", 0},
    {"logits", KEY_LOGITS, "FILE", 0, "Write the logits: float32 [tokens][vocabulary]", 0},
    {"routes", KEY_ROUTES, "FILE", 0,
     "Write the chosen experts: {\"layer\": {\"ids\", \"weights\", \"margin\"}}", 0},
    {0},
};

static const struct argp_child children[] = {
    {&sl_options_session, 0, "Session (--kv is f32 here):", 1},
    {&sl_options_engine, 0, NULL, 0},
    {0},
};

const struct argp sl_argp_eval = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL --tokens FILE",
    .doc = "Compute the logits of given token ids. Files appear whole or not at all. Printed are "
           "the likeliest tokens after the last: id, logit, text.",
    .children = children,
};

static int parse_ids(struct eval *e)
{
    struct sl_diag diag;
    int r = sl_infile_parse_ids(sl_infile_name(e->args->tokens), e->text, e->text_len,
                                e->opened.info.n_vocab, &e->ids, &e->n_ids, &diag);

    return r < 0 ? sl_report_error("%s", diag.text) : 0;
}

static int routes_init(struct routes *t, const struct sluice_model_info *info, size_t n_tokens)
{
    size_t n = (size_t)info->n_layers * n_tokens;

    t->n_layers = info->n_layers;
    t->n_used = info->n_experts_used ? info->n_experts_used : 1;
    t->n_tokens = n_tokens;
    t->is_moe = calloc(info->n_layers, sizeof(*t->is_moe));
    t->experts = calloc(n * t->n_used, sizeof(*t->experts));
    t->weights = calloc(n * t->n_used, sizeof(*t->weights));
    t->margin = calloc(n, sizeof(*t->margin));
    if (!t->is_moe || !t->experts || !t->weights || !t->margin)
        return sl_report_error("not enough memory");
    return 0;
}

static void routes_done(struct routes *t)
{
    free(t->is_moe);
    free(t->experts);
    free(t->weights);
    free(t->margin);
}

static void on_route(void *arg, int seq, int64_t pos, uint32_t layer, const uint32_t *experts,
                     const float *weights, uint32_t n_used, float margin)
{
    struct routes *t = arg;
    size_t i = (size_t)layer * t->n_tokens + (size_t)pos;

    if (layer >= t->n_layers || (size_t)pos >= t->n_tokens || n_used != t->n_used)
        return;
    t->is_moe[layer] = true;
    memcpy(t->experts + i * n_used, experts, n_used * sizeof(*experts));
    memcpy(t->weights + i * n_used, weights, n_used * sizeof(*weights));
    t->margin[i] = margin;
}

/* Rounded to the decimals that the reference gives. */
static double rounded(double x, double unit)
{
    return round(x * unit) / unit;
}

static void write_layer(struct sl_jsonwriter *w, const struct routes *t, uint32_t layer)
{
    size_t base = (size_t)layer * t->n_tokens;

    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_member_array(w, "ids");
    for (size_t i = 0; i < t->n_tokens; i++) {
        sl_jsonwriter_begin_array(w);
        for (uint32_t k = 0; k < t->n_used; k++)
            sl_jsonwriter_u64(w, t->experts[(base + i) * t->n_used + k]);
        sl_jsonwriter_end_array(w);
    }
    sl_jsonwriter_end_array(w);
    sl_jsonwriter_member_array(w, "weights");
    for (size_t i = 0; i < t->n_tokens; i++) {
        sl_jsonwriter_begin_array(w);
        for (uint32_t k = 0; k < t->n_used; k++)
            sl_jsonwriter_f64(w, rounded(t->weights[(base + i) * t->n_used + k], 1e6));
        sl_jsonwriter_end_array(w);
    }
    sl_jsonwriter_end_array(w);
    sl_jsonwriter_member_array(w, "margin");
    for (size_t i = 0; i < t->n_tokens; i++)
        sl_jsonwriter_f64(w, rounded(t->margin[base + i], 1e8));
    sl_jsonwriter_end_array(w);
    sl_jsonwriter_end_object(w);
}

static int write_routes(const struct routes *t, FILE *file)
{
    struct sl_jsonwriter w;
    char key[16];

    sl_jsonwriter_init(&w, file, SL_JSONWRITER_SPACED);
    sl_jsonwriter_begin_object(&w);
    for (uint32_t layer = 0; layer < t->n_layers; layer++) {
        if (!t->is_moe[layer])
            continue;
        (void)snprintf(key, sizeof(key), "%" PRIu32, layer); /* ten digits at most */
        sl_jsonwriter_key(&w, key);
        write_layer(&w, t, layer);
    }
    sl_jsonwriter_end_object(&w);
    return sl_jsonwriter_done(&w);
}

/* The N_TOP largest logits, in order; of equals the lower id first. */
static void find_top(struct eval *e, const float *logits)
{
    int n = 0;

    for (uint32_t id = 0; id < e->opened.info.n_vocab; id++) {
        int i = n < N_TOP ? n++ : N_TOP;

        for (; i > 0 && logits[id] > e->top_logits[i - 1]; i--)
            if (i < N_TOP) {
                e->top[i] = e->top[i - 1];
                e->top_logits[i] = e->top_logits[i - 1];
            }
        if (i < N_TOP) {
            e->top[i] = (int32_t)id;
            e->top_logits[i] = logits[id];
        }
    }
}

static int compute(struct eval *e)
{
    uint32_t n_chunk = e->args->session.opts.n_chunk;
    struct sluice_session *session = e->opened.session;
    int seq = sluice_seq_new(session);
    int r = seq < 0 ? seq : 0;

    sl_interrupt_set_session(session);
    for (size_t pos = 0; r == 0 && pos < e->n_ids; pos += n_chunk) {
        uint32_t n = e->n_ids - pos < n_chunk ? (uint32_t)(e->n_ids - pos) : n_chunk;
        uint32_t n_rows = e->logits.file ? n : 1;
        struct sluice_batch batch = {
            .seq = seq, .n_tokens = n, .tokens = e->ids + pos, .n_logits = n_rows};
        size_t row = e->opened.info.n_vocab;
        const float *logits;

        r = sl_interrupt_is_set() ? -ECANCELED : sluice_decode(session, &batch, 1, &logits);
        if (r < 0)
            break;
        if (e->logits.file &&
            fwrite(logits, sizeof(*logits), row * n_rows, e->logits.file) != row * n_rows)
            break; /* shows when the file is committed */
        if (pos + n == e->n_ids)
            find_top(e, logits + row * (n_rows - 1));
    }
    sl_interrupt_set_session(NULL);
    return sl_opened_step_code(&e->opened, r);
}

static int print_top(const struct eval *e)
{
    for (int i = 0; i < N_TOP && (uint32_t)i < e->opened.info.n_vocab; i++) {
        struct sl_jsonwriter w;
        const char *piece;
        int len = sluice_token_piece(e->opened.model, e->top[i], true, &piece);

        printf("%6" PRId32 " %10.5f ", e->top[i], (double)e->top_logits[i]);
        sl_jsonwriter_init(&w, stdout, 0);
        sl_jsonwriter_string_len(&w, piece, len > 0 ? (size_t)len : 0);
        (void)sl_jsonwriter_done(&w); /* the flush at the end tells */
        printf("\n");
    }
    return sl_report_flush();
}

static int commit(struct eval *e)
{
    struct sl_diag diag;
    int r = 0;

    if (e->routes_file.file)
        r = write_routes(&e->routes, e->routes_file.file);
    if (r == -ENOMEM)
        return sl_report_error("not enough memory");
    r = 0; /* a failed write shows again in commit */
    if (e->routes_file.file)
        r = sl_outfile_commit(&e->routes_file, &diag);
    if (r == 0 && e->logits.file)
        r = sl_outfile_commit(&e->logits, &diag);
    if (r < 0)
        return sl_report_error("%s", diag.text);
    return sl_report_code(print_top(e));
}

static void set_session(struct eval *e)
{
    struct sluice_session_opts *opts = &e->args->session.opts;
    size_t n = sl_infile_count_ids(e->text, e->text_len);

    if (opts->n_ctx == 0 && n <= N_IDS_MAX)
        opts->n_ctx = (uint32_t)n;
    if (opts->n_chunk == 0)
        opts->n_chunk = e->args->model.opts.ram_bytes ? CHUNK_BOUNDED : CHUNK_DEFAULT;
    opts->n_seq_max = 1;
    opts->n_logits = e->args->logits ? opts->n_chunk : 1;
}

static int check_count(const struct eval *e)
{
    uint32_t n_ctx = e->args->session.opts.n_ctx;

    if (e->n_ids > N_IDS_MAX)
        return sl_report_error("%s: %zu token ids, more than any context", e->args->tokens,
                               e->n_ids);
    if (n_ctx < e->n_ids)
        return sl_report_error("%s: %zu token ids, the context has %" PRIu32, e->args->tokens,
                               e->n_ids, n_ctx);
    return 0;
}

static int run_all(struct eval *e)
{
    struct sl_diag diag;
    int r;

    /* before the model: how many ids there are decides its memory */
    r = sl_infile_load(e->args->tokens, &e->text, &e->text_len);
    if (r)
        return r;
    set_session(e);
    r = sl_opened_open(&e->opened, &e->args->model, &e->args->session.opts);
    if (r == 0)
        r = parse_ids(e);
    if (r == 0)
        r = check_count(e);
    if (r)
        return r;
    if ((e->args->logits && sl_outfile_open(&e->logits, e->args->logits, &diag) < 0) ||
        (e->args->routes && sl_outfile_open(&e->routes_file, e->args->routes, &diag) < 0))
        return sl_report_error("%s", diag.text);
    if (e->args->routes) {
        r = routes_init(&e->routes, &e->opened.info, e->n_ids);
        if (r)
            return r;
        sluice_session_set_route_fn(e->opened.session, on_route, &e->routes);
    }
    r = compute(e);
    return r ? r : commit(e);
}

int sl_cmd_eval(int argc, char **argv)
{
    struct eval_args args = {.session.opts.kv = SLUICE_KV_F32};
    struct eval e = {.args = &args};
    int code;

    sl_cmdline_parse(&sl_argp_eval, argc, argv, 0, &args);
    code = run_all(&e);
    sl_outfile_done(&e.logits);
    sl_outfile_done(&e.routes_file);
    routes_done(&e.routes);
    code = sl_opened_close(&e.opened, code);
    free(e.ids);
    free(e.text);
    return code;
}
