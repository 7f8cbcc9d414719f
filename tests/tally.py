#!/usr/bin/env python3
"""Add up the outcome of several test runs: tally.py KIND:TEXT...

KIND is log (log:NAME:FILE, meson's testlog.json), tap (tap:NAME:FILE, what node --test
prints), or pass, fail or skip for one outcome.
A pytest program counts by its cases, any other program as one test. What failed or was
skipped is printed; the last line is 'N passed, N failed, N skipped'. Exit 1 if anything
failed or nothing passed.
"""
import json
import re
import sys

TAIL_LINES = 40    # of each failed test
TOTAL_LINES = 400  # of all failed tests
WHY = ('E   ', 'FAILED ')  # what pytest begins the lines with that tell what was wrong
PYTEST_END = re.compile(r'^=* ?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s.*$', re.M)
TAP_END = re.compile(r'^# (pass|fail|cancelled|skipped) (\d+)$', re.M)
TAP_KINDS = {'pass': 'pass', 'fail': 'fail', 'cancelled': 'fail', 'skipped': 'skip'}
KINDS = {'passed': 'pass', 'xfailed': 'pass', 'failed': 'fail', 'error': 'fail',
         'errors': 'fail', 'xpassed': 'fail', 'skipped': 'skip'}
RESULTS = {'OK': 'pass', 'EXPECTEDFAIL': 'pass', 'SKIP': 'skip'}


def count_test(test):
    """{'pass': n, ...} of one record of meson's log."""
    verdict = RESULTS.get(test['result'], 'fail')
    count = {'pass': 0, 'fail': 0, 'skip': 0}
    ends = PYTEST_END.findall(test.get('stdout') or '')
    if ends:
        for number, word in re.findall(r'(\d+) ([a-z]+)', ends[-1]):
            if word in KINDS:
                count[KINDS[word]] += int(number)
    if not sum(count.values()) or (verdict == 'fail' and not count['fail']):
        count[verdict] += 1
    return count


def read_log(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        return [json.loads(line) for line in file if line.strip()]


def reason(test):
    """The line in which a test says why it was skipped."""
    lines = ((test.get('stdout') or '') + '\n' + (test.get('stderr') or '')).splitlines()
    for line in reversed(lines):
        if 'skip' in line.lower():
            return line.strip()[:160]
    return 'no reason given'


def count_tap(run, path):
    """The same of a TAP file; its failed and skipped tests are printed. An end that is not
    there is a failure."""
    seen = {'pass': 0, 'fail': 0, 'skip': 0}
    with open(path, encoding='utf-8', errors='replace') as file:
        text = file.read()
    for word, number in TAP_END.findall(text):
        seen[TAP_KINDS[word]] += int(number)
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if line.strip().startswith('not ok'):
            print(f'FAILED  {run}: {line.strip()}')
            for more in lines[i + 1:i + 1 + TAIL_LINES // 2]:
                if more.strip() == '...':
                    break
                print('    ' + more[:400])
        elif '# SKIP' in line:
            print(f'skipped {run}: {line.strip()}')
    if not TAP_END.search(text):
        seen['fail'] += 1
        print(f'FAILED  {run}: the tests came to no end')
        print('\n'.join(lines[-TAIL_LINES:]))
    return seen


def main(args):
    total = {'pass': 0, 'fail': 0, 'skip': 0}
    room = TOTAL_LINES
    for arg in args:
        kind, _, text = arg.partition(':')
        if kind not in ('log', 'tap'):
            total[kind] += 1
            print({'fail': 'FAILED  ', 'skip': 'skipped ', 'pass': ''}[kind] + text)
            continue
        run, _, path = text.partition(':')
        seen = count_tap(run, path) if kind == 'tap' else {'pass': 0, 'fail': 0, 'skip': 0}
        tests = read_log(path) if kind == 'log' else []
        for test in tests:
            count = count_test(test)
            for key in seen:
                seen[key] += count[key]
            name = f"{run}: {test['name']}"
            if count['fail']:
                output = ((test.get('stdout') or '') + (test.get('stderr') or '')).splitlines()
                print(f"FAILED  {name} ({test['result'].lower()})")
                for line in output:
                    if line.startswith(WHY):
                        print('    ' + line[:400])
                shown = output[-min(TAIL_LINES, max(room, 5)):]
                room -= len(shown)
                for line in shown:
                    print('    ' + line[:400])
            elif count['skip'] and not count['pass']:
                print(f'skipped {name}: {reason(test)}')
        for key in total:
            total[key] += seen[key]
        print(f"{run}: {seen['pass']} passed, {seen['fail']} failed, {seen['skip']} skipped")
    print(f"\n{total['pass']} passed, {total['fail']} failed, {total['skip']} skipped")
    return 1 if total['fail'] or not total['pass'] else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
