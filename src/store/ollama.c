/*
 * A manifest names blobs by digest and says what each is; the GGUF file is the layer of type
 * application/vnd.ollama.image.model. A list of manifests has one for each program that can
 * run the model, inside or as a blob of its own. A name that is in manifests-v2 and in
 * manifests too means the former.
 *
 * Formats: ollama's types/model/name.go, manifest/manifest.go, manifest/paths.go (2026).
 */
#include "store/ollama.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "store/smallfile.h"
#include "store/walk.h"

#define MANIFEST_BYTES_MAX ((size_t)1 << 20)
#define DIGEST_DIGITS 64
#define LAYER "application/vnd.ollama.image."
#define BLOB "sha256-"
#define PARTIAL "-partial"

struct lister {
    struct sl_store *store;
    int place;
    const char *root;
    size_t first; /* the first model of this place */
    size_t n_v2;  /* ... and behind those of manifests-v2 */
};

const char *sl_ollama_host(const char *host, size_t len)
{
    static const char *const pairs[][2] = {
        {"registry.ollama.ai", SL_OLLAMA_HOST}, {"ollama.com", SL_OLLAMA_HOST},
        {"hf.co", "hf.co"},                     {"huggingface.co", "hf.co"},
    };

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
        if (strlen(pairs[i][0]) == len && !strncasecmp(pairs[i][0], host, len))
            return pairs[i][1];
    return NULL;
}

/* The digits of "sha256:HEX" or "sha256-HEX" in lower case, or false. */
static bool parse_digest(const char *text, char digits[DIGEST_DIGITS + 1])
{
    if (!text || strncmp(text, "sha256", 6) != 0 || (text[6] != ':' && text[6] != '-'))
        return false;
    for (size_t i = 0; i < DIGEST_DIGITS; i++) {
        if (!isxdigit((unsigned char)text[7 + i]))
            return false;
        digits[i] = (char)tolower((unsigned char)text[7 + i]);
    }
    digits[DIGEST_DIGITS] = '\0';
    return text[7 + DIGEST_DIGITS] == '\0';
}

static char *blob_path(const char *root, const char *digits)
{
    char *path = NULL;

    return asprintf(&path, "%s/blobs/" BLOB "%s", root, digits) < 0 ? NULL : path;
}

/* How much of a blob a download has written so far, if one was begun. Its file may be made
 * in full size beforehand, so blocks count. */
static bool find_partial(const char *root, const char *digits, uint64_t *ret_bytes)
{
    char *path = NULL;
    struct stat st;
    bool is_there;

    if (asprintf(&path, "%s/blobs/" BLOB "%s" PARTIAL, root, digits) < 0)
        return false;
    is_there = stat(path, &st) == 0;
    if (is_there)
        *ret_bytes = (uint64_t)st.st_blocks * 512;
    free(path);
    return is_there;
}

static void look_at_blob(const struct lister *l, struct sl_store_model *m, int64_t size)
{
    uint64_t partial = 0;
    struct stat st;

    if (stat(m->path, &st) != 0) {
        int error = errno;

        if (error == ENOENT && find_partial(l->root, m->digest, &partial)) {
            sl_store_set_state(m, SL_STORE_PARTIAL, "its download is not finished");
            m->bytes = partial;
        } else if (error == ENOENT) {
            sl_store_set_state(m, SL_STORE_BROKEN, "its blob is missing");
        } else {
            sl_store_set_state(m, SL_STORE_UNREADABLE, "%s", strerror(error));
        }
        return;
    }
    m->dev = st.st_dev;
    m->ino = st.st_ino;
    m->bytes = (uint64_t)st.st_size;
    if (!S_ISREG(st.st_mode))
        sl_store_set_state(m, SL_STORE_BROKEN, "its blob is not a regular file");
    else if (size >= 0 && size != st.st_size)
        sl_store_set_state(m, SL_STORE_PARTIAL,
                           "%" PRIu64 " bytes of %" PRId64 " are there", m->bytes, size);
}

/* What the layers of a manifest are. */
struct layers {
    const struct sl_json *model; /* the first of its type */
    uint32_t n_models, n_adapters;
};

static struct layers find_layers(const struct sl_json *manifest)
{
    const struct sl_json *list = sl_json_find(manifest, "layers");
    struct layers ret = {0};

    for (size_t i = 0; i < sl_json_n_items(list); i++) {
        const struct sl_json *layer = sl_json_item(list, i);
        const char *type = sl_json_get_string(sl_json_find(layer, "mediaType"), NULL);

        if (!type)
            continue;
        if (!strcmp(type, LAYER "model")) {
            if (!ret.model)
                ret.model = layer;
            ret.n_models++;
        }
        ret.n_adapters += !strcmp(type, LAYER "adapter");
    }
    return ret;
}

/* Fill in m from a manifest that holds layers. */
static void read_layers(const struct lister *l, struct sl_store_model *m,
                        const struct sl_json *manifest)
{
    struct layers layers = find_layers(manifest);
    const char *text = sl_json_get_string(sl_json_find(layers.model, "digest"), NULL);
    char digits[DIGEST_DIGITS + 1];
    int64_t size = -1;

    if (!layers.model) {
        if (sl_json_is(sl_json_find(manifest, "layers"), SL_JSON_ARRAY))
            sl_store_set_state(m, SL_STORE_BROKEN,
                               "no GGUF file: of another format, or it runs elsewhere");
        else
            sl_store_set_state(m, SL_STORE_BROKEN, "its manifest has no list of layers");
        return;
    }
    if (!parse_digest(text, digits)) {
        sl_store_set_state(m, SL_STORE_BROKEN, "its manifest has no digest of the weights");
        return;
    }
    m->digest = strdup(digits);
    m->path = blob_path(l->root, digits);
    m->file = m->path ? strdup(strrchr(m->path, '/') + 1) : NULL;
    if (!m->digest || !m->path || !m->file) {
        l->store->error = -ENOMEM;
        return;
    }
    (void)sl_json_get_i64(sl_json_find(layers.model, "size"), &size);
    look_at_blob(l, m, size);
    if (m->state == SL_STORE_OK && layers.n_models > 1)
        sl_store_set_state(m, SL_STORE_BROKEN, "in %u files of weights, which is not supported",
                           layers.n_models);
    else if (m->state == SL_STORE_OK && layers.n_adapters)
        sl_store_set_state(m, SL_STORE_BROKEN, "with an adapter, which is not supported");
}

static int read_json(const char *path, struct sl_json_doc **ret_doc)
{
    char *text;
    size_t len;
    int r = sl_smallfile_read(path, MANIFEST_BYTES_MAX, &text, &len);

    if (r < 0)
        return r;
    r = sl_json_parse(ret_doc, text, len, NULL);
    free(text);
    return r;
}

/* One of a list of manifests: that of the program that reads GGUF. */
static void read_list(const struct lister *l, struct sl_store_model *m,
                      const struct sl_json *list)
{
    struct sl_json_doc *doc = NULL;
    char digits[DIGEST_DIGITS + 1];

    for (size_t i = 0; i < sl_json_n_items(list); i++) {
        const struct sl_json *child = sl_json_item(list, i);
        const char *runner = sl_json_get_string(sl_json_find(child, "runner"), NULL);
        const char *digest = sl_json_get_string(sl_json_find(child, "digest"), NULL);
        char *path;

        if (runner && !strcasecmp(runner, "mlx"))
            continue;
        if (sl_json_find(child, "layers")) {
            read_layers(l, m, child);
            return;
        }
        if (!parse_digest(digest, digits))
            continue;
        path = blob_path(l->root, digits);
        if (path && read_json(path, &doc) == 0)
            read_layers(l, m, sl_json_root(doc));
        else
            sl_store_set_state(m, SL_STORE_BROKEN, "its manifest cannot be read");
        sl_json_free(doc);
        free(path);
        return;
    }
    sl_store_set_state(m, SL_STORE_BROKEN, "no GGUF file: of another format");
}

static void read_manifest(const struct lister *l, struct sl_store_model *m, const char *path)
{
    struct sl_json_doc *doc = NULL;
    const struct sl_json *list;
    int r = read_json(path, &doc);

    if (r == -EBADMSG || r == -EFBIG || r == -E2BIG) {
        sl_store_set_state(m, SL_STORE_BROKEN, "its manifest is malformed");
    } else if (r == -ENOENT) {
        sl_store_set_state(m, SL_STORE_BROKEN, "its manifest is a link to nothing");
    } else if (r < 0) {
        sl_store_set_state(m, SL_STORE_UNREADABLE, "its manifest: %s", strerror(-r));
    } else {
        list = sl_json_find(sl_json_root(doc), "manifests");
        if (sl_json_is(list, SL_JSON_ARRAY))
            read_list(l, m, list);
        else
            read_layers(l, m, sl_json_root(doc));
    }
    sl_json_free(doc);
}

/* Whether manifests-v2 has this name. */
static bool is_there(const struct lister *l, const struct sl_store_model *m)
{
    for (size_t i = l->first; i < l->n_v2; i++)
        if (!strcasecmp(l->store->models[i].repo, m->repo) &&
            !strcasecmp(l->store->models[i].tag, m->tag))
            return true;
    return false;
}

/* path: the manifest, .../HOST/NAMESPACE/MODEL/TAG. */
static int add(const struct lister *l, const char *path, char *const parts[4])
{
    const char *host = sl_ollama_host(parts[0], strlen(parts[0]));
    struct sl_store_model m = {.kind = SL_STORE_OLLAMA, .n_parts = 1, .tag = parts[3]};
    int r = 0;

    if (asprintf(&m.repo, "%s/%s/%s", host ? host : parts[0], parts[1], parts[2]) < 0)
        return -ENOMEM;
    if (!is_there(l, &m)) {
        read_manifest(l, &m, path);
        if (!sl_store_add(l->store, &m))
            r = l->store->error ? l->store->error : -E2BIG;
    }
    free(m.repo);
    free(m.path);
    free(m.file);
    free(m.digest);
    free(m.note);
    return r;
}

/* The folders of host, namespace and model, then the manifests of its tags. */
static int list_level(const struct lister *l, const char *dir, char *parts[4], int level)
{
    char **names = NULL;
    int n = sl_walk_names(dir, &names);
    int r = 0;

    if (n < 0) {
        if (n != -ENOTDIR && n != -ENOENT && n != -ENOMEM) /* a stray file is no folder */
            sl_store_note_place(l->store, l->place, SL_STORE_DENIED, "%s: %s", dir,
                                strerror(-n));
        return n == -ENOMEM ? n : 0;
    }
    for (int i = 0; i < n && r == 0; i++) {
        char *path = NULL;

        if (names[i][0] == '.')
            continue;
        if (asprintf(&path, "%s/%s", dir, names[i]) < 0) {
            r = -ENOMEM;
            break;
        }
        parts[level] = names[i];
        r = level == 3 ? add(l, path, parts) : list_level(l, path, parts, level + 1);
        free(path);
    }
    sl_walk_free_names(names, n);
    return r;
}

static int list_manifests(const struct lister *l, const char *name)
{
    char *dir = NULL, *parts[4];
    int r;

    if (asprintf(&dir, "%s/%s", l->root, name) < 0)
        return -ENOMEM;
    r = list_level(l, dir, parts, 0);
    free(dir);
    return r;
}

/* Downloads get a manifest when they are complete; until then there are blobs alone. */
static int list_partials(const struct lister *l)
{
    char *dir = NULL, **names = NULL;
    char digits[DIGEST_DIGITS + 1];
    int n, r = 0;

    if (asprintf(&dir, "%s/blobs", l->root) < 0)
        return -ENOMEM;
    n = sl_walk_names(dir, &names);
    if (n < 0 && n != -ENOENT)
        sl_store_note_place(l->store, l->place, SL_STORE_DENIED, "%s: %s", dir, strerror(-n));
    for (int i = 0; i < n && r == 0; i++) {
        size_t len = strlen(names[i]);
        struct sl_store_model m = {.kind = SL_STORE_OLLAMA, .state = SL_STORE_PARTIAL,
                                   .tag = names[i], .digest = digits, .n_parts = 1};
        struct sl_store_model *added;

        if (len != strlen(BLOB) + DIGEST_DIGITS + strlen(PARTIAL) ||
            strcmp(names[i] + len - strlen(PARTIAL), PARTIAL) != 0)
            continue;
        names[i][len - strlen(PARTIAL)] = '\0';
        if (!parse_digest(names[i], digits) || !find_partial(l->root, digits, &m.bytes))
            continue;
        added = sl_store_add(l->store, &m);
        if (added)
            sl_store_set_state(added, SL_STORE_PARTIAL, "a download that is not finished");
        else
            r = l->store->error ? l->store->error : -E2BIG;
    }
    sl_walk_free_names(names, n);
    free(dir);
    return r;
}

int sl_ollama_list(struct sl_store *store, const char *root)
{
    struct lister l = {.store = store, .root = root, .first = store->n_models};
    int r;

    l.place = sl_store_add_place(store, SL_STORE_OLLAMA, root);
    if (l.place < 0)
        return l.place;
    l.n_v2 = l.first;
    r = list_manifests(&l, "manifests-v2");
    l.n_v2 = store->n_models;
    if (r == 0)
        r = list_manifests(&l, "manifests");
    if (r == 0)
        r = list_partials(&l);
    if (r == -E2BIG)
        sl_store_note_place(store, l.place, SL_STORE_THERE, "more than %u models",
                            SL_STORE_MODELS_MAX);
    return r == -ENOMEM ? r : 0;
}
