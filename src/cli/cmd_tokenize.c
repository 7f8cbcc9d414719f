/* sluice tokenize: text on stdin to ids on stdout, or the other way round. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonwriter.h"
#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/infile.h"
#include "cli/opened.h"
#include "cli/options.h"
#include "cli/report.h"

enum {
    KEY_SPECIAL = 512,
    KEY_BOS,
    KEY_DETOKENIZE,
    KEY_PIECES,
    KEY_JSON,
};

struct tokenize_args {
    struct sl_model_args model;
    const char *file;
    bool special, bos, detokenize, pieces, json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct tokenize_args *args = state->input;

    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &args->model; break;
    case 'f': args->file = arg; break;
    case KEY_SPECIAL: args->special = true; break;
    case KEY_BOS: args->bos = true; break;
    case KEY_DETOKENIZE: args->detokenize = true; break;
    case KEY_PIECES: args->pieces = true; break;
    case KEY_JSON: args->json = true; break;
    case ARGP_KEY_END:
        if (args->detokenize && (args->bos || args->pieces))
            argp_error(state, "--bos and --pieces are for text, --detokenize is for ids");
        if (args->pieces && args->json)
            argp_error(state, "--pieces and --json exclude each other");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"file", 'f', "FILE", 0, "Read FILE instead of standard input", 0},
    {"special", KEY_SPECIAL, NULL, 0,
     "Take <|im_end|> and the like for special tokens; with --detokenize, show them", 0},
    {"bos", KEY_BOS, NULL, 0, "Put the model's first token in front, if it wants one", 0},
    {"detokenize", KEY_DETOKENIZE, NULL, 0, "Ids, separated by commas or blanks, to text", 0},
    {"pieces", KEY_PIECES, NULL, 0, "A line for each token: its id and its text", 0},
    {"json", KEY_JSON, NULL, 0, "Print {\"ids\": [..]} or {\"text\": ..}", 0},
    {0},
};

static const struct argp_child children[] = {{&sl_options_model, 0, "Machine:", 1}, {0}};

const struct argp sl_argp_tokenize = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL",
    .doc = "Print the token ids of the text on standard input. Every byte counts, the last line "
           "end too; bytes that are not UTF-8 are kept.",
    .children = children,
};

static int print_pieces(const struct sluice_model *model, const int32_t *ids, size_t n)
{
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        char head[32];
        const char *piece;
        int len = sluice_token_piece(model, ids[i], true, &piece);
        int head_len = snprintf(head, sizeof(head), "%6" PRId32 " -> '", ids[i]);

        r = sl_report_write(head, (size_t)head_len);
        if (r == 0)
            r = sl_report_write(piece, len > 0 ? (size_t)len : 0);
        if (r == 0)
            r = sl_report_write("'\n", 2);
    }
    return r;
}

static int print_ids(const struct tokenize_args *args, const int32_t *ids, size_t n)
{
    struct sl_jsonwriter w;
    struct sl_strbuf line = {0};
    int r;

    if (args->json) {
        sl_jsonwriter_init(&w, NULL, SL_JSONWRITER_SPACED);
        sl_jsonwriter_begin_object(&w);
        sl_jsonwriter_member_array(&w, "ids");
        for (size_t i = 0; i < n; i++)
            sl_jsonwriter_i64(&w, ids[i]);
        sl_jsonwriter_end_array(&w);
        sl_jsonwriter_end_object(&w);
        line = w.buf;
    } else {
        for (size_t i = 0; i < n; i++)
            sl_strbuf_add_fmt(&line, "%s%" PRId32, i ? " " : "", ids[i]);
    }
    sl_strbuf_add(&line, "\n", 1);
    if (line.error)
        (void)sl_report_error("not enough memory");
    r = line.error ? line.error : sl_report_write(line.ptr, line.len);
    sl_strbuf_done(&line);
    return r;
}

static int to_ids(const struct tokenize_args *args, const struct sluice_model *model,
                  const char *text, size_t len)
{
    uint32_t flags = (args->special ? SLUICE_TOKENIZE_SPECIAL : 0u) |
                     (args->bos ? SLUICE_TOKENIZE_BOS : 0u);
    size_t cap = len + 2; /* a token has a byte at least; BOS, EOS */
    int32_t *ids = malloc(cap * sizeof(*ids));
    int64_t n = ids ? sluice_tokenize(model, text, len, flags, ids, cap) : -ENOMEM;
    int r;

    if (n < 0)
        (void)sl_report_error("%s", sl_report_tokenize_text((int)n));
    r = (int)(n < 0 ? n : 0);
    if (r == 0)
        r = args->pieces ? print_pieces(model, ids, (size_t)n) : print_ids(args, ids, (size_t)n);
    free(ids);
    return r;
}

static int to_text(const struct tokenize_args *args, const struct sl_opened *opened,
                   const char *name, const char *text, size_t len)
{
    struct sl_strbuf out = {0};
    struct sl_jsonwriter w;
    struct sl_diag diag;
    int32_t *ids = NULL;
    size_t n;
    int r;

    r = sl_infile_parse_ids(name, text, len, opened->info.n_vocab, &ids, &n, &diag);
    if (r < 0) {
        (void)sl_report_error("%s", diag.text);
        return r;
    }
    for (size_t i = 0; i < n; i++) {
        const char *piece;
        int piece_len = sluice_token_piece(opened->model, ids[i], args->special, &piece);

        sl_strbuf_add(&out, piece, piece_len > 0 ? (size_t)piece_len : 0);
    }
    free(ids);
    if (args->json && !out.error) {
        sl_jsonwriter_init(&w, NULL, SL_JSONWRITER_SPACED);
        sl_jsonwriter_begin_object(&w);
        sl_jsonwriter_key(&w, "text");
        sl_jsonwriter_string_len(&w, out.ptr ? out.ptr : "", out.len);
        sl_jsonwriter_end_object(&w);
        sl_strbuf_done(&out);
        out = w.buf;
        sl_strbuf_add(&out, "\n", 1);
    }
    if (out.error)
        (void)sl_report_error("not enough memory");
    r = out.error ? out.error : sl_report_write(out.ptr, out.len);
    sl_strbuf_done(&out);
    return r;
}

int sl_cmd_tokenize(int argc, char **argv)
{
    struct tokenize_args args = {
        .model = {
            .advice = "the text is read from standard input",
            .opts = {.n_threads = 1, .flags = SLUICE_MODEL_TEXT},
        },
    };
    struct sl_opened opened = {0};
    const char *path;
    char *text = NULL;
    size_t len;
    int r;

    sl_cmdline_parse(&sl_argp_tokenize, argc, argv, 0, &args);
    path = args.file ? args.file : "-";
    r = sl_opened_open(&opened, &args.model, NULL);
    if (r == 0)
        r = sl_infile_load(path, &text, &len);
    if (r == 0) {
        r = args.detokenize ? to_text(&args, &opened, sl_infile_name(path), text, len)
                            : to_ids(&args, opened.model, text, len);
        r = sl_report_code(r == 0 ? sl_report_flush() : r);
    }
    free(text);
    return sl_opened_close(&opened, r);
}
