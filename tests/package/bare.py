#!/usr/bin/python3
"""Install the packages on a bare Debian 12, use them, purge them: bare.py FOLDER DEB...

FOLDER holds the system between runs (base, made by debootstrap). Needs root and a Debian
mirror. One line per check; the last line is 'N passed, N failed, N skipped'. Exit 1 if one
failed.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import sys
import time
import traceback

from baresystem import UID, BareSystem

INSTALL = 'apt-get install -y --no-install-recommends'  # all is fetched already
MODEL = '/usr/share/sluice/models/demo.gguf'
# What a system changes by itself: logs, apt's and man's caches, dpkg's own records (looked
# at through dpkg), the linker's cache, systemd's state and the folder for all dynamic users.
IGNORED = re.compile(r'/(proc|sys|dev|run|tmp|debs|var/log|var/cache|var/lib/apt|var/lib/dpkg'
                     r'|var/lib/systemd|etc/ld\.so\.cache|var/lib/private)(/|$)')


class Skipped(Exception):
    """What the machine does not allow to check; a line before says so."""


def files_of(root):
    """Path -> what it is, for all files but those of IGNORED."""
    found = {}
    for folder, names, files in os.walk(root):
        inside = folder[len(str(root)):]
        names[:] = [name for name in names if not IGNORED.match(f'{inside}/{name}')]
        for name in names + files:
            path = pathlib.Path(folder, name)
            if IGNORED.match(f'{inside}/{name}'):
                continue
            stat = path.lstat()
            what = [oct(stat.st_mode), stat.st_uid, stat.st_gid]
            if path.is_symlink():
                what.append(os.readlink(path))
            elif path.is_file():
                what.append(hashlib.sha256(path.read_bytes()).hexdigest())
            found[f'{inside}/{name}'] = what
    return found


def good(system, script, **more):
    code, text = system.sh(script, **more)
    assert code == 0, f'{script}: exit code {code}\n{text}'
    return text


def until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def installed_files(system):
    return good(system, 'dpkg -L sluice').split()


def check_install(system):
    good(system, f'{INSTALL} {" ".join(system.debs)}')
    assert not good(system, "dpkg-query -W -f '${Package}\\n' | grep -E '^(libx11|libgtk)' || true")
    assert 'libsluice.so.0' in good(system, 'ldconfig -p')
    assert good(system, 'dpkg --audit; dpkg --verify sluice libsluice0 libsluice-dev') == ''


def check_command(system):
    assert re.match(r'sluice \d+\.\d+', good(system, 'sluice --version', user='tester'))
    text = good(system, f'sluice run -n 20 --no-stats {MODEL} "In the beginning"', user='tester')
    assert len(text.split()) > 5, text


def check_manuals(system):
    pages = [path for path in installed_files(system) if re.search(r'/man/man\d/.', path)]
    commands = re.findall(r'^  (?!sluice)([a-z]+) ', good(system, 'sluice --help'), re.M)
    names = {pathlib.Path(page).name.split('.')[0] for page in pages}
    assert {'sluice'} | {f'sluice-{command}' for command in commands} <= names, names
    for page in pages:
        text = good(system, f'man --warnings=w -P cat {page} 2>&1')
        assert 'NAME' in text and 'warning' not in text, f'{page}: {text[:2000]}'
    assert 'sluice' in good(system, 'man -P cat sluice')


def check_completions(system):
    bash = good(system, '. /usr/share/bash-completion/bash_completion; _completion_loader sluice;'
                        'function=$(complete -p sluice | sed "s/.*-F \\([^ ]*\\).*/\\1/");'
                        'COMP_WORDS=(sluice ru); COMP_CWORD=1; COMP_LINE="sluice ru";'
                        'COMP_POINT=9; $function sluice ru sluice; echo "${COMPREPLY[@]}"')
    assert bash.split() == ['run'], bash
    # shells leave files in the home folder
    zsh = good(system, 'HOME=/tmp zsh -fc '
                       '"autoload -Uz compinit; compinit -u; echo \\$_comps[sluice]"')
    assert zsh.strip() == '_sluice', zsh
    fish = good(system, 'HOME=/tmp fish -c \'complete -C "sluice ru"\'')
    assert [line.split()[0] for line in fish.splitlines()] == ['run'], fish


def ask(system, path, body=None, user=None):
    data = f"-d '{json.dumps(body)}'" if body else ''
    return good(system, 'curl -sS --fail --retry 60 --retry-delay 1 --retry-max-time 60 '
                        f'http://127.0.0.1:8080{path} {data} 2>/tmp/errors || '
                        '{ cat /tmp/errors; false; }', user=user)


def main_pid(system, user=None):
    option = '--user' if user else ''
    return int(good(system, f'systemctl {option} show -P MainPID sluice', user=user))


def answers(system, n_tokens=8):
    body = {'prompt': 'In the', 'max_tokens': n_tokens, 'ignore_eos': True}
    reply = json.loads(ask(system, '/v1/completions', body))
    assert reply['usage']['completion_tokens'] == n_tokens, reply


def set_default(system, name, value):
    good(system, f"sed -i 's#^{name}=.*#{name}={value}#' /etc/default/sluice")


def reset(system):
    """As after the installation, whatever a check has left."""
    system.sh('systemctl stop sluice.socket sluice.service; systemctl reset-failed')
    if system.run('test', '-e', '/etc/default/sluice')[0] == 0:
        set_default(system, 'MODEL', MODEL)
        set_default(system, 'OPTIONS', '')


def status_of(system, pid):
    text = good(system, f'cat /proc/{pid}/status /proc/{pid}/limits')
    found = dict(re.findall(r'^(\w+):\s+(.*)$', text, re.M))
    found['memlock'] = re.search(r'^Max locked memory\s+(\S+)', text, re.M).group(1)
    return found


def check_memlock(system, status):
    assert good(system, 'systemctl show -P LimitMEMLOCK sluice').strip() == 'infinity'
    init = status_of(system, 1)
    if int(init['CapEff'], 16) >> 24 & 1:  # CAP_SYS_RESOURCE: init may raise limits
        assert status['memlock'] == 'unlimited', status
    else:
        assert status['memlock'] == init['memlock']
        print(f'      (this machine lets nobody raise limits: {init["memlock"]} bytes may be '
              'locked; the unit asks for infinity)')


def check_not_started(system):
    for unit in 'sluice.service', 'sluice.socket':
        assert system.run('systemctl', 'is-active', unit)[1].strip() == 'inactive'
        assert system.run('systemctl', 'is-enabled', unit)[1].strip() == 'disabled'
    assert system.run('systemctl', '--global', 'is-enabled', 'sluice')[1].strip() == 'disabled'


def check_service(system):
    good(system, 'systemctl start sluice || { journalctl -u sluice; false; }')
    answers(system)
    status = status_of(system, main_pid(system))
    assert status['Seccomp'] == '2' and status['NoNewPrivs'] == '1', status
    assert int(status['CapEff'], 16) == 0 and int(status['CapBnd'], 16) == 0, status
    assert int(status['Uid'].split()[0]) >= 61184, status  # one of systemd's dynamic users
    check_memlock(system, status)
    level = good(system, 'systemd-analyze security --no-pager --threshold=30 sluice')
    print('      (' + re.search(r'exposure level.*: [\d.]+', level).group(0) + ')')
    good(system, 'systemctl stop sluice')
    assert good(system, 'systemctl show -P Result sluice').strip() == 'success'


def check_streaming(system):
    """Experts are read through io_uring under the filter of system calls."""
    set_default(system, 'OPTIONS', '--residency stream --ram min -c 512')
    good(system, 'systemctl start sluice')
    answers(system, 400)
    assert 'io_uring' in good(system, f'ls -l /proc/{main_pid(system)}/fd')
    wanted = r'^sluice_expert_demand_bytes_total ([1-9]\d*)'
    assert re.search(wanted, ask(system, '/metrics'), re.M)
    good(system, 'systemctl stop sluice')
    # what it has learned is kept where the unit may write
    assert '.profile' in good(system, 'find /var/lib/sluice/ -type f')
    log = good(system, 'journalctl --no-pager -u sluice')
    assert 'cannot' not in log and 'Failed' not in log, log


def check_socket(system):
    good(system, 'systemctl start sluice.socket')
    assert system.run('systemctl', 'is-active', 'sluice')[1].strip() == 'inactive'
    answers(system)  # until the model is loaded, curl is told to come again
    assert system.run('systemctl', 'is-active', 'sluice')[1].strip() == 'active'


def check_key_file(system):
    """Keys that only root can read, as /etc/default/sluice describes it."""
    probe = 'systemd-run --wait --pipe -q -p DynamicUser=yes -p LoadCredential=a:/etc/shadow'
    if system.sh(probe + " cat '${CREDENTIALS_DIRECTORY}/a'")[0] != 0:
        print('      (this kernel has no access lists on tmpfs, which credentials need)')
        raise Skipped
    good(system, 'mkdir -p /etc/sluice /etc/systemd/system/sluice.service.d; umask 077;'
                 'echo secret > /etc/sluice/keys; cd /etc/systemd/system/sluice.service.d;'
                 'printf "[Service]\\nLoadCredential=keys:/etc/sluice/keys\\n" > keys.conf;'
                 'systemctl daemon-reload')
    words = re.search(r'^#\s+OPTIONS=(.*--api-key-file.*)',
                      good(system, 'cat /etc/default/sluice'), re.M)
    set_default(system, 'OPTIONS', words.group(1))
    good(system, 'systemctl start sluice')
    where = 'http://127.0.0.1:8080/v1/models'
    assert system.sh(f'curl -sS --fail {where}')[1].strip().endswith('401')
    good(system, f'curl -sS --fail -H "Authorization: Bearer secret" {where}')
    good(system, 'rm -r /etc/sluice /etc/systemd/system/sluice.service.d;'
                 'systemctl daemon-reload')


def check_bad_model(system):
    """A model that is not there: the reason is in the journal, and it is not tried for ever."""
    set_default(system, 'MODEL', '/nowhere.gguf')
    assert system.run('systemctl', 'start', 'sluice')[0] != 0
    until('the journal tells no reason',
          lambda: '/nowhere.gguf: cannot open' in good(system, 'journalctl --no-pager -u sluice'))
    until('it is tried for ever', lambda: system.run('systemctl', 'is-failed', 'sluice')[0] == 0)


def check_upgrade(system):
    """A running server is started anew, one that does not run is left alone."""
    again = f'{INSTALL} --reinstall {system.debs[-1]}'
    good(system, again)
    assert system.run('systemctl', 'is-active', 'sluice')[1].strip() == 'inactive'
    good(system, 'systemctl start sluice')
    before = main_pid(system)
    good(system, again)
    until('it is not running after an upgrade',
          lambda: main_pid(system) not in (0, before), seconds=30)
    answers(system)
    good(system, 'systemctl stop sluice')


def check_user_unit(system):
    good(system, f'systemctl start user@{UID}.service')
    good(system, 'systemctl --user start sluice || { journalctl --user; false; }', user='tester')
    answers(system)
    status = status_of(system, main_pid(system, user='tester'))
    assert status['Seccomp'] == '2' and status['NoNewPrivs'] == '1', status
    assert int(status['CapEff'], 16) == 0, status
    good(system, 'systemctl --user stop sluice', user='tester')
    good(system, f'systemctl stop user@{UID}.service')


def check_purge(system, before):
    good(system, 'systemctl start sluice')  # purging has to stop it
    # what came with them goes too, though a package that stays would recommend it
    good(system, 'apt-get purge -y sluice libsluice0 libsluice-dev; apt-get autoremove -y --purge '
                 '-o APT::AutoRemove::RecommendsImportant=0 '
                 '-o APT::AutoRemove::SuggestsImportant=0')
    assert not good(system, "dpkg-query -W -f '${Package}\\n' | grep sluice || true")
    assert not good(system, 'ls /var/lib/dpkg/info | grep sluice || true')
    assert not good(system, 'systemctl list-units --all --no-legend "sluice*"')
    assert not good(system, 'find /var/lib/private /var/lib/systemd -name "*sluice*"')
    after = files_of(system.root)
    left = sorted(path for path, what in after.items() if before.get(path) != what)
    lost = [path for path in before if path not in after]
    assert not left, f'{len(left)} left or changed: {left[:40]}'
    assert not lost, f'{len(lost)} lost: {lost[:40]}'


CHECKS = [check_install, check_not_started, check_command, check_manuals, check_completions,
          check_service, check_streaming, check_socket, check_key_file, check_bad_model,
          check_upgrade, check_user_unit]


def main(folder, debs):
    if os.geteuid() != 0:
        sys.exit('bare.py: a system can be made and booted by root only')
    count = [0, 0, 0]
    system = BareSystem(pathlib.Path(folder), debs)
    with contextlib.ExitStack() as stack:
        stack.callback(system.stop)
        before = files_of(system.root)
        for check in [*CHECKS, lambda system: check_purge(system, before)]:
            name = check.__name__.removeprefix('check_').replace('<lambda>', 'purge')
            try:
                check(system)
                count[0] += 1
                print(f'ok    {name}', flush=True)
            except Skipped:
                count[2] += 1
                print(f'skip  {name}', flush=True)
            except Exception as error:  # a failed check is told, and the next one is made
                count[1] += 1
                where = traceback.extract_tb(error.__traceback__)[-1]
                print(f'FAIL  {name}: line {where.lineno}: {error}', flush=True)
            reset(system)
    print(f'{count[0]} passed, {count[1]} failed, {count[2]} skipped')
    return 1 if count[1] else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2:]))
