/* What is mounted where, as /proc/self/mountinfo has it. Any thread. */
#pragma once

/* A line of it, unescaped. Borrowed, for the call alone. */
struct sl_mount {
    const char *number;  /* of the device, "259:2" */
    const char *root;    /* the part of the file system that is mounted, "/" */
    const char *point;   /* where */
    const char *type;    /* "ext4" */
    const char *source;  /* "/dev/nvme0n1p2" */
    const char *options; /* of the file system: "rw,compress=zstd:1"; "" */
};

typedef void (*sl_mountinfo_fn)(void *arg, const struct sl_mount *mount);

/* Call fn for each line that is understood, in order; nothing if there is no such file. root is
 * put before its path: "" for the live system. */
void sl_mountinfo_walk(const char *root, sl_mountinfo_fn fn, void *arg);
