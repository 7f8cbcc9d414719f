/*
 * /proc/self/cgroup says in which cgroup of each hierarchy the process is, as a path
 * inside that hierarchy; /proc/self/mountinfo says which part of a hierarchy is
 * mounted where. Every folder from the own cgroup up to the mount point is told.
 *
 *     v2   0::/user.slice/app
 *     v1   4:cpu,cpuacct:/docker/1f
 *
 * In a container the mounted part may begin at the container's own cgroup (root
 * "/docker/1f"), or the path may lead outside of it ("/../.."); what cannot be
 * reached cannot be read, so the mount point itself is told then.
 */
#include "base/cgroup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mountinfo.h"

/* The hierarchy that is looked for, and what /proc/self/cgroup says about it. */
struct hierarchy {
    bool is_v2;
    char path[PATH_MAX]; /* of the own cgroup in it; empty: not found */
};

/* What a walk is about. */
struct walk {
    const char *root, *controller;
    struct hierarchy v1, v2;
    sl_cgroup_fn fn;
    void *arg;
};

static FILE *open_below(const char *root, const char *path)
{
    char full[PATH_MAX];

    if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
        return NULL;
    return fopen(full, "re");
}

/* Whether a comma-separated list holds a word. */
static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");

        if (n == len && memcmp(p, word, n) == 0)
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

/* Fill path of both hierarchies from lines of the form ID:CONTROLLERS:PATH. */
static void find_own(struct walk *walk)
{
    FILE *f = open_below(walk->root, "/proc/self/cgroup");
    char *line = NULL;
    size_t size = 0;

    if (!f)
        return;
    while (getline(&line, &size, f) > 0) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        struct hierarchy *h;

        if (!path)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        h = controllers[1] == '\0' ? &walk->v2
            : has_word(controllers + 1, walk->controller) ? &walk->v1 : NULL;
        if (h && strlen(path) < sizeof(h->path))
            memcpy(h->path, path, strlen(path) + 1);
    }
    free(line);
    (void)fclose(f);
}

/* The folders from the own cgroup up to the mount point. */
static void walk_up(const struct walk *walk, const char *mount_root, const char *mount_point,
                    const struct hierarchy *h)
{
    size_t root_len = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    const char *rest = h->path + root_len;
    char folder[2 * PATH_MAX];
    size_t base;

    /* Not below what is mounted: only the mount point can be asked. */
    if (strncmp(h->path, mount_root, root_len) != 0 || (*rest != '/' && *rest != '\0') ||
        strstr(rest, "/.."))
        rest = "";
    base = (size_t)snprintf(folder, sizeof(folder), "%s%s", walk->root, mount_point);
    if (base >= sizeof(folder) || base + strlen(rest) >= sizeof(folder))
        return;
    memcpy(folder + base, rest, strlen(rest) + 1);
    for (;;) {
        char *slash;

        walk->fn(walk->arg, folder, h->is_v2);
        slash = strrchr(folder + base, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

static void walk_mount(void *arg, const struct sl_mount *mount)
{
    const struct walk *walk = arg;
    const struct hierarchy *h = NULL;

    if (strcmp(mount->type, "cgroup2") == 0)
        h = &walk->v2;
    else if (strcmp(mount->type, "cgroup") == 0 && has_word(mount->options, walk->controller))
        h = &walk->v1;
    if (h && h->path[0])
        walk_up(walk, mount->root, mount->point, h);
}

void sl_cgroup_walk(const char *root, const char *controller, sl_cgroup_fn fn, void *arg)
{
    struct walk walk = { .root = root, .controller = controller, .v2 = { .is_v2 = true },
                         .fn = fn, .arg = arg };

    find_own(&walk);
    sl_mountinfo_walk(root, walk_mount, &walk);
}

bool sl_cgroup_read(const char *folder, const char *name, char text[SL_CGROUP_TEXT_BYTES])
{
    FILE *f;
    char path[PATH_MAX];
    bool ok;

    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
        return false;
    f = fopen(path, "re");
    if (!f)
        return false;
    ok = fgets(text, SL_CGROUP_TEXT_BYTES, f) != NULL;
    (void)fclose(f); /* read-only: nothing to lose */
    return ok;
}
