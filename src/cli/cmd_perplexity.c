/*
 * sluice perplexity: how well a model foresees a text, by the method of llama.cpp's
 * llama-perplexity, so that figures compare. The text's tokens (with BOS in front if
 * the model wants one) are cut into windows of n tokens; what does not fill a window is
 * left out. Each window stands for itself, its first token replaced by BOS, and of its
 * tokens those after position n / 2 are scored, each from all before it. Printed are
 * the perplexity so far after each window, and at the end exp(mean) with its standard
 * error.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"
#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/infile.h"
#include "cli/interrupt.h"
#include "cli/opened.h"
#include "cli/options.h"
#include "cli/report.h"
#include "model/engine.h"

enum {
    KEY_TOKENS = 512,
    KEY_JSON,
};

#define CTX_DEFAULT 512u
#define CHUNK_DEFAULT 512u
#define ROWS 64u /* rows of logits asked for at a time */

struct perplexity_args {
    struct sl_model_args model;
    struct sl_session_args session;
    const char *file, *tokens;
    bool json;
};

/* Sums over scored tokens of -ln(p) and of its square. */
struct score {
    double sum, sum_squares;
    uint64_t n;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct perplexity_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->session;
        state->child_inputs[1] = &args->model;
        break;
    case 'f': args->file = arg; break;
    case KEY_TOKENS: args->tokens = arg; break;
    case KEY_JSON: args->json = true; break;
    case ARGP_KEY_END:
        if (!args->file == !args->tokens)
            argp_error(state, "one of -f FILE and --tokens FILE is needed");
        if (args->session.opts.n_ctx == 0)
            args->session.opts.n_ctx = CTX_DEFAULT;
        if (args->session.opts.n_ctx < 8)
            argp_error(state, "--ctx: at least 8");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"file", 'f', "FILE", 0, "The text; - is standard input", 0},
    {"tokens", KEY_TOKENS, "FILE", 0,
     "Its token ids instead, separated by commas or blanks, without BOS", 0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {0},
};

static const struct argp_child children[] = {
    {&sl_options_session, 0, "Session (a window is --ctx tokens, 512; --kv is f32 here):", 1},
    {&sl_options_engine, 0, NULL, 0},
    {0},
};

const struct argp sl_argp_perplexity = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL -f FILE",
    .doc = "Perplexity of a text, by llama-perplexity's method: the second half of each window is "
           "scored.",
    .children = children,
};

/* The ids of a text with BOS in front, if the model wants one. */
static int find_ids(const struct perplexity_args *args, const struct sl_opened *opened,
                    const char *text, size_t len, int32_t **ret_ids, size_t *ret_n,
                    struct sl_diag *diag)
{
    const struct sluice_model_info *info = &opened->info;
    const char *name = sl_infile_name(args->file ? args->file : args->tokens);
    bool adds_bos = sl_vocab_add_bos(opened->model->vocab);
    int32_t *ids = NULL, *given = NULL;
    size_t n = 0;
    int64_t n_text;
    int r = 0;

    if (args->tokens)
        r = sl_infile_parse_ids(name, text, len, info->n_vocab, &given, &n, diag);
    if (r == 0)
        ids = malloc((len + n + 2) * sizeof(*ids));
    if (r == 0 && !ids)
        r = sl_diag_set(diag, -ENOMEM, "not enough memory");
    if (r == 0 && given) {
        size_t skip = adds_bos && given[0] != info->bos;

        if (skip)
            ids[0] = info->bos;
        memcpy(ids + skip, given, n * sizeof(*ids));
        n += skip;
    } else if (r == 0) {
        n_text = sluice_tokenize(opened->model, text, len, SLUICE_TOKENIZE_BOS, ids, len + 2);
        n = n_text < 0 ? 0 : (size_t)n_text;
        if (n_text < 0)
            r = sl_diag_set(diag, (int)n_text, "%s cannot be tokenised: %s", name,
                            sl_report_tokenize_text((int)n_text));
    }
    free(given);
    if (r < 0) {
        free(ids);
        return r;
    }
    *ret_ids = ids;
    *ret_n = n;
    return 0;
}

/* -ln of the probability that logits give to id. */
static double surprise(const float *logits, uint32_t n_vocab, int32_t id)
{
    float max = logits[0];
    double sum = 0.0;

    for (uint32_t i = 1; i < n_vocab; i++)
        max = logits[i] > max ? logits[i] : max;
    for (uint32_t i = 0; i < n_vocab; i++)
        sum += expf(logits[i] - max);
    return log(sum) - ((double)logits[id] - max);
}

static int score_window(struct sluice_session *session, const int32_t *ids,
                        const struct sluice_session_opts *opts, uint32_t n_vocab,
                        struct score *score)
{
    uint32_t n_ctx = opts->n_ctx;
    uint32_t first = n_ctx / 2; /* the first position whose logits are used */
    int seq = sluice_seq_new(session);
    struct sluice_batch batch = {.seq = seq, .n_tokens = first, .tokens = ids};
    const float *logits;
    int r = seq < 0 ? seq : sluice_decode(session, &batch, 1, NULL);

    for (uint32_t pos = first; r == 0 && pos + 1 < n_ctx; pos += batch.n_tokens) {
        batch.tokens = ids + pos;
        batch.n_tokens = n_ctx - 1 - pos < opts->n_logits ? n_ctx - 1 - pos : opts->n_logits;
        batch.n_logits = batch.n_tokens;
        r = sluice_decode(session, &batch, 1, &logits);
        for (uint32_t i = 0; r == 0 && i < batch.n_tokens; i++) {
            double x = surprise(logits + (size_t)i * n_vocab, n_vocab, ids[pos + i + 1]);

            score->sum += x;
            score->sum_squares += x * x;
            score->n++;
        }
    }
    if (seq >= 0)
        (void)sluice_seq_free(session, seq); /* it was made above */
    return r;
}

static double mean(const struct score *score)
{
    return score->sum / (double)score->n;
}

/* Standard error of exp(mean). */
static double uncertainty(const struct score *score)
{
    double variance = score->sum_squares / (double)score->n - mean(score) * mean(score);

    if (variance <= 0.0 || score->n < 2)
        return 0.0;
    return sqrt(variance / (double)(score->n - 1)) * exp(mean(score));
}

static int print_result(const struct perplexity_args *args, const struct score *score, size_t n)
{
    struct sl_jsonwriter w;

    if (!args->json) {
        printf("\nFinal estimate: PPL = %.4f +/- %.5f\n", exp(mean(score)), uncertainty(score));
        return sl_report_flush();
    }
    sl_report_begin_json(&w);
    sl_jsonwriter_member_f64(&w, "perplexity", exp(mean(score)));
    sl_jsonwriter_member_f64(&w, "uncertainty", uncertainty(score));
    sl_jsonwriter_member_u64(&w, "windows", n);
    sl_jsonwriter_member_u64(&w, "ctx", args->session.opts.n_ctx);
    sl_jsonwriter_member_u64(&w, "scored_tokens", score->n);
    return sl_report_end_json(&w);
}

static int score_all(const struct perplexity_args *args, const struct sl_opened *opened,
                     int32_t *ids, size_t n_windows)
{
    uint32_t n_ctx = args->session.opts.n_ctx;
    struct score score = {0};
    int r;

    for (size_t i = 0; i < n_windows; i++) {
        if (sl_vocab_add_bos(opened->model->vocab))
            ids[i * n_ctx] = opened->info.bos;
        r = -ECANCELED;
        if (!sl_interrupt_is_set())
            r = score_window(opened->session, ids + i * n_ctx, &args->session.opts,
                             opened->info.n_vocab, &score);
        if (r < 0) {
            if (!args->json && i)
                (void)sl_report_write("\n", 1); /* the error matters more */
            return sl_opened_step_code(opened, r);
        }
        if (!args->json)
            printf("[%zu]%.4f,", i + 1, exp(mean(&score)));
        r = args->json ? 0 : sl_report_flush();
        if (r < 0)
            return sl_report_code(r);
    }
    return sl_report_code(print_result(args, &score, n_windows));
}

static int run_all(const struct perplexity_args *args, const struct sl_opened *opened, int32_t *ids,
                   size_t n)
{
    uint32_t n_ctx = args->session.opts.n_ctx;
    int r;

    if (n < 2 * (size_t)n_ctx)
        return sl_report_error("the text has %zu tokens; at least two windows, %zu tokens, are "
                               "needed (--ctx makes windows smaller)", n, 2 * (size_t)n_ctx);
    sl_interrupt_set_session(opened->session);
    r = score_all(args, opened, ids, n / n_ctx);
    sl_interrupt_set_session(NULL);
    return r;
}

static void set_session(struct perplexity_args *args)
{
    struct sluice_session_opts *opts = &args->session.opts;

    opts->n_seq_max = 1;
    if (opts->n_chunk == 0) /* short ones in a bounded memory */
        opts->n_chunk = args->model.opts.ram_bytes ? ROWS : CHUNK_DEFAULT;
    opts->n_logits = opts->n_chunk < ROWS ? opts->n_chunk : ROWS;
}

int sl_cmd_perplexity(int argc, char **argv)
{
    struct perplexity_args args = {.session.opts.kv = SLUICE_KV_F32};
    struct sl_opened opened = {0};
    struct sl_diag diag;
    int32_t *ids = NULL;
    char *text = NULL;
    size_t len, n = 0;
    int r;

    sl_cmdline_parse(&sl_argp_perplexity, argc, argv, 0, &args);
    set_session(&args);
    r = sl_opened_open(&opened, &args.model, &args.session.opts);
    if (r == 0)
        r = sl_infile_load(args.file ? args.file : args.tokens, &text, &len);
    if (r == 0 && find_ids(&args, &opened, text, len, &ids, &n, &diag) < 0)
        r = sl_report_error("%s", diag.text);
    free(text);
    if (r == 0)
        r = run_all(&args, &opened, ids, n);
    free(ids);
    return sl_opened_close(&opened, r);
}
