// @langchain/openai and @langchain/ollama: invoke, stream, structured output, tools.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { AIMessage, HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOllama, Ollama } from '@langchain/ollama';
import { ChatOpenAI, OpenAI } from '@langchain/openai';
import { z } from 'zod';
import { KEY, VERSE, collect, describeModels } from './serving.mjs';

const Verse = z.object({ book: z.enum(['Genesis', 'Exodus']), chapter: z.int().min(1).max(50) });
const look = tool(({ verse }) => `verse ${verse}: light`, {
  name: 'look_up', description: 'Find a verse', schema: z.object({ verse: z.int().min(1).max(31) }),
});
const messages = [new SystemMessage('Be brief.'), new HumanMessage(VERSE)];

async function speaks(llm) {
  const whole = await llm.invoke(messages);
  assert.ok(whole instanceof AIMessage);
  assert.ok(whole.text.length > 0);
  assert.ok(whole.usage_metadata.output_tokens > 0);
  const chunks = await collect(await llm.stream(messages));
  assert.equal(chunks.map((chunk) => chunk.text).join(''), whole.text);
  const all = chunks.reduce((a, b) => a.concat(b));
  // it takes none of a stream of responses that a limit ends
  if (!whole.response_metadata.incomplete_details)
    assert.equal(all.usage_metadata.output_tokens, whole.usage_metadata.output_tokens);
  const [one, two] = await llm.batch([messages, messages]);
  assert.equal(one.text, two.text);
}

describeModels('langchain openai', (model, url) => {
  const llm = (more) => new ChatOpenAI({
    model, apiKey: KEY, configuration: { baseURL: `${url()}/v1` }, temperature: 0, maxTokens: 24,
    maxRetries: 0, ...more,
  });

  it('speaks', () => speaks(llm()));
  it('speaks by responses', () => speaks(llm({ useResponsesApi: true })));

  it('completes', async () => {
    const plain = new OpenAI({ model, apiKey: KEY, configuration: { baseURL: `${url()}/v1` },
      temperature: 0, maxTokens: 16, maxRetries: 0 });
    const whole = await plain.invoke(VERSE);
    assert.equal((await collect(await plain.stream(VERSE))).join(''), whole);
  });

  it('gives structured output by each method', async () => {
    for (const method of ['jsonSchema', 'functionCalling'])
      for (const useResponsesApi of [false, true]) {
        const bound = llm({ maxTokens: 200, useResponsesApi }).withStructuredOutput(Verse,
          { method, name: 'verse', includeRaw: true });
        const { parsed, raw } = await bound.invoke(messages);
        assert.doesNotThrow(() => Verse.parse(parsed), JSON.stringify(raw));
      }
  });

  it('calls tools', async () => {
    const bound = llm({ maxTokens: 200 }).bindTools([look],
      { tool_choice: 'look_up', parallel_tool_calls: false });
    const reply = await bound.invoke(messages);
    assert.equal(reply.tool_calls.length, 1);
    assert.ok(reply.tool_calls[0].args.verse >= 1);
    const result = await look.invoke(reply.tool_calls[0]);
    assert.ok(result instanceof ToolMessage);
    const back = await llm().bindTools([look], { tool_choice: 'none' }).invoke(
      [...messages, reply, result]);
    assert.equal(back.tool_calls.length, 0);
    const chunks = await collect(await bound.stream(messages));
    const all = chunks.reduce((a, b) => a.concat(b));
    assert.deepEqual(all.tool_calls.map((call) => call.args),
      reply.tool_calls.map((call) => call.args));
  });

  it('tells errors', async () => {
    await assert.rejects(llm({ temperature: -1 }).invoke(messages), (error) =>
      error.status === 400 && error.param === 'temperature');
  });
});

describeModels('langchain ollama', (model, url) => {
  const settings = (more) => ({
    model, baseUrl: url(), headers: new Headers({ Authorization: `Bearer ${KEY}` }),
    temperature: 0, numPredict: 24, maxRetries: 0, ...more,
  });
  const llm = (more) => new ChatOllama(settings(more));

  it('speaks', () => speaks(llm()));

  it('completes', async () => {
    const plain = new Ollama(settings());
    const whole = await plain.invoke(VERSE);
    assert.ok(whole.length > 0);
    assert.equal((await collect(await plain.stream(VERSE))).join(''), whole);
  });

  it('gives structured output', async () => {
    const bound = llm({ numPredict: 200 }).withStructuredOutput(Verse,
      { method: 'jsonSchema', name: 'verse' });
    Verse.parse(await bound.invoke(messages));
  });

  it('takes tools and their results', async () => {
    const bound = llm().bindTools([look]);
    const reply = await bound.invoke(messages);
    assert.ok(Array.isArray(reply.tool_calls));
    const call = { name: 'look_up', args: { verse: 3 }, id: 'call_1', type: 'tool_call' };
    const back = await bound.invoke([...messages,
      new AIMessage({ content: '', tool_calls: [call] }), await look.invoke(call)]);
    assert.equal(typeof back.content, 'string');
    assert.ok((await collect(await bound.stream(messages))).length > 0);
  });

  it('tells errors', async () => {
    await assert.rejects(llm({ model: 'other' }).invoke(messages), /not found/);
  });
});
