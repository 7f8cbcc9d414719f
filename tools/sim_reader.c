/*
 * Reads in flight as a short list in order of submission. The disk is one server: a
 * read takes bytes / bandwidth once those before it are done, and LATENCY passes at
 * least between submission and landing.
 */
#include "tools/sim_reader.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LATENCY 100e-6

struct flight {
    uint64_t tag;
    double lands_at;
};

struct sl_reader {
    struct sim_reader_opts opts;
    double now, busy_until;
    bool has_diverged;
    uint32_t n;
    struct flight flights[SL_READER_DEPTH_MAX];
};

struct sl_reader *sim_reader_new(const struct sim_reader_opts *opts)
{
    struct sl_reader *r = calloc(1, sizeof(*r));

    if (r)
        r->opts = *opts;
    return r;
}

void sim_reader_free(struct sl_reader *r)
{
    free(r);
}

double sim_reader_now(const struct sl_reader *r)
{
    return r->now;
}

void sim_reader_advance(struct sl_reader *r, double seconds)
{
    r->now += seconds;
}

bool sim_reader_has_diverged(const struct sl_reader *r)
{
    return r->has_diverged;
}

void sim_reader_end_script(struct sl_reader *r)
{
    r->opts.script = NULL;
    r->now = 1e30;
}

uint32_t sl_reader_alignment(const struct sl_reader *r)
{
    return r->opts.alignment;
}

int sl_reader_add_region(struct sl_reader *r, void *base, uint64_t bytes)
{
    return 0;
}

void sl_reader_remove_region(struct sl_reader *r, uint32_t region)
{
}

uint32_t sl_reader_room(const struct sl_reader *r)
{
    return r->opts.depth - r->n;
}

uint32_t sl_reader_n_flying(const struct sl_reader *r)
{
    return r->n;
}

void sl_reader_submit(struct sl_reader *r, const struct sl_read *reads, uint32_t n)
{
    assert(n <= r->opts.depth - r->n);
    for (uint32_t i = 0; i < n; i++) {
        double start = r->busy_until > r->now ? r->busy_until : r->now;
        struct flight *f = &r->flights[r->n++];

        r->busy_until = start + (r->opts.bandwidth > 0 ? reads[i].bytes / r->opts.bandwidth : 0);
        f->tag = reads[i].tag;
        f->lands_at = r->busy_until > r->now + LATENCY ? r->busy_until : r->now + LATENCY;
    }
}

static void take_off(struct sl_reader *r, uint32_t at)
{
    r->n--;
    memmove(&r->flights[at], &r->flights[at + 1], sizeof(r->flights[0]) * (r->n - at));
}

static bool reap_scripted(struct sl_reader *r, struct sl_read_done *ret_done, uint32_t cap,
                          uint32_t *ret_n)
{
    int n = r->opts.script(r->opts.arg, ret_done, cap);

    for (int i = 0; i < n; i++) {
        uint32_t at = 0;

        while (at < r->n && r->flights[at].tag != ret_done[i].tag)
            at++;
        if (at == r->n)
            return false;
        take_off(r, at);
    }
    *ret_n = n < 0 ? 0 : (uint32_t)n;
    return n >= 0;
}

uint32_t sl_reader_reap(struct sl_reader *r, bool wait, struct sl_read_done *ret_done,
                        uint32_t cap)
{
    uint32_t n = 0;

    if (r->opts.script && !r->has_diverged) {
        if (reap_scripted(r, ret_done, cap, &n))
            return n;
        r->has_diverged = true;
        n = 0;
    }
    if (r->n > 0 && (r->has_diverged || (wait && r->flights[0].lands_at > r->now)))
        r->now = r->flights[r->has_diverged ? r->n - 1 : 0].lands_at;
    while (r->n > 0 && n < cap && r->flights[0].lands_at <= r->now) {
        ret_done[n++] = (struct sl_read_done){ .tag = r->flights[0].tag };
        take_off(r, 0);
    }
    return n;
}
