// openai: responses, as values and streams, by the helpers.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import OpenAI, { BadRequestError } from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { KEY, VERSE, collect, describeModels, untilIdle } from './serving.mjs';

const Verse = z.object({
  chapter: z.int().min(1).max(50), tags: z.array(z.enum(['a', 'b'])).max(2),
});
const look = {
  type: 'function', name: 'look_up', strict: true, parameters: {
    type: 'object', properties: { verse: { type: 'integer', minimum: 1, maximum: 31 } },
    required: ['verse'], additionalProperties: false,
  },
};

// What a stream's events have to be, whatever it tells.
function checkEvents(events) {
  events.forEach((event, i) => assert.equal(event.sequence_number, i));
  assert.deepEqual(events.slice(0, 2).map((event) => event.type),
    ['response.created', 'response.in_progress']);
  assert.deepEqual(events[0].response.output, []);
  const last = events.at(-1);
  assert.ok(['response.completed', 'response.incomplete'].includes(last.type));
  const added = events.filter((event) => event.type === 'response.output_item.added');
  const done = events.filter((event) => event.type === 'response.output_item.done');
  assert.deepEqual(added.map((event) => event.output_index), added.map((_, i) => i));
  assert.deepEqual(done.map((event) => event.item), last.response.output);
  assert.deepEqual(done.map((event) => event.item.id), added.map((event) => event.item.id));
  for (const event of events.filter((one) => one.item_id))
    assert.equal(event.item_id, added[event.output_index].item.id);
}

describeModels('openai responses', (model, url) => {
  const client = () => new OpenAI({ baseURL: `${url()}/v1`, apiKey: KEY, maxRetries: 0 });
  const ask = (more) => ({
    model, input: VERSE, instructions: 'Be brief.', max_output_tokens: 24, temperature: 0, ...more,
  });

  it('creates', async () => {
    const reply = await client().responses.create(ask({ metadata: { a: 'b' } }));
    assert.equal(reply.object, 'response');
    assert.match(reply.id, /^resp_/);
    assert.equal(reply.model, model);
    assert.deepEqual(reply.metadata, { a: 'b' });
    assert.equal(reply.instructions, 'Be brief.');
    assert.equal(reply.store, false);
    assert.equal(reply.error, null);
    if (reply.status === 'incomplete')
      assert.deepEqual(reply.incomplete_details, { reason: 'max_output_tokens' });
    else
      assert.equal(reply.status, 'completed');
    assert.equal(reply.output_text, reply.output[0].content[0].text);
    assert.ok(reply.output_text.length > 0);
    assert.equal(reply.usage.total_tokens, reply.usage.input_tokens + reply.usage.output_tokens);
  });

  it('streams what it creates', async () => {
    const whole = await client().responses.create(ask());
    const events = await collect(await client().responses.create(ask({ stream: true })));
    checkEvents(events);
    assert.equal(events.filter((event) => event.type === 'response.output_text.delta')
      .map((event) => event.delta).join(''), whole.output_text);
  });

  it('streams by the helper', async () => {
    const whole = await client().responses.create(ask());
    const stream = client().responses.stream(ask());
    const seen = [];
    stream.on('response.output_text.delta', (event) => seen.push(event));
    const events = await collect(stream);
    checkEvents(events);
    const final = await stream.finalResponse();
    assert.equal(final.output_text, whole.output_text);
    assert.equal(seen.at(-1).snapshot, whole.output_text);
    assert.equal(final.status, whole.status);
    assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
  });

  it('parses what a schema asks for', async () => {
    const more = { text: { format: zodTextFormat(Verse, 'verse') }, max_output_tokens: 200 };
    const reply = await client().responses.parse(ask(more));
    Verse.parse(reply.output_parsed);
    const stream = client().responses.stream(ask(more));
    checkEvents(await collect(stream));
    assert.deepEqual((await stream.finalResponse()).output_parsed, reply.output_parsed);
  });

  it('calls tools, and takes their results', async () => {
    for (const tool_choice of ['required', { type: 'function', name: 'look_up' }]) {
      const more = {
        tools: [look], tool_choice, max_output_tokens: 200, parallel_tool_calls: false,
      };
      const reply = await client().responses.parse(ask(more));
      const call = reply.output.find((item) => item.type === 'function_call');
      assert.equal(call.name, 'look_up');
      assert.ok(call.parsed_arguments.verse >= 1 && call.parsed_arguments.verse <= 31);
      assert.equal(reply.status, 'completed');
      const stream = client().responses.stream(ask(more));
      const events = await collect(stream);
      checkEvents(events);
      assert.equal(events.filter((event) => event.type === 'response.function_call_arguments.delta')
        .map((event) => event.delta).join(''), call.arguments);
      assert.equal(events.find((event) => event.type === 'response.function_call_arguments.done')
        .arguments, call.arguments);
      const final = await stream.finalResponse();
      assert.equal(final.output.find((item) => item.type === 'function_call').arguments,
        call.arguments);
      const back = await client().responses.create(ask({
        tools: [look], tool_choice: 'none', input: [
          { role: 'user', content: VERSE }, ...reply.output,
          { type: 'function_call_output', call_id: call.call_id, output: 'light' },
        ],
      }));
      assert.ok(back.output.every((item) => item.type === 'message'));
    }
  });

  it('tells log-probabilities', async () => {
    const more = {
      include: ['message.output_text.logprobs'], top_logprobs: 2, max_output_tokens: 5,
    };
    const reply = await client().responses.create(ask(more));
    const probs = reply.output[0].content[0].logprobs;
    assert.ok(probs.length >= reply.usage.output_tokens - 1);
    assert.ok(probs.every((token) => token.top_logprobs.length === 2 && token.logprob <= 0));
    const events = await collect(await client().responses.create(ask({ ...more, stream: true })));
    assert.deepEqual(events.filter((event) => event.type === 'response.output_text.delta')
      .flatMap((event) => event.logprobs).map((token) => token.token),
    probs.map((token) => token.token));
  });

  it('counts the tokens of an input', async () => {
    const count = await client().responses.inputTokens.count(
      { model, input: VERSE, instructions: 'Be brief.' });
    assert.equal(count.object, 'response.input_tokens');
    assert.equal(count.input_tokens, (await client().responses.create(ask())).usage.input_tokens);
  });

  it('refuses what it cannot do, by name', async () => {
    const cases = [
      [{ previous_response_id: 'resp_1' }, 'previous_response_id'],
      [{ background: true }, 'background'], [{ conversation: 'conv_1' }, 'conversation'],
      [{ prompt: { id: 'pmpt_1' } }, 'prompt'],
      [{ context_management: [{ type: 'compaction' }] }, 'context_management'],
      [{ moderation: { model: 'omni-moderation-latest' } }, 'moderation'],
      [{ input: [{ type: 'item_reference', id: 'x' }] }, 'input[0].type'],
      [{ input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'data:' }] }] },
        'input[0].content[0].type'],
      [{ input: [] }, 'input'], [{ tool_choice: { type: 'web_search' } }, 'tool_choice.type'],
      [{ temperature: -1 }, 'temperature'], [{ max_output_tokens: 'x' }, 'max_output_tokens'],
      [{ text: { format: { type: 'json_schema', name: 'x', schema: { not: {} } } } },
        'text.format.schema'],
    ];
    for (const [more, param] of cases)
      await assert.rejects(client().responses.create(ask(more)), (error) => {
        assert.ok(error instanceof BadRequestError, `${param}: ${error}`);
        assert.equal(error.param, param);
        return true;
      });
    const stored = client().responses;
    for (const ask of [() => stored.retrieve('resp_1'), () => stored.delete('resp_1'),
      () => stored.cancel('resp_1'), () => stored.inputItems.list('resp_1'),
      () => stored.compact({ model, input: VERSE })])
      await assert.rejects(async () => ask(), (error) => error.status === 501 &&
        error.type === 'not_supported_error');
  });

  it('frees its slot when a client aborts', async () => {
    const stream = client().responses.stream(ask({ max_output_tokens: undefined }));
    for await (const event of stream)
      if (event.type === 'response.output_text.delta')
        break;
    stream.abort();
    await untilIdle(url());
  });
});
