/*
 * The format of traces. Numbers are varints: 7 bits a byte, lowest first, the top bit
 * says that more follow. A record is a byte for its kind and its fields in the order of
 * the event's; calls begin with the nanoseconds since the call before. Probabilities
 * are multiples of 1/1024 where sl_predict makes them: then twice the multiple, else 1
 * and the four bytes of the number. What follows from the calls is not written but
 * folded into a digest, which the last record holds with the counters.
 *
 *     header   version, n_layers, n_experts, n_used, policy, guess, alignment, depth,
 *              budget, bandwidth, fixed bytes; for each layer its number of experts and, if that is
 *              not 0, for each part type, columns and rows, then for each expert and
 *              part file, offset (as difference to the one before) and stored bytes;
 *              1 and the seeds as floats, or 0
 *     records  kind, fields
 *     END      number of counters, counters, digest
 *
 * A reader believes nothing: each number is held against the bounds that make it safe
 * to give to the cache.
 */
#include "experts/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "experts/traceformat.h"
#include "loader/zstream.h"

#define LAYERS_MAX 1024u
#define EXPERTS_MAX 4096u
#define DIM_MAX (1u << 20)
#define MAT_BYTES_MAX (1u << 30)

static int64_t unfold_sign(uint64_t x)
{
    return (int64_t)(x >> 1) ^ -(int64_t)(x & 1);
}

struct sl_trace {
    struct sl_zstream_reader *stream;
    struct sl_trace_info info;
    struct sl_cache_layer *layers;
    struct sl_part_at **parts; /* [n_layers] */
    float *seeds;
    uint32_t *experts;         /* [n_experts] of the record at hand */
    uint8_t *seen;             /* [n_experts] */
    int8_t *ranks;
    struct sl_guess *guesses;  /* [n_layers][n_experts] */
    uint64_t ns;
    bool is_over, has_end;
    struct sl_cache_counters counters;
    uint64_t digest;
};

/* A number, at most max. */
static int get(struct sl_trace *t, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    uint8_t byte;

    for (uint32_t shift = 0; shift < 64; shift += 7) {
        int r = sl_zstream_read(t->stream, &byte, 1);

        if (r < 0)
            return r == -ENODATA ? -EBADMSG : r;
        if (shift == 63 && byte > 1)
            return -EBADMSG;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            *ret_value = value;
            return value <= max ? 0 : -EBADMSG;
        }
    }
    return -EBADMSG;
}

static int get_u32(struct sl_trace *t, uint32_t max, uint32_t *ret_value)
{
    uint64_t value = 0;
    int r = get(t, max, &value);

    *ret_value = (uint32_t)value;
    return r;
}

static int get_bytes(struct sl_trace *t, void *ret_data, size_t bytes)
{
    int r = sl_zstream_read(t->stream, ret_data, bytes);

    return r == -ENODATA ? -EBADMSG : r;
}

static int get_mat(struct sl_trace *t, uint32_t n_mats, struct sl_tensor *ret_mat)
{
    const struct sl_dtype_info *type;
    uint32_t dtype, n_cols, n_rows;
    int r;

    if ((r = get_u32(t, SL_DTYPE_LIMIT, &dtype)) < 0 || (r = get_u32(t, DIM_MAX, &n_cols)) < 0 ||
        (r = get_u32(t, DIM_MAX, &n_rows)) < 0)
        return r;
    type = sl_dtype_find(dtype);
    if (!type || !type->supported || n_cols == 0 || n_rows == 0 || n_cols % type->block_len)
        return -EBADMSG;
    *ret_mat = (struct sl_tensor){ .dtype = (enum sl_dtype)dtype, .n_cols = n_cols,
                                   .n_rows = n_rows, .n_mats = n_mats,
                                   .row_bytes = sl_dtype_row_bytes(dtype, n_cols) };
    return sl_tensor_mat_bytes(ret_mat) <= MAT_BYTES_MAX ? 0 : -EBADMSG;
}

static int get_layer(struct sl_trace *t, uint32_t index)
{
    struct sl_cache_layer *layer = &t->layers[index];
    uint32_t n = 0;
    uint64_t last = 0;
    int r = get_u32(t, t->info.n_experts, &n);

    if (r < 0 || n == 0)
        return r;
    for (uint32_t p = 0; p < SL_PART_COUNT; p++)
        if ((r = get_mat(t, n, &layer->mats[p])) < 0)
            return r;
    t->parts[index] = calloc((size_t)n * SL_PART_COUNT, sizeof(*t->parts[index]));
    if (!t->parts[index])
        return -ENOMEM;
    layer->parts = t->parts[index];
    for (uint32_t i = 0; i < n * SL_PART_COUNT; i++) {
        struct sl_part_at *at = &t->parts[index][i];
        uint64_t off, most = sl_tensor_mat_bytes(&layer->mats[i % SL_PART_COUNT]);

        if ((r = get_u32(t, UINT16_MAX, &at->file)) < 0 || (r = get(t, UINT64_MAX, &off)) < 0 ||
            (r = get_u32(t, (uint32_t)most, &at->bytes)) < 0)
            return r;
        last += (uint64_t)unfold_sign(off);
        at->off = last;
        if (last > INT64_MAX / 2 || at->bytes == 0)
            return -EBADMSG;
    }
    return 0;
}

static int get_seeds(struct sl_trace *t)
{
    size_t n = (size_t)t->info.n_layers * t->info.n_experts;
    uint32_t has_seeds;
    int r = get_u32(t, 1, &has_seeds);

    if (r < 0 || !has_seeds)
        return r;
    t->seeds = calloc(n, sizeof(*t->seeds));
    if (!t->seeds)
        return -ENOMEM;
    t->info.seeds = t->seeds;
    return get_bytes(t, t->seeds, n * sizeof(*t->seeds));
}

/* The numbers in front. */
static int get_shape(struct sl_trace *t)
{
    struct sl_trace_info *info = &t->info;
    uint32_t version, policy, guess;
    int r;

    if ((r = get_u32(t, UINT32_MAX, &version)) < 0)
        return r;
    if (version != SL_TRACE_VERSION)
        return -ENOTSUP;
    if ((r = get_u32(t, LAYERS_MAX, &info->n_layers)) < 0 ||
        (r = get_u32(t, EXPERTS_MAX, &info->n_experts)) < 0 ||
        (r = get_u32(t, info->n_experts, &info->n_used)) < 0 ||
        (r = get_u32(t, SL_EVICT_LFU, &policy)) < 0 || (r = get_u32(t, 1, &guess)) < 0 ||
        (r = get_u32(t, SL_READER_ALIGN_MAX, &info->alignment)) < 0 ||
        (r = get_u32(t, SL_READER_DEPTH_MAX, &info->depth)) < 0 ||
        (r = get(t, (uint64_t)1 << 50, &info->budget)) < 0 ||
        (r = get(t, (uint64_t)1 << 50, &info->bandwidth)) < 0 ||
        (r = get(t, (uint64_t)1 << 50, &info->fixed_bytes)) < 0)
        return r;
    if (info->n_layers == 0 || info->n_experts == 0 || info->n_used == 0 || info->depth == 0 ||
        !sl_is_pow2(info->alignment) || info->alignment < SL_READER_ALIGN)
        return -EBADMSG;
    info->policy = (enum sl_evict_policy)policy;
    info->guess = guess;
    return 0;
}

static int get_header(struct sl_trace *t)
{
    bool has_experts = false;
    size_t n;
    int r = get_shape(t);

    if (r < 0)
        return r;
    n = t->info.n_experts;
    t->layers = calloc(t->info.n_layers, sizeof(*t->layers));
    t->parts = calloc(t->info.n_layers, sizeof(*t->parts));
    t->experts = calloc(n, sizeof(*t->experts));
    t->seen = calloc(n, sizeof(*t->seen));
    t->ranks = calloc(n, sizeof(*t->ranks));
    t->guesses = calloc(n * t->info.n_layers, sizeof(*t->guesses));
    if (!t->layers || !t->parts || !t->experts || !t->seen || !t->ranks || !t->guesses)
        return -ENOMEM;
    t->info.layers = t->layers;
    for (uint32_t i = 0; i < t->info.n_layers; i++) {
        r = get_layer(t, i);
        if (r < 0)
            return r;
        has_experts |= t->layers[i].mats[0].n_mats == t->info.n_experts;
    }
    return has_experts ? get_seeds(t) : -EBADMSG;
}

int sl_trace_open_read(struct sl_trace **ret_trace, int fd, struct sl_diag *diag)
{
    struct sl_trace *t = calloc(1, sizeof(*t));
    char magic[SL_TRACE_MAGIC_BYTES];
    int r;

    if (!t)
        return -ENOMEM;
    r = sl_zstream_reader_new(&t->stream, fd);
    if (r < 0)
        goto fail;
    if (read(fd, magic, sizeof(magic)) != (ssize_t)sizeof(magic) ||
        memcmp(magic, SL_TRACE_MAGIC, sizeof(magic)) != 0) {
        r = sl_diag_set(diag, -EBADMSG, "not a trace: it does not begin with %s", SL_TRACE_MAGIC);
        goto fail;
    }
    r = get_header(t);
    if (r < 0) {
        sl_diag_set(diag, r, "%s", r == -ENOTSUP ? "a trace of another version"
                                   : r == -ENOMEM ? "not enough memory"
                                                  : "the trace's header is damaged");
        goto fail;
    }
    *ret_trace = t;
    return 0;

fail:
    sl_trace_close(t);
    return r;
}

void sl_trace_close(struct sl_trace *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; t->parts && i < t->info.n_layers; i++)
        free(t->parts[i]);
    sl_zstream_reader_free(t->stream);
    free(t->parts);
    free(t->layers);
    free(t->seeds);
    free(t->experts);
    free(t->seen);
    free(t->ranks);
    free(t->guesses);
    free(t);
}

const struct sl_trace_info *sl_trace_get_info(const struct sl_trace *t)
{
    return &t->info;
}

/* A layer that has experts. */
static int get_moe_layer(struct sl_trace *t, uint32_t *ret_layer)
{
    int r = get_u32(t, t->info.n_layers - 1, ret_layer);

    return r == 0 && t->layers[*ret_layer].mats[0].n_mats == 0 ? -EBADMSG : r;
}

static int get_experts(struct sl_trace *t, struct sl_cache_event *event)
{
    uint32_t n_mats;
    int r;

    if ((r = get_moe_layer(t, &event->layer)) < 0)
        return r;
    n_mats = t->layers[event->layer].mats[0].n_mats;
    if ((r = get_u32(t, n_mats, &event->n)) < 0)
        return r;
    memset(t->seen, 0, t->info.n_experts);
    for (uint32_t i = 0; i < event->n; i++) {
        if ((r = get_u32(t, n_mats - 1, &t->experts[i])) < 0)
            return r;
        if (t->seen[t->experts[i]]++)
            return -EBADMSG;
    }
    event->experts = t->experts;
    return 0;
}

static int get_ranks(struct sl_trace *t, struct sl_cache_event *event)
{
    uint32_t has_ranks;
    int r = get_u32(t, 1, &has_ranks);

    if (r < 0 || !has_ranks)
        return r;
    event->ranks = t->ranks;
    return get_bytes(t, t->ranks, t->info.n_experts);
}

static int get_guesses(struct sl_trace *t, struct sl_cache_event *event)
{
    int r = get_u32(t, t->info.n_layers * t->info.n_experts, &event->n);

    for (uint32_t i = 0; i < event->n && r == 0; i++) {
        struct sl_guess *g = &t->guesses[i];
        uint32_t code, bits = 0;

        if ((r = get_moe_layer(t, &g->layer)) < 0 ||
            (r = get_u32(t, t->layers[g->layer].mats[0].n_mats - 1, &g->expert)) < 0 ||
            (r = get_u32(t, 2 * (uint32_t)SL_TRACE_P_STEPS, &code)) < 0)
            return r;
        g->p = (float)(code >> 1) / SL_TRACE_P_STEPS;
        if (code & 1) {
            if (code != 1 || (r = get_bytes(t, &bits, sizeof(bits))) < 0)
                return r < 0 ? r : -EBADMSG;
            g->p = sl_f32_from_bits(bits);
            if (!(g->p >= 0 && g->p <= 1))
                return -EBADMSG;
        }
    }
    event->guesses = t->guesses;
    return r;
}

static int get_reaped(struct sl_trace *t, struct sl_cache_event *event)
{
    uint32_t slot, slice;
    int r;

    if ((r = get_u32(t, UINT32_MAX, &slot)) < 0 || (r = get_u32(t, UINT32_MAX, &slice)) < 0 ||
        (r = get_u32(t, 1, &event->n)) < 0)
        return r;
    event->value = (uint64_t)slice << 32 | slot;
    return 0;
}

static int get_end(struct sl_trace *t)
{
    uint64_t values[SL_TRACE_N_COUNTERS], n;
    uint8_t more;
    int r;

    if ((r = get(t, SL_TRACE_N_COUNTERS, &n)) < 0)
        return r;
    if (n != SL_TRACE_N_COUNTERS)
        return -EBADMSG;
    for (uint32_t i = 0; i < SL_TRACE_N_COUNTERS; i++)
        if ((r = get(t, UINT64_MAX, &values[i])) < 0)
            return r;
    if ((r = get(t, UINT64_MAX, &t->digest)) < 0)
        return r;
    memcpy(&t->counters, values, sizeof(values));
    t->has_end = true;
    return sl_zstream_read(t->stream, &more, 1) == -ENODATA ? 0 : -EBADMSG;
}

static int get_record(struct sl_trace *t, uint32_t kind, struct sl_cache_event *event)
{
    uint64_t delta;
    int r;

    if (kind <= SL_CACHE_EVENT_HINT) {
        if ((r = get(t, (uint64_t)1 << 56, &delta)) < 0)
            return r;
        t->ns += delta;
    }
    event->kind = (enum sl_cache_event_kind)kind;
    switch (kind) {
    case SL_CACHE_EVENT_BUDGET:
        return get(t, (uint64_t)1 << 50, &event->value);
    case SL_CACHE_EVENT_FILL:
    case SL_CACHE_EVENT_WAIT:
    case SL_CACHE_EVENT_POLL:
        return 0;
    case SL_CACHE_EVENT_ASK:
        return get_experts(t, event);
    case SL_CACHE_EVENT_RELEASE:
        r = get_moe_layer(t, &event->layer);
        return r < 0 ? r : get_u32(t, t->layers[event->layer].mats[0].n_mats - 1, &event->expert);
    case SL_CACHE_EVENT_OBSERVE:
        r = get_experts(t, event);
        return r < 0 ? r : get_ranks(t, event);
    case SL_CACHE_EVENT_HINT:
        return get_guesses(t, event);
    case SL_CACHE_EVENT_REAP:
    case SL_CACHE_EVENT_WAITED:
        return get(t, (uint64_t)1 << 56, &event->value);
    case SL_CACHE_EVENT_REAPED:
        return get_reaped(t, event);
    default:
        return -EBADMSG;
    }
}

int sl_trace_next(struct sl_trace *t, struct sl_cache_event *ret_event, uint64_t *ret_ns,
                  struct sl_diag *diag)
{
    uint8_t kind;
    int r;

    *ret_event = (struct sl_cache_event){ 0 };
    if (t->is_over)
        return 0;
    r = sl_zstream_read(t->stream, &kind, 1);
    if (r == 0 && kind != SL_TRACE_KIND_END)
        r = get_record(t, kind, ret_event);
    else
        t->is_over = true;
    if (r == 0 && t->is_over)
        r = get_end(t);
    *ret_ns = t->ns;
    if (r == -ENODATA || (r == 0 && t->is_over))
        return 0; /* cut off between blocks, or whole */
    if (r < 0) {
        t->is_over = true;
        t->has_end = false;
        return sl_diag_set(diag, r, "the trace is damaged");
    }
    return 1;
}

bool sl_trace_get_end(const struct sl_trace *t, struct sl_cache_counters *ret_counters,
                      uint64_t *ret_digest)
{
    if (!t->has_end)
        return false;
    *ret_counters = t->counters;
    *ret_digest = t->digest;
    return true;
}
