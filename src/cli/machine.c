/*
 * The disk is read as the expert cache reads it: slices of 1 MiB at random places, past
 * the page cache, eight in flight. Memory is read as decoding reads weights: each thread
 * its own share, in order. What is kept is used for 30 days.
 */
#include "cli/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/jsonwriter.h"
#include "base/memory.h"
#include "base/pool.h"
#include "cli/infile.h"
#include "cli/outfile.h"
#include "cli/spread.h"
#include "cli/statedir.h"
#include "cli/units.h"
#include "experts/placement.h"
#include "loader/diskspeed.h"

#define MIB ((uint64_t)1 << 20)
#define READ_BYTES (1u << 20)
#define READ_DEPTH 8u
#define READ_SECONDS 2.0
#define FILE_BYTES_MIN (8 * MIB)    /* fewer say nothing */
#define FILE_BYTES_KEPT (256 * MIB) /* fewer may come from the disk's own memory */
#define MEMORY_BYTES (256 * MIB)    /* more than caches hold */
#define N_PASSES 7
#define AGE_MAX_SECONDS (30 * 24 * 3600)

struct share {
    uint64_t sum;
    char apart[120]; /* threads write to lines of their own */
};

struct memory_test {
    struct sl_pool *pool;
    uint64_t *words;
    size_t n_words;
    struct share shares[SL_POOL_WORKERS_MAX];
    double rates[N_PASSES];
};

static void read_share(struct memory_test *t, uint32_t worker, uint32_t n_workers)
{
    uint64_t begin, end, sum[8] = {0};

    sl_pool_share(t->n_words, 8, worker, n_workers, &begin, &end);
    for (size_t i = begin; i + 8 <= end; i += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += t->words[i + lane];
    for (size_t lane = 0; lane < 8; lane++)
        t->shares[worker].sum += sum[lane];
}

static void run_memory_test(void *arg, uint32_t worker, uint32_t n_workers)
{
    struct memory_test *t = arg;
    uint64_t begin, end;

    sl_pool_share(t->n_words, 512, worker, n_workers, &begin, &end);
    memset(t->words + begin, 1, (end - begin) * sizeof(*t->words));
    for (int i = 0; i < N_PASSES; i++) {
        uint64_t start;

        sl_pool_barrier(t->pool);
        start = sl_clock_ns();
        read_share(t, worker, n_workers);
        sl_pool_barrier(t->pool);
        if (worker == 0)
            t->rates[i] = (double)(t->n_words * sizeof(*t->words)) /
                          ((double)(sl_clock_ns() - start) * 1e-9);
    }
}

static int new_pool(struct sl_pool **ret_pool, uint32_t n_threads)
{
    struct sl_placement plan = {0};
    struct sl_topology *topo;
    int r = sl_topology_open(&topo, NULL);

    if (r < 0)
        return r;
    r = sl_placement_plan(&plan, topo, n_threads, NULL);
    if (r == 0)
        r = sl_pool_new(ret_pool, &(struct sl_pool_opts){.n_workers = plan.n_threads,
                                                         .cpus = plan.cpus});
    sl_placement_done(&plan);
    sl_topology_close(topo);
    return r;
}

/* The median of several passes. */
static int measure_memory(struct sl_machine *m, uint32_t n_threads)
{
    struct memory_test *t = calloc(1, sizeof(*t));
    uint64_t available = sl_memory_available("");
    size_t n_bytes = available / 4 < MEMORY_BYTES ? available / 4 / MIB * MIB : MEMORY_BYTES;
    void *words;
    int r;

    if (!t || n_bytes == 0) {
        free(t);
        return -ENOMEM;
    }
    r = new_pool(&t->pool, n_threads);
    if (r < 0) {
        free(t);
        return r;
    }
    words = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (words == MAP_FAILED) {
        r = -ENOMEM;
    } else {
        (void)madvise(words, n_bytes, MADV_HUGEPAGE); /* advice only */
        t->words = words;
        t->n_words = n_bytes / sizeof(*t->words);
        sl_pool_run(t->pool, run_memory_test, t);
        m->memory_bytes_per_s = sl_spread_of(t->rates, N_PASSES).median;
        m->memory_threads = sl_pool_n_workers(t->pool);
        (void)munmap(words, n_bytes);
    }
    sl_pool_free(t->pool);
    free(t);
    return r;
}

static int measure_disk(struct sl_machine *m, int fd, uint64_t file_bytes, struct sl_diag *diag)
{
    uint32_t bytes = READ_BYTES;
    int r;

    if (file_bytes < FILE_BYTES_MIN)
        return sl_diag_set(diag, -ERANGE, "the file is too small to measure the disk with");
    r = sl_diskspeed_measure(fd, file_bytes, bytes, READ_DEPTH, READ_SECONDS,
                             &m->disk_bytes_per_s, diag);
    if (r < 0)
        return r;
    m->disk_read_bytes = bytes;
    m->disk_depth = READ_DEPTH;
    return 0;
}

/* "major:minor name" of the device that a file is on. */
static void name_device(struct sl_machine *m, const struct stat *st)
{
    char link[64], target[256] = "";
    const char *name;
    ssize_t len;

    (void)snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(st->st_dev),
                   minor(st->st_dev));
    len = readlink(link, target, sizeof(target) - 1);
    target[len > 0 ? len : 0] = '\0';
    name = strrchr(target, '/');
    (void)snprintf(m->device, sizeof(m->device), "%u:%u%s%.40s", major(st->st_dev),
                   minor(st->st_dev), name ? " " : "", name ? name + 1 : "");
}

static char *kept_path(const struct stat *st)
{
    char name[64];

    (void)snprintf(name, sizeof(name), "machine-%u-%u.json", major(st->st_dev),
                   minor(st->st_dev));
    return sl_statedir_path(name);
}

/* Keep only numbers that can be speeds. */
static double read_rate(const struct sl_json *root, const char *key)
{
    double value = 0.0;

    if (!sl_json_get_f64(sl_json_find(root, key), &value) || !(value > 1e3 && value < 1e15))
        return 0.0;
    return value;
}

static uint32_t read_count(const struct sl_json *root, const char *key)
{
    int64_t value = 0;

    (void)sl_json_get_i64(sl_json_find(root, key), &value); /* 0 then */
    return value > 0 && value < INT32_MAX ? (uint32_t)value : 0;
}

/* What is kept, as far as it can be read. */
static void load(struct sl_machine *m, const struct stat *st)
{
    char *path = kept_path(st), *text = NULL;
    struct sl_json_doc *doc = NULL;
    size_t len;

    if (path && sl_infile_read(path, &text, &len, NULL) == 0 &&
        sl_json_parse(&doc, text, len, NULL) == 0) {
        const struct sl_json *root = sl_json_root(doc);
        const char *date = sl_json_get_string(sl_json_find(root, "date"), NULL);

        m->memory_bytes_per_s = read_rate(root, "memory_bytes_per_s");
        m->memory_threads = read_count(root, "memory_threads");
        m->disk_bytes_per_s = read_rate(root, "disk_bytes_per_s");
        m->disk_read_bytes = read_count(root, "disk_read_bytes");
        m->disk_depth = read_count(root, "disk_depth");
        (void)snprintf(m->date, sizeof(m->date), "%s", date ? date : "");
        sl_text_clean(m->date);
    }
    sl_json_free(doc);
    free(text);
    free(path);
}

/* Best effort: what is not kept is measured again. */
static void save(const struct sl_machine *m, const struct stat *st)
{
    char *path = kept_path(st);
    struct sl_outfile out = {0};
    struct sl_jsonwriter w;

    if (path && sl_statedir_make_folders(path) && sl_outfile_open(&out, path, NULL) == 0) {
        sl_jsonwriter_init(&w, out.file, SL_JSONWRITER_PRETTY);
        sl_jsonwriter_begin_object(&w);
        sl_jsonwriter_member_string(&w, "device", m->device);
        sl_jsonwriter_member_string(&w, "date", m->date);
        sl_jsonwriter_member_f64(&w, "memory_bytes_per_s", m->memory_bytes_per_s);
        sl_jsonwriter_member_u64(&w, "memory_threads", m->memory_threads);
        sl_jsonwriter_member_f64(&w, "disk_bytes_per_s", m->disk_bytes_per_s);
        sl_jsonwriter_member_u64(&w, "disk_read_bytes", m->disk_read_bytes);
        sl_jsonwriter_member_u64(&w, "disk_depth", m->disk_depth);
        sl_jsonwriter_end_object(&w);
        if (sl_jsonwriter_done(&w) == 0)
            (void)sl_outfile_commit(&out, NULL);
    }
    sl_outfile_done(&out);
    free(path);
}

static bool is_old(const struct sl_machine *m)
{
    struct tm tm = {0};

    if (!strptime(m->date, "%Y-%m-%dT%H:%M:%SZ", &tm))
        return true;
    return difftime(time(NULL), timegm(&tm)) > AGE_MAX_SECONDS;
}

int sl_machine_get(struct sl_machine *ret, const char *path, uint32_t n_threads,
                   enum sl_machine_mode mode, struct sl_diag *diag)
{
    struct sl_machine m = {.disk_depth = 0};
    struct stat st;
    bool is_disk_measured = false;
    int r = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    diag->text[0] = '\0';
    if (fd < 0 || fstat(fd, &st) < 0) {
        r = sl_diag_set(diag, -errno, "%s: %s", path, strerror(errno));
        goto done;
    }
    name_device(&m, &st);
    load(&m, &st);
    if (mode == SL_MACHINE_ANEW || (mode == SL_MACHINE_KEPT && is_old(&m)))
        m.disk_bytes_per_s = m.memory_bytes_per_s = 0.0;
    if (mode != SL_MACHINE_NEVER &&
        (m.memory_bytes_per_s == 0.0 || m.memory_threads != n_threads)) {
        r = measure_memory(&m, n_threads);
        if (r < 0) {
            (void)sl_diag_set(diag, r, "memory could not be measured: %s", sl_err_text(r));
            goto done;
        }
        m.is_measured = true;
    }
    if (mode != SL_MACHINE_NEVER && m.disk_bytes_per_s == 0.0)
        is_disk_measured = measure_disk(&m, fd, (uint64_t)st.st_size, diag) == 0;
    m.is_measured |= is_disk_measured;
    if (m.is_measured) {
        struct sl_machine kept;

        sl_units_now(m.date);
        kept = m;
        if (is_disk_measured && (uint64_t)st.st_size < FILE_BYTES_KEPT)
            kept.disk_bytes_per_s = 0.0;
        save(&kept, &st);
    }
    *ret = m;

done:
    if (fd >= 0)
        close(fd);
    return r;
}

double sl_machine_disk(const char *path)
{
    struct sl_machine m = {.disk_depth = 0};
    struct stat st;

    if (stat(path, &st) == 0)
        load(&m, &st);
    return m.disk_bytes_per_s;
}
