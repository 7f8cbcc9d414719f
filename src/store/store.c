/* Names: a repo and its tag. Where two models of a store would get the same, they are named
 * by their files, and in plain folders by their paths. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "store/growing.h"

static void free_model(struct sl_store_model *m)
{
    free(m->note);
    free(m->name);
    free(m->repo);
    free(m->revision);
    free(m->tag);
    free(m->file);
    free(m->path);
    free(m->digest);
}

void sl_store_done(struct sl_store *store)
{
    for (size_t i = 0; i < store->n_models; i++)
        free_model(&store->models[i]);
    for (size_t i = 0; i < store->n_places; i++) {
        free(store->places[i].path);
        free(store->places[i].note);
    }
    free(store->models);
    free(store->places);
    *store = (struct sl_store){0};
}

const char *sl_store_kind_name(enum sl_store_kind kind)
{
    static const char *const names[] = {
        [SL_STORE_HF] = "Hugging Face",
        [SL_STORE_OLLAMA] = "Ollama",
        [SL_STORE_LMSTUDIO] = "LM Studio",
        [SL_STORE_FOLDER] = "folder",
    };

    return names[kind];
}

const char *sl_store_kind_key(enum sl_store_kind kind)
{
    static const char *const keys[] = {
        [SL_STORE_HF] = "huggingface",
        [SL_STORE_OLLAMA] = "ollama",
        [SL_STORE_LMSTUDIO] = "lmstudio",
        [SL_STORE_FOLDER] = "folder",
    };

    return keys[kind];
}

const char *sl_store_state_key(enum sl_store_state state)
{
    static const char *const keys[] = {
        [SL_STORE_OK] = "ok",
        [SL_STORE_PARTIAL] = "partial",
        [SL_STORE_BROKEN] = "broken",
        [SL_STORE_UNREADABLE] = "unreadable",
    };

    return keys[state];
}

/* Room for one more entry. */
static bool grow(struct sl_store *store, void **array, size_t n, size_t *cap, size_t entry_bytes)
{
    if (sl_growing_room(array, n, cap, entry_bytes))
        return true;
    store->error = -ENOMEM;
    return false;
}

static int find_place(const struct sl_store *store, enum sl_store_kind kind,
                      const struct stat *st)
{
    for (size_t i = 0; i < store->n_places; i++)
        if (store->places[i].kind == kind && store->places[i].access != SL_STORE_ABSENT &&
            store->places[i].dev == st->st_dev && store->places[i].ino == st->st_ino)
            return (int)i;
    return -1;
}

/* What keeps a folder from being listed: 0 or a negative errno. */
static int check_folder(const char *path, struct stat *ret_st)
{
    int fd, r;

    if (stat(path, ret_st) != 0)
        return -errno;
    if (!S_ISDIR(ret_st->st_mode))
        return -ENOTDIR;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = faccessat(fd, ".", X_OK, AT_EACCESS) == 0 ? 0 : -errno;
    close(fd);
    return r;
}

int sl_store_add_place(struct sl_store *store, enum sl_store_kind kind, const char *path)
{
    struct sl_store_place place = {.kind = kind};
    struct stat st = {0};
    int r = check_folder(path, &st);

    if (st.st_ino && find_place(store, kind, &st) >= 0)
        return -EEXIST;
    if (!grow(store, (void **)&store->places, store->n_places, &store->cap_places,
              sizeof(*store->places)))
        return -ENOMEM;
    place.path = strdup(path);
    if (!place.path) {
        store->error = -ENOMEM;
        return -ENOMEM;
    }
    place.access = r == 0 ? SL_STORE_THERE : r == -ENOENT ? SL_STORE_ABSENT : SL_STORE_DENIED;
    place.dev = st.st_dev;
    place.ino = st.st_ino;
    store->places[store->n_places++] = place;
    if (place.access == SL_STORE_DENIED)
        sl_store_note_place(store, (int)store->n_places - 1, SL_STORE_DENIED, "%s",
                            r == -EACCES ? "found, but this user may not read it" : strerror(-r));
    return r == 0 ? (int)store->n_places - 1 : r;
}

void sl_store_note_place(struct sl_store *store, int place, enum sl_store_access access,
                         const char *fmt, ...)
{
    struct sl_store_place *p = &store->places[place];
    va_list args;

    if (access == SL_STORE_DENIED)
        p->access = access;
    if (p->note)
        return;
    va_start(args, fmt);
    if (vasprintf(&p->note, fmt, args) < 0) {
        p->note = NULL;
        store->error = -ENOMEM;
    }
    va_end(args);
}

static char *copy(struct sl_store *store, const char *text)
{
    char *heap = text ? strdup(text) : NULL;

    if (text && !heap)
        store->error = -ENOMEM;
    return heap;
}

struct sl_store_model *sl_store_add(struct sl_store *store, const struct sl_store_model *model)
{
    struct sl_store_model m = *model;

    if (store->n_models >= SL_STORE_MODELS_MAX ||
        !grow(store, (void **)&store->models, store->n_models, &store->cap_models, sizeof(m)))
        return NULL;
    m.name = NULL;
    m.note = copy(store, model->note);
    m.repo = copy(store, model->repo ? model->repo : "");
    m.revision = copy(store, model->revision ? model->revision : "");
    m.tag = copy(store, model->tag ? model->tag : "");
    m.file = copy(store, model->file);
    m.path = copy(store, model->path);
    m.digest = copy(store, model->digest);
    if (store->error) {
        free_model(&m);
        return NULL;
    }
    store->models[store->n_models] = m;
    return &store->models[store->n_models++];
}

void sl_store_set_state(struct sl_store_model *model, enum sl_store_state state,
                        const char *fmt, ...)
{
    char text[SL_DIAG_BYTES];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* a cut text will do */
    va_end(args);
    free(model->note);
    model->note = strdup(text); /* without memory the state alone says it */
    model->state = state;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* "library/" and Ollama's own host are not said. */
static const char *short_repo(const struct sl_store_model *m)
{
    static const char own[] = "registry.ollama.ai/";
    static const char library[] = "library/";
    const char *repo = m->repo;

    if (m->kind != SL_STORE_OLLAMA || strncmp(repo, own, sizeof(own) - 1) != 0)
        return repo;
    repo += sizeof(own) - 1;
    return strncmp(repo, library, sizeof(library) - 1) ? repo : repo + sizeof(library) - 1;
}

/* level 0: the short name; 1: where several have that. NULL: no memory. */
static char *make_name(const struct sl_store_model *m, int level)
{
    const char *tag = level && m->file ? m->file : m->tag;
    char *name = NULL;
    int len;

    if (m->kind == SL_STORE_FOLDER)
        return strdup(level && m->path ? m->path : base_name(m->file ? m->file : ""));
    if (m->kind == SL_STORE_OLLAMA)
        tag = m->tag;
    len = asprintf(&name, "%s%s%s%s%s", short_repo(m), m->revision[0] ? "@" : "", m->revision,
                   tag[0] && m->repo[0] ? ":" : "", tag);
    return len < 0 ? NULL : name;
}

static int compare(const void *a, const void *b)
{
    const struct sl_store_model *x = a, *y = b;
    int d = (int)x->kind - (int)y->kind;

    if (d == 0)
        d = strcasecmp(x->name, y->name);
    if (d == 0)
        d = (x->dev > y->dev) - (x->dev < y->dev);
    if (d == 0)
        d = (x->ino > y->ino) - (x->ino < y->ino);
    return d ? d : strcmp(x->path ? x->path : "", y->path ? y->path : "");
}

static bool same_name(const struct sl_store_model *x, const struct sl_store_model *y)
{
    return x->kind == y->kind && !strcasecmp(x->name, y->name);
}

/* A file that is reached by two paths, as folders within folders are, is listed once. What
 * is in order has them side by side. */
static void drop_doubles(struct sl_store *store)
{
    struct sl_store_model *models = store->models;
    size_t n = 0;

    for (size_t i = 0; i < store->n_models; i++) {
        if (n && models[i].ino && same_name(&models[n - 1], &models[i]) &&
            models[n - 1].dev == models[i].dev && models[n - 1].ino == models[i].ino &&
            models[i].kind == SL_STORE_FOLDER)
            free_model(&models[i]);
        else
            models[n++] = models[i];
    }
    store->n_models = n;
}

static void sort(struct sl_store *store)
{
    if (store->n_models)
        qsort(store->models, store->n_models, sizeof(*store->models), compare);
}

void sl_store_finish(struct sl_store *store)
{
    struct sl_store_model *models = store->models;
    size_t n = 0, begin = 0;

    for (size_t i = 0; i < store->n_models; i++) {
        models[n] = models[i];
        models[n].name = make_name(&models[n], 0);
        if (models[n].name) {
            n++;
        } else {
            free_model(&models[n]);
            store->error = -ENOMEM;
        }
    }
    store->n_models = n;
    sort(store);
    drop_doubles(store);
    for (size_t i = 1; i <= store->n_models; i++) {
        if (i < store->n_models && same_name(&models[i - 1], &models[i]))
            continue;
        for (size_t k = begin; k < i && i - begin > 1; k++) {
            char *longer = make_name(&models[k], 1);

            if (longer) {
                free(models[k].name);
                models[k].name = longer;
            }
        }
        begin = i;
    }
    sort(store);
}
