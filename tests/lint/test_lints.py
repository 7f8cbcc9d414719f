"""Every rule of the lints finds a violation made for it, and nothing in a clean tree."""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
CC = os.environ.get('CC', 'cc')
CLEAN = {
    'src/base/list.h': '#ifndef SL_LIST_H\n#define SL_LIST_H\nint sl_list_len(void);\n#endif\n',
    'src/base/list.c': '#include "base/list.h"\n\nint sl_list_len(void)\n{\n    return 1;\n}\n',
    'src/base/meson.build': "sources = files(\n  'list.c',\n)\n",
    'meson.build': "project('x', 'c')\n",
    'meson_options.txt': "option('a', type : 'boolean')\n",
}


@pytest.fixture(name='tree')
def make_tree(tmp_path):
    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if path.endswith('.c') and path != 'src/base/list.c':
            (file.parent / 'meson.build').touch()
            with open(file.parent / 'meson.build', 'a', encoding='utf-8') as listing:
                listing.write(f"# '{file.name}'\n")
    for path, text in CLEAN.items():
        write(path, text)
    write.root = tmp_path
    return write


def lint(script, *args):
    command = ['sh'] if script.endswith('.sh') else [sys.executable]
    done = subprocess.run(command + [str(HERE / script), *map(str, args)],
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_clean_tree_has_no_faults(tree):
    for script in ('layers.py', 'limits.py'):
        assert lint(script, tree.root)[0] == 0
    assert lint('headers.py', tree.root, CC)[0] == 0


def test_empty_tree_is_a_fault(tmp_path):
    for script in ('layers.py', 'limits.py'):
        assert lint(script, tmp_path)[0] == 1
    assert lint('isa.sh', tmp_path)[0] == 1
    assert lint('symbols.py', tmp_path)[0] == 1


@pytest.mark.parametrize('path, text, said', [
    ('src/base/up.c', '#include "text/vocab.h"\n', 'layer base may not include'),
    ('loader/up.c', '#include "text/vocab.h"\n', 'layer loader may not include'),
    ('src/base/lost.c', '#include "nowhere.h"\n', 'no path from the root'),
    ('src/base/near.c', '#include "list.h"\n', 'no path from the root'),
    ('src/text/cinc.c', '#include "base/list.c"\n', 'includes a .c file'),
    ('src/odd/a.c', 'int a;\n', 'no layer is called odd'),
    ('loader/gguf2.c', '#include <liburing.h>\n', 'belongs in'),
    ('src/text/b.c', '#include <jansson.h>\n', 'belongs in'),
    ('src/base/c.c', '#include <immintrin.h>\n', 'belongs in'),
    ('src/server/sse.c', '#include <event2/http.h>\n', 'belongs in'),
    ('src/server/j.c', '#include "model/step.h"\n', 'layer server may not include'),
    ('src/model/d.c', 'void d(void)\n{\n    exit(1);\n}\n', 'exit() is not for this layer'),
    ('src/cli/e.c', 'void e(void)\n{\n    abort();\n}\n', 'abort() is not for this layer'),
    ('src/text/f.c', 'void f(void)\n{\n    printf("x");\n}\n', 'printf() is not for'),
    ('loader/g.c', 'char *g(void)\n{\n    return getenv("x");\n}\n', 'getenv() is not for'),
    ('experts/h.c', 'int h(void)\n{\n    return pthread_create(0);\n}\n', 'pthread_create()'),
    ('src/base/i.c', 'void i(char *a)\n{\n    sprintf(a, "");\n}\n', 'sprintf() is not'),
])
def test_layers(tree, path, text, said):
    for header in ('src/text/vocab.h', 'src/model/step.h'):
        tree(header, '#ifndef V\n#define V\n#endif\n')
    tree(path, text)
    code, output = lint('layers.py', tree.root)
    assert code == 1 and said in output, output


def test_layers_one_file_per_dependency(tree):
    tree('src/text/one.c', '#include <pcre2.h>\n')
    assert lint('layers.py', tree.root)[0] == 0
    tree('src/text/two.c', '#include <pcre2.h>\n')
    code, output = lint('layers.py', tree.root)
    assert code == 1 and 'one file per dependency' in output


def test_layers_reads_no_comments(tree):
    tree('src/text/a.c', '/* printf("x") */\nconst char *a = "exit(1)";\n')
    assert lint('layers.py', tree.root)[0] == 0


LONG_BODY = '    (void)0;\n' * 79


@pytest.mark.parametrize('path, text, said', [
    ('src/base/a.c', 'int a; /* ' + 'x' * 100 + ' */\n', 'columns, 100 allowed'),
    ('src/base/b.c', '\tint b;\n', 'a tab'),
    ('src/base/c.c', 'int c; \n', 'blanks at the end'),
    ('src/base/d.c', 'int d;', 'no newline at the end'),
    ('src/base/e.c', 'int e;\n\n', 'blank lines at the end'),
    ('src/base/f.c', '/* TO' 'DO: later */\n', 'needs an issue number'),
    ('src/base/g.c', 'int g;\n' * 801, '801 lines, 800 allowed'),
    ('src/base/h.c', f'void h(void)\n{{\n{LONG_BODY}}}\n', 'h has 81 lines, 80 allowed'),
    ('src/base/h.c', f'void h(int a,\n       int b)\n{{\n{LONG_BODY}}}\n', '81 lines'),
    ('src/text/list.c', 'int i;\n', 'the same file name'),
    ('src/base/Big.c', 'int i;\n', 'lower case'),
    ('meson.build', '#\n' * 201, '201 lines, 200 allowed'),
    ('meson_options.txt', "option('a')\n" * 13, '13 options, 12 allowed'),
])
def test_limits(tree, path, text, said):
    tree(path, text)
    code, output = lint('limits.py', tree.root)
    assert code == 1 and said in output, output


def test_limits_longer_kernels_and_numbered_notes(tree):
    tree('src/kernels/k.c', f'void k(void)\n{{\n{LONG_BODY}}}\n')
    tree('src/base/n.c', '/* TO' 'DO(#12): later */\n')
    code, output = lint('limits.py', tree.root)
    assert code == 0, output


def test_limits_unlisted_source(tree):
    (tree.root / 'src/base/orphan.c').write_text('int o;\n')
    code, output = lint('limits.py', tree.root)
    assert code == 1 and 'no meson.build lists it' in output


@pytest.mark.parametrize('text', [
    'size_t a(void);\n',                  # needs stddef.h
    'struct twice {\n    int x;\n};\n',   # no guard
])
def test_headers(tree, text):
    tree('src/base/bad.h', text)
    code, output = lint('headers.py', tree.root, CC)
    assert code == 1 and 'does not compile alone' in output


def compile_to(path, text, *flags):
    path.parent.mkdir(parents=True, exist_ok=True)
    unit = path.with_suffix('.in.c')
    unit.write_text(text)
    subprocess.run([CC, '-O2', '-c', *flags, '-o', str(path), str(unit)], check=True)
    unit.unlink()


@pytest.mark.parametrize('text, is_fault', [
    ('int bss;\n', True),
    ('static int data = 3;\nint *get(void);\nint *get(void)\n{\n    return &data;\n}\n', True),
    ('_Thread_local int tls;\n', True),
    ('int call(void);\nint call(void)\n{\n    static int n;\n    return n++;\n}\n', True),
    ('const int table[4] = {1};\n', False),
    ('static int f(void)\n{\n    return 1;\n}\nint (*const t[])(void) = {f};\n', False),
])
def test_symbols_mutable(tmp_path, text, is_fault):
    compile_to(tmp_path / 'src/libbase.a.p' / 'x.c.o', text, '-fPIC')
    code, output = lint('symbols.py', tmp_path)
    assert code == is_fault, output
    assert ('is mutable' in output) == is_fault


@pytest.mark.parametrize('names, said', [
    (['sluice_version', 'sluice_open'], '0 faults'),
    (['sluice_version', 'sluice_open', 'sl_open'], 'exports sl_open'),
    (['sluice_version', 'sluice_open', 'sluice_more'], 'exports sluice_more'),
    (['sluice_version'], 'sluice_open is missing'),
])
def test_symbols_exports(tmp_path, names, said):
    compile_to(tmp_path / 'libbase.a.p' / 'x.c.o', 'const int sl_x = 1;\n')
    header = tmp_path / 'x.h'
    header.write_text('/* SLUICE_API int sluice_old(void); */\n'
                      'SLUICE_API const char *sluice_version(void);\n'
                      'SLUICE_API struct a *sluice_open(int a,\n    int b);\n')
    library = tmp_path / 'x.so'
    (tmp_path / 'x.c').write_text(''.join(f'int {name}(void) {{ return 1; }}\n'
                                          for name in names))
    subprocess.run([CC, '-shared', '-fPIC', '-o', library, tmp_path / 'x.c'], check=True)
    code, output = lint('symbols.py', tmp_path, '--shared', library, '--header', header)
    assert code == (said != '0 faults') and said in output, output


VECTOR = '''typedef float v __attribute__((vector_size(%d)));
v add(v a, v b);
v add(v a, v b)
{
    return a + b;
}
'''


@pytest.mark.parametrize('name, width, flags, is_fault', [
    ('plain.c.o', 16, [], False),
    ('plain.c.o', 16, ['-mavx'], True),
    ('plain.c.o', 32, ['-mavx2'], True),
    ('plain.c.o', 64, ['-mavx512f'], True),
    ('x86_dot_avx2.c.o', 32, ['-mavx2'], False),
    ('x86_dot_avx2.c.o', 64, ['-mavx512f'], True),
    ('x86_dot_avx512.c.o', 64, ['-mavx512f'], False),
])
def test_isa(tmp_path, name, width, flags, is_fault):
    if not shutil.which('objdump') or os.uname().machine != 'x86_64':
        pytest.skip('needs objdump and x86-64')
    compile_to(tmp_path / name, VECTOR % width, *flags)
    code, output = lint('isa.sh', tmp_path)
    assert code == is_fault, output
