/*
 * The bound of the plan is divided in this order: pinned weights, overhead, sessions, and
 * what is left is the expert cache's. The cache has no slots until the first session is
 * made, because only then is it known what is left.
 *
 * Under memory pressure the cache gives back a region's worth at a time, at most once a
 * second, down to its smallest; after CALM_NS without pressure it takes a region's worth
 * again, never more than planned.
 */
#include "model/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "model/engine.h"
#include "model/profile.h"
#include "model/workers.h"

#define MIB (1024.0 * 1024.0)
#define CALM_NS 10000000000ull
#define AGAIN_NS 1000000000ull
/* So little memory left is low: this share of the bound, at most LOW_MAX bytes. */
#define LOW_SHARE 64u
#define LOW_MAX (512ull << 20)
/* A run of fewer tokens says too little about the next one. */
#define PROFILE_TOKENS_MIN 32u

static int open_reader(struct sluice_model *m, enum sluice_io io, struct sl_diag *diag)
{
    uint32_t n_files = sl_gguf_n_splits(m->gguf);
    struct sl_reader_opts opts = {
        .backend = io == SLUICE_IO_URING  ? SL_READER_URING
                   : io == SLUICE_IO_AUTO ? SL_READER_AUTO
                                          : SL_READER_PREAD,
        .direct = io == SLUICE_IO_BUFFERED ? SL_READER_DIRECT_OFF : SL_READER_DIRECT_AUTO,
    };
    int *fds = calloc(n_files, sizeof(*fds));
    int r;

    if (!fds)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_files; i++)
        fds[i] = sl_mapping_fd(sl_gguf_mapping(m->gguf, i));
    r = sl_reader_open(&m->stream.reader, fds, n_files, &opts, diag);
    free(fds);
    return r;
}

/* Where the stack's first matrix lies: its tensor. */
static const struct sl_gguf_tensor *find_tensor(const struct sluice_model *m, const void *data)
{
    for (uint32_t i = 0; i < sl_gguf_n_tensors(m->gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(m->gguf, i);

        if (t->data == data)
            return t;
    }
    return NULL;
}

static void stack_parts(const struct sl_gguf_tensor *t, const struct sl_tensor *stack,
                        uint32_t part, struct sl_part_at *parts)
{
    uint64_t bytes = sl_tensor_mat_bytes(stack);

    for (uint32_t e = 0; e < stack->n_mats; e++)
        parts[(uint64_t)e * SL_PART_COUNT + part] = (struct sl_part_at){
            .off = t->file_off + e * bytes, .bytes = (uint32_t)bytes, .file = t->split };
}

static int pack_parts(const struct sluice_model *m, uint32_t layer, struct sl_part_at *parts,
                      struct sl_diag *diag)
{
    const struct sl_pack_layer *from = sl_pack_layer_find(m->pack, layer);

    if (!from || from->n_experts != m->hp.n_experts)
        return sl_diag_set(diag, -EBADMSG, "layer %" PRIu32 ": the pack has no records of its "
                           "experts", layer);
    for (uint32_t i = 0; i < from->n_experts * SL_PART_COUNT; i++)
        parts[i] = (struct sl_part_at){ .off = from->parts[i].off, .bytes = from->parts[i].bytes };
    return 0;
}

/* The layer's matrices as the cache wants them, and where they lie. */
static int describe_layer(const struct sluice_model *m, uint32_t layer, struct sl_part_at *parts,
                          struct sl_cache_layer *ret_layer, struct sl_diag *diag)
{
    const struct sl_layer *l = &m->weights.layers[layer];
    struct sl_cache_layer c = { .mats = { l->gate, l->up, l->down }, .parts = parts };
    int r = m->pack ? pack_parts(m, layer, parts, diag) : 0;

    for (uint32_t p = 0; p < SL_PART_COUNT && r == 0; p++) {
        const struct sl_gguf_tensor *t = m->pack ? NULL : find_tensor(m, c.mats[p].data);

        if (sl_tensor_mat_bytes(&c.mats[p]) > UINT32_MAX || (!m->pack && !t))
            return sl_diag_set(diag, -ENOTSUP, "layer %" PRIu32
                               ": experts of this size cannot be streamed", layer);
        if (t)
            stack_parts(t, &c.mats[p], p, parts);
        c.mats[p].data = NULL;
    }
    *ret_layer = c;
    return r;
}

static int check_part(void *arg, uint32_t layer, uint32_t expert, enum sl_part part,
                      const uint8_t *stored, uint8_t *ret_matrix)
{
    return sl_pack_check_part(arg, layer, expert, part, stored, ret_matrix);
}

static void place(void *arg, void *base, uint64_t bytes)
{
    (void)sl_topology_interleave(arg, base, bytes); /* a hint */
}

static int open_cache(struct sluice_model *m, const struct sluice_model_opts *opts,
                      struct sl_diag *diag)
{
    const struct sl_hparams *hp = &m->hp;
    uint64_t n_parts = (uint64_t)hp->n_experts * SL_PART_COUNT;
    struct sl_cache_opts cache_opts = {
        .reader = m->stream.reader,
        .place = place,
        .place_arg = &m->nodes,
        .policy = (enum sl_evict_policy)opts->policy,
        .n_used = hp->n_experts_used,
        .guess = opts->predict == SLUICE_PREDICT_ON || opts->replay_path,
    };
    struct sl_cache_layer *layers = calloc(hp->n_layers, sizeof(*layers));
    int r = 0;

    if (m->pack) {
        cache_opts.check = (struct sl_part_check){ check_part, m->pack };
        r = sl_pack_prepare(m->pack, sl_pool_n_workers(m->pool));
    }
    m->stream.parts = calloc(n_parts * (hp->n_layers - hp->n_dense), sizeof(*m->stream.parts));
    if (!layers || !m->stream.parts)
        r = -ENOMEM;
    for (uint32_t i = hp->n_dense; i < hp->n_layers && r == 0; i++)
        r = describe_layer(m, i, m->stream.parts + n_parts * (i - hp->n_dense), &layers[i], diag);
    if (r == 0)
        r = sl_cache_new_streaming(&m->cache, layers, hp->n_layers, &cache_opts);
    if (r == 0 && opts->predict == SLUICE_PREDICT_ON && !opts->replay_path)
        r = sl_predict_new(&m->stream.predict, hp->n_layers, hp->n_experts, hp->n_experts_used);
    if (r == 0 && m->stream.predict)
        r = sl_ahead_init(&m->stream.ahead, &m->weights, hp);
    free(layers);
    return r;
}

/* What cannot be read is as good as none: it only costs a colder start. */
static int open_profile(struct sluice_model *m, const char *path)
{
    struct sl_stream *st = &m->stream;
    int64_t n;

    if (!path)
        return 0;
    st->profile_path = strdup(path);
    if (!st->profile_path)
        return -ENOMEM;
    n = sl_profile_load(path, sl_cache_evict(m->cache), m->hp.n_layers, m->hp.n_experts);
    st->n_profile_tokens = n > 0 ? (uint64_t)n : 0;
    return 0;
}

/* Asides of traces and their final names; nothing is written before the first session. */
static int open_trace(struct sluice_model *m, const char *path, struct sl_diag *diag)
{
    struct sl_stream *st = &m->stream;
    struct sl_strbuf aside = { 0 };
    struct stat info;
    size_t len;
    int r;

    if (!path)
        return 0;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) /* it would be replaced */
        return sl_diag_set(diag, -EINVAL, "cannot write the trace %s: it is no regular file", path);
    st->trace_path = strdup(path);
    sl_strbuf_add_fmt(&aside, "%s.%ld.new", path, (long)getpid());
    r = sl_strbuf_take(&aside, &st->trace_aside, &len);
    if (r < 0 || !st->trace_path)
        return -ENOMEM;
    st->trace_fd = open(st->trace_aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (st->trace_fd < 0) {
        r = -errno;
        free(st->trace_aside);
        st->trace_aside = NULL;
        return sl_diag_set(diag, r, "cannot write the trace %s: %s", path, strerror(-r));
    }
    return 0;
}

/* The cache has its first budget: the trace begins. */
static int begin_trace(struct sluice_model *m, struct sl_diag *diag)
{
    struct sl_stream *st = &m->stream;
    uint64_t n = (uint64_t)m->hp.n_layers * m->hp.n_experts;
    struct sl_trace_info info = {
        .n_layers = m->hp.n_layers,
        .n_experts = m->hp.n_experts,
        .n_used = m->hp.n_experts_used,
        .policy = st->policy,
        .guess = st->predict || st->replay,
        .alignment = sl_reader_alignment(st->reader),
        .depth = sl_reader_room(st->reader),
        .budget = st->budget,
        .fixed_bytes = st->plan.ram_bytes > st->budget ? st->plan.ram_bytes - st->budget : 0,
        .layers = sl_cache_layers(m->cache),
    };
    float *seeds = calloc(n, sizeof(*seeds));
    int r;

    if (!seeds)
        return -ENOMEM;
    for (uint64_t i = 0; i < n; i++)
        seeds[i] = sl_evict_seeded(sl_cache_evict(m->cache), (uint32_t)(i / m->hp.n_experts),
                                   (uint32_t)(i % m->hp.n_experts));
    if (st->n_profile_tokens)
        info.seeds = seeds;
    r = sl_trace_writer_new(&st->trace, st->trace_fd, &info);
    free(seeds);
    if (r < 0)
        return sl_diag_set(diag, r, "cannot write the trace %s: %s", st->trace_path,
                           sl_err_text(r));
    sl_cache_set_event_fn(m->cache, sl_trace_write, st->trace);
    return 0;
}

static int end_trace(struct sluice_model *m, struct sl_diag *diag)
{
    struct sl_stream *st = &m->stream;
    struct sl_cache_counters counters;
    int r = -ECANCELED; /* there was no session */

    if (!st->trace_aside)
        return 0;
    if (st->trace) {
        sl_cache_set_event_fn(m->cache, NULL, NULL);
        sl_cache_get_counters(m->cache, &counters);
        r = sl_trace_finish(st->trace, &counters);
    }
    if (r == 0 && fsync(st->trace_fd) != 0)
        r = -errno;
    if (close(st->trace_fd) != 0 && r == 0)
        r = -errno;
    if (r == 0 && rename(st->trace_aside, st->trace_path) != 0)
        r = -errno;
    if (r < 0)
        (void)unlink(st->trace_aside);
    sl_trace_writer_free(st->trace);
    st->trace = NULL;
    free(st->trace_aside);
    st->trace_aside = NULL;
    if (r == 0 || r == -ECANCELED)
        return 0;
    return sl_diag_set(diag, r, "cannot write the trace %s: %s", st->trace_path, sl_err_text(r));
}

static int open_replay(struct sluice_model *m, const char *path, struct sl_diag *diag)
{
    struct sl_trace *trace = NULL;
    const struct sl_trace_info *info;
    int fd, r;

    if (!path)
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sl_diag_set(diag, -errno, "%s: %s", path, strerror(errno));
    r = sl_trace_open_read(&trace, fd, diag);
    if (r < 0)
        goto done;
    info = sl_trace_get_info(trace);
    if (info->n_layers != m->hp.n_layers || info->n_experts != m->hp.n_experts)
        r = sl_diag_set(diag, -EINVAL, "the trace is of a model with %" PRIu32 " layers and %"
                        PRIu32 " experts, this one has %" PRIu32 " and %" PRIu32, info->n_layers,
                        info->n_experts, m->hp.n_layers, m->hp.n_experts);
    else
        r = sl_trace_load_asks(trace, &m->stream.replay, diag);

done:
    sl_trace_close(trace);
    (void)close(fd);
    return r < 0 ? sl_diag_prefix(diag, r, "%s", path) : 0;
}

static void save_profile(const struct sluice_model *m)
{
    const struct sl_stream *st = &m->stream;

    if (st->profile_path && st->n_tokens >= PROFILE_TOKENS_MIN)
        (void)sl_profile_save(st->profile_path, sl_cache_evict(m->cache), m->hp.n_layers,
                              m->hp.n_experts, st->n_profile_tokens, st->n_tokens);
}

int sl_stream_open(struct sluice_model *m, const struct sl_plan *plan,
                   const struct sluice_model_opts *opts, struct sl_diag *diag)
{
    struct sl_stream *st = &m->stream;
    int32_t node_id;
    int r;

    st->plan = *plan;
    st->policy = (enum sl_evict_policy)opts->policy;
    r = open_reader(m, opts->io, diag);
    if (r < 0)
        return r;
    r = open_cache(m, opts, diag);
    if (r < 0)
        return r;
    node_id = m->copies.n && !m->copies.list[0].region.base ? m->copies.list[0].node_id : -1;
    r = sl_pinned_load(&st->pinned, &m->weights, &m->hp, m->gguf, m->pack, st->reader, node_id,
                       opts->progress, opts->progress_arg, diag);
    if (r < 0)
        return r;
    sl_workers_fill_copies(m, st->pinned.place_error);
    st->plan.copy_bytes = m->copies.bytes;
    if (m->copies.n && st->pinned.locked_bytes && !sl_nodecopy_lock(&m->copies))
        st->pinned.locked_bytes = 0; /* all of what every token needs, or nothing */
    r = sl_pressure_open(&st->pressure, "");
    if (r < 0)
        return r;
    r = open_profile(m, opts->profile_path);
    if (r < 0)
        return r;
    r = open_replay(m, opts->replay_path, diag);
    if (r < 0)
        return r;
    r = open_trace(m, opts->trace_path, diag);
    if (r < 0)
        return r;
    m->is_streaming = true;
    sl_stream_io_text(st, m->io, sizeof(m->io));
    sl_stream_notes(st, m->notes, sizeof(m->notes));
    return 0;
}

int sl_stream_finish(struct sluice_model *m, struct sl_diag *diag)
{
    if (m->is_streaming && !m->stream.is_finished)
        save_profile(m);
    m->stream.is_finished = true;
    return end_trace(m, diag);
}

void sl_stream_close(struct sluice_model *m)
{
    struct sl_stream *st = &m->stream;

    (void)sl_stream_finish(m, NULL);
    sl_trace_asks_free(st->replay);
    sl_pressure_close(st->pressure);
    sl_predict_free(st->predict);
    sl_ahead_done(&st->ahead);
    sl_cache_free(m->cache);
    m->cache = NULL;
    free(st->parts);
    sl_pinned_done(&st->pinned);
    sl_reader_close(st->reader);
    free(st->profile_path);
    free(st->trace_path);
    *st = (struct sl_stream){ 0 };
}

/* What of the bound is left for slots beside sessions of so many bytes. */
static uint64_t left_for_slots(const struct sl_stream *st, uint64_t session_bytes)
{
    uint64_t taken = st->plan.shared_bytes + st->plan.copy_bytes + st->plan.overhead_bytes +
                     session_bytes;
    uint64_t left = st->plan.ram_bytes > taken ? st->plan.ram_bytes - taken : 0;

    return left < st->plan.cache_all_bytes ? left : st->plan.cache_all_bytes;
}

static uint64_t smallest_cache(const struct sluice_model *m)
{
    return (m->hp.n_experts_used + 2) * sl_cache_slot_bytes_max(m->cache);
}

int sl_stream_reserve(struct sluice_model *m, uint64_t bytes, struct sl_diag *diag)
{
    struct sl_stream *st = &m->stream;
    uint64_t budget = left_for_slots(st, st->session_bytes + bytes);
    uint64_t least = smallest_cache(m);
    int r;

    r = sl_cache_set_budget(m->cache, budget);
    if (r < 0 && budget < least) {
        uint64_t need = st->plan.ram_bytes + (least - budget);

        (void)sl_cache_set_budget(m->cache, st->budget);
        return sl_diag_set(diag, r, "not enough memory: the session takes %.0f MiB, which leaves "
                           "%.0f MiB for experts, less than the %.0f MiB that they need at least; "
                           "smallest that works: --ram %" PRIu64 "M", (double)bytes / MIB,
                           (double)budget / MIB, (double)least / MIB,
                           (need + (1 << 20) - 1) >> 20);
    }
    if (r < 0)
        return sl_diag_set(diag, r, "the system refused %.0f MiB of memory for experts",
                           (double)budget / MIB);
    st->session_bytes += bytes;
    st->budget = budget;
    if (st->trace_aside && !st->trace) {
        r = begin_trace(m, diag);
        if (r < 0)
            return r;
    }
    st->given_back = 0;
    st->is_resting = false;
    sl_stream_io_text(st, m->io, sizeof(m->io));
    return 0;
}

void sl_stream_unreserve(struct sluice_model *m, uint64_t bytes)
{
    m->stream.session_bytes -= bytes; /* the next session divides anew */
}

/* Pressure that is ours to relieve: the kernel reports stalls, and little is left. Stalls
 * alone also come from making huge pages, and from others' page cache. */
static bool is_short(struct sl_stream *st, uint64_t low)
{
    return sl_pressure_poll(st->pressure) && sl_memory_available("") < low;
}

void sl_stream_rest(struct sluice_model *m)
{
    struct sl_stream *st = &m->stream;
    uint64_t least = smallest_cache(m);

    if (!m->is_streaming || st->budget <= least || sl_cache_set_budget(m->cache, least) < 0)
        return;
    st->is_resting = true;
    st->given_back = st->budget - least;
    st->changed_ns = sl_clock_ns();
}

/* Take back what was given away to rest. False: the system has it no more; then it comes
 * back in pieces, as after pressure. */
static bool wake(struct sluice_model *m)
{
    struct sl_stream *st = &m->stream;

    st->is_resting = false;
    if (sl_memory_available("") < st->given_back || sl_cache_set_budget(m->cache, st->budget) < 0)
        return false;
    st->given_back = 0;
    sl_cache_fill(m->cache);
    return true;
}

void sl_stream_before_step(struct sluice_model *m)
{
    struct sl_stream *st = &m->stream;
    uint64_t least = smallest_cache(m);
    uint64_t share = st->plan.ram_bytes / LOW_SHARE, low = share < LOW_MAX ? share : LOW_MAX;
    uint64_t eighth = st->budget / 8;
    uint64_t piece = eighth < SL_REGION_BYTES_MAX ? eighth : SL_REGION_BYTES_MAX;
    uint64_t now, given_back = st->given_back;

    if (++st->n_steps == 2)
        sl_cache_fill(m->cache);
    if (st->is_resting && wake(m))
        return;
    if (is_short(st, low)) {
        now = sl_clock_ns();
        if (st->given_back && now - st->changed_ns < AGAIN_NS)
            return;
        given_back += piece;
        if (given_back + least > st->budget)
            given_back = st->budget > least ? st->budget - least : 0;
    } else if (st->given_back) {
        now = sl_clock_ns();
        if (now - st->changed_ns < CALM_NS ||
            sl_memory_available("") < piece + 2 * low)
            return;
        given_back -= given_back < piece ? given_back : piece;
    } else {
        return;
    }
    st->changed_ns = now;
    /* fails only if the system has nothing to give: then it stays as it is */
    if (sl_cache_set_budget(m->cache, st->budget - given_back) == 0)
        st->given_back = given_back;
}

void sl_stream_io_text(const struct sl_stream *st, char *buf, size_t bytes)
{
    struct sl_reader_info info;

    sl_reader_get_info(st->reader, &info);
    (void)snprintf(buf, bytes, "%s, %s%s", info.backend, info.is_direct ? "direct" : "buffered",
                   info.is_registered ? ", registered buffers" : "");
}

void sl_stream_notes(const struct sl_stream *st, char *buf, size_t bytes)
{
    struct sl_reader_info info;
    struct rlimit lock = { 0 };
    int n = 0;

    buf[0] = '\0';
    sl_reader_get_info(st->reader, &info);
    if (info.fallback[0])
        n = snprintf(buf, bytes, "%s\n", info.fallback);
    if (st->pinned.locked_bytes || n < 0 || (size_t)n >= bytes)
        return;
    (void)getrlimit(RLIMIT_MEMLOCK, &lock);
    (void)snprintf(buf + n, bytes - (size_t)n,
                   "%.0f MiB of shared weights are not locked in memory (the limit is %" PRIu64
                   " KiB); raise it with ulimit -l unlimited, or LimitMEMLOCK=infinity in a "
                   "systemd unit\n", (double)st->pinned.bytes / MIB,
                   (uint64_t)lock.rlim_cur / 1024);
}
