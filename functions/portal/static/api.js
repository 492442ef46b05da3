// The JSON API: one way to call it, and its errors as people read them.

// Problem is an error of the API (RFC 9457), or a server that could not be reached.
export class Problem extends Error {
  constructor(status, document, retryAfter) {
    super(document.detail || document.title || "Something went wrong.");
    this.status = status;
    this.document = document;
    this.retryAfter = retryAfter; // seconds; 0: not said
  }

  get reason() { return this.document.reason; }
  get requestID() { return this.status >= 500 ? this.document.request_id : ""; }
  // The members that are at fault, as [[member, message], …].
  get members() { return (this.document.errors || []).map((e) => [String(e.member).replace(/^body\./, ""), e.message]); }
}

// Cancelled is thrown where the person has closed what was asked.
export class Cancelled extends Error {}

let confirmer = null;
let stranger = null;

// onStepUp names who asks for a fresh proof: a function that returns when it was given.
export function onStepUp(ask) { confirmer = ask; }

// onSignedOut names what is done where the session has ended: elsewhere, or by time.
export function onSignedOut(leave) { stranger = leave; }

// send calls the API and returns what it answers. A call that needs a fresh proof is
// repeated once that was given.
export async function send(method, path, body) {
  try {
    return await once(method, path, body);
  } catch (problem) {
    if (problem.status === 401 && stranger) return stranger();
    if (problem.reason !== "step_up" || !confirmer) throw problem;
  }
  await confirmer();
  return once(method, path, body);
}

export const get = (path) => send("GET", path);
export const post = (path, body = {}) => send("POST", path, body);

async function once(method, path, body) {
  const request = { method, headers: { Accept: "application/json" }, credentials: "same-origin", cache: "no-store", redirect: "error" };
  if (body !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new Problem(0, { detail: "The server can’t be reached. Check your connection and try again." }, 0);
  }
  const text = await response.text();
  let document = {};
  try {
    document = text ? JSON.parse(text) : {};
  } catch {
    if (response.ok) throw new Problem(response.status, { detail: "The server’s answer can’t be read." }, 0);
  }
  if (response.ok) return document;
  const wait = Number.parseInt(response.headers.get("Retry-After") || document.retry_after, 10) || 0;
  throw new Problem(response.status, document, wait);
}
