import { post } from "./api.js";
import { find, go, returnTo } from "./page.js";
import { ask } from "./factor.js";
import { follow, forget, fromFragment, pending } from "./signed-in.js";

const back = find("#back");
back.href = `/sign-in?return_to=${encodeURIComponent(returnTo)}`;
back.addEventListener("click", forget);

const waiting = fromFragment() || pending();
if (waiting) {
  ask(find("[data-factor]"), waiting.methods, {
    options: () => post("/v1/sign-in/passkey/options", { challenge: waiting.challenge }),
    send: async (proof) => follow(await post("/v1/sign-in/second-factor", { challenge: waiting.challenge, ...proof })),
  });
} else {
  forget();
  go(back.href);
}
