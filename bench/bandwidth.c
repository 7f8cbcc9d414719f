/*
 * What memory gives: threads read a buffer of huge pages, and a file through its mapping.
 *
 *     bandwidth [--threads N] [--bytes N] [--each | --serve] [FILE]
 *
 * Each thread goes round in its own contiguous share, by a plain loop and by one that
 * prefetches, the better of which counts. Nothing is timed before all pages were touched.
 * The best and the median of the timings are printed as one line of JSON, GB/s in powers
 * of ten. Decoding reads weights the second way, so its speed is compared with
 * file_gb_per_s.
 *
 * --each adds every core alone, the cores of every L3 domain and those of every NUMA node
 * together, in huge pages of their own node and in the file.
 *
 * --serve keeps both and answers each line of stdin with a fresh timing, for programs that
 * measure something else in between; an empty object comes first, when all is ready.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/jsonwriter.h"
#include "bench/bn_buffer.h"
#include "bench/bn_readloop.h"
#include "bench/bn_spread.h"

#define BYTES_MIN 4096u /* for each thread */
#define N_TIMINGS 5
#define SECONDS 40e-3
#define N_TIMINGS_EACH 3
#define SECONDS_EACH 10e-3
#define SECONDS_SERVE 20e-3

struct args {
    const char *file;
    uint32_t n_threads;
    size_t n_bytes; /* at most so many of the file, and of the buffer */
    bool is_each, is_serve;
};

struct file {
    void *base; /* NULL: there is none */
    size_t bytes;
};

struct bench {
    struct args args;
    struct sl_topology *topo;
    struct file file;
    struct sl_jsonwriter json;
};

/* Median and best of n timings, bytes per second. */
static struct bn_spread measure(struct bn_team *team, const void *base, size_t bytes, int n,
                                double seconds)
{
    static struct bn_readloop loop; /* large; one thread */
    double rates[N_TIMINGS];

    bn_readloop_init(&loop, team, base, bytes, 0, sl_cpu_best(), seconds);
    for (int i = 0; i < n; i++)
        rates[i] = bn_readloop_rate(&loop);
    return bn_spread_of(rates, (size_t)n);
}

static void write_f64(struct sl_jsonwriter *w, const char *key, double value)
{
    sl_jsonwriter_key(w, key);
    sl_jsonwriter_f64(w, value);
}

static void write_rates(struct bench *b, const char *median, const char *best,
                        struct bn_spread rate)
{
    write_f64(&b->json, median, rate.median * 1e-9);
    write_f64(&b->json, best, rate.high * 1e-9);
}

static int measure_all(struct bench *b, struct sl_diag *diag)
{
    struct bn_team *team = NULL;
    struct bn_buffer buffer = { 0 };
    int r = bn_team_new(&team, NULL, b->args.n_threads, diag);

    if (r < 0)
        return r;
    r = bn_buffer_new(&buffer, b->args.n_bytes, BN_PAGES_HUGE, b->topo, diag);
    if (r == 0)
        write_rates(b, "buffer_gb_per_s", "buffer_best_gb_per_s",
                    measure(team, buffer.base, buffer.bytes, N_TIMINGS, SECONDS));
    if (r == 0 && b->file.base)
        write_rates(b, "file_gb_per_s", "file_best_gb_per_s",
                    measure(team, b->file.base, b->file.bytes, N_TIMINGS, SECONDS));
    bn_buffer_free(&buffer);
    bn_team_free(team);
    return r;
}

static void write_loops(struct sl_jsonwriter *w, const char *key, struct bn_readloop *loop)
{
    double rates[2];
    int n = bn_readloop_rates(loop, rates);

    sl_jsonwriter_key(w, key);
    sl_jsonwriter_begin_array(w);
    for (int i = 0; i < n; i++)
        sl_jsonwriter_f64(w, rates[i] * 1e-9);
    sl_jsonwriter_end_array(w);
}

/* A line of JSON with what each loop gives now; with none, an empty object. */
static int answer(struct bn_readloop *buffer, struct bn_readloop *file)
{
    struct sl_jsonwriter w;

    sl_jsonwriter_init(&w, stdout, SL_JSONWRITER_SPACED);
    sl_jsonwriter_begin_object(&w);
    if (buffer)
        write_loops(&w, "buffer_gb_per_s", buffer);
    if (file)
        write_loops(&w, "file_gb_per_s", file);
    sl_jsonwriter_end_object(&w);
    return sl_jsonwriter_done(&w) < 0 || printf("\n") < 0 || fflush(stdout) ? -EIO : 0;
}

static int serve(struct bench *b, struct sl_diag *diag)
{
    static struct bn_readloop buffer_loop, file_loop; /* large; one thread */
    struct bn_readloop *of_file = b->file.base ? &file_loop : NULL;
    struct bn_team *team = NULL;
    struct bn_buffer buffer = { 0 };
    enum sl_cpu_level level = sl_cpu_best();
    char line[64];
    int r = bn_team_new(&team, NULL, b->args.n_threads, diag);

    if (r < 0)
        return r;
    r = bn_buffer_new(&buffer, b->args.n_bytes, BN_PAGES_HUGE, b->topo, diag);
    if (r == 0) {
        bn_readloop_init(&buffer_loop, team, buffer.base, buffer.bytes, 0, level, SECONDS_SERVE);
        if (of_file)
            bn_readloop_init(of_file, team, b->file.base, b->file.bytes, 0, level,
                             SECONDS_SERVE);
        r = answer(NULL, NULL);
    }
    while (r == 0 && fgets(line, sizeof(line), stdin))
        r = answer(&buffer_loop, of_file);
    bn_buffer_free(&buffer);
    bn_team_free(team);
    return r == -EIO ? sl_diag_set(diag, r, "the result cannot be written") : r;
}

/* Some cores of one node, as one object of an array. */
static int measure_cores(struct bench *b, const int32_t *cpus, uint32_t n,
                         const struct bn_buffer *buffer, struct sl_diag *diag)
{
    struct sl_jsonwriter *w = &b->json;
    struct bn_team *team = NULL;
    int r = bn_team_new(&team, cpus, n, diag);

    if (r < 0)
        return r;
    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_key(w, "cpus");
    sl_jsonwriter_begin_array(w);
    for (uint32_t i = 0; i < n; i++)
        sl_jsonwriter_i64(w, cpus[i]);
    sl_jsonwriter_end_array(w);
    write_rates(b, "buffer_gb_per_s", "buffer_best_gb_per_s",
                measure(team, buffer->base, buffer->bytes, N_TIMINGS_EACH, SECONDS_EACH));
    if (b->file.base)
        write_rates(b, "file_gb_per_s", "file_best_gb_per_s",
                    measure(team, b->file.base, b->file.bytes, N_TIMINGS_EACH, SECONDS_EACH));
    sl_jsonwriter_end_object(w);
    bn_team_free(team);
    return 0;
}

enum unit { UNIT_CORE, UNIT_L3, UNIT_NODE };

static uint32_t unit_of(const struct sl_topology *topo, uint32_t core, enum unit unit)
{
    return unit == UNIT_CORE ? core : unit == UNIT_L3 ? topo->cores[core].l3
                                                      : topo->cores[core].node;
}

/* Huge pages that lie on the node of the worker that asks for them. */
struct local {
    struct bn_buffer buffer;
    size_t bytes;
    struct sl_diag *diag;
    int r;
};

static void make_local(void *arg, uint32_t worker, uint64_t n_calls)
{
    struct local *local = arg;

    local->r = bn_buffer_new(&local->buffer, local->bytes, BN_PAGES_HUGE, NULL, local->diag);
}

static int init_local(struct local *local, int32_t cpu)
{
    struct bn_team *team = NULL;
    int r = bn_team_new(&team, &cpu, 1, local->diag);

    if (r < 0)
        return r;
    (void)bn_team_time(team, make_local, local, 1);
    bn_team_free(team);
    return local->r;
}

/* All cores, L3 domains or nodes, each with memory of its node. */
static int measure_units(struct bench *b, const char *name, enum unit unit, struct sl_diag *diag)
{
    const struct sl_topology *topo = b->topo;
    uint32_t n_units = unit == UNIT_CORE ? topo->n_cores
                       : unit == UNIT_L3 ? topo->n_l3 : topo->n_nodes;
    struct local local = { .bytes = b->args.n_bytes, .diag = diag };
    uint32_t node = UINT32_MAX;
    int r = 0;

    sl_jsonwriter_key(&b->json, name);
    sl_jsonwriter_begin_array(&b->json);
    for (uint32_t i = 0; i < n_units && r == 0; i++) {
        int32_t cpus[SL_POOL_WORKERS_MAX];
        uint32_t n = 0, first = UINT32_MAX;

        for (uint32_t core = 0; core < topo->n_cores && n < SL_POOL_WORKERS_MAX; core++)
            if (unit_of(topo, core, unit) == i) {
                first = first < core ? first : core;
                cpus[n++] = topo->cores[core].cpus[0];
            }
        if (n == 0)
            continue;
        if (topo->cores[first].node != node) {
            bn_buffer_free(&local.buffer);
            node = topo->cores[first].node;
            r = init_local(&local, cpus[0]);
        }
        if (r == 0)
            r = measure_cores(b, cpus, n, &local.buffer, diag);
    }
    sl_jsonwriter_end_array(&b->json);
    bn_buffer_free(&local.buffer);
    return r;
}

static int map_file(struct bench *b, struct sl_diag *diag)
{
    int fd = open(b->args.file, O_RDONLY | O_CLOEXEC);
    struct stat st;
    size_t bytes;
    void *base;
    int error;

    if (fd < 0 || fstat(fd, &st) < 0) {
        error = errno;
        if (fd >= 0)
            (void)close(fd); /* read only */
        return sl_diag_set(diag, -error, "%s: %s", b->args.file, strerror(error));
    }
    bytes = (uint64_t)st.st_size < b->args.n_bytes ? (size_t)st.st_size : b->args.n_bytes;
    if (bytes < (size_t)BYTES_MIN * b->topo->n_cores || bytes < BYTES_MIN * b->args.n_threads) {
        (void)close(fd); /* read only */
        return sl_diag_set(diag, -EINVAL, "%s: %zu bytes are too few to be measured",
                           b->args.file, bytes);
    }
    base = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    error = errno;
    (void)close(fd); /* the mapping stays */
    if (base == MAP_FAILED)
        return sl_diag_set(diag, -error, "%s: %s", b->args.file, strerror(error));
    b->file = (struct file){ base, bytes };
    return 0;
}

static int run(struct bench *b, struct sl_diag *diag)
{
    int r = sl_topology_open(&b->topo, diag);

    if (r == 0 && b->args.file)
        r = map_file(b, diag);
    if (r < 0)
        return r;
    if (b->args.is_serve)
        return serve(b, diag);
    sl_jsonwriter_init(&b->json, stdout, SL_JSONWRITER_SPACED);
    sl_jsonwriter_begin_object(&b->json);
    r = measure_all(b, diag);
    if (b->args.is_each && r == 0)
        r = measure_units(b, "cores", UNIT_CORE, diag);
    if (b->args.is_each && r == 0)
        r = measure_units(b, "l3_domains", UNIT_L3, diag);
    if (b->args.is_each && r == 0)
        r = measure_units(b, "nodes", UNIT_NODE, diag);
    sl_jsonwriter_end_object(&b->json);
    if ((sl_jsonwriter_done(&b->json) < 0 || printf("\n") < 0 || fflush(stdout)) && r == 0)
        r = sl_diag_set(diag, -EIO, "the result cannot be written");
    return r;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;

    switch (key) {
    case 't':
        args->n_threads = (uint32_t)strtoul(arg, NULL, 10);
        if (args->n_threads < 1 || args->n_threads > SL_POOL_WORKERS_MAX)
            argp_error(state, "1 to %d threads", SL_POOL_WORKERS_MAX);
        return 0;
    case 'b':
        args->n_bytes = (size_t)strtoull(arg, NULL, 10) / 4096 * 4096;
        return 0;
    case 'e':
        args->is_each = true;
        return 0;
    case 's':
        args->is_serve = true;
        return 0;
    case ARGP_KEY_ARG:
        if (args->file)
            argp_usage(state);
        args->file = arg;
        return 0;
    case ARGP_KEY_END:
        if (args->is_each && args->is_serve)
            argp_error(state, "--each and --serve exclude each other");
        if (args->n_bytes < (size_t)BYTES_MIN * SL_POOL_WORKERS_MAX)
            argp_error(state, "at least %u bytes", BYTES_MIN * SL_POOL_WORKERS_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "threads", 't', "N", 0, "threads (2)", 0 },
        { "bytes", 'b', "N", 0, "bytes that are read in turn (1073741824)", 0 },
        { "each", 'e', NULL, 0, "every core, L3 domain and NUMA node, too", 0 },
        { "serve", 's', NULL, 0, "measure again for each line of stdin", 0 },
        { 0 }
    };
    static const struct argp argp = { options, parse_option, "[FILE]",
                                      "Measure how fast memory is read.", NULL, NULL, NULL };
    static struct bench b = { .args = { .n_threads = 2, .n_bytes = (size_t)1 << 30 } };
    struct sl_diag diag = { "" };
    int r;

    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &b.args);
    r = run(&b, &diag);
    if (r < 0)
        fprintf(stderr, "bandwidth: %s\n", diag.text);
    if (b.file.base)
        (void)munmap(b.file.base, b.file.bytes);
    sl_topology_close(b.topo);
    return r < 0;
}
