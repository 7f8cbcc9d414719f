/*
 * A file's mount is the one whose point is the longest beginning of its path (the device's
 * number would not do: btrfs has one for each subvolume that mountinfo does not know). Devices
 * are looked up in /sys by number or, where that is made up, by the name of the mount's source.
 *
 * Whether direct reads work is for the reader to say, which tries. It cannot tell that a file
 * system takes them and copies all the same, as btrfs does with compressed extents: the map of
 * the file's extents says that.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mountinfo.h"
#include "doctor/facts.h"
#include "doctor/sysfile.h"
#include "loader/diskspeed.h"
#include "loader/reader.h"

#define READ_BYTES (1u << 20) /* as the expert cache reads */
#define READ_DEPTH 8u
#define FILE_BYTES_MIN ((uint64_t)8 << 20) /* fewer say nothing of a disk */
#define EXTENTS_MAX 64u
#define SLAVES_DEPTH_MAX 4

struct search {
    struct sl_facts_place *place;
    const char *path;
    size_t len; /* of the longest point so far */
};

static void look_at_mount(void *arg, const struct sl_mount *mount)
{
    struct search *search = arg;
    size_t len = strlen(mount->point);
    const char *slash = strrchr(mount->source, '/');

    if (len == 1)
        len = 0; /* "/" is before all */
    if (len < search->len || strncmp(search->path, mount->point, len) != 0 ||
        (search->path[len] != '/' && search->path[len] != '\0'))
        return;
    search->len = len; /* of two at one point the later one is seen */
    (void)snprintf(search->place->type, sizeof(search->place->type), "%s", mount->type);
    (void)snprintf(search->place->source, sizeof(search->place->source), "%s", mount->source);
    search->place->device[0] = '\0';
    if (strncmp(mount->source, "/dev/", 5) == 0)
        (void)snprintf(search->place->device, sizeof(search->place->device), "%.60s", slash + 1);
}

/* The name of a device, or of one that it is made of, that decrypts. */
static void find_crypt(struct sl_facts_place *place, const char *root, const char *folder,
                       int depth)
{
    char path[PATH_MAX], uuid[32];
    struct dirent *entry;
    DIR *slaves;

    if (snprintf(path, sizeof(path), "%s/dm/uuid", folder) >= (int)sizeof(path) || depth == 0)
        return;
    if (sl_sysfile_line(root, path, uuid, sizeof(uuid)) && strncmp(uuid, "CRYPT-", 6) == 0) {
        (void)snprintf(path, sizeof(path), "%s/dm/name", folder); /* as long as the other */
        if (!sl_sysfile_line(root, path, place->crypt, sizeof(place->crypt)))
            (void)snprintf(place->crypt, sizeof(place->crypt), "?");
        return;
    }
    if (snprintf(path, sizeof(path), "%s%s/slaves", root, folder) >= (int)sizeof(path))
        return;
    slaves = opendir(path);
    while (slaves && !place->crypt[0] && (entry = readdir(slaves)) != NULL)
        if (entry->d_name[0] != '.' && snprintf(path, sizeof(path), "%s/slaves/%s", folder,
                                                entry->d_name) < (int)sizeof(path))
            find_crypt(place, root, path, depth - 1);
    if (slaves)
        (void)closedir(slaves);
}

static void look_at_device(struct sl_facts_place *place, const char *root, const char *folder)
{
    char path[PATH_MAX];
    uint64_t value = 0;

    (void)snprintf(path, sizeof(path), "%s/queue/rotational", folder);
    if (!sl_sysfile_number(root, path, &value)) { /* a partition's is its disk's */
        (void)snprintf(path, sizeof(path), "%s/../queue/rotational", folder);
        (void)sl_sysfile_number(root, path, &value);
    }
    place->is_rotational = value == 1;
    find_crypt(place, root, folder, SLAVES_DEPTH_MAX);
}

void sl_placefacts_look_up(struct sl_facts_place *place, const char *root, const char *path,
                           const char *number)
{
    struct search search = {.place = place, .path = path};
    char folder[128], full[PATH_MAX], target[PATH_MAX];
    ssize_t len;

    sl_mountinfo_walk(root, look_at_mount, &search);
    sl_text_clean(place->type);
    sl_text_clean(place->source);
    (void)snprintf(folder, sizeof(folder), "/sys/dev/block/%s", number);
    (void)snprintf(full, sizeof(full), "%s%s", root, folder);
    len = readlink(full, target, sizeof(target) - 1);
    if (len > 0) {
        char *slash;

        target[len] = '\0';
        slash = strrchr(target, '/');
        (void)snprintf(place->device, sizeof(place->device), "%.60s",
                       slash ? slash + 1 : target);
    } else if (place->device[0]) {
        (void)snprintf(folder, sizeof(folder), "/sys/class/block/%s", place->device);
    }
    sl_text_clean(place->device);
    look_at_device(place, root, folder);
}

static bool has_encoded_extents(int fd)
{
    struct fiemap *map = calloc(1, sizeof(*map) + EXTENTS_MAX * sizeof(map->fm_extents[0]));
    bool found = false;

    if (!map)
        return false;
    map->fm_length = FIEMAP_MAX_OFFSET;
    map->fm_extent_count = EXTENTS_MAX;
    if (ioctl(fd, FS_IOC_FIEMAP, map) < 0)
        map->fm_mapped_extents = 0; /* no map: nothing is known against it */
    for (uint32_t i = 0; i < map->fm_mapped_extents && i < EXTENTS_MAX; i++)
        found |= (map->fm_extents[i].fe_flags & (FIEMAP_EXTENT_ENCODED |
                                                 FIEMAP_EXTENT_DATA_ENCRYPTED |
                                                 FIEMAP_EXTENT_DATA_INLINE)) != 0;
    free(map);
    return found;
}

/* Let the reader try. Without direct reads it does not look for io_uring, so what it says is
 * about them alone. */
static void try_direct(struct sl_facts_place *place, int fd)
{
    static const char prefix[] = "no direct I/O: ";
    const struct sl_reader_opts opts = {.depth = 1, .n_threads = 1};
    struct sl_reader_info info;
    struct sl_reader *reader;
    struct sl_diag diag;

    if (sl_reader_open(&reader, &fd, 1, &opts, &diag) < 0) {
        (void)snprintf(place->why, sizeof(place->why), "%.150s", diag.text);
        return;
    }
    sl_reader_get_info(reader, &info);
    place->is_direct = info.is_direct;
    if (!info.is_direct)
        (void)snprintf(place->why, sizeof(place->why), "%.150s",
                       strncmp(info.fallback, prefix, strlen(prefix)) == 0
                           ? info.fallback + strlen(prefix) : info.fallback);
    sl_reader_close(reader);
}

/* A descriptor of a regular file that is not empty, or -1 and why. */
static int open_file(struct sl_facts_place *place, struct stat *ret_st)
{
    int fd = open(place->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd >= 0 && fstat(fd, ret_st) == 0 && S_ISREG(ret_st->st_mode) && ret_st->st_size > 0)
        return fd;
    (void)snprintf(place->why, sizeof(place->why), "%s",
                   fd < 0 ? strerror(errno) : "it is no file, or an empty one");
    if (fd >= 0)
        (void)close(fd); /* nothing was written */
    return -1;
}

void sl_placefacts_gather(struct sl_facts_place *ret, const char *root, const char *path)
{
    char number[32], *full = realpath(path, NULL);
    struct stat st;
    int fd;

    *ret = (struct sl_facts_place){.file_bytes = 0};
    (void)snprintf(ret->path, sizeof(ret->path), "%s", full ? full : path); /* a path fits */
    free(full);
    fd = open_file(ret, &st);
    if (fd < 0)
        return;
    ret->file_bytes = (uint64_t)st.st_size;
    (void)snprintf(number, sizeof(number), "%u:%u", major(st.st_dev), minor(st.st_dev));
    sl_placefacts_look_up(ret, root, ret->path, number);
    ret->is_encoded = has_encoded_extents(fd);
    try_direct(ret, fd);
    (void)close(fd); /* nothing was written */
}

void sl_placefacts_measure(struct sl_facts_place *place, double seconds)
{
    struct sl_diag diag = {""};
    struct stat st;
    int fd;

    if (!place->file_bytes)
        return;
    if (place->file_bytes < FILE_BYTES_MIN) {
        (void)snprintf(place->measure_why, sizeof(place->measure_why),
                       "its largest model has less than 8 MiB, too little to measure with");
        return;
    }
    fd = open_file(place, &st);
    if (fd < 0)
        return;
    if (sl_diskspeed_measure(fd, (uint64_t)st.st_size, READ_BYTES, READ_DEPTH, seconds,
                             &place->bytes_per_s, &diag) < 0) {
        place->bytes_per_s = 0.0;
        (void)snprintf(place->measure_why, sizeof(place->measure_why), "%.150s", diag.text);
    }
    (void)close(fd); /* nothing was written */
}
