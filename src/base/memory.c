/*
 * Limits are looked up for the process's own cgroup and for each one above it, because
 * any of them can be the tightest. In a container the own path often is "/", with the
 * container's limit at the root of the mounted hierarchy: the walk ends there, so that
 * is covered too.
 */
#include "base/memory.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number after a key at the start of a line ("MemAvailable:"); false if absent. */
static bool read_key(const char *path, const char *key, uint64_t *ret_value)
{
    FILE *f = fopen(path, "re");
    char line[256];
    size_t key_len = strlen(key);
    bool found = false;

    if (!f)
        return false;
    while (!found && fgets(line, sizeof(line), f))
        if (strncmp(line, key, key_len) == 0)
            found = sscanf(line + key_len, "%" SCNu64, ret_value) == 1;
    (void)fclose(f); /* read only */
    return found;
}

/* What one cgroup directory leaves, or UINT64_MAX if it sets no limit. */
static uint64_t left_in(const char *dir, bool is_v2)
{
    char path[PATH_MAX + 32]; /* room for a file name */
    uint64_t limit, usage, cache = 0;

    (void)snprintf(path, sizeof(path), "%s/%s", dir,
                   is_v2 ? "memory.max" : "memory.limit_in_bytes");
    if (!read_key(path, "", &limit)) /* v2 says "max" for none */
        return UINT64_MAX;
    (void)snprintf(path, sizeof(path), "%s/%s", dir,
                   is_v2 ? "memory.current" : "memory.usage_in_bytes");
    if (!read_key(path, "", &usage))
        return UINT64_MAX;
    (void)snprintf(path, sizeof(path), "%s/memory.stat", dir);
    for (int i = 0; i < 2; i++) {
        static const char *const keys[2][2] = { { "total_active_file", "total_inactive_file" },
                                                { "active_file", "inactive_file" } };
        uint64_t bytes;

        if (read_key(path, keys[is_v2][i], &bytes))
            cache += bytes;
    }
    if (limit >= (uint64_t)INT64_MAX / 2) /* v1's "none" */
        return UINT64_MAX;
    usage = usage > cache ? usage - cache : 0;
    return limit > usage ? limit - usage : 0;
}

/* Walk from a cgroup up to the root of its hierarchy. */
static uint64_t left_on_path(const char *mount, const char *cgroup, bool is_v2)
{
    char dir[PATH_MAX];
    uint64_t least = UINT64_MAX;
    size_t mount_len = strlen(mount);

    if (snprintf(dir, sizeof(dir), "%s%s", mount, cgroup) >= (int)sizeof(dir))
        return UINT64_MAX;
    for (;;) {
        uint64_t left = left_in(dir, is_v2);
        char *slash;

        if (left < least)
            least = left;
        slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < mount_len)
            break;
        *slash = '\0';
    }
    return least;
}

static uint64_t cgroup_left(const char *root)
{
    char path[PATH_MAX], line[PATH_MAX], mount[PATH_MAX];
    uint64_t least = UINT64_MAX;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    f = fopen(path, "re");
    if (!f)
        return UINT64_MAX;
    while (fgets(line, sizeof(line), f)) {
        bool is_v2 = strncmp(line, "0::", 3) == 0;
        char *controllers = strchr(line, ':');
        char *cgroup = controllers ? strchr(controllers + 1, ':') : NULL;
        uint64_t left;

        if (!cgroup)
            continue;
        *cgroup++ = '\0';
        cgroup[strcspn(cgroup, "\n")] = '\0';
        if (!is_v2 && strcmp(controllers + 1, "memory") != 0)
            continue;
        (void)snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup%s", root, is_v2 ? "" : "/memory");
        left = left_on_path(mount, cgroup, is_v2);
        if (left < least)
            least = left;
    }
    (void)fclose(f); /* read only */
    return least;
}

uint64_t sl_memory_available(const char *root)
{
    char path[PATH_MAX];
    uint64_t kib, available = UINT64_MAX;
    uint64_t left = cgroup_left(root);

    (void)snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    if (read_key(path, "MemAvailable:", &kib))
        available = kib * 1024;
    return left < available ? left : available;
}

uint64_t sl_memory_peak(void)
{
    uint64_t kib;

    return read_key("/proc/self/status", "VmHWM:", &kib) ? kib * 1024 : 0;
}
