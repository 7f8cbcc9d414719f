#include "store/smallfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, char *text, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = read(fd, text + done, len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO; /* it became shorter just now */
        done += (size_t)n;
    }
    return 0;
}

int sl_smallfile_read(const char *path, size_t max, char **ret_text, size_t *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    char *text = NULL;
    int r = 0;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) != 0)
        r = -errno;
    else if (!S_ISREG(st.st_mode))
        r = -ENOTSUP;
    else if ((size_t)st.st_size > max)
        r = -EFBIG;
    if (r == 0) {
        text = malloc((size_t)st.st_size + 1);
        r = text ? read_all(fd, text, (size_t)st.st_size) : -ENOMEM;
    }
    close(fd);
    if (r < 0) {
        free(text);
        return r;
    }
    text[st.st_size] = '\0';
    *ret_text = text;
    *ret_len = (size_t)st.st_size;
    return 0;
}
