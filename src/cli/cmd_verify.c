/*
 * sluice verify: whether the files of a model are still what they were. A GGUF file by its
 * SHA-256, where the store that it lies in names files by it (Hugging Face's cache, Ollama) or
 * one is given; a pack by the checksums in it. Both are opened as run opens them, too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/escape.h"
#include "cli/modelname.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/units.h"
#include "fetch/sha256.h"
#include "loader/gguf.h"
#include "loader/mapping.h"
#include "loader/pack.h"
#include "store/modelfile.h"

enum {
    KEY_JSON = 512,
    KEY_SHA256,
};

struct verify_args {
    const char *name, *path;
    char found[4096];
    const char *sha256; /* given, or NULL */
    bool json;
};

struct file {
    char *path;                         /* owned */
    char sha256[SL_SHA256_HEX_BYTES];   /* "": not computed */
    char expected[SL_SHA256_HEX_BYTES]; /* "": not known */
    uint64_t bytes;
    bool is_pack;
};

struct verify {
    const struct verify_args *args;
    struct file *files;
    uint32_t n_files;
    struct sl_progress progress;
    uint64_t before_bytes, total_bytes; /* of files that are done, of all */
    bool is_good;
    char why[SL_DIAG_BYTES]; /* it is not */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct verify_args *args = state->input;

    switch (key) {
    case KEY_JSON: args->json = true; break;
    case KEY_SHA256:
        if (!sl_sha256_is_hex(arg))
            argp_error(state, "--sha256: 64 hexadecimal digits expected, found \"%s\"", arg);
        args->sha256 = arg;
        break;
    case 'h': argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP); break;
    case ARGP_KEY_ARG:
        if (args->name)
            argp_error(state, "too many arguments");
        args->name = arg;
        break;
    case ARGP_KEY_SUCCESS:
        if (!args->name)
            argp_error(state, "no model given");
        args->path = sl_modelname_path(state, args->name, args->found, sizeof(args->found));
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"sha256", KEY_SHA256, "DIGITS", 0, "The SHA-256 that the file must have", 0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0},
    {0},
};

const struct argp sl_argp_verify = {
    .options = options,
    .parser = parse,
    .args_doc = "MODEL",
    .doc = "Read a model's files from begin to end and check that they are what they were.\v"
           "What was pulled, and what lies in the cache of Hugging Face's tools or in Ollama's "
           "store, is named by its SHA-256; a pack has checksums of all its parts. Of other "
           "files the SHA-256 is printed, and --sha256 compares it.",
};

/* The digest that a file's name is, or the name of what it is a link to; "sha256-" may stand
 * before it. */
static bool read_name(const char *path, char ret_hex[SL_SHA256_HEX_BYTES])
{
    const char *name = strrchr(path, '/');

    name = name ? name + 1 : path;
    if (!strncmp(name, "sha256-", 7))
        name += 7;
    if (!sl_sha256_is_hex(name))
        return false;
    strcpy(ret_hex, name); /* 64 digits */
    return true;
}

static void find_expected(struct file *file)
{
    char target[4096], *real;
    ssize_t n = readlink(file->path, target, sizeof(target) - 1);

    target[n > 0 ? n : 0] = '\0';
    if (read_name(file->path, file->expected) || read_name(target, file->expected))
        return;
    real = realpath(file->path, NULL);
    if (!real || !read_name(real, file->expected))
        file->expected[0] = '\0';
    free(real);
}

/* The path of part i of n of a split model. */
static char *part_path(const char *path, struct sl_modelfile_name name, uint32_t i)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
    char *part = NULL;

    if (name.n_parts <= 1)
        return strdup(path);
    if (asprintf(&part, "%.*s-%05u-of-%05u.gguf", (int)(folder + name.stem_len), path, i + 1,
                 name.n_parts) < 0)
        return NULL;
    return part;
}

static int find_files(struct verify *v)
{
    const char *path = v->args->path, *slash = strrchr(path, '/');
    struct sl_modelfile_name name = sl_modelfile_parse(slash ? slash + 1 : path);
    bool is_pack = sl_pack_detect(path);

    if (is_pack)
        name.n_parts = 1;
    v->files = calloc(name.n_parts, sizeof(*v->files));
    if (!v->files)
        return sl_report_error("not enough memory");
    v->n_files = name.n_parts;
    for (uint32_t i = 0; i < v->n_files; i++) {
        struct file *file = &v->files[i];
        struct stat st;

        file->path = part_path(path, name, i);
        if (!file->path)
            return sl_report_error("not enough memory");
        if (stat(file->path, &st) != 0)
            return sl_report_error("cannot read %s: %s", file->path, strerror(errno));
        if (!S_ISREG(st.st_mode))
            return sl_report_error("cannot read %s: it is no file", file->path);
        file->is_pack = is_pack;
        file->bytes = (uint64_t)st.st_size;
        v->total_bytes += file->bytes;
        find_expected(file);
        if (v->args->sha256)
            strcpy(file->expected, v->args->sha256); /* 64 digits */
    }
    if (v->args->sha256 && v->n_files > 1)
        return sl_report_error("%s has %u parts, each with a SHA-256 of its own: --sha256 is for "
                               "one file", path, v->n_files);
    return 0;
}

static void note(struct verify *v, const char *text)
{
    v->is_good = false;
    if (!v->why[0])
        (void)snprintf(v->why, sizeof(v->why), "%s", text);
}

static int on_progress(void *arg, uint64_t done_bytes)
{
    struct verify *v = arg;

    return sl_progress_update(&v->progress, v->before_bytes + done_bytes, v->total_bytes);
}

/* -ECANCELED, or 0 and what is known. */
static int check_file(struct verify *v, struct file *file)
{
    struct sl_diag diag = {""};
    int r = sl_sha256_file(file->path, file->sha256, on_progress, v, &diag);

    v->before_bytes += file->bytes;
    if (r == -ECANCELED)
        return r;
    if (r < 0) {
        file->sha256[0] = '\0';
        note(v, diag.text);
    } else if (file->expected[0] && strcasecmp(file->sha256, file->expected) != 0) {
        char text[SL_DIAG_BYTES];

        (void)snprintf(text, sizeof(text), "%.300s is damaged: its SHA-256 is another one",
                       file->path);
        note(v, text);
    }
    return 0;
}

static int on_pack_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
    return sl_progress_update(arg, done_bytes, total_bytes);
}

/* -ECANCELED, or 0. */
static int check_pack(struct verify *v)
{
    struct sl_pack *pack = NULL;
    struct sl_diag diag = {""};
    int r = sl_pack_open(&pack, v->args->path, 0, &diag);

    if (r == 0)
        r = sl_pack_verify(pack, SL_PACK_LOAD_SHARED | SL_PACK_LOAD_EXPERTS, NULL,
                           on_pack_progress, &v->progress, &diag);
    sl_pack_close(pack);
    if (r < 0 && r != -ECANCELED)
        note(v, diag.text);
    return r == -ECANCELED ? r : 0;
}

/* Whether it can be opened whole. */
static void check_structure(struct verify *v)
{
    struct sl_gguf *gguf = NULL;
    struct sl_diag diag = {""};

    if (sl_gguf_open(&gguf, v->args->path, 0, &diag) < 0)
        note(v, diag.text);
    sl_gguf_close(gguf);
}

static int check(struct verify *v)
{
    bool has_digest = v->n_files && v->files[0].expected[0];
    int r = 0;

    v->is_good = true;
    if (v->files[0].is_pack)
        r = check_pack(v);
    if (!v->files[0].is_pack || has_digest)
        for (uint32_t i = 0; i < v->n_files && r == 0; i++)
            r = check_file(v, &v->files[i]);
    if (r == 0 && v->is_good && !v->files[0].is_pack)
        check_structure(v);
    sl_progress_end(&v->progress);
    return r;
}

static const char *state_of(const struct file *file)
{
    if (!file->sha256[0])
        return file->is_pack ? "checksums" : "unreadable";
    if (!file->expected[0])
        return "unknown";
    return strcasecmp(file->sha256, file->expected) == 0 ? "ok" : "damaged";
}

static void add_file(struct sl_strbuf *out, const struct verify *v, const struct file *file)
{
    const char *state = state_of(file);

    sl_escape_add(out, file->path);
    if (!strcmp(state, "ok"))
        sl_strbuf_add_fmt(out, ": SHA-256 is right, %s\n", file->sha256);
    else if (!strcmp(state, "damaged"))
        sl_strbuf_add_fmt(out, ": SHA-256 is wrong: expected %s, found %s\n", file->expected,
                          file->sha256);
    else if (!strcmp(state, "unknown"))
        sl_strbuf_add_fmt(out, ": SHA-256 is %s; there is nothing to compare it with\n",
                          file->sha256);
    else if (!strcmp(state, "checksums"))
        sl_strbuf_add_fmt(out, ": its checksums are %s\n", v->is_good ? "right" : "wrong");
    else
        sl_strbuf_add_str(out, ": cannot be read\n");
}

static int print_text(const struct verify *v)
{
    struct sl_strbuf out = {0};
    int r;

    for (uint32_t i = 0; i < v->n_files; i++)
        add_file(&out, v, &v->files[i]);
    if (out.error)
        (void)sl_report_error("not enough memory");
    r = out.error ? out.error : sl_report_write(out.ptr, out.len);
    sl_strbuf_done(&out);
    return r == 0 ? sl_report_flush() : r;
}

static int print_json(const struct verify *v)
{
    struct sl_jsonwriter w;

    sl_report_begin_json(&w);
    sl_jsonwriter_member_string(&w, "model", v->args->name);
    sl_jsonwriter_member_bool(&w, "ok", v->is_good);
    sl_jsonwriter_member_string(&w, "why", v->why);
    sl_jsonwriter_member_array(&w, "files");
    for (uint32_t i = 0; i < v->n_files; i++) {
        const struct file *file = &v->files[i];

        sl_jsonwriter_begin_object(&w);
        sl_jsonwriter_member_string(&w, "path", file->path);
        sl_jsonwriter_member_u64(&w, "bytes", file->bytes);
        sl_jsonwriter_member_string(&w, "state", state_of(file));
        sl_jsonwriter_member_string(&w, "sha256", file->sha256);
        sl_jsonwriter_member_string(&w, "expected", file->expected);
        sl_jsonwriter_end_object(&w);
    }
    sl_jsonwriter_end_array(&w);
    return sl_report_end_json(&w);
}

static int run(struct verify *v)
{
    int r = find_files(v);

    if (r)
        return r;
    if (check(v) == -ECANCELED)
        return SL_EXIT_INTERRUPTED;
    r = v->args->json ? print_json(v) : print_text(v);
    if (v->is_good)
        return sl_report_code(r);
    if (!v->args->json)
        (void)sl_report_error("%s; if it was pulled, remove that file and pull it again", v->why);
    return SL_EXIT_FAILED;
}

int sl_cmd_verify(int argc, char **argv)
{
    struct verify_args args = {.json = false};
    struct verify v = {.args = &args, .progress.verb = "checking"};
    int code;

    sl_cmdline_parse(&sl_argp_verify, argc, argv, 0, &args);
    (void)sl_mapping_install_sigbus(); /* without it, a file cut meanwhile ends the program */
    code = run(&v);
    for (uint32_t i = 0; i < v.n_files; i++)
        free(v.files[i].path);
    free(v.files);
    return code;
}
