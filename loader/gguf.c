/*
 * A model of one or more GGUF files: the parts are read one by one (ggufpart.c),
 * then put together: metadata of the first, tensors of all, in order, and an index
 * of each by name, which also finds what occurs twice.
 *
 * Split models, as gguf-split writes them: every part says split.no (0-based),
 * split.count and split.tensors.count, in any integer type, and is called
 * PREFIX-%05d-of-%05d.gguf (1-based). The tables of all parts are copied into one,
 * so that the rest of the program does not know about parts; the views point into
 * the parts' mappings, which live as long as the model.
 */
#include "loader/gguf.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "loader/ggufindex.h"
#include "loader/ggufpart.h"

#define SPLIT_TAIL_BYTES 20 /* -00001-of-00003.gguf */

struct sl_gguf {
    /* Set once, then read only. */
    uint32_t version;
    uint32_t n_splits;
    uint32_t n_kv;
    uint32_t n_tensors;
    struct sl_mapping **maps;       /* n_splits, each a reference */
    uint64_t *head_bytes;           /* n_splits */
    struct sl_gguf_kv *kvs;         /* owned */
    struct sl_gguf_tensor *tensors; /* owned */
    struct sl_ggufindex kv_index, tensor_index;
};

/* What one part says about the whole; all 0 for a model in one file. */
struct split {
    uint64_t no; /* 0-based */
    uint64_t count;
    uint64_t n_tensors;
    bool has_n_tensors;
};

static const struct sl_gguf_kv *find_kv(const struct sl_ggufpart *part, const char *key)
{
    size_t len = strlen(key);

    for (uint32_t i = 0; i < part->n_kv; i++)
        if (part->kvs[i].key.len == len && memcmp(part->kvs[i].key.ptr, key, len) == 0)
            return &part->kvs[i];
    return NULL;
}

static int find_split(const struct sl_ggufpart *part, struct split *ret_split,
                      const char *path, struct sl_diag *diag)
{
    const struct sl_gguf_kv *count = find_kv(part, "split.count");
    const struct sl_gguf_kv *n_tensors = find_kv(part, "split.tensors.count");
    struct split split = { 0 };

    if (!count) {
        *ret_split = split;
        return 0;
    }
    if (!sl_gguf_kv_u64(count, 0, &split.count))
        return sl_diag_set(diag, -EBADMSG, "%s: split.count: expected an integer, found %s",
                           path, sl_gguf_type_name(count->type));
    if (split.count > SL_GGUF_SPLITS_MAX)
        return sl_diag_set(diag, -E2BIG, "%s: split into %" PRIu64 " files, the limit is %u",
                           path, split.count, SL_GGUF_SPLITS_MAX);
    if (split.count <= 1) {
        *ret_split = (struct split){ 0 };
        return 0;
    }
    if (!sl_gguf_kv_u64(find_kv(part, "split.no"), 0, &split.no) || split.no >= split.count)
        return sl_diag_set(diag, -EBADMSG,
                           "%s: split.no: expected an integer below split.count, %" PRIu64,
                           path, split.count);
    if (n_tensors) {
        split.has_n_tensors = true;
        if (!sl_gguf_kv_u64(n_tensors, 0, &split.n_tensors))
            return sl_diag_set(diag, -EBADMSG, "%s: split.tensors.count: expected an integer",
                               path);
    }
    *ret_split = split;
    return 0;
}

/* The path of a part in the place of path, which is part split->no; heap, or NULL. */
static char *part_path(const char *path, const struct split *split, uint64_t no)
{
    size_t prefix = strlen(path) - SPLIT_TAIL_BYTES;
    char *text = malloc(prefix + SPLIT_TAIL_BYTES + 1);

    if (!text)
        return NULL;
    memcpy(text, path, prefix);
    (void)snprintf(text + prefix, SPLIT_TAIL_BYTES + 1, "-%05u-of-%05u.gguf",
                   (unsigned)(no + 1) % 100000, (unsigned)split->count % 100000);
    return text;
}

/* Whether path ends as the name of this part must. */
static int check_part_name(const char *path, const struct split *split, struct sl_diag *diag)
{
    char tail[SPLIT_TAIL_BYTES + 1];
    size_t len = strlen(path);

    (void)snprintf(tail, sizeof(tail), "-%05u-of-%05u.gguf", (unsigned)(split->no + 1) % 100000,
                   (unsigned)split->count % 100000);
    if (len >= SPLIT_TAIL_BYTES && strcmp(path + len - SPLIT_TAIL_BYTES, tail) == 0)
        return 0;
    return sl_diag_set(diag, -EBADMSG,
                       "%s: part %" PRIu64 " of %" PRIu64 " of a split model, so its name must "
                       "end in %s to find the others",
                       sl_mapping_path_tail(path), split->no + 1, split->count, tail);
}

/* Open part no beside path and see that it says the same about the whole. */
static int open_other(struct sl_ggufpart *part, const char *path, const struct split *first,
                      uint64_t no, uint32_t flags, struct sl_diag *diag)
{
    struct split split;
    char *other = part_path(path, first, no);
    const char *shown;
    int r;

    if (!other)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the name of a file");
    shown = sl_mapping_path_tail(other);
    r = sl_ggufpart_open(part, other, flags, diag);
    if (r < 0) {
        (void)sl_diag_prefix(diag, r, r == -ENOENT ? "part %" PRIu64 " of %" PRIu64 " is missing"
                                                   : "part %" PRIu64 " of %" PRIu64,
                             no + 1, first->count);
        goto done;
    }
    r = find_split(part, &split, shown, diag);
    if (r >= 0 && (split.no != no || split.count != first->count))
        r = sl_diag_set(diag, -EBADMSG,
                        "%s: expected part %" PRIu64 " of %" PRIu64 ", found part %" PRIu64
                        " of %" PRIu64,
                        shown, no + 1, first->count, split.count ? split.no + 1 : 1,
                        split.count ? split.count : 1);
    if (r < 0)
        sl_ggufpart_close(part);
done:
    free(other);
    return r;
}

/* Move the tables and mappings of n parts into gguf; the parts keep what is not moved
 * and are closed by the caller. */
static int join_parts(struct sl_gguf *gguf, struct sl_ggufpart *parts, uint32_t n,
                      struct sl_diag *diag)
{
    uint64_t n_tensors = 0;

    for (uint32_t i = 0; i < n; i++)
        n_tensors += parts[i].n_tensors; /* 999 times 65536 at most */
    if (n_tensors > SL_GGUF_TENSORS_MAX)
        return sl_diag_set(diag, -E2BIG, "%s: %" PRIu64 " tensors in all parts, the limit is %u",
                           sl_mapping_path_tail(sl_mapping_path(parts[0].map)), n_tensors,
                           SL_GGUF_TENSORS_MAX);
    gguf->maps = calloc(n, sizeof(gguf->maps[0]));
    gguf->head_bytes = calloc(n, sizeof(gguf->head_bytes[0]));
    gguf->tensors = calloc((size_t)n_tensors + 1, sizeof(gguf->tensors[0]));
    if (!gguf->maps || !gguf->head_bytes || !gguf->tensors)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the list of tensors");

    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t t = 0; t < parts[i].n_tensors; t++) {
            gguf->tensors[gguf->n_tensors] = parts[i].tensors[t];
            gguf->tensors[gguf->n_tensors++].split = i;
        }
        gguf->head_bytes[i] = parts[i].head_bytes;
        gguf->maps[i] = parts[i].map;
        parts[i].map = NULL;
    }
    gguf->n_splits = n;
    gguf->version = parts[0].version;
    gguf->kvs = parts[0].kvs;
    gguf->n_kv = parts[0].n_kv;
    parts[0].kvs = NULL;
    return 0;
}

static int check_n_tensors(const struct sl_gguf *gguf, const struct split *split,
                           const char *path, struct sl_diag *diag)
{
    if (!split->has_n_tensors || split->n_tensors == gguf->n_tensors)
        return 0;
    return sl_diag_set(diag, -EBADMSG, "%s: split.tensors.count: expected %" PRIu64
                       " tensors in all parts, found %u",
                       path, split->n_tensors, gguf->n_tensors);
}

/* Read all parts of the model that path is a part of. */
static int read_parts(struct sl_gguf *gguf, const char *path, uint32_t flags,
                      struct sl_diag *diag)
{
    struct sl_ggufpart given = { 0 };
    struct sl_ggufpart *parts = NULL;
    struct split split = { 0 };
    uint32_t n = 1;
    int r = sl_ggufpart_open(&given, path, flags, diag);

    if (r >= 0)
        r = find_split(&given, &split, sl_mapping_path_tail(path), diag);
    if (r >= 0 && split.count > 1)
        r = check_part_name(path, &split, diag);
    if (r < 0)
        goto done;

    n = split.count > 1 ? (uint32_t)split.count : 1;
    parts = calloc(n, sizeof(parts[0]));
    if (!parts) {
        r = sl_diag_set(diag, -ENOMEM, "not enough memory for the list of parts");
        goto done;
    }
    parts[split.no] = given;
    given = (struct sl_ggufpart){ 0 };
    for (uint32_t i = 0; i < n && r >= 0; i++)
        if (i != split.no)
            r = open_other(&parts[i], path, &split, i, flags, diag);
    if (r >= 0)
        r = join_parts(gguf, parts, n, diag);
    if (r >= 0)
        r = check_n_tensors(gguf, &split, sl_mapping_path_tail(path), diag);
done:
    for (uint32_t i = 0; parts && i < n; i++)
        sl_ggufpart_close(&parts[i]);
    free(parts);
    sl_ggufpart_close(&given);
    return r;
}

/* -EBADMSG for a name that occurs twice; file of the later one and its byte offset. */
static int name_twice(const struct sl_mapping *map, const char *what,
                      const struct sl_gguf_str *name, struct sl_diag *diag)
{
    uint64_t off = (uint64_t)((const uint8_t *)name->ptr - sl_mapping_data(map));

    return sl_diag_set(diag, -EBADMSG, "%s: byte %" PRIu64 ": %s %s occurs twice",
                       sl_mapping_path_tail(sl_mapping_path(map)), off, what,
                       sl_ggufpart_printable(*name).s);
}

static int index_names(struct sl_gguf *gguf, struct sl_diag *diag)
{
    if (sl_ggufindex_init(&gguf->kv_index, gguf->n_kv) < 0 ||
        sl_ggufindex_init(&gguf->tensor_index, gguf->n_tensors) < 0)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the index of names");
    for (uint32_t i = 0; i < gguf->n_kv; i++)
        if (sl_ggufindex_add(&gguf->kv_index, &gguf->kvs[i].key))
            return name_twice(gguf->maps[0], "key", &gguf->kvs[i].key, diag);
    for (uint32_t i = 0; i < gguf->n_tensors; i++)
        if (sl_ggufindex_add(&gguf->tensor_index, &gguf->tensors[i].name))
            return name_twice(gguf->maps[gguf->tensors[i].split], "tensor",
                              &gguf->tensors[i].name, diag);
    return 0;
}

/* Parts whose headers lie in map, one after the other in the order of the model. */
static int read_heads(struct sl_gguf *gguf, struct sl_mapping *map,
                      const struct sl_gguf_head *heads, uint32_t n, struct sl_diag *diag)
{
    const char *path = sl_mapping_path_tail(sl_mapping_path(map));
    struct sl_ggufpart *parts = calloc(n, sizeof(parts[0]));
    struct split split = { 0 }, first = { 0 };
    int r = 0;

    if (!parts)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the list of parts");
    for (uint32_t i = 0; i < n && r >= 0; i++) {
        r = sl_ggufpart_read(&parts[i], map, heads[i].off, heads[i].bytes, SL_GGUF_HEADLESS,
                             diag);
        if (r >= 0)
            r = find_split(&parts[i], &split, path, diag);
        if (r >= 0 && (split.count != (n > 1 ? n : 0) || split.no != i))
            r = sl_diag_set(diag, -EBADMSG,
                            "%s: expected the header of part %u of %u, found part %" PRIu64
                            " of %" PRIu64, path, i + 1, n, split.no + 1,
                            split.count ? split.count : 1);
        if (i == 0)
            first = split;
    }
    if (r >= 0)
        r = join_parts(gguf, parts, n, diag);
    if (r >= 0)
        r = check_n_tensors(gguf, &first, path, diag);
    for (uint32_t i = 0; i < n; i++)
        sl_ggufpart_close(&parts[i]);
    free(parts);
    return r;
}

int sl_gguf_open_heads(struct sl_gguf **ret_gguf, struct sl_mapping *map,
                       const struct sl_gguf_head *heads, uint32_t n_heads,
                       struct sl_diag *diag)
{
    struct sl_gguf *gguf = calloc(1, sizeof(*gguf));
    int r;

    if (!gguf)
        return sl_diag_set(diag, -ENOMEM, "not enough memory for the list of tensors");
    r = read_heads(gguf, map, heads, n_heads, diag);
    if (r < 0)
        goto fail;
    r = index_names(gguf, diag);
    if (r < 0)
        goto fail;
    for (uint32_t i = 1; i < gguf->n_splits; i++)
        sl_mapping_unref(gguf->maps[i]);
    gguf->n_splits = 1;
    for (uint32_t i = 0; i < gguf->n_tensors; i++) {
        gguf->tensors[i].split = 0;
        gguf->tensors[i].file_off = UINT64_MAX;
    }
    *ret_gguf = gguf;
    return 0;

fail:
    sl_gguf_close(gguf);
    return r;
}

void sl_gguf_set_data(struct sl_gguf *gguf, uint32_t i, const uint8_t *data,
                      uint64_t file_off)
{
    assert(i < gguf->n_tensors);
    gguf->tensors[i].data = data;
    gguf->tensors[i].file_off = file_off;
}

uint64_t sl_gguf_head_bytes(const struct sl_gguf *gguf, uint32_t split)
{
    return split < gguf->n_splits ? gguf->head_bytes[split] : 0;
}

int sl_gguf_open(struct sl_gguf **ret_gguf, const char *path, uint32_t flags,
                 struct sl_diag *diag)
{
    struct sl_gguf *gguf;
    int r;

    if (flags & ~(uint32_t)SL_GGUF_HEADLESS)
        return sl_diag_set(diag, -EINVAL, "sl_gguf_open: unknown flags 0x%x", flags);
    gguf = calloc(1, sizeof(*gguf));
    if (!gguf)
        return sl_diag_set(diag, -ENOMEM, "%s: not enough memory to open it",
                           sl_mapping_path_tail(path));
    r = read_parts(gguf, path, flags, diag);
    if (r < 0)
        goto fail;
    r = index_names(gguf, diag);
    if (r < 0)
        goto fail;
    *ret_gguf = gguf;
    return 0;

fail:
    sl_gguf_close(gguf);
    return r;
}

void sl_gguf_close(struct sl_gguf *gguf)
{
    if (!gguf)
        return;
    sl_ggufindex_done(&gguf->kv_index);
    sl_ggufindex_done(&gguf->tensor_index);
    for (uint32_t i = 0; i < gguf->n_splits; i++)
        sl_mapping_unref(gguf->maps[i]);
    free(gguf->maps);
    free(gguf->head_bytes);
    free(gguf->tensors);
    free(gguf->kvs);
    free(gguf);
}

uint32_t sl_gguf_n_splits(const struct sl_gguf *gguf)
{
    return gguf->n_splits;
}

struct sl_mapping *sl_gguf_mapping(const struct sl_gguf *gguf, uint32_t split)
{
    return split < gguf->n_splits ? gguf->maps[split] : NULL;
}

uint32_t sl_gguf_version(const struct sl_gguf *gguf)
{
    return gguf->version;
}

uint32_t sl_gguf_n_kv(const struct sl_gguf *gguf)
{
    return gguf->n_kv;
}

const struct sl_gguf_kv *sl_gguf_kv_at(const struct sl_gguf *gguf, uint32_t i)
{
    return i < gguf->n_kv ? &gguf->kvs[i] : NULL;
}

/* Keys and names are the first members of their entries, so that the index, which
 * knows strings only, leads to both. */
_Static_assert(offsetof(struct sl_gguf_kv, key) == 0, "first member");
_Static_assert(offsetof(struct sl_gguf_tensor, name) == 0, "first member");

const struct sl_gguf_kv *sl_gguf_kv_find(const struct sl_gguf *gguf, const char *key)
{
    return (const void *)sl_ggufindex_find(&gguf->kv_index, key, strlen(key));
}

uint32_t sl_gguf_n_tensors(const struct sl_gguf *gguf)
{
    return gguf->n_tensors;
}

const struct sl_gguf_tensor *sl_gguf_tensor_at(const struct sl_gguf *gguf, uint32_t i)
{
    return i < gguf->n_tensors ? &gguf->tensors[i] : NULL;
}

const struct sl_gguf_tensor *sl_gguf_tensor_find(const struct sl_gguf *gguf, const char *name)
{
    return (const void *)sl_ggufindex_find(&gguf->tensor_index, name, strlen(name));
}
