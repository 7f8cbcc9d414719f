"""A process in a bounded memory, and a cold start: for benchmarks. Imported by streaming.py.

Cgroup makes a memory cgroup, v1 or v2, whichever this machine has and lets us write; Denied
says why it cannot. Everything it makes, it removes.
"""
import contextlib
import os
import pathlib
import time

MOUNT = pathlib.Path('/sys/fs/cgroup')


class Denied(Exception):
    """No memory cgroup can be made here."""


def _read_number(path):
    try:
        return int(path.read_text(encoding='ascii'))
    except (OSError, ValueError):
        return 0


def _read_key(path, key):
    """The number behind a key at the start of a line."""
    try:
        for line in path.read_text(encoding='ascii').splitlines():
            name, _, value = line.partition(' ')
            if name == key:
                return int(value)
    except (OSError, ValueError):
        pass
    return 0


class Cgroup:
    """A memory cgroup with a limit in bytes (None: no limit), as a context manager."""

    def __init__(self, limit):
        self.limit = limit
        self.is_v1 = (MOUNT / 'memory/memory.limit_in_bytes').exists()
        parent = MOUNT / 'memory' if self.is_v1 else MOUNT
        self.path = parent / f'sluice-bench-{os.getpid()}'
        try:
            if not self.is_v1:
                if 'memory' not in (MOUNT / 'cgroup.controllers').read_text('ascii').split():
                    raise Denied('no memory controller in cgroup v1 or v2')
                (MOUNT / 'cgroup.subtree_control').write_text('+memory', encoding='ascii')
            self.path.mkdir()
        except OSError as error:
            raise Denied(f'no memory cgroup can be made: {error}') from error
        try:
            self._set_limit()
        except OSError as error:
            self.path.rmdir()
            raise Denied(f'no memory limit can be set: {error}') from error

    def _set_limit(self):
        if self.limit is None:
            return
        names = (['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes'] if self.is_v1 else
                 ['memory.max', 'memory.swap.max'])
        swap = self.limit if self.is_v1 else 0
        (self.path / names[0]).write_text(str(self.limit), encoding='ascii')
        with contextlib.suppress(OSError):  # kernels without accounting of swap lack it
            (self.path / names[1]).write_text(str(swap), encoding='ascii')

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.is_v1:  # or the cache charged here outlives the cgroup
            with contextlib.suppress(OSError):
                (self.path / 'memory.force_empty').write_text('0', encoding='ascii')
        for _ in range(50):  # its last process may still be on its way out
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.1)

    def join(self):
        """To be called in the child, before exec."""
        (self.path / 'cgroup.procs').write_text(str(os.getpid()), encoding='ascii')

    def peak_bytes(self):
        return _read_number(self.path / ('memory.max_usage_in_bytes' if self.is_v1 else
                                         'memory.peak'))

    def n_kills(self):
        name = 'memory.oom_control' if self.is_v1 else 'memory.events'
        return _read_key(self.path / name, 'oom_kill')


def drop_caches(paths):
    """Forget what is cached of the files: all caches where that is allowed."""
    os.sync()
    with contextlib.suppress(OSError):
        pathlib.Path('/proc/sys/vm/drop_caches').write_text('3', encoding='ascii')
        return 'all'
    for path in paths:
        with open(path, 'rb') as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return 'of the model'
