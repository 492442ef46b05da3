// Where the person is signed in.

import { get, send } from "./api.js";
import { find, main, make, onClick, say } from "./page.js";
import { sure } from "./sure.js";
import { device, when } from "./words.js";

// sessions lists them; the current one can be ended by signing out.
export async function sessions() {
  const { data } = await get("/v1/sessions");
  const list = data.toSorted((a, b) => Number(Boolean(b.current)) - Number(Boolean(a.current)));
  find("#session-list").replaceChildren(...list.map(row));
  find("#end-others").hidden = list.length < 2;
}

function row(session) {
  const title = session.client || device(session.user_agent);
  const seen = session.current ? "active now" : `last used ${when(session.last_seen_at)}`;
  const facts = [session.address, `signed in ${when(session.created_at)}`, seen].filter(Boolean);
  const what = make("span", { class: "what" }, make("b", {}, title, session.current ? make("span", { class: "badge" }, "This one") : null), make("small", {}, facts.join(" · ")));
  const icon = find(session.kind === "browser" ? "#browser-icon" : "#terminal-icon").content.cloneNode(true);
  if (session.current) return make("li", {}, icon, what);
  const end = make("button", { type: "button", class: "danger", "aria-label": `End ${title}` }, "End");
  onClick(end, main, async () => {
    await send("DELETE", `/v1/sessions/${session.id}`);
    await sessions();
    say("Session ended");
  });
  return make("li", {}, icon, what, end);
}

onClick(find("#end-others"), main, () => sure({ title: "End all other sessions?", text: "Other browsers, the command line and programs that you have allowed must sign in again.", button: "End them" }, async () => {
  await send("DELETE", "/v1/sessions");
  await sessions();
  say("All others were ended");
}));
