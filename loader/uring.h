/* Whether io_uring can be had at all: for those who say so to people. Any thread. */
#pragma once

/*
 * Set up a small ring and take it down again. 0, or what the system said: -EPERM (the sysctl
 * kernel.io_uring_disabled, or a seccomp filter), -ENOSYS (not there, or hidden), ...;
 * -ENOTSUP: built without liburing.
 */
int sl_uring_probe(void);
