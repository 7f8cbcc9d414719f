// A running sluice serve, and what the tests of this folder share. SLUICE names the program,
// SLUICE_DEMO and SLUICE_RANDOM the models; ./dev test --clients sets them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe } from 'node:test';

export const KEY = 'sesame';
export const VERSE = 'In the beginning God created the heaven and the earth. ';
export const N_CTX = 512;

export const models = { demo: process.env.SLUICE_DEMO, random: process.env.SLUICE_RANDOM };

// Start a server; resolves to { url, stop }.
export async function serve(model, ...args) {
  assert.ok(process.env.SLUICE && model, 'SLUICE, SLUICE_DEMO and SLUICE_RANDOM are to be set');
  const server = spawn(process.env.SLUICE, ['serve', model, '--port', '0', ...args],
    { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  let faults = '';
  server.stderr.on('data', (text) => { faults += text; });
  const ended = new Promise((resolve) => { server.on('exit', resolve); });
  const url = await new Promise((resolve, reject) => {
    server.stdout.on('data', (text) => {
      said += text;
      const found = /^listening on (http:\S+)/m.exec(said);
      if (found)
        resolve(found[1]);
    });
    ended.then((code) => reject(new Error(`sluice serve ended with ${code}: ${faults}`)));
  });
  const stop = async () => {
    server.kill('SIGTERM');
    assert.equal(await ended, 0, faults);
  };
  return { url, stop };
}

// Tests for each model, behind a key; tell takes the model's name and a function that gives
// the server's address.
export function describeModels(title, tell) {
  for (const [name, path] of Object.entries(models))
    describe(`${title}, ${name} model`, () => {
      let server;
      before(async () => {
        server = await serve(path, '--alias', name, '--ctx', String(N_CTX), '--api-key', KEY);
      });
      after(() => server?.stop());
      tell(name, () => server.url);
    });
}

// All that an asynchronous iterable gives.
export async function collect(iterable) {
  const all = [];
  for await (const one of iterable)
    all.push(one);
  return all;
}

// The server answers, and no slot is held by a request whose client has gone.
export async function untilIdle(url) {
  for (let i = 0; i < 3000; i++) {
    const reply = await fetch(`${url}/slots`, { headers: { Authorization: `Bearer ${KEY}` } });
    const slots = await reply.json();
    if (slots.every((slot) => !slot.is_processing))
      return;
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
  assert.fail('a slot is still held');
}
