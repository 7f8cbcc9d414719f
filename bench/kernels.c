/*
 * How fast every kernel is, beside what the machine can do at most.
 *
 *     kernels [--type NAME] [--level LEVEL] [--batch N,..] [--threads N] [--json]
 *
 * Every entry of the kernel table at each CPU level: results are first compared with those
 * of C, byte for byte; then rounds of timings follow, each of which begins with the
 * ceilings on the same threads: a read loop over ordinary and huge pages (or over data of
 * the same size in the cache) and, for what multiplies, loops that do nothing else. Exit
 * code 1 if a result is not that of C.
 */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "bench/kn.h"

static error_t parse_batches(struct kn_opts *opts, char *arg, struct argp_state *state)
{
    for (char *at = arg;; at++) {
        unsigned long n = strtoul(at, &at, 10);

        if (n < 1 || n > 4096 || (*at && *at != ',') || opts->n_batches == KN_BATCHES_MAX)
            argp_error(state, "batches are at most %d numbers from 1 to 4096", KN_BATCHES_MAX);
        opts->batches[opts->n_batches++] = (uint32_t)n;
        if (!*at)
            return 0;
    }
}

static uint32_t parse_count(struct argp_state *state, const char *text, uint32_t max)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || value < 1 || value > max)
        argp_error(state, "%s is no number from 1 to %u", text, max);
    return (uint32_t)value;
}

static int parse_place(struct argp_state *state, const char *text)
{
    if (strcmp(text, "memory") == 0)
        return KN_MEMORY;
    if (strcmp(text, "l2") == 0)
        return KN_L2;
    if (strcmp(text, "l1") != 0)
        argp_error(state, "no such place: %s", text);
    return KN_L1;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct kn_opts *opts = state->input;

    switch (key) {
    case 'y':
        opts->kernel = arg;
        return 0;
    case 'l':
        opts->level = sl_cpu_level_from_name(arg);
        if (opts->level < 0)
            argp_error(state, "no such level: %s", arg);
        return 0;
    case 'b':
        return parse_batches(opts, arg, state);
    case 's':
        opts->shape = arg;
        return 0;
    case 'f':
        opts->place = parse_place(state, arg);
        return 0;
    case 'p':
        if (strcmp(arg, "ordinary") != 0 && strcmp(arg, "huge") != 0)
            argp_error(state, "no such pages: %s", arg);
        opts->pages = *arg == 'h' ? BN_PAGES_HUGE : BN_PAGES_ORDINARY;
        return 0;
    case 't':
        opts->n_threads = parse_count(state, arg, SL_POOL_WORKERS_MAX);
        return 0;
    case 'r':
        opts->n_rounds = parse_count(state, arg, KN_ROUNDS_MAX);
        return 0;
    case 'm':
        opts->seconds = parse_count(state, arg, 10000) * 1e-3;
        return 0;
    case 'c':
        opts->is_ceilings = true;
        return 0;
    case 'j':
        opts->is_json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

bool kn_wants_kernel(const struct kn *kn, const char *name)
{
    const char *wanted = kn->opts.kernel;

    if (!wanted || strcmp(wanted, name) == 0)
        return true;
    /* "attend" means all of its types, but "q4_0" no other type */
    return strncmp(wanted, name, strlen(wanted)) == 0 && name[strlen(wanted)] == ' ';
}

bool kn_wants_level(const struct kn *kn, enum sl_cpu_level level)
{
    return kn->opts.level < 0 || (enum sl_cpu_level)kn->opts.level == level;
}

bool kn_wants_batch(const struct kn *kn, uint32_t n_tok)
{
    for (uint32_t i = 0; i < kn->opts.n_batches; i++)
        if (kn->opts.batches[i] == n_tok)
            return true;
    return kn->opts.n_batches == 0;
}

bool kn_wants_place(const struct kn *kn, enum kn_place place)
{
    return kn->opts.place < 0 || (enum kn_place)kn->opts.place == place;
}

enum sl_cpu_level kn_entry_level(const struct kn *kn, enum sl_cpu_level level, size_t entry)
{
    int at = level;

    while (at > SL_CPU_C &&
           memcmp((const char *)&kn->kernels[at] + entry,
                  (const char *)&kn->kernels[at - 1] + entry, sizeof(void (*)(void))) == 0)
        at--;
    return (enum sl_cpu_level)at;
}

char *kn_share(const struct kn *kn, enum bn_pages pages, const struct bn_team *team,
               uint32_t worker, size_t unit, size_t *ret_bytes)
{
    const struct bn_buffer *buffer = &kn->buffers[pages];
    size_t n_units = buffer->bytes / bn_team_n(team) / unit;

    *ret_bytes = n_units * unit;
    return buffer->base + worker * *ret_bytes;
}

void kn_fill(struct kn *kn, const void *pattern, size_t n)
{
    struct bn_buffer *buffer = &kn->buffers[kn->opts.pages];

    for (size_t at = 0; at < buffer->bytes; at += n)
        memcpy(buffer->base + at, pattern, buffer->bytes - at < n ? buffer->bytes - at : n);
}

void kn_check(struct kn *kn, const struct kn_case *c, enum sl_cpu_level level, const void *want,
              const void *got, size_t bytes)
{
    if (memcmp(want, got, bytes) == 0)
        return;
    kn->n_faults++;
    fprintf(stderr, "kernels: %s %s, level %s, %u columns, %u rows, %u tokens: not what C gives\n",
            c->kernel, c->path, sl_cpu_level_name(level), c->n_cols, c->n_rows, c->n_tok);
}

static void done(struct kn *kn)
{
    for (uint32_t i = 0; i < kn->n_teams; i++)
        bn_team_free(kn->teams[i]);
    for (int i = 0; i < 2; i++)
        bn_buffer_free(&kn->buffers[i]);
    sl_topology_close(kn->topo);
}

static size_t cache_part(int name, size_t bytes_default, size_t parts)
{
    long bytes = sysconf(name);

    return (bytes > 0 ? (size_t)bytes : bytes_default) / parts / 4096 * 4096;
}

static int init_teams(struct kn *kn, struct sl_diag *diag)
{
    uint32_t n_first = kn->opts.n_threads ? kn->opts.n_threads : 1;
    int r = bn_team_new_cores(&kn->teams[0], kn->topo, n_first, diag);

    if (r < 0)
        return r;
    kn->n_teams = 1;
    if (kn->opts.n_threads == 0) {
        r = bn_team_new_cores(&kn->teams[1], kn->topo, 0, diag);
        if (r < 0)
            return r;
        kn->n_teams = 2;
        if (bn_team_n(kn->teams[1]) == 1) { /* a single core: the same again */
            bn_team_free(kn->teams[1]);
            kn->n_teams = 1;
        }
    }
    kn->n_workers = bn_team_n(kn->teams[kn->n_teams - 1]);
    return 0;
}

static int init(struct kn *kn, struct sl_diag *diag)
{
    int r;

    kn->best = sl_cpu_best();
    if (kn->opts.level > (int)kn->best)
        return sl_diag_set(diag, -ENOTSUP, "this machine has no %s, %s at most",
                           sl_cpu_level_name((enum sl_cpu_level)kn->opts.level),
                           sl_cpu_level_name(kn->best));
    for (int level = SL_CPU_C; level <= (int)kn->best; level++) {
        sl_kernels_init(&kn->kernels[level], (enum sl_cpu_level)level);
        bn_ceiling_get(&kn->ceilings[level], (enum sl_cpu_level)level);
    }
    r = sl_topology_open(&kn->topo, diag);
    if (r < 0)
        return r;
    r = init_teams(kn, diag);
    for (int i = 0; i < 2 && r == 0; i++)
        r = bn_buffer_new(&kn->buffers[i], bn_buffer_bytes(kn->topo), (enum bn_pages)i, kn->topo,
                          diag);
    kn->cache_bytes[KN_L2] = cache_part(_SC_LEVEL2_CACHE_SIZE, (size_t)512 << 10, 4);
    kn->cache_bytes[KN_L1] = cache_part(_SC_LEVEL1_DCACHE_SIZE, (size_t)32 << 10, 2);
    return r;
}

static int run_kernels(struct kn *kn)
{
    int r = 0;

    for (uint32_t dtype = 0; dtype < SL_DTYPE_LIMIT && r == 0; dtype++) {
        const struct sl_dtype_info *info = sl_dtype_find(dtype);

        if (info && info->supported && kn_wants_kernel(kn, info->name))
            r = kn_matmul(kn, (enum sl_dtype)dtype);
    }
    for (int type = SL_KV_F16; type <= SL_KV_Q8_0 && r == 0; type++)
        r = kn_attend(kn, (enum sl_kv_type)type);
    return r == 0 ? kn_vector(kn) : r;
}

static int run(struct kn *kn, struct sl_diag *diag)
{
    int r = 0;

    kn_print_begin(kn);
    if (kn->opts.is_ceilings)
        kn_run_ceilings(kn);
    else
        r = run_kernels(kn);
    if (kn_print_end(kn) < 0 && r == 0)
        return sl_diag_set(diag, -EIO, "the results cannot be written");
    if (r == 0 && kn->n_rows == 0 && !kn->opts.is_ceilings)
        return sl_diag_set(diag, -ENOENT, "nothing here is what the options ask for");
    return r < 0 ? sl_diag_set(diag, r, "%s", sl_err_text(r)) : 0;
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "type", 'y', "NAME", 0, "only q4_k, f16, ...; attend, quantize, rms_norm, ...", 0 },
        { "level", 'l', "LEVEL", 0, "only c, avx2 or avx512", 0 },
        { "batch", 'b', "N,..", 0, "tokens at once (1,2,4,8,12,16,64,512)", 0 },
        { "shape", 's', "NAME", 0, "gate, down (both), attn, kv, conv, dense, dense-down, head, "
          "router, all", 0 },
        { "from", 'f', "PLACE", 0, "only data in memory, l2 or l1", 0 },
        { "pages", 'p', "KIND", 0, "weights in ordinary or huge pages (ordinary)", 0 },
        { "threads", 't', "N", 0, "threads (one, and one per core)", 0 },
        { "rounds", 'r', "N", 0, "rounds (3)", 0 },
        { "ms", 'm', "N", 0, "length of a timing in milliseconds (6)", 0 },
        { "ceilings", 'c', NULL, 0, "the ceilings alone", 0 },
        { "json", 'j', NULL, 0, "JSON in place of a table", 0 },
        { 0 }
    };
    static const struct argp argp = { options, parse_option, NULL,
                                      "Measure kernels beside the machine's ceilings.", NULL, NULL,
                                      NULL };
    static struct kn kn = {
        .opts = { .level = -1, .place = -1, .n_rounds = 3, .seconds = 6e-3 },
    };
    struct sl_diag diag = { "" };
    int r;

    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &kn.opts);
    r = init(&kn, &diag);
    if (r == 0)
        r = run(&kn, &diag);
    if (r < 0)
        fprintf(stderr, "kernels: %s\n", diag.text);
    done(&kn);
    return r < 0 || kn.n_faults;
}
