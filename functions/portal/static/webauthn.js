// Passkeys: between the JSON of the API and what browsers take.

import { Cancelled, Problem } from "./api.js";

export const available = () => Boolean(window.PublicKeyCredential && navigator.credentials);

const toBytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const toText = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const credentialIDs = (list = []) => list.map((c) => ({ ...c, id: toBytes(c.id) }));

// assert asks for a passkey that is there.
export async function assert(answer, more = {}) {
  const o = answer.publicKey || answer;
  const publicKey = { ...o, challenge: toBytes(o.challenge), allowCredentials: credentialIDs(o.allowCredentials) };
  const c = await ask(() => navigator.credentials.get({ publicKey, ...more }), "No passkey of yours was found here, or it was not allowed.");
  return {
    ...common(c),
    response: {
      authenticatorData: toText(c.response.authenticatorData), clientDataJSON: toText(c.response.clientDataJSON), signature: toText(c.response.signature),
      userHandle: c.response.userHandle ? toText(c.response.userHandle) : undefined,
    },
  };
}

// create makes a new passkey.
export async function create(answer) {
  const o = answer.publicKey || answer;
  const publicKey = { ...o, challenge: toBytes(o.challenge), user: { ...o.user, id: toBytes(o.user.id) }, excludeCredentials: credentialIDs(o.excludeCredentials) };
  const c = await ask(() => navigator.credentials.create({ publicKey }), "No passkey was made.");
  return {
    ...common(c),
    response: {
      attestationObject: toText(c.response.attestationObject), clientDataJSON: toText(c.response.clientDataJSON),
      transports: c.response.getTransports?.() || [],
    },
  };
}

const common = (c) => ({
  id: c.id, rawId: toText(c.rawId), type: c.type, authenticatorAttachment: c.authenticatorAttachment || undefined,
  clientExtensionResults: c.getClientExtensionResults(),
});

async function ask(what, refused) {
  if (!available()) throw new Problem(0, { detail: "This browser knows no passkeys, or the page was not opened by https." }, 0);
  try {
    const credential = await what();
    if (!credential) throw new Cancelled();
    return credential;
  } catch (error) {
    switch (error.name) {
      case "AbortError": throw new Cancelled();
      case "NotAllowedError": throw new Problem(0, { detail: refused }, 0);
      case "InvalidStateError": throw new Problem(0, { detail: "This device already has a passkey for your account." }, 0);
      case "SecurityError": throw new Problem(0, { detail: "Passkeys don’t work under this address. Open the page under its usual one." }, 0);
      default: throw error;
    }
  }
}
