/*
 * A reader of its own, with `depth` reads in flight until the time is over: each that
 * lands is followed by another one at a random place. The clock runs from the first
 * submission to the last completion, so the drain at the end counts as time and as
 * bytes; with a quarter of a second or more it does not matter.
 *
 * Places are multiples of the read's length, drawn anew each time, from a seed that
 * the clock gives: what an earlier measurement has left in the drive's own cache is
 * then hit by chance only.
 */
#include "loader/diskspeed.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "loader/reader.h"

/* Memory as the expert cache has it: on small pages a read is cut into many pieces, and
 * some disks are a good deal slower then. */
#define HUGE_BYTES (2ull << 20)

struct meter {
    struct sl_reader *reader;
    void *mapped;
    size_t mapped_bytes;
    uint8_t *memory; /* within it, aligned: depth pieces of read_bytes */
    uint32_t read_bytes, depth, region;
    uint64_t n_places; /* of the file */
    uint64_t random;
    uint64_t done_bytes;
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u; /* splitmix64 */

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static void submit(struct meter *meter, uint32_t i)
{
    struct sl_read read = {
        .off = next_random(&meter->random) % meter->n_places * meter->read_bytes,
        .buf = meter->memory + (size_t)i * meter->read_bytes,
        .tag = i,
        .bytes = meter->read_bytes,
        .region = meter->region,
    };

    sl_reader_submit(meter->reader, &read, 1);
}

/* Keep the queue full until the time is over, then empty it. */
static int run(struct meter *meter, uint64_t until_ns)
{
    struct sl_read_done done[SL_READER_DEPTH_MAX];
    int r = 0;

    for (uint32_t i = 0; i < meter->depth; i++)
        submit(meter, i);
    while (sl_reader_n_flying(meter->reader) > 0) {
        uint32_t n = sl_reader_reap(meter->reader, true, done, SL_READER_DEPTH_MAX);
        bool is_over = r < 0 || sl_clock_ns() >= until_ns;

        for (uint32_t i = 0; i < n; i++) {
            if (done[i].error < 0) {
                r = done[i].error;
                is_over = true;
                continue;
            }
            meter->done_bytes += meter->read_bytes;
            if (!is_over)
                submit(meter, (uint32_t)done[i].tag);
        }
    }
    return r;
}

static int prepare(struct meter *meter, int fd, uint64_t file_bytes, struct sl_diag *diag)
{
    const struct sl_reader_opts opts = { .depth = meter->depth };
    struct sl_reader_info info;
    int r = sl_reader_open(&meter->reader, &fd, 1, &opts, diag);

    if (r < 0)
        return r;
    sl_reader_get_info(meter->reader, &info);
    if (!info.is_direct)
        return sl_diag_set(diag, -ENOTSUP, "the disk's speed cannot be measured: its file "
                           "system takes no direct reads");
    meter->read_bytes = (uint32_t)sl_align_up(meter->read_bytes, info.alignment);
    meter->n_places = file_bytes / meter->read_bytes;
    if (meter->n_places == 0)
        return sl_diag_set(diag, -ERANGE, "the file is too small to measure the disk: less "
                           "than one read of %u bytes", meter->read_bytes);

    meter->mapped_bytes = (size_t)meter->read_bytes * meter->depth + HUGE_BYTES;
    meter->mapped = mmap(NULL, meter->mapped_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (meter->mapped == MAP_FAILED)
        return sl_diag_set(diag, -ENOMEM, "no memory to measure the disk with");
    meter->memory = (uint8_t *)sl_align_up((uintptr_t)meter->mapped, HUGE_BYTES);
    (void)madvise(meter->mapped, meter->mapped_bytes, MADV_HUGEPAGE);
    memset(meter->memory, 0, (size_t)meter->read_bytes * meter->depth);
    r = sl_reader_add_region(meter->reader, meter->memory,
                             (uint64_t)meter->read_bytes * meter->depth);
    if (r < 0)
        return sl_diag_set(diag, r, "no memory to measure the disk with");
    meter->region = (uint32_t)r;
    return 0;
}

int sl_diskspeed_measure(int fd, uint64_t file_bytes, uint32_t read_bytes, uint32_t depth,
                         double seconds, double *ret_bytes_per_s, struct sl_diag *diag)
{
    struct meter meter = { .mapped = MAP_FAILED, .read_bytes = read_bytes, .depth = depth };
    uint64_t began;
    int r;

    if (read_bytes == 0 || depth == 0 || depth > SL_READER_DEPTH_MAX ||
        (uint64_t)read_bytes * depth > SL_DISKSPEED_BYTES_MAX || read_bytes > 16u << 20 ||
        !(seconds > 0 && seconds <= SL_DISKSPEED_SECONDS_MAX))
        return sl_diag_set(diag, -EINVAL, "the disk cannot be measured with %u reads of %u "
                           "bytes for %g s", depth, read_bytes, seconds);
    r = prepare(&meter, fd, file_bytes, diag);
    if (r < 0)
        goto fail;
    began = sl_clock_ns();
    meter.random = began;
    r = run(&meter, began + (uint64_t)(seconds * 1e9));
    if (r < 0)
        (void)sl_diag_set(diag, r, "the file could not be read");
    else
        *ret_bytes_per_s = (double)meter.done_bytes / ((double)(sl_clock_ns() - began) * 1e-9);

fail:
    sl_reader_close(meter.reader);
    if (meter.mapped != MAP_FAILED)
        (void)munmap(meter.mapped, meter.mapped_bytes); /* ours: cannot fail */
    return r;
}
