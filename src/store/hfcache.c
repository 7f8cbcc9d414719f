/*
 * Of a repo the snapshot of refs/main is current: its models need no revision in their names.
 * Those of other snapshots are listed where they are other files, with the name of their
 * reference or the first digits of their commit. Without a refs/main the snapshot that was
 * made last is current.
 */
#include "store/hfcache.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/folder.h"
#include "store/growing.h"
#include "store/smallfile.h"

#define PREFIX "models--"
#define COMMIT_DIGITS 40
#define SHOWN_DIGITS 12 /* of a commit, in names */
#define DIGEST_DIGITS 64
#define REF_DEPTH_MAX 4

struct ref {
    char *name; /* "main", "refs/pr/1" */
    char commit[COMMIT_DIGITS + 1];
};

struct repo {
    struct sl_folder_at at; /* root: of the snapshot that is being listed; first member */
    char *path;
    char *id; /* "user/repo" */
    struct ref *refs;
    size_t n_refs, cap_refs;
    const char *revision; /* of that snapshot; "": the current one */
    size_t first;         /* its first model in the list */
};

static bool is_hex(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isxdigit((unsigned char)text[i]))
            return false;
    return true;
}

static char *join(const char *dir, const char *name)
{
    char *path = NULL;

    return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

/* The commit in a file of a reference: 40 hexadecimal digits, perhaps a line end. */
static bool read_commit(const char *path, char commit[COMMIT_DIGITS + 1])
{
    char *text;
    size_t len;
    bool is_one;

    if (sl_smallfile_read(path, 256, &text, &len) < 0)
        return false;
    is_one = len >= COMMIT_DIGITS && is_hex(text, COMMIT_DIGITS) &&
             text[COMMIT_DIGITS + strspn(text + COMMIT_DIGITS, " \r\n")] == '\0';
    if (is_one)
        memcpy(commit, text, COMMIT_DIGITS);
    free(text);
    return is_one;
}

static int add_ref(struct repo *repo, const char *path, const char *name)
{
    struct ref ref = {0};

    if (!read_commit(path, ref.commit))
        return 0;
    ref.name = strdup(name);
    if (!ref.name || !sl_growing_room((void **)&repo->refs, repo->n_refs, &repo->cap_refs,
                                      sizeof(*repo->refs))) {
        free(ref.name);
        return -ENOMEM;
    }
    repo->refs[repo->n_refs++] = ref;
    return 0;
}

/* References lie in folders as deep as their names have slashes. */
static int read_refs(struct repo *repo, const char *dir, const char *prefix, int depth)
{
    char **names = NULL;
    int n = sl_walk_names(dir, &names);
    int r = 0;

    for (int i = 0; i < n && r == 0; i++) {
        char *path = join(dir, names[i]), *name = NULL;
        struct stat st;

        if (!path || asprintf(&name, "%s%s", prefix, names[i]) < 0) {
            r = -ENOMEM;
            name = NULL;
        } else if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            char *below = NULL;

            if (depth < REF_DEPTH_MAX && asprintf(&below, "%s/", name) >= 0)
                r = read_refs(repo, path, below, depth + 1);
            free(below);
        } else {
            r = add_ref(repo, path, name);
        }
        free(path);
        free(name);
    }
    sl_walk_free_names(names, n);
    return r;
}

static const struct ref *find_ref(const struct repo *repo, const char *commit)
{
    for (size_t i = 0; i < repo->n_refs; i++)
        if (!strcasecmp(repo->refs[i].commit, commit))
            return &repo->refs[i];
    return NULL;
}

static const char *main_commit(const struct repo *repo)
{
    for (size_t i = 0; i < repo->n_refs; i++)
        if (!strcmp(repo->refs[i].name, "main"))
            return repo->refs[i].commit;
    return NULL;
}

/* What a link in a snapshot says of its blob: the digest, if the blob is named by one, and
 * whether a download of it was begun. */
static void read_link(const struct sl_folder_at *at, const struct sl_walk_model *found,
                      char digest[DIGEST_DIGITS + 1], bool *ret_is_begun)
{
    static const char *const endings[] = {".incomplete", ".downloadInProgress"};
    char *dir = join(at->root, found->dir), *path = dir ? join(dir, found->file) : NULL;
    char target[512];
    ssize_t len = path ? readlink(path, target, sizeof(target) - 32) : -1;
    const char *slash;

    digest[0] = '\0';
    *ret_is_begun = false;
    if (len > 0) {
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        target[len] = '\0';
        slash = strrchr(target, '/');
        slash = slash ? slash + 1 : target;
        if (strlen(slash) == DIGEST_DIGITS && is_hex(slash, DIGEST_DIGITS))
            memcpy(digest, slash, DIGEST_DIGITS + 1);
        for (size_t i = 0; fd >= 0 && i < 2; i++) {
            strcpy(target + len, endings[i]); /* there is room */
            *ret_is_begun |= faccessat(fd, target, F_OK, 0) == 0;
        }
        if (fd >= 0)
            close(fd);
    }
    free(path);
    free(dir);
}

/* Whether a snapshot listed before has this very file under this name. */
static bool is_listed(const struct repo *repo, const char *file, const struct sl_walk_model *found)
{
    for (size_t i = repo->first; i < repo->at.store->n_models; i++) {
        const struct sl_store_model *m = &repo->at.store->models[i];

        if (m->ino == found->st.st_ino && m->dev == found->st.st_dev && m->file &&
            !strcmp(m->file, file))
            return true;
    }
    return false;
}

static int add(void *arg, const struct sl_walk_model *found)
{
    struct repo *repo = arg;
    struct sl_store *store = repo->at.store;
    char digest[DIGEST_DIGITS + 1];
    struct sl_store_model m = {.kind = SL_STORE_HF, .repo = repo->id,
                               .revision = (char *)repo->revision};
    bool is_begun;
    char *file = NULL;
    int r = 0;

    if (asprintf(&file, "%s%s%s", found->dir, found->dir[0] ? "/" : "", found->file) < 0)
        return -ENOMEM;
    m.file = file;
    if (!repo->revision[0] || !is_listed(repo, file, found)) {
        read_link(&repo->at, found, digest, &is_begun);
        m.digest = digest[0] && found->name.n_parts == 1 ? digest : NULL;
        r = sl_folder_add(store, &m, repo->at.root, found);
        if (r == 0 && is_begun && found->error == -ENOENT)
            sl_store_set_state(&store->models[store->n_models - 1], SL_STORE_PARTIAL,
                               "its download is not finished");
    }
    free(file);
    return r;
}

static int list_snapshot(struct repo *repo, const char *commit, bool is_current)
{
    struct sl_walk walk = {.model = add, .denied = sl_folder_denied, .arg = repo};
    const struct ref *ref = find_ref(repo, commit);
    char shown[SHOWN_DIGITS + 1] = "";
    char *path = NULL;
    int r;

    if (asprintf(&path, "%s/snapshots/%s", repo->path, commit) < 0)
        return -ENOMEM;
    (void)snprintf(shown, sizeof(shown), "%s", commit); /* its first digits */
    repo->revision = is_current ? "" : ref ? ref->name : shown;
    repo->at.root = path;
    r = sl_walk_run(&walk, path);
    if (r != -ENOTDIR && r != -ENOENT) /* a stray file, a link to nothing */
        sl_folder_note_end(repo->at.store, repo->at.place, r);
    free(path);
    return r == -ENOMEM ? r : 0;
}

/* Which of n snapshots is current, or -1. */
static int find_current(const struct repo *repo, const char *dir, char **names, int n)
{
    const char *commit = main_commit(repo);
    time_t newest = 0;
    int found = -1;

    for (int i = 0; i < n && commit; i++)
        if (!strcasecmp(names[i], commit))
            return i;
    for (int i = 0; i < n && !commit; i++) {
        char *path = join(dir, names[i]);
        struct stat st;

        if (path && stat(path, &st) == 0 && (found < 0 || st.st_mtime > newest)) {
            newest = st.st_mtime;
            found = i;
        }
        free(path);
    }
    return found;
}

static int list_snapshots(struct repo *repo)
{
    char *dir = join(repo->path, "snapshots"), **names = NULL;
    int n = dir ? sl_walk_names(dir, &names) : -ENOMEM;
    int current, r = n == -ENOMEM ? n : 0;

    if (n < 0 && n != -ENOENT && n != -ENOTDIR && n != -ENOMEM)
        sl_store_note_place(repo->at.store, repo->at.place, SL_STORE_DENIED, "%s: %s", dir,
                            strerror(-n));
    current = n > 0 ? find_current(repo, dir, names, n) : -1;
    if (current >= 0)
        r = list_snapshot(repo, names[current], true);
    for (int i = 0; i < n && r == 0; i++)
        if (i != current)
            r = list_snapshot(repo, names[i], false);
    sl_walk_free_names(names, n);
    free(dir);
    return r;
}

static bool begins_as_gguf(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char head[4];
    bool is = fd >= 0 && read(fd, head, 4) == 4 && !memcmp(head, "GGUF", 4);

    if (fd >= 0)
        close(fd);
    return is;
}

static bool is_partial(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && (!strcmp(dot, ".incomplete") || !strcmp(dot, ".downloadInProgress"));
}

/* Whether one of the repo's models is listed as unfinished already, by name. */
static bool has_partial(const struct repo *repo)
{
    for (size_t i = repo->first; i < repo->at.store->n_models; i++)
        if (repo->at.store->models[i].state == SL_STORE_PARTIAL)
            return true;
    return false;
}

/* Downloads of GGUF files that have no snapshot yet: one entry for all of a repo. */
static int list_partials(const struct repo *repo)
{
    struct sl_store_model *added, m = {.kind = SL_STORE_HF, .repo = repo->id, .n_parts = 1};
    char *dir = join(repo->path, "blobs"), **names = NULL;
    int n = dir ? sl_walk_names(dir, &names) : -ENOMEM;
    bool is_told = has_partial(repo);
    int n_found = 0;

    for (int i = 0; i < n && !is_told; i++) {
        char *path = is_partial(names[i]) ? join(dir, names[i]) : NULL;
        struct stat st;

        if (path && begins_as_gguf(path) && stat(path, &st) == 0) {
            m.bytes += (uint64_t)st.st_blocks * 512;
            n_found++;
        }
        free(path);
    }
    sl_walk_free_names(names, n);
    free(dir);
    if (!n_found)
        return n == -ENOMEM ? n : 0;
    added = sl_store_add(repo->at.store, &m);
    if (!added)
        return repo->at.store->error;
    sl_store_set_state(added, SL_STORE_PARTIAL, "a download that is not finished");
    return 0;
}

static int list_repo(struct sl_store *store, int place, const char *root, const char *name)
{
    struct repo repo = {.at = {.store = store, .place = place}, .first = store->n_models};
    char *refs, *dashes;
    int r = -ENOMEM;

    repo.path = join(root, name);
    repo.id = strdup(name + strlen(PREFIX));
    refs = repo.path ? join(repo.path, "refs") : NULL;
    if (repo.id && refs) {
        dashes = strstr(repo.id, "--");
        if (dashes) {
            dashes[0] = '/';
            memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
        }
        r = read_refs(&repo, refs, "", 0);
        if (r == 0)
            r = list_snapshots(&repo);
        if (r == 0)
            r = list_partials(&repo);
    }
    for (size_t i = 0; i < repo.n_refs; i++)
        free(repo.refs[i].name);
    free(repo.refs);
    free(repo.path);
    free(repo.id);
    free(refs);
    return r;
}

int sl_hfcache_list(struct sl_store *store, const char *root)
{
    char **names = NULL;
    int place = sl_store_add_place(store, SL_STORE_HF, root);
    int n, r = 0;

    if (place < 0)
        return place;
    n = sl_walk_names(root, &names);
    if (n < 0)
        sl_store_note_place(store, place, SL_STORE_DENIED, "%s", strerror(-n));
    for (int i = 0; i < n && r == 0; i++)
        if (!strncmp(names[i], PREFIX, strlen(PREFIX)))
            r = list_repo(store, place, root, names[i]);
    sl_walk_free_names(names, n);
    return r == -ENOMEM ? r : 0;
}
