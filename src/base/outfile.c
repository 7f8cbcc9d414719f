/*
 * Aside is a file without a name in the same folder, which the kernel removes whatever
 * happens to this program; it gets the name PATH when it is complete, by way of
 * PATH.XXXXXX if there is a PATH already. Where the file system has no nameless files, it
 * is PATH.XXXXXX from the start. The stream is our own over the descriptor, because stdio
 * forgets why a write failed (a full disk) by the time somebody asks.
 */
#include "base/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ssize_t write_all(void *cookie, const char *data, size_t len)
{
    struct sl_outfile *out = cookie;

    for (size_t done = 0; done < len;) {
        ssize_t n = write(out->fd, data + done, len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (!out->error)
                out->error = -errno;
            return 0; /* says that it failed */
        }
        done += (size_t)n;
    }
    return (ssize_t)len;
}

static int close_below(void *cookie)
{
    struct sl_outfile *out = cookie;

    return close(out->fd);
}

static int open_stream(struct sl_outfile *out)
{
    out->file = fopencookie(out, "w", (cookie_io_functions_t){
                                          .write = write_all, .close = close_below});
    if (out->file)
        return 0;
    (void)close(out->fd); /* nothing was written */
    return -ENOMEM;
}

/* False where that is not possible, or where it could not be given a name later. */
static bool open_nameless(struct sl_outfile *out)
{
    const char *slash = strrchr(out->path, '/');
    char *folder = slash ? strndup(out->path, (size_t)(slash - out->path) + 1) : strdup(".");

    if (!folder)
        return false;
    out->fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    free(folder);
    if (out->fd < 0)
        return false;
    (void)snprintf(out->fd_path, sizeof(out->fd_path), "/proc/self/fd/%d", out->fd);
    if (access(out->fd_path, F_OK) == 0)
        return true;
    (void)close(out->fd); /* nothing was written */
    return false;
}

/* Give a nameless file its name. The name in between is found by making a file of it. */
static int give_name(struct sl_outfile *out)
{
    int r = 0;

    for (int i = 0; i < 100; i++) {
        int fd;

        if (linkat(AT_FDCWD, out->fd_path, AT_FDCWD, out->aside ? out->aside : out->path,
                   AT_SYMLINK_FOLLOW) == 0)
            return 0; /* and rename, if there is an aside */
        r = -errno;
        free(out->aside);
        out->aside = NULL;
        if (r != -EEXIST)
            return r;
        if (asprintf(&out->aside, "%s.XXXXXX", out->path) < 0) {
            out->aside = NULL;
            return -ENOMEM;
        }
        fd = mkostemp(out->aside, O_CLOEXEC);
        if (fd < 0)
            return -errno;
        (void)close(fd); /* nothing was written */
        (void)unlink(out->aside);
    }
    return r;
}

static int open_aside(struct sl_outfile *out)
{
    mode_t mask = umask(0);

    umask(mask);
    if (open_nameless(out)) {
        out->is_nameless = true;
        return open_stream(out);
    }
    if (asprintf(&out->aside, "%s.XXXXXX", out->path) < 0) {
        out->aside = NULL;
        return -ENOMEM;
    }
    out->fd = mkostemp(out->aside, O_CLOEXEC);
    if (out->fd < 0) {
        int r = -errno;

        free(out->aside);
        out->aside = NULL;
        return r;
    }
    (void)fchmod(out->fd, 0666 & ~mask); /* as open would have done; not vital */
    return open_stream(out);
}

static int open_directly(struct sl_outfile *out)
{
    out->fd = open(out->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return out->fd < 0 ? -errno : open_stream(out);
}

int sl_outfile_open(struct sl_outfile *out, const char *path, struct sl_diag *diag)
{
    struct stat st;
    int r = 0;

    *out = (struct sl_outfile){.path = strdup(path)};
    if (!out->path) {
        r = -ENOMEM;
    } else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        r = open_directly(out);
    } else {
        r = open_aside(out);
    }
    if (r < 0) {
        (void)sl_diag_set(diag, r, "cannot write %s: %s", path, sl_err_text(r));
        sl_outfile_done(out);
    }
    return r;
}

int sl_outfile_commit(struct sl_outfile *out, struct sl_diag *diag)
{
    bool has_name = false;
    int r = 0;

    if (fflush(out->file) != 0 || ferror(out->file))
        r = out->error ? out->error : -EIO;
    else if ((out->aside || out->is_nameless) && fsync(out->fd) != 0)
        r = -errno;
    if (r == 0 && out->is_nameless) {
        r = give_name(out);
        has_name = r == 0;
    }
    if (fclose(out->file) != 0 && r == 0)
        r = -errno;
    out->file = NULL;
    if (r == 0 && out->aside && rename(out->aside, out->path) != 0)
        r = -errno;
    if (r < 0 && has_name && !out->aside)
        (void)unlink(out->path); /* of which there was none before */
    if (r < 0) {
        (void)sl_diag_set(diag, r, "cannot write %s: %s", out->path, sl_err_text(r));
    } else {
        free(out->aside);
        out->aside = NULL;
    }
    sl_outfile_done(out);
    return r;
}

void sl_outfile_done(struct sl_outfile *out)
{
    if (out->file)
        (void)fclose(out->file); /* given up */
    if (out->aside)
        (void)unlink(out->aside);
    free(out->aside);
    free(out->path);
    *out = (struct sl_outfile){0};
}
