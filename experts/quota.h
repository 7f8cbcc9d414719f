/*
 * How much CPU time cgroups leave to this process. Any thread.
 */
#pragma once

#include <stddef.h>

/*
 * CPUs' worth of time that the cgroups of this process may use, the least of all
 * that bound it (v1 cfs quota, v2 cpu.max; its own cgroup and the ancestors that are
 * mounted), or 0 for no limit or where the system does not tell. root is put before
 * every path that is read: "" for the live system, a folder that holds a recorded one
 * for tests.
 */
double sl_quota_read(const char *root);

/* The same, and the cgroup that bounds it: its folder, with root before it, to a buffer of cap
 * bytes, which is left alone where there is no limit. cap 0: it is not asked for. */
double sl_quota_find(const char *root, char *ret_folder, size_t cap);
