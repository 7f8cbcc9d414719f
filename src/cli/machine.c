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
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/jsonwriter.h"
#include "base/memory.h"
#include "base/outfile.h"
#include "base/pool.h"
#include "cli/infile.h"
#include "cli/readspeed.h"
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
        r = sl_machine_measure_memory(&m, n_threads);
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

int sl_machine_new_pool(struct sl_pool **ret_pool, uint32_t n_threads, struct sl_diag *diag)
{
    struct sl_placement plan = {0};
    struct sl_topology *topo;
    int r = sl_topology_open(&topo, diag);

    if (r < 0)
        return r;
    r = sl_placement_plan(&plan, topo, n_threads, diag);
    sl_topology_close(topo);
    if (r < 0)
        return r;
    r = sl_pool_new(ret_pool, &(struct sl_pool_opts){.n_workers = plan.n_threads,
                                                     .cpus = plan.cpus});
    sl_placement_done(&plan);
    return r < 0 ? sl_diag_set(diag, r, "could not start threads: %s", sl_err_text(r)) : 0;
}

int sl_machine_measure_memory(struct sl_machine *m, uint32_t n_threads)
{
    uint64_t available = sl_memory_available("");
    size_t n_bytes = available / 4 < MEMORY_BYTES ? available / 4 / MIB * MIB : MEMORY_BYTES;
    struct sl_readspeed reads = {.bytes = 0};
    struct sl_pool *pool = NULL;
    double rates[N_PASSES];
    int r = n_bytes ? sl_machine_new_pool(&pool, n_threads, NULL) : -ENOMEM;

    if (r == 0)
        r = sl_readspeed_init(&reads, pool, n_bytes);
    if (r == 0) {
        for (int i = 0; i < N_PASSES; i++)
            rates[i] = sl_readspeed_huge(&reads);
        m->memory_bytes_per_s = sl_spread_of(rates, N_PASSES).median;
        m->memory_threads = sl_pool_n_workers(pool);
    }
    sl_readspeed_done(&reads);
    sl_pool_free(pool);
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
