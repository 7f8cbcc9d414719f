/*
 * Links and references appear whole: a new one is made under another name and renamed. Locks
 * are flock's, as Python's filelock has them, and lock files stay, as there.
 */
#include "fetch/hubcache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/outfile.h"
#include "fetch/hubname.h"
#include "fetch/partial.h"

int sl_hubcache_open(struct sl_hubcache *ret, const char *root, const char *repo)
{
    const char *slash = strchr(repo, '/');

    *ret = (struct sl_hubcache){.root = strdup(root)};
    if (asprintf(&ret->name, "models--%.*s--%s", (int)(slash - repo), repo, slash + 1) < 0)
        ret->name = NULL;
    if (!ret->name || asprintf(&ret->repo, "%s/%s", root, ret->name) < 0)
        ret->repo = NULL;
    if (ret->root && ret->name && ret->repo)
        return 0;
    sl_hubcache_close(ret);
    return -ENOMEM;
}

void sl_hubcache_close(struct sl_hubcache *cache)
{
    free(cache->root);
    free(cache->repo);
    free(cache->name);
    *cache = (struct sl_hubcache){.root = NULL};
}

/* Make the folders of path up to its last slash. */
static int make_folders(const char *path, struct sl_diag *diag)
{
    char *copy = strdup(path);
    int r = copy ? 0 : -ENOMEM;

    for (char *at = copy ? strchr(copy + 1, '/') : NULL; at && r == 0; at = strchr(at + 1, '/')) {
        *at = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            r = sl_diag_set(diag, -errno, "cannot make the folder %s: %s", copy, strerror(errno));
        *at = '/';
    }
    free(copy);
    return r;
}

static int make_folders_of(struct sl_diag *diag, const char *dir, const char *name)
{
    char *path = NULL;
    int r;

    if (asprintf(&path, "%s/%s/", dir, name) < 0)
        return sl_diag_set(diag, -ENOMEM, "not enough memory");
    r = make_folders(path, diag);
    free(path);
    return r;
}

int sl_hubcache_make(const struct sl_hubcache *cache, struct sl_diag *diag)
{
    int r = make_folders_of(diag, cache->repo, "blobs");

    return r < 0 ? r : make_folders_of(diag, cache->repo, "refs");
}

char *sl_hubcache_blob_path(const struct sl_hubcache *cache, const char *sha256)
{
    char *path = NULL;

    return asprintf(&path, "%s/blobs/%s", cache->repo, sha256) < 0 ? NULL : path;
}

char *sl_hubcache_file_path(const struct sl_hubcache *cache, const char *commit,
                            const char *path)
{
    char *full = NULL;

    return asprintf(&full, "%s/snapshots/%s/%s", cache->repo, commit, path) < 0 ? NULL : full;
}

int sl_hubcache_lock(const struct sl_hubcache *cache, const char *sha256, int *ret_fd,
                     struct sl_diag *diag)
{
    char *path = NULL;
    int fd, r = 0;

    if (asprintf(&path, "%s/.locks/%s/%s.lock", cache->root, cache->name, sha256) < 0)
        return sl_diag_set(diag, -ENOMEM, "not enough memory");
    r = make_folders(path, diag);
    if (r < 0) {
        free(path);
        return r;
    }
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        r = sl_diag_set(diag, -errno, "cannot write %s: %s", path, strerror(errno));
    else if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        r = sl_diag_set(diag, -EAGAIN, "another program is downloading this file; it holds the "
                                       "lock %s", path);
    free(path);
    if (r < 0 && fd >= 0)
        (void)close(fd); /* nothing was written */
    if (r == 0)
        *ret_fd = fd;
    return r;
}

/* "../../blobs/SHA", with one more ".." for each folder in path. */
static char *link_target(const char *path, const char *sha256)
{
    char *target = strdup("../../");

    for (const char *at = strchr(path, '/'); at && target; at = strchr(at + 1, '/')) {
        char *longer = NULL;

        if (asprintf(&longer, "../%s", target) < 0)
            longer = NULL;
        free(target);
        target = longer;
    }
    if (target) {
        char *whole = NULL;

        if (asprintf(&whole, "%sblobs/%s", target, sha256) < 0)
            whole = NULL;
        free(target);
        target = whole;
    }
    return target;
}

static bool is_link_to(const char *path, const char *target)
{
    char there[1200];
    ssize_t n = readlink(path, there, sizeof(there));

    return n > 0 && (size_t)n == strlen(target) && !memcmp(there, target, (size_t)n);
}

int sl_hubcache_link(const struct sl_hubcache *cache, const char *commit, const char *path,
                     const char *sha256, struct sl_diag *diag)
{
    char *full = sl_hubcache_file_path(cache, commit, path);
    char *target = link_target(path, sha256), *aside = NULL;
    int r = 0;

    if (!full || !target || asprintf(&aside, "%s.%ld.link", full, (long)getpid()) < 0) {
        aside = NULL;
        r = sl_diag_set(diag, -ENOMEM, "not enough memory");
    } else if (!is_link_to(full, target)) {
        r = make_folders(full, diag);
        if (r == 0) {
            (void)unlink(aside); /* of a process long gone */
            if (symlink(target, aside) != 0 || rename(aside, full) != 0)
                r = sl_diag_set(diag, -errno, "cannot make the link %s: %s", full,
                                strerror(errno));
        }
    }
    free(full);
    free(target);
    free(aside);
    return r;
}

int sl_hubcache_set_ref(const struct sl_hubcache *cache, const char *revision,
                        const char *commit, struct sl_diag *diag)
{
    struct sl_outfile out;
    char *path = NULL;
    int r;

    if (sl_hubname_is_commit(revision))
        return 0;
    if (asprintf(&path, "%s/refs/%s", cache->repo, revision) < 0)
        return sl_diag_set(diag, -ENOMEM, "not enough memory");
    r = make_folders(path, diag);
    if (r == 0)
        r = sl_outfile_open(&out, path, diag);
    if (r == 0) {
        (void)fwrite(commit, 1, strlen(commit), out.file); /* the commit below tells */
        r = sl_outfile_commit(&out, diag);
    }
    free(path);
    return r;
}

uint64_t sl_hubcache_free_bytes(const struct sl_hubcache *cache)
{
    char *path = strdup(cache->repo);
    uint64_t bytes = UINT64_MAX;
    struct statvfs fs;

    while (path && path[0]) { /* the nearest folder that is there */
        char *slash = strrchr(path, '/');

        if (statvfs(path, &fs) == 0) {
            bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
            break;
        }
        if (!slash)
            break;
        *slash = '\0';
    }
    free(path);
    return bytes;
}

enum sl_hubcache_state sl_hubcache_find_blob(const struct sl_hubcache *cache,
                                             const char *sha256, uint64_t *ret_bytes)
{
    enum sl_hubcache_state state = SL_HUBCACHE_ABSENT;
    char *path = sl_hubcache_blob_path(cache, sha256), *partial = NULL;
    struct stat st;

    *ret_bytes = 0;
    if (path && asprintf(&partial, "%s" SL_PARTIAL_DATA, path) < 0)
        partial = NULL;
    if (path && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        state = SL_HUBCACHE_WHOLE;
        *ret_bytes = (uint64_t)st.st_size;
    } else if (partial && stat(partial, &st) == 0 && S_ISREG(st.st_mode)) {
        state = SL_HUBCACHE_BEGUN;
        *ret_bytes = (uint64_t)st.st_blocks * 512;
    }
    free(path);
    free(partial);
    return state;
}

/* The bytes freed by removing the unfinished blob that a journal is of, if it was path. */
static uint64_t drop(const struct sl_hubcache *cache, const char *journal, const char *path,
                     const char *sha256)
{
    struct sl_journal_id id;
    uint64_t bytes = 0;
    char *blob;
    int lock = -1;

    if (!sl_journal_read_id(journal, &id) || !strcmp(id.sha256, sha256) ||
        strcmp(id.name, path) != 0 ||
        sl_hubcache_find_blob(cache, id.sha256, &bytes) != SL_HUBCACHE_BEGUN ||
        sl_hubcache_lock(cache, id.sha256, &lock, NULL) < 0)
        return 0;
    blob = sl_hubcache_blob_path(cache, id.sha256);
    if (blob)
        sl_partial_remove(blob);
    free(blob);
    if (lock >= 0)
        (void)close(lock); /* which gives it back */
    return bytes;
}

uint64_t sl_hubcache_drop_stale(const struct sl_hubcache *cache, const char *path,
                                const char *sha256)
{
    const size_t ending = strlen(SL_PARTIAL_JOURNAL);
    uint64_t bytes = 0;
    struct dirent *entry;
    char *folder = NULL;
    DIR *dir;

    if (asprintf(&folder, "%s/blobs", cache->repo) < 0)
        return 0;
    dir = opendir(folder);
    while (dir && (entry = readdir(dir))) {
        size_t len = strlen(entry->d_name);
        char *journal = NULL;

        if (len != ending + SL_SHA256_HEX_BYTES - 1 ||
            strcmp(entry->d_name + len - ending, SL_PARTIAL_JOURNAL) != 0 ||
            asprintf(&journal, "%s/%s", folder, entry->d_name) < 0)
            continue;
        bytes += drop(cache, journal, path, sha256);
        free(journal);
    }
    if (dir)
        (void)closedir(dir); /* it was only read */
    free(folder);
    return bytes;
}
