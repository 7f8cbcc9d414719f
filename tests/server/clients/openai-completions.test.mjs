// openai: completions of a raw prompt.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import OpenAI, { BadRequestError } from 'openai';
import { KEY, VERSE, collect, describeModels } from './serving.mjs';

describeModels('openai completions', (model, url) => {
  const client = () => new OpenAI({ baseURL: `${url()}/v1`, apiKey: KEY, maxRetries: 0 });
  const create = (more) => client().completions.create(
    { model, prompt: VERSE, seed: 3, max_tokens: 16, ...more });

  it('creates and streams the same', async () => {
    const whole = await create();
    assert.equal(whole.object, 'text_completion');
    assert.match(whole.id, /^cmpl-/);
    assert.ok(['stop', 'length'].includes(whole.choices[0].finish_reason));
    const chunks = await collect(await create(
      { stream: true, stream_options: { include_usage: true } }));
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.text ?? '').join(''),
      whole.choices[0].text);
    assert.ok(chunks.some((chunk) => chunk.choices[0]?.finish_reason ===
      whole.choices[0].finish_reason));
    assert.equal(chunks.at(-1).usage.completion_tokens, whole.usage.completion_tokens);
  });

  it('takes one prompt in a list, or tokens', async () => {
    const whole = await create();
    const listed = await create({ prompt: [VERSE] });
    assert.equal(listed.choices[0].text, whole.choices[0].text);
    const tokens = await create({ prompt: [1, 2000, 2001], logprobs: 2 });
    assert.equal(tokens.usage.prompt_tokens, 3);
    assert.ok(tokens.choices[0].logprobs);
  });

  it('refuses what it cannot do, by name', async () => {
    const cases = [
      [{ n: 2 }, 'n'], [{ best_of: 2 }, 'best_of'], [{ echo: true }, 'echo'],
      [{ suffix: 'x' }, 'suffix'], [{ prompt: ['a', 'b'] }, 'prompt'], [{ prompt: 7 }, 'prompt'],
      [{ logprobs: -1 }, 'logprobs'], [{ prompt: [1, 99999999] }, 'prompt'],
    ];
    for (const [more, param] of cases)
      await assert.rejects(create(more), (error) => {
        assert.ok(error instanceof BadRequestError, `${param}: ${error}`);
        assert.equal(error.param, param);
        return true;
      });
  });
});
