// What goes wrong on the way: streams that break, clients that leave, retries and
// time-outs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { APIConnectionTimeoutError, APIError, APIUserAbortError } from 'openai';
import { ask, client, clientWith, collect, content, counted, outcome, place, thrown } from './support.mjs';

// Ways in which a backend breaks off a stream that has begun. The SDK ends its
// loop quietly when a stream just ends, so each must end in an error.
const breaks = {
  'the connection is cut': [{ cut_after: 5 }, 'upstream_error'],
  'the answer ends too early': [{ end_after: 5 }, 'upstream_error'],
  'only the terminator comes': [{ malformed_after: 5, malformed: 'data: [DONE]\n\n', end_after: 5 }, 'upstream_error'],
  'an event is no JSON': [{ malformed_after: 5 }, 'upstream_error'],
  'the backend reports an error': [{ error_after: 5 }, 'upstream_error'],
  'the backend falls silent': [{ stall_after: 5 }, 'upstream_timeout'],
};

for (const [name, [demo, code]] of Object.entries(breaks)) {
  test(`a stream breaks: ${name}`, async () => {
    const stream = await client.chat.completions.create(ask({ stream: true, demo }));
    const chunks = [];
    const error = await thrown((async () => {
      for await (const chunk of stream) chunks.push(chunk);
    })());
    assert.ok(error instanceof APIError, error.stack);
    assert.equal(error.type, 'server_error');
    assert.equal(error.code, code);
    assert.match(error.message, /backend/);
    assert.match(error.requestID, /^req_/);
    assert.notEqual(content(chunks), '', 'what came before was not delivered');
    assert.ok(chunks.every((chunk) => chunk.choices[0].finish_reason === null));
  });

  test(`the streaming helper tells: ${name}`, async () => {
    const error = await thrown(client.chat.completions.stream(ask({ demo })).finalChatCompletion());
    assert.equal(error.code, code, error.stack);
  });
}

test('a stream that breaks before its first token is an error too', async () => {
  const error = await thrown((async () => collect(await client.chat.completions.create(ask({ stream: true, demo: { cut_after: 1 } }))))());
  assert.equal(error.code, 'upstream_error', error.stack);
});

test('a backend that leaves out the terminator is completed', async () => {
  const response = await client.chat.completions.create(ask({ stream: true, demo: { omit_done: true } })).asResponse();
  assert.match(await response.text(), /"finish_reason":"stop".*\n\ndata: \[DONE\]\n\n$/);
});

const endless = { stream: true, model: place.recorded, demo: { tokens: 4000, interval_ms: 50 } };

test('aborting a stream ends it at the backend', async () => {
  const { data: stream, request_id } = await client.chat.completions.create(ask(endless)).withResponse();
  const chunks = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
    if (chunks.length === 3) stream.controller.abort();
  }
  assert.ok(chunks.length < 100);
  assert.equal(await outcome(request_id), 'client_gone');
});

test('leaving the loop ends it at the backend', async () => {
  const { data: stream, request_id } = await client.chat.completions.create(ask(endless)).withResponse();
  for await (const _ of stream) break;
  assert.equal(await outcome(request_id), 'client_gone');
});

test("a signal aborts before the answer's first byte", async () => {
  const signal = AbortSignal.timeout(100);
  const error = await thrown(client.chat.completions.create(ask({ stream: true, demo: { delay_ms: 10_000 } }), { signal }));
  assert.equal(error.constructor, APIUserAbortError);
});

test('an aborted request is no longer counted as running', async () => {
  const single = clientWith({ apiKey: place.keys.single });
  const stream = await single.chat.completions.create(ask(endless));
  const busy = await thrown(single.chat.completions.create(ask()));
  assert.equal(busy.status, 429, 'the first request holds the only place');
  stream.controller.abort();
  const retrying = clientWith({ apiKey: place.keys.single, maxRetries: 5 });
  assert.equal((await retrying.chat.completions.create(ask())).object, 'chat.completion');
});

test('the SDK tries again where the backend fails once', async () => {
  for (const stream of [false, true]) {
    const told = await fetch(`${place.flakyControl}/_demo/behave`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ status: 503, retry_after: 1, times: 1 }),
    });
    assert.equal(told.status, 204);
    const { attempts, fetch: counting } = counted();
    await clientWith({ maxRetries: 1, fetch: counting }).chat.completions.create(ask({ model: place.flaky, stream }));
    assert.deepEqual(attempts.map(({ status }) => status), [503, 200]);
    assert.equal(attempts[0].headers.get('retry-after'), '1');
    assert.equal(attempts[1].request.get('x-stainless-retry-count'), '1');
  }
});

test('the SDK does not repeat what would fail again', async () => {
  for (const [more, status] of [[{ n: 0 }, 400], [{ model: 'no-such-model' }, 404], [{ model: place.unpriced }, 422]]) {
    const { attempts, fetch: counting } = counted();
    await thrown(clientWith({ maxRetries: 3, fetch: counting }).chat.completions.create(ask(more)));
    assert.deepEqual(attempts.map((attempt) => attempt.status), [status]);
  }
});

// A limit of 20 a minute frees a place every 3 s; the SDK by itself would wait
// half a second at most before its only repetition, and be refused again.
test('the SDK waits as long as Retry-After says', async () => {
  const { attempts, fetch: counting } = counted();
  const once = clientWith({ apiKey: place.keys.refilled, fetch: counting });
  for (let i = 0; i < 60 && attempts.at(-1)?.status !== 429; i++) {
    await once.chat.completions.create(ask()).catch(() => {});
  }
  assert.equal(attempts.pop().status, 429);
  attempts.length = 0;
  const done = await clientWith({ apiKey: place.keys.refilled, fetch: counting, maxRetries: 1 }).chat.completions.create(ask());
  assert.equal(done.object, 'chat.completion');
  assert.deepEqual(attempts.map(({ status }) => status), [429, 200]);
});

test("the SDK's time-out ends a request", async () => {
  const error = await thrown(client.chat.completions.create(ask({ demo: { delay_ms: 10_000 } }), { timeout: 200 }));
  assert.equal(error.constructor, APIConnectionTimeoutError);
});
