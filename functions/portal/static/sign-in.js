import { post, Problem } from "./api.js";
import { checked, find, onClick, onSubmit, returnTo, show, go } from "./page.js";
import { follow } from "./signed-in.js";
import * as webauthn from "./webauthn.js";

const form = find("#sign-in");
const email = find("#email");

onSubmit(form, async (values) => follow(await post("/v1/sign-in", { email: values.email.trim(), password: values.password })));

// The way to the next page keeps what was typed.
find("#forgot").addEventListener("click", () => sessionStorage.setItem("aiaas.email", email.value));
email.value ||= sessionStorage.getItem("aiaas.email") || "";

onClick(find("#sso"), form, async () => {
  if (!checked([email])) return;
  const { redirect_url: to } = await post("/v1/sign-in/sso", { email: email.value.trim(), return_to: returnTo });
  await go(to);
});

// What single sign-on says of who comes back without a session.
const refusals = {
  sso_expired: "The sign-in took too long, or was begun in another browser. Try again.",
  sso_denied: "Your organization’s sign-on did not let you through.",
  sso_failed: "What your organization’s sign-on answered can’t be believed. Tell your administrator.",
  sso_unavailable: "Your organization’s sign-on can’t be reached right now. Try again in a while.",
  sso_email: "Your organization’s sign-on did not confirm an e-mail address under a domain of this organization.",
  sso_no_role: "None of your groups has a role here. Ask your administrator.",
  sso_suspended: "Your membership is suspended. Ask your administrator.",
  sso_removed: "You are no longer a member here. Ask your administrator for an invitation.",
  sso_conflict: "Your e-mail address belongs to another account of the sign-on. Ask your administrator.",
  sso_rank: "People of your role sign in with a password or a passkey.",
  sso_full: "Your organization has no room for more members. Ask your administrator.",
  sso_off: "Single sign-on is switched off here.",
  sso_factor: "Sign in with your password and your second factor.",
  sso_mismatch: "Somebody else has come back than who was to confirm. Sign in again.",
};

const refusal = new URLSearchParams(location.search).get("error");
if (refusal) show(form, new Problem(403, { detail: refusals[refusal] || "That did not work. Try again." }, 0));

let waiting = null; // the passkeys that are offered with the e-mail field

async function enter({ ceremony, credential }) {
  await follow(await post("/v1/sign-in/passkey", { ceremony, credential }));
}

// passkey asks the browser for one that answers a fresh ceremony.
async function passkey(more) {
  const { ceremony, options } = await post("/v1/sign-in/passkey/options");
  return { ceremony, credential: await webauthn.assert(options, more) };
}

onClick(find("#passkey"), form, async () => {
  waiting?.abort();
  await enter(await passkey());
});

// offer lets the browser show passkeys where it shows saved passwords. Nobody asked
// for it, so what fails before somebody has chosen one is not said.
async function offer() {
  if (!webauthn.available() || !await PublicKeyCredential.isConditionalMediationAvailable?.()) return;
  waiting = new AbortController();
  let chosen;
  try {
    chosen = await passkey({ mediation: "conditional", signal: waiting.signal });
  } catch {
    return;
  }
  try {
    await enter(chosen);
  } catch (error) {
    show(form, error);
  }
}

offer();
