/*
 * A GGUF file is magic, version, two counts, the keys, the tensor infos, padding, and
 * the tensors' bytes, each tensor padded to the alignment. Keys are collected in one
 * buffer and infos in an array, so that everything is known before the first byte is
 * written; tensor data then goes to its place with pwrite.
 *
 * Of a split model, part 0 has all keys, the others have split.* alone; tensors are
 * shared out in order, by count.
 *
 * Source of the format: ggml's docs/gguf.md.
 */
#include "tools/ggufwrite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/strbuf.h"

#define N_OMIT_MAX 16
#define DEFAULT_ALIGNMENT 32

struct tensor {
    char *name;
    uint32_t n_dims;
    uint64_t ne[SL_GGUF_DIMS_MAX];
    enum sl_dtype dtype;
    uint64_t bytes;
    uint64_t off; /* in the data section of its part */
    uint32_t part;
};

struct part {
    char *path;
    char *tmp_path;
    int fd;            /* -1 until created */
    uint32_t first, n; /* its tensors */
    uint64_t data_off; /* where the data section begins */
    uint64_t bytes;
};

struct sl_ggufwrite {
    struct sl_ggufwrite_opts opts;
    char *path;
    struct sl_strbuf kv;
    uint64_t n_kv;
    char *omit[N_OMIT_MAX];
    uint32_t n_omit;
    bool skip; /* the key being added is left out */
    struct tensor *tensors;
    uint32_t n_tensors;
    struct part *parts;
    bool finished;
};

static void add_u32(struct sl_strbuf *buf, uint32_t value)
{
    sl_strbuf_add(buf, (const char *)&value, sizeof(value));
}

static void add_u64(struct sl_strbuf *buf, uint64_t value)
{
    sl_strbuf_add(buf, (const char *)&value, sizeof(value));
}

static void add_text(struct sl_strbuf *buf, const char *text, size_t len)
{
    add_u64(buf, len);
    sl_strbuf_add(buf, text, len);
}

static void add_key(struct sl_ggufwrite *w, const char *key, enum sl_gguf_type type)
{
    w->skip = false;
    for (uint32_t i = 0; i < w->n_omit; i++)
        if (strcmp(w->omit[i], key) == 0)
            w->skip = true;
    if (w->skip)
        return;
    w->n_kv++;
    add_text(&w->kv, key, strlen(key));
    add_u32(&w->kv, type);
}

static void add_scalar(struct sl_ggufwrite *w, const char *key, enum sl_gguf_type type,
                       const void *value, size_t bytes)
{
    add_key(w, key, type);
    if (!w->skip)
        sl_strbuf_add(&w->kv, value, bytes);
}

/* "dir/NAME.gguf" -> "dir/NAME-00002-of-00003.gguf" */
static char *part_path(const struct sl_ggufwrite *w, uint32_t i)
{
    size_t len = strlen(w->path);
    char *path = NULL;

    if (w->opts.n_splits == 1)
        return strdup(w->path);
    if (len > 5 && strcmp(w->path + len - 5, ".gguf") == 0)
        len -= 5;
    if (asprintf(&path, "%.*s-%05u-of-%05u.gguf", (int)len, w->path, i + 1, w->opts.n_splits) < 0)
        return NULL;
    return path;
}

/* Keys of part i: all of them and split.* as asked, in the file's form. */
static void add_part_kv(struct sl_ggufwrite *w, uint32_t i, struct sl_strbuf *out)
{
    bool split = w->opts.n_splits > 1;
    bool align = w->opts.alignment != DEFAULT_ALIGNMENT;
    uint16_t no = (uint16_t)i;
    uint16_t count = (uint16_t)w->opts.n_splits;

    add_u64(out, (i == 0 ? w->n_kv : 0) + (split ? 3 : 0) + (align ? 1 : 0));
    if (i == 0)
        sl_strbuf_add(out, w->kv.ptr ? w->kv.ptr : "", w->kv.len);
    if (align) {
        add_text(out, "general.alignment", 17);
        add_u32(out, SL_GGUF_U32);
        add_u32(out, w->opts.alignment);
    }
    if (!split)
        return;
    add_text(out, "split.no", 8);
    add_u32(out, SL_GGUF_U16);
    sl_strbuf_add(out, (const char *)&no, sizeof(no));
    add_text(out, "split.count", 11);
    add_u32(out, SL_GGUF_U16);
    sl_strbuf_add(out, (const char *)&count, sizeof(count));
    add_text(out, "split.tensors.count", 19);
    add_u32(out, SL_GGUF_I32);
    add_u32(out, w->n_tensors);
}

static void add_infos(struct sl_ggufwrite *w, struct part *part, struct sl_strbuf *out)
{
    uint64_t off = 0;

    for (uint32_t t = part->first; t < part->first + part->n; t++) {
        struct tensor *tensor = &w->tensors[t];

        tensor->off = off;
        add_text(out, tensor->name, strlen(tensor->name));
        add_u32(out, tensor->n_dims);
        for (uint32_t d = 0; d < tensor->n_dims; d++)
            add_u64(out, tensor->ne[d]);
        add_u32(out, tensor->dtype);
        add_u64(out, off);
        off += sl_align_up(tensor->bytes, w->opts.alignment);
    }
    part->bytes = off;
}

/* Lay out part i and give its header, padded; sizes of the part are set. */
static int make_header(struct sl_ggufwrite *w, uint32_t i, struct sl_strbuf *out)
{
    struct part *part = &w->parts[i];

    sl_strbuf_add(out, "GGUF", 4);
    add_u32(out, w->opts.version);
    add_u64(out, part->n);
    add_part_kv(w, i, out);
    add_infos(w, part, out);
    while (out->len % w->opts.alignment && !out->error)
        sl_strbuf_add(out, "", 1);
    part->data_off = out->len;
    part->bytes += out->len;
    return out->error;
}

static int write_all(int fd, uint64_t off, const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = pwrite(fd, data, bytes, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        data += n;
        off += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* The folder of path has room for bytes more. A system that cannot tell is believed. */
static int check_space(const char *path, uint64_t bytes, struct sl_diag *diag)
{
    struct statvfs vfs;
    char *dir = strdup(path);
    char *slash;
    int r;

    if (!dir)
        return -ENOMEM;
    slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    r = statvfs(slash ? dir : ".", &vfs);
    if (r < 0)
        r = sl_diag_set(diag, -errno, "%s: %s", slash ? dir : ".", strerror(errno));
    else if ((uint64_t)vfs.f_bavail * vfs.f_frsize < bytes)
        r = sl_diag_set(diag, -ENOSPC, "%s: needs %.2f GB of disk, %.2f GB are free", path,
                        (double)bytes / 1e9, (double)vfs.f_bavail * (double)vfs.f_frsize / 1e9);
    free(dir);
    return r;
}

/* Create the part's file with its blocks reserved where the system can do that. */
static int create_part(struct part *part, const struct sl_strbuf *header, struct sl_diag *diag)
{
    mode_t mask = umask(0);
    int r;

    (void)umask(mask); /* cannot fail */
    part->fd = mkstemp(part->tmp_path);
    if (part->fd < 0)
        return sl_diag_set(diag, -errno, "%s: %s", part->tmp_path, strerror(errno));
    if (fchmod(part->fd, 0666 & ~mask) < 0)
        return sl_diag_set(diag, -errno, "%s: %s", part->tmp_path, strerror(errno));
    r = fallocate(part->fd, 0, 0, (off_t)part->bytes) < 0 ? -errno : 0;
    if (r == -EOPNOTSUPP || r == -EINVAL || r == -ENOSYS)
        r = ftruncate(part->fd, (off_t)part->bytes) < 0 ? -errno : 0;
    if (r == 0)
        r = write_all(part->fd, 0, header->ptr, header->len);
    if (r < 0)
        return sl_diag_set(diag, r, "%s: %s", part->tmp_path, strerror(-r));
    return 0;
}

int sl_ggufwrite_new(struct sl_ggufwrite **ret_w, const char *path,
                     const struct sl_ggufwrite_opts *opts)
{
    struct sl_ggufwrite *w;

    if (opts->version < 2 || opts->version > 3 || !sl_is_pow2(opts->alignment) ||
        opts->alignment < 8 || opts->alignment > SL_GGUF_ALIGNMENT_MAX || opts->n_splits < 1 ||
        opts->n_splits > SL_GGUF_SPLITS_MAX)
        return -EINVAL;
    w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->opts = *opts;
    w->path = strdup(path);
    w->parts = calloc(opts->n_splits, sizeof(*w->parts));
    if (!w->path || !w->parts) {
        sl_ggufwrite_free(w);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < opts->n_splits; i++)
        w->parts[i].fd = -1;
    *ret_w = w;
    return 0;
}

void sl_ggufwrite_free(struct sl_ggufwrite *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; w->parts && i < w->opts.n_splits; i++) {
        struct part *part = &w->parts[i];

        if (part->fd >= 0) {
            (void)close(part->fd); /* flushed by finish, or thrown away */
            if (!w->finished)
                (void)unlink(part->tmp_path); /* nothing more can be done */
        }
        free(part->path);
        free(part->tmp_path);
    }
    for (uint32_t i = 0; i < w->n_tensors; i++)
        free(w->tensors[i].name);
    for (uint32_t i = 0; i < w->n_omit; i++)
        free(w->omit[i]);
    sl_strbuf_done(&w->kv);
    free(w->tensors);
    free(w->parts);
    free(w->path);
    free(w);
}

void sl_ggufwrite_u16(struct sl_ggufwrite *w, const char *key, uint16_t value)
{
    add_scalar(w, key, SL_GGUF_U16, &value, sizeof(value));
}

void sl_ggufwrite_u32(struct sl_ggufwrite *w, const char *key, uint32_t value)
{
    add_scalar(w, key, SL_GGUF_U32, &value, sizeof(value));
}

void sl_ggufwrite_i32(struct sl_ggufwrite *w, const char *key, int32_t value)
{
    add_scalar(w, key, SL_GGUF_I32, &value, sizeof(value));
}

void sl_ggufwrite_f32(struct sl_ggufwrite *w, const char *key, float value)
{
    add_scalar(w, key, SL_GGUF_F32, &value, sizeof(value));
}

void sl_ggufwrite_bool(struct sl_ggufwrite *w, const char *key, bool value)
{
    uint8_t byte = value;

    add_scalar(w, key, SL_GGUF_BOOL, &byte, sizeof(byte));
}

void sl_ggufwrite_str(struct sl_ggufwrite *w, const char *key, const char *value)
{
    add_key(w, key, SL_GGUF_STRING);
    if (!w->skip)
        add_text(&w->kv, value, strlen(value));
}

void sl_ggufwrite_array(struct sl_ggufwrite *w, const char *key, enum sl_gguf_type item,
                        uint64_t n_items)
{
    add_key(w, key, SL_GGUF_ARRAY);
    if (w->skip)
        return;
    add_u32(&w->kv, item);
    add_u64(&w->kv, n_items);
}

void sl_ggufwrite_item_u32(struct sl_ggufwrite *w, uint32_t value)
{
    if (!w->skip)
        add_u32(&w->kv, value);
}

void sl_ggufwrite_item_str(struct sl_ggufwrite *w, const char *text, size_t len)
{
    if (!w->skip)
        add_text(&w->kv, text, len);
}

void sl_ggufwrite_omit(struct sl_ggufwrite *w, const char *key)
{
    char *copy = w->n_omit < N_OMIT_MAX ? strdup(key) : NULL;

    if (copy)
        w->omit[w->n_omit++] = copy;
    else if (!w->kv.error)
        w->kv.error = w->n_omit < N_OMIT_MAX ? -ENOMEM : -E2BIG;
}

int sl_ggufwrite_tensor(struct sl_ggufwrite *w, const char *name, uint32_t n_dims,
                        const uint64_t *ne, enum sl_dtype dtype)
{
    const struct sl_dtype_info *info = sl_dtype_find(dtype);
    struct tensor *grown;
    struct tensor *tensor;
    uint64_t bytes;

    if (!info || !info->supported || n_dims < 1 || n_dims > SL_GGUF_DIMS_MAX ||
        ne[0] == 0 || ne[0] % info->block_len != 0)
        return -EINVAL;
    if (w->n_tensors >= SL_GGUF_TENSORS_MAX || strlen(name) > SL_GGUF_NAME_BYTES_MAX)
        return -E2BIG;
    bytes = sl_dtype_row_bytes(dtype, ne[0]);
    for (uint32_t d = 1; d < n_dims; d++)
        if (ne[d] == 0 || !sl_mul_u64(bytes, ne[d], &bytes))
            return -EINVAL;

    grown = realloc(w->tensors, (w->n_tensors + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    w->tensors = grown;
    tensor = &grown[w->n_tensors];
    *tensor = (struct tensor){ .n_dims = n_dims, .dtype = dtype, .bytes = bytes };
    memcpy(tensor->ne, ne, n_dims * sizeof(*ne));
    tensor->name = strdup(name);
    if (!tensor->name)
        return -ENOMEM;
    return (int)w->n_tensors++;
}

uint64_t sl_ggufwrite_data_bytes(const struct sl_ggufwrite *w)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < w->n_tensors; i++)
        bytes += w->tensors[i].bytes;
    return bytes;
}

static int lay_out(struct sl_ggufwrite *w, struct sl_strbuf *headers, uint64_t *ret_bytes)
{
    uint32_t n = w->opts.n_splits;
    int r;

    *ret_bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct part *part = &w->parts[i];

        part->first = (uint32_t)((uint64_t)w->n_tensors * i / n);
        part->n = (uint32_t)((uint64_t)w->n_tensors * (i + 1) / n) - part->first;
        for (uint32_t t = 0; t < part->n; t++)
            w->tensors[part->first + t].part = i;
        part->path = part_path(w, i);
        if (!part->path)
            return -ENOMEM;
        if (asprintf(&part->tmp_path, "%s.XXXXXX", part->path) < 0) {
            part->tmp_path = NULL;
            return -ENOMEM;
        }
        r = make_header(w, i, &headers[i]);
        if (r < 0)
            return r;
        *ret_bytes += part->bytes;
    }
    return 0;
}

int sl_ggufwrite_begin(struct sl_ggufwrite *w, struct sl_diag *diag)
{
    struct sl_strbuf *headers;
    uint64_t bytes;
    int r = w->kv.error;

    if (r < 0)
        return sl_diag_set(diag, r, "%s: metadata: %s", w->path, sl_err_text(r));
    headers = calloc(w->opts.n_splits, sizeof(*headers));
    if (!headers)
        return sl_diag_set(diag, -ENOMEM, "%s: no memory", w->path);
    r = lay_out(w, headers, &bytes);
    if (r < 0)
        sl_diag_set(diag, r, "%s: %s", w->path, sl_err_text(r));
    if (r == 0)
        r = check_space(w->path, bytes, diag);
    for (uint32_t i = 0; i < w->opts.n_splits && r == 0; i++)
        r = create_part(&w->parts[i], &headers[i], diag);
    for (uint32_t i = 0; i < w->opts.n_splits; i++)
        sl_strbuf_done(&headers[i]);
    free(headers);
    return r;
}

int sl_ggufwrite_put(struct sl_ggufwrite *w, uint32_t tensor, uint64_t off, const void *data,
                     size_t bytes)
{
    const struct tensor *t = &w->tensors[tensor];
    const struct part *part = &w->parts[t->part];

    return write_all(part->fd, part->data_off + t->off + off, data, bytes);
}

int sl_ggufwrite_finish(struct sl_ggufwrite *w, struct sl_diag *diag)
{
    for (uint32_t i = 0; i < w->opts.n_splits; i++)
        if (fdatasync(w->parts[i].fd) < 0)
            return sl_diag_set(diag, -errno, "%s: %s", w->parts[i].tmp_path, strerror(errno));
    for (uint32_t i = 0; i < w->opts.n_splits; i++)
        if (rename(w->parts[i].tmp_path, w->parts[i].path) < 0)
            return sl_diag_set(diag, -errno, "%s: %s", w->parts[i].path, strerror(errno));
    w->finished = true;
    return 0;
}
