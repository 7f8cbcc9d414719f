/* Aside is PATH.XXXXXX in the same folder, so that rename stays on one file system. */
#include "cli/outfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_aside(struct sl_outfile *out)
{
    mode_t mask = umask(0);
    int fd;

    umask(mask);
    if (asprintf(&out->aside, "%s.XXXXXX", out->path) < 0) {
        out->aside = NULL;
        return -ENOMEM;
    }
    fd = mkostemp(out->aside, 0);
    if (fd < 0) {
        int r = -errno;

        free(out->aside);
        out->aside = NULL;
        return r;
    }
    (void)fchmod(fd, 0666 & ~mask); /* as open would have done; not vital */
    out->file = fdopen(fd, "w");
    if (!out->file) {
        close(fd);
        return -ENOMEM;
    }
    return 0;
}

int sl_outfile_open(struct sl_outfile *out, const char *path, struct sl_diag *diag)
{
    struct stat st;
    int r = 0;

    *out = (struct sl_outfile){.path = strdup(path)};
    if (!out->path) {
        r = -ENOMEM;
    } else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        out->file = fopen(path, "w");
        r = out->file ? 0 : -errno;
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
    int r = 0;

    errno = 0;
    if (fflush(out->file) != 0 || ferror(out->file) ||
        (out->aside && fsync(fileno(out->file)) != 0))
        r = errno ? -errno : -EIO;
    if (fclose(out->file) != 0 && r == 0)
        r = -errno;
    out->file = NULL;
    if (r == 0 && out->aside && rename(out->aside, out->path) != 0)
        r = -errno;
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
