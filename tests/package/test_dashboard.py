"""The dashboard asks for metrics that the server has, and uses each as its type wants."""
import json
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/server'))

from serveclient import Server  # noqa: E402, which skips all of this without SLUICE

DASHBOARD = json.loads((ROOT / 'etc/grafana/sluice.json').read_text())
PANELS = [panel for panel in DASHBOARD['panels'] if panel['type'] != 'row']
EXPRESSIONS = [(panel['title'], target['expr']) for panel in PANELS
               for target in panel['targets']]
METRIC = re.compile(r'\b(?:sluice_|llamacpp:)\w+')


@pytest.fixture(name='types', scope='module')
def get_types():
    """Name -> counter or gauge, of /metrics."""
    server = Server('-c', 64)
    text = server.good('/metrics').decode()
    server.stop()
    types = dict(re.findall(r'^# TYPE (\S+) (\S+)$', text, re.M))
    values = set(re.findall(r'^([a-z]\S*) [-0-9.e+]+$', text, re.M))
    assert len(types) > 30 and set(types) == values
    return types


@pytest.mark.parametrize('title, expression', EXPRESSIONS)
def test_expressions_name_what_the_server_has(types, title, expression):
    names = METRIC.findall(expression)
    assert names
    for name in names:
        assert name in types, f'{title}: /metrics has no {name}'
        is_rate = f'rate({name}{{' in expression
        assert is_rate or types[name] == 'gauge' or name.endswith('_failed_total'), (title, name)
        assert not is_rate or types[name] == 'counter', f'{title}: the rate of {name}, a gauge'


def test_every_expression_heeds_the_chosen_server():
    for title, expression in EXPRESSIONS:
        assert len(re.findall(r'\{instance=~"\$instance"\}', expression)) == \
            len(METRIC.findall(expression)), title
        assert expression.count('(') == expression.count(')'), title


def test_variables_and_panels(types):
    variables = {variable['name']: variable for variable in DASHBOARD['templating']['list']}
    assert set(variables) == {'datasource', 'instance'}
    assert METRIC.findall(variables['instance']['definition'])[0] in types
    ids = [panel['id'] for panel in DASHBOARD['panels']]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel['datasource']['uid'] == '${datasource}' and panel['description']
        assert len({target['refId'] for target in panel['targets']}) == len(panel['targets'])


def test_panels_do_not_overlap():
    taken = set()
    for panel in DASHBOARD['panels']:
        at = panel['gridPos']
        assert at['x'] + at['w'] <= 24, panel['title']
        cells = {(x, y) for x in range(at['x'], at['x'] + at['w'])
                 for y in range(at['y'], at['y'] + at['h'])}
        assert not cells & taken, panel['title']
        taken |= cells
