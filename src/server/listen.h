/*
 * Sockets that wait for connections: on an address, at a path, or handed over by systemd.
 * One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define SL_LISTEN_MAX 8

struct sl_listen {
    int fds[SL_LISTEN_MAX]; /* listening, not blocking */
    bool is_unix[SL_LISTEN_MAX];
    bool is_inherited[SL_LISTEN_MAX]; /* shared with who handed it over */
    uint32_t n;
    bool is_beyond_loopback; /* one of them can be reached from other machines */
    char *unlink_path;       /* of the socket file we made, or NULL */
    uint64_t unlink_inode;
};

/* Close what is still there and remove the socket file. A struct of zeroes is an empty one. */
void sl_listen_done(struct sl_listen *sockets);

/*
 * Listen on every address that host means ("127.0.0.1", "localhost", "::", "0.0.0.0").
 * port 0 lets the system choose (one for all). Returns 0; -EINVAL: no such host; -E2BIG;
 * or what the system said (-EADDRINUSE, -EACCES, ...).
 */
int sl_listen_add_tcp(struct sl_listen *sockets, const char *host, uint16_t port,
                      struct sl_diag *diag);

/*
 * Listen at a path, for this user alone. A socket file that nobody listens at is replaced;
 * any other file is left: -EADDRINUSE or -EEXIST.
 */
int sl_listen_add_unix(struct sl_listen *sockets, const char *path, struct sl_diag *diag);

/* Take over a listening stream socket; it is closed with the others. Returns 0, -EINVAL
 * (not one; the caller keeps it), -E2BIG. */
int sl_listen_add_fd(struct sl_listen *sockets, int fd, struct sl_diag *diag);

/* The port of the first TCP socket, 0 if there is none. */
uint16_t sl_listen_port(const struct sl_listen *sockets);
