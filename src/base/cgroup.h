/*
 * Which cgroups this process is in, v1 and v2: the folders whose files bound it. Reads
 * /proc and the mounted hierarchies. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SL_CGROUP_TEXT_BYTES 128

/* A folder of a hierarchy, with root before it. Borrowed, for the call alone. */
typedef void (*sl_cgroup_fn)(void *arg, const char *folder, bool is_v2);

/*
 * Call fn for the process's own cgroup and each above it, up to the mount point, of the v1
 * hierarchy that has a controller ("cpu", "memory") and of v2: a limit anywhere on that way
 * binds. Nothing is called for what is not mounted or not understood. root is put before every
 * path that is read: "" for the live system, a folder with a recorded one for tests.
 */
void sl_cgroup_walk(const char *root, const char *controller, sl_cgroup_fn fn, void *arg);

/* The first line of a file of such a folder, with its newline; false if there is none. */
bool sl_cgroup_read(const char *folder, const char *name, char text[SL_CGROUP_TEXT_BYTES]);
