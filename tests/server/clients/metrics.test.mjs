// promtool, which knows what Prometheus takes: /metrics of an idle and of a used server.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { it } from 'node:test';
import { KEY, VERSE, describeModels } from './serving.mjs';

const promtool = spawnSync('promtool', ['--version']);
const skip = promtool.error ? 'there is no promtool here (Debian package prometheus)' : false;
// llama.cpp calls a gauge a counter, and ends its names as it does; dashboards know them so.
const known = [
  /^llamacpp:\S+ metric names should not contain ':'$/,
  /^llamacpp:n_tokens_max counter metrics should have "_total" suffix$/,
];

// What promtool says of them, and its exit status.
function ask(lines) {
  const found = spawnSync('promtool', ['check', 'metrics'], { input: lines.join('') });
  const said = `${found.stdout}${found.stderr}`.split('\n').filter((line) => line);
  return [said, found.status];
}

describeModels('promtool', (model, url) => {
  const headers = { Authorization: `Bearer ${KEY}` };

  async function check() {
    const reply = await fetch(`${url()}/metrics`, { headers });
    assert.equal(reply.headers.get('content-type'), 'text/plain; version=0.0.4');
    const lines = (await reply.text()).split(/(?<=\n)/);
    assert.ok(lines.length > 100);
    const [faults] = ask(lines);
    assert.deepEqual(faults.filter((line) => !known.some((one) => one.test(line))), []);
    const ours = lines.filter((line) => !line.includes('llamacpp:'));
    assert.deepEqual(ask(ours), [[], 0]);
    assert.equal(ask([...ours, 'no metric {\n'])[1], 1); // it does look
  }

  it('takes the metrics of an idle server', { skip }, check);

  it('takes them after requests', { skip }, async () => {
    for (let i = 0; i < 3; i++) {
      const reply = await fetch(`${url()}/completion`, {
        method: 'POST', headers, body: JSON.stringify({ prompt: VERSE, n_predict: 8 }),
      });
      assert.equal(reply.status, 200);
      await reply.arrayBuffer();
    }
    await check();
  });
});
