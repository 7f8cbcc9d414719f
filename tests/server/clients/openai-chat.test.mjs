// openai: chat completions, as values, streams, by the helpers; tools, formats, errors.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import OpenAI, {
  APIUserAbortError, AuthenticationError, BadRequestError, NotFoundError,
} from 'openai';
import { LengthFinishReasonError } from 'openai/error';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { KEY, N_CTX, VERSE, collect, describeModels, untilIdle } from './serving.mjs';

const Verse = z.object({
  book: z.enum(['Genesis', 'Exodus']), chapter: z.int().min(1).max(50), is_long: z.boolean(),
});
const look = {
  type: 'function',
  function: {
    name: 'look_up',
    description: 'Find a verse',
    parameters: {
      type: 'object',
      properties: {
        verse: { type: 'integer', minimum: 1, maximum: 31 },
        book: { type: 'string', maxLength: 8 },
      },
      required: ['verse'],
    },
  },
};
const sing = {
  type: 'function', function: { name: 'sing', parameters: { type: 'object', properties: {} } },
};

describeModels('openai chat', (model, url) => {
  const client = () => new OpenAI({ baseURL: `${url()}/v1`, apiKey: KEY, maxRetries: 0 });
  const ask = (more) => ({
    model, messages: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: VERSE }],
    seed: 7, max_tokens: 24, ...more,
  });

  it('creates', async () => {
    const reply = await client().chat.completions.create(ask());
    assert.equal(reply.object, 'chat.completion');
    assert.equal(reply.model, model);
    assert.match(reply.id, /^chatcmpl-/);
    const [choice] = reply.choices;
    assert.equal(reply.choices.length, 1);
    assert.ok(['stop', 'length'].includes(choice.finish_reason));
    assert.equal(choice.message.role, 'assistant');
    assert.equal(choice.message.refusal, null);
    assert.equal(choice.logprobs, null);
    assert.ok(choice.message.content.length > 0);
    assert.equal(reply.usage.total_tokens,
      reply.usage.prompt_tokens + reply.usage.completion_tokens);
    assert.ok(reply.usage.completion_tokens <= 24);
  });

  it('streams what it creates, with usage at the end', async () => {
    const whole = await client().chat.completions.create(ask());
    const chunks = await collect(await client().chat.completions.create(
      ask({ stream: true, stream_options: { include_usage: true } })));
    const last = chunks.at(-1);
    assert.equal(chunks[0].choices[0].delta.role, 'assistant');
    assert.deepEqual(last.choices, []);
    assert.equal(last.usage.completion_tokens, whole.usage.completion_tokens);
    assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
    assert.equal(text, whole.choices[0].message.content);
    assert.equal(chunks.at(-2).choices[0].finish_reason, whole.choices[0].finish_reason);
    const plain = await collect(await client().chat.completions.create(ask({ stream: true })));
    assert.ok(plain.every((chunk) => !chunk.usage && chunk.choices.length === 1));
  });

  it('streams by the helper', async () => {
    const whole = await client().chat.completions.create(ask());
    const seen = [];
    const stream = client().chat.completions.stream(
      ask({ stream_options: { include_usage: true } }));
    stream.on('content', (delta) => seen.push(delta));
    const final = await stream.finalChatCompletion();
    assert.equal(await stream.finalContent(), whole.choices[0].message.content);
    assert.equal(seen.join(''), whole.choices[0].message.content);
    assert.equal(final.choices[0].finish_reason, whole.choices[0].finish_reason);
    assert.equal((await stream.totalUsage()).completion_tokens, whole.usage.completion_tokens);
  });

  it('parses what a schema asks for', async () => {
    const format = { response_format: zodResponseFormat(Verse, 'verse'), max_tokens: 200 };
    const reply = await client().chat.completions.parse(ask(format));
    Verse.parse(reply.choices[0].message.parsed);
    assert.equal(reply.choices[0].finish_reason, 'stop');
    const stream = client().chat.completions.stream(ask(format));
    const final = await stream.finalChatCompletion();
    assert.deepEqual(final.choices[0].message.parsed, reply.choices[0].message.parsed);
    const object = await client().chat.completions.create(
      ask({ response_format: { type: 'json_object' }, max_tokens: 200, temperature: 0 }));
    if (object.choices[0].finish_reason === 'stop')
      assert.equal(typeof JSON.parse(object.choices[0].message.content), 'object');
    await assert.rejects(client().chat.completions.parse(
      ask({ response_format: zodResponseFormat(z.object({ a: z.array(z.string()).min(30) }), 'a'),
        max_tokens: 5 })), LengthFinishReasonError);
  });

  it('calls tools that are required, or named', async () => {
    for (const tool_choice of ['required', { type: 'function', function: { name: 'look_up' } }]) {
      const more = {
        tools: [look, sing], tool_choice, parallel_tool_calls: false, max_tokens: 300,
      };
      const reply = await client().chat.completions.create(ask(more));
      const [choice] = reply.choices;
      assert.equal(choice.finish_reason, 'tool_calls');
      assert.equal(choice.message.content, null);
      for (const call of choice.message.tool_calls) {
        assert.equal(call.type, 'function');
        assert.ok(call.id);
        const args = JSON.parse(call.function.arguments);
        if (call.function.name === 'look_up')
          assert.ok(args.verse >= 1 && args.verse <= 31, call.function.arguments);
        else
          assert.ok(call.function.name === 'sing' && tool_choice === 'required');
      }
      const stream = client().chat.completions.stream(ask(more));
      const final = await stream.finalChatCompletion();
      assert.equal(final.choices[0].finish_reason, 'tool_calls');
      assert.deepEqual(final.choices[0].message.tool_calls.map((call) => call.function),
        choice.message.tool_calls.map((call) => call.function));
      // and the conversation goes on
      const back = await client().chat.completions.create(ask({
        ...more, tool_choice: 'none', messages: [
          { role: 'user', content: VERSE }, choice.message,
          ...choice.message.tool_calls.map((call) => (
            { role: 'tool', tool_call_id: call.id, content: '{"text": "light"}' })),
        ],
      }));
      assert.equal(back.choices[0].message.tool_calls, undefined);
      assert.equal(typeof back.choices[0].message.content, 'string');
    }
  });

  it('runs tools by the helper', async () => {
    const asked = [];
    const runner = client().chat.completions.runTools({
      ...ask({ tool_choice: { type: 'function', function: { name: 'look_up' } } }),
      max_tokens: 200,
      tools: [zodFunction({
        name: 'look_up', parameters: z.object({ verse: z.int().min(1).max(31) }),
        function: ({ verse }) => { asked.push(verse); return { verse, text: 'light' }; },
      })],
    });
    await runner.done();
    const { messages } = runner;
    assert.equal(asked.length, 1);
    assert.ok(asked[0] >= 1 && asked[0] <= 31);
    assert.match(messages.find((message) => message.role === 'tool').content, /light/);
  });

  it('tells log-probabilities', async () => {
    const more = { logprobs: true, top_logprobs: 3, max_tokens: 6 };
    const reply = await client().chat.completions.create(ask(more));
    const { content } = reply.choices[0].logprobs;
    assert.equal(content.length, reply.usage.completion_tokens);
    for (const token of content) {
      assert.ok(token.logprob <= 0 && token.top_logprobs.length === 3);
      assert.deepEqual(Buffer.from(token.bytes).toString(), token.token);
      const top = token.top_logprobs.map((one) => one.logprob);
      assert.deepEqual(top, [...top].sort((a, b) => b - a));
    }
    const chunks = await collect(await client().chat.completions.create(
      ask({ ...more, stream: true })));
    assert.deepEqual(chunks.flatMap((chunk) => chunk.choices[0].logprobs?.content ?? [])
      .map((token) => token.token), content.map((token) => token.token));
  });

  it('stops where it is told to', async () => {
    const whole = (await client().chat.completions.create(ask())).choices[0].message.content;
    const word = whole.slice(whole.length / 2, whole.length / 2 + 3);
    const cut = await client().chat.completions.create(ask({ stop: [word, 'never said'] }));
    assert.equal(cut.choices[0].message.content, whole.slice(0, whole.indexOf(word)));
    assert.equal(cut.choices[0].finish_reason, 'stop');
  });

  it('tells errors by class, status and parameter', async () => {
    const create = (more, by = client()) => by.chat.completions.create(ask(more));
    const wrong = new OpenAI({ baseURL: `${url()}/v1`, apiKey: 'open', maxRetries: 0 });
    await assert.rejects(create({}, wrong), (error) => error instanceof AuthenticationError &&
      error.status === 401 && error.code === 'invalid_api_key');
    const image = { type: 'image_url', image_url: { url: 'data:' } };
    const impossible = { name: 'x', schema: { not: {} } };
    const cases = [
      [{ temperature: 'hot' }, 'temperature'], [{ top_p: 2 }, 'top_p'], [{ n: 2 }, 'n'],
      [{ messages: [{ role: 'king', content: 'x' }] }, 'messages[0].role'],
      [{ messages: [{ role: 'user', content: [image] }] }, 'messages[0].content[0].type'],
      [{ tools: [look], tool_choice: { type: 'function', function: { name: 'x' } } },
        'tool_choice'],
      [{ audio: { voice: 'a', format: 'wav' } }, 'audio'],
      [{ functions: [{ name: 'f' }] }, 'functions'],
      [{ response_format: { type: 'json_schema', json_schema: impossible } },
        'response_format.json_schema.schema'],
      [{ top_logprobs: 3 }, 'top_logprobs'], [{ web_search_options: {} }, 'web_search_options'],
      [{ moderation: { model: 'omni-moderation-latest' } }, 'moderation'],
    ];
    for (const [more, param] of cases)
      for (const stream of [false, true])
        await assert.rejects(create({ ...more, stream }), (error) => {
          assert.ok(error instanceof BadRequestError, `${param}: ${error}`);
          assert.equal(error.status, 400);
          assert.equal(error.param, param);
          assert.equal(error.type, 'invalid_request_error');
          return true;
        });
    const long = [{ role: 'user', content: VERSE.repeat(100) }];
    await assert.rejects(create({ messages: long }), (error) => error instanceof BadRequestError &&
      error.code === 'context_length_exceeded' && error.message.includes(String(N_CTX)) &&
      error.error.n_ctx === N_CTX && error.error.n_prompt_tokens > N_CTX);
    await assert.rejects(client().models.retrieve('gpt-9'), (error) =>
      error instanceof NotFoundError && error.code === 'model_not_found' &&
      error.param === 'model');
    await assert.rejects(client().embeddings.create({ model, input: 'x' }), (error) =>
      error.status === 501 && error.type === 'not_supported_error');
    await assert.rejects(client().get('/nowhere'), (error) => error instanceof NotFoundError);
    // it still serves
    assert.ok(await create({ max_tokens: 1 }));
  });

  it('frees its slot when a client aborts', async () => {
    const endless = { max_tokens: undefined, logit_bias: { 7: -100 } };
    const stream = await client().chat.completions.create(ask({ ...endless, stream: true }));
    for await (const chunk of stream)
      if (chunk.choices[0].delta.content)
        break; // which aborts
    const abort = new AbortController();
    const reply = client().chat.completions.create(ask(endless), { signal: abort.signal });
    setTimeout(() => abort.abort(), 20);
    await reply.catch((error) => assert.ok(error instanceof APIUserAbortError, String(error)));
    await untilIdle(url());
  });

  it('lists and retrieves models', async () => {
    const list = await collect(client().models.list());
    assert.deepEqual(list.map((one) => one.id), [model]);
    const one = await client().models.retrieve(model);
    assert.equal(one.object, 'model');
    assert.equal(one.owned_by, 'sluice');
    assert.ok(one.created > 1.6e9);
  });
});
