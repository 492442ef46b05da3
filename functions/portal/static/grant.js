// The question whether a program may act for the person, asked in two places.

import { get, post } from "./api.js";
import { fill, find, make, onClick, step } from "./page.js";
import { scopeText } from "./words.js";
import "./stepup.js";

// ask shows who asks for what; answered is told how it ended.
export async function ask(request, path, answered) {
  const me = await get("/v1/me");
  const { name } = request.client;
  fill("client", name);
  fill("initial", name.trim().charAt(0).toUpperCase());
  fill("organization", me.organization.id === request.organization ? me.organization.name : request.organization);
  fill("as", `You are signed in as ${me.person?.email || me.owner.name}.`);
  find("[data-scopes]").replaceChildren(...request.scopes.map((scope) => {
    const [text, note] = scopeText(scope);
    return make("li", {}, text, note && make("small", {}, note));
  }));
  const section = step("ask");
  for (const [button, answer] of [["#allow", "approve"], ["#deny", "deny"]]) {
    onClick(find(button), section, async () => answered(await post(`${path}/${answer}`), answer === "approve", name));
  }
}
