import { get, onSignedOut } from "./api.js";
import { fill, find, onSubmit, signIn, step } from "./page.js";
import { ask } from "./grant.js";
import { when } from "./words.js";

const form = find("#code");
const input = find("#user_code");

onSubmit(form, async (values) => {
  const code = values.user_code.toUpperCase().replaceAll(/[^A-Z0-9]/g, "");
  const path = `/v1/oauth/device/${encodeURIComponent(code)}`;
  onSignedOut(() => signIn(`/device?user_code=${encodeURIComponent(code)}`));
  const request = await get(path);
  find("[data-code-shown]").hidden = false;
  fill("code", request.user_code);
  fill("from", `Asked ${when(request.asked_at)}, from ${request.address || "an unknown address"}.`);
  await ask(request, path, (_, allowed, name) => {
    fill("done", allowed ? `${name} is connected` : "Access denied");
    step("done");
  });
});

// A link with the code in it saves the typing, not the look at it.
if (input.value) form.requestSubmit();
