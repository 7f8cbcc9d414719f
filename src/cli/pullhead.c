/*
 * The heads are asked for by ranges and are the first bytes of the download. How long they are
 * nobody says before they are read, so four times as much is got until they are understood. The
 * reader of GGUF files finds the parts of a split model by their names: they get some, as links
 * in a folder that is removed again.
 */
#include "cli/pullhead.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD_BYTES ((uint64_t)4 << 20)
#define HEAD_BYTES_MAX ((uint64_t)64 << 20)

static const char *path_of(const struct sl_pullrun_part *part)
{
    return part->download ? sl_download_partial_path(part->download) : part->blob;
}

static void part_name(char *buf, size_t cap, const char *folder, uint32_t i, uint32_t n)
{
    (void)snprintf(buf, cap, "%s/model-%05u-of-%05u.gguf", folder, i + 1, n); /* short */
}

static bool make_links(const struct sl_pullrun *run, const char *folder)
{
    char name[256];

    for (uint32_t i = 0; i < run->n_parts; i++) {
        char *target = realpath(path_of(&run->parts[i]), NULL);
        bool is_made;

        part_name(name, sizeof(name), folder, i, run->n_parts);
        is_made = target && symlink(target, name) == 0;
        free(target);
        if (!is_made)
            return false;
    }
    return true;
}

static void remove_links(const struct sl_pullrun *run, const char *folder)
{
    char name[256];

    for (uint32_t i = 0; i < run->n_parts; i++) {
        part_name(name, sizeof(name), folder, i, run->n_parts);
        (void)unlink(name); /* it need not be there */
    }
    (void)rmdir(folder);
}

/* sl_pullplan_make's results. */
static int make(struct sl_pullrun *run)
{
    const char *tmp = getenv("TMPDIR");
    uint64_t bytes = run->progress.total_bytes;
    char folder[160], name[256];
    int r;

    if (run->n_parts == 1)
        return sl_pullplan_make(&run->plan, path_of(run->parts), run->cache.repo, bytes,
                                run->mode);
    if (!tmp || !tmp[0] || strlen(tmp) > 100)
        tmp = "/tmp";
    (void)snprintf(folder, sizeof(folder), "%s/sluice-pull-XXXXXX", tmp);
    if (!mkdtemp(folder)) {
        run->plan = (struct sl_pullplan){.bytes = bytes};
        (void)snprintf(run->plan.why, sizeof(run->plan.why), "cannot write to %s: %s", tmp,
                       strerror(errno));
        return 0;
    }
    part_name(name, sizeof(name), folder, 0, run->n_parts);
    r = make_links(run, folder)
            ? sl_pullplan_make(&run->plan, name, run->cache.repo, bytes, run->mode) : -EAGAIN;
    remove_links(run, folder);
    return r;
}

static bool begins_as_gguf(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char magic[4] = "";
    bool is = fd >= 0 && read(fd, magic, 4) == 4 && !memcmp(magic, "GGUF", 4);

    if (fd >= 0)
        (void)close(fd); /* it was only read */
    return is;
}

int sl_pullhead_plan(struct sl_pullrun *run, const struct sl_pullrun_part **ret_part,
                     struct sl_diag *diag)
{
    int r = -EAGAIN;

    for (uint64_t bytes = HEAD_BYTES; bytes <= HEAD_BYTES_MAX && r == -EAGAIN; bytes *= 4) {
        bool is_gguf = true;

        for (uint32_t i = 0; i < run->n_parts; i++) {
            const struct sl_pullrun_part *part = &run->parts[i];
            int got = part->download ? sl_download_get_head(part->download, bytes, diag) : 0;

            *ret_part = part;
            if (got < 0)
                return got;
            is_gguf &= begins_as_gguf(path_of(part));
        }
        r = make(run);
        if (r == -EAGAIN && !is_gguf)
            break;
    }
    if (r == -EAGAIN) {
        char why[sizeof(run->plan.why)];

        memcpy(why, run->plan.why, sizeof(why));
        run->plan.is_bad = true;
        (void)snprintf(run->plan.why, sizeof(run->plan.why),
                       "the file's head is not that of a model: %.400s", why);
    }
    return 0;
}
