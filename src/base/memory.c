/*
 * Limits are looked up for the process's own cgroup and for each one above it, because
 * any of them can be the tightest. Above memory.high the kernel slows a process down until
 * it has given memory back, so that is as good as a limit.
 */
#include "base/memory.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cgroup.h"

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

/* A number in the first line of a cgroup's file; false if there is none ("max"). */
static bool read_number(const char *folder, const char *name, uint64_t *ret_value)
{
    char text[SL_CGROUP_TEXT_BYTES], end;

    return sl_cgroup_read(folder, name, text) && text[0] >= '0' && text[0] <= '9' &&
           sscanf(text, "%" SCNu64 "%c", ret_value, &end) == 2 && end == '\n';
}

/* Page cache of a cgroup that can be dropped. */
static uint64_t droppable(const char *folder, bool is_v2)
{
    static const char *const keys[2][2] = { { "total_active_file", "total_inactive_file" },
                                            { "active_file", "inactive_file" } };
    char path[2 * PATH_MAX + 32];
    uint64_t sum = 0;

    (void)snprintf(path, sizeof(path), "%s/memory.stat", folder);
    for (int i = 0; i < 2; i++) {
        uint64_t bytes;

        if (read_key(path, keys[is_v2][i], &bytes))
            sum += bytes;
    }
    return sum;
}

/* Take a limit for the least if it leaves least. */
static void apply_limit(void *arg, const char *folder, bool is_v2)
{
    static const char *const names[2][2] = { { "memory.limit_in_bytes", NULL },
                                             { "memory.max", "memory.high" } };
    struct sl_memory_limit *least = arg;
    uint64_t usage, cache;

    if (!read_number(folder, is_v2 ? "memory.current" : "memory.usage_in_bytes", &usage))
        return;
    cache = droppable(folder, is_v2);
    usage = usage > cache ? usage - cache : 0;
    for (int i = 0; i < 2 && names[is_v2][i]; i++) {
        uint64_t limit, left;

        if (!read_number(folder, names[is_v2][i], &limit) || limit >= (uint64_t)INT64_MAX / 2)
            continue; /* v1's "none" is such a number */
        left = limit > usage ? limit - usage : 0;
        if (left >= least->left_bytes)
            continue;
        least->left_bytes = left;
        least->limit_bytes = limit;
        (void)snprintf(least->file, sizeof(least->file), "%s/%s", folder, names[is_v2][i]);
    }
}

struct sl_memory_limit sl_memory_find_limit(const char *root)
{
    struct sl_memory_limit least = { .limit_bytes = UINT64_MAX, .left_bytes = UINT64_MAX };

    sl_cgroup_walk(root, "memory", apply_limit, &least);
    return least;
}

uint64_t sl_memory_available(const char *root)
{
    char path[PATH_MAX];
    uint64_t kib, available = UINT64_MAX;
    uint64_t left = sl_memory_find_limit(root).left_bytes;

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
