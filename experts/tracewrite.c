/*
 * Writing traces; the format is described in trace.c. A record is put together from a
 * few small writes into the stream's buffer; nothing is kept but the time of the last
 * call and the digest of what followed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "experts/trace.h"
#include "experts/traceformat.h"
#include "loader/zstream.h"

struct sl_trace_writer {
    struct sl_zstream_writer *stream;
    uint32_t n_experts;
    uint64_t start_ns, last_ns;
    uint64_t digest;
};

static void put(struct sl_trace_writer *w, uint64_t value)
{
    uint8_t bytes[10];
    uint32_t n = 0;

    while (value >= 0x80) {
        bytes[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[n++] = (uint8_t)value;
    sl_zstream_write(w->stream, bytes, n);
}

static void put_kind(struct sl_trace_writer *w, uint32_t kind)
{
    uint8_t byte = (uint8_t)kind;

    sl_zstream_write(w->stream, &byte, 1);
}

/* Differences of either sign: 0 -1 1 -2 2 .. become 0 1 2 3 4 .. */
static uint64_t fold_sign(int64_t x)
{
    return (uint64_t)x << 1 ^ (uint64_t)(x >> 63);
}

static void put_layer(struct sl_trace_writer *w, const struct sl_cache_layer *layer)
{
    uint32_t n = layer->mats[0].n_mats;
    uint64_t last = 0;

    put(w, n);
    for (uint32_t p = 0; p < SL_PART_COUNT && n; p++) {
        put(w, layer->mats[p].dtype);
        put(w, layer->mats[p].n_cols);
        put(w, layer->mats[p].n_rows);
    }
    for (uint32_t i = 0; i < n * SL_PART_COUNT; i++) {
        put(w, layer->parts[i].file);
        put(w, fold_sign((int64_t)(layer->parts[i].off - last)));
        put(w, layer->parts[i].bytes);
        last = layer->parts[i].off;
    }
}

static void put_header(struct sl_trace_writer *w, const struct sl_trace_info *info)
{
    size_t n = (size_t)info->n_layers * info->n_experts;

    put(w, SL_TRACE_VERSION);
    put(w, info->n_layers);
    put(w, info->n_experts);
    put(w, info->n_used);
    put(w, info->policy);
    put(w, info->guess);
    put(w, info->alignment);
    put(w, info->depth);
    put(w, info->budget);
    put(w, info->bandwidth);
    put(w, info->fixed_bytes);
    for (uint32_t i = 0; i < info->n_layers; i++)
        put_layer(w, &info->layers[i]);
    put(w, info->seeds != NULL);
    if (info->seeds)
        sl_zstream_write(w->stream, info->seeds, n * sizeof(*info->seeds));
}

int sl_trace_writer_new(struct sl_trace_writer **ret_writer, int fd,
                        const struct sl_trace_info *info)
{
    struct sl_trace_writer *w = calloc(1, sizeof(*w));
    int r = -ENOMEM;

    if (!w)
        return r;
    w->n_experts = info->n_experts;
    r = sl_zstream_writer_new(&w->stream, fd);
    if (r < 0)
        goto fail;
    if (write(fd, SL_TRACE_MAGIC, SL_TRACE_MAGIC_BYTES) != (ssize_t)SL_TRACE_MAGIC_BYTES) {
        r = -EIO;
        goto fail;
    }
    put_header(w, info);
    r = sl_zstream_flush(w->stream);
    if (r < 0)
        goto fail;
    w->start_ns = w->last_ns = sl_clock_ns();
    *ret_writer = w;
    return 0;

fail:
    sl_trace_writer_free(w);
    return r;
}

void sl_trace_writer_free(struct sl_trace_writer *w)
{
    if (!w)
        return;
    sl_zstream_writer_free(w->stream);
    free(w);
}

static void put_experts(struct sl_trace_writer *w, const struct sl_cache_event *event)
{
    put(w, event->layer);
    put(w, event->n);
    for (uint32_t i = 0; i < event->n; i++)
        put(w, event->experts[i]);
}

static void put_guesses(struct sl_trace_writer *w, const struct sl_cache_event *event)
{
    put(w, event->n);
    for (uint32_t i = 0; i < event->n; i++) {
        const struct sl_guess *g = &event->guesses[i];
        float steps = g->p * SL_TRACE_P_STEPS;
        uint32_t bits = sl_f32_bits(g->p);

        put(w, g->layer);
        put(w, g->expert);
        if (steps >= 0 && steps <= SL_TRACE_P_STEPS && steps == (float)(uint32_t)steps) {
            put(w, (uint64_t)steps << 1);
            continue;
        }
        put(w, 1);
        sl_zstream_write(w->stream, &bits, sizeof(bits));
    }
}

uint64_t sl_trace_digest(uint64_t digest, const struct sl_cache_event *event)
{
    if (event->kind != SL_CACHE_EVENT_REQUEST && event->kind != SL_CACHE_EVENT_READ &&
        event->kind != SL_CACHE_EVENT_LANDED && event->kind != SL_CACHE_EVENT_EVICT)
        return digest;
    digest ^= (uint64_t)event->kind << 56 ^ (uint64_t)event->layer << 32 ^
              (uint64_t)event->expert << 8 ^ event->value;
    digest *= 0x9E3779B97F4A7C15u;
    return digest ^ digest >> 29;
}

void sl_trace_write(void *writer, const struct sl_cache_event *event)
{
    struct sl_trace_writer *w = writer;

    w->digest = sl_trace_digest(w->digest, event);
    if (event->kind <= SL_CACHE_EVENT_HINT) {
        uint64_t now = sl_clock_ns();

        put_kind(w, event->kind);
        put(w, now - w->last_ns);
        w->last_ns = now;
    }
    switch (event->kind) {
    case SL_CACHE_EVENT_BUDGET:
        put(w, event->value);
        break;
    case SL_CACHE_EVENT_ASK:
        put_experts(w, event);
        break;
    case SL_CACHE_EVENT_RELEASE:
        put(w, event->layer);
        put(w, event->expert);
        break;
    case SL_CACHE_EVENT_OBSERVE:
        put_experts(w, event);
        put(w, event->ranks != NULL);
        if (event->ranks)
            sl_zstream_write(w->stream, event->ranks, w->n_experts);
        break;
    case SL_CACHE_EVENT_HINT:
        put_guesses(w, event);
        break;
    case SL_CACHE_EVENT_REAP:
    case SL_CACHE_EVENT_WAITED:
        put_kind(w, event->kind);
        put(w, event->value);
        break;
    case SL_CACHE_EVENT_REAPED:
        put_kind(w, event->kind);
        put(w, event->value & UINT32_MAX);
        put(w, event->value >> 32);
        put(w, event->n);
        break;
    default: /* FILL, WAIT and POLL have no fields; the rest is not kept */
        break;
    }
}

int sl_trace_finish(struct sl_trace_writer *w, const struct sl_cache_counters *counters)
{
    uint64_t values[SL_TRACE_N_COUNTERS];

    memcpy(values, counters, sizeof(values));
    put_kind(w, SL_TRACE_KIND_END);
    put(w, SL_TRACE_N_COUNTERS);
    for (uint32_t i = 0; i < SL_TRACE_N_COUNTERS; i++)
        put(w, values[i]);
    put(w, w->digest);
    return sl_zstream_flush(w->stream);
}
