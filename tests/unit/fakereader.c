/* The files' bytes are a mix of file and offset, eight at a time. */
#include "fakereader.h"

#include <assert.h>
#include <string.h>

static uint64_t word_at(uint32_t file, uint64_t index)
{
    uint64_t x = (index + 1 + ((uint64_t)file << 40)) * 0x9E3779B97F4A7C15u;

    return x ^ x >> 29;
}

void fake_bytes(uint32_t file, uint64_t off, uint8_t *buf, uint64_t bytes)
{
    while (bytes > 0) {
        uint64_t word = word_at(file, off / 8), at = off % 8;
        uint64_t n = bytes < 8 - at ? bytes : 8 - at;

        memcpy(buf, (const uint8_t *)&word + at, n);
        buf += n;
        off += n;
        bytes -= n;
    }
}

bool fake_is_same(uint32_t file, uint64_t off, const uint8_t *buf, uint64_t bytes)
{
    uint8_t want[512];

    while (bytes > 0) {
        uint64_t n = bytes < sizeof(want) ? bytes : sizeof(want);

        fake_bytes(file, off, want, n);
        if (memcmp(buf, want, n) != 0)
            return false;
        buf += n;
        off += n;
        bytes -= n;
    }
    return true;
}

void fake_open(struct sl_reader *r, uint32_t alignment, uint32_t depth)
{
    *r = (struct sl_reader){ .alignment = alignment, .depth = depth };
}

void fake_land(struct sl_reader *r, uint32_t i, int error)
{
    struct sl_read read = r->pending[i];

    assert(i < r->n_pending);
    memset(read.buf, 0xA5, read.bytes);
    fake_bytes(read.file, read.off, read.buf, error ? read.bytes / 2 : read.bytes);
    r->n_pending--;
    memmove(r->pending + i, r->pending + i + 1, sizeof(*r->pending) * (r->n_pending - i));
    r->landed[r->n_landed++] = (struct sl_read_done){ read.tag, error };
    if (!error)
        r->bytes += read.bytes;
}

void fake_land_all(struct sl_reader *r)
{
    while (r->n_pending)
        fake_land(r, 0, 0);
}

uint32_t sl_reader_alignment(const struct sl_reader *r)
{
    return r->alignment;
}

int sl_reader_add_region(struct sl_reader *r, void *base, uint64_t bytes)
{
    for (uint32_t i = 0; i < FAKE_REGIONS_MAX; i++)
        if (!r->regions[i].base) {
            r->regions[i] = (struct fake_region){ base, bytes };
            return (int)i;
        }
    return -1;
}

void sl_reader_remove_region(struct sl_reader *r, uint32_t region)
{
    const struct fake_region *g = &r->regions[region];

    for (uint32_t i = 0; i < r->n_pending; i++)
        if ((uint8_t *)r->pending[i].buf >= g->base &&
            (uint8_t *)r->pending[i].buf < g->base + g->bytes)
            r->n_strays++;
    r->regions[region] = (struct fake_region){ 0 };
}

uint32_t sl_reader_n_flying(const struct sl_reader *r)
{
    return r->n_pending + r->n_landed;
}

uint32_t sl_reader_room(const struct sl_reader *r)
{
    return r->depth - sl_reader_n_flying(r);
}

/* Whether a read is what the contract allows: aligned, in its region, alone there. */
static bool is_allowed(const struct sl_reader *r, const struct sl_read *read)
{
    const uint8_t *buf = read->buf;
    const struct fake_region *g;

    if (read->region >= FAKE_REGIONS_MAX)
        return false;
    g = &r->regions[read->region];
    if (!g->base || buf < g->base || buf + read->bytes > g->base + g->bytes ||
        read->bytes == 0 || read->bytes > 16 << 20 || read->bytes % r->alignment ||
        read->off % r->alignment || (uintptr_t)buf % r->alignment)
        return false;
    for (uint32_t i = 0; i < r->n_pending; i++) {
        const uint8_t *other = r->pending[i].buf;

        if (buf < other + r->pending[i].bytes && other < buf + read->bytes)
            return false;
    }
    return true;
}

void sl_reader_submit(struct sl_reader *r, const struct sl_read *reads, uint32_t n)
{
    assert(n <= sl_reader_room(r));
    for (uint32_t i = 0; i < n; i++) {
        r->n_strays += !is_allowed(r, &reads[i]);
        r->pending[r->n_pending++] = reads[i];
    }
    if (r->on_submit)
        r->on_submit(r->arg, reads, n);
}

uint32_t sl_reader_reap(struct sl_reader *r, bool wait, struct sl_read_done *ret_done,
                        uint32_t cap)
{
    uint32_t n;

    if (wait && r->n_landed == 0) {
        r->n_idle_waits += r->n_pending == 0;
        r->n_waits++;
        if (r->n_pending && r->on_wait)
            r->on_wait(r->arg);
        else if (r->n_pending)
            fake_land(r, 0, 0);
    }
    n = r->n_landed < cap ? r->n_landed : cap;
    memcpy(ret_done, r->landed, sizeof(*ret_done) * n);
    r->n_landed -= n;
    memmove(r->landed, r->landed + n, sizeof(*r->landed) * r->n_landed);
    if (r->on_reap)
        r->on_reap(r->arg, ret_done, n);
    return n;
}
