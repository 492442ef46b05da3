// The second factor: the same form wherever one is asked for.

import { find, all, make, onSubmit, clear } from "./page.js";
import * as webauthn from "./webauthn.js";

const names = { totp: "Use your authenticator app", passkey: "Use a passkey", recovery_code: "Use a recovery code", password: "Use your password" };

// current is what a form does with a proof, by its root: a dialog is asked in often.
const current = new WeakMap();

// ask shows the ways that the person has. options gets what a passkey is asked with,
// send takes the proof; what it throws is shown.
export function ask(root, ways, { options, send }) {
  const usable = ["passkey", "totp", "recovery_code", "password"].filter((w) => ways.includes(w) && (w !== "passkey" || webauthn.available()));
  if (usable.length === 0) usable.push(ways[0]); // its form says why it does not work
  const choose = (way, focus = true) => {
    for (const form of all("[data-way]", root)) { form.hidden = form.dataset.way !== way; clear(form); }
    find("[data-ways]", root).replaceChildren(...usable.filter((w) => w !== way)
      .map((w) => make("li", {}, make("button", { type: "button", class: "link", on: () => choose(w) }, names[w]))));
    if (focus) find(`[data-way="${way}"] :is(input:not(.away), button)`, root)?.focus();
  };
  if (!current.has(root)) {
    for (const form of all("[data-way]", root)) onSubmit(form, (values) => current.get(root)(form, values));
  }
  current.set(root, async (form, values) => {
    try {
      await send(await proof(form.dataset.way, values, options));
    } catch (error) {
      if (form.dataset.way === "totp") find("input", form).select();
      throw error;
    }
  });
  choose(usable.includes("totp") && !usable.includes("passkey") ? "totp" : usable[0]);
}

async function proof(way, values, options) {
  switch (way) {
    case "passkey": {
      const { ceremony, options: request } = await options();
      return { passkey: { ceremony, credential: await webauthn.assert(request) } };
    }
    case "totp": return { totp: values.totp.replaceAll(" ", "") };
    case "recovery_code": return { recovery_code: values.recovery_code.trim() };
    default: return { password: values.password };
  }
}
