import { get, post } from "./api.js";
import { all, fill, find, fragmentToken, onClick, onSubmit, step } from "./page.js";
import { follow } from "./signed-in.js";
import { date, roleName } from "./words.js";

const kept = "aiaas.invitation";
const token = fragmentToken(kept);

async function accept(more) {
  const answer = await post("/v1/invitations/accept", { token, ...more });
  sessionStorage.removeItem(kept);
  await follow(answer, "/account");
}

onSubmit(find("#accept-signed-in"), () => accept({}));
onSubmit(find("#accept-new"), ({ name, password }) => accept({ name: name.trim(), password }));
onSubmit(find("#accept-known"), ({ password }) => accept({ password }));
onClick(find("#not-me"), find("#accept-signed-in"), async () => {
  await post("/v1/sign-out");
  location.reload();
});

for (const choice of all("[name=who]")) {
  choice.addEventListener("change", () => {
    find("#accept-new").hidden = choice.value !== "new";
    find("#accept-known").hidden = choice.value !== "known";
  });
}

// me is who is signed in; null where nobody is.
async function me() {
  try {
    return await get("/v1/me");
  } catch {
    return null;
  }
}

async function load() {
  if (!token) return void step("broken");
  let invitation;
  try {
    invitation = await post("/v1/invitations/inspect", { token });
  } catch (error) {
    if (error.status !== 404 && error.status !== 401) find("[data-why]").textContent = error.message;
    return void step("broken");
  }
  fill("organization", invitation.organization);
  fill("role", roleName(invitation.role));
  fill("email-shown", invitation.email);
  find("[data-expires]").textContent = date(invitation.expires_at);
  const person = await me();
  find(person ? "#accept-signed-in" : "#strangers").hidden = false;
  if (person) fill("me", person.person?.email || person.owner.name);
  find("#name").value = invitation.name;
  step("accept");
}

load();
