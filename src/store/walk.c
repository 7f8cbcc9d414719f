/*
 * A folder is read whole, then its models are told, then its folders are entered. A folder
 * that is its own ancestor (a link upwards) is not entered again; one that is reached by two
 * ways is listed twice, and sl_store_finish drops the double.
 */
#include "store/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/growing.h"

struct entry {
    char *name;
    struct sl_modelfile_name parsed;
    struct stat st;
    int error;
    bool is_taken; /* told, as a part of a model */
};

struct folder {
    const struct folder *above; /* NULL: this is the root */
    const char *dir;            /* as sl_walk_model has it */
    int fd;
    dev_t dev;
    ino_t ino;
    uint32_t depth;
    struct entry *files; /* of models */
    size_t n_files, cap_files;
    char **folders; /* names */
    size_t n_folders, cap_folders;
};

static int add_file(struct folder *f, const char *name, struct sl_modelfile_name parsed)
{
    struct entry e = {.parsed = parsed};

    if (!sl_growing_room((void **)&f->files, f->n_files, &f->cap_files, sizeof(*f->files)))
        return -ENOMEM;
    e.name = strdup(name);
    if (!e.name)
        return -ENOMEM;
    if (fstatat(f->fd, name, &e.st, 0) != 0) {
        e.error = -errno;
        (void)fstatat(f->fd, name, &e.st, AT_SYMLINK_NOFOLLOW); /* to know a double by */
    }
    f->files[f->n_files++] = e;
    return 0;
}

static int add_folder(struct folder *f, const char *name)
{
    if (!sl_growing_room((void **)&f->folders, f->n_folders, &f->cap_folders, sizeof(*f->folders)))
        return -ENOMEM;
    f->folders[f->n_folders] = strdup(name);
    return f->folders[f->n_folders++] ? 0 : -ENOMEM;
}

static bool is_folder(const struct folder *f, const struct dirent *d)
{
    struct stat st;

    if (d->d_type == DT_DIR)
        return true;
    if (d->d_type != DT_LNK && d->d_type != DT_UNKNOWN)
        return false;
    return fstatat(f->fd, d->d_name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

static int take(struct sl_walk *walk, struct folder *f, const struct dirent *d)
{
    struct sl_modelfile_name parsed;

    if (d->d_name[0] == '.' || !strncmp(d->d_name, "models--", 8))
        return 0;
    if (++walk->n_entries > SL_WALK_ENTRIES_MAX)
        return -E2BIG;
    if (d->d_type != DT_REG && is_folder(f, d))
        return add_folder(f, d->d_name);
    parsed = sl_modelfile_parse(d->d_name);
    return parsed.kind == SL_MODELFILE_NONE ? 0 : add_file(f, d->d_name, parsed);
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_folder(struct sl_walk *walk, struct folder *f)
{
    int copy = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
    DIR *stream = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *d;
    int r = 0;

    if (!stream) {
        r = -errno;
        if (copy >= 0)
            close(copy);
        return r;
    }
    while (r == 0) {
        errno = 0;
        d = readdir(stream);
        if (!d) {
            r = -errno; /* 0: that was all */
            break;
        }
        r = take(walk, f, d);
    }
    closedir(stream);
    if (f->n_files)
        qsort(f->files, f->n_files, sizeof(*f->files), compare_files);
    if (f->n_folders)
        qsort(f->folders, f->n_folders, sizeof(*f->folders), compare_names);
    return r;
}

static bool same_model(const struct entry *a, const struct entry *b)
{
    return a->parsed.stem_len == b->parsed.stem_len && a->parsed.n_parts == b->parsed.n_parts &&
           a->parsed.kind == b->parsed.kind &&
           !strncmp(a->name, b->name, a->parsed.stem_len);
}

static void count_part(struct sl_walk_model *m, const struct entry *e)
{
    if (!m->st.st_ino)
        m->st = e->st;
    if (e->error == 0 && S_ISREG(e->st.st_mode)) {
        m->bytes += (uint64_t)e->st.st_size;
    } else if (m->error == 0) {
        m->part_missing = e->parsed.part;
        m->error = e->error ? e->error : S_ISDIR(e->st.st_mode) ? -EISDIR : -ENOTSUP;
    }
}

/* The model whose first part in order of names is file i. */
static int tell_model(struct sl_walk *walk, struct folder *f, size_t i)
{
    struct entry *first = &f->files[i];
    struct sl_walk_model m = {.dir = f->dir, .file = first->name, .name = first->parsed};
    uint32_t expected = 1;

    for (size_t k = i; k < f->n_files; k++) {
        struct entry *e = &f->files[k];

        if (strncmp(e->name, first->name, first->parsed.stem_len) != 0)
            break; /* names in order: nothing of it follows */
        if (k != i && (first->parsed.n_parts == 1 || !same_model(first, e)))
            continue;
        if (e->parsed.part > expected && m.error == 0) {
            m.part_missing = expected;
            m.error = -ENOENT;
        }
        expected = e->parsed.part + 1;
        count_part(&m, e);
        e->is_taken = true;
        if (first->parsed.n_parts == 1)
            break;
    }
    if (expected <= first->parsed.n_parts && m.error == 0) {
        m.part_missing = expected;
        m.error = -ENOENT;
    }
    return walk->model(walk->arg, &m);
}

static void free_folder(struct folder *f)
{
    for (size_t i = 0; i < f->n_files; i++)
        free(f->files[i].name);
    for (size_t i = 0; i < f->n_folders; i++)
        free(f->folders[i]);
    free(f->files);
    free(f->folders);
    close(f->fd);
}

static bool is_loop(const struct folder *f)
{
    for (const struct folder *a = f->above; a; a = a->above)
        if (a->dev == f->dev && a->ino == f->ino)
            return true;
    return false;
}

static void tell_denied(const struct sl_walk *walk, const char *dir, int error)
{
    if (walk->denied)
        walk->denied(walk->arg, dir, error);
}

static int walk_folder(struct sl_walk *walk, struct folder *f);

static int enter(struct sl_walk *walk, const struct folder *above, const char *name)
{
    struct folder f = {.above = above, .depth = above->depth + 1};
    struct stat st;
    char *dir = NULL;
    int r = 0;

    if (f.depth > SL_WALK_DEPTH_MAX)
        return 0;
    if (asprintf(&dir, "%s%s%s", above->dir, above->dir[0] ? "/" : "", name) < 0)
        return -ENOMEM;
    f.dir = dir;
    f.fd = openat(above->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    if (f.fd < 0) {
        tell_denied(walk, dir, -errno);
        free(dir);
        return 0;
    }
    if (fstat(f.fd, &st) == 0) {
        f.dev = st.st_dev;
        f.ino = st.st_ino;
        if (!is_loop(&f))
            r = walk_folder(walk, &f);
    }
    free_folder(&f);
    free(dir);
    return r;
}

static int walk_folder(struct sl_walk *walk, struct folder *f)
{
    int r = read_folder(walk, f);

    if (r < 0 && r != -ENOMEM && r != -E2BIG) {
        tell_denied(walk, f->dir, r);
        r = 0;
    }
    for (size_t i = 0; i < f->n_files && (r == 0 || r == -E2BIG); i++) {
        int told = f->files[i].is_taken ? 0 : tell_model(walk, f, i);

        if (told)
            r = told;
    }
    for (size_t i = 0; i < f->n_folders && r == 0; i++)
        r = enter(walk, f, f->folders[i]);
    return r;
}

int sl_walk_run(struct sl_walk *walk, const char *root)
{
    struct folder f = {.dir = ""};
    struct stat st;
    int r;

    f.fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f.fd < 0)
        return -errno;
    r = fstat(f.fd, &st) == 0 ? 0 : -errno;
    f.dev = st.st_dev;
    f.ino = st.st_ino;
    if (r == 0)
        r = walk_folder(walk, &f);
    free_folder(&f);
    return r;
}

int sl_walk_names(const char *path, char ***ret_names)
{
    DIR *stream = opendir(path);
    char **names = NULL;
    size_t n = 0, cap = 0;
    int r = 0;

    if (!stream)
        return -errno;
    while (n < SL_WALK_ENTRIES_MAX) {
        const struct dirent *d;

        errno = 0;
        d = readdir(stream);
        if (!d) {
            r = -errno;
            break;
        }
        if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
            continue;
        r = sl_growing_room((void **)&names, n, &cap, sizeof(*names)) ? 0 : -ENOMEM;
        if (r == 0)
            names[n] = strdup(d->d_name);
        if (r < 0 || !names[n]) {
            r = -ENOMEM;
            break;
        }
        n++;
    }
    closedir(stream);
    if (r < 0) {
        sl_walk_free_names(names, (int)n);
        return r;
    }
    if (n)
        qsort(names, n, sizeof(*names), compare_names);
    *ret_names = names;
    return (int)n;
}

void sl_walk_free_names(char **names, int n)
{
    if (n < 0)
        return;
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
}
