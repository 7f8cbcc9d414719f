/*
 * Which cgroups bound memory, processor time and the disk, with the files that do, so that the
 * commands which mend it can name them. Disks: io.max of v2 ("259:0 rbps=1048576 wbps=max"),
 * blkio.throttle.read_bps_device of v1 ("259:0 1048576").
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cgroup.h"
#include "base/memory.h"
#include "doctor/facts.h"
#include "experts/quota.h"

struct search {
    struct sl_facts_limits *limits;
    size_t root_len;
};

static void apply_read(const struct search *search, const char *path, const char *device,
                       uint64_t bytes_per_s)
{
    struct sl_facts_limits *limits = search->limits;

    if (!bytes_per_s || bytes_per_s >= limits->read_bytes_per_s ||
        snprintf(limits->read_file, sizeof(limits->read_file), "%s", path + search->root_len) >=
            (int)sizeof(limits->read_file))
        return;
    limits->read_bytes_per_s = bytes_per_s;
    (void)snprintf(limits->read_device, sizeof(limits->read_device), "%s", device);
}

static void read_throttles(void *arg, const char *folder, bool is_v2)
{
    char path[2 * PATH_MAX + 64], line[256];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", folder,
                   is_v2 ? "io.max" : "blkio.throttle.read_bps_device");
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        const char *rate = is_v2 ? strstr(line, " rbps=") : strchr(line, ' ');
        unsigned major, minor;
        uint64_t value;
        char device[32];

        if (!rate || sscanf(line, "%u:%u ", &major, &minor) != 2 ||
            sscanf(rate + (is_v2 ? 6 : 1), "%" SCNu64, &value) != 1)
            continue;
        (void)snprintf(device, sizeof(device), "%u:%u", major, minor);
        apply_read(arg, path, device, value);
    }
    if (f)
        (void)fclose(f); /* read only */
}

void sl_limitfacts_gather(struct sl_facts_limits *ret, const char *root)
{
    struct sl_memory_limit memory = sl_memory_find_limit(root);
    size_t root_len = strlen(root);
    struct search search = {.limits = ret, .root_len = root_len};
    char folder[2 * PATH_MAX] = "";

    *ret = (struct sl_facts_limits){.read_bytes_per_s = SL_FACTS_NONE,
                                    .memory_bytes = memory.limit_bytes,
                                    .memory_left_bytes = memory.left_bytes};
    if (memory.file[0])
        (void)snprintf(ret->memory_file, sizeof(ret->memory_file), "%.*s", PATH_MAX - 1,
                       memory.file + root_len);
    ret->cpus = sl_quota_find(root, folder, sizeof(folder));
    if (folder[0]) {
        char text[SL_CGROUP_TEXT_BYTES];

        ret->is_cpu_v2 = sl_cgroup_read(folder, "cpu.max", text);
        (void)snprintf(ret->cpu_folder, sizeof(ret->cpu_folder), "%.*s", PATH_MAX - 1,
                       folder + root_len);
    }
    sl_cgroup_walk(root, "blkio", read_throttles, &search);
}
