/*
 * sluice pack: a GGUF model as one file made for streaming, plain or compressed. The
 * file appears under its name when it is complete, on the disk and, with --verify, read
 * back and compared.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/outfile.h"
#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/machine.h"
#include "cli/modelname.h"
#include "cli/options.h"
#include "cli/packreport.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "loader/packwrite.h"

enum {
    KEY_ZSTD = 512,
    KEY_VERIFY,
    KEY_JSON,
};

struct pack_args {
    const char *in, *out;
    char found[4096];   /* in, where it was found by name */
    uint32_t n_threads; /* 0: as many as there are cores */
    int level;
    bool verify, json;
};

struct packing {
    const struct pack_args *args;
    struct sl_pool *pool;
    struct sl_gguf *gguf;
    struct sl_outfile out;
    struct sl_pack *pack; /* what was written, read again */
    double seconds, verify_seconds;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct pack_args *args = state->input;

    switch (key) {
    case 't': args->n_threads = (uint32_t)sl_options_uint(state, "--threads", arg, 1, 256); break;
    case KEY_ZSTD:
        args->level = (int)sl_options_uint(state, "--zstd", arg, SL_ZBLOCK_LEVEL_MIN,
                                           SL_ZBLOCK_LEVEL_MAX);
        break;
    case KEY_VERIFY: args->verify = true; break;
    case KEY_JSON: args->json = true; break;
    case 'h': argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP); break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            argp_error(state, "too many arguments");
        if (state->arg_num == 0)
            args->in = arg;
        else
            args->out = arg;
        break;
    case ARGP_KEY_END:
        if (!args->in)
            argp_error(state, "no model given");
        if (!args->out)
            argp_error(state, "no name for the pack given");
        break;
    case ARGP_KEY_SUCCESS:
        args->in = sl_modelname_path(state, args->in, args->found, sizeof(args->found));
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"zstd", KEY_ZSTD, "LEVEL", 0,
     "Compress, without loss, what becomes at least 8 % smaller: BF16, F16 and F32, hardly ever "
     "quantised weights. LEVEL 1 to 19; higher ones rarely save more", 0},
    {NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0},
    {"verify", KEY_VERIFY, NULL, 0, "Read the pack back and compare every tensor", 0},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {"threads", 't', "N", 0, "Worker threads (one per physical core)", 0},
    {0},
};

const struct argp sl_argp_pack = {
    .options = options,
    .parser = parse,
    .args_doc = "IN.gguf OUT.slpack",
    .doc = "Write the model IN.gguf (any part of a split one) to the pack OUT.slpack, which holds "
           "all of it and is laid out for streaming from disk. OUT.slpack appears when it is "
           "complete; until then nothing of that name is touched.",
};

static int open_source(struct packing *p, struct sl_diag *diag)
{
    struct stat in, out;
    int r;

    if (sl_pack_detect(p->args->in))
        return sl_diag_set(diag, -EINVAL, "%s is a pack already", p->args->in);
    r = sl_gguf_open(&p->gguf, p->args->in, 0, diag);
    if (r < 0)
        return r;
    if (stat(p->args->out, &out) < 0)
        return 0;
    if (!S_ISREG(out.st_mode))
        return sl_diag_set(diag, -EINVAL, "%s is no regular file", p->args->out);
    for (uint32_t i = 0; i < sl_gguf_n_splits(p->gguf); i++)
        if (fstat(sl_mapping_fd(sl_gguf_mapping(p->gguf, i)), &in) == 0 &&
            in.st_dev == out.st_dev && in.st_ino == out.st_ino)
            return sl_diag_set(diag, -EINVAL, "%s is the model itself", p->args->out);
    return 0;
}

static int write_pack(struct packing *p, struct sl_diag *diag)
{
    struct sl_progress progress = {.verb = "packing"};
    struct sl_packwrite_opts opts = {
        .level = p->args->level,
        .pool = p->pool,
        .progress = sl_progress_update,
        .arg = &progress,
    };
    uint64_t start = sl_clock_ns();
    struct sl_packwrite *pw;
    int r = sl_packwrite_new(&pw, p->gguf, &opts, diag);

    if (r < 0)
        return r;
    r = sl_packwrite_run(pw, p->out.fd, diag);
    sl_progress_end(&progress);
    if (r < 0 && r != -ECANCELED)
        (void)sl_diag_prefix(diag, r, "cannot write %s", p->args->out);
    sl_packwrite_free(pw);
    if (r == 0 && fsync(p->out.fd) != 0)
        r = sl_diag_set(diag, -errno, "cannot write %s: %s", p->args->out, strerror(errno));
    p->seconds = (double)(sl_clock_ns() - start) * 1e-9;
    return r;
}

/* Open what was written, which has no name yet, and compare it. */
static int check_pack(struct packing *p, struct sl_diag *diag)
{
    struct sl_progress progress = {.verb = "verifying"};
    struct sl_packwrite_opts opts = {
        .pool = p->pool, .progress = sl_progress_update, .arg = &progress};
    uint64_t start = sl_clock_ns();
    int r;

    if (p->args->verify) /* from the disk, not from memory; it is on the disk by now */
        (void)posix_fadvise(p->out.fd, 0, 0, POSIX_FADV_DONTNEED);
    r = sl_pack_open(&p->pack, p->out.aside ? p->out.aside : p->out.fd_path, 0, diag);
    if (r == 0 && p->args->verify) {
        r = sl_packwrite_compare(p->gguf, p->pack, &opts, diag);
        sl_progress_end(&progress);
    }
    if (r < 0 && r != -ECANCELED)
        (void)sl_diag_prefix(diag, r, "%s was not written: reading it back", p->args->out);
    p->verify_seconds = (double)(sl_clock_ns() - start) * 1e-9;
    return r;
}

static void print_summary(const struct packing *p, const struct sl_packreport *report)
{
    double gb = (double)report->file_bytes * 1e-9;

    printf("%s: %.3f GB, %.3f of the %.3f GB of %s\n", p->args->out, gb,
           (double)report->file_bytes / (double)report->source_bytes,
           (double)report->source_bytes * 1e-9, p->args->in);
    sl_packreport_print(report);
    printf("written in    %.1f s, on the disk\n", p->seconds);
    if (p->args->verify)
        printf("verified in   %.1f s: every tensor is equal\n", p->verify_seconds);
}

static int print_json(const struct packing *p, const struct sl_packreport *report)
{
    struct sl_jsonwriter w;

    sl_report_begin_json(&w);
    sl_jsonwriter_member_string(&w, "path", p->args->out);
    sl_jsonwriter_member_string(&w, "source", p->args->in);
    sl_jsonwriter_member_i64(&w, "level", p->args->level);
    sl_jsonwriter_member_u64(&w, "threads", sl_pool_n_workers(p->pool));
    sl_packreport_write(&w, report);
    sl_jsonwriter_member_f64(&w, "seconds", p->seconds);
    sl_jsonwriter_member_bool(&w, "verified", p->args->verify);
    sl_jsonwriter_member_f64(&w, "verify_seconds", p->args->verify ? p->verify_seconds : 0.0);
    return sl_report_end_json(&w);
}

static int run(struct packing *p, struct sl_diag *diag)
{
    struct sl_packreport report;
    int r = sl_mapping_install_sigbus();

    if (r < 0)
        return sl_diag_set(diag, r, "cannot install the SIGBUS handler: %s", strerror(-r));
    r = open_source(p, diag);
    if (r == 0)
        r = sl_machine_new_pool(&p->pool, p->args->n_threads, diag);
    if (r == 0)
        r = sl_outfile_open(&p->out, p->args->out, diag);
    if (r == 0)
        r = write_pack(p, diag);
    if (r == 0)
        r = check_pack(p, diag);
    if (r < 0)
        return r;
    sl_packreport_make(&report, p->pack);
    for (uint32_t i = 0; i < sl_gguf_n_splits(p->gguf); i++)
        report.source_bytes += sl_mapping_bytes(sl_gguf_mapping(p->gguf, i));
    if (sl_interrupt_is_set())
        return -ECANCELED;
    r = sl_outfile_commit(&p->out, diag);
    if (r < 0)
        return r;
    if (p->args->json)
        r = print_json(p, &report);
    else
        print_summary(p, &report);
    if (r == 0)
        r = sl_report_flush();
    return r == -EPIPE ? 0 : r;
}

int sl_cmd_pack(int argc, char **argv)
{
    struct pack_args args = {0};
    struct packing p = {.args = &args};
    struct sl_diag diag = {""};
    int r;

    sl_cmdline_parse(&sl_argp_pack, argc, argv, 0, &args);
    r = run(&p, &diag);
    sl_outfile_done(&p.out);
    sl_pack_close(p.pack);
    sl_gguf_close(p.gguf);
    sl_pool_free(p.pool);
    if (r == -ECANCELED && sl_interrupt_is_set())
        return SL_EXIT_INTERRUPTED;
    if (r < 0 && diag.text[0])
        return sl_report_error("%s", diag.text);
    return r < 0 ? SL_EXIT_FAILED : SL_EXIT_OK; /* of stdout: reported where it failed */
}
