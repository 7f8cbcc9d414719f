/*
 * One sum, made three times: with everything resident, with the fewest slots, and for
 * the budget given.
 *
 *     resident    weights + KV + scratch + overhead
 *     streaming   shared weights + KV + scratch + overhead + slots
 *
 * What counts is what a memory cgroup would charge. The overhead beside the parts that
 * are known to the byte was measured with the 24 B shape and with a small one: a process
 * that has opened a model holds 6 MiB (libraries and program) and 3.6 times the
 * metadata (its pages, and the vocabulary made of them). BASE_BYTES is four times
 * those 6, for threads, rings, traces and what the kernel charges in batches. Memory
 * costs page tables (1/512 if huge pages cannot be had) and mapped files also the index
 * of the page cache (1/455), which the shares below round up.
 *
 * Where the bound is free, it is what is available less a headroom of 5 %, at least
 * 512 MiB: enough for a desktop's other programs to move; but of little memory (a
 * small container) at most a quarter.
 *
 * The chunk of prompts is the longest power of two whose scratch takes 1/32 of the
 * bound: doubling it halves what a long prompt reads, and 3 % of the memory cost about
 * as much of the hits of decoding.
 *
 * Invariants: a plan's parts add up to at most its bound; whatever min_bytes or
 * resident_bytes says is accepted as ram_bytes, with the same options.
 */
#include "model/plan.h"

#include <errno.h>
#include <inttypes.h>

#include "base/bytes.h"
#include "loader/reader.h"
#include "model/measure.h"
#include "model/nodecopy.h"

#define MIB ((uint64_t)1 << 20)
#define HUGE_BYTES (2 * MIB)

#define BASE_BYTES (24 * MIB)
#define WORKER_BYTES (256u << 10) /* stack in use, charges of its CPU not yet settled */
#define METADATA_FACTOR 4u
#define LAYER_BYTES (96u << 10) /* what 12 tensors lose to the alignment of reads */
#define ANON_SHARE 256u         /* a 256th more: page tables, registration of buffers */
#define MAPPED_SHARE 224u       /* page tables and page cache index of a mapping */

#define CHUNK_MIN 32u
#define CHUNK_MAX 2048u
#define CHUNK_SHARE 32u

/* What of a model does not depend on the session. */
struct shape {
    uint64_t expert_bytes, slot_bytes_max;
    uint64_t all_slots_bytes; /* a slot for every expert */
    uint64_t min_slots_bytes; /* the fewest */
    uint64_t overhead_bytes;  /* but for page tables */
    uint64_t copy_bytes;      /* of the shared weights, for one node */
};

/* A session, and what it takes. */
struct sized {
    struct sluice_session_opts opts;
    uint64_t kv_bytes, scratch_bytes;
};

uint64_t sl_plan_slot_bytes(const struct sl_layer *layer, uint32_t alignment)
{
    const struct sl_tensor *const mats[] = { &layer->gate, &layer->up, &layer->down };
    uint64_t align = alignment ? alignment : SL_READER_ALIGN;
    uint64_t bytes = 0;

    /* a range that begins and ends anywhere touches one unit more than it fills */
    for (int i = 0; i < 3; i++)
        bytes += sl_align_up(sl_tensor_mat_bytes(mats[i]), align) + align;
    return bytes;
}

uint64_t sl_plan_headroom(uint64_t available)
{
    uint64_t room = available / 20 > 512 * MIB ? available / 20 : 512 * MIB;

    return room < available / 4 ? room : available / 4;
}

/* A layer's router in 8 bits and a scale per 32 (model/ahead.h). */
static uint64_t guess_router_bytes(const struct sl_hparams *hp)
{
    return (uint64_t)hp->n_experts * hp->width / 32 * 34;
}

static struct shape measure_shape(const struct sl_plan_in *in)
{
    const struct sl_hparams *hp = in->hp;
    struct shape s = { 0 };

    for (uint32_t i = hp->n_dense; i < hp->n_layers; i++) {
        const struct sl_layer *l = &in->weights->layers[i];
        uint64_t slot = sl_plan_slot_bytes(l, in->alignment);

        s.expert_bytes += hp->n_experts * (sl_tensor_mat_bytes(&l->gate) +
                                           sl_tensor_mat_bytes(&l->up) +
                                           sl_tensor_mat_bytes(&l->down));
        s.all_slots_bytes += hp->n_experts * slot;
        if (slot > s.slot_bytes_max)
            s.slot_bytes_max = slot;
    }
    s.min_slots_bytes = sl_align_up((hp->n_experts_used + 2) * s.slot_bytes_max, HUGE_BYTES);
    /* regions lose less than a slot of each 256 MiB, and there are few of them */
    s.all_slots_bytes += s.all_slots_bytes / 32 + 8 * s.slot_bytes_max;
    s.all_slots_bytes = sl_align_up(s.all_slots_bytes, HUGE_BYTES);
    if (in->n_nodes > 1)
        s.copy_bytes = sl_nodecopy_bytes(in->weights, hp);
    s.overhead_bytes = BASE_BYTES + (uint64_t)in->n_workers * WORKER_BYTES +
                       in->metadata_bytes * METADATA_FACTOR + hp->n_layers * LAYER_BYTES +
                       (hp->n_layers - hp->n_dense) * guess_router_bytes(hp);
    return s;
}

/* n_chunk, n_ctx: where the caller's options leave them open. */
static int size_session(struct sized *ret, const struct sl_plan_in *in, uint32_t n_ctx,
                        uint32_t n_chunk, struct sl_diag *diag)
{
    uint32_t train = in->hp->n_ctx_train;
    struct sized s = { .opts = in->session };
    int r;

    if (s.opts.n_ctx == 0)
        s.opts.n_ctx = n_ctx < train ? n_ctx : train;
    if (s.opts.n_chunk == 0 && n_chunk) {
        s.opts.n_chunk = n_chunk > s.opts.n_logits ? n_chunk : s.opts.n_logits;
        if (s.opts.n_chunk > s.opts.n_ctx && s.opts.n_ctx >= s.opts.n_logits)
            s.opts.n_chunk = s.opts.n_ctx;
    }
    r = sl_session_fill_opts(&s.opts, in->hp, diag);
    if (r < 0)
        return r;
    sl_session_measure(in->hp, in->weights, &s.opts, in->n_workers, &s.kv_bytes,
                       &s.scratch_bytes);
    *ret = s;
    return 0;
}

static uint64_t session_bytes(const struct sized *s)
{
    return sl_align_up(s->kv_bytes + s->scratch_bytes, HUGE_BYTES);
}

static uint64_t resident_overhead(const struct sl_plan_in *in, const struct shape *shape,
                                  const struct sized *s)
{
    return shape->overhead_bytes + in->weight_bytes / MAPPED_SHARE +
           session_bytes(s) / ANON_SHARE;
}

static uint64_t resident_need(const struct sl_plan_in *in, const struct shape *shape,
                              const struct sized *s)
{
    return sl_align_up(in->weight_bytes + session_bytes(s) + resident_overhead(in, shape, s), MIB);
}

/* Everything but the slots and the bound's share for page tables. */
static uint64_t streaming_fixed(const struct sl_plan_in *in, const struct shape *shape,
                                const struct sized *s)
{
    return sl_align_up(in->weight_bytes - shape->expert_bytes, HUGE_BYTES) + session_bytes(s) +
           shape->overhead_bytes;
}

static uint64_t streaming_need(const struct sl_plan_in *in, const struct shape *shape,
                               const struct sized *s)
{
    uint64_t bytes = streaming_fixed(in, shape, s) + shape->min_slots_bytes;

    return sl_align_up(bytes + bytes / (ANON_SHARE - 1) + 1, MIB);
}

/* The longest chunk whose scratch is a small part of the bound. */
static int choose_chunk(struct sized *s, const struct sl_plan_in *in, const struct shape *shape,
                        uint64_t bound, struct sl_diag *diag)
{
    for (uint32_t n = CHUNK_MAX; n > CHUNK_MIN && in->session.n_chunk == 0; n /= 2) {
        struct sized longer;
        int r;

        if (n > s->opts.n_ctx)
            continue;
        r = size_session(&longer, in, SL_PLAN_CTX_STREAMING, n, diag);
        if (r < 0)
            return r;
        if (longer.scratch_bytes > bound / CHUNK_SHARE ||
            streaming_need(in, shape, &longer) > bound)
            continue;
        *s = longer;
        break;
    }
    return 0;
}

static void set_session(struct sl_plan *p, const struct sized *s)
{
    p->session = s->opts;
    p->kv_bytes = s->kv_bytes;
    p->scratch_bytes = s->scratch_bytes;
}

/* Make copies if `room` holds them and their page tables. In streaming mode those of a GGUF
 * file are read onto the first node, otherwise that needs a copy too. */
static void add_copies(struct sl_plan *p, const struct sl_plan_in *in, const struct shape *shape,
                       uint64_t room)
{
    bool is_placed = p->is_streaming && !in->is_pack;
    uint64_t bytes;

    if (in->n_nodes < 2)
        return;
    bytes = (in->n_nodes - is_placed) * shape->copy_bytes;
    if (bytes + bytes / ANON_SHARE > room)
        return;
    p->n_copies = in->n_nodes;
    p->copy_bytes = bytes;
    p->overhead_bytes += bytes / ANON_SHARE;
}

static void set_resident(struct sl_plan *p, const struct sl_plan_in *in,
                         const struct shape *shape, const struct sized *s)
{
    uint64_t have = in->available_bytes, need = resident_need(in, shape, s);
    uint64_t room = p->ram_bytes;

    /* copies are no reason to leave nothing to others */
    if (have != UINT64_MAX && have - sl_plan_headroom(have) < room)
        room = have - sl_plan_headroom(have);
    set_session(p, s);
    p->overhead_bytes = resident_overhead(in, shape, s) + session_bytes(s) - s->kv_bytes -
                        s->scratch_bytes;
    add_copies(p, in, shape, room > need ? room - need : 0);
}

/* bound is at least min_bytes, or UINT64_MAX. */
static int set_streaming(struct sl_plan *p, const struct sl_plan_in *in,
                         const struct shape *shape, struct sized s, struct sl_diag *diag)
{
    uint64_t fixed, left, known;
    int r;

    r = choose_chunk(&s, in, shape, p->ram_bytes, diag);
    if (r < 0)
        return r;
    fixed = streaming_fixed(in, shape, &s);
    left = p->ram_bytes - p->ram_bytes / ANON_SHARE - fixed;
    set_session(p, &s);
    p->is_streaming = true;
    p->cache_bytes = left < shape->all_slots_bytes ? left & ~(HUGE_BYTES - 1)
                                                   : shape->all_slots_bytes;
    known = p->shared_bytes + p->kv_bytes + p->scratch_bytes;
    p->overhead_bytes = fixed - known + (fixed + p->cache_bytes) / ANON_SHARE;
    if (p->cache_bytes == shape->all_slots_bytes)
        add_copies(p, in, shape, left - p->cache_bytes);
    if (p->ram_bytes == UINT64_MAX)
        p->ram_bytes = known + p->overhead_bytes + p->cache_bytes + p->copy_bytes;
    return 0;
}

static double mib(uint64_t bytes)
{
    return (double)bytes / (double)MIB;
}

static int refuse(const struct sl_plan *p, const struct sl_plan_in *in, uint64_t need,
                  const struct sized *s, struct sl_diag *diag)
{
    bool is_streaming = need == p->min_bytes;
    uint64_t weights = is_streaming ? p->shared_bytes : in->weight_bytes;
    uint64_t have = p->ram_bytes == need ? in->available_bytes : p->ram_bytes;
    uint64_t known = weights + s->kv_bytes + s->scratch_bytes;

    return sl_diag_set(
        diag, -ENOMEM,
        "not enough memory: %s take %.0f MiB, a context of %" PRIu32 " takes %.0f MiB, "
        "computing %.0f MiB, %s %.0f MiB, but %s %.0f MiB; smallest that works: --ram %" PRIu64
        "M",
        is_streaming ? "the shared weights" : "the weights", mib(weights), s->opts.n_ctx,
        mib(s->kv_bytes), mib(s->scratch_bytes),
        is_streaming ? "the program and the fewest experts" : "the program",
        mib(need - known), in->ram_bytes > SLUICE_RAM_MIN && !p->is_lowered ? "the budget is"
                                                                            : "available are",
        mib(have), need / MIB);
}

/* What the plan may use. is_tight: no headroom, for what has no alternative. */
static void set_bound(struct sl_plan *p, const struct sl_plan_in *in, const struct shape *shape,
                      bool is_tight)
{
    uint64_t have = in->available_bytes;
    uint64_t safe = is_tight || have == UINT64_MAX ? have : have - sl_plan_headroom(have);

    p->ram_bytes = in->ram_bytes ? in->ram_bytes : safe;
    /* The process has taken a part of its overhead already when it asks what is left. */
    if (in->ram_bytes > SLUICE_RAM_MIN && have != UINT64_MAX &&
        in->ram_bytes > have + shape->overhead_bytes) {
        p->ram_bytes = safe;
        p->is_lowered = true;
    }
}

/* The session if all is resident: with the default context, or a shorter one where only
 * that makes it fit. Sets the smallest bound. */
static int size_resident(struct sized *ret, struct sl_plan *p, const struct sl_plan_in *in,
                         const struct shape *shape, struct sl_diag *diag)
{
    struct sized longer;
    int r;

    r = size_session(ret, in, SL_PLAN_CTX_STREAMING, 0, diag);
    if (r < 0)
        return r;
    p->resident_bytes = resident_need(in, shape, ret);
    r = size_session(&longer, in, SL_CTX_DEFAULT_MAX, 0, diag);
    if (r < 0)
        return r;
    if (in->ram_bytes != SLUICE_RAM_MIN && resident_need(in, shape, &longer) <= p->ram_bytes)
        *ret = longer;
    return 0;
}

int sl_plan_make(struct sl_plan *ret_plan, const struct sl_plan_in *in, struct sl_diag *diag)
{
    const struct shape shape = measure_shape(in);
    bool is_moe = shape.expert_bytes > 0;
    bool can_stream = is_moe && in->residency != SLUICE_RESIDENCY_RESIDENT;
    bool is_min = in->ram_bytes == SLUICE_RAM_MIN;
    struct sl_plan p = {
        .shared_bytes = in->weight_bytes - shape.expert_bytes,
        .expert_bytes = shape.expert_bytes,
        .slot_bytes_max = shape.slot_bytes_max,
        .cache_all_bytes = is_moe ? shape.all_slots_bytes : 0,
    };
    struct sized resident, least;
    int r;

    if (in->residency == SLUICE_RESIDENCY_STREAM && !is_moe)
        return sl_diag_set(diag, -ENOTSUP,
                           "the model has no experts: there is nothing to stream");
    set_bound(&p, in, &shape, !can_stream);
    r = size_session(&least, in, SL_PLAN_CTX_STREAMING, CHUNK_MIN, diag);
    if (r < 0)
        return r;
    p.min_bytes = is_moe ? streaming_need(in, &shape, &least) : 0;
    r = size_resident(&resident, &p, in, &shape, diag);
    if (r < 0)
        return r;
    /* a small model with large experts: streaming would take more */
    if (in->residency == SLUICE_RESIDENCY_AUTO && p.resident_bytes <= p.min_bytes)
        can_stream = false;
    if (is_min) {
        p.ram_bytes = can_stream ? p.min_bytes : p.resident_bytes;
        if (in->available_bytes < UINT64_MAX - shape.overhead_bytes &&
            p.ram_bytes > in->available_bytes + shape.overhead_bytes)
            return refuse(&p, in, p.ram_bytes, can_stream ? &least : &resident, diag);
    }
    if (in->residency != SLUICE_RESIDENCY_STREAM && !(is_min && can_stream) &&
        p.resident_bytes <= p.ram_bytes)
        set_resident(&p, in, &shape, &resident);
    else if (!can_stream)
        return refuse(&p, in, p.resident_bytes, &resident, diag);
    else if (p.min_bytes > p.ram_bytes)
        return refuse(&p, in, p.min_bytes, &least, diag);
    else
        r = set_streaming(&p, in, &shape, least, diag);
    if (r < 0)
        return r;
    *ret_plan = p;
    return 0;
}
