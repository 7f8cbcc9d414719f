"""Where the documents' commands run: a home with models in the stores of other programs, a
folder with what the texts name, and a shell that keeps its variables from command to command.

Every model is the demo model, so that any command takes moments. What is changed in a command
before it runs is in Sandbox.adapt, and nowhere else.
"""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/cli'))
from storeworld import World, put  # noqa: E402
from clitool import DEMO, SLUICE  # noqa: E402
from hubserver import Hub  # noqa: E402

BUILD = pathlib.Path(os.environ['SL_BUILD'])
PATIENCE = 120  # seconds for a command; most take a tenth of one


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Shell:
    """bash, fed command by command."""

    def __init__(self, folder, env):
        self.folder = folder
        self.out, self.err = folder.parent / 'stdout', folder.parent / 'stderr'
        self.process = subprocess.Popen(
            ['bash', '--noprofile', '--norc'], cwd=folder, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.tell('set -o pipefail')

    def tell(self, text):
        self.process.stdin.write(text + '\n')
        self.process.stdin.flush()

    def run(self, text):
        """Exit code, stdout and stderr. Nobody types: stdin is empty."""
        checked = subprocess.run(['bash', '-n'], input=text, capture_output=True, text=True,
                                 check=False)
        if checked.returncode:
            return checked.returncode, '', checked.stderr
        self.tell(f'{{\n{text}\n}} > {self.out} 2> {self.err} < /dev/null; echo "done $?"')
        line = self.process.stdout.readline()
        while line and not line.startswith('done '):
            line = self.process.stdout.readline()
        assert line, f'the shell is gone after: {text}'
        return (int(line.split()[1]), self.out.read_text(errors='replace'),
                self.err.read_text(errors='replace'))

    def close(self):
        """What it has started in the background ends too."""
        self.tell('kill $(jobs -p) 2> /dev/null; wait')
        self.process.stdin.close()
        self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()


class Sandbox:
    def __init__(self, folder, is_whole):
        self.is_whole = is_whole
        self.cwd = folder / 'work'
        self.world = World(folder / 'home')
        self.ports = {}
        self.server = None
        self.hub = Hub()  # in place of Hugging Face
        self.furnish(pathlib.Path(DEMO).read_bytes())
        self.shell = Shell(self.cwd, self.environment(folder))

    def furnish(self, demo):
        """The names that the texts use."""
        self.cwd.mkdir(parents=True)
        repo, q4 = 'LiquidAI/LFM2-24B-A2B-GGUF', 'LFM2-24B-A2B-Q4_K_M.gguf'
        self.world.ollama('lfm2', '24b', demo)
        self.world.hf(repo, {q4: demo})
        self.hub.add('LiquidAI/LFM2-8B-A1B-GGUF', {'LFM2-8B-A1B-Q4_K_M.gguf': demo,
                                                   'LFM2-8B-A1B-Q8_0.gguf': demo + b'\0'})
        (self.cwd / q4).symlink_to(DEMO)
        for name in ('MODEL', 'model.gguf', 'a.gguf', 'b.gguf'):
            (self.cwd / name).symlink_to(DEMO)
        for name in ('bench', 'dev', 'doc', 'models', 'src', 'tests', 'tools'):
            (self.cwd / name).symlink_to(ROOT / name)
        (self.cwd / 'build').mkdir()
        (self.cwd / 'build/release').symlink_to(BUILD)
        put(self.cwd / 'notes.txt', (ROOT / 'LICENSE').read_bytes()[:600])
        put(self.cwd / 'book.txt', (ROOT / 'LICENSE').read_bytes())
        shutil.copy(ROOT / 'doc/example.c', self.cwd)
        # An answer that is an error fails, as it would not by itself.
        put(self.world.home / '.curlrc', b'fail-with-body\nsilent\nshow-error\n')

    def environment(self, folder):
        tools = folder / 'bin'
        tools.mkdir()
        (tools / 'sluice').symlink_to(SLUICE)
        self.install_library(folder / 'prefix')
        env = {key: value for key, value in self.world.env.items()
               if not key.startswith(('HF_', 'HUGGING', 'SLUICE_')) and 'proxy' not in key.lower()}
        return {**env, 'HF_ENDPOINT': self.hub.url, 'PATH': f'{tools}:{os.environ["PATH"]}',
                'PKG_CONFIG_PATH': str(folder / 'prefix'),
                'LD_LIBRARY_PATH': str(BUILD / 'src'), 'LC_ALL': 'C.UTF-8',
                'XDG_STATE_HOME': str(folder / 'state')}

    def install_library(self, prefix):
        """As meson install does (tests/cli/test_install.py looks at that)."""
        text = (BUILD / 'meson-private/sluice.pc').read_text()
        text = re.sub(r'^prefix=.*$', f'prefix={prefix}', text, flags=re.M)
        put(prefix / 'sluice.pc', text.encode())
        (prefix / 'include').mkdir()
        (prefix / 'include/sluice.h').symlink_to(ROOT / 'src/sluice.h')
        libraries = prefix / re.search(r'^libdir=\$\{prefix\}/(.*)$', text, re.M)[1]
        libraries.mkdir(parents=True)
        (libraries / 'libsluice.so').symlink_to(BUILD / 'src/libsluice.so')

    def adapt(self, text):
        """The command as it is run here."""
        for port, ours in self.ports.items():
            text = re.sub(rf'(?<=:){port}\b', str(ours), text)
        if not self.is_whole:
            text = re.sub(r'\bsluice pull ', 'sluice pull --no-measure ', text)
            text = re.sub(r'\bsluice doctor (?!.*--quick)', 'sluice doctor --quick ', text)
            text = re.sub(r'\bsluice plan (?!.*--(no-)?measure)', 'sluice plan --no-measure ', text)
        text = text.replace('-t 1-8*2', '-t 1-2*2')  # more than the cores of some machines
        one = str(min(os.sched_getaffinity(0)))
        text = re.sub(r'--cpus[= ]\S+', f'--cpus {one}', text)
        # The demo model's context is 2048, and it may go round in circles until that is full.
        text = re.sub(r'(\bsluice .* -c) \d{4,}', r'\1 2048', text)
        return re.sub(r'\bsluice run (?!.*(-n|--n-predict)\b)', 'sluice run -n 48 ', text)

    def run(self, command):
        """Run it, or start it where it is a server. Exit code, stdout, stderr."""
        if re.match(r'(\w+=\S+ )*sluice serve\b(?!.*--help)', command.text):
            return self.serve(command.text)
        return self.shell.run(self.adapt(command.text))

    def new_block(self):
        """Each begins in the folder where the first one did."""
        self.shell.tell(f'cd {self.cwd}')

    def serve(self, text):
        self.stop_server()
        named = re.search(r'--port[= ](\d+)', text)
        port = free_port()
        self.ports[named[1] if named else '8080'] = port
        text = re.sub(r'--port[= ]\d+', '', text) if named else text
        text = re.sub(r'\bsluice serve\b', f'sluice serve --port {port}', self.adapt(text))
        text = re.sub(r'\s+(#|&$).*', '', text.strip())
        log = self.cwd.parent / 'serve'
        self.shell.tell(f'{text} > {log}.out 2> {log}.err < /dev/null & echo "pid $!"')
        line = self.shell.process.stdout.readline()
        assert line.startswith('pid '), line
        self.server = int(line.split()[1])
        end = time.monotonic() + PATIENCE
        while True:
            said = log.with_suffix('.out').read_text() if log.with_suffix('.out').exists() else ''
            if 'listening on' in said and self.is_ready(port):
                return 0, said, ''
            if not os.path.exists(f'/proc/{self.server}') or time.monotonic() > end:
                self.server = None
                return 1, said, log.with_suffix('.err').read_text()
            time.sleep(0.005)

    def is_ready(self, port):
        """GET /health, which needs no key: 200 once the model is loaded."""
        try:
            with socket.create_connection(('127.0.0.1', port), timeout=PATIENCE) as line:
                line.sendall(b'GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n')
                return b' 200 ' in line.recv(64)
        except OSError:
            return False

    def stop_server(self):
        """Ask it to end; it must do so well. None there: nothing."""
        if self.server is None:
            return
        code, out, err = self.shell.run(f'kill {self.server}; wait {self.server}')
        self.server = None
        assert code == 0, (out, err)

    def close(self):
        try:
            self.stop_server()
        finally:
            self.shell.close()
            self.hub.close()
