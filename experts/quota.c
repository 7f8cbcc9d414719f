/*
 * The files of the own cgroup and of all above it are read, and the least wins:
 *
 *     v2   cpu.max            "150000 100000", "max 100000"
 *     v1   cpu.cfs_quota_us   "150000", "-1" for none
 *          cpu.cfs_period_us  "100000"
 *
 * Whatever is missing or not understood is no limit: a wrong guess costs time, never
 * correctness.
 */
#include "experts/quota.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cgroup.h"

struct least {
    double cpus;  /* 0: no limit yet */
    char *folder; /* the caller's, of cap bytes */
    size_t cap;
};

static void apply(struct least *least, const char *folder, double quota_us, double period_us)
{
    if (!(quota_us > 0) || !(period_us > 0))
        return;
    if (least->cpus == 0 || quota_us / period_us < least->cpus) {
        least->cpus = quota_us / period_us;
        (void)snprintf(least->folder, least->cap, "%s", folder); /* cut: the caller's choice */
    }
}

static void apply_folder(void *arg, const char *folder, bool is_v2)
{
    char quota[SL_CGROUP_TEXT_BYTES];
    char period[SL_CGROUP_TEXT_BYTES];

    if (is_v2) {
        char *end;
        double quota_us;

        if (!sl_cgroup_read(folder, "cpu.max", quota) || strncmp(quota, "max", 3) == 0)
            return;
        quota_us = strtod(quota, &end);
        apply(arg, folder, quota_us, strtod(end, NULL));
    } else if (sl_cgroup_read(folder, "cpu.cfs_quota_us", quota) &&
               sl_cgroup_read(folder, "cpu.cfs_period_us", period)) {
        apply(arg, folder, strtod(quota, NULL), strtod(period, NULL));
    }
}

double sl_quota_find(const char *root, char *ret_folder, size_t cap)
{
    struct least least = { .folder = ret_folder, .cap = cap };

    sl_cgroup_walk(root, "cpu", apply_folder, &least);
    return least.cpus;
}

double sl_quota_read(const char *root)
{
    return sl_quota_find(root, NULL, 0);
}
