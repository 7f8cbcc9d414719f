/*
 * Containers leave marks: files that their programs put there, or the names of the first
 * process's cgroups. gVisor and WSL show by the kernel's own words.
 */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mountinfo.h"
#include "doctor/facts.h"
#include "doctor/sysfile.h"
#include "loader/uring.h"

#define CAP_SYS_NICE_BIT 23 /* linux/capability.h */

static bool is_there(const char *root, const char *path)
{
    char full[PATH_MAX];
    struct stat st;

    return snprintf(full, sizeof(full), "%s%s", root, path) < (int)sizeof(full) &&
           stat(full, &st) == 0;
}

static enum sl_facts_container named(const char *name)
{
    static const struct {
        const char *name;
        enum sl_facts_container container;
    } names[] = {
        {"docker", SL_FACTS_DOCKER},
        {"podman", SL_FACTS_PODMAN},
        {"kubernetes", SL_FACTS_KUBERNETES},
        {"lxc", SL_FACTS_LXC},
        {"systemd-nspawn", SL_FACTS_NSPAWN},
        {"wsl", SL_FACTS_WSL2},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strncmp(name, names[i].name, strlen(names[i].name)) == 0)
            return names[i].container;
    return SL_FACTS_OTHER_CONTAINER;
}

/* By the names of cgroups in a file. */
static enum sl_facts_container by_cgroup(const char *root, const char *path)
{
    static const struct {
        const char *part;
        enum sl_facts_container container;
    } parts[] = {
        {"/kubepods", SL_FACTS_KUBERNETES},
        {"kubepods.slice", SL_FACTS_KUBERNETES},
        {"/docker/", SL_FACTS_DOCKER},
        {"/docker-", SL_FACTS_DOCKER},
        {"/libpod-", SL_FACTS_PODMAN},
        {"/lxc/", SL_FACTS_LXC},
        {"/lxc.payload", SL_FACTS_LXC},
    };
    FILE *f = sl_sysfile_open(root, path);
    enum sl_facts_container found = SL_FACTS_NO_CONTAINER;
    char line[PATH_MAX];

    while (f && !found && fgets(line, sizeof(line), f))
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && !found; i++)
            if (strstr(line, parts[i].part))
                found = parts[i].container;
    if (f)
        (void)fclose(f); /* read only */
    return found;
}

/* By the version that the kernel tells: WSL 1 says Microsoft with a capital. */
static enum sl_facts_container by_kernel(const char *root)
{
    char text[256];

    if (!sl_sysfile_line(root, "/proc/version", text, sizeof(text)))
        return SL_FACTS_NO_CONTAINER;
    if (strstr(text, "gVisor"))
        return SL_FACTS_GVISOR;
    if (strstr(text, "WSL2") || strstr(text, "microsoft-standard"))
        return SL_FACTS_WSL2;
    return strstr(text, "-Microsoft") ? SL_FACTS_WSL1 : SL_FACTS_NO_CONTAINER;
}

static void look_at_root(void *arg, const struct sl_mount *mount)
{
    bool *is_whole_disk = arg;

    if (strcmp(mount->point, "/") == 0)
        *is_whole_disk = strcmp(mount->root, "/") == 0 && strncmp(mount->source, "/dev/", 5) == 0;
}

/* Whether the root is a disk's whole file system, which no container's is: images of virtual
 * machines are made from those of containers, with the marks in them. */
static bool has_own_disk(const char *root)
{
    bool is_whole_disk = false;

    sl_mountinfo_walk(root, look_at_root, &is_whole_disk);
    return is_whole_disk;
}

static enum sl_facts_container find_container(const char *root)
{
    enum sl_facts_container found = by_kernel(root);
    char name[64];

    if (found == SL_FACTS_GVISOR || found == SL_FACTS_WSL1)
        return found;
    if (is_there(root, "/run/secrets/kubernetes.io") ||
        is_there(root, "/var/run/secrets/kubernetes.io"))
        return SL_FACTS_KUBERNETES;
    if (is_there(root, "/run/.containerenv") && !has_own_disk(root))
        return SL_FACTS_PODMAN;
    if (is_there(root, "/.dockerenv") && !has_own_disk(root))
        return SL_FACTS_DOCKER;
    if (sl_sysfile_line(root, "/run/systemd/container", name, sizeof(name)) && name[0])
        return named(name);
    if (found)
        return found;
    return by_cgroup(root, "/proc/1/cgroup");
}

/* The unit that the own cgroup is of: "system.slice/sluice.service". Not those of a user's own
 * systemd, which cannot raise limits. */
static void read_unit(struct sl_facts_system *system, const char *root)
{
    FILE *f = sl_sysfile_open(root, "/proc/self/cgroup");
    char line[PATH_MAX];

    while (f && fgets(line, sizeof(line), f)) {
        char *name = strrchr(line, '/');
        size_t len = name ? strcspn(++name, "\n") : 0;

        if (!name || strstr(line, "/user.slice/") ||
            (strncmp(line, "0::", 3) != 0 && !strstr(line, ":name=systemd:")))
            continue;
        name[len] = '\0';
        for (size_t i = 0; i < len; i++) /* what systemd's names are made of */
            if (!isalnum((unsigned char)name[i]) && !strchr(":-_.\\@", name[i]))
                len = 0;
        if (len > 8 && len < sizeof(system->unit) && strcmp(name + len - 8, ".service") == 0)
            memcpy(system->unit, name, len + 1);
    }
    if (f)
        (void)fclose(f); /* read only */
}

void sl_sysfacts_gather(struct sl_facts_system *ret, const char *root)
{
    char text[32];
    uint64_t value;

    *ret = (struct sl_facts_system){.uring_disabled = -1, .seccomp = -1};
    (void)sl_sysfile_line(root, "/proc/sys/kernel/osrelease", ret->kernel, sizeof(ret->kernel));
    if (sl_sysfile_number(root, "/proc/sys/kernel/io_uring_disabled", &value) && value <= 2)
        ret->uring_disabled = (int)value;
    if (sl_sysfile_key(root, "/proc/self/status", "Seccomp:", text, sizeof(text)) &&
        text[0] >= '0' && text[0] <= '2' && !text[1])
        ret->seccomp = text[0] - '0';
    if (sl_sysfile_key(root, "/proc/self/status", "CapEff:", text, sizeof(text)))
        ret->may_bind = strtoull(text, NULL, 16) >> CAP_SYS_NICE_BIT & 1;
    ret->container = find_container(root);
    read_unit(ret, root);
}

void sl_facts_gather(struct sl_facts *ret, const char *root)
{
    *ret = (struct sl_facts){.n_places = 0};
    sl_cpufacts_gather(&ret->cpu, root);
    sl_memfacts_gather(&ret->memory, root);
    sl_limitfacts_gather(&ret->limits, root);
    sl_sysfacts_gather(&ret->system, root);
    ret->system.uring_error = sl_uring_probe();
}
