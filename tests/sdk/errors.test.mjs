// Errors: the SDK's classes, and what they carry.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI, {
  APIError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
  UnprocessableEntityError,
} from 'openai';
import { ask, client, clientWith, place, thrown } from './support.mjs';

const keyed = (name) => clientWith({ apiKey: place.keys[name] });

// Each refusal, as [class, status, type, code, param, part of the message, client, request].
const refusals = {
  'no messages': [BadRequestError, 400, 'invalid_request_error', 'invalid_request', 'messages', /messages/, client, { messages: undefined }],
  'a wrong type': [BadRequestError, 400, 'invalid_request_error', 'invalid_request', 'n', /whole number/, client, { n: 0 }],
  "what the backend won't take": [BadRequestError, 400, 'invalid_request_error', 'invalid_request', 'temperature', /between 0 and 2/, client, { temperature: 3 }],
  'a key that is none': [AuthenticationError, 401, 'authentication_error', 'invalid_api_key', null, /API key/, clientWith({ apiKey: 'sk-nonsense' }), {}],
  'a key that was revoked': [AuthenticationError, 401, 'authentication_error', 'invalid_api_key', null, /API key/, keyed('revoked'), {}],
  'a spent budget': [APIError, 402, 'insufficient_quota', 'budget_exceeded', null, /budget/, keyed('broke'), {}],
  'a missing scope': [PermissionDeniedError, 403, 'permission_error', 'forbidden', null, /inference/, keyed('noScope'), {}],
  'an unknown model': [NotFoundError, 404, 'invalid_request_error', 'model_not_found', 'model', /no-such-model/, client, { model: 'no-such-model' }],
  'a model that the key may not use': [NotFoundError, 404, 'invalid_request_error', 'model_not_found', 'model', /lab\/recorded/, keyed('demoOnly'), { model: place.recorded }],
  'a body that is too large': [APIError, 413, 'invalid_request_error', 'request_too_large', null, /65536 bytes/, client, { messages: [{ role: 'user', content: 'x'.repeat(70_000) }] }],
  'a model without a price': [UnprocessableEntityError, 422, 'invalid_request_error', 'unprocessable', 'model', /price/, client, { model: place.unpriced }],
  'a rate limit': [RateLimitError, 429, 'rate_limit_error', 'rate_limit_exceeded', null, /limit/, keyed('limited'), {}],
  'a failing backend': [InternalServerError, 502, 'server_error', 'upstream_error', null, /backend/, client, { demo: { status: 500 } }],
  "a backend that refuses the platform's key": [InternalServerError, 502, 'server_error', 'upstream_error', null, /backend/, client, { demo: { status: 401 } }],
  "a backend that lacks the model": [InternalServerError, 502, 'server_error', 'upstream_error', null, /backend/, client, { demo: { status: 404 } }],
  'a backend that answers no JSON': [InternalServerError, 502, 'server_error', 'upstream_error', null, /backend/, client, { demo: { body: '<html>', content_type: 'text/html' } }],
  'a backend whose error comes with the status 200': [InternalServerError, 502, 'server_error', 'upstream_error', null, /backend/, client, { demo: { body: '{"error":{"message":"told to answer this"}}' } }],
  'a backend that breaks the connection': [InternalServerError, 502, 'server_error', 'upstream_error', null, /backend/, client, { demo: { cut_after: 0 } }],
  'a backend that is overloaded': [InternalServerError, 503, 'server_error', 'unavailable', null, /./, client, { demo: { status: 503, retry_after: 7 } }],
  "a backend's own rate limit": [InternalServerError, 503, 'server_error', 'unavailable', null, /./, client, { demo: { status: 429 } }],
  'a silent backend': [InternalServerError, 504, 'server_error', 'upstream_timeout', null, /too long/, client, { demo: { delay_ms: 20_000 } }],
};

for (const [name, [kind, status, type, code, param, message, caller, more]] of Object.entries(refusals)) {
  for (const stream of [false, true]) {
    test(`${name}, ${stream ? 'streamed' : 'whole'}`, async () => {
      if (status === 429) await caller.chat.completions.create(ask()).catch(() => {}); // the one that is allowed
      const error = await thrown(caller.chat.completions.create(ask({ stream, ...more })));
      assert.equal(error.constructor, kind, `${error.stack} ${JSON.stringify(error.error)}`);
      assert.equal(error.status, status);
      assert.equal(error.type, type);
      assert.equal(error.code, code);
      assert.equal(error.param, param);
      assert.match(error.message, message);
      assert.match(error.requestID, /^req_/);
      assert.equal(error.headers.get('content-type'), 'application/problem+json');
      assert.ok(!error.message.includes('told to answer'), "the backend's own text was shown");
    });
  }
}

test('a limit says when to try again, and what is left of it', async () => {
  await keyed('limited').chat.completions.create(ask()).catch(() => {}); // the one that is allowed
  const { headers } = await thrown(keyed('limited').chat.completions.create(ask()));
  assert.match(headers.get('retry-after'), /^[1-9]\d*$/);
  assert.equal(headers.get('x-ratelimit-limit-requests'), '1');
  assert.equal(headers.get('x-ratelimit-remaining-requests'), '0');
  assert.match(headers.get('x-ratelimit-reset-requests'), /^(\d+m)?[\d.]+m?s$/);
});

test("a backend's Retry-After is passed on", async () => {
  const error = await thrown(client.chat.completions.create(ask({ demo: { status: 503, retry_after: 7 } })));
  assert.equal(error.headers.get('retry-after'), '7');
});

test('models need a key, and exist or not', async () => {
  const denied = await thrown(clientWith({ apiKey: 'sk-nonsense' }).models.list());
  assert.equal(denied.constructor, AuthenticationError);
  const missing = await thrown(client.models.retrieve('no-such-model'));
  assert.equal(missing.constructor, NotFoundError);
  assert.equal(missing.param, 'model');
  const hidden = await thrown(keyed('demoOnly').models.retrieve(place.recorded));
  assert.equal(hidden.message, missing.message.replace('no-such-model', place.recorded));
  const listed = await keyed('demoOnly').models.list();
  assert.deepEqual(listed.data.map((model) => model.id), [place.demo]);
});

test('an address that is nothing', async () => {
  const error = await thrown(client.get('/no/such/thing'));
  assert.equal(error.constructor, NotFoundError);
  assert.equal(error.code, 'not_found');
  assert.match(error.requestID, /^req_/);
});

test('a gateway that is not there', async () => {
  const error = await thrown(clientWith({ baseURL: 'http://127.0.0.1:9/v1' }).models.list());
  assert.equal(error.constructor, OpenAI.APIConnectionError);
});
