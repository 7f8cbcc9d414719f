#include "server/sdnotify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int sl_sdnotify_send(const char *socket_path, const char *state, struct sl_diag *diag)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t address_len;
    size_t len;
    int r = 0;
    int fd;

    if (!socket_path || !*socket_path)
        return 0;
    len = strlen(socket_path);
    if ((socket_path[0] != '/' && socket_path[0] != '@') || len >= sizeof(address.sun_path))
        return sl_diag_set(diag, -EINVAL, "NOTIFY_SOCKET is no path of a socket: %s", socket_path);
    memcpy(address.sun_path, socket_path, len);
    if (socket_path[0] == '@') /* the abstract namespace, where the final zero would count */
        address.sun_path[0] = '\0';
    address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);

    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return sl_diag_set(diag, -errno, "no socket for systemd: %s", strerror(errno));
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
               address_len) < 0)
        r = sl_diag_set(diag, -errno, "cannot notify %s: %s", socket_path, strerror(errno));
    close(fd);
    return r;
}

/* A decimal number without anything else; -1 if it is none. */
static long long number(const char *text)
{
    char *end;
    long long value;

    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    value = strtoll(text, &end, 10);
    return errno || *end ? -1 : value;
}

int sl_sdnotify_inherited(const char *listen_pid, const char *listen_fds, struct sl_diag *diag)
{
    long long pid, n;

    if (!listen_pid || !listen_fds)
        return 0;
    pid = number(listen_pid);
    n = number(listen_fds);
    if (pid < 0 || n < 0)
        return sl_diag_set(diag, -EBADMSG, "LISTEN_PID and LISTEN_FDS are no numbers: %s, %s",
                           listen_pid, listen_fds);
    if (pid != getpid())
        return 0;
    if (n > SL_SDNOTIFY_FDS_MAX)
        return sl_diag_set(diag, -E2BIG, "%lld sockets handed over, at most %d are taken", n,
                           SL_SDNOTIFY_FDS_MAX);
    for (int fd = SL_SDNOTIFY_FD_FIRST; fd < SL_SDNOTIFY_FD_FIRST + (int)n; fd++)
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            return sl_diag_set(diag, -EBADMSG,
                               "LISTEN_FDS says %lld, but descriptor %d is not open", n, fd);
    return (int)n;
}
