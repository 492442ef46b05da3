import { get, onSignedOut, post, Problem } from "./api.js";
import { all, fill, find, go, main, make, onClick, show, signIn } from "./page.js";
import { profile } from "./profile.js";
import { security } from "./security.js";
import { sessions } from "./sessions.js";
import { speak } from "./words.js";
import "./stepup.js";

onSignedOut(() => signIn());

onClick(find("#sign-out"), main, async () => {
  await post("/v1/sign-out");
  await go("/sign-in");
});

// organizations lets the person go on in another organisation.
function organizations(me) {
  const select = find("#organization");
  const list = me.organizations || [];
  find("#organization-name").textContent = list.length > 1 ? "" : me.organization.name;
  if (list.length < 2) return;
  select.replaceChildren(...list.map((o) => make("option", { value: o.id }, o.name)));
  select.value = me.organization.id;
  select.hidden = false;
  select.addEventListener("change", async () => {
    try {
      await post("/v1/session/organization", { organization_id: select.value });
      location.reload();
    } catch (error) {
      select.value = me.organization.id;
      show(main, error);
    }
  });
}

// The navigation marks the section that is looked at.
function follow() {
  const links = new Map(all(".side a").map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver(() => {
    const panels = all(".panel");
    const top = panels.findLast((p) => p.getBoundingClientRect().top < innerHeight / 3) || panels[0];
    const end = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
    const current = end && scrollY > 0 ? panels.at(-1) : top;
    for (const [id, link] of links) {
      if (id === current.id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, { threshold: [0, 0.25, 0.5, 0.75, 1] });
  for (const panel of all(".panel")) seen.observe(panel);
}

async function load() {
  const me = await get("/v1/me");
  if (!me.person) throw new Problem(403, { detail: "These pages are for people. Sign in as one." }, 0);
  speak(me.profile.locale, me.profile.time_zone);
  fill("name", me.person.name || me.owner.name);
  fill("email", me.person.email);
  fill("email-shown", me.person.email);
  organizations(me);
  profile(me);
  await Promise.all([security(), sessions()]);
  main.removeAttribute("aria-busy");
  follow();
  if (location.hash) find(location.hash.replace(/[^#\w-]/g, ""))?.scrollIntoView();
}

load().catch((error) => show(main, error));
