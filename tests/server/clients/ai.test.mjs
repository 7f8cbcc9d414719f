// ai with @ai-sdk/openai-compatible: text, streams, objects, tools.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  APICallError, Output, generateObject, generateText, streamObject, streamText, tool,
} from 'ai';
import { z } from 'zod';
import { KEY, VERSE, collect, describeModels, untilIdle } from './serving.mjs';

const Verse = z.object({ book: z.enum(['Genesis', 'Exodus']), chapter: z.int().min(1).max(50) });

describeModels('ai', (model, url) => {
  const provider = () => createOpenAICompatible({
    name: 'sluice', baseURL: `${url()}/v1`, apiKey: KEY, includeUsage: true,
    supportsStructuredOutputs: true,
  });
  const ask = (more) => ({
    model: provider().chatModel(model), system: 'Be brief.', prompt: VERSE, seed: 9,
    maxOutputTokens: 24, maxRetries: 0, ...more,
  });
  const look = tool({
    description: 'Find a verse', inputSchema: z.object({ verse: z.int().min(1).max(31) }),
    execute: ({ verse }) => ({ verse, text: 'light' }),
  });

  it('generates and streams text', async () => {
    const whole = await generateText(ask());
    assert.ok(whole.text.length > 0);
    assert.ok(['stop', 'length'].includes(whole.finishReason));
    assert.ok(whole.usage.outputTokens <= 24 && whole.usage.inputTokens > 0);
    assert.deepEqual(whole.warnings ?? [], []);
    const stream = streamText(ask());
    assert.equal((await collect(stream.textStream)).join(''), whole.text);
    assert.equal(await stream.finishReason, whole.finishReason);
    assert.equal((await stream.usage).outputTokens, whole.usage.outputTokens);
  });

  it('completes a prompt', async () => {
    const whole = await generateText({ ...ask({ model: provider().completionModel(model) }),
      system: undefined });
    assert.ok(whole.text.length > 0);
    const stream = streamText({ ...ask({ model: provider().completionModel(model) }),
      system: undefined });
    assert.equal((await collect(stream.textStream)).join(''), whole.text);
  });

  it('generates objects', async () => {
    const { object, finishReason } = await generateObject(
      ask({ schema: Verse, maxOutputTokens: 200 }));
    Verse.parse(object);
    assert.equal(finishReason, 'stop');
    const stream = streamObject(ask({ schema: Verse, maxOutputTokens: 200 }));
    await collect(stream.partialObjectStream);
    assert.deepEqual(await stream.object, object);
    const listed = await generateObject(ask({ output: 'enum', enum: ['sun', 'moon'],
      maxOutputTokens: 200 }));
    assert.ok(['sun', 'moon'].includes(listed.object));
    const text = await generateText(ask({ output: Output.object({ schema: Verse }),
      maxOutputTokens: 200 }));
    assert.deepEqual(text.output, object);
  });

  it('calls tools', async () => {
    for (const toolChoice of ['required', { type: 'tool', toolName: 'look' }]) {
      const more = { tools: { look }, toolChoice, maxOutputTokens: 300,
        providerOptions: { sluice: { parallel_tool_calls: false } } };
      const whole = await generateText(ask(more));
      assert.equal(whole.finishReason, 'tool-calls');
      const [call] = whole.toolCalls;
      assert.equal(call.toolName, 'look');
      assert.ok(call.input.verse >= 1 && call.input.verse <= 31 && !call.invalid);
      assert.deepEqual(whole.toolResults[0].output, { verse: call.input.verse, text: 'light' });
      const stream = streamText(ask(more));
      const parts = await collect(stream.fullStream);
      assert.ok(!parts.some((part) => part.type === 'error'));
      assert.deepEqual((await stream.toolCalls)[0].input, call.input);
      // the results go back, and text comes
      const back = await generateText(ask({ tools: { look }, prompt: undefined, toolChoice: 'none',
        messages: [{ role: 'user', content: VERSE }, ...whole.response.messages] }));
      assert.equal(back.toolCalls.length, 0);
    }
  });

  it('tells errors', async () => {
    await assert.rejects(generateText(ask({ temperature: -1 })), (error) =>
      APICallError.isInstance(error) && error.statusCode === 400 &&
      error.message.includes('temperature') && error.data.error.param === 'temperature');
    await assert.rejects(generateText(ask({ prompt: VERSE.repeat(100) })), (error) =>
      APICallError.isInstance(error) && error.data.error.code === 'context_length_exceeded');
    const faults = [];
    const stream = streamText(ask({ topP: 3, onError: ({ error }) => faults.push(error) }));
    await collect(stream.textStream);
    assert.equal(faults[0].statusCode, 400);
  });

  it('frees its slot when a client aborts', async () => {
    const abort = new AbortController();
    const stream = streamText(ask({ maxOutputTokens: undefined, abortSignal: abort.signal }));
    for await (const part of stream.textStream)
      if (part) {
        abort.abort();
        break;
      }
    await untilIdle(url());
  });
});
