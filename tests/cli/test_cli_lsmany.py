"""sluice ls over thousands of files."""
import subprocess
import time

from clitool import SLUICE
from storeworld import World, gguf


def test_thousands_of_files_are_listed_at_once(tmp_path):
    """5,000 models in a hundred folders: 0.1 s. The bound here is wide, for machines that do
    other things meanwhile; the time is printed."""
    world = World(tmp_path)
    data = [gguf('llama', 2), gguf()]
    for i in range(5000):
        folder = tmp_path / 'm' / f'{i % 100:02}'
        if i < 100:
            folder.mkdir(parents=True)
        (folder / f'model-{i}-Q4_0.gguf').write_bytes(data[i % 50 == 0])
    world.env['SLUICE_MODELS'] = str(tmp_path / 'm')
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        subprocess.run([SLUICE, 'ls'], env=world.env, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - begin)
    print(f'sluice ls over 5,000 models: {min(seconds) * 1e3:.1f} ms')
    assert min(seconds) < 1.0
    models = world.listing()['models']
    assert len(models) == 5000 and sum(m['supported'] for m in models) == 100
    assert 'm/00/model-1000-Q4_0.gguf' in world.path('model-1000-Q4_0')
