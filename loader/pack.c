/*
 * Reading packs. Everything that the index says is copied from the mapping and checked
 * when the pack is opened; what is used later are the copies. The metadata stays in the
 * mapping, as with a GGUF file.
 *
 * Invariants of an open pack, whatever the file holds:
 *  1. Extents (shared tensors, then parts, in the order of their tables) ascend, do not
 *     overlap, begin at or behind the end of the metadata and end within the file.
 *  2. A plain extent has exactly the bytes of its tensor or matrix; an encoded one has
 *     fewer, and the tensor is a whole number of the encoding's elements.
 *  3. Each stack of experts belongs to one layer, in one role, with the layer's number
 *     and role in its name, and has as many matrices as the layer has experts.
 *  4. tensors[i].data is NULL for stacks and encoded tensors until they are loaded.
 * Opened headless, extents may end behind the end of what is there, and no tensor has
 * data.
 */
#include "loader/pack.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "loader/check.h"
#include "loader/packlayout.h"

struct memory {
    void *ptr; /* of mmap, owned; NULL: none */
    uint64_t bytes;
};

struct sl_pack {
    /* Set once, then read only; data of tensors by sl_pack_load. */
    struct sl_mapping *map;
    struct sl_gguf *gguf;
    struct sl_pack_tensor *tensors; /* one for each of gguf */
    struct sl_pack_layer *layers;
    struct sl_pack_part *parts;
    const struct sl_pack_layer **by_number; /* NULL: no records */
    uint32_t n_heads, n_tensors, n_layers, n_parts;
    uint32_t n_numbers; /* of by_number */
    uint64_t file_bytes, meta_bytes;
    bool has_encoded, has_encoded_experts;
    bool is_headless;
    /* By sl_pack_prepare and sl_pack_load. */
    struct sl_zblock_set *set; /* NULL: nothing is encoded */
    uint32_t n_workers;        /* of set */
    struct memory kept[2];
};

static const char *const part_names[SL_PACK_PARTS] = { "gate", "up", "down" };

__attribute__((format(printf, 5, 6)))
static int fail_at(const struct sl_pack *pack, struct sl_diag *diag, int code, uint64_t at,
                   const char *fmt, ...)
{
    char text[SL_DIAG_BYTES];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* a cut text will do */
    va_end(args);
    return sl_diag_set(diag, code, "%s: byte %" PRIu64 ": %s",
                       sl_mapping_path_tail(sl_mapping_path(pack->map)), at, text);
}

bool sl_pack_detect(const char *path)
{
    uint8_t magic[SL_PACK_MAGIC_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t n;

    if (fd < 0)
        return false;
    n = pread(fd, magic, sizeof(magic), 0);
    (void)close(fd); /* read-only: nothing to lose */
    return n == (ssize_t)sizeof(magic) && memcmp(magic, SL_PACK_MAGIC, sizeof(magic)) == 0;
}

static int read_header(struct sl_pack *pack, struct sl_diag *diag)
{
    const uint8_t *data = sl_mapping_data(pack->map);
    uint64_t bytes = sl_mapping_bytes(pack->map);
    uint8_t head[SL_PACK_HEADER_BYTES];

    if (bytes < sizeof(head) || memcmp(data, SL_PACK_MAGIC, SL_PACK_MAGIC_BYTES) != 0)
        return fail_at(pack, diag, -EBADMSG, 0, "not a pack");
    memcpy(head, data, sizeof(head));
    /* first, so that a later version may do as it likes with the rest */
    if (sl_load_u32(head + SL_PACK_AT_VERSION) != SL_PACK_VERSION)
        return fail_at(pack, diag, -ENOTSUP, SL_PACK_AT_VERSION,
                       "pack version %" PRIu32 " is not supported; expected %u",
                       sl_load_u32(head + SL_PACK_AT_VERSION), SL_PACK_VERSION);
    if (sl_check_hash(head, SL_PACK_AT_HASH) != sl_load_u64(head + SL_PACK_AT_HASH))
        return fail_at(pack, diag, -EBADMSG, SL_PACK_AT_HASH,
                       "the header's checksum is wrong: the file is damaged");
    if (sl_load_u32(head + SL_PACK_AT_HEADER_BYTES) != SL_PACK_HEADER_BYTES)
        return fail_at(pack, diag, -EBADMSG, SL_PACK_AT_HEADER_BYTES,
                       "expected a header of %u bytes, found %" PRIu32, SL_PACK_HEADER_BYTES,
                       sl_load_u32(head + SL_PACK_AT_HEADER_BYTES));
    for (uint32_t i = SL_PACK_AT_ZEROES; i < SL_PACK_AT_HASH; i++)
        if (head[i])
            return fail_at(pack, diag, -ENOTSUP, i, "expected 0, found %u: made by a newer "
                           "version", head[i]);
    pack->file_bytes = sl_load_u64(head + SL_PACK_AT_FILE_BYTES);
    pack->meta_bytes = sl_load_u64(head + SL_PACK_AT_META_BYTES);
    pack->n_heads = sl_load_u32(head + SL_PACK_AT_N_HEADS);
    pack->n_tensors = sl_load_u32(head + SL_PACK_AT_N_TENSORS);
    pack->n_layers = sl_load_u32(head + SL_PACK_AT_N_LAYERS);
    pack->n_parts = sl_load_u32(head + SL_PACK_AT_N_PARTS);

    if (pack->n_heads == 0)
        return fail_at(pack, diag, -EBADMSG, SL_PACK_AT_N_HEADS, "it has no GGUF header");
    if (pack->n_heads > SL_GGUF_SPLITS_MAX || pack->n_tensors > SL_GGUF_TENSORS_MAX ||
        pack->n_layers > SL_PACK_LAYERS_MAX || pack->n_parts > SL_PACK_PARTS_MAX ||
        pack->meta_bytes > SL_PACK_META_BYTES_MAX)
        return fail_at(pack, diag, -E2BIG, SL_PACK_AT_META_BYTES,
                       "a limit is exceeded: %" PRIu64 " bytes of metadata, %" PRIu32
                       " headers, %" PRIu32 " tensors, %" PRIu32 " layers, %" PRIu32 " parts",
                       pack->meta_bytes, pack->n_heads, pack->n_tensors, pack->n_layers,
                       pack->n_parts);
    if (pack->meta_bytes > bytes || (!pack->is_headless && pack->file_bytes != bytes))
        return fail_at(pack, diag, -EBADMSG, bytes,
                       "expected a file of %" PRIu64 " bytes, found %" PRIu64
                       " (is it cut short?)", pack->file_bytes, bytes);
    if (pack->meta_bytes < sl_packlayout_tables_end(pack->n_heads, pack->n_tensors,
                                                    pack->n_layers, pack->n_parts) ||
        pack->file_bytes < pack->meta_bytes || pack->file_bytes % SL_PACK_ALIGN != 0)
        return fail_at(pack, diag, -EBADMSG, SL_PACK_AT_FILE_BYTES,
                       "a file of %" PRIu64 " bytes with %" PRIu64 " of metadata makes no sense",
                       pack->file_bytes, pack->meta_bytes);
    if (sl_check_hash(data + SL_PACK_HEADER_BYTES, pack->meta_bytes - SL_PACK_HEADER_BYTES) !=
        sl_load_u64(head + SL_PACK_AT_META_HASH))
        return fail_at(pack, diag, -EBADMSG, SL_PACK_HEADER_BYTES,
                       "the checksum of index and metadata is wrong: the file is damaged");
    return 0;
}

static int read_heads(struct sl_pack *pack, struct sl_diag *diag)
{
    const uint8_t *entry = sl_mapping_data(pack->map) + SL_PACK_HEADER_BYTES;
    uint64_t end = sl_packlayout_tables_end(pack->n_heads, pack->n_tensors, pack->n_layers,
                                            pack->n_parts);
    struct sl_gguf_head *heads = calloc(pack->n_heads, sizeof(*heads));
    int r = 0;

    if (!heads)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the index of the pack");
    for (uint32_t i = 0; i < pack->n_heads && r == 0; i++, entry += SL_PACK_HEAD_BYTES) {
        heads[i].off = sl_load_u64(entry);
        heads[i].bytes = sl_load_u64(entry + 8);
        if (heads[i].off % SL_PACK_HEAD_ALIGN || heads[i].off < end ||
            heads[i].off > pack->meta_bytes ||
            heads[i].bytes > pack->meta_bytes - heads[i].off)
            r = fail_at(pack, diag, -EBADMSG,
                        SL_PACK_HEADER_BYTES + (uint64_t)i * SL_PACK_HEAD_BYTES,
                        "GGUF header %" PRIu32 " at %" PRIu64 " of %" PRIu64
                        " bytes is not where one can be", i, heads[i].off, heads[i].bytes);
        else
            end = heads[i].off + heads[i].bytes;
    }
    if (r == 0 && end != pack->meta_bytes)
        r = fail_at(pack, diag, -EBADMSG, end, "the metadata goes on behind the GGUF headers");
    if (r == 0)
        r = sl_gguf_open_heads(&pack->gguf, pack->map, heads, pack->n_heads, diag);
    free(heads);
    return r;
}

/* One extent; *end is where the last one ended. */
static int check_extent(const struct sl_pack *pack, uint64_t at, uint64_t off, uint64_t bytes,
                        uint64_t align, uint64_t *end, struct sl_diag *diag)
{
    if (off % align != 0 || off < *end || off > pack->file_bytes ||
        bytes > pack->file_bytes - off)
        return fail_at(pack, diag, -EBADMSG, at,
                       "%" PRIu64 " bytes at %" PRIu64 ": expected a multiple of %" PRIu64
                       " from %" PRIu64 " on and an end within %" PRIu64 " bytes", bytes, off,
                       align, *end, pack->file_bytes);
    *end = off + bytes;
    return 0;
}

/* Stored size and encoding for bytes of a tensor or matrix. */
static int check_kind(const struct sl_pack *pack, uint64_t at, uint32_t kind, uint64_t stored,
                      uint64_t bytes, struct sl_diag *diag)
{
    if (kind >= SL_ZBLOCK_KINDS)
        return fail_at(pack, diag, -ENOTSUP, at, "encoding %" PRIu32 " is not known", kind);
    if (kind == SL_ZBLOCK_PLAIN ? stored != bytes : stored == 0 || stored >= bytes)
        return fail_at(pack, diag, -EBADMSG, at, "%" PRIu64 " bytes stored (%s) for %" PRIu64,
                       stored, sl_zblock_kind_name(kind), bytes);
    if (bytes % sl_zblock_element_bytes(kind) != 0)
        return fail_at(pack, diag, -EBADMSG, at, "%" PRIu64 " bytes cannot be encoded as %s",
                       bytes, sl_zblock_kind_name(kind));
    return 0;
}

static int read_tensors(struct sl_pack *pack, uint64_t *at, uint64_t *end, struct sl_diag *diag)
{
    const uint8_t *data = sl_mapping_data(pack->map);

    if (sl_gguf_n_tensors(pack->gguf) != pack->n_tensors)
        return fail_at(pack, diag, -EBADMSG, SL_PACK_AT_N_TENSORS,
                       "the index has %" PRIu32 " tensors, the GGUF headers %" PRIu32,
                       pack->n_tensors, sl_gguf_n_tensors(pack->gguf));
    for (uint32_t i = 0; i < pack->n_tensors; i++, *at += SL_PACK_TENSOR_BYTES) {
        const uint8_t *entry = data + *at;
        struct sl_pack_tensor *t = &pack->tensors[i];
        uint32_t kind = sl_load_u32(entry + 24);
        uint32_t is_stack = sl_load_u32(entry + 28);
        int r;

        t->off = sl_load_u64(entry);
        t->bytes = sl_load_u64(entry + 8);
        t->hash = sl_load_u64(entry + 16);
        if (is_stack > 1 || (is_stack && (t->off || t->bytes || t->hash || kind)))
            return fail_at(pack, diag, -EBADMSG, *at, "the entry of tensor %" PRIu32
                           " makes no sense", i);
        t->is_stack = is_stack;
        if (is_stack)
            continue;
        r = check_kind(pack, *at, kind, t->bytes, sl_gguf_tensor_at(pack->gguf, i)->bytes, diag);
        if (r == 0)
            r = check_extent(pack, *at, t->off, t->bytes, SL_PACK_SHARED_ALIGN, end, diag);
        if (r < 0)
            return r;
        t->kind = kind;
        if (kind)
            pack->has_encoded = true;
        else if (!pack->is_headless)
            sl_gguf_set_data(pack->gguf, i, data + t->off, t->off);
    }
    return 0;
}

static bool is_named(struct sl_gguf_str name, uint32_t layer, uint32_t part)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "blk.%" PRIu32 ".ffn_%s_exps.weight", layer,
                     part_names[part]);

    return name.len == (size_t)n && memcmp(name.ptr, text, (size_t)n) == 0;
}

static int check_stack(const struct sl_pack *pack, struct sl_pack_layer *layer, uint32_t part,
                       uint64_t at, struct sl_diag *diag)
{
    uint32_t i = layer->tensors[part];
    const struct sl_gguf_tensor *t = sl_gguf_tensor_at(pack->gguf, i);
    uint64_t bytes;

    if (!t || !pack->tensors[i].is_stack || !is_named(t->name, layer->layer, part) ||
        t->n_dims != 3 || t->ne[2] != layer->n_experts || t->bytes == 0)
        return fail_at(pack, diag, -EBADMSG, at, "layer %" PRIu32 ": tensor %" PRIu32
                       " is no stack of %s matrices of %" PRIu32 " experts", layer->layer, i,
                       part_names[part], layer->n_experts);
    bytes = t->bytes / layer->n_experts;
    if (bytes > SL_PACK_PART_BYTES_MAX)
        return fail_at(pack, diag, -E2BIG, at, "layer %" PRIu32 ": matrices of %" PRIu64
                       " bytes, the limit is %u", layer->layer, bytes, SL_PACK_PART_BYTES_MAX);
    layer->mat_bytes[part] = (uint32_t)bytes;
    return 0;
}

static int read_layers(struct sl_pack *pack, uint64_t *at, struct sl_diag *diag)
{
    const uint8_t *data = sl_mapping_data(pack->map);
    uint64_t n_parts = 0;
    uint32_t n_stacks = 0;

    for (uint32_t i = 0; i < pack->n_layers; i++, *at += SL_PACK_LAYER_BYTES) {
        const uint8_t *entry = data + *at;
        struct sl_pack_layer *layer = &pack->layers[i];

        layer->layer = sl_load_u32(entry);
        layer->n_experts = sl_load_u32(entry + 4);
        if (layer->layer >= SL_PACK_LAYERS_MAX || layer->n_experts == 0 ||
            (i > 0 && layer->layer <= layer[-1].layer) ||
            layer->n_experts > (pack->n_parts - n_parts) / SL_PACK_PARTS ||
            sl_load_u32(entry + 20) != n_parts || sl_load_u64(entry + 24) != 0)
            return fail_at(pack, diag, -EBADMSG, *at, "the entry of layer %" PRIu32
                           " makes no sense", layer->layer);
        layer->parts = pack->parts + n_parts;
        n_parts += (uint64_t)layer->n_experts * SL_PACK_PARTS;
        for (uint32_t part = 0; part < SL_PACK_PARTS; part++) {
            int r;

            layer->tensors[part] = sl_load_u32(entry + 8 + (size_t)part * 4);
            r = check_stack(pack, layer, part, *at, diag);
            if (r < 0)
                return r;
        }
    }
    for (uint32_t i = 0; i < pack->n_tensors; i++)
        n_stacks += pack->tensors[i].is_stack;
    if (n_parts != pack->n_parts || n_stacks != pack->n_layers * SL_PACK_PARTS)
        return fail_at(pack, diag, -EBADMSG, SL_PACK_AT_N_PARTS,
                       "the layers have %" PRIu64 " parts of %" PRIu32 " stacks, expected %"
                       PRIu32 " of %" PRIu32, n_parts, pack->n_layers * SL_PACK_PARTS,
                       pack->n_parts, n_stacks);
    return 0;
}

static int read_parts(struct sl_pack *pack, uint64_t at, uint64_t *end, struct sl_diag *diag)
{
    const uint8_t *data = sl_mapping_data(pack->map);
    struct sl_pack_part *p = pack->parts;

    for (uint32_t i = 0; i < pack->n_layers; i++) {
        const struct sl_pack_layer *layer = &pack->layers[i];

        for (uint32_t k = 0; k < layer->n_experts * SL_PACK_PARTS; k++) {
            const uint8_t *entry = data + at;
            uint32_t kind = sl_load_u32(entry + 20);
            int r;

            p->off = sl_load_u64(entry);
            p->hash = sl_load_u64(entry + 8);
            p->bytes = sl_load_u32(entry + 16);
            r = check_kind(pack, at, kind, p->bytes, layer->mat_bytes[k % SL_PACK_PARTS], diag);
            if (r == 0)
                r = check_extent(pack, at, p->off, p->bytes, SL_PACK_ALIGN, end, diag);
            if (r < 0)
                return r;
            p->kind = kind;
            if (kind)
                pack->has_encoded = pack->has_encoded_experts = true;
            p++;
            at += SL_PACK_PART_BYTES;
        }
    }
    return 0;
}

static int index_layers(struct sl_pack *pack)
{
    if (pack->n_layers == 0)
        return 0;
    pack->n_numbers = pack->layers[pack->n_layers - 1].layer + 1;
    pack->by_number = calloc(pack->n_numbers, sizeof(pack->by_number[0]));
    if (!pack->by_number)
        return -ENOMEM;
    for (uint32_t i = 0; i < pack->n_layers; i++)
        pack->by_number[pack->layers[i].layer] = &pack->layers[i];
    return 0;
}

static int read_index(struct sl_pack *pack, struct sl_diag *diag)
{
    uint64_t at = SL_PACK_HEADER_BYTES + (uint64_t)pack->n_heads * SL_PACK_HEAD_BYTES;
    uint64_t end = pack->meta_bytes;
    int r;

    /* One more than needed, so that none is not a special case. */
    pack->tensors = calloc((size_t)pack->n_tensors + 1, sizeof(pack->tensors[0]));
    pack->layers = calloc((size_t)pack->n_layers + 1, sizeof(pack->layers[0]));
    pack->parts = calloc((size_t)pack->n_parts + 1, sizeof(pack->parts[0]));
    if (!pack->tensors || !pack->layers || !pack->parts)
        return -ENOMEM;
    r = read_tensors(pack, &at, &end, diag);
    if (r == 0)
        r = read_layers(pack, &at, diag);
    if (r == 0)
        r = read_parts(pack, at, &end, diag);
    if (r == 0)
        r = index_layers(pack);
    return r;
}

int sl_pack_open(struct sl_pack **ret_pack, const char *path, uint32_t flags,
                 struct sl_diag *diag)
{
    struct sl_pack *pack;
    uint64_t bad_off;
    int r;

    if (flags & ~(uint32_t)SL_PACK_HEADLESS)
        return sl_diag_set(diag, -EINVAL, "sl_pack_open: unknown flags 0x%x", flags);
    pack = calloc(1, sizeof(*pack));
    if (!pack)
        return sl_diag_set(diag, -ENOMEM, "%s: not enough memory to open it",
                           sl_mapping_path_tail(path));
    pack->is_headless = flags & SL_PACK_HEADLESS;
    r = sl_mapping_open(&pack->map, path, diag);
    if (r == 0)
        r = read_header(pack, diag);
    if (r == 0)
        r = read_heads(pack, diag);
    if (r == 0)
        r = read_index(pack, diag);
    if (r == 0 && pack->has_encoded)
        r = sl_pack_prepare(pack, 1);
    if (r == -ENOMEM)
        sl_diag_set(diag, r, "%s: not enough memory for its index", sl_mapping_path_tail(path));
    bad_off = pack->map ? sl_mapping_bad_off(pack->map) : UINT64_MAX;
    if (bad_off != UINT64_MAX)
        r = fail_at(pack, diag, -EIO, bad_off, "cannot be read (did the file become shorter "
                    "just now?)");
    if (r < 0) {
        sl_pack_close(pack);
        return r;
    }
    *ret_pack = pack;
    return 0;
}

void sl_pack_close(struct sl_pack *pack)
{
    if (!pack)
        return;
    sl_zblock_set_free(pack->set);
    for (uint32_t i = 0; i < 2; i++)
        if (pack->kept[i].ptr)
            (void)munmap(pack->kept[i].ptr, pack->kept[i].bytes); /* ours: cannot fail */
    sl_gguf_close(pack->gguf);
    sl_mapping_unref(pack->map);
    free(pack->tensors);
    free(pack->layers);
    free(pack->parts);
    free(pack->by_number);
    free(pack);
}

struct sl_gguf *sl_pack_gguf(const struct sl_pack *pack)
{
    return pack->gguf;
}

struct sl_mapping *sl_pack_mapping(const struct sl_pack *pack)
{
    return pack->map;
}

void sl_pack_keep(struct sl_pack *pack, void *ptr, uint64_t bytes)
{
    struct memory *kept = &pack->kept[pack->kept[0].ptr != NULL];

    assert(!kept->ptr);
    *kept = (struct memory){ ptr, bytes };
}

bool sl_pack_is_headless(const struct sl_pack *pack)
{
    return pack->is_headless;
}

uint64_t sl_pack_meta_bytes(const struct sl_pack *pack)
{
    return pack->meta_bytes;
}

bool sl_pack_has_encoded_experts(const struct sl_pack *pack)
{
    return pack->has_encoded_experts;
}

uint32_t sl_pack_n_layers(const struct sl_pack *pack)
{
    return pack->n_layers;
}

const struct sl_pack_layer *sl_pack_layer_at(const struct sl_pack *pack, uint32_t i)
{
    return i < pack->n_layers ? &pack->layers[i] : NULL;
}

const struct sl_pack_layer *sl_pack_layer_find(const struct sl_pack *pack, uint32_t layer)
{
    return layer < pack->n_numbers ? pack->by_number[layer] : NULL;
}

const struct sl_pack_tensor *sl_pack_tensor_at(const struct sl_pack *pack, uint32_t i)
{
    return i < pack->n_tensors ? &pack->tensors[i] : NULL;
}

const uint8_t *sl_pack_part_data(const struct sl_pack *pack, const struct sl_pack_layer *layer,
                                 uint32_t expert, uint32_t part)
{
    const struct sl_pack_part *p = &layer->parts[expert * SL_PACK_PARTS + part];

    if (p->kind != SL_ZBLOCK_PLAIN || pack->is_headless)
        return NULL;
    return sl_mapping_data(pack->map) + p->off;
}

int sl_pack_prepare(struct sl_pack *pack, uint32_t n_workers)
{
    struct sl_zblock_set *set;
    int r;

    if (!pack->has_encoded || n_workers <= pack->n_workers)
        return 0;
    r = sl_zblock_set_new(&set, n_workers);
    if (r < 0)
        return r;
    sl_zblock_set_free(pack->set);
    pack->set = set;
    pack->n_workers = n_workers;
    return 0;
}

static int check(struct sl_pack *pack, enum sl_zblock_kind kind, uint64_t hash,
                 const uint8_t *stored, uint64_t stored_bytes, uint8_t *ret_data, uint64_t bytes)
{
    if (sl_check_hash(stored, stored_bytes) != hash)
        return -EBADMSG;
    if (kind == SL_ZBLOCK_PLAIN && stored == ret_data)
        return 0;
    return sl_zblock_decode(pack->set, kind, stored, stored_bytes, ret_data, bytes);
}

int sl_pack_check_part(void *arg, uint32_t layer, uint32_t expert, uint32_t part,
                       const uint8_t *stored, uint8_t *ret_matrix)
{
    struct sl_pack *pack = arg;
    const struct sl_pack_layer *l = sl_pack_layer_find(pack, layer);
    const struct sl_pack_part *p;

    assert(l && expert < l->n_experts && part < SL_PACK_PARTS);
    p = &l->parts[expert * SL_PACK_PARTS + part];
    return check(pack, p->kind, p->hash, stored, p->bytes, ret_matrix, l->mat_bytes[part]);
}

int sl_pack_check_tensor(struct sl_pack *pack, uint32_t i, const uint8_t *stored,
                         uint8_t *ret_data)
{
    const struct sl_pack_tensor *t = &pack->tensors[i];

    assert(i < pack->n_tensors && !t->is_stack);
    return check(pack, t->kind, t->hash, stored, t->bytes, ret_data,
                 sl_gguf_tensor_at(pack->gguf, i)->bytes);
}
