"""What the documents for users hold: their fenced blocks, and the commands in those.

A block of sh holds commands. In one of console, commands begin with "$ ", and the lines below
are what they print. A command may go on over lines: behind a backslash, inside quotes, or as a
here-document. Comments and empty lines are no commands.
"""
import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = ['README.md', *sorted(f'doc/{p.name}' for p in (ROOT / 'doc').glob('*.md'))]
SHELLS = ('sh', 'console')
LANGUAGES = SHELLS + ('c', 'ini', 'javascript', 'json', 'python', 'text', 'yaml')


@dataclasses.dataclass
class Block:
    document: str
    line: int  # of its first line, counted from one
    language: str
    text: str


@dataclasses.dataclass
class Command:
    document: str
    line: int
    text: str
    output: list = dataclasses.field(default_factory=list)  # the lines shown below it

    @property
    def place(self):
        return f'{self.document}:{self.line}'


def blocks(document, text=None):
    found, opened, begin, lines = [], None, 0, []
    text = (ROOT / document).read_text() if text is None else text
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r'( *)```(\S*)\s*$', line)
        if not fence:
            lines.append(line[len(opened[0]):] if opened else line)
        elif opened is None:
            opened, begin, lines = fence.groups(), number + 1, []
        else:
            assert not fence[2], f'{document}:{number}: a block begins inside another'
            found.append(Block(document, begin, opened[1], '\n'.join(lines) + '\n'))
            opened = None
    assert opened is None, f'{document}:{begin - 1}: this block never ends'
    return found


def is_open(text):
    """Whether a command goes on: an open quote, a backslash at the end, a here-document."""
    here = re.search(r'<<-?\s*[\'"]?(\w+)[\'"]?[^\n]*\n', text)
    if here:
        return not re.search(rf'^\s*{here[1]}\n', text[here.end():], re.M)
    quote, i = '', 0
    while i < len(text):
        char = text[i]
        if char == '\\' and quote != "'":
            if text[i + 1:] == '\n':
                return True
            i += 1
        elif quote:
            quote = '' if char == quote else quote
        elif char in '\'"':
            quote = char
        elif char == '#' and (i == 0 or text[i - 1].isspace()):
            i = text.find('\n', i)
        i += 1
    return bool(quote)


def commands_of(block):
    found, begun = [], None
    is_console = block.language == 'console'
    for i, line in enumerate(block.text.splitlines()):
        if begun is None:
            if is_console and not line.startswith('$ '):
                assert found, f'{block.document}:{block.line + i}: output of no command'
                found[-1].output.append(line)
                continue
            line = line[2:] if is_console else line
            if not line.strip() or line.lstrip().startswith('#'):
                continue
            begun = Command(block.document, block.line + i, '')
        begun.text += line + '\n'
        if not is_open(begun.text):
            found.append(begun)
            begun = None
    assert begun is None, f'{begun.place}: this command never ends'
    return found


def commands(document, text=None):
    return [command for block in blocks(document, text) if block.language in SHELLS
            for command in commands_of(block)]


PROGRAMS = (r'(sluice|\./dev|build/|bench/|npm|meson|ninja|cc|sudo|apt(-get)?|docker|systemctl|'
            r'git|cmake|curl|export|cd|python3?|node|[A-Z_]+=\S+ )')


def loose_commands(document, text=None):
    """Lines that look like commands and stand outside of fences, where nothing runs them."""
    text = (ROOT / document).read_text() if text is None else text
    is_fenced, found = False, []
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r' *```', line):
            is_fenced = not is_fenced
        elif not is_fenced and re.match(rf'(    |\t){PROGRAMS}\b', line + ' '):
            found.append(f'{document}:{number}: {line.strip()}')
    return found
