/*
 * /proc/self/cgroup says in which cgroup of each hierarchy the process is, as a path
 * inside that hierarchy; /proc/self/mountinfo says which part of a hierarchy is
 * mounted where. A limit anywhere on the way up binds, so the files of every folder
 * from the own cgroup up to the mount point are read, and the least wins.
 *
 *     v2   0::/user.slice/app          cpu.max            "150000 100000", "max 100000"
 *     v1   4:cpu,cpuacct:/docker/1f    cpu.cfs_quota_us   "150000", "-1" for none
 *                                      cpu.cfs_period_us  "100000"
 *
 * In a container the mounted part may begin at the container's own cgroup (root
 * "/docker/1f"), or the path may lead outside of it ("/../.."); what cannot be
 * reached cannot be read, so the mount point itself is asked then.
 *
 * Whatever is missing or not understood is no limit: a wrong guess costs time, never
 * correctness.
 */
#include "experts/quota.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_BYTES 128

/* The hierarchy that is looked for, and what /proc/self/cgroup says about it. */
struct hierarchy {
    bool is_v2;
    char path[PATH_MAX]; /* of the own cgroup in it; empty: not found */
};

static FILE *open_below(const char *root, const char *path)
{
    char full[PATH_MAX];

    if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
        return NULL;
    return fopen(full, "re");
}

/* Read a short file of a cgroup into text. */
static bool read_limit(const char *folder, const char *name, char text[LIMIT_BYTES])
{
    FILE *f;
    char path[PATH_MAX];
    bool ok;

    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
        return false;
    f = fopen(path, "re");
    if (!f)
        return false;
    ok = fgets(text, LIMIT_BYTES, f) != NULL;
    (void)fclose(f); /* read-only: nothing to lose */
    return ok;
}

static void apply(double quota_us, double period_us, double *least)
{
    if (!(quota_us > 0) || !(period_us > 0))
        return;
    if (*least == 0 || quota_us / period_us < *least)
        *least = quota_us / period_us;
}

static void apply_folder(const char *folder, bool is_v2, double *least)
{
    char quota[LIMIT_BYTES];
    char period[LIMIT_BYTES];

    if (is_v2) {
        char *end;
        double quota_us;

        if (!read_limit(folder, "cpu.max", quota) || strncmp(quota, "max", 3) == 0)
            return;
        quota_us = strtod(quota, &end);
        apply(quota_us, strtod(end, NULL), least);
    } else if (read_limit(folder, "cpu.cfs_quota_us", quota) &&
               read_limit(folder, "cpu.cfs_period_us", period)) {
        apply(strtod(quota, NULL), strtod(period, NULL), least);
    }
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
static void find_own(const char *root, struct hierarchy *v1, struct hierarchy *v2)
{
    FILE *f = open_below(root, "/proc/self/cgroup");
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
        h = controllers[1] == '\0' ? v2 : has_word(controllers + 1, "cpu") ? v1 : NULL;
        if (h && strlen(path) < sizeof(h->path))
            memcpy(h->path, path, strlen(path) + 1);
    }
    free(line);
    (void)fclose(f);
}

/* Undo mountinfo's \040 for a space and the like, in place. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* The folders from the own cgroup up to the mount point. */
static void walk_up(const char *root, const char *mount_root, const char *mount_point,
                    const struct hierarchy *h, double *least)
{
    size_t root_len = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    const char *rest = h->path + root_len;
    char folder[2 * PATH_MAX];
    size_t base;

    /* Not below what is mounted: only the mount point can be asked. */
    if (strncmp(h->path, mount_root, root_len) != 0 || (*rest != '/' && *rest != '\0') ||
        strstr(rest, "/.."))
        rest = "";
    base = (size_t)snprintf(folder, sizeof(folder), "%s%s", root, mount_point);
    if (base >= sizeof(folder) || base + strlen(rest) >= sizeof(folder))
        return;
    memcpy(folder + base, rest, strlen(rest) + 1);
    for (;;) {
        char *slash;

        apply_folder(folder, h->is_v2, least);
        slash = strrchr(folder + base, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

/*
 * One line of mountinfo: ID PARENT MAJ:MIN ROOT POINT OPTIONS [TAG...] - TYPE SOURCE
 * SUPEROPTIONS.
 */
static void apply_mount(const char *root, char *line, const struct hierarchy *v1,
                        const struct hierarchy *v2, double *least)
{
    char *tail = strstr(line, " - ");
    char *fields[5];
    char *type, *options;
    char *save = NULL;
    const struct hierarchy *h = NULL;

    if (!tail)
        return;
    *tail = '\0';
    for (int i = 0; i < 5; i++) {
        fields[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
        if (!fields[i])
            return;
    }
    type = strtok_r(tail + 3, " ", &save);
    if (!type || !strtok_r(NULL, " ", &save))
        return;
    options = strtok_r(NULL, " \n", &save);
    if (strcmp(type, "cgroup2") == 0)
        h = v2;
    else if (strcmp(type, "cgroup") == 0 && options && has_word(options, "cpu"))
        h = v1;
    if (!h || h->path[0] == '\0')
        return;
    unescape(fields[3]);
    unescape(fields[4]);
    walk_up(root, fields[3], fields[4], h, least);
}

double sl_quota_read(const char *root)
{
    struct hierarchy v1 = { .is_v2 = false };
    struct hierarchy v2 = { .is_v2 = true };
    char *line = NULL;
    size_t size = 0;
    double least = 0;
    FILE *f;

    find_own(root, &v1, &v2);
    f = open_below(root, "/proc/self/mountinfo");
    if (!f)
        return 0;
    while (getline(&line, &size, f) > 0)
        apply_mount(root, line, &v1, &v2, &least);
    free(line);
    (void)fclose(f); /* read-only: nothing to lose */
    return least;
}
