/*
 * The first bytes of a file tell the architecture, which is among the first keys. Of ours the
 * whole header is read and checked; a vocabulary of other models is not gone through for what
 * may stand behind it.
 */
#include "store/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "loader/gguf.h"
#include "loader/ggufpart.h"
#include "loader/pack.h"
#include "store/filetype.h"
#include "store/modelfile.h"
#include "tensor/dtype.h"

#define PEEK_BYTES 4096

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static const struct sl_gguf_kv *find_kv(const struct sl_ggufpart *part, const char *key)
{
    for (uint32_t i = 0; i < part->n_kv; i++)
        if (part->kvs[i].key.len == strlen(key) &&
            !memcmp(part->kvs[i].key.ptr, key, part->kvs[i].key.len))
            return &part->kvs[i];
    return NULL;
}

static bool is_ours(const char *architecture)
{
    return !strcmp(architecture, "lfm2") || !strcmp(architecture, "lfm2moe");
}

static bool set_architecture(struct sl_store_model *m, const struct sl_gguf_kv *kv)
{
    struct sl_gguf_str str;
    uint64_t cursor = 0;

    if (!kv || kv->type != SL_GGUF_STRING || !sl_gguf_kv_str(kv, &cursor, &str))
        return false;
    (void)snprintf(m->architecture, sizeof(m->architecture), "%.*s",
                   (int)(str.len < sizeof(m->architecture) ? str.len : sizeof(m->architecture)),
                   str.ptr); /* cut is fine */
    m->is_lfm2 = is_ours(m->architecture);
    return true;
}

/* The type, as it is mostly written; the first that is known stays. */
static void set_type(struct sl_store_model *m, const char *text, size_t len)
{
    if (m->type[0] || len >= sizeof(m->type))
        return;
    for (size_t i = 0; i < len; i++)
        m->type[i] = (char)(text[i] >= 'a' && text[i] <= 'z' ? text[i] - 'a' + 'A' : text[i]);
    m->type[len] = '\0';
}

static void set_file_type(struct sl_store_model *m, const struct sl_gguf_kv *kv)
{
    const char *name = NULL;
    uint64_t number;

    if (sl_gguf_kv_u64(kv, 0, &number))
        name = sl_filetype_name(number);
    if (name)
        set_type(m, name, strlen(name));
}

/* What the file's name says, for headers that say nothing. */
static void set_type_by_name(struct sl_store_model *m)
{
    const char *name = base_name(m->file ? m->file : m->path);
    struct sl_modelfile_name parsed = sl_modelfile_parse(name);
    size_t type = sl_modelfile_find_type(name, parsed.stem_len);

    if (m->kind == SL_STORE_OLLAMA) { /* whose files have no names; tags end as those do */
        name = m->tag;
        parsed.stem_len = strlen(name);
        type = sl_modelfile_find_type(name, parsed.stem_len);
    }
    set_type(m, name + type, parsed.stem_len - type);
}

/* The type that most bytes of weights have. */
static void set_type_by_tensors(struct sl_store_model *m, const struct sl_gguf *gguf)
{
    uint64_t bytes[SL_DTYPE_LIMIT] = {0};
    uint32_t most = 0;

    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, i);

        if (t->dtype < SL_DTYPE_LIMIT)
            bytes[t->dtype] += t->bytes;
        if (t->dtype < SL_DTYPE_LIMIT && bytes[t->dtype] > bytes[most])
            most = t->dtype;
    }
    if (bytes[most])
        set_type(m, sl_dtype_name(most), strlen(sl_dtype_name(most)));
}

/* The text of a failure without the path that it begins with. */
static const char *without_path(const struct sl_store_model *m, const char *text)
{
    const char *tail = sl_mapping_path_tail(m->path);
    size_t len = strlen(tail);

    return !strncmp(text, tail, len) && !strncmp(text + len, ": ", 2) ? text + len + 2 : text;
}

static void set_failure(struct sl_store_model *m, int r, const struct sl_diag *diag)
{
    enum sl_store_state state = SL_STORE_UNREADABLE;

    if (r == -EBADMSG || r == -ENOTSUP || r == -E2BIG)
        state = SL_STORE_BROKEN;
    if (r == -ENOENT)
        state = SL_STORE_PARTIAL; /* a part of a split model */
    sl_store_set_state(m, state, "%s", diag->text[0] ? without_path(m, diag->text)
                                                     : sl_err_text(r));
}

/* All of the header of a model of ours; data that is missing is not the header's fault. */
static void check_gguf(struct sl_store_model *m)
{
    struct sl_diag diag = {""};
    struct sl_gguf *gguf = NULL;
    int r = sl_gguf_open(&gguf, m->path, 0, &diag);

    if (r == -EBADMSG) {
        struct sl_diag first = diag;

        r = sl_gguf_open(&gguf, m->path, SL_GGUF_HEADLESS, &diag);
        if (r == 0)
            sl_store_set_state(m, SL_STORE_PARTIAL, "%s", without_path(m, first.text));
    }
    if (r < 0) {
        set_failure(m, r, &diag);
        return;
    }
    set_file_type(m, sl_gguf_kv_find(gguf, "general.file_type"));
    set_type_by_tensors(m, gguf);
    sl_gguf_close(gguf);
}

static void check_pack(struct sl_store_model *m)
{
    struct sl_diag diag = {""};
    struct sl_pack *pack = NULL;
    int r = sl_pack_open(&pack, m->path, 0, &diag);

    if (r < 0) {
        set_failure(m, r, &diag);
        return;
    }
    if (set_architecture(m, sl_gguf_kv_find(sl_pack_gguf(pack), "general.architecture"))) {
        set_file_type(m, sl_gguf_kv_find(sl_pack_gguf(pack), "general.file_type"));
        set_type_by_tensors(m, sl_pack_gguf(pack));
    }
    sl_pack_close(pack);
}

/* The keys of a whole header, when those wanted are not among the first bytes. */
static int read_header(struct sl_store_model *m, struct sl_diag *diag)
{
    struct sl_ggufpart part = {0};
    int r = sl_ggufpart_open(&part, m->path, SL_GGUF_HEADLESS, diag);

    if (r < 0)
        return r;
    if (!set_architecture(m, find_kv(&part, "general.architecture")))
        r = sl_diag_set(diag, -EBADMSG, "it names no architecture");
    set_file_type(m, find_kv(&part, "general.file_type"));
    sl_ggufpart_close(&part);
    return r;
}

static int peek(struct sl_store_model *m, const uint8_t *head, uint64_t n, struct sl_diag *diag)
{
    struct sl_ggufpart part = {0};
    int r = sl_ggufpart_peek(&part, head, n, m->bytes, sl_mapping_path_tail(m->path), diag);
    bool is_told = r == 0 && set_architecture(m, find_kv(&part, "general.architecture"));

    if (r == 0)
        set_file_type(m, find_kv(&part, "general.file_type"));
    sl_ggufpart_close(&part);
    if (r < 0 || is_told)
        return r;
    return read_header(m, diag);
}

/* The first bytes of a file, without waiting for what has become a pipe since. */
static int read_head(const char *path, uint8_t *head, size_t *ret_n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n;
    int r;

    if (fd < 0)
        return -errno;
    n = pread(fd, head, PEEK_BYTES, 0);
    r = n < 0 ? -errno : 0;
    close(fd);
    *ret_n = n < 0 ? 0 : (size_t)n;
    return r;
}

void sl_inspect_model(struct sl_store_model *m)
{
    uint8_t head[PEEK_BYTES];
    struct sl_diag diag = {""};
    size_t n = 0;
    int r;

    if (m->is_inspected || !m->path)
        return;
    m->is_inspected = true;
    if (m->state != SL_STORE_OK)
        return;
    r = read_head(m->path, head, &n);
    if (r < 0) {
        sl_store_set_state(m, SL_STORE_UNREADABLE, "%s", strerror(-r));
    } else if (n == 0) {
        sl_store_set_state(m, SL_STORE_BROKEN, "it is empty");
    } else if (memcmp(head, "GGUF", n < 4 ? n : 4) != 0 && sl_pack_detect(m->path)) {
        check_pack(m);
    } else {
        r = peek(m, head, n, &diag);
        if (r < 0)
            set_failure(m, r, &diag);
        else if (m->is_lfm2)
            check_gguf(m);
    }
    set_type_by_name(m);
}

void sl_inspect_all(struct sl_store *store)
{
    for (size_t i = 0; i < store->n_models; i++)
        sl_inspect_model(&store->models[i]);
}

bool sl_inspect_is_usable(const struct sl_store_model *m)
{
    return m->is_inspected && m->state == SL_STORE_OK && m->is_lfm2;
}
