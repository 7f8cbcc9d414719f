/*
 * Reading the header of one GGUF file:
 *
 *     magic version n_tensors n_kv | n_kv entries | n_tensors infos | padding | data
 *
 * A cursor walks over the mapped bytes. take() is the only way forward and the only
 * place that compares with the end of the file; what it hands out is inside. Each
 * number is loaded from the file once and then checked, so a file that changes
 * under our hands can give wrong values but not send us out of bounds.
 *
 * Counts are checked against what the rest of the file can hold at the least size
 * of an entry before anything is allocated, so memory stays in proportion to the
 * file. Tensor data must be aligned, inside the file, and must not overlap; gaps
 * and any order are accepted.
 */
#include "loader/ggufpart.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define HEADER_BYTES 24
#define KV_BYTES_MIN (8 + 4 + 1)          /* key length, type, one byte of value */
#define TENSOR_BYTES_MIN (8 + 4 + 4 + 8)  /* name length, n_dims, type, offset */
#define ALIGNMENT_DEFAULT 32
#define ALIGNMENT_MIN 8 /* the specification's; F32 data needs 4 */

struct cursor {
    const uint8_t *base; /* where the file's bytes begin in the mapping */
    uint64_t off;        /* of the next byte to take */
    uint64_t end;        /* bytes of the file */
    uint64_t first;      /* offset of base in the mapping, for texts */
    /* For texts: the file, and the key or tensor that is being read, if its name is
     * known. */
    const char *path;
    const char *in_what;
    struct sl_gguf_str in_name;
    struct sl_diag *diag;
};

/* Bytes of one item of each type; 0: not of fixed size. */
static const uint8_t item_bytes[] = {
    [SL_GGUF_U8] = 1,     [SL_GGUF_I8] = 1,    [SL_GGUF_U16] = 2, [SL_GGUF_I16] = 2,
    [SL_GGUF_U32] = 4,    [SL_GGUF_I32] = 4,   [SL_GGUF_F32] = 4, [SL_GGUF_BOOL] = 1,
    [SL_GGUF_STRING] = 0, [SL_GGUF_ARRAY] = 0, [SL_GGUF_U64] = 8, [SL_GGUF_I64] = 8,
    [SL_GGUF_F64] = 8,
};

struct sl_ggufpart_text sl_ggufpart_printable(struct sl_gguf_str str)
{
    struct sl_ggufpart_text text = { "" };
    size_t n = str.len < 64 ? (size_t)str.len : 64;

    for (size_t i = 0; i < n; i++)
        text.s[i] = str.ptr[i] >= ' ' && str.ptr[i] <= '~' ? str.ptr[i] : '?';
    if (str.len > n)
        memcpy(text.s + n, "...", 3);
    return text;
}

/* A text about byte `at`, with what is being read before it. Returns code. */
__attribute__((format(printf, 4, 5)))
static int fail_at(const struct cursor *cur, int code, uint64_t at, const char *fmt, ...)
{
    char text[SL_DIAG_BYTES];
    va_list args;

    if (!cur->diag)
        return code;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* a cut text will do */
    va_end(args);
    if (!cur->in_what)
        return sl_diag_set(cur->diag, code, "%s: byte %" PRIu64 ": %s", cur->path,
                           cur->first + at, text);
    return sl_diag_set(cur->diag, code, "%s: byte %" PRIu64 ": %s %s: %s", cur->path,
                       cur->first + at, cur->in_what, sl_ggufpart_printable(cur->in_name).s, text);
}

static void enter(struct cursor *cur, const char *what, struct sl_gguf_str name)
{
    cur->in_what = what;
    cur->in_name = name;
}

static void leave(struct cursor *cur)
{
    cur->in_what = NULL;
}

/* The next n bytes, or NULL with a text that says what should have been there. */
static const uint8_t *take(struct cursor *cur, uint64_t n, const char *what)
{
    const uint8_t *ptr = cur->base + cur->off;

    if (n > cur->end - cur->off) {
        fail_at(cur, -EBADMSG, cur->off,
                "expected %s of %" PRIu64 " bytes, found the end of the file at byte %" PRIu64
                " (is it cut short?)", what, n, cur->first + cur->end);
        return NULL;
    }
    cur->off += n;
    return ptr;
}

static int take_u32(struct cursor *cur, uint32_t *ret_x, const char *what)
{
    const uint8_t *ptr = take(cur, 4, what);

    if (!ptr)
        return -EBADMSG;
    *ret_x = sl_load_u32(ptr);
    return 0;
}

static int take_u64(struct cursor *cur, uint64_t *ret_x, const char *what)
{
    const uint8_t *ptr = take(cur, 8, what);

    if (!ptr)
        return -EBADMSG;
    *ret_x = sl_load_u64(ptr);
    return 0;
}

/* A string of at most max_bytes; what names it in texts. */
static int take_str(struct cursor *cur, uint64_t max_bytes, struct sl_gguf_str *ret_str,
                    const char *what)
{
    uint64_t at = cur->off;
    const uint8_t *ptr;
    uint64_t len;
    int r = take_u64(cur, &len, what);

    if (r < 0)
        return r;
    if (len > cur->end - cur->off)
        return fail_at(cur, -EBADMSG, at,
                       "%s is said to have %" PRIu64 " bytes, but the file has only %" PRIu64
                       " more", what, len, cur->end - cur->off);
    if (len > max_bytes)
        return fail_at(cur, -E2BIG, at, "%s has %" PRIu64 " bytes, the limit is %" PRIu64, what,
                       len, max_bytes);
    ptr = take(cur, len, what);
    if (!ptr)
        return -EBADMSG;
    *ret_str = (struct sl_gguf_str){ .ptr = (const char *)ptr, .len = len };
    return 0;
}

/* Walk over the items of a value whose type and number are known. */
static int take_items(struct cursor *cur, struct sl_gguf_kv *kv)
{
    uint64_t begin = cur->off;
    struct sl_gguf_str str;
    uint64_t bytes;

    kv->data = cur->base + begin;
    if (kv->item_type == SL_GGUF_STRING) {
        for (uint64_t i = 0; i < kv->n_items; i++) {
            int r = take_str(cur, SL_GGUF_STRING_BYTES_MAX, &str, "a string");

            if (r < 0)
                return r;
        }
        kv->bytes = cur->off - begin;
        return 0;
    }
    if (!sl_mul_u64(kv->n_items, item_bytes[kv->item_type], &bytes))
        return fail_at(cur, -EBADMSG, begin, "its size overflows");
    if (!take(cur, bytes, "a value"))
        return -EBADMSG;
    kv->bytes = bytes;
    if (kv->item_type == SL_GGUF_BOOL)
        for (uint64_t i = 0; i < bytes; i++)
            if (kv->data[i] > 1)
                return fail_at(cur, -EBADMSG, begin + i, "expected a bool of 0 or 1, found %u",
                               kv->data[i]);
    return 0;
}

/* Item type and count of an array. */
static int take_array_head(struct cursor *cur, struct sl_gguf_kv *kv)
{
    uint64_t at = cur->off;
    uint32_t item_type;
    int r = take_u32(cur, &item_type, "an array's item type");

    if (r >= 0)
        r = take_u64(cur, &kv->n_items, "an array's length");
    if (r < 0)
        return r;
    if (item_type > SL_GGUF_F64)
        return fail_at(cur, -EBADMSG, at, "expected an item type of 0 to %u, found %u",
                       SL_GGUF_F64, item_type);
    if (item_type == SL_GGUF_ARRAY)
        return fail_at(cur, -E2BIG, at, "an array of arrays; nested arrays are not read");
    if (kv->n_items > SL_GGUF_ARRAY_ITEMS_MAX)
        return fail_at(cur, -E2BIG, at, "an array of %" PRIu64 " items, the limit is %u",
                       kv->n_items, SL_GGUF_ARRAY_ITEMS_MAX);
    kv->item_type = item_type;
    return 0;
}

static int take_kv(struct cursor *cur, struct sl_gguf_kv *kv)
{
    uint64_t at = cur->off;
    uint32_t type;
    int r = take_str(cur, SL_GGUF_KEY_BYTES_MAX, &kv->key, "a key");

    if (r < 0)
        return r;
    if (kv->key.len == 0)
        return fail_at(cur, -EBADMSG, at, "a key is empty");
    enter(cur, "key", kv->key);
    at = cur->off;
    r = take_u32(cur, &type, "a value's type");
    if (r < 0)
        return r;
    if (type > SL_GGUF_F64)
        return fail_at(cur, -EBADMSG, at, "expected a type of 0 to %u, found %u", SL_GGUF_F64,
                       type);
    kv->type = type;
    kv->item_type = type;
    kv->n_items = 1;
    if (type == SL_GGUF_ARRAY)
        r = take_array_head(cur, kv);
    if (r >= 0)
        r = take_items(cur, kv);
    if (r >= 0)
        leave(cur);
    return r;
}

/* Size of a tensor from its type and dimensions, into tensor->bytes. */
static int size_tensor(struct cursor *cur, struct sl_gguf_tensor *tensor, uint64_t at)
{
    const struct sl_dtype_info *info = sl_dtype_find(tensor->dtype);
    uint64_t bytes;

    if (!info) {
        tensor->bytes = 0;
        return 0;
    }
    if (tensor->ne[0] % info->block_len != 0)
        return fail_at(cur, -EBADMSG, at,
                       "expected rows of a multiple of %u elements (type %s), found %u",
                       info->block_len, info->name, tensor->ne[0]);
    bytes = sl_dtype_row_bytes(tensor->dtype, tensor->ne[0]);
    for (uint32_t d = 1; d < SL_GGUF_DIMS_MAX; d++)
        if (!sl_mul_u64(bytes, tensor->ne[d], &bytes))
            return fail_at(cur, -EBADMSG, at, "the product of its dimensions overflows");
    tensor->bytes = bytes;
    return 0;
}

static int take_dims(struct cursor *cur, struct sl_gguf_tensor *tensor)
{
    uint64_t at = cur->off;
    int r = take_u32(cur, &tensor->n_dims, "a number of dimensions");

    if (r < 0)
        return r;
    if (tensor->n_dims > SL_GGUF_DIMS_MAX)
        return fail_at(cur, -EBADMSG, at, "expected 0 to %u dimensions, found %u",
                       SL_GGUF_DIMS_MAX, tensor->n_dims);
    for (uint32_t d = 0; d < SL_GGUF_DIMS_MAX; d++) {
        uint64_t ne = 1;

        at = cur->off;
        if (d < tensor->n_dims) {
            r = take_u64(cur, &ne, "a dimension");
            if (r < 0)
                return r;
        }
        if (ne == 0 || ne > SL_GGUF_DIM_MAX)
            return fail_at(cur, ne == 0 ? -EBADMSG : -E2BIG, at,
                           "expected a dimension of 1 to %u, found %" PRIu64, SL_GGUF_DIM_MAX,
                           ne);
        tensor->ne[d] = (uint32_t)ne;
    }
    return 0;
}

/* One tensor info; file_off is still relative to the data section. */
static int take_tensor(struct cursor *cur, struct sl_gguf_tensor *tensor, uint32_t alignment)
{
    uint64_t at = cur->off;
    int r = take_str(cur, SL_GGUF_NAME_BYTES_MAX, &tensor->name, "a tensor's name");

    if (r < 0)
        return r;
    if (tensor->name.len == 0)
        return fail_at(cur, -EBADMSG, at, "a tensor's name is empty");
    enter(cur, "tensor", tensor->name);
    r = take_dims(cur, tensor);
    if (r >= 0)
        r = take_u32(cur, &tensor->dtype, "a type");
    at = cur->off;
    if (r >= 0)
        r = take_u64(cur, &tensor->file_off, "an offset");
    if (r < 0)
        return r;
    if (tensor->file_off % alignment != 0)
        return fail_at(cur, -EBADMSG, at,
                       "expected an offset that is a multiple of %u, found %" PRIu64, alignment,
                       tensor->file_off);
    r = size_tensor(cur, tensor, at);
    if (r >= 0)
        leave(cur);
    return r;
}

/* Make offsets absolute, check them against the file, and set data. */
static int place_tensors(struct cursor *cur, struct sl_ggufpart *part, uint32_t flags)
{
    uint64_t data_off = sl_align_up(cur->off, part->alignment);

    for (uint32_t i = 0; i < part->n_tensors; i++) {
        struct sl_gguf_tensor *tensor = &part->tensors[i];
        uint64_t off = tensor->file_off;
        uint64_t end;

        enter(cur, "tensor", tensor->name);
        if (!sl_add_u64(off, data_off, &tensor->file_off) ||
            !sl_add_u64(tensor->file_off, tensor->bytes, &end))
            return fail_at(cur, -EBADMSG, data_off,
                           "its offset %" PRIu64 " from here is out of range", off);
        if (flags & SL_GGUF_HEADLESS)
            continue;
        if (end > cur->end)
            return fail_at(cur, -EBADMSG, tensor->file_off,
                           "expected %" PRIu64 " bytes of data, found the end of the file at "
                           "byte %" PRIu64 " (is it cut short?)", tensor->bytes, cur->end);
        tensor->data = cur->base + tensor->file_off;
    }
    leave(cur);
    return 0;
}

static int compare_off(const void *a, const void *b)
{
    const struct sl_gguf_tensor *x = *(const struct sl_gguf_tensor *const *)a;
    const struct sl_gguf_tensor *y = *(const struct sl_gguf_tensor *const *)b;

    return (x->file_off > y->file_off) - (x->file_off < y->file_off);
}

/* No byte belongs to two tensors. Those of unknown size cannot be checked. */
static int check_overlap(struct cursor *cur, const struct sl_ggufpart *part)
{
    const struct sl_gguf_tensor **order;
    uint32_t n = 0;
    int r = 0;

    if (part->n_tensors == 0)
        return 0;
    order = calloc(part->n_tensors, sizeof(order[0]));
    if (!order)
        return sl_diag_set(cur->diag, -ENOMEM, "%s: not enough memory for its header", cur->path);
    for (uint32_t i = 0; i < part->n_tensors; i++)
        if (part->tensors[i].bytes > 0)
            order[n++] = &part->tensors[i];
    qsort(order, n, sizeof(order[0]), compare_off);
    for (uint32_t i = 1; i < n; i++)
        if (order[i - 1]->file_off + order[i - 1]->bytes > order[i]->file_off) {
            enter(cur, "tensor", order[i]->name);
            r = fail_at(cur, -EBADMSG, order[i]->file_off, "its data overlaps that of %s",
                        sl_ggufpart_printable(order[i - 1]->name).s);
            break;
        }
    free(order);
    return r;
}

static int find_alignment(struct cursor *cur, struct sl_ggufpart *part)
{
    static const char key[] = "general.alignment";

    part->alignment = ALIGNMENT_DEFAULT;
    for (uint32_t i = 0; i < part->n_kv; i++) {
        const struct sl_gguf_kv *kv = &part->kvs[i];
        uint64_t at = (uint64_t)(kv->data - cur->base);
        uint64_t x;

        if (kv->key.len != sizeof(key) - 1 || memcmp(kv->key.ptr, key, sizeof(key) - 1) != 0)
            continue;
        enter(cur, "key", kv->key);
        if (kv->type == SL_GGUF_ARRAY || !sl_gguf_kv_u64(kv, 0, &x))
            return fail_at(cur, -EBADMSG, at, "expected a positive integer, found %s",
                           sl_gguf_type_name(kv->type));
        if (!sl_is_pow2(x) || x < ALIGNMENT_MIN || x > SL_GGUF_ALIGNMENT_MAX)
            return fail_at(cur, -EBADMSG, at,
                           "expected a power of two from %u to %u, found %" PRIu64,
                           ALIGNMENT_MIN, SL_GGUF_ALIGNMENT_MAX, x);
        leave(cur);
        part->alignment = (uint32_t)x;
    }
    return 0;
}

/* One count of the header against its limit and against the rest of the file. */
static int check_count(const struct cursor *cur, const char *what, uint64_t at, uint64_t n,
                       uint64_t limit, uint64_t least_bytes)
{
    uint64_t rest = cur->end - cur->off;

    if (n > rest / least_bytes)
        return fail_at(cur, -EBADMSG, at,
                       "it is said to have %" PRIu64 " %s, but the rest of the file has only "
                       "%" PRIu64 " bytes", n, what, rest);
    if (n > limit)
        return fail_at(cur, -E2BIG, at, "it has %" PRIu64 " %s, the limit is %" PRIu64, n, what,
                       limit);
    return 0;
}

static int take_header(struct cursor *cur, struct sl_ggufpart *part)
{
    uint64_t n_tensors;
    uint64_t n_kv;
    const uint8_t *head = take(cur, 4, "a GGUF header");
    int r;

    if (!head)
        return -EBADMSG;
    if (memcmp(head, "GGUF", 4) != 0)
        return fail_at(cur, -EBADMSG, 0,
                       "expected \"GGUF\", found %02x %02x %02x %02x: not a GGUF file", head[0],
                       head[1], head[2], head[3]);
    r = take_u32(cur, &part->version, "a version");
    if (r < 0)
        return r;
    if ((part->version & 0xFFFF) == 0 && part->version != 0)
        return fail_at(cur, -ENOTSUP, 4,
                       "a big-endian file (version %u); expected little-endian",
                       __builtin_bswap32(part->version));
    if (part->version < 2 || part->version > 3)
        return fail_at(cur, -ENOTSUP, 4, "GGUF version %u is not supported; expected 2 or 3",
                       part->version);
    r = take_u64(cur, &n_tensors, "a number of tensors");
    if (r >= 0)
        r = take_u64(cur, &n_kv, "a number of metadata entries");
    if (r >= 0)
        r = check_count(cur, "tensors", 8, n_tensors, SL_GGUF_TENSORS_MAX, TENSOR_BYTES_MIN);
    if (r >= 0)
        r = check_count(cur, "metadata entries", 16, n_kv, SL_GGUF_KEYS_MAX, KV_BYTES_MIN);
    if (r < 0)
        return r;
    assert(cur->off == HEADER_BYTES);
    part->n_tensors = (uint32_t)n_tensors;
    part->n_kv = (uint32_t)n_kv;
    return 0;
}

static int read_part(struct cursor *cur, struct sl_ggufpart *part, uint32_t flags)
{
    int r = take_header(cur, part);

    if (r < 0)
        return r;
    /* One more than needed, so that none is not a special case. */
    part->kvs = calloc((size_t)part->n_kv + 1, sizeof(part->kvs[0]));
    part->tensors = calloc((size_t)part->n_tensors + 1, sizeof(part->tensors[0]));
    if (!part->kvs || !part->tensors)
        return sl_diag_set(cur->diag, -ENOMEM, "%s: not enough memory for its header", cur->path);
    for (uint32_t i = 0; i < part->n_kv && r >= 0; i++)
        r = take_kv(cur, &part->kvs[i]);
    if (r >= 0)
        r = find_alignment(cur, part);
    for (uint32_t i = 0; i < part->n_tensors && r >= 0; i++)
        r = take_tensor(cur, &part->tensors[i], part->alignment);
    part->head_bytes = cur->off;
    if (r >= 0)
        r = place_tensors(cur, part, flags);
    if (r >= 0)
        r = check_overlap(cur, part);
    return r;
}

int sl_ggufpart_open(struct sl_ggufpart *part, const char *path, uint32_t flags,
                     struct sl_diag *diag)
{
    struct sl_mapping *map = NULL;
    int r = sl_mapping_open(&map, path, diag);

    if (r < 0)
        return r;
    r = sl_ggufpart_read(part, map, 0, sl_mapping_bytes(map), flags, diag);
    sl_mapping_unref(map);
    return r;
}

int sl_ggufpart_read(struct sl_ggufpart *part, struct sl_mapping *map, uint64_t off,
                     uint64_t bytes, uint32_t flags, struct sl_diag *diag)
{
    struct cursor cur = {
        .path = sl_mapping_path_tail(sl_mapping_path(map)),
        .base = sl_mapping_data(map) + off,
        .end = bytes,
        .first = off,
        .diag = diag,
    };
    uint64_t bad_off;
    int r;

    part->map = sl_mapping_ref(map);
    r = read_part(&cur, part, flags);
    bad_off = sl_mapping_bad_off(part->map);
    if (bad_off != UINT64_MAX)
        r = sl_diag_set(diag, -EIO, "%s: byte %" PRIu64 ": cannot be read (did the file become "
                        "shorter just now?)", cur.path, bad_off);
    if (r < 0)
        sl_ggufpart_close(part);
    return r;
}

int sl_ggufpart_peek(struct sl_ggufpart *part, const uint8_t *bytes, uint64_t n,
                     uint64_t file_bytes, const char *path, struct sl_diag *diag)
{
    struct cursor cur = {
        .path = path,
        .base = bytes,
        .end = n < HEADER_BYTES ? n : file_bytes, /* counts are checked against the file */
        .diag = diag,
    };
    uint32_t n_kv = 0;
    int r = take_header(&cur, part);

    if (r < 0) {
        sl_ggufpart_close(part);
        return r;
    }
    cur.end = n;
    cur.diag = NULL;
    part->n_tensors = 0;
    part->kvs = calloc((size_t)part->n_kv + 1, sizeof(part->kvs[0]));
    if (!part->kvs) {
        sl_ggufpart_close(part);
        return sl_diag_set(diag, -ENOMEM, "%s: not enough memory for its header", path);
    }
    while (n_kv < part->n_kv && take_kv(&cur, &part->kvs[n_kv]) == 0)
        n_kv++;
    part->n_kv = n_kv;
    return 0;
}

void sl_ggufpart_close(struct sl_ggufpart *part)
{
    free(part->kvs);
    free(part->tensors);
    sl_mapping_unref(part->map);
    *part = (struct sl_ggufpart){ 0 };
}
