// The programs of doc/server.md, each in a process of its own, with the address replaced.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { models, serve } from './serving.mjs';

const text = readFileSync(new URL('../../doc/server.md', import.meta.url), 'utf8');
const programs = [...text.matchAll(/^```javascript\n(.*?)^```$/gms)].map((match) => match[1]);

describe('doc/server.md', () => {
  let server;
  before(async () => { server = await serve(models.demo, '--alias', 'lfm2:24b'); });
  after(() => server?.stop());

  it('has programs', () => assert.ok(programs.length >= 2));
  programs.forEach((program, i) => it(`runs program ${i + 1}`, async () => {
    assert.ok(program.includes('http://127.0.0.1:8080'));
    const file = new URL(`doc-program-${i}.mjs`, import.meta.url); // beside node_modules
    writeFileSync(file, program.replaceAll('http://127.0.0.1:8080', server.url));
    try {
      const { stdout } = await promisify(execFile)(process.execPath, [file.pathname]);
      assert.ok(stdout.trim().length > 0);
    } finally {
      rmSync(file);
    }
  }));
});
