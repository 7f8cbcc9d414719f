// ollama: chat, generate, formats, tools, what is served, errors.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Ollama } from 'ollama';
import { KEY, N_CTX, VERSE, collect, describeModels, untilIdle } from './serving.mjs';

const look = {
  type: 'function', function: {
    name: 'look_up', description: 'Find a verse', parameters: {
      type: 'object', properties: { verse: { type: 'integer' } }, required: ['verse'],
    },
  },
};
const options = { seed: 5, num_predict: 24, temperature: 0 };

describeModels('ollama', (model, url) => {
  const client = (key = KEY) => new Ollama(
    { host: url(), headers: { Authorization: `Bearer ${key}` } });
  const messages = [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: VERSE }];

  it('chats', async () => {
    const reply = await client().chat({ model, messages, options });
    assert.equal(reply.model, model);
    assert.equal(reply.done, true);
    assert.ok(['stop', 'length'].includes(reply.done_reason));
    assert.equal(reply.message.role, 'assistant');
    assert.ok(reply.message.content.length > 0);
    assert.ok(!Number.isNaN(Date.parse(reply.created_at)));
    assert.ok(reply.eval_count <= 24 && reply.prompt_eval_count > 0);
    assert.ok(reply.total_duration >= reply.eval_duration);
    const lines = await collect(await client().chat({ model, messages, options, stream: true }));
    assert.equal(lines.map((line) => line.message.content).join(''), reply.message.content);
    assert.ok(lines.slice(0, -1).every((line) => line.done === false));
    assert.equal(lines.at(-1).eval_count, reply.eval_count);
    const named = await client().chat({ model: `${model}:latest`, messages, options });
    assert.equal(named.message.content, reply.message.content);
  });

  it('generates', async () => {
    const ask = { model, prompt: VERSE, system: 'Be brief.', options };
    const reply = await client().generate(ask);
    assert.ok(reply.response.length > 0 && reply.done);
    const lines = await collect(await client().generate({ ...ask, stream: true }));
    assert.equal(lines.map((line) => line.response).join(''), reply.response);
    const raw = await client().generate({ model, prompt: VERSE, raw: true, options });
    assert.ok(raw.prompt_eval_count < reply.prompt_eval_count);
    const stops = await client().generate({ ...ask, options: { ...options,
      stop: [reply.response.slice(3, 6)] } });
    assert.equal(stops.response, reply.response.slice(0, reply.response.indexOf(
      reply.response.slice(3, 6))));
  });

  it('tells log-probabilities', async () => {
    const ask = { model, messages, options, logprobs: true, top_logprobs: 2 };
    const reply = await client().chat(ask);
    assert.equal(reply.logprobs.length, reply.eval_count);
    assert.ok(reply.logprobs.every((token) => token.top_logprobs.length === 2));
    const lines = await collect(await client().chat({ ...ask, stream: true }));
    assert.deepEqual(lines.flatMap((line) => line.logprobs ?? []).map((token) => token.token),
      reply.logprobs.map((token) => token.token));
  });

  it('writes JSON, also by a schema', async () => {
    const format = { type: 'object', properties: { chapter: { type: 'integer' },
      book: { enum: ['Genesis', 'Exodus'] } }, required: ['chapter', 'book'] };
    for (const stream of [false, true]) {
      const reply = await client().chat({ model, messages, format, stream,
        options: { ...options, num_predict: 200 } });
      const text = stream ? (await collect(reply)).map((line) => line.message.content).join('')
        : reply.message.content;
      const found = JSON.parse(text);
      assert.ok(Number.isInteger(found.chapter));
      assert.ok(format.properties.book.enum.includes(found.book));
    }
    const json = await client().generate({ model, prompt: VERSE, format: 'json',
      options: { ...options, num_predict: 200 } });
    assert.match(json.response, /^\s*\{/);
    if (json.done_reason === 'stop')
      assert.equal(typeof JSON.parse(json.response), 'object');
  });

  it('takes tools, and their results', async () => {
    const reply = await client().chat({ model, messages, tools: [look], options });
    assert.equal(reply.message.role, 'assistant');
    const back = await client().chat({ model, tools: [look], options, messages: [...messages,
      { role: 'assistant', content: '', tool_calls: [
        { function: { name: 'look_up', arguments: { verse: 3 } } }] },
      { role: 'tool', tool_name: 'look_up', content: 'light' }] });
    assert.equal(typeof back.message.content, 'string');
  });

  it('tells what is served', async () => {
    const { models: [listed] } = await client().list();
    assert.equal(listed.name, model);
    assert.equal(listed.details.family, 'lfm2moe');
    assert.ok(listed.size > 1e6 && !Number.isNaN(Date.parse(listed.modified_at)));
    const { models: [running] } = await client().ps();
    assert.equal(running.name, model);
    assert.ok(!Number.isNaN(Date.parse(running.expires_at)));
    const shown = await client().show({ model });
    assert.deepEqual(shown.capabilities, ['completion', 'tools']);
    assert.equal(shown.model_info['general.architecture'], 'lfm2moe');
    assert.match((await client().version()).version, /^\d+\.\d+\.\d+$/);
    const root = await fetch(`${url()}/`);
    assert.equal(await root.text(), 'Ollama is running');
    assert.equal((await fetch(`${url()}/`, { method: 'HEAD' })).status, 200);
    const page = await fetch(`${url()}/`, { headers: { Accept: 'text/html,*/*;q=0.8' } });
    assert.match(await page.text(), /^<!doctype html>/i);
  });

  it('loads and gives back', async () => {
    const loaded = await client().generate({ model, prompt: '', keep_alive: '10m' });
    assert.equal(loaded.done_reason, 'load');
    const unloaded = await client().chat({ model, messages: [], keep_alive: 0 });
    assert.equal(unloaded.done_reason, 'unload');
    assert.ok((await client().chat({ model, messages, keep_alive: -1, options })).done);
  });

  it('tells errors', async () => {
    const refused = async (promise, status, word) => assert.rejects(promise, (error) => {
      assert.equal(error.name, 'ResponseError', String(error));
      assert.equal(error.status_code, status, String(error));
      assert.ok(error.message.includes(word), error.message);
      return true;
    });
    await refused(client('open').list(), 401, 'API Key');
    const long = [{ role: 'user', content: VERSE.repeat(100) }];
    const seen = [{ ...messages[1], images: ['AAAA'] }];
    for (const stream of [false, true]) {
      const chat = (more) => client().chat({ model, messages, stream, ...more });
      const generate = (more) => client().generate({ model, prompt: VERSE, stream, ...more });
      await refused(chat({ model: 'other' }), 404, "'other' not found");
      await refused(generate({ model: 'other' }), 404, 'not found');
      await refused(chat({ messages: long }), 400, String(N_CTX));
      await refused(chat({ options: { temperature: -1 } }), 400, 'options.temperature');
      await refused(chat({ format: { not: {} } }), 400, 'format');
      await refused(chat({ think: true }), 400, 'thinking');
      await refused(chat({ messages: seen }), 400, 'images');
      await refused(generate({ suffix: 'x' }), 400, 'suffix');
      await refused(generate({ width: 64 }), 400, 'width');
      await refused(generate({ context: [1] }), 400, 'context');
      await refused(generate({ template: 'x' }), 400, 'template');
    }
    await refused(client().show({ model: 'other' }), 404, 'not found');
    await refused(client().embed({ model, input: 'x' }), 501, 'embeddings');
    await refused(client().pull({ model: 'other' }), 501, 'model');
    await refused(client().delete({ model }), 501, 'model');
    await refused(client().create({ model: 'x', from: model }), 501, 'model');
  });

  it('frees its slot when a client aborts', async () => {
    const stream = await client().generate({ model, prompt: VERSE, stream: true });
    for await (const line of stream)
      if (line.response)
        break;
    stream.abort();
    await untilIdle(url());
  });
});
