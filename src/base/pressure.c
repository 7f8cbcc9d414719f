/*
 * At most four descriptors, asked with one poll:
 *
 *   system     a trigger written into /proc/pressure/memory; POLLPRI when tasks have
 *              stalled for memory for 200 ms of 2 s (the kernel lets users without
 *              privilege choose windows of 2 s only), at most once per window
 *   own cgroup the same in the cgroup's memory.pressure (v2 or the v2 side of a hybrid)
 *   v2 events  inotify on memory.events of the cgroup and all above it: the kernel
 *              reports a change as a modification of the file. Any change is told, so
 *              the files are read then, and only more of `high` or `max` counts
 *   v1 events  one eventfd, made known through cgroup.event_control of the cgroup and
 *              all above it. Medium level: what is reclaimed is no longer just cache
 *              that nobody wants, as in "low", which a copied file causes
 *
 * A limit may be set at any level, and only the cgroup that has it counts its events:
 * hence all levels. In a container the own path often is that of the host, and is
 * missing below the mount: then the walk up finds nothing until the mount itself.
 *
 * The real root cgroup has no cgroup.type; its PSI is that of the system.
 */
#include "base/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#define N_LEVELS_MAX 8
#define PATH_BYTES (PATH_MAX + 64)

static const char psi_trigger[] = "some 200000 2000000";

enum source { SYSTEM_PSI, CGROUP_PSI, V2_EVENTS, V1_EVENTS, SOURCE_COUNT };

static const char *const source_names[SOURCE_COUNT] = { "PSI", "cgroup PSI", "cgroup v2 events",
                                                        "cgroup v1 pressure level" };

/* The sum of `high` and `max` of a memory.events file. */
struct level {
    int fd;
    uint64_t n_events;
};

struct sl_pressure {
    struct pollfd fds[SOURCE_COUNT]; /* fd -1: not listened to */
    struct level levels[N_LEVELS_MAX]; /* of V2_EVENTS */
    uint32_t n_levels;
    char text[96];
};

static void close_fd(int fd)
{
    if (fd >= 0)
        (void)close(fd); /* nothing was written that could be lost */
}

static uint64_t read_events(int fd)
{
    char text[512];
    ssize_t len = pread(fd, text, sizeof(text) - 1, 0);
    uint64_t sum = 0;

    if (len < 0)
        return 0;
    text[len] = '\0';
    for (const char *line = text; line; line = strchr(line, '\n')) {
        uint64_t n;

        line += *line == '\n';
        if (sscanf(line, "high %" SCNu64, &n) == 1 || sscanf(line, "max %" SCNu64, &n) == 1)
            sum += n;
    }
    return sum;
}

/* A descriptor that gets POLLPRI under pressure, or -1. */
static int open_psi(const char *path)
{
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd >= 0 && write(fd, psi_trigger, sizeof(psi_trigger)) != sizeof(psi_trigger)) {
        close_fd(fd);
        fd = -1;
    }
    return fd;
}

/* A cgroup's folder, on the way up to the mount of its hierarchy. */
struct walk {
    char dir[PATH_MAX];
    size_t mount_len;
};

static bool walk_begin(struct walk *walk, const char *root, const char *mount,
                       const char *cgroup)
{
    int len = snprintf(walk->dir, sizeof(walk->dir), "%s/sys/fs/cgroup%s", root, mount);

    if (len >= (int)sizeof(walk->dir))
        return false;
    walk->mount_len = (size_t)len;
    if (strcmp(cgroup, "/") == 0)
        return true;
    return snprintf(walk->dir + len, sizeof(walk->dir) - (size_t)len, "%s", cgroup) <
           (int)(sizeof(walk->dir) - (size_t)len);
}

static bool walk_up(struct walk *walk)
{
    char *slash = strrchr(walk->dir, '/');

    if (!slash || (size_t)(slash - walk->dir) < walk->mount_len)
        return false;
    *slash = '\0';
    return true;
}

/* Open a file of a cgroup; -1 if it cannot be had. */
static int open_in(const char *dir, const char *name, int flags)
{
    char path[PATH_BYTES];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return open(path, flags | O_CLOEXEC);
}

static void add_v2_level(struct sl_pressure *pressure, const char *dir)
{
    struct level *level = &pressure->levels[pressure->n_levels];
    int *inotify = &pressure->fds[V2_EVENTS].fd;
    char path[PATH_BYTES];

    if (pressure->n_levels == N_LEVELS_MAX)
        return;
    (void)snprintf(path, sizeof(path), "%s/memory.events", dir);
    level->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (level->fd < 0)
        return;
    if (*inotify < 0)
        *inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (*inotify < 0 || inotify_add_watch(*inotify, path, IN_MODIFY) < 0) {
        close_fd(level->fd);
        return;
    }
    level->n_events = read_events(level->fd);
    pressure->n_levels++;
}

static void listen_v2(struct sl_pressure *pressure, const char *root, const char *cgroup)
{
    char path[PATH_BYTES];
    struct walk walk;
    bool is_hybrid;

    (void)snprintf(path, sizeof(path), "%s/sys/fs/cgroup/unified/cgroup.controllers", root);
    is_hybrid = access(path, F_OK) == 0;
    if (!walk_begin(&walk, root, is_hybrid ? "/unified" : "", cgroup))
        return;
    do {
        (void)snprintf(path, sizeof(path), "%s/cgroup.type", walk.dir);
        if (access(path, F_OK) != 0)
            continue; /* not there, or the real root */
        if (pressure->fds[CGROUP_PSI].fd < 0) {
            (void)snprintf(path, sizeof(path), "%s/memory.pressure", walk.dir);
            pressure->fds[CGROUP_PSI].fd = open_psi(path);
        }
        add_v2_level(pressure, walk.dir);
    } while (walk_up(&walk));
}

static bool add_v1_level(int event_fd, const char *dir)
{
    int level_fd = open_in(dir, "memory.pressure_level", O_RDONLY);
    int control_fd = open_in(dir, "cgroup.event_control", O_WRONLY);
    bool is_added = false;
    char text[64];

    if (level_fd >= 0 && control_fd >= 0) {
        int len = snprintf(text, sizeof(text), "%d %d medium", event_fd, level_fd);

        is_added = write(control_fd, text, (size_t)len) == len;
    }
    close_fd(control_fd); /* the kernel keeps what it needs */
    close_fd(level_fd);
    return is_added;
}

static void listen_v1(struct sl_pressure *pressure, const char *root, const char *cgroup)
{
    int event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uint32_t n_added = 0;
    struct walk walk;

    if (event_fd < 0 || !walk_begin(&walk, root, "/memory", cgroup)) {
        close_fd(event_fd);
        return;
    }
    do {
        n_added += add_v1_level(event_fd, walk.dir);
    } while (n_added < N_LEVELS_MAX && walk_up(&walk));
    if (n_added > 0)
        pressure->fds[V1_EVENTS].fd = event_fd;
    else
        close_fd(event_fd);
}

/* Lines of /proc/self/cgroup: "4:memory:/path" (v1), "0::/path" (v2). */
static void listen_to_cgroups(struct sl_pressure *pressure, const char *root)
{
    char path[PATH_BYTES], line[PATH_MAX];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    f = fopen(path, "re");
    if (!f)
        return;
    while (fgets(line, sizeof(line), f)) {
        char *controllers = strchr(line, ':');
        char *cgroup = controllers ? strchr(controllers + 1, ':') : NULL;

        if (!cgroup)
            continue;
        *cgroup++ = '\0';
        cgroup[strcspn(cgroup, "\n")] = '\0';
        if (strcmp(line, "0:") == 0 && pressure->n_levels == 0)
            listen_v2(pressure, root, cgroup);
        else if (strcmp(controllers + 1, "memory") == 0 && pressure->fds[V1_EVENTS].fd < 0)
            listen_v1(pressure, root, cgroup);
    }
    (void)fclose(f); /* read only */
}

static void write_text(struct sl_pressure *pressure)
{
    size_t len = 0;

    for (int i = 0; i < SOURCE_COUNT; i++)
        if (pressure->fds[i].fd >= 0)
            len += (size_t)snprintf(pressure->text + len, sizeof(pressure->text) - len, "%s%s",
                                    len ? ", " : "", source_names[i]);
    if (len == 0)
        (void)snprintf(pressure->text, sizeof(pressure->text), "nothing");
}

int sl_pressure_open(struct sl_pressure **ret_pressure, const char *root)
{
    struct sl_pressure *pressure = calloc(1, sizeof(*pressure));
    char path[PATH_BYTES];

    if (!pressure)
        return -ENOMEM;
    for (int i = 0; i < SOURCE_COUNT; i++)
        pressure->fds[i] = (struct pollfd){
            .fd = -1, .events = i == SYSTEM_PSI || i == CGROUP_PSI ? POLLPRI : POLLIN };
    (void)snprintf(path, sizeof(path), "%s/proc/pressure/memory", root);
    pressure->fds[SYSTEM_PSI].fd = open_psi(path);
    listen_to_cgroups(pressure, root);
    write_text(pressure);
    *ret_pressure = pressure;
    return 0;
}

void sl_pressure_close(struct sl_pressure *pressure)
{
    if (!pressure)
        return;
    for (int i = 0; i < SOURCE_COUNT; i++)
        close_fd(pressure->fds[i].fd);
    for (uint32_t i = 0; i < pressure->n_levels; i++)
        close_fd(pressure->levels[i].fd);
    free(pressure);
}

/* Take what has been told since the last time; whether more of it is pressure. */
static bool take_v2_events(struct sl_pressure *pressure)
{
    char told[1024];
    bool is_pressure = false;

    while (read(pressure->fds[V2_EVENTS].fd, told, sizeof(told)) > 0)
        continue;
    for (uint32_t i = 0; i < pressure->n_levels; i++) {
        uint64_t n_events = read_events(pressure->levels[i].fd);

        is_pressure = is_pressure || n_events > pressure->levels[i].n_events;
        pressure->levels[i].n_events = n_events;
    }
    return is_pressure;
}

static bool take_v1_events(struct sl_pressure *pressure)
{
    uint64_t n_events;

    return read(pressure->fds[V1_EVENTS].fd, &n_events, sizeof(n_events)) == sizeof(n_events);
}

bool sl_pressure_poll(struct sl_pressure *pressure)
{
    bool is_pressure = false;

    if (poll(pressure->fds, SOURCE_COUNT, 0) <= 0)
        return false;
    for (int i = 0; i < SOURCE_COUNT; i++) {
        struct pollfd *fd = &pressure->fds[i];

        if (fd->revents & (POLLERR | POLLNVAL)) { /* the cgroup is gone */
            close_fd(fd->fd);
            fd->fd = -1;
        } else if (i == V2_EVENTS && fd->revents) {
            is_pressure |= take_v2_events(pressure);
        } else if (i == V1_EVENTS && fd->revents) {
            is_pressure |= take_v1_events(pressure);
        } else if (fd->revents) {
            is_pressure = true; /* poll itself has taken the event */
        }
    }
    return is_pressure;
}

const char *sl_pressure_text(const struct sl_pressure *pressure)
{
    return pressure->text;
}
