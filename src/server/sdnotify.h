/*
 * systemd's two plain protocols, without its library: telling it how the service is, and
 * taking over sockets that it has opened. The environment is read by the caller.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

/*
 * Send a state ("READY=1", "STOPPING=1", "STATUS=text", several lines at once) to the
 * socket named by NOTIFY_SOCKET. socket_path NULL or empty: nobody asks, nothing is done.
 * Does not block. Returns 0, or the negative errno of what failed.
 */
int sl_sdnotify_send(const char *socket_path, const char *state, struct sl_diag *diag);

#define SL_SDNOTIFY_FD_FIRST 3
#define SL_SDNOTIFY_FDS_MAX 8

/*
 * How many sockets were handed over, as descriptors from SL_SDNOTIFY_FD_FIRST on, told by
 * the texts of LISTEN_PID and LISTEN_FDS (NULL: not set). 0 if none, or if they are meant
 * for another process. Each is set to be closed on exec.
 * Returns their number, -EBADMSG, or -E2BIG.
 */
int sl_sdnotify_inherited(const char *listen_pid, const char *listen_fds, struct sl_diag *diag);
