// @anthropic-ai/sdk: messages, streams, tools, counts, errors.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import Anthropic, {
  AuthenticationError, BadRequestError, NotFoundError,
} from '@anthropic-ai/sdk';
import { KEY, N_CTX, VERSE, collect, describeModels, untilIdle } from './serving.mjs';

const look = {
  name: 'look_up', description: 'Find a verse', input_schema: {
    type: 'object', properties: { verse: { type: 'integer', minimum: 1, maximum: 31 } },
    required: ['verse'],
  },
};
const sing = { name: 'sing', input_schema: { type: 'object', properties: {} } };

describeModels('anthropic', (model, url) => {
  const client = (apiKey = KEY) => new Anthropic({ baseURL: url(), apiKey, maxRetries: 0 });
  const ask = (more) => ({
    model, max_tokens: 24, system: 'Be brief.', messages: [{ role: 'user', content: VERSE }],
    temperature: 0, ...more,
  });

  it('creates', async () => {
    const reply = await client().messages.create(ask());
    assert.match(reply.id, /^msg_/);
    assert.equal(reply.type, 'message');
    assert.equal(reply.role, 'assistant');
    assert.equal(reply.model, model);
    assert.ok(['end_turn', 'max_tokens'].includes(reply.stop_reason));
    assert.equal(reply.stop_sequence, null);
    assert.deepEqual(reply.content.map((block) => block.type), ['text']);
    assert.ok(reply.usage.output_tokens <= 24);
    const other = await client().messages.create(ask({
      system: [{ type: 'text', text: 'Be ' }, { type: 'text', text: 'brief.',
        cache_control: { type: 'ephemeral' } }],
      messages: [{ role: 'user', content: [{ type: 'text', text: VERSE }] }],
      metadata: { user_id: 'u' }, service_tier: 'auto',
    }));
    assert.deepEqual(other.content, reply.content);
    assert.equal(other.usage.input_tokens + other.usage.cache_read_input_tokens,
      reply.usage.input_tokens + reply.usage.cache_read_input_tokens);
    const bare = await client().messages.create(ask({ system: undefined }));
    assert.ok(bare.usage.input_tokens + bare.usage.cache_read_input_tokens <
      reply.usage.input_tokens + reply.usage.cache_read_input_tokens);
  });

  it('streams by the helper what it creates', async () => {
    const whole = await client().messages.create(ask());
    const stream = client().messages.stream(ask());
    const seen = [];
    stream.on('text', (delta) => seen.push(delta));
    const final = await stream.finalMessage();
    assert.deepEqual(final.content, whole.content);
    assert.equal(seen.join(''), whole.content[0].text);
    assert.equal(final.stop_reason, whole.stop_reason);
    assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
    const events = await collect(await client().messages.create(ask({ stream: true })));
    const types = events.map((event) => event.type);
    assert.deepEqual([types[0], types[1], ...types.slice(-3)], ['message_start',
      'content_block_start', 'content_block_stop', 'message_delta', 'message_stop']);
    assert.ok(types.slice(2, -3).every((type) => type === 'content_block_delta'));
  });

  it('stops at a sequence', async () => {
    const whole = (await client().messages.create(ask())).content[0].text;
    const word = whole.slice(whole.length / 2, whole.length / 2 + 3);
    const cut = await client().messages.create(ask({ stop_sequences: ['never said', word] }));
    assert.equal(cut.stop_reason, 'stop_sequence');
    assert.equal(cut.stop_sequence, word);
    assert.equal(cut.content[0]?.text ?? '', whole.slice(0, whole.indexOf(word)));
  });

  it('goes on with a turn that was begun', async () => {
    const whole = (await client().messages.create(ask())).content[0].text;
    const begun = whole.slice(0, whole.indexOf(' ', 5));
    const reply = await client().messages.create(ask({ messages: [
      { role: 'user', content: VERSE }, { role: 'assistant', content: begun }] }));
    assert.ok(!reply.content[0].text.startsWith(begun));
  });

  it('calls tools, and takes their results', async () => {
    for (const tool_choice of [{ type: 'any', disable_parallel_tool_use: true },
      { type: 'tool', name: 'look_up' }]) {
      const more = { tools: [look, sing], tool_choice, max_tokens: 200 };
      const reply = await client().messages.create(ask(more));
      assert.equal(reply.stop_reason, 'tool_use');
      const [call] = reply.content;
      assert.equal(reply.content.length, 1);
      assert.equal(call.type, 'tool_use');
      if (call.name === 'look_up')
        assert.ok(call.input.verse >= 1 && call.input.verse <= 31);
      const stream = client().messages.stream(ask(more));
      const final = await stream.finalMessage();
      assert.deepEqual(final.content.map(({ name, input }) => ({ name, input })),
        [{ name: call.name, input: call.input }]);
      const back = await client().messages.create(ask({
        tools: [look, sing], tool_choice: { type: 'none' }, messages: [
          { role: 'user', content: VERSE }, { role: 'assistant', content: reply.content },
          { role: 'user', content: [{ type: 'tool_result', tool_use_id: call.id,
            content: [{ type: 'text', text: 'light' }] }] },
        ],
      }));
      assert.ok(back.content.every((block) => block.type === 'text'));
    }
  });

  it('writes what a schema asks for', async () => {
    const schema = { type: 'object', properties: { chapter: { type: 'integer' } },
      required: ['chapter'], additionalProperties: false };
    const reply = await client().messages.create(ask({
      output_config: { format: { type: 'json_schema', schema } }, max_tokens: 200 }));
    assert.equal(reply.stop_reason, 'end_turn');
    assert.ok(Number.isInteger(JSON.parse(reply.content[0].text).chapter));
  });

  it('counts tokens', async () => {
    const { messages, system } = ask();
    const count = await client().messages.countTokens({ model, messages, system });
    const reply = await client().messages.create(ask());
    assert.equal(count.input_tokens,
      reply.usage.input_tokens + reply.usage.cache_read_input_tokens);
    const tools = await client().messages.countTokens({ model, messages, system, tools: [look] });
    assert.ok(tools.input_tokens > count.input_tokens);
  });

  it('tells errors by class', async () => {
    const create = (more, by = client()) => by.messages.create(ask(more));
    await assert.rejects(create({}, client('open')), (error) =>
      error instanceof AuthenticationError && error.error.error.type === 'authentication_error');
    const image = { type: 'image', source: { type: 'url', url: 'data:' } };
    const cases = [
      [{ max_tokens: 'x' }, 'max_tokens'], [{ messages: [] }, 'messages'],
      [{ messages: [{ role: 'user', content: [image] }] }, 'messages[0].content[0].type'],
      [{ messages: [{ role: 'king', content: 'x' }] }, 'messages[0].role'],
      [{ tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, 'tools[0].type'],
      [{ tool_choice: { type: 'any' } }, 'tool_choice'], [{ container: 'c' }, 'container'],
      [{ mcp_servers: [{ type: 'url', url: 'http://x', name: 'x' }] }, 'mcp_servers'],
      [{ thinking: { type: 'deep' } }, 'thinking.type'],
      [{ output_config: { format: { type: 'json_schema', schema: { not: {} } } } }, 'schema'],
      [{ compaction: { type: 'x' } }, 'compaction'], [{ thread: { id: 'x' } }, 'thread'],
    ];
    for (const [more, param] of cases)
      for (const stream of [false, true])
        await assert.rejects(create({ ...more, stream }), (error) => {
          assert.ok(error instanceof BadRequestError, `${param}: ${error}`);
          assert.equal(error.error.type, 'error');
          assert.equal(error.error.error.type, 'invalid_request_error');
          assert.ok(error.error.error.message.includes(param), error.message);
          return true;
        });
    await assert.rejects(create({ messages: [{ role: 'user', content: VERSE.repeat(100) }] }),
      (error) => error instanceof BadRequestError && error.message.includes(String(N_CTX)));
    await assert.rejects(async () => client().messages.batches.list(), (error) =>
      error.status === 501 && error.error.type === 'error');
    await assert.rejects(async () => client().get('/v1/messages/nowhere'), (error) =>
      error instanceof NotFoundError && error.error.error.type === 'not_found_error');
  });

  it('lists models', async () => {
    const list = await collect(client().models.list());
    assert.deepEqual(list.map((one) => one.id), [model]);
    assert.equal((await client().models.retrieve(model)).id, model);
  });

  it('frees its slot when a client aborts', async () => {
    const stream = client().messages.stream(ask({ max_tokens: 100000 }));
    for await (const event of stream)
      if (event.type === 'content_block_delta')
        break;
    stream.abort();
    await untilIdle(url());
  });
});
