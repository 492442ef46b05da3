// Answers that are streamed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, client, collect, content, place, received, weather } from './support.mjs';

const stream = async (more) => collect(await client.chat.completions.create(ask({ stream: true, ...more })));
const whole = (more) => client.chat.completions.create(ask(more));

// What clients that did not ask for the usage must not see, wherever the backend
// puts it.
for (const [where, more] of Object.entries({
  'at the end': {},
  'at the end, with stream_options that say nothing of it': { stream_options: {} },
  'at the end, with include_usage false': { stream_options: { include_usage: false } },
  'at the start': { demo: { usage_at: 'start' } },
  'in every chunk': { demo: { usage_at: 'every' } },
})) {
  test(`usage that was not asked for is not shown: ${where}`, async () => {
    const chunks = await stream(more);
    for (const chunk of chunks) {
      assert.ok(!('usage' in chunk), JSON.stringify(chunk));
      assert.notEqual(chunk.choices.length, 0, JSON.stringify(chunk));
      assert.equal(chunk.object, 'chat.completion.chunk');
    }
    assert.equal(content(chunks), (await whole()).choices[0].message.content);
    assert.deepEqual(chunks.map((chunk) => chunk.choices[0].finish_reason).filter(Boolean), ['stop']);
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
    assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  });
}

test('usage that was asked for comes once, in the last chunk', async () => {
  const chunks = await stream({ stream_options: { include_usage: true } });
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.deepEqual(last.usage, (await whole()).usage);
  assert.ok(chunks.every((chunk) => chunk.usage === null && chunk.choices.length === 1));
});

test('other stream options reach the backend', async () => {
  const { data, request_id } = await client.chat.completions
    .create(ask({ model: place.recorded, stream: true, stream_options: { include_obfuscation: false } }))
    .withResponse();
  await collect(data);
  const { body } = await received(request_id);
  assert.deepEqual(body.stream_options, { include_usage: true, include_obfuscation: false });
});

test('n answers are streamed side by side', async () => {
  const chunks = await stream({ n: 2 });
  const { choices } = await whole({ n: 2 });
  for (const choice of choices) assert.equal(content(chunks, choice.index), choice.message.content);
  const ends = chunks.flatMap((chunk) => chunk.choices).filter((choice) => choice.finish_reason);
  assert.deepEqual(ends.map((choice) => choice.index).sort(), [0, 1]);
});

test('log-probabilities are streamed', async () => {
  const chunks = await stream({ logprobs: true });
  const tokens = chunks.flatMap((chunk) => chunk.choices[0].logprobs?.content ?? []);
  assert.equal(tokens.map((token) => token.token).join(''), content(chunks));
});

test('a tool call is streamed', async () => {
  const chunks = await stream({ messages: [{ role: 'user', content: 'Call get_weather' }], tools: [weather] });
  const calls = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
  assert.equal(calls[0].function.name, 'get_weather');
  assert.ok(calls[0].id);
  assert.deepEqual(JSON.parse(calls.map((call) => call.function.arguments ?? '').join('')), { city: 'demo' });
  assert.equal(chunks.at(-1).choices[0].finish_reason, 'tool_calls');
});

test('the streaming helper puts an answer together', async () => {
  const runner = client.chat.completions.stream(ask({ stream_options: { include_usage: true } }));
  const deltas = [];
  runner.on('content', (delta) => deltas.push(delta));
  const done = await runner.finalChatCompletion();
  const expected = await whole();
  assert.equal(done.choices[0].message.content, expected.choices[0].message.content);
  assert.equal(deltas.join(''), expected.choices[0].message.content);
  assert.equal(done.choices[0].finish_reason, 'stop');
  assert.deepEqual(await runner.totalUsage(), {
    ...(await runner.totalUsage()),
    prompt_tokens: expected.usage.prompt_tokens,
    completion_tokens: expected.usage.completion_tokens,
    total_tokens: expected.usage.total_tokens,
  });
});

test('the streaming helper works without the usage', async () => {
  const done = await client.chat.completions.stream(ask()).finalChatCompletion();
  assert.equal(done.choices[0].message.content, (await whole()).choices[0].message.content);
  assert.equal(done.usage, undefined);
});

test('runTools does the round trip by streams', async () => {
  const tool = {
    type: 'function',
    function: { ...weather.function, parse: JSON.parse, function: ({ city }) => `Fog over ${city}` },
  };
  const runner = client.chat.completions.runTools(
    ask({ stream: true, messages: [{ role: 'user', content: 'Call get_weather' }], tools: [tool] }),
  );
  assert.match(await runner.finalContent(), /Fog over demo/);
});

test('a stream can be read twice and handed on', async () => {
  const [one, two] = (await client.chat.completions.create(ask({ stream: true }))).tee();
  const [first, second] = await Promise.all([collect(one), collect(two)]);
  assert.deepEqual(first, second);
  const lines = await new Response((await client.chat.completions.create(ask({ stream: true }))).toReadableStream()).text();
  assert.equal(content(lines.trim().split('\n').map((line) => JSON.parse(line))), content(first));
});
