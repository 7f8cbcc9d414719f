/*
 * Each thread reads its own contiguous share. Time runs from when all of them are there, so
 * that one that starts late on a busy machine does not count; little is read several times
 * over, because a pass must be long beside their meeting at its end. Sums are kept, or the
 * compiler would leave the loop out.
 */
#include "cli/readspeed.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/interrupt.h"
#include "cli/report.h"
#include "model/engine.h"

#define MIB ((size_t)1 << 20)
#define BYTES_MAX (1024 * MIB)
#define PASS_BYTES (256 * MIB) /* at least, in all */

struct share {
    uint64_t sum;
    char apart[120]; /* threads write to lines of their own */
};

struct pass {
    const uint64_t *words;
    size_t n_words;
    size_t n_times;
    struct share *shares;
    struct sl_pool *pool;
    uint64_t ns; /* set by worker 0 */
};

size_t sl_readspeed_bytes(uint64_t *ram_bytes)
{
    uint64_t bytes = BYTES_MAX, available = sl_memory_available("");
    bool is_bound = *ram_bytes > SLUICE_RAM_MIN;

    if (available / 8 < bytes)
        bytes = available / 8;
    if (is_bound && *ram_bytes / 8 < bytes)
        bytes = *ram_bytes / 8;
    bytes = bytes < MIB ? MIB : bytes / MIB * MIB;
    if (is_bound && *ram_bytes > bytes)
        *ram_bytes -= bytes;
    return (size_t)bytes;
}

void sl_readspeed_explain(size_t bytes, uint64_t ram_bytes)
{
    if (bytes && ram_bytes > SLUICE_RAM_MIN)
        sl_report_note("%zu MiB of --ram are set apart for measuring memory", bytes / MIB);
}

static void read_pass(void *arg, uint32_t worker, uint32_t n_workers)
{
    struct pass *pass = arg;
    uint64_t begin, end, began, sum[8] = {0};

    sl_pool_share(pass->n_words, 8, worker, n_workers, &begin, &end);
    sl_pool_barrier(pass->pool);
    began = sl_clock_ns();
    for (size_t time = 0; time < pass->n_times; time++)
        for (size_t i = begin; i + 8 <= end; i += 8)
            for (size_t lane = 0; lane < 8; lane++)
                sum[lane] += pass->words[i + lane] ^ time;
    for (size_t lane = 0; lane < 8; lane++)
        pass->shares[worker].sum += sum[lane];
    sl_pool_barrier(pass->pool);
    if (worker == 0)
        pass->ns = sl_clock_ns() - began;
}

static void fill(void *arg, uint32_t worker, uint32_t n_workers)
{
    struct sl_readspeed *rs = arg;
    uint64_t begin, end;

    sl_pool_share(rs->bytes, 4096, worker, n_workers, &begin, &end);
    memset((char *)rs->huge + begin, 1, end - begin);
}

static double rate(struct sl_readspeed *rs, const uint64_t *words, size_t bytes, size_t n_times)
{
    struct pass pass = {.words = words, .n_words = bytes / sizeof(*words) / 8 * 8,
                        .n_times = n_times, .shares = rs->shares, .pool = rs->pool};

    sl_pool_run(rs->pool, read_pass, &pass);
    return (double)pass.n_words * sizeof(*words) * (double)pass.n_times /
           ((double)pass.ns * 1e-9);
}

static size_t times(size_t bytes)
{
    return bytes < PASS_BYTES ? PASS_BYTES / bytes : 1;
}

struct sl_mapping *sl_readspeed_file(const struct sluice_model *model)
{
    struct sl_mapping *largest = sl_gguf_mapping(model->gguf, 0);

    for (uint32_t i = 1; i < sl_gguf_n_splits(model->gguf); i++) {
        struct sl_mapping *map = sl_gguf_mapping(model->gguf, i);

        if (sl_mapping_bytes(map) > sl_mapping_bytes(largest))
            largest = map;
    }
    return largest;
}

int sl_readspeed_init(struct sl_readspeed *rs, struct sl_pool *pool, size_t bytes)
{
    void *huge;

    *rs = (struct sl_readspeed){.pool = pool, .bytes = bytes};
    rs->shares = calloc(sl_pool_n_workers(rs->pool), sizeof(struct share));
    if (!rs->shares)
        return -ENOMEM;
    huge = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (huge == MAP_FAILED) {
        sl_readspeed_done(rs);
        return -ENOMEM;
    }
    (void)madvise(huge, bytes, MADV_HUGEPAGE); /* advice only */
    rs->huge = huge;
    sl_pool_run(rs->pool, fill, rs);
    return 0;
}

int sl_readspeed_init_model(struct sl_readspeed *rs, const struct sluice_model *model, size_t bytes)
{
    const struct sl_mapping *map = sl_readspeed_file(model);
    int r;

    if (model->weight_bytes < bytes)
        bytes = model->weight_bytes < MIB ? MIB : (size_t)model->weight_bytes / MIB * MIB;
    r = sl_readspeed_init(rs, model->pool, bytes);
    if (r < 0)
        return r;
    rs->gguf = model->gguf;
    if (!model->is_streaming && map) {
        rs->mapped = (const uint64_t *)(const void *)sl_mapping_data(map); /* page aligned */
        rs->mapped_bytes = sl_mapping_bytes(map);
    }
    return 0;
}

void sl_readspeed_done(struct sl_readspeed *rs)
{
    if (rs->huge)
        (void)munmap(rs->huge, rs->bytes);
    free(rs->shares);
    *rs = (struct sl_readspeed){.pool = NULL};
}

static void touch(struct sl_readspeed *rs, const struct sl_mapping *map)
{
    const uint64_t *words = (const uint64_t *)(const void *)sl_mapping_data(map);
    uint64_t bytes = sl_mapping_bytes(map);

    for (uint64_t off = 0; off < bytes && !sl_interrupt_is_set(); off += rs->bytes)
        (void)rate(rs, words + off / sizeof(*words),
                   bytes - off < rs->bytes ? (size_t)(bytes - off) : rs->bytes, 1);
}

void sl_readspeed_touch(struct sl_readspeed *rs)
{
    for (uint32_t i = 0; rs->mapped && i < sl_gguf_n_splits(rs->gguf); i++)
        touch(rs, sl_gguf_mapping(rs->gguf, i));
}

double sl_readspeed_mapped(struct sl_readspeed *rs)
{
    size_t bytes = rs->mapped_bytes < rs->bytes ? (size_t)rs->mapped_bytes : rs->bytes;

    return bytes ? rate(rs, rs->mapped, bytes, times(bytes)) : 0.0;
}

double sl_readspeed_huge(struct sl_readspeed *rs)
{
    return rate(rs, rs->huge, rs->bytes, times(rs->bytes));
}
