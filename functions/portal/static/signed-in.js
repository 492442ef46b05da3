// What follows a sign-in, on whichever page it was.

import { go, returnTo } from "./page.js";

const key = "aiaas.challenge";

// follow goes where the answer of a sign-in leads.
export function follow(answer, to = returnTo) {
  if (answer.status === "second_factor_required") {
    sessionStorage.setItem(key, JSON.stringify({ challenge: answer.challenge, methods: answer.methods, expires_at: answer.expires_at }));
    return go(`/sign-in/second-factor?return_to=${encodeURIComponent(to)}`);
  }
  sessionStorage.removeItem(key);
  return go(answer.mfa_required ? "/account#security" : to);
}

// pending is the sign-in that waits for its second factor; null where there is none.
export function pending() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(key));
    return kept && new Date(kept.expires_at) > new Date() ? kept : null;
  } catch {
    return null;
  }
}

// fromFragment takes the challenge of who comes back from single sign-on. It is kept in
// no history.
export function fromFragment() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (!given.get("challenge")) return null;
  const kept = { challenge: given.get("challenge"), methods: (given.get("methods") || "").split(" "), expires_at: given.get("expires_at") };
  sessionStorage.setItem(key, JSON.stringify(kept));
  history.replaceState(null, "", location.pathname + location.search);
  return pending();
}

export const forget = () => sessionStorage.removeItem(key);
