#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un path;
    struct sockaddr_storage storage;
};

void sl_listen_done(struct sl_listen *sockets)
{
    struct stat st;

    for (uint32_t i = 0; i < sockets->n; i++)
        close(sockets->fds[i]);
    /* somebody else's by now, if another server has replaced it */
    if (sockets->unlink_path && lstat(sockets->unlink_path, &st) == 0 &&
        st.st_ino == sockets->unlink_inode)
        (void)unlink(sockets->unlink_path); /* at worst it stays */
    free(sockets->unlink_path);
    *sockets = (struct sl_listen){0};
}

static bool is_loopback(const union address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
    if (address->any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
    return true;
}

static void add(struct sl_listen *sockets, int fd, const union address *address)
{
    sockets->fds[sockets->n] = fd;
    sockets->is_unix[sockets->n++] = address->any.sa_family == AF_UNIX;
    sockets->is_beyond_loopback |= !is_loopback(address);
}

/* One address. *port: 0 becomes what the system chose, so that the next takes the same. */
static int add_address(struct sl_listen *sockets, const struct addrinfo *info, uint16_t *port)
{
    union address address;
    socklen_t len = sizeof(address);
    int one = 1;
    int r;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    memcpy(&address, info->ai_addr, info->ai_addrlen);
    /* the same place in both */
    address.v4.sin_port = htons(*port);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)); /* bind tells */
    if (info->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, &address.any, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, &address.any, &len) < 0) {
        r = -errno;
        close(fd);
        return r;
    }
    *port = ntohs(address.v4.sin_port);
    add(sockets, fd, &address);
    return 0;
}

int sl_listen_add_tcp(struct sl_listen *sockets, const char *host, uint16_t port,
                      struct sl_diag *diag)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    uint16_t given = port;
    uint32_t n_before = sockets->n;
    int r = getaddrinfo(host, NULL, &hints, &list);

    if (r != 0)
        return sl_diag_set(diag, -EINVAL, "cannot listen on %s: %s", host, gai_strerror(r));
    for (const struct addrinfo *info = list; info; info = info->ai_next) {
        if (sockets->n == SL_LISTEN_MAX) {
            r = sl_diag_set(diag, -E2BIG, "more than %d sockets to listen on", SL_LISTEN_MAX);
            break;
        }
        r = add_address(sockets, info, &port);
        if (r == 0)
            continue;
        (void)sl_diag_set(diag, r, "cannot listen on %s port %u: %s%s", host, given, strerror(-r),
                          r == -EADDRINUSE ? "; choose another with --port" : "");
        /* localhost may mean an IPv6 address that this machine does not have */
        if (r != -EADDRNOTAVAIL && r != -EAFNOSUPPORT)
            break;
    }
    freeaddrinfo(list);
    if (sockets->n > n_before && (r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT))
        return 0;
    return r;
}

/* Remove a socket file that nobody listens at. */
static int remove_stale(const union address *address, struct sl_diag *diag)
{
    const char *path = address->path.sun_path;
    struct stat st;
    int r;
    int fd;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : sl_diag_set(diag, -errno, "%s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return sl_diag_set(diag, -EEXIST, "%s exists and is no socket", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    r = connect(fd, &address->any, sizeof(address->path)) < 0 ? -errno : 0;
    close(fd);
    if (r != -ECONNREFUSED)
        return sl_diag_set(diag, -EADDRINUSE, "another program listens at %s", path);
    if (unlink(path) < 0)
        return sl_diag_set(diag, -errno, "cannot remove %s: %s", path, strerror(errno));
    return 0;
}

int sl_listen_add_unix(struct sl_listen *sockets, const char *path, struct sl_diag *diag)
{
    union address address = {.path = {.sun_family = AF_UNIX}};
    size_t len = strlen(path);
    struct stat st = {0};
    mode_t mask;
    int r, fd;

    if (len == 0 || len >= sizeof(address.path.sun_path))
        return sl_diag_set(diag, -EINVAL, "a socket's path has 1 to %zu bytes, this one %zu",
                           sizeof(address.path.sun_path) - 1, len);
    if (sockets->n == SL_LISTEN_MAX || sockets->unlink_path)
        return sl_diag_set(diag, -E2BIG, "more sockets than can be listened on");
    memcpy(address.path.sun_path, path, len);
    r = remove_stale(&address, diag);
    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return sl_diag_set(diag, -errno, "cannot listen at %s: %s", path, strerror(errno));
    /* no moment in which others could connect */
    mask = umask(0177);
    r = bind(fd, &address.any, sizeof(address.path)) < 0 ? -errno : 0;
    (void)umask(mask);
    if (r == 0 && listen(fd, BACKLOG) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return sl_diag_set(diag, r, "cannot listen at %s: %s", path, strerror(-r));
    }
    sockets->unlink_path = strdup(path); /* without memory the file stays */
    if (lstat(path, &st) == 0)
        sockets->unlink_inode = st.st_ino;
    add(sockets, fd, &address);
    return 0;
}

int sl_listen_add_fd(struct sl_listen *sockets, int fd, struct sl_diag *diag)
{
    union address address;
    socklen_t len = sizeof(address);
    int type = 0, is_listening = 0;
    socklen_t type_len = sizeof(type), is_len = sizeof(is_listening);

    if (sockets->n == SL_LISTEN_MAX)
        return sl_diag_set(diag, -E2BIG, "more than %d sockets to listen on", SL_LISTEN_MAX);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &is_len) < 0 || !is_listening ||
        getsockname(fd, &address.any, &len) < 0)
        return sl_diag_set(diag, -EINVAL, "descriptor %d is no listening stream socket", fd);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
        return sl_diag_set(diag, -EINVAL, "descriptor %d: %s", fd, strerror(errno));
    sockets->is_inherited[sockets->n] = true;
    add(sockets, fd, &address);
    return 0;
}

uint16_t sl_listen_port(const struct sl_listen *sockets)
{
    for (uint32_t i = 0; i < sockets->n; i++) {
        union address address;
        socklen_t len = sizeof(address);

        if (!sockets->is_unix[i] && getsockname(sockets->fds[i], &address.any, &len) == 0)
            return ntohs(address.v4.sin_port);
    }
    return 0;
}
