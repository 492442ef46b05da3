// The fresh proof that sensitive acts ask for.

import { Cancelled, get, onStepUp, post } from "./api.js";
import { find, go, open } from "./page.js";
import { ask } from "./factor.js";

const dialog = find("#step-up");
let running = null;

// What needs the proof waits for it; two such acts wait for one.
onStepUp(() => (running ||= prove().finally(() => { running = null; })));

// methods are what the person can show: a second factor if there is one, else the password.
async function methods() {
  const has = await get("/v1/me/factors");
  const ways = [];
  if (has.passkeys.length > 0) ways.push("passkey");
  if (has.totp) ways.push("totp");
  if (ways.length > 0 && has.recovery_codes.left > 0) ways.push("recovery_code");
  return ways.length > 0 ? ways : ["password"];
}

// atIssuer sends who came by single sign-on back there: here he has nothing to show.
async function atIssuer() {
  const { data } = await get("/v1/sessions");
  if (data.find((s) => s.current)?.means !== "sso") return;
  let to;
  try {
    ({ redirect_url: to } = await post("/v1/session/step-up/sso", { return_to: location.pathname + location.search }));
  } catch (error) {
    if (error.reason !== "second_factor") throw error;
    return; // there is something to show here
  }
  await go(to);
}

async function prove() {
  await atIssuer();
  const ways = await methods();
  const closed = open(dialog);
  ask(find("[data-factor]", dialog), ways, {
    options: () => post("/v1/session/step-up/options"),
    send: async (proof) => {
      await post("/v1/session/step-up", proof);
      dialog.close("proved");
    },
  });
  if (await closed !== "proved") throw new Cancelled();
}
