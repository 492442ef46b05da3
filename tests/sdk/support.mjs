// What the tests of OpenAI's JavaScript SDK share: clients as any user makes them,
// and a view of what reached the backend.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

// The Go test that runs these files starts the gateway and says what it holds.
const told = process.env.AIAAS_SDK_TEST;
if (!told) throw new Error('AIAAS_SDK_TEST is not set: run `make test-js`');
export const place = JSON.parse(told);

// A client that is configured by OPENAI_BASE_URL and OPENAI_API_KEY alone, as in
// the SDK's own documentation. Retries are off so that a failure is seen at once.
export const client = new OpenAI({ maxRetries: 0 });

// with is the same client with another key or other options.
export const clientWith = (options) => new OpenAI({ maxRetries: 0, ...options });

export const hello = [{ role: 'user', content: 'Hello' }];

// ask is a request for the demo model; demo says how the model is to misbehave,
// which is also a member that the SDK knows nothing of.
export const ask = (more = {}) => ({ model: place.demo, messages: hello, ...more });

// received is the request as it reached the backend, by the gateway's request id.
export async function received(requestID) {
  const answer = await fetch(`${place.backend}/received/${requestID}`);
  assert.equal(answer.status, 200, `nothing with the id ${requestID} reached the backend`);
  return answer.json();
}

// outcome is how a request ended at the backend, once it has.
export async function outcome(requestID) {
  const answer = await fetch(`${place.backend}/outcome/${requestID}`);
  assert.equal(answer.status, 200, `the request ${requestID} has not ended at the backend`);
  return (await answer.json()).outcome;
}

// collect reads a stream to its end.
export async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

// content is the text that chunks deliver for one choice.
export const content = (chunks, index = 0) =>
  chunks
    .flatMap((chunk) => chunk.choices)
    .filter((choice) => choice.index === index)
    .map((choice) => choice.delta.content ?? '')
    .join('');

// thrown is the error of a promise that must fail.
export async function thrown(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail('there was no error');
}

// counted is a fetch that keeps what was sent and answered.
export function counted() {
  const attempts = [];
  const counting = async (url, init) => {
    const response = await fetch(url, init);
    attempts.push({ request: new Headers(init.headers), status: response.status, headers: response.headers });
    return response;
  };
  return { attempts, fetch: counting };
}

export const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather of a city',
    parameters: {
      type: 'object',
      required: ['city'],
      properties: { city: { type: 'string' } },
    },
  },
};
