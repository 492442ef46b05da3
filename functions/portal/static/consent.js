import { get, onSignedOut } from "./api.js";
import { fill, find, go, signIn, step } from "./page.js";
import { ask } from "./grant.js";

const path = `/v1/oauth/requests/${encodeURIComponent(new URLSearchParams(location.search).get("request") || "-")}`;

onSignedOut(() => signIn());

async function load() {
  let request;
  try {
    request = await get(path);
  } catch (error) {
    if (error.status !== 404) find("[data-why]").textContent = error.message;
    return void step("broken");
  }
  await ask(request, path, (answer, allowed, name) => {
    // A program on this machine takes the answer and closes nothing: say that it is done.
    fill("done", allowed ? `${name} is connected` : "Access denied");
    step("done");
    return go(answer.redirect_to);
  });
}

load();
