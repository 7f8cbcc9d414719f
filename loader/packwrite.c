/*
 * Writing packs.
 *
 * Every shared tensor and every matrix of an expert is a unit; units in the order of the
 * file. Batches of units of about BATCH_BYTES are read ahead, encoded and hashed by all
 * workers, each unit into its own place of a buffer, and then written one after the other
 * by the caller, so that the file does not depend on the number of workers. Offsets are
 * given out while writing, as only then stored sizes are known; index and header follow
 * at the end, in the room left for them at the front.
 *
 * Written pages are pushed to the disk one batch behind and dropped from the page cache:
 * a pack may be larger than the memory, and nothing else should have to make room.
 *
 * Encoding is tried on one piece from the middle of a unit; only if that promises
 * something is all of it encoded.
 */
#include "loader/packwrite.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "loader/check.h"
#include "loader/packlayout.h"

#define BATCH_BYTES (UINT64_C(64) << 20)
#define BATCH_UNITS 512u
#define READ_THREADS 4u
#define WRITE_BYTES ((size_t)8 << 20) /* of one write */
/* Smaller shared tensors are left plain, for those who want vectors at hand. */
#define SHARED_ENCODED_MIN 65536u
#define PROBE_SHARE 0.95   /* a piece that stays larger than this ends the trial */
#define PROBE_FROM (2 * SL_ZBLOCK_PIECE_BYTES) /* smaller units are encoded at once */
#define N_SAMPLES 64u      /* pieces, for the estimate */
#define ESTIMATE_SAFETY 1.02
#define MIB 1048576.0

struct unit {
    const uint8_t *src;
    uint64_t bytes;
    uint32_t tensor;
    uint32_t align;
    enum sl_zblock_kind wanted; /* PLAIN: do not try */
    /* When it has been through a worker. */
    enum sl_zblock_kind kind;
    uint64_t stored_bytes, hash;
    uint64_t buf_off; /* of the batch's buffer, room for sl_zblock_bound */
    uint64_t off;     /* in the file, when it has been written */
};

struct layer {
    uint32_t layer, n_experts;
    uint32_t tensors[SL_PACK_PARTS];
    uint32_t first_part;
};

struct sl_packwrite {
    /* Set once, then read only. */
    const struct sl_gguf *gguf;
    struct sl_packwrite_opts opts;
    uint32_t n_workers;
    uint32_t n_units, n_shared, n_layers, n_parts;
    struct layer *layers;
    uint64_t meta_bytes, source_bytes, need_bytes;
    struct sl_zblock_encoder **encoders; /* n_workers, NULL when plain */
    /* Owned by the caller, but units of a batch by one worker each while it runs. */
    struct unit *units; /* shared tensors, then parts in the order of the index */
    uint8_t *buf;
    uint64_t buf_bytes;
    uint64_t end; /* of what has been written */
    uint32_t batch_end;
    /* Atomic. */
    atomic_uint next;
    atomic_int failed; /* 0 or a negative errno of a worker */
};

static const struct sl_gguf_tensor *find_stack(const struct sl_gguf *gguf, uint32_t layer,
                                               const char *part, uint32_t *ret_i)
{
    const struct sl_gguf_tensor *t;
    char name[64];

    (void)snprintf(name, sizeof(name), "blk.%" PRIu32 ".ffn_%s_exps.weight", layer, part);
    t = sl_gguf_tensor_find(gguf, name);
    if (!t || t->n_dims != 3 || t->bytes == 0 || t->bytes / t->ne[2] > SL_PACK_PART_BYTES_MAX)
        return NULL;
    *ret_i = (uint32_t)(t - sl_gguf_tensor_at(gguf, 0));
    return t;
}

/* Layers whose experts become records: those that have all three stacks. */
static int find_layers(struct sl_packwrite *pw)
{
    uint64_t n_parts = 0;

    pw->layers = calloc(SL_PACK_LAYERS_MAX, sizeof(pw->layers[0]));
    if (!pw->layers)
        return -ENOMEM;
    for (uint32_t i = 0; i < SL_PACK_LAYERS_MAX; i++) {
        struct layer l = { .layer = i, .first_part = (uint32_t)n_parts };
        const struct sl_gguf_tensor *gate = find_stack(pw->gguf, i, "gate", &l.tensors[0]);
        const struct sl_gguf_tensor *up = find_stack(pw->gguf, i, "up", &l.tensors[1]);
        const struct sl_gguf_tensor *down = find_stack(pw->gguf, i, "down", &l.tensors[2]);

        if (!gate || !up || !down || gate->ne[2] != up->ne[2] || gate->ne[2] != down->ne[2])
            continue;
        l.n_experts = gate->ne[2];
        n_parts += (uint64_t)l.n_experts * SL_PACK_PARTS;
        if (n_parts > SL_PACK_PARTS_MAX)
            return -E2BIG;
        pw->layers[pw->n_layers++] = l;
    }
    pw->n_parts = (uint32_t)n_parts;
    return 0;
}

static int list_units(struct sl_packwrite *pw)
{
    bool *is_stack = calloc((size_t)sl_gguf_n_tensors(pw->gguf) + 1, sizeof(*is_stack));
    struct unit *u = pw->units;

    if (!is_stack)
        return -ENOMEM;
    for (uint32_t i = 0; i < pw->n_layers; i++)
        for (uint32_t part = 0; part < SL_PACK_PARTS; part++)
            is_stack[pw->layers[i].tensors[part]] = true;
    for (uint32_t i = 0; i < sl_gguf_n_tensors(pw->gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(pw->gguf, i);
        bool try = pw->opts.level && t->n_dims > 1 && t->bytes >= SHARED_ENCODED_MIN;

        if (is_stack[i])
            continue;
        *u++ = (struct unit){
            .src = t->data,
            .bytes = t->bytes,
            .tensor = i,
            .align = SL_PACK_SHARED_ALIGN,
            .wanted = try ? sl_zblock_kind_for(t->dtype) : SL_ZBLOCK_PLAIN,
        };
    }
    free(is_stack);
    pw->n_shared = (uint32_t)(u - pw->units);
    for (uint32_t i = 0; i < pw->n_layers; i++) {
        const struct layer *l = &pw->layers[i];

        for (uint32_t k = 0; k < l->n_experts * SL_PACK_PARTS; k++) {
            uint32_t tensor = l->tensors[k % SL_PACK_PARTS];
            const struct sl_gguf_tensor *t = sl_gguf_tensor_at(pw->gguf, tensor);
            uint64_t bytes = t->bytes / l->n_experts;

            *u++ = (struct unit){
                .src = t->data + bytes * (k / SL_PACK_PARTS),
                .bytes = bytes,
                .tensor = tensor,
                .align = SL_PACK_ALIGN,
                .wanted = pw->opts.level ? sl_zblock_kind_for(t->dtype) : SL_ZBLOCK_PLAIN,
            };
        }
    }
    pw->n_units = (uint32_t)(u - pw->units);
    return 0;
}

/* Header, index and the headers of the GGUF files. */
static uint64_t layout_meta(const struct sl_packwrite *pw)
{
    uint32_t n_heads = sl_gguf_n_splits(pw->gguf);
    uint64_t bytes = sl_packlayout_tables_end(n_heads, sl_gguf_n_tensors(pw->gguf), pw->n_layers,
                                              pw->n_parts);

    for (uint32_t i = 0; i < n_heads; i++)
        bytes = sl_align_up(bytes, SL_PACK_HEAD_ALIGN) + sl_gguf_head_bytes(pw->gguf, i);
    return bytes;
}

/* One piece from the middle of a unit, encoded: the share that it takes. */
static double probe(struct sl_zblock_encoder *enc, const struct unit *u, uint8_t *buf)
{
    uint64_t bytes = u->bytes < SL_ZBLOCK_PIECE_BYTES ? u->bytes : SL_ZBLOCK_PIECE_BYTES;
    uint64_t off = (u->bytes - bytes) / 2 & ~UINT64_C(63);
    int64_t stored = sl_zblock_encode(enc, u->wanted, u->src + off, bytes, buf);

    return stored < 0 ? 1.0 : (double)stored / (double)bytes;
}

/* What the pack will take on the disk, from samples of all encodings. */
static int estimate(struct sl_packwrite *pw)
{
    uint64_t kind_bytes[SL_ZBLOCK_KINDS] = { 0 };
    double shares[SL_ZBLOCK_KINDS] = { 0 };
    uint32_t n[SL_ZBLOCK_KINDS] = { 0 };
    uint32_t step = pw->n_units / N_SAMPLES + 1;
    struct sl_zblock_encoder *enc = NULL;
    uint8_t *buf = malloc(sl_zblock_bound(SL_ZBLOCK_F32, SL_ZBLOCK_PIECE_BYTES));
    uint64_t bytes = sl_align_up(pw->meta_bytes, SL_PACK_ALIGN);
    int r = pw->opts.level ? sl_zblock_encoder_new(&enc, SL_ZBLOCK_LEVEL_MIN) : 0;

    if (!buf || r < 0) {
        r = -ENOMEM;
        goto done;
    }
    for (uint32_t i = 0; i < pw->n_units; i++) {
        const struct unit *u = &pw->units[i];

        bytes = sl_align_up(bytes, u->align);
        if (u->wanted == SL_ZBLOCK_PLAIN) {
            bytes += u->bytes;
            continue;
        }
        kind_bytes[u->wanted] += u->bytes;
        if (i % step == 0 || n[u->wanted] == 0) {
            shares[u->wanted] += probe(enc, u, buf);
            n[u->wanted]++;
        }
    }
    for (int kind = 0; kind < SL_ZBLOCK_KINDS; kind++) {
        double share = n[kind] ? shares[kind] / n[kind] * ESTIMATE_SAFETY : 1.0;

        bytes += (uint64_t)((double)kind_bytes[kind] * (share > 1.0 - SL_PACKWRITE_GAIN ? 1.0
                                                                                       : share));
    }
    if (pw->opts.level)
        bytes += (uint64_t)pw->n_parts * (SL_PACK_ALIGN / 2);
    pw->need_bytes = sl_align_up(bytes, SL_PACK_ALIGN);
done:
    sl_zblock_encoder_free(enc);
    free(buf);
    return r;
}

static int check_tensors(const struct sl_gguf *gguf, struct sl_diag *diag)
{
    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, i);

        if (t->bytes == 0 || !t->data)
            return sl_diag_set(diag, -ENOTSUP, "tensor %.*s has type number %" PRIu32
                               ", whose size is not known", (int)t->name.len, t->name.ptr,
                               t->dtype);
    }
    return 0;
}

static int make_encoders(struct sl_packwrite *pw)
{
    pw->encoders = calloc(pw->n_workers, sizeof(pw->encoders[0]));
    if (!pw->encoders)
        return -ENOMEM;
    for (uint32_t i = 0; i < pw->n_workers && pw->opts.level; i++) {
        int r = sl_zblock_encoder_new(&pw->encoders[i], pw->opts.level);

        if (r < 0)
            return r;
    }
    return 0;
}

int sl_packwrite_new(struct sl_packwrite **ret_pw, const struct sl_gguf *gguf,
                     const struct sl_packwrite_opts *opts, struct sl_diag *diag)
{
    struct sl_packwrite *pw;
    int r = check_tensors(gguf, diag);

    if (r < 0)
        return r;
    pw = calloc(1, sizeof(*pw));
    if (!pw)
        return sl_diag_set(diag, -ENOMEM, "not enough memory to write a pack");
    pw->gguf = gguf;
    pw->opts = *opts;
    pw->n_workers = opts->pool ? sl_pool_n_workers(opts->pool) : 1;
    atomic_init(&pw->next, 0);
    atomic_init(&pw->failed, 0);
    r = find_layers(pw);
    if (r < 0)
        goto fail;
    pw->units = calloc((size_t)sl_gguf_n_tensors(gguf) + pw->n_parts + 1, sizeof(pw->units[0]));
    if (!pw->units) {
        r = -ENOMEM;
        goto fail;
    }
    r = list_units(pw);
    if (r < 0)
        goto fail;
    for (uint32_t i = 0; i < pw->n_units; i++)
        pw->source_bytes += pw->units[i].bytes;
    pw->meta_bytes = layout_meta(pw);
    if (pw->meta_bytes > SL_PACK_META_BYTES_MAX) {
        r = -E2BIG;
        goto fail;
    }
    r = make_encoders(pw);
    if (r < 0)
        goto fail;
    r = estimate(pw);
    if (r < 0)
        goto fail;
    *ret_pw = pw;
    return 0;

fail:
    sl_packwrite_free(pw);
    return sl_diag_set(diag, r, "cannot lay out a pack: %s", sl_err_text(r));
}

void sl_packwrite_free(struct sl_packwrite *pw)
{
    if (!pw)
        return;
    for (uint32_t i = 0; i < pw->n_workers && pw->encoders; i++)
        sl_zblock_encoder_free(pw->encoders[i]);
    if (pw->buf)
        (void)munmap(pw->buf, pw->buf_bytes); /* ours: cannot fail */
    free(pw->encoders);
    free(pw->units);
    free(pw->layers);
    free(pw);
}

uint64_t sl_packwrite_need_bytes(const struct sl_packwrite *pw)
{
    return pw->need_bytes;
}

/* Encode a unit if that pays, and take the checksum of what is to be stored. */
static int do_unit(struct sl_packwrite *pw, struct sl_zblock_encoder *enc, struct unit *u)
{
    uint8_t *buf = pw->buf + u->buf_off;
    double most = (1.0 - SL_PACKWRITE_GAIN) * (double)u->bytes;

    u->kind = SL_ZBLOCK_PLAIN;
    if (u->wanted != SL_ZBLOCK_PLAIN &&
        (u->bytes <= PROBE_FROM || probe(enc, u, buf) <= PROBE_SHARE)) {
        int64_t stored = sl_zblock_encode(enc, u->wanted, u->src, u->bytes, buf);

        if (stored < 0)
            return (int)stored;
        if ((double)sl_align_up((uint64_t)stored, u->align) <= most) {
            u->kind = u->wanted;
            u->stored_bytes = (uint64_t)stored;
        }
    }
    if (u->kind == SL_ZBLOCK_PLAIN)
        u->stored_bytes = u->bytes;
    u->hash = sl_check_hash(u->kind == SL_ZBLOCK_PLAIN ? u->src : buf, u->stored_bytes);
    return 0;
}

static void work(void *arg, uint32_t worker, uint32_t n_workers)
{
    struct sl_packwrite *pw = arg;

    (void)n_workers;
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&pw->next, 1, memory_order_relaxed);
        int r;

        if (i >= pw->batch_end)
            return;
        r = do_unit(pw, pw->encoders[worker], &pw->units[i]);
        if (r < 0)
            atomic_store_explicit(&pw->failed, r, memory_order_relaxed);
    }
}

/* Read the units [begin, batch_end) into the page cache: one range of each tensor. */
static int warm(const struct sl_packwrite *pw, uint32_t begin, struct sl_diag *diag)
{
    for (uint32_t i = begin; i < pw->batch_end; i++) {
        const struct unit *u = &pw->units[i];
        const uint8_t *end = u->src + u->bytes;
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(pw->gguf, u->tensor);
        struct sl_mapping *map = sl_gguf_mapping(pw->gguf, t->split);
        bool is_first = true;
        int r;

        for (uint32_t k = begin; k < i && is_first; k++)
            is_first = pw->units[k].tensor != u->tensor;
        if (!is_first)
            continue;
        for (uint32_t k = i; k < pw->batch_end; k++)
            if (pw->units[k].tensor == u->tensor)
                end = pw->units[k].src + pw->units[k].bytes;
        r = sl_mapping_warm(map, (uint64_t)(u->src - sl_mapping_data(map)),
                            (uint64_t)(end - u->src), READ_THREADS, NULL, NULL, diag);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_source(const struct sl_gguf *gguf, struct sl_diag *diag)
{
    for (uint32_t i = 0; i < sl_gguf_n_splits(gguf); i++) {
        const struct sl_mapping *map = sl_gguf_mapping(gguf, i);
        uint64_t off = sl_mapping_bad_off(map);

        if (off != UINT64_MAX)
            return sl_diag_set(diag, -EIO, "%s: cannot read at offset %" PRIu64
                               "; was the file changed while in use?",
                               sl_mapping_path_tail(sl_mapping_path(map)), off);
    }
    return 0;
}

/* Free bytes where fd lies, or UINT64_MAX where that is not known. */
static uint64_t free_bytes(int fd)
{
    struct statvfs st;

    if (fstatvfs(fd, &st) < 0 || st.f_blocks == 0)
        return UINT64_MAX;
    return (uint64_t)st.f_bavail * st.f_frsize;
}

static int no_space(const struct sl_packwrite *pw, uint64_t have, struct sl_diag *diag)
{
    return sl_diag_set(diag, -ENOSPC, "not enough space on the disk: the pack needs %s%.1f MiB, "
                       "%.1f MiB are free", pw->opts.level ? "about " : "",
                       (double)pw->need_bytes / MIB, (double)have / MIB);
}

static int write_at(const struct sl_packwrite *pw, int fd, const uint8_t *data, uint64_t bytes,
                    uint64_t off, struct sl_diag *diag)
{
    while (bytes > 0) {
        ssize_t n = pwrite(fd, data, bytes < WRITE_BYTES ? bytes : WRITE_BYTES, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT))
            return no_space(pw, free_bytes(fd) == UINT64_MAX ? 0 : free_bytes(fd), diag);
        if (n <= 0) {
            int r = n < 0 ? -errno : -EIO;

            return sl_diag_set(diag, r, "write failed: %s", strerror(-r));
        }
        data += n;
        off += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

static int write_batch(struct sl_packwrite *pw, uint32_t begin, int fd, struct sl_diag *diag)
{
    for (uint32_t i = begin; i < pw->batch_end; i++) {
        struct unit *u = &pw->units[i];
        const uint8_t *data = u->kind == SL_ZBLOCK_PLAIN ? u->src : pw->buf + u->buf_off;
        int r;

        u->off = sl_align_up(pw->end, u->align);
        r = write_at(pw, fd, data, u->stored_bytes, u->off, diag);
        if (r < 0)
            return r;
        pw->end = u->off + u->stored_bytes;
    }
    return 0;
}

/* Batch [begin, batch_end): as many units as fit into the buffer's idea of a batch. */
static int lay_out_batch(struct sl_packwrite *pw, uint32_t begin, uint64_t *ret_bytes)
{
    uint64_t bytes = 0, room = 0;
    uint32_t i;

    for (i = begin; i < pw->n_units && bytes < BATCH_BYTES && i - begin < BATCH_UNITS; i++) {
        struct unit *u = &pw->units[i];

        bytes += u->bytes;
        u->buf_off = room;
        if (u->wanted != SL_ZBLOCK_PLAIN)
            room += sl_align_up(sl_zblock_bound(u->wanted, u->bytes), SL_PACK_ALIGN);
    }
    pw->batch_end = i;
    *ret_bytes = bytes;
    if (room <= pw->buf_bytes)
        return 0;
    if (pw->buf)
        (void)munmap(pw->buf, pw->buf_bytes); /* ours: cannot fail */
    pw->buf_bytes = 0;
    pw->buf = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pw->buf == MAP_FAILED) {
        pw->buf = NULL;
        return -ENOMEM;
    }
    pw->buf_bytes = room;
    return 0;
}

/* Start writing [from, end) to the disk, wait for what came before, and forget it. None of
 * it need succeed: fsync tells. */
static void push(int fd, uint64_t before, uint64_t from, uint64_t end)
{
    (void)sync_file_range(fd, (off_t)from, (off_t)(end - from), SYNC_FILE_RANGE_WRITE);
    if (before == from)
        return;
    (void)sync_file_range(fd, (off_t)before, (off_t)(from - before),
                          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                              SYNC_FILE_RANGE_WAIT_AFTER);
    (void)posix_fadvise(fd, (off_t)before, (off_t)(from - before), POSIX_FADV_DONTNEED);
}

static int write_units(struct sl_packwrite *pw, int fd, struct sl_diag *diag)
{
    uint64_t before = pw->end, done = 0;

    for (uint32_t begin = 0; begin < pw->n_units; begin = pw->batch_end) {
        uint64_t from = pw->end, bytes;
        int r = lay_out_batch(pw, begin, &bytes);

        if (r < 0)
            return sl_diag_set(diag, r, "not enough memory to write a pack");
        r = warm(pw, begin, diag);
        if (r < 0)
            return r;
        atomic_store_explicit(&pw->next, begin, memory_order_relaxed);
        if (pw->opts.pool)
            sl_pool_run(pw->opts.pool, work, pw);
        else
            work(pw, 0, 1);
        r = atomic_load_explicit(&pw->failed, memory_order_relaxed);
        if (r < 0)
            return sl_diag_set(diag, r, "cannot compress: %s", sl_err_text(r));
        r = write_batch(pw, begin, fd, diag);
        if (r == 0)
            r = check_source(pw->gguf, diag); /* after all reads of this batch */
        if (r < 0)
            return r;
        push(fd, before, from, pw->end);
        before = from;
        done += bytes;
        if (pw->opts.progress && pw->opts.progress(pw->opts.arg, done, pw->source_bytes))
            return sl_diag_set(diag, -ECANCELED, "stopped");
    }
    return 0;
}

static uint8_t *put_u32(uint8_t *at, uint32_t x)
{
    memcpy(at, &x, sizeof(x));
    return at + sizeof(x);
}

static uint8_t *put_u64(uint8_t *at, uint64_t x)
{
    memcpy(at, &x, sizeof(x));
    return at + sizeof(x);
}

static uint8_t *put_heads(const struct sl_packwrite *pw, uint8_t *meta, uint8_t *at)
{
    uint32_t n_heads = sl_gguf_n_splits(pw->gguf);
    uint64_t off = sl_packlayout_tables_end(n_heads, sl_gguf_n_tensors(pw->gguf), pw->n_layers,
                                            pw->n_parts);

    for (uint32_t i = 0; i < n_heads; i++) {
        uint64_t bytes = sl_gguf_head_bytes(pw->gguf, i);

        off = sl_align_up(off, SL_PACK_HEAD_ALIGN);
        memcpy(meta + off, sl_mapping_data(sl_gguf_mapping(pw->gguf, i)), bytes);
        at = put_u64(at, off);
        at = put_u64(at, bytes);
        off += bytes;
    }
    assert(off == pw->meta_bytes);
    return at;
}

static uint8_t *put_tables(const struct sl_packwrite *pw, uint8_t *at)
{
    const struct unit *u = pw->units;

    for (uint32_t i = 0; i < sl_gguf_n_tensors(pw->gguf); i++) {
        bool is_shared = u < pw->units + pw->n_shared && u->tensor == i;

        at = put_u64(at, is_shared ? u->off : 0);
        at = put_u64(at, is_shared ? u->stored_bytes : 0);
        at = put_u64(at, is_shared ? u->hash : 0);
        at = put_u32(at, is_shared ? u->kind : 0);
        at = put_u32(at, !is_shared);
        u += is_shared;
    }
    for (uint32_t i = 0; i < pw->n_layers; i++) {
        const struct layer *l = &pw->layers[i];

        at = put_u32(at, l->layer);
        at = put_u32(at, l->n_experts);
        for (uint32_t part = 0; part < SL_PACK_PARTS; part++)
            at = put_u32(at, l->tensors[part]);
        at = put_u32(at, l->first_part);
        at = put_u64(at, 0);
    }
    for (; u < pw->units + pw->n_units; u++) {
        at = put_u64(at, u->off);
        at = put_u64(at, u->hash);
        at = put_u32(at, (uint32_t)u->stored_bytes);
        at = put_u32(at, u->kind);
    }
    return at;
}

static void put_header(const struct sl_packwrite *pw, uint8_t *meta)
{
    uint64_t hash = sl_check_hash(meta + SL_PACK_HEADER_BYTES,
                                  pw->meta_bytes - SL_PACK_HEADER_BYTES);

    memcpy(meta, SL_PACK_MAGIC, SL_PACK_MAGIC_BYTES);
    put_u32(meta + SL_PACK_AT_VERSION, SL_PACK_VERSION);
    put_u32(meta + SL_PACK_AT_HEADER_BYTES, SL_PACK_HEADER_BYTES);
    put_u64(meta + SL_PACK_AT_FILE_BYTES, pw->end);
    put_u64(meta + SL_PACK_AT_META_BYTES, pw->meta_bytes);
    put_u64(meta + SL_PACK_AT_META_HASH, hash);
    put_u32(meta + SL_PACK_AT_N_HEADS, sl_gguf_n_splits(pw->gguf));
    put_u32(meta + SL_PACK_AT_N_TENSORS, sl_gguf_n_tensors(pw->gguf));
    put_u32(meta + SL_PACK_AT_N_LAYERS, pw->n_layers);
    put_u32(meta + SL_PACK_AT_N_PARTS, pw->n_parts);
    put_u64(meta + SL_PACK_AT_HASH, sl_check_hash(meta, SL_PACK_AT_HASH));
}

static int write_meta(struct sl_packwrite *pw, int fd, struct sl_diag *diag)
{
    uint8_t *meta = calloc(1, pw->meta_bytes);
    uint8_t *at;
    int r;

    if (!meta)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the index of the pack");
    at = put_heads(pw, meta, meta + SL_PACK_HEADER_BYTES);
    (void)put_tables(pw, at);
    put_header(pw, meta);
    r = check_source(pw->gguf, diag);
    if (r == 0)
        r = write_at(pw, fd, meta + SL_PACK_HEADER_BYTES, pw->meta_bytes - SL_PACK_HEADER_BYTES,
                     SL_PACK_HEADER_BYTES, diag);
    if (r == 0)
        r = write_at(pw, fd, meta, SL_PACK_HEADER_BYTES, 0, diag);
    free(meta);
    return r;
}

int sl_packwrite_run(struct sl_packwrite *pw, int fd, struct sl_diag *diag)
{
    uint64_t have = free_bytes(fd);
    struct stat st;
    int r;

    assert(pw->end == 0);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return sl_diag_set(diag, -ENOTSUP, "not a regular file");
    if (have < pw->need_bytes)
        return no_space(pw, have, diag);
    pw->end = sl_align_up(pw->meta_bytes, SL_PACK_ALIGN);
    r = write_units(pw, fd, diag);
    if (r < 0)
        return r;
    pw->end = sl_align_up(pw->end, SL_PACK_ALIGN);
    if (ftruncate(fd, (off_t)pw->end) < 0) {
        r = -errno;
        return sl_diag_set(diag, r, "write failed: %s", strerror(-r));
    }
    return write_meta(pw, fd, diag);
}
