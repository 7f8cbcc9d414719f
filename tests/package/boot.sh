#!/bin/bash
# boot.sh FOLDER: become the init of the Debian system in FOLDER. In namespaces of its own
# (mount, pid, cgroup, uts, ipc, net) the system sees its own files, processes and cgroup. The
# kernel's settings are shared with the machine: /proc/sys and /sys are read-only.
set -euo pipefail

system=$1

mount --make-rprivate /
mount --bind "$system" "$system"
cd "$system"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mkdir -p .machine
pivot_root . .machine
umount -l /.machine
rmdir /.machine
exec env -i container=bare PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
    --unit=multi-user.target
