"""A Debian 12 that boots: made by debootstrap, run with systemd as its init in namespaces.

It has no network while it runs; what apt shall install is fetched before.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
MIRROR = os.environ.get('SL_MIRROR', 'http://deb.debian.org/debian')
# Beside debootstrap's smallest system: an init, what reads manuals, and the shells.
EXTRA = ['systemd', 'dbus', 'libpam-systemd', 'man-db', 'bash-completion', 'zsh', 'fish', 'curl',
         'ca-certificates']
UID = 1000
BOOT_SECONDS = 120


def call(command, **more):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL,
                          check=False, errors='replace', **more)
    return done.returncode, done.stdout


def must(command, **more):
    code, text = call(command, **more)
    if code:
        sys.exit(f'{" ".join(map(str, command))}: exit code {code}\n{text[-4000:]}')
    return text


def apt(folder, *words):
    env = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'DEBIAN_FRONTEND': 'noninteractive',
           'LC_ALL': 'C.UTF-8'}
    return must(['chroot', folder, 'apt-get', '-y', *words], env=env)


def make(folder):
    """The system to begin with, made once."""
    made = folder / 'base'
    if made.exists():
        return made
    part = folder / 'base.part'
    shutil.rmtree(part, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    must(['debootstrap', '--variant=minbase', 'bookworm', part, MIRROR])
    shutil.copy('/etc/resolv.conf', part / 'etc/resolv.conf')
    apt(part, 'install', '--no-install-recommends', *EXTRA)
    must(['chroot', part, 'useradd', '--create-home', '--uid', UID, 'tester'])
    # What the first boot makes, so that it is no difference later
    (part / 'etc/machine-id').write_text('0123456789abcdef0123456789abcdef\n')
    part.rename(made)
    return made


def cgroup_mount():
    for line in pathlib.Path('/proc/mounts').read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == 'cgroup2':
            return pathlib.Path(where)
    sys.exit('no cgroup2 is mounted here: systemd cannot run in a namespace')


class BareSystem:
    """A copy of the base, running until stop()."""

    def __init__(self, folder, debs):
        self.root = folder / 'system'
        base = make(folder)
        shutil.rmtree(self.root, ignore_errors=True)
        must(['cp', '-a', base, self.root])
        (self.root / 'debs').mkdir()
        for deb in debs:
            shutil.copy(deb, self.root / 'debs')
        self.debs = ['/debs/' + pathlib.Path(deb).name for deb in debs]
        apt(self.root, 'install', '--no-install-recommends', '--download-only', *self.debs)
        self.cgroup = cgroup_mount() / f'sluice-bare-{os.getpid()}'
        self.cgroup.mkdir()
        self.process = subprocess.Popen(
            ['unshare', '--mount', '--pid', '--fork', '--cgroup', '--uts', '--ipc', '--net',
             '--kill-child', 'bash', HERE / 'boot.sh', self.root],
            preexec_fn=self.enter_cgroup, stdin=subprocess.DEVNULL)
        self.init = None
        self.wait_for_boot()

    def enter_cgroup(self):
        (self.cgroup / 'cgroup.procs').write_text(str(os.getpid()))

    def wait_for_boot(self):
        end = time.monotonic() + BOOT_SECONDS
        state = ''
        while state.strip() not in ('running', 'degraded'):
            if time.monotonic() > end or self.process.poll() is not None:
                self.stop()
                sys.exit(f'the system does not boot: {state}')
            time.sleep(0.2)
            scope = self.cgroup / 'init.scope/cgroup.procs'
            if scope.exists() and scope.read_text().split():
                self.init = scope.read_text().split()[0]
                state = self.run('systemctl', 'is-system-running')[1]

    def run(self, *command, user=None):
        """Exit code and output of a command in the system, as root or as the user."""
        env = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C.UTF-8', 'HOME': '/root',
               'DEBIAN_FRONTEND': 'noninteractive', 'TERM': 'dumb', 'MANWIDTH': '80'}
        words = ['nsenter', '--target', self.init, '--mount', '--pid', '--uts', '--ipc', '--net',
                 '--cgroup', '--root', '--', 'env', '--chdir=/']
        if user:
            env.update(HOME='/home/tester', XDG_RUNTIME_DIR=f'/run/user/{UID}')
            words += ['setpriv', f'--reuid={UID}', f'--regid={UID}', '--clear-groups']
        return call([*words, *command], env=env)

    def sh(self, script, user=None):
        return self.run('bash', '-c', script, user=user)

    def stop(self):
        self.process.kill()
        self.process.wait()
        for _ in range(100):
            for path in sorted(self.cgroup.rglob('*'), reverse=True):
                if path.is_dir():
                    try_rmdir(path)
            if try_rmdir(self.cgroup):
                return
            time.sleep(0.1)


def try_rmdir(path):
    try:
        path.rmdir()
        return True
    except OSError:
        return False
