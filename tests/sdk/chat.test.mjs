// Models and answers that are not streamed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { makeParseableResponseFormat } from 'openai/lib/parser';
import { ask, client, hello, place, received, weather } from './support.mjs';

test('models are listed and described', async () => {
  const ids = [];
  for await (const model of client.models.list()) {
    assert.equal(model.object, 'model');
    assert.equal(typeof model.created, 'number');
    ids.push(model.id);
  }
  assert.ok(ids.includes(place.demo) && ids.includes(place.recorded), ids.join());
  assert.equal((await client.models.retrieve(place.demo)).id, place.demo);
});

test('a model with a slash in its name is described', async () => {
  assert.match(place.recorded, /\//);
  assert.equal((await client.models.retrieve(place.recorded)).id, place.recorded);
});

test('a chat completion has content, usage and a request id', async () => {
  const { data, response, request_id } = await client.chat.completions.create(ask()).withResponse();
  assert.equal(data.object, 'chat.completion');
  assert.equal(data.choices.length, 1);
  assert.match(data.choices[0].message.content, /Hello/);
  assert.equal(data.choices[0].finish_reason, 'stop');
  assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
  assert.match(request_id, /^req_/);
  assert.equal(data._request_id, request_id);
  assert.equal(response.headers.get('x-request-id'), request_id);
});

test('n answers come with their own indexes', async () => {
  const { choices } = await client.chat.completions.create(ask({ n: 2 }));
  assert.deepEqual(choices.map((choice) => choice.index), [0, 1]);
  assert.notEqual(choices[0].message.content, choices[1].message.content);
});

test('a seed is obeyed', async () => {
  const say = async (seed) => (await client.chat.completions.create(ask({ seed }))).choices[0].message.content;
  assert.equal(await say(1), await say(1));
  assert.notEqual(await say(1), await say(2));
});

test('log-probabilities pass through', async () => {
  const { choices } = await client.chat.completions.create(ask({ logprobs: true, top_logprobs: 1 }));
  const tokens = choices[0].logprobs.content;
  assert.equal(tokens.map((token) => token.token).join(''), choices[0].message.content);
  assert.ok(tokens.every((token) => token.top_logprobs.length === 1 && token.logprob <= 0));
});

test('max_completion_tokens and stop are obeyed', async () => {
  const short = await client.chat.completions.create(ask({ max_completion_tokens: 3 }));
  assert.equal(short.choices[0].finish_reason, 'length');
  assert.equal(short.usage.completion_tokens, 3);
  const stopped = await client.chat.completions.create(ask({ stop: ['Hello'] }));
  assert.doesNotMatch(stopped.choices[0].message.content, /Hello/);
});

test('a structured output follows its schema, and the SDK parses it', async () => {
  const format = {
    type: 'json_schema',
    json_schema: {
      name: 'person',
      strict: true,
      schema: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'age'],
        properties: { name: { type: 'string' }, age: { type: 'integer', minimum: 18 } },
      },
    },
  };
  const plain = await client.chat.completions.create(ask({ response_format: format }));
  assert.deepEqual(JSON.parse(plain.choices[0].message.content), { name: 'demo', age: 18 });
  const parsed = await client.chat.completions.parse(
    ask({ response_format: makeParseableResponseFormat(format, JSON.parse) }),
  );
  assert.deepEqual(parsed.choices[0].message.parsed, { name: 'demo', age: 18 });
});

test('a tool is called, and its result answered', async () => {
  const messages = [{ role: 'user', content: 'Call get_weather' }];
  const called = await client.chat.completions.create(ask({ messages, tools: [weather] }));
  assert.equal(called.choices[0].finish_reason, 'tool_calls');
  const { message } = called.choices[0];
  assert.equal(message.content, null);
  assert.equal(message.tool_calls.length, 1);
  assert.equal(message.tool_calls[0].function.name, 'get_weather');
  assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: 'demo' });

  const result = { role: 'tool', tool_call_id: message.tool_calls[0].id, content: 'Sunny, 24 degrees' };
  const answered = await client.chat.completions.create(ask({ messages: [...messages, message, result], tools: [weather] }));
  assert.equal(answered.choices[0].finish_reason, 'stop');
  assert.match(answered.choices[0].message.content, /Sunny, 24 degrees/);
});

test('runTools does the round trip by itself', async () => {
  const asked = [];
  const tool = {
    type: 'function',
    function: {
      ...weather.function,
      parse: JSON.parse,
      function: (args) => {
        asked.push(args);
        return 'Rain all day';
      },
    },
  };
  const runner = client.chat.completions.runTools(ask({ messages: [{ role: 'user', content: 'Call get_weather' }], tools: [tool] }));
  assert.match(await runner.finalContent(), /Rain all day/);
  assert.deepEqual(asked, [{ city: 'demo' }]);
});

test('an image in the request passes', async () => {
  const url = `data:image/png;base64,${'iVBORw0KGgo'.repeat(40)}=`;
  const parts = [
    { type: 'text', text: 'What is this?' },
    { type: 'image_url', image_url: { url, detail: 'low' } },
  ];
  const done = await client.chat.completions.create({ model: place.recorded, messages: [{ role: 'user', content: parts }] });
  assert.match(done.choices[0].message.content, /What is this\?/);
  const { body } = await received(done._request_id);
  assert.deepEqual(body.messages[0].content, parts);
});

test('members that the gateway does not know reach the backend unharmed', async () => {
  const unknown = {
    temperature: 0.25,
    metadata: { ticket: 'T-1', 'ünïcode ☃': 'a"b\\c\n\u0001' },
    logit_bias: { 50256: -100 },
    x_vendor: { deep: [1, 2.5, -0.001, 1e-9, null, true, '', {}, []] },
    chat_template_kwargs: { enable_thinking: false },
    messages: [{ role: 'user', content: 'Hello', x_note: { kept: true } }],
  };
  const done = await client.chat.completions.create(ask({ ...unknown, model: place.recorded }));
  const { body, headers } = await received(done._request_id);
  const { model, ...rest } = body;
  assert.equal(model, 'demo', 'the backend is called by its own name of the model');
  assert.deepEqual(rest, unknown);
  assert.ok(!JSON.stringify(headers).includes(client.apiKey), "the client's key went on to the backend");
});

test('the SDK\'s extras pass: organisation and project headers, query, own headers', async () => {
  const extras = new OpenAI({
    maxRetries: 0,
    organization: 'org-abc',
    project: 'proj_abc',
    defaultHeaders: { 'X-Title': 'Test' },
    defaultQuery: { 'api-version': '2026-01-01' },
  });
  const done = await extras.chat.completions.create({ model: place.demo, messages: hello }, { idempotencyKey: 'once' });
  assert.equal(done.object, 'chat.completion');
});
