/*
 * Byte planes and zstd. Stored bytes (doc/pack-format.md, encoded data):
 *
 *     u32 sizes[n_pieces][n_planes] | planes of piece 0 | planes of piece 1 | ...
 *
 * The two top bits of a size say how the plane is stored: as it is, as a zstd frame, or
 * as one byte to be repeated. No plane is stored in more bytes than it has.
 *
 * Why decoding in place works: with the table at the front and no piece larger than what
 * it decodes to, the stored bytes that follow piece i are never more than the bytes still
 * to be written. As the stored bytes end at or behind the end of the destination, piece
 * i + 1 begins at or behind the end of what pieces 0..i decode to. Within a piece, what
 * would be overwritten while it is read goes through scratch memory.
 * The table may be overwritten long before its end is needed, so where stored bytes and
 * destination overlap it is copied first.
 *
 * Matches only hurt here. Weights hardly ever repeat, and where four exponents in a row
 * happen to, the match costs more than the literals: on a trained BF16 model's exponents
 * level 1 stores 0.377, level 3 0.403, level 12 0.389, level 19 0.331 of the bytes, and
 * decoding runs at 0.4 to 0.6 GB/s of exponents (level 19: 1.2). With matching all but
 * switched off (strategy fast, at least 7 bytes, 64 hash entries) zstd is a Huffman coder:
 * 0.331, decoded at 2.4 GB/s, and encoded two hundred times faster than by level 19. So
 * that is what is used, unless the level asked for saves at least LEVEL_GAIN more on a
 * sample: the first piece of the plane.
 */
#include "loader/zblock.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "base/bytes.h"

#define PIECE SL_ZBLOCK_PIECE_BYTES
#define PLANES_MAX 4u
#define TABLE_BYTES (SL_ZBLOCK_IN_PLACE_MAX / PIECE * PLANES_MAX * 4) /* 64 KiB */
#define FRAME_BYTES (PIECE + PIECE / 256 + 1024) /* more than ZSTD_compressBound(PIECE) */

/* Of a plane's size. */
#define HOW_SHIFT 30
#define HOW_RAW 0u
#define HOW_ZSTD 1u
#define HOW_FILL 2u
#define SIZE_MASK ((1u << HOW_SHIFT) - 1)

/* Shares of a plane: what a frame must save, as copying is 10 times faster than
 * decoding; what the level must save beyond that. */
#define FRAME_GAIN 0.03
#define LEVEL_GAIN 0.03

static const struct kind {
    const char *name;
    uint32_t n_planes; /* also the bytes of an element */
} kinds[SL_ZBLOCK_KINDS] = {
    [SL_ZBLOCK_PLAIN] = { "plain", 0 },
    [SL_ZBLOCK_BYTES] = { "zstd", 1 },
    [SL_ZBLOCK_16] = { "zstd-16", 2 },
    [SL_ZBLOCK_BF16] = { "zstd-bf16", 2 },
    [SL_ZBLOCK_F32] = { "zstd-f32", 4 },
};

struct sl_zblock_encoder {
    ZSTD_CCtx *entropy; /* hardly any matching */
    ZSTD_CCtx *level;   /* as asked for */
    bool use_level[PLANES_MAX]; /* by the sample of this matrix */
    uint8_t planes[PIECE];
    uint8_t frames[2][FRAME_BYTES];
};

/* Memory of one decoding thread. Guarded by busy. */
struct decoder {
    _Alignas(64) atomic_bool busy;
    ZSTD_DCtx *zstd;
    uint8_t *table;  /* TABLE_BYTES, then planes: one allocation */
    uint8_t *planes; /* PIECE */
};

struct sl_zblock_set {
    uint32_t n; /* set once, then read only */
    struct decoder decoders[];
};

const char *sl_zblock_kind_name(enum sl_zblock_kind kind)
{
    return (unsigned)kind < SL_ZBLOCK_KINDS ? kinds[kind].name : "unknown";
}

uint32_t sl_zblock_element_bytes(enum sl_zblock_kind kind)
{
    return kinds[kind].n_planes ? kinds[kind].n_planes : 1;
}

enum sl_zblock_kind sl_zblock_kind_for(enum sl_dtype dtype)
{
    switch (dtype) {
    case SL_DTYPE_BF16: return SL_ZBLOCK_BF16;
    case SL_DTYPE_F16: return SL_ZBLOCK_16;
    case SL_DTYPE_F32: return SL_ZBLOCK_F32;
    default: return SL_ZBLOCK_BYTES;
    }
}

uint64_t sl_zblock_bound(enum sl_zblock_kind kind, uint64_t bytes)
{
    return (bytes + PIECE - 1) / PIECE * kinds[kind].n_planes * 4 + bytes;
}

static void split_16(uint8_t *restrict planes, const uint8_t *restrict data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        planes[i] = data[2 * i];
        planes[n + i] = data[2 * i + 1];
    }
}

static void merge_16(uint8_t *restrict ret_data, const uint8_t *restrict low,
                     const uint8_t *restrict high, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ret_data[2 * i] = low[i];
        ret_data[2 * i + 1] = high[i];
    }
}

/* seeeeeee emmmmmmm: planes smmmmmmm and eeeeeeee. */
static void split_bf16(uint8_t *restrict planes, const uint8_t *restrict data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t x = sl_load_u16(data + 2 * i);

        planes[i] = (uint8_t)((x >> 8 & 0x80) | (x & 0x7F));
        planes[n + i] = (uint8_t)(x >> 7);
    }
}

static void merge_bf16(uint8_t *restrict ret_data, const uint8_t *restrict rest,
                       const uint8_t *restrict exponent, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t x = (uint16_t)((rest[i] & 0x80) << 8 | exponent[i] << 7 | (rest[i] & 0x7F));

        memcpy(ret_data + 2 * i, &x, sizeof(x));
    }
}

/* As BF16, with 16 more bits of mantissa below. */
static void split_f32(uint8_t *restrict planes, const uint8_t *restrict data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t x = sl_load_u32(data + 4 * i);

        planes[i] = (uint8_t)x;
        planes[n + i] = (uint8_t)(x >> 8);
        planes[2 * n + i] = (uint8_t)((x >> 24 & 0x80) | (x >> 16 & 0x7F));
        planes[3 * n + i] = (uint8_t)(x >> 23);
    }
}

static void merge_f32(uint8_t *restrict ret_data, const uint8_t *const *planes, size_t n)
{
    const uint8_t *restrict low = planes[0], *restrict middle = planes[1];
    const uint8_t *restrict rest = planes[2], *restrict exponent = planes[3];

    for (size_t i = 0; i < n; i++) {
        uint32_t x = (uint32_t)(rest[i] & 0x80) << 24 | (uint32_t)exponent[i] << 23 |
                     (uint32_t)(rest[i] & 0x7F) << 16 | (uint32_t)middle[i] << 8 | low[i];

        memcpy(ret_data + 4 * i, &x, sizeof(x));
    }
}

static void split(uint8_t *planes, enum sl_zblock_kind kind, const uint8_t *data, size_t bytes)
{
    switch (kind) {
    case SL_ZBLOCK_16: split_16(planes, data, bytes / 2); break;
    case SL_ZBLOCK_BF16: split_bf16(planes, data, bytes / 2); break;
    case SL_ZBLOCK_F32: split_f32(planes, data, bytes / 4); break;
    default: memcpy(planes, data, bytes); break;
    }
}

static void merge(uint8_t *ret_data, enum sl_zblock_kind kind, const uint8_t *const *planes,
                  size_t bytes)
{
    switch (kind) {
    case SL_ZBLOCK_16: merge_16(ret_data, planes[0], planes[1], bytes / 2); break;
    case SL_ZBLOCK_BF16: merge_bf16(ret_data, planes[0], planes[1], bytes / 2); break;
    case SL_ZBLOCK_F32: merge_f32(ret_data, planes, bytes / 4); break;
    default:
        if (planes[0] != ret_data)
            memcpy(ret_data, planes[0], bytes);
    }
}

static ZSTD_CCtx *new_context(const int (*params)[2], uint32_t n_params)
{
    ZSTD_CCtx *ctx = ZSTD_createCCtx();

    for (uint32_t i = 0; ctx && i < n_params; i++)
        if (ZSTD_isError(ZSTD_CCtx_setParameter(ctx, (ZSTD_cParameter)params[i][0],
                                                params[i][1]))) {
            ZSTD_freeCCtx(ctx);
            return NULL;
        }
    return ctx;
}

int sl_zblock_encoder_new(struct sl_zblock_encoder **ret_enc, int level)
{
    const int entropy[][2] = {
        { ZSTD_c_compressionLevel, 1 }, { ZSTD_c_contentSizeFlag, 0 },
        { ZSTD_c_strategy, ZSTD_fast }, { ZSTD_c_minMatch, 7 },
        { ZSTD_c_hashLog, 6 },          { ZSTD_c_targetLength, 0 },
    };
    const int by_level[][2] = { { ZSTD_c_compressionLevel, level }, { ZSTD_c_contentSizeFlag, 0 } };
    struct sl_zblock_encoder *enc;
    size_t n = 0;

    if (level < SL_ZBLOCK_LEVEL_MIN || level > SL_ZBLOCK_LEVEL_MAX)
        return -ERANGE;
    assert(ZSTD_compressBound(PIECE) <= FRAME_BYTES);
    enc = calloc(1, sizeof(*enc));
    if (!enc)
        return -ENOMEM;
    enc->entropy = new_context(entropy, sizeof(entropy) / sizeof(entropy[0]));
    enc->level = new_context(by_level, sizeof(by_level) / sizeof(by_level[0]));
    /* zstd allocates when it first sees data of a size */
    if (enc->entropy && enc->level) {
        n = ZSTD_compress2(enc->entropy, enc->frames[0], FRAME_BYTES, enc->planes, PIECE);
        if (!ZSTD_isError(n))
            n = ZSTD_compress2(enc->level, enc->frames[1], FRAME_BYTES, enc->planes, PIECE);
    }
    if (!enc->entropy || !enc->level || ZSTD_isError(n)) {
        sl_zblock_encoder_free(enc);
        return -ENOMEM;
    }
    *ret_enc = enc;
    return 0;
}

void sl_zblock_encoder_free(struct sl_zblock_encoder *enc)
{
    if (!enc)
        return;
    ZSTD_freeCCtx(enc->entropy);
    ZSTD_freeCCtx(enc->level);
    free(enc);
}

static bool is_fill(const uint8_t *data, size_t n)
{
    return n > 0 && memcmp(data, data + 1, n - 1) == 0;
}

/* Store plane i, n bytes. Returns the entry for the table, or -ENOMEM. */
static int64_t encode_plane(struct sl_zblock_encoder *enc, uint32_t i, const uint8_t *data,
                            size_t n, bool is_first, uint8_t *ret)
{
    size_t frame_bytes = n, level_bytes = n;
    const uint8_t *frame = enc->frames[0];

    if (is_fill(data, n)) {
        ret[0] = data[0];
        return (int64_t)HOW_FILL << HOW_SHIFT | 1;
    }
    if (is_first || !enc->use_level[i])
        frame_bytes = ZSTD_compress2(enc->entropy, enc->frames[0], FRAME_BYTES, data, n);
    if (is_first || enc->use_level[i])
        level_bytes = ZSTD_compress2(enc->level, enc->frames[1], FRAME_BYTES, data, n);
    if (ZSTD_isError(frame_bytes) || ZSTD_isError(level_bytes))
        return -ENOMEM; /* there is room for whatever they make */
    if (is_first)
        enc->use_level[i] = (double)level_bytes + LEVEL_GAIN * (double)n < (double)frame_bytes;
    if (enc->use_level[i]) {
        frame = enc->frames[1];
        frame_bytes = level_bytes;
    }
    if ((double)frame_bytes > (1.0 - FRAME_GAIN) * (double)n) {
        memcpy(ret, data, n);
        return (int64_t)HOW_RAW << HOW_SHIFT | (int64_t)n;
    }
    memcpy(ret, frame, frame_bytes);
    return (int64_t)HOW_ZSTD << HOW_SHIFT | (int64_t)frame_bytes;
}

int64_t sl_zblock_encode(struct sl_zblock_encoder *enc, enum sl_zblock_kind kind,
                         const uint8_t *data, uint64_t bytes, uint8_t *ret)
{
    uint32_t n_planes = kinds[kind].n_planes;
    uint8_t *table = ret;
    uint8_t *out = ret + (bytes + PIECE - 1) / PIECE * n_planes * 4;

    assert(n_planes > 0 && bytes > 0 && bytes % n_planes == 0);
    for (uint64_t off = 0; off < bytes; off += PIECE) {
        size_t n = bytes - off < PIECE ? (size_t)(bytes - off) : PIECE;

        split(enc->planes, kind, data + off, n);
        n /= n_planes;
        for (uint32_t i = 0; i < n_planes; i++) {
            int64_t entry = encode_plane(enc, i, enc->planes + i * n, n, off == 0, out);
            uint32_t stored = (uint32_t)entry;

            if (entry < 0)
                return entry;
            memcpy(table, &stored, sizeof(stored));
            table += sizeof(stored);
            out += stored & SIZE_MASK;
        }
    }
    return out - ret;
}

int sl_zblock_set_new(struct sl_zblock_set **ret_set, uint32_t n_threads)
{
    struct sl_zblock_set *set;
    size_t bytes = sizeof(*set) + n_threads * sizeof(set->decoders[0]);

    bytes = sl_align_up(bytes, _Alignof(struct sl_zblock_set));
    set = aligned_alloc(_Alignof(struct sl_zblock_set), bytes);
    if (!set)
        return -ENOMEM;
    memset(set, 0, bytes);
    for (uint32_t i = 0; i < n_threads; i++) {
        struct decoder *dec = &set->decoders[set->n++];

        atomic_init(&dec->busy, false);
        dec->zstd = ZSTD_createDCtx();
        dec->table = malloc(TABLE_BYTES + PIECE);
        if (!dec->zstd || !dec->table) {
            sl_zblock_set_free(set);
            return -ENOMEM;
        }
        dec->planes = dec->table + TABLE_BYTES;
    }
    *ret_set = set;
    return 0;
}

void sl_zblock_set_free(struct sl_zblock_set *set)
{
    if (!set)
        return;
    for (uint32_t i = 0; i < set->n; i++) {
        ZSTD_freeDCtx(set->decoders[i].zstd);
        free(set->decoders[i].table);
    }
    free(set);
}

/* One that nobody uses. There are as many as threads, so the first round finds one unless
 * more threads came than were announced. */
static struct decoder *acquire(struct sl_zblock_set *set)
{
    for (;;) {
        for (uint32_t i = 0; i < set->n; i++) {
            struct decoder *dec = &set->decoders[i];

            /* acquire: pairs with the release below */
            if (!atomic_load_explicit(&dec->busy, memory_order_relaxed) &&
                !atomic_exchange_explicit(&dec->busy, true, memory_order_acquire))
                return dec;
        }
        (void)sched_yield(); /* cannot fail on Linux */
    }
}

static void release(struct decoder *dec)
{
    /* release: what was done with its memory comes before the next owner's acquire */
    atomic_store_explicit(&dec->busy, false, memory_order_release);
}

static bool overlaps(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes)
{
    return (uintptr_t)a < (uintptr_t)b + b_bytes && (uintptr_t)b < (uintptr_t)a + a_bytes;
}

/*
 * n bytes at out from the planes at *pos, which is moved on. What is read directly while
 * out is being written does not overlap it.
 */
static int decode_piece(struct decoder *dec, enum sl_zblock_kind kind, const uint8_t *table,
                        const uint8_t **pos, const uint8_t *end, uint8_t *out, size_t n)
{
    const uint8_t *planes[PLANES_MAX] = { NULL };
    uint32_t n_planes = kinds[kind].n_planes;
    size_t plane_bytes = n / n_planes;

    for (uint32_t i = 0; i < n_planes; i++) {
        uint32_t entry = sl_load_u32(table + (size_t)i * 4);
        uint32_t how = entry >> HOW_SHIFT;
        size_t bytes = entry & SIZE_MASK;
        const uint8_t *src = *pos;
        uint8_t *dst = dec->planes + i * plane_bytes;

        if (bytes > (size_t)(end - src))
            return -EBADMSG;
        *pos += bytes;
        planes[i] = dst;
        if (how == HOW_RAW && bytes == plane_bytes) {
            if (overlaps(src, bytes, out, n))
                memcpy(dst, src, bytes);
            else
                planes[i] = src;
        } else if (how == HOW_FILL && bytes == 1) {
            memset(dst, src[0], plane_bytes);
        } else if (how == HOW_ZSTD && bytes > 0 && bytes < plane_bytes) {
            if (n_planes == 1 && !overlaps(src, bytes, out, n))
                planes[i] = dst = out;
            if (ZSTD_decompressDCtx(dec->zstd, dst, plane_bytes, src, bytes) != plane_bytes)
                return -EBADMSG;
        } else {
            return -EBADMSG;
        }
    }
    merge(out, kind, planes, n);
    return 0;
}

static int decode(struct decoder *dec, enum sl_zblock_kind kind, const uint8_t *stored,
                  uint64_t stored_bytes, uint8_t *ret_data, uint64_t bytes)
{
    size_t entry_bytes = (size_t)kinds[kind].n_planes * 4;
    uint64_t table_bytes = (bytes + PIECE - 1) / PIECE * entry_bytes;
    const uint8_t *table = stored;
    const uint8_t *end = stored + stored_bytes;
    const uint8_t *pos;

    if (bytes % kinds[kind].n_planes != 0 || table_bytes > stored_bytes)
        return -EBADMSG;
    pos = stored + table_bytes;
    if (overlaps(stored, stored_bytes, ret_data, bytes)) {
        assert(stored >= ret_data && end >= ret_data + bytes);
        assert(bytes <= SL_ZBLOCK_IN_PLACE_MAX);
        memcpy(dec->table, table, table_bytes);
        table = dec->table;
    }
    for (uint64_t off = 0; off < bytes; off += PIECE) {
        size_t n = bytes - off < PIECE ? (size_t)(bytes - off) : PIECE;
        int r = decode_piece(dec, kind, table, &pos, end, ret_data + off, n);

        if (r < 0)
            return r;
        table += entry_bytes;
    }
    return pos == end ? 0 : -EBADMSG;
}

int sl_zblock_decode(struct sl_zblock_set *set, enum sl_zblock_kind kind,
                     const uint8_t *stored, uint64_t stored_bytes, uint8_t *ret_data,
                     uint64_t bytes)
{
    struct decoder *dec;
    int r;

    if (kind == SL_ZBLOCK_PLAIN) {
        if (stored_bytes != bytes)
            return -EBADMSG;
        memmove(ret_data, stored, bytes);
        return 0;
    }
    dec = acquire(set);
    r = decode(dec, kind, stored, stored_bytes, ret_data, bytes);
    release(dec);
    return r;
}
